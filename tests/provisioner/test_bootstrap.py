"""Nodes made ready over SSH, from the tests' own interpreter, which has torch: seconds, and no package index."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from mlb.errors import MlbError, NodeNotReady, NodeUnfit, UsageError
from mlb.provisioner import bootstrap, data, spread, wheel
from mlb.provisioner.bootstrap import ReadyNode, Supplies
from mlb.provisioner.fan_out import refuse_if_any_failed
from mlb.provisioner.ssh import SshTransport
from ssh_fleet import SshFleet

pytestmark = pytest.mark.system
Nodes = dict[str, SshTransport]


@pytest.fixture
def offer(tmp_path: Path) -> Supplies:
    return bootstrap.supplies(wheel.build(tmp_path / "cache"), pythons=(sys.executable,))


@pytest.fixture
def two(nodes: Nodes, ssh_fleet: SshFleet) -> Iterator[Nodes]:
    """Two nodes on which nothing is."""
    chosen = {name: nodes[name] for name in ("t-0", "t-1")}
    yield chosen
    for name in chosen:
        shutil.rmtree(ssh_fleet.home(name) / ".mlb", ignore_errors=True)


def ready(nodes: Nodes, offer: Supplies) -> tuple[dict[str, ReadyNode], list[str]]:
    said: list[str] = []
    return refuse_if_any_failed(bootstrap.ready(nodes, offer, said.append), "bootstrap"), said


def test_a_node_is_made_ready_once(two: Nodes, offer: Supplies, ssh_fleet: SshFleet, tmp_path: Path) -> None:
    first, said = ready(two, offer)
    assert said == ["Making the Python environment on 2 nodes: 2 over a torch that is there"]
    node = first["t-0"]
    assert node.home == PurePosixPath(ssh_fleet.home("t-0") / ".mlb")
    assert (node.node.name, node.node.private_ip) == ("t-0", ssh_fleet.fleet.nodes[0].private_ip)
    where = two["t-0"].run([node.python, "-P", "-c", "import mlb.runners.agent as a; print(a.__file__)"], timeout_s=120)
    assert where.stdout.decode().startswith(f"{node.home}/env/")

    again, said = ready(two, offer)
    assert said == []
    assert {n.python for n in again.values()} == {n.python for n in first.values()}

    # A change of mlb, and what a kill in the middle would leave: an environment without its record.
    changed = tmp_path / "mlb"
    for path in wheel._sources(Path(wheel.__file__).parents[1]):
        copy = changed / path.relative_to(Path(wheel.__file__).parents[1])
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    (changed / "errors.py").write_text((changed / "errors.py").read_text() + "\nCHANGED = True\n")
    other = replace(offer, wheel=wheel.build(tmp_path / "cache", changed))
    newer, said = ready(two, other)
    assert len(said) == 1
    half = Path(newer["t-0"].python).parents[1]
    (half / "ready.json").unlink()
    (half / "lib" / "python3.11" / "site-packages" / "mlb" / "errors.py").unlink(missing_ok=True)
    repaired, said = ready(two, other)
    assert len(said) == 1
    asked = two["t-0"].run(
        [repaired["t-0"].python, "-P", "-c", "import mlb.errors as e; print(e.CHANGED)"], timeout_s=60
    )
    assert asked.stdout == b"True\n"


def test_two_controllers_at_once_make_one_environment(two: Nodes, offer: Supplies, ssh_fleet: SshFleet) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: ready(two, offer)[0], range(2)))
    assert both[0] == {name: replace(node, node=both[0][name].node) for name, node in both[1].items()}
    assert len(list((ssh_fleet.home("t-0") / ".mlb" / "env").iterdir())) == 1


def test_a_node_that_fails_is_named_and_hides_no_other(two: Nodes, offer: Supplies, ssh_fleet: SshFleet) -> None:
    env = ssh_fleet.home("t-1") / ".mlb"
    env.mkdir(mode=0o700)
    (env / "env").write_text("in the way")
    results = bootstrap.ready(two, offer, lambda _: None)
    assert isinstance(results["t-0"], ReadyNode)
    assert isinstance(results["t-1"], NodeUnfit)
    with pytest.raises(NodeNotReady, match=r"bootstrap failed on 1 of 2 nodes: t-1"):
        refuse_if_any_failed(results, "bootstrap")


def test_the_end_of_what_failed_is_shown(two: Nodes, offer: Supplies, ssh_fleet: SshFleet, tmp_path: Path) -> None:
    torn = tmp_path / "mlb.whl"
    with zipfile.ZipFile(torn, "w") as archive:
        archive.writestr("mlb/__init__.py", "raise SystemExit('\\033[31mtorn\\033[0m in two')")
    broken = replace(offer, wheel=wheel.Wheel(torn, "0" * 64))
    failed = bootstrap.ready({"t-0": two["t-0"]}, broken, lambda _: None)["t-0"]
    assert isinstance(failed, NodeUnfit)
    assert "t-0: " in str(failed)
    assert "  torn in two" in str(failed)
    assert list((ssh_fleet.home("t-0") / ".mlb").glob("env/*/ready.json")) == []


def test_another_python_on_one_node_is_refused_with_the_difference(
    two: Nodes, offer: Supplies, ssh_fleet: SshFleet, tmp_path: Path
) -> None:
    about = {"version": [3, 12, 4], "prefix": "/usr", "torch": "", "has": [], "pip": True, "sites": []}
    text = f'#!/bin/sh\n[ "$1" = -I ] && {{ echo \'{json.dumps(about)}\'; exit; }}\nexec /usr/bin/python3 "$@"\n'
    for program in ("python3", "python3.11"):
        ssh_fleet.hosts.program("t-1", program, text)
    (tmp_path / "none-1-py3-none-any.whl").write_bytes(b"")
    try:
        with pytest.raises(NodeUnfit) as refused:
            bootstrap.ready(two, replace(offer, pythons=(), wheelhouse=tmp_path), lambda _: None)
    finally:
        for program in ("python3", "python3.11"):
            (ssh_fleet.hosts.folder / "t-1" / "bin" / program).unlink()
    assert "  t-0: Python 3.11.2\n  t-1: Python 3.12.4\nuv could not be had:" in str(refused.value)


def test_files_are_handed_on_from_node_to_node(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ssh_fleet: SshFleet
) -> None:
    sent: list[str] = []
    put = SshTransport.put
    monkeypatch.setattr(SshTransport, "put", lambda self, *a: (sent.append(self.node.name), put(self, *a))[1])
    prepared = tmp_path / "set-1"
    prepared.mkdir()
    for name in ("train.i32", "meta.json"):
        (prepared / name).write_bytes(name.encode() * 100_000)
    seen: dict[str, int] = {}
    results = data.send(nodes, prepared, lambda name, done, _all: seen.update({name: done}))
    assert set(results.values()) == {None}
    assert len(set(sent)) == 1, "the controller sent to one node only"
    for name in nodes:
        there = ssh_fleet.home(name) / ".mlb" / "datasets" / "set-1"
        assert {p.name: p.read_bytes() for p in there.iterdir()} == {p.name: p.read_bytes() for p in prepared.iterdir()}
    assert set(seen.values()) == {sum(path.stat().st_size for path in prepared.iterdir())}

    # A damaged file is replaced, what is whole is left alone.
    damaged = ssh_fleet.home("t-3") / ".mlb" / "datasets" / "set-1" / "meta.json"
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    sent.clear()
    assert set(data.send(nodes, prepared, lambda *_: None).values()) == {None}
    assert damaged.read_bytes() == (prepared / "meta.json").read_bytes()
    assert sent == []


def test_nodes_that_do_not_reach_each_other_are_served_from_here(
    nodes: Nodes, tmp_path: Path, ssh_fleet: SshFleet
) -> None:
    apart = {n: SshTransport(replace(t.node, private_ip="127.0.0.9"), ssh_fleet.fleet) for n, t in nodes.items()}
    file = tmp_path / "file"
    file.write_bytes(b"content" * 1000)
    try:
        results = spread.spread(apart, spread.Parcel({PurePosixPath("apart/file"): file}), lambda *_: None)
    finally:
        for transport in apart.values():
            transport.close()
    assert set(results.values()) == {None}
    assert all((ssh_fleet.home(name) / "apart" / "file").read_bytes() == file.read_bytes() for name in nodes)


def test_one_node_that_does_not_answer_hides_no_other(nodes: Nodes, tmp_path: Path, ssh_fleet: SshFleet) -> None:
    gone = SshTransport(replace(nodes["t-1"].node, ssh_host="10.255.255.1"), ssh_fleet.fleet)
    file = tmp_path / "one"
    file.write_bytes(b"one")
    results = spread.spread({**nodes, "t-1": gone}, spread.Parcel({PurePosixPath("one"): file}), lambda *_: None)
    assert {name for name, error in results.items() if isinstance(error, MlbError)} == {"t-1"}


def test_a_folder_without_wheels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no wheel in"):
        bootstrap.supplies(wheel.build(tmp_path), tmp_path / "none")
