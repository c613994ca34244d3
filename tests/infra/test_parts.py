"""The small parts that keep a fleet safe: lock, files, record, checks, teardown, what failures mean."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlb.cli import infra_run
from mlb.errors import (
    DiskFull,
    Locked,
    MlbError,
    NodeNotReady,
    PreflightError,
    ProvisionFailed,
    ResultsInvalid,
    TeardownIncomplete,
)
from mlb.errors import UsageError as Usage
from mlb.infra import by_tag, commands, teardown
from mlb.infra import fleet as fleets
from mlb.infra.aws import host_keys_in
from mlb.infra.blueprint import Blueprint, this_owner
from mlb.infra.cloud import Leftover, Place, TaggedFleet
from mlb.infra.engine import Engine
from mlb.infra.failures import goes_on, kind_of
from mlb.infra.fleet import Attempt, Fleet, Node
from mlb.infra.folder import FleetFolder, FleetLock, current_name, state_home, write_private
from mlb.infra.quote import Quote
from mlb.infra.spec import FleetSpec
from mlb.infra.stack import Stack
from mlb.infra.terraform import Plan, TerraformFailed
from mlb.infra.watcher import Limits, Watcher
from mlb.results.ledger import Charge

from .test_process import await_gone

NODE = Node("a-0", "i-1", "198.51.100.1", "10.0.0.4", "198.51.100.1", 22, "ubuntu", 2)
BLUEPRINT = Blueprint(
    spec=FleetSpec(name="a", cloud="docker"),
    fleet_id="0a1b2c3d",
    machine=None,
    zone="",
    created=1_795_500_000,
    owner="ada",
    version="0.1.0",
    public_key="ssh-ed25519 AAAA",
)


@pytest.fixture
def folder(tmp_path: Path) -> FleetFolder:
    made = FleetFolder(tmp_path / "state", "a")
    made.create()
    return made


def test_where_the_state_lies(tmp_path: Path) -> None:
    assert state_home({"MLB_HOME": "/h"}) == Path("/h/state")
    assert state_home({"XDG_STATE_HOME": "/x"}) == Path("/x/mlb")
    assert state_home({}) == Path.home() / ".local/state/mlb"


def test_a_file_is_private_whole_or_not_there(folder: FleetFolder) -> None:
    write_private(folder.fleet_json, "one")
    assert folder.fleet_json.stat().st_mode & 0o777 == 0o600
    assert folder.path.stat().st_mode & 0o777 == 0o700
    with pytest.raises(DiskFull, match="cannot be written"):
        write_private(folder.path / "no" / "such", "two")
    assert [p.name for p in folder.path.iterdir() if p.is_file()] == ["fleet.json"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    script = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom mlb.infra.folder import write_private\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_private(Path(sys.argv[1]), 'x' * 5000)\n"
    )
    file = tmp_path / "fleet.json"
    file.write_text("old")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(file)], env=env, capture_output=True, text=True, check=False
    )
    assert "DiskFull" in done.stderr
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_the_lock_names_its_holder(folder: FleetFolder) -> None:
    with FleetLock(folder, "apply").held(0):
        begun = time.monotonic()
        with (
            pytest.raises(Locked, match=rf"apply by process {os.getpid()} on ") as error,
            FleetLock(folder, "x").held(0.3),
        ):
            pass
        assert error.value.exit_code == 10
        assert time.monotonic() - begun >= 0.3
    with FleetLock(folder, "destroy").held(0):
        pass


def test_an_orphan_of_a_killed_mlb_is_stopped_and_the_lock_comes_free(folder: FleetFolder) -> None:
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom mlb.infra.folder import FleetFolder, FleetLock\n"
        "import subprocess\nfolder = FleetFolder(Path(sys.argv[1]), 'a')\n"
        "with FleetLock(folder, 'apply').held(0) as lock:\n"
        "    quiet = dict(stdout=-3, stderr=-3, start_new_session=True)\n"
        "    child = subprocess.Popen(['sleep', '600'], pass_fds=[lock.fd], **quiet)\n"
        "    lock.started(child.pid)\n    print(child.pid, flush=True)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", script, str(folder.home)]
    killed = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    with FleetLock(folder, "destroy").held(20):
        pass
    await_gone(int(killed.stdout))


def test_the_record_comes_back_as_it_was(folder: FleetFolder) -> None:
    made = Fleet(
        BLUEPRINT, "ready", (NODE,), (Attempt("z", "no capacity", 3.5),), 1.5, "source", checks=({"node": "a-0"},)
    )
    made = made.changed(price_is_ceiling=True, ledger=(Charge(1_795_500_000, 1, 1.5, is_ceiling=True),))
    made.save(folder)
    assert fleets.load(folder) == made


def test_a_record_of_another_version(folder: FleetFolder) -> None:
    raw = Fleet(BLUEPRINT, "ready", (NODE,)).to_json()
    # What an earlier version did not know of yet, and what a later one added.
    for key in ("attempts", "checks", "usd_per_hour", "price_source", "price_is_ceiling", "ledger"):
        raw.pop(key)
    raw["blueprint"].pop("ports")
    raw["blueprint"]["spec"].pop("memlock")
    raw["nodes"][0]["rack"] = "new"
    folder.fleet_json.write_text(json.dumps(raw))
    since_its_beginning = (Charge(BLUEPRINT.created, 1, None),)
    assert fleets.load(folder) == Fleet(BLUEPRINT, "ready", (NODE,), ledger=since_its_beginning)
    folder.fleet_json.write_text(json.dumps({**raw, "schema_version": 2}))
    with pytest.raises(Usage, match="a later version of mlb"):
        fleets.load(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 1}', "null"])
def test_a_damaged_record_is_said_with_a_way_out(folder: FleetFolder, text: str) -> None:
    folder.fleet_json.write_text(text)
    with pytest.raises(ResultsInvalid, match="finds the machines by their tags"):
        fleets.load(folder)


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        ("x: InsufficientInstanceCapacity: We currently do not have sufficient capacity", "capacity"),
        ("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", "capacity"),
        (
            "Unsupported: Your requested instance type (p5) is not supported in your requested Availability Zone",
            "capacity",
        ),
        ("VcpuLimitExceeded", "quota"),
        ("ExpiredToken; then InsufficientInstanceCapacity", "credentials"),
        ("something else", "other"),
    ],
)
def test_what_a_failure_means(problem: str, kind: str) -> None:
    assert kind_of([problem]) == kind
    assert kind_of(["nothing known"], timed_out=True) == "capacity"


def test_host_keys_in_a_console() -> None:
    key = "A" * 68
    text = (
        f"ssh-ed25519 {'B' * 68} outside\n-----BEGIN SSH HOST KEY KEYS-----\r\necdsa-sha2-nistp256 {key} root@ip\r\n"
        f"ssh-ed25519 {key} root@ip\r\n-----END SSH HOST KEY KEYS-----\n"
    )
    assert host_keys_in(text) == [f"ssh-ed25519 {key}", f"ecdsa-sha2-nistp256 {key}"]
    assert host_keys_in("") == []
    assert host_keys_in("-----BEGIN SSH HOST KEY KEYS-----\nssh-ed25519 AAAA") == []


class Stubborn:
    """A place where the first `tries` sweeps remove nothing."""

    no_host_key = "it shows no host key"

    def __init__(self, tries: int, error: MlbError | None = None) -> None:
        self.tries = tries
        self.error = error

    def preflight(self, blueprint: Blueprint, adding: int) -> Place:
        raise NotImplementedError

    def prepare(self, blueprint: Blueprint) -> Blueprint:
        return blueprint

    def lost(self, blueprint: Blueprint) -> Sequence[str]:
        return ()

    def host_keys(self, nodes: Sequence[Node], deadline_s: float) -> Mapping[str, Sequence[str]]:
        return {}

    def alive(self, blueprint: Blueprint) -> Mapping[str, str]:
        return {}

    def left(self, fleet_id: str) -> Sequence[Leftover]:
        if self.error:
            raise self.error
        return [Leftover("VPC", "vpc-1", "us-east-1")] if self.tries >= 0 else []

    def remove(self, leftovers: Sequence[Leftover]) -> Sequence[str]:
        self.tries -= 1
        return ["VPC vpc-1: DependencyViolation (held by eni-9)"]

    def fleets(self) -> Sequence[TaggedFleet]:
        return ()


def test_a_sweep_tries_again_and_names_what_holds(folder: FleetFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teardown, "SWEEP_PAUSE_S", 0.0)
    done = teardown.Teardown(Stubborn(1), BLUEPRINT, folder, print).run(None)
    assert done.swept == 2
    with pytest.raises(TeardownIncomplete, match="held by eni-9") as error:
        teardown.Teardown(Stubborn(9), BLUEPRINT, folder, print).run(None)
    assert error.value.exit_code == 9


def test_a_machine_that_aws_shows_late_is_found(folder: FleetFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teardown, "SWEEP_PAUSE_S", 0.0)
    looks: list[list[Leftover]] = [[], [Leftover("instance", "i-1", bills=True)], []]
    place = Stubborn(0)
    monkeypatch.setattr(place, "left", lambda _: looks.pop(0))
    like = replace(BLUEPRINT, spec=FleetSpec(name="a", cloud="aws"))
    assert teardown.Teardown(place, like, folder, print).run(None).swept == 1
    assert looks == []


def test_a_lost_fleet_that_is_found_by_tag_and_removed_is_not_current_any_more(
    folder: FleetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Stubborn(0)
    lost = TaggedFleet("a", "0a1b2c3d", this_owner(), "", 1_795_500_000, 1)
    monkeypatch.setattr(place, "fleets", lambda: (lost,))
    monkeypatch.setattr(by_tag, "cloud_for", lambda _: place)
    folder.make_current()
    assert commands.destroy("a", "docker", "", Limits(), Watcher(), folder.home) == 1
    assert current_name(folder.home) is None


def test_a_place_that_cannot_be_asked_is_not_taken_for_empty(folder: FleetFolder) -> None:
    cloud = Stubborn(-1, PreflightError("The AWS credentials are not valid any more."))
    with pytest.raises(TeardownIncomplete, match="could not be looked for: The AWS credentials"):
        teardown.Teardown(cloud, BLUEPRINT, folder, print).run(None)


def test_a_fleet_at_its_end_is_not_grown(folder: FleetFolder) -> None:
    Fleet(replace(BLUEPRINT, created=int(time.time()) - 4 * 3600 + 60), "ready", (NODE,)).save(folder)
    asked = commands.request({"name": "a", "nodes": 2}, folder.home)
    with pytest.raises(PreflightError, match="The fleet a ends at"):
        commands.apply(asked, Limits(), Watcher())


def test_a_fleet_without_terraform_is_still_removed_by_tag(folder: FleetFolder) -> None:
    def missing() -> None:
        raise PreflightError("There is no terraform on this machine.")

    assert teardown.Teardown(Stubborn(0), BLUEPRINT, folder, print).run(missing).swept == 1


class Answering(Stubborn):
    """A place with room, where the host keys cannot be asked for."""

    def preflight(self, blueprint: Blueprint, adding: int) -> Place:
        return Place("", ("",), ("The quota could not be read.",))

    def host_keys(self, nodes: Sequence[Node], deadline_s: float) -> Mapping[str, Sequence[str]]:
        raise PreflightError("The AWS credentials are not valid any more.")


def with_state(folder: FleetFolder) -> None:
    """The fleet has been applied before: Terraform left its state."""
    write_private(folder.module / "terraform.tfstate", "{}")


class Quick(Stack):
    """A stack whose Terraform does what `converge` says, without one."""

    nodes = (NODE,)
    error: Exception | None = None

    def _converge(self, fleet: Fleet, quote: object) -> Plan:
        if self.error:
            raise self.error
        with_state(self.folder)
        return Plan(self.folder.plan_file, (("create", "x.node[0]"),))

    def terraform(self) -> SimpleNamespace:
        return SimpleNamespace(output=lambda _: [asdict(node) for node in self.nodes])


def applied(folder: FleetFolder, error: Exception | None = None, nodes: tuple[Node, ...] = (NODE,)) -> list[str]:
    warned: list[str] = []
    engine = Engine(("false",), "terraform", "1.9.0")
    stack = Quick(folder, Answering(-1), Limits(), Watcher(warn=warned.append), engine)
    stack.error, stack.nodes = error, nodes
    try:
        stack.apply(BLUEPRINT, Quote(BLUEPRINT.spec, None, (), ()))
    finally:
        assert warned == ["The quota could not be read."]
    return warned


def test_a_failure_after_the_machines_are_there_says_that_they_are(folder: FleetFolder) -> None:
    with pytest.raises(NodeNotReady, match="not valid any more") as error:
        applied(folder)
    assert "The fleet is kept; nothing of it is billed." in error.value.fix
    assert "mlb infra destroy --name a" in error.value.fix
    with pytest.raises(NodeNotReady, match="shows 0 nodes, not 1"):
        applied(folder, nodes=())


@pytest.mark.parametrize(
    ("nodes", "usd_per_hour", "said"),
    [
        (4, 110.08, "4 machines are still billed at $110.08 an hour. "),
        (1, 1234.5, "1 machine is still billed at $1,234.50 an hour. "),
        (1, None, "1 machine is still billed at a price that nobody knows. "),
    ],
)
def test_what_is_kept_says_what_it_costs_and_what_ends_it(nodes: int, usd_per_hour: float | None, said: str) -> None:
    spec = FleetSpec(name="a", cloud="aws", nodes=nodes)
    words = goes_on(Fleet(replace(BLUEPRINT, spec=spec), "not-ready", usd_per_hour=usd_per_hour))
    assert said in words
    assert "`mlb infra destroy --name a` ends it" in words


def test_any_failure_while_machines_are_asked_for_cleans_up(folder: FleetFolder) -> None:
    with pytest.raises(OSError, match="terminal"):
        applied(folder, OSError("the terminal is gone"))
    assert not folder.path.exists()
    assert current_name(folder.home) is None


@pytest.mark.parametrize("error", [NodeNotReady("bad"), TeardownIncomplete("left")])
def test_machines_that_are_there_after_a_failure_are_the_current_fleet(
    folder: FleetFolder, monkeypatch: pytest.MonkeyPatch, error: MlbError
) -> None:
    FleetFolder(folder.home, "b").make_current()

    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Stack, "apply", fails)
    with pytest.raises(type(error)):
        commands.apply(commands.request({"cloud": "docker", "name": "a"}, folder.home), Limits(), Watcher())
    assert current_name(folder.home) == "a"


def test_a_fleet_that_is_being_made_is_current_where_there_is_none(folder: FleetFolder) -> None:
    """An `apply` that is killed has no other chance to say so."""
    with pytest.raises(NodeNotReady):
        applied(folder)
    assert current_name(folder.home) == "a"


def test_a_change_that_fails_does_not_call_the_fleet_gone(folder: FleetFolder) -> None:
    Fleet(BLUEPRINT, "ready", (NODE,)).save(folder)
    with_state(folder)
    with pytest.raises(ProvisionFailed, match="neither be changed nor put back") as error:
        applied(folder, TerraformFailed("terraform apply failed.", ["VcpuLimitExceeded"]))
    assert "mlb infra destroy --name a" in error.value.fix


def test_a_fleet_that_another_command_made_meanwhile_keeps_its_marks(folder: FleetFolder) -> None:
    Fleet(replace(BLUEPRINT, fleet_id="ffffffff"), "ready", (NODE,)).save(folder)
    stack = Stack(folder, Answering(-1))
    with pytest.raises(Locked, match="in the meantime"):
        stack.apply(BLUEPRINT, Quote(BLUEPRINT.spec, None, (), ()))


@pytest.mark.parametrize("error", [BrokenPipeError(), SystemExit(1), OSError(5, "Input/output error")])
def test_a_terminal_that_is_gone_ends_nothing(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_text: str) -> None:
        raise error

    monkeypatch.setattr(infra_run, "note", gone)
    infra_run._tell("one more node")


def test_a_fleet_of_another_cloud_is_not_destroyed_in_its_place(folder: FleetFolder) -> None:
    Fleet(BLUEPRINT, "ready", (NODE,)).save(folder)
    with pytest.raises(Usage, match="is on docker, not on aws"):
        commands.destroy("a", "aws", "us-east-1", Limits(), Watcher(), folder.home)
    assert fleets.load(folder)


def test_many_threads_write_one_file_and_each_write_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "current"
    texts = [str(number) * 5000 for number in range(8)]
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(lambda text: write_private(path, text), texts * 20))
    assert path.read_text() in texts
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["current"]
