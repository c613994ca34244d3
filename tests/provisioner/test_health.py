"""What makes a node unfit: numbers against limits, then real hosts with real and injected faults."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from mlb.errors import NodeUnfit
from mlb.provisioner import bootstrap, health, links, wheel
from mlb.provisioner.bootstrap import ReadyNode
from mlb.provisioner.fan_out import refuse_if_any_failed
from mlb.provisioner.health_gate import Limits, judge, judge_network, slow_links
from mlb.provisioner.links import Link
from mlb.provisioner.ssh import SshTransport
from ssh_fleet import SshFleet

Nodes = dict[str, SshTransport]
GPU = {
    "index": "0",
    "name": "NVIDIA T4",
    "driver_version": "550.54",
    "ecc.mode.current": "Enabled",
    "ecc.errors.uncorrected.volatile.total": "0",
    "clocks_throttle_reasons.active": "0x0000000000000001",
}
# The host's clock as Python reads it, three seconds ahead: time namespaces do not cover the time of day.
AHEAD = """#!/bin/sh
shift 2; loader=$1; shift
exec /usr/bin/python3 -IS -c "import time;t=time.time_ns;time.time_ns=lambda:t()+3*10**9
$loader" "$@"
"""


def facts(**changes: Any) -> dict[str, Any]:
    sound = {
        "gpus": [],
        "disk_free_bytes": 9 << 30,
        "shm_free_bytes": 1 << 30,
        "mtu": 1500,
        "load_1min": 0.1,
        "busy_cores": 0.0,
    }
    return {**sound, "cores": 4, "clock_offset_s": 0.01, "clock_error_s": 0.001, **changes}


@pytest.mark.parametrize(
    ("change", "gpus", "problem", "warning"),
    [
        ({}, 0, "", ""),
        ({"gpus": [GPU]}, 1, "", "GPU differs"),
        ({"gpus": [GPU]}, 2, "lists 1 GPUs, 2 were asked for", ""),
        ({"gpus": [{**GPU, "ecc.errors.uncorrected.volatile.total": "3"}]}, 1, "3 uncorrected memory errors", ""),
        ({"gpus": [{**GPU, "ecc.errors.uncorrected.volatile.total": "[N/A]"}]}, 1, "", "ECC"),
        ({"gpus": [{**GPU, "clocks_throttle_reasons.active": "0x0000000000000048"}]}, 1, "hardware slowdown, heat", ""),
        ({"gpus": [{**GPU, "clocks_throttle_reasons.active": "0x4"}]}, 1, "", "driver differs"),
        ({"disk_free_bytes": 1 << 20}, 0, "1 MiB are free on disk, 1024 are needed", ""),
        ({"shm_free_bytes": 0}, 0, "shared memory", ""),
        ({"mtu": 9001}, 0, "", "MTU differs: 9001 on a; 1500 on b, c"),
        ({"clock_offset_s": -3.0}, 0, "", "its clock is -3.000 s (± 0.001) off"),
        ({"clock_offset_s": 3.0, "clock_error_s": 2.9}, 0, "", ""),
        ({"load_1min": 3.5, "busy_cores": 3.0}, 0, "", "3.0 of 4 cores were busy before the run"),
        ({"load_1min": 3.5, "busy_cores": 0.1}, 0, "", ""),  # of the run before, say
    ],
)
def test_one_node_among_sound_ones(change: dict[str, Any], gpus: int, problem: str, warning: str) -> None:
    nodes = {"a": facts(**change), "b": facts(), "c": facts()}
    problems, warnings = judge(nodes, {"a": gpus, "b": 0, "c": 0}, [], Limits())
    assert bool(problems) == bool(problem)
    assert problem in " ".join(p.evidence for p in problems)
    assert warning in " ".join(p.evidence for p in warnings)
    assert {p.node for p in problems} <= {"a"}


@pytest.mark.parametrize(
    ("backend", "networks", "wanted", "problem", "warning"),
    [
        ("nccl", ["AWS Libfabric"], "efa", "", ""),
        ("nccl", ["IBext_v8"], "ib", "", ""),
        ("nccl", ["Socket"], "efa", "nccl goes over Socket between the nodes, not over efa", ""),
        ("nccl", ["IB", "Socket"], "ib", "nccl goes over IB and Socket between the nodes, not over ib", ""),
        ("nccl", [], "ib", "a network that it does not name", ""),
        ("nccl", ["Socket"], "", "", "NCCL goes over TCP sockets"),
        ("nccl", ["IB", "Socket"], "", "", "NCCL goes over TCP sockets"),
        ("nccl", ["AWS Libfabric"], "", "", ""),
        ("gloo", ["TCP"], "", "", ""),
        ("gloo", ["TCP"], "tcp", "", ""),
        ("gloo", ["TCP"], "efa", "gloo goes over TCP between the nodes, not over efa", ""),
    ],
)
def test_nccl_that_falls_back_to_tcp_is_said_or_refused(
    backend: str, networks: list[str], wanted: str, problem: str, warning: str
) -> None:
    found = judge_network({"backend": backend, "networks": networks}, Limits(network=wanted))
    for problems, expected in zip(found, (problem, warning), strict=True):
        assert [expected in p.evidence for p in problems] == ([True] if expected else [])
    assert judge_network(None, Limits(network="efa")) == ([], []), "on one node there is no network"


def test_the_node_that_is_slow_to_everybody_is_named() -> None:
    speeds = {("a", "b"): 9e9, ("a", "c"): 1e8, ("b", "c"): 9e7, ("a", "d"): 9e9, ("b", "d"): 8e9, ("c", "d"): 1e8}
    measured = [Link(a, b, 1e-4, speed, 9e9) for (a, b), speed in speeds.items()]
    problems, _ = judge({}, {}, measured, Limits())
    assert {p.node for p in problems} == {"c"}
    assert "90 Mbit/s to b; the best of 6 links have 9,000" in [p.evidence for p in problems]


def test_all_links_alike_are_fine_however_slow() -> None:
    measured = [Link(a, b, 1e-4, 1e7, 1e7) for a, b in links.pairs_of("abcd")]
    assert judge({}, {}, measured, Limits()) == ([], [])


def test_a_link_that_was_slow_once_is_measured_again_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def measure(_doors: Any, rounds: Any = None) -> list[Link]:
        asked.append(rounds)
        once = rounds is None
        pairs = links.pairs_of("abcd") if once else [pair for these in rounds for pair in these]
        speeds = {("a", "b"): 1e8 if once else 8e9, ("c", "d"): 1e8 if once else 2e8}
        return [Link(a, b, 1e-4, speeds.get((a, b), 9e9), 9e9) for a, b in pairs]

    monkeypatch.setattr(links, "measure", measure)
    found = links.measure_fairly({}, lambda these: slow_links(these, Limits()))
    assert asked == [None, [[("a", "b")], [("c", "d")]]]
    assert {(link.a, link.b): links.speed_of(link) for link in found} == {
        **dict.fromkeys(links.pairs_of("abcd"), 9e9),
        ("a", "b"): 8e9,
        ("c", "d"): 2e8,
    }
    problems, _ = judge({}, {}, found, Limits())
    assert [p.evidence for p in problems] == ["200 Mbit/s to d; the best of 6 links have 9,000"]


@pytest.mark.parametrize("count", [2, 3, 6, 7, 64])
def test_every_node_is_measured_and_none_twice_at_a_time(count: int) -> None:
    names = [f"n{i}" for i in range(count)]
    pairs = links.pairs_of(names)
    assert len(pairs) == len(set(pairs)) == (count * (count - 1) // 2 if count <= 6 else 2 * count)
    assert {end for pair in pairs for end in pair} == set(names)
    rounds = links.rounds_of(pairs)
    assert sorted(pair for r in rounds for pair in r) == sorted(pairs)
    assert all(len({end for pair in r for end in pair}) == 2 * len(r) for r in rounds)


@pytest.fixture
def ready(nodes: Nodes, tmp_path: Path) -> dict[str, ReadyNode]:
    nodes.pop("t-4")
    nodes.pop("t-3")
    offer = bootstrap.supplies(wheel.build(tmp_path / "cache"), pythons=(sys.executable,))
    return refuse_if_any_failed(bootstrap.ready(nodes, offer, lambda _: None), "bootstrap")


@pytest.mark.system
def test_a_sound_fleet(nodes: Nodes, ready: dict[str, ReadyNode], tmp_path: Path) -> None:
    remembered = tmp_path / "health.json"
    found = health.check(nodes, ready, lambda _: None, remembered=remembered)
    assert found.problems == ()
    health.refuse_if_unfit(found)
    assert found.nodes is not None
    assert {node["interface"] for node in found.nodes.values()} == {"eth0"}
    assert all(abs(node["clock_offset_s"]) < 0.5 for node in found.nodes.values())
    assert len(found.links) == 3
    assert all(0 < (link.rtt_s or 0) < 1 and (link.bits_per_s_in or 0) > 1e6 for link in found.links)
    assert found.all_reduce is not None
    assert (found.all_reduce["ranks"], found.all_reduce["backend"]) == (3, "gloo")
    assert json.loads(remembered.read_text())["all_reduce"] == found.all_reduce

    assert found.network == "TCP"
    refused = health.check(nodes, ready, lambda _: None, Limits(network="efa"), remembered)
    with pytest.raises(NodeUnfit, match="gloo goes over TCP between the nodes, not over efa"):
        health.refuse_if_unfit(refused)
    remembered.write_text(json.dumps(asdict(found)))

    again = health.check(nodes, ready, lambda _: None, remembered=remembered)
    assert (again.links, again.network_unix_ns) == (found.links, found.network_unix_ns)
    assert again.checked_unix_ns > found.checked_unix_ns
    # Another boot of a machine: nothing is known of it any more.
    raw = json.loads(remembered.read_text())
    raw["nodes"]["t-1"]["boot_id"] = "another"
    remembered.write_text(json.dumps(raw))
    assert health.check(nodes, ready, lambda _: None, remembered=remembered).network_unix_ns > found.network_unix_ns


@pytest.mark.system
def test_a_slow_link_and_a_wrong_clock(nodes: Nodes, ready: dict[str, ReadyNode], ssh_fleet: SshFleet) -> None:
    ssh_fleet.hosts.shape("t-1", "20mbit")
    ssh_fleet.hosts.program("t-2", "python3", AHEAD)
    try:
        found = health.check(nodes, ready, lambda _: None)
    finally:
        (ssh_fleet.hosts.folder / "t-2" / "bin" / "python3").unlink()
        ssh_fleet.hosts.shape("t-1", "10gbit")
    with pytest.raises(NodeUnfit, match=r"not fit to be timed: t-1\.\nt-1: 2\d Mbit/s to t-"):
        health.refuse_if_unfit(found)
    assert found.all_reduce is None
    clock = [p for p in found.warnings if p.node == "t-2" and "clock" in p.evidence]
    assert clock, found.warnings
    assert clock[0].evidence.startswith("its clock is +3.0")
    assert found.nodes
    assert abs(found.nodes["t-2"]["clock_offset_s"] - 3) < 0.5


@pytest.mark.system
def test_gpus_are_read_from_drivers_old_and_new(nodes: Nodes, ssh_fleet: SshFleet) -> None:
    row = "0, NVIDIA H100, 570.1, Enabled, 2, 1980, 1980, 0x0000000000000048, 41, 700.00"
    newer = f"#!/bin/sh\ncase $1 in *throttle*) exit 2;; *query-gpu*) echo '{row}';; *) exit 1;; esac\n"
    oldest = "#!/bin/sh\ncase $1 in *clocks*) exit 2;; *query-gpu*) echo '0, Tesla K80, 470.1';; *) exit 1;; esac\n"
    try:
        ssh_fleet.hosts.program("t-0", "nvidia-smi", newer)
        ssh_fleet.hosts.program("t-1", "nvidia-smi", oldest)
        found = {name: health._examine(nodes[name]) for name in ("t-0", "t-1")}
    finally:
        for name in ("t-0", "t-1"):
            (ssh_fleet.hosts.folder / name / "bin" / "nvidia-smi").unlink()
    problems, _ = judge(found, {"t-0": 1, "t-1": 1}, [], Limits())
    assert [p.evidence for p in problems if p.node == "t-0"] == [
        "GPU 0 has had 2 uncorrected memory errors since its last reset",
        "GPU 0 is slowed down: hardware slowdown, heat (hardware)",
    ]
    assert [p for p in problems if p.node == "t-1"] == []
    assert found["t-1"]["gpus"] == [{"index": "0", "name": "Tesla K80", "driver_version": "470.1"}]


@pytest.mark.system
def test_a_link_that_is_not_there(nodes: Nodes, ready: dict[str, ReadyNode], ssh_fleet: SshFleet) -> None:
    refuse = ["iptables", "-w", "-A", "INPUT", "-s", nodes["t-2"].node.private_ip, "-j", "REJECT"]
    if nodes["t-0"].run(refuse, timeout_s=20).returncode != 0:
        pytest.skip("iptables is missing")
    try:
        found = health.check(nodes, ready, lambda _: None)
    finally:
        nodes["t-0"].run(["iptables", "-w", "-F"], timeout_s=20)
    assert [(p.node, p.evidence[:22]) for p in found.problems if "no link" in p.evidence] == [
        ("t-0", "no link to t-2: t-0: i")
    ]


@pytest.mark.system
def test_a_rank_that_fails_in_the_all_reduce_is_named(nodes: Nodes, ready: dict[str, ReadyNode]) -> None:
    broken = {**ready, "t-1": ReadyNode(ready["t-1"].node, "/bin/false", ready["t-1"].home, "", "")}
    said = {name: {"interface": "eth0", "free_port": 23456} for name in nodes}
    argvs = links.all_reduce_argvs(broken, said)
    assert argvs["t-1"][1][-4:] == ["/bin/false", "-P", "-m", "mlb.runners.all_reduce_probe"]
    assert "RANK=1" in argvs["t-1"][1]
    alone = {name: broken[name] for name in ("t-1",)}
    with pytest.raises(NodeUnfit, match=r"1 of 1 ranks failed.\n  t-1: exit code 1: it said nothing"):
        links.all_reduce(nodes, alone, said)


def test_a_check_that_was_skipped_says_so() -> None:
    assert asdict(health.skipped())["skipped"] is True
