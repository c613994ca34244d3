"""Runs on a fleet of network namespaces, over real SSH, and what happens to them: each fault is injected for real."""

import itertools
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from mlb.results.log import read_log
from mlb.results.run import RunFolder
from ssh_fleet import SshFleet, need_namespaces, running_fleet
from support import Mlb, wait_for_steps, wait_until

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

NODES = 3
MEMORY_GROUPS = Path("/sys/fs/cgroup/memory")
"""Where version 1 of control groups has its bounds of memory."""
SMOKE = ("bench", "task3a", "--goal", "smoke", "--data", "synthetic", "--fleet", "t")


class FleetRuns:
    """A fleet, and the command that runs on it."""

    def __init__(self, fleet: SshFleet, mlb: Mlb) -> None:
        self.fleet, self.mlb = fleet, mlb
        self.names = [node.name for node in fleet.fleet.nodes]

    def start(self, *arguments: str, command: tuple[str, ...] = SMOKE) -> tuple[subprocess.Popen[str], RunFolder]:
        """Start a run and wait until it trains."""
        runs = self.mlb.home / "runs"
        before = set(runs.iterdir()) if runs.is_dir() else set()
        process = self.mlb.start(*command, *arguments)

        def found() -> list[Path]:
            assert process.poll() is None, process.communicate()
            return [
                p for p in (runs.iterdir() if runs.is_dir() else ()) if p not in before and (p / "plan.json").exists()
            ]

        wait_until(found, "a run folder")
        folder = RunFolder(found()[0])
        wait_for_steps(folder, 3)
        return process, folder

    def there(self, node: int, folder: RunFolder) -> RunFolder:
        """The run folder on the node, seen from outside."""
        return RunFolder(self.fleet.home(self.names[node]) / ".mlb" / "runs" / folder.run_id)

    def ranks_on(self, node: int) -> list[psutil.Process]:
        return self._processes(node, "mlb.runners.worker")

    def agents_on(self, node: int) -> list[psutil.Process]:
        return self._processes(node, "mlb.runners.agent")

    def _processes(self, node: int, module: str) -> list[psutil.Process]:
        home = str(self.fleet.home(self.names[node]))
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            command = process.info["cmdline"] or []
            named = any(a == "-m" and b == module for a, b in itertools.pairwise(command))
            inside = any(home in part for part in command)
            if named and inside and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found

    def left(self) -> list[psutil.Process]:
        nodes = range(len(self.names))
        return [p for n in nodes for p in (*self.ranks_on(n), *self.agents_on(n))]

    def assert_all_is_here(self, folder: RunFolder, nodes: int = NODES) -> None:
        """The files of all ranks and agents are here, byte for byte."""
        for node in range(nodes):
            there = self.there(node, folder)
            for path in (*there.events.iterdir(), *there.logs.glob("*.log")):
                mine = folder.path / path.relative_to(there.path)
                assert mine.read_bytes() == path.read_bytes(), mine
            assert folder.read_status(node) == there.read_status(node)


@pytest.fixture(scope="module")
def fleet_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetRuns]:
    need_namespaces()
    home = tmp_path_factory.mktemp("home")
    with running_fleet(home, NODES) as fleet:
        yield FleetRuns(fleet, Mlb(home, home))


@pytest.fixture
def runs(fleet_runs: FleetRuns) -> Iterator[FleetRuns]:
    """The fleet; a test that leaves something running on it fails."""
    yield fleet_runs
    for name in fleet_runs.names:
        fleet_runs.fleet.hosts.link(name, "up")
    left = fleet_runs.left()
    for process in left:
        process.kill()
    (fleet_runs.fleet.fleet.folder / "held-by.json").unlink(missing_ok=True)
    assert not left, f"left running: {left}"


def ended(process: subprocess.Popen[str], within_s: float) -> str:
    """What the command said on standard error; it must end in time."""
    _, err = process.communicate(timeout=within_s)
    return err


def test_collectives_are_measured_over_gloo_and_mpi_between_nodes(runs: FleetRuns) -> None:
    pytest.importorskip("mpi4py")
    done = runs.mlb("bench", "task0a", "--quick", "--fleet", "t", "--nodes", "2", "--backend", "mpi", "--skip-health")
    assert done.returncode == 0, done.stderr
    report = runs.mlb.json("report")
    assert (report["nodes"], report["ranks"]) == (2, 2)
    assert report["all_correct"]
    assert {point["backend"] for point in report["points"]} == {"gloo", "mpi"}
    assert "2 x 1 (nodes x ranks on each)" in done.stdout


def test_the_library_of_an_optimiser_is_put_on_the_nodes(runs: FleetRuns) -> None:
    pytest.importorskip("schedulefree")
    chosen = ("--set", "optimiser=schedulefree-sgd", "--steps", "2")
    done = runs.mlb(*SMOKE, *chosen, "--nodes", "2", "--skip-health")
    assert done.returncode == 0, done.stderr
    for name in ("t-0", "t-1"):
        records = [json.loads(path.read_text()) for path in runs.fleet.home(name).glob(".mlb/env/*/ready.json")]
        assert any("schedulefree" in record["wanted"]["packages"] for record in records), name


def test_a_run_on_many_nodes_ends_with_all_its_files_here(runs: FleetRuns) -> None:
    done = runs.mlb(*SMOKE, "--steps", "6", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["ranks"], report["hosts"]) == (NODES, runs.names)
    assert report["consistency"]["parameters_equal"] is True
    folder = RunFolder(runs.mlb.home / "runs" / report["run_id"])
    assert folder.read_spec().network == "TCP"
    runs.assert_all_is_here(folder)
    for node in range(NODES):
        status = folder.read_status(node)
        assert status is not None
        assert (status.state, status.interface) == ("succeeded", "eth0")
        assert status.clock_error_ns is not None
        assert abs(status.clock_offset_ns) <= status.clock_error_ns + 1_000_000, "one machine has one clock"
        log = read_log(folder.rank_events(node))
        assert log.start is not None
        assert log.start.fields["node"] == node, "rank order is the fleet's order"
    assert json.loads(runs.mlb("bench", "status", "--json").stdout)["state"] == "succeeded"
    held = runs.fleet.fleet.folder / "held-by.json"
    assert not held.exists()


def test_part_of_the_fleet(runs: FleetRuns) -> None:
    plan = json.loads(runs.mlb(*SMOKE, "--nodes", "2", "--dry-run", "--json").stdout)["plan"]
    assert [node["name"] for node in plan["nodes"]] == runs.names[:2]
    assert f"--rdzv-endpoint={plan['nodes'][0]['address']}:{plan['ports'][0]}" in plan["nodes"][1]["argv"]
    done = runs.mlb(*SMOKE, "--nodes", "1", "--steps", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["hosts"] == runs.names[:1]
    refused = runs.mlb(*SMOKE, "--nodes", "9")
    assert (refused.returncode, "has 3 nodes, not 9" in refused.stderr) == (2, True)
    for value, code, said in (("efa", 6, "not over efa"), ("carrier", 2, "takes efa, ib, tcp")):
        refused = runs.mlb(*SMOKE, "--require-transport", value)
        assert (refused.returncode, said in refused.stderr) == (code, True), refused.stderr


def test_a_rank_that_runs_out_of_memory_is_named_with_its_node(runs: FleetRuns) -> None:
    process, folder = runs.start()
    (rank,) = runs.ranks_on(1)
    with out_of_memory(rank) as said:
        err = ended(process, 30)
    assert process.returncode == 7
    assert f"Rank 1 on node 1 (t-1) failed first: killed by SIGKILL{said}" in err
    assert not runs.left()
    runs.assert_all_is_here(folder)
    cause = runs.mlb.json("report", folder.run_id)["failure"]
    assert (cause["node"], cause["rank"]) == (1, 1)


@contextmanager
def out_of_memory(process: psutil.Process) -> Iterator[str]:
    """Have the kernel end a process by its own memory bound, or end it like that where no bound can be set.

    Gives what is said beyond the signal.
    """
    group = MEMORY_GROUPS / f"mlbtest{process.pid}"
    try:
        group.mkdir()
        (group / "cgroup.procs").write_text(str(process.pid))
        (group / "memory.limit_in_bytes").write_text(str(1 << 20))
    except OSError:
        process.kill()
        yield ""
    else:
        yield ": memory ran out, for which the kernel ended 1 process"
    finally:
        with suppress(OSError):
            group.rmdir()


def test_a_frozen_rank_is_a_hang_with_the_stacks_of_all(runs: FleetRuns) -> None:
    process, folder = runs.start("--hang-after", "5")
    (rank,) = runs.ranks_on(2)
    rank.suspend()
    err = ended(process, 60)
    assert process.returncode == 7
    assert "HANG" in err
    assert "node 2 (t-2)" in err
    assert "the others wait for rank 2" in err
    assert not runs.left()
    runs.assert_all_is_here(folder)
    for waiting in (0, 1):
        assert "most recent call first" in folder.rank_log(waiting).read_text(), "the stacks of a rank that waits"
    assert runs.mlb.json("report", folder.run_id)["status"] == "hang"


def test_a_cut_link_ends_the_run_on_both_sides_of_it(runs: FleetRuns) -> None:
    process, folder = runs.start()
    runs.fleet.hosts.link("t-1", "down")
    cut = time.monotonic()
    wait_until(lambda: not runs.left(), "the end of every process on every node", 30)
    assert time.monotonic() - cut < 30
    runs.fleet.hosts.link("t-1", "up")
    err = ended(process, 90)
    assert process.returncode == 7, err
    assert "node 1 (t-1) was lost: nothing was heard of it for 10 s" in err
    runs.assert_all_is_here(folder)
    assert runs.mlb.json("report", folder.run_id)["failure"]["node"] == 1


def test_a_killed_agent_ends_the_run_everywhere(runs: FleetRuns) -> None:
    process, folder = runs.start()
    (agent,) = runs.agents_on(2)
    agent.kill()
    err = ended(process, 40)
    assert process.returncode == 7, err
    assert "node 2 (t-2) was lost: its agent is gone without a word" in err
    assert not runs.left()
    assert runs.mlb.json("report", folder.run_id)["failure"]["node"] == 2


def test_a_comparison_makes_a_run_that_lost_a_node_again(runs: FleetRuns) -> None:
    """It says nothing of its configuration, whose failure would be a result."""
    command = ("compare", *SMOKE[1:], "--vary", "aggregation=allreduce", "--repeat", "1", "--steps", "12")
    process, folder = runs.start(command=command)
    (agent,) = runs.agents_on(2)
    agent.kill()
    err = ended(process, 60)
    assert process.returncode == 7, err
    assert "the run is not counted; the same command makes it again" in err
    done = runs.mlb(*command, "--json")
    assert done.returncode == 0, done.stderr
    assert "0 of 1 runs are done" in done.stderr
    ((run,),) = [group["runs"] for group in json.loads(done.stdout)["groups"]]
    assert run["run"] != folder.run_id


def test_a_killed_controller_whose_network_was_cut_sees_the_whole_run_later(runs: FleetRuns) -> None:
    process, folder = runs.start("--steps", "150")
    process.kill()
    process.communicate()
    bridge = runs.fleet.hosts.bridge
    address = runs.fleet.hosts.gateway
    subprocess.run(["ip", "addr", "del", address, "dev", bridge], check=True)
    try:
        here = folder.rank_events(0).stat().st_size
        wait_until(lambda: runs.there(0, folder).rank_events(0).stat().st_size > here + 20_000, "the run going on")
    finally:
        subprocess.run(["ip", "addr", "add", address, "dev", bridge], check=True)
    done = runs.mlb("bench", "attach")
    assert done.returncode == 0, done.stderr
    for rank in range(NODES):
        log = read_log(folder.rank_events(rank))
        steps = [event.fields["step"] for event in log.events if event.key == "step"]
        assert steps == list(range(150)), "a step is missing or doubled"
        assert log.health.clean
        assert log.health.complete
    runs.assert_all_is_here(folder)
    assert runs.mlb("report").stdout == done.stdout


def test_a_command_that_slept_through_a_cut_goes_on_where_it_was(runs: FleetRuns) -> None:
    """A laptop that is closed: the command stands still, and its connections are dead when it wakes."""
    process, folder = runs.start("--steps", "150")
    process.send_signal(signal.SIGSTOP)
    try:
        here = folder.rank_events(0).stat().st_size
        for name in runs.names:
            end_connections(runs, name)
        wait_until(lambda: runs.there(0, folder).rank_events(0).stat().st_size > here + 10_000, "the run going on")
    finally:
        process.send_signal(signal.SIGCONT)
    err = ended(process, 120)
    assert process.returncode == 0, err
    for rank in range(NODES):
        steps = [event.fields["step"] for event in read_log(folder.rank_events(rank)).events if event.key == "step"]
        assert steps == list(range(150)), "a step is missing or doubled"
    runs.assert_all_is_here(folder)


def end_connections(runs: FleetRuns, name: str) -> None:
    """Kill the servers of the connections that are open to a node; the one that takes new ones goes on."""
    for process in psutil.Process(runs.fleet.hosts.processes[name].pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # each has a child that goes with it
            title = " ".join(process.cmdline())
            if process.name() == "sshd" and "[listener]" not in title:
                process.kill()


def test_a_full_disk_here_leaves_the_run_going_and_its_files_on_the_nodes(runs: FleetRuns) -> None:
    place = runs.mlb.home / "runs"
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=230m", "tmpfs", str(place)], check=True)
    try:
        process, folder = runs.start("--steps", "100")
        (place / "filler").write_bytes(bytes(200 << 20))
        err = ended(process, 60)
        assert process.returncode == 3, err
        assert f"mlb bench collect {folder.run_id}" in err
        assert runs.left(), "the run itself is not touched"
        (place / "filler").unlink()
        assert runs.mlb("bench", "attach", folder.run_id).returncode == 0
        runs.assert_all_is_here(folder)
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_ctrl_c_lets_go_and_a_second_run_is_refused_until_the_first_is_stopped(runs: FleetRuns) -> None:
    process, folder = runs.start()
    process.send_signal(signal.SIGINT)
    err = ended(process, 10)
    assert process.returncode == 130
    assert f"mlb bench attach {folder.run_id}" in err
    assert runs.mlb.json("bench", "status")["state"] == "running"
    refused = runs.mlb(*SMOKE, "--steps", "1")
    assert refused.returncode == 10
    assert folder.run_id in refused.stderr
    queued = runs.mlb.start(*SMOKE, "--steps", "1", "--queue", "--nodes", "1")
    assert runs.mlb.json("bench", "stop", folder.run_id)["state"] == "stopped"
    err = ended(queued, 90)
    assert queued.returncode == 0, err
    assert f"waiting for the run {folder.run_id}" in err
    runs.assert_all_is_here(folder)


def test_ctrl_c_twice_leaves_at_once(runs: FleetRuns) -> None:
    process, folder = runs.start()
    # The nodes do not answer any more: nothing may be waited for.
    for name in runs.names:
        runs.fleet.hosts.link(name, "down")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    ended(process, 5)
    assert process.returncode in (130, -signal.SIGINT)
    wait_until(lambda: not runs.left(), "agents that see nobody end by themselves", 40)
    for name in runs.names:
        runs.fleet.hosts.link(name, "up")
    assert runs.mlb("bench", "attach", folder.run_id).returncode == 7


def test_a_node_that_is_started_anew_interrupts_the_run(runs: FleetRuns) -> None:
    process, folder = runs.start()
    hosts = runs.fleet.hosts
    hosts.restart("t-2")
    err = ended(process, 120)
    assert process.returncode == 11, err
    assert "node 2 (t-2)" in err
    assert "the machine was started anew during the run" in err
    report = runs.mlb.json("report", folder.run_id)
    assert (report["status"], report["failure"]["node"]) == ("interrupted", 2)
    for rank in range(NODES):
        assert folder.rank_events(rank).stat().st_size, "what there was is here"


def test_a_full_disk_on_a_node_is_named(runs: FleetRuns, tmp_path: Path) -> None:
    home = runs.fleet.home("t-1")
    place = home / ".mlb" / "runs"
    place.mkdir(parents=True, exist_ok=True)
    # In the host's own view of the file system: it was made before this mount, and would not see it.
    pid = _sshd_pid(runs, "t-1")
    enter = ["nsenter", "-t", str(pid), "-m"]
    subprocess.run([*enter, "mount", "-t", "tmpfs", "-o", "size=230m", "tmpfs", str(place)], check=True)
    try:
        process, folder = runs.start()
        fill = f"dd if=/dev/zero of={place}/filler bs=64k 2>/dev/null"
        subprocess.run([*enter, "sh", "-c", fill], check=False)
        err = ended(process, 60)
        assert process.returncode == 7, err
        assert "Rank 1 on node 1 (t-1)" in err
        assert "No space left" in err or "full" in err
        assert str(place) in err
        assert read_log(folder.rank_events(1)).health.corrupt == 0
    finally:
        subprocess.run([*enter, "umount", str(place)], check=True)


def _sshd_pid(runs: FleetRuns, name: str) -> int:
    outer = psutil.Process(runs.fleet.hosts.processes[name].pid)
    return outer.children(recursive=True)[0].pid


def test_a_notice_of_preemption_interrupts_the_run(runs: FleetRuns) -> None:
    """AWS's metadata service, as a node sees it: nothing at first, then the notice of a spot instance's end."""
    record = runs.fleet.fleet.folder / "fleet.json"
    as_it_was = record.read_text()
    record.write_text(json.dumps(json.loads(as_it_was) | {"cloud": "aws"}))
    space = runs.fleet.hosts._names("t-2")[0]
    in_space = ["ip", "netns", "exec", space]
    subprocess.run(["ip", "-n", space, "addr", "add", "169.254.169.254/32", "dev", "lo"], check=True)
    service = subprocess.Popen([*in_space, "python3", "-c", METADATA], stdin=subprocess.PIPE, text=True)
    try:
        process, folder = runs.start()
        assert service.stdin is not None
        service.stdin.write("now\n")
        service.stdin.flush()
        err = ended(process, 60)
        assert process.returncode == 11, err
        assert "node 2 (t-2): AWS announced the end of this spot instance" in err
        assert runs.mlb.json("report", folder.run_id)["status"] == "interrupted"
        runs.assert_all_is_here(folder)
    finally:
        record.write_text(as_it_was)
        service.kill()
        service.communicate()
        subprocess.run(["ip", "-n", space, "addr", "del", "169.254.169.254/32", "dev", "lo"], check=True)


METADATA = """
import sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
announced = threading.Event()
class Service(BaseHTTPRequestHandler):
    def do_PUT(self):
        self.answer(200, "token")
    def do_GET(self):
        if self.headers.get("X-aws-ec2-metadata-token") != "token":
            self.answer(401, "")
        elif self.path == "/latest/meta-data/spot/instance-action" and announced.is_set():
            self.answer(200, '{"action": "terminate", "time": "2026-01-01T00:02:00Z"}')
        else:
            self.answer(404, "")
    def answer(self, code, text):
        self.send_response(code)
        self.end_headers()
        self.wfile.write(text.encode())
    def log_message(self, *args):
        pass
def wait():
    sys.stdin.readline()
    announced.set()
threading.Thread(target=wait, daemon=True).start()
HTTPServer(("169.254.169.254", 80), Service).serve_forever()
"""
