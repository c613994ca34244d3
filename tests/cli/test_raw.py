"""`mlb bench task0a` as users run it."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

import pytest
from mlb.results.raw import OPERATIONS, Point, plan_of
from mlb.results.run import RunFolder, write_json
from mlb.results.writer import EventLog
from stories import small_run
from support import Mlb, example_spec

pytestmark = pytest.mark.system


def test_every_operation_at_every_size_is_right_and_reported(mlb: Mlb) -> None:
    done = mlb("bench", "task0a", "--quick")
    assert done.returncode == 0, done.stderr
    assert "every result checked and right" in done.stdout
    report = mlb.json("report")
    backends = {"gloo", "mpi"} if find_spec("mpi4py") else {"gloo"}
    assert {point["backend"] for point in report["points"]} == backends
    assert len(report["points"]) == len(backends) * len(OPERATIONS) * len(plan_of("quick").sizes)
    assert all(0 < p["p5_us"] <= p["median_us"] <= p["p95_us"] <= p["p99_us"] for p in report["points"])
    assert mlb("report").stdout == done.stdout, "the files alone give the same report"
    assert mlb("bench", "attach").stdout == done.stdout
    (folder,) = (mlb.home / "runs").iterdir()
    assert json.loads((folder / "metrics.json").read_text())["points"] == report["points"]


@pytest.fixture
def raw_run(tmp_path: Path) -> Callable[[str], str]:
    """Makes the folder of a finished run of two ranks and four points; gives its path."""

    def make(name: str) -> str:
        folder = RunFolder(tmp_path / "raw" / name)
        folder.create()
        write_json(folder.spec, example_spec(task="task0a", goal="quick", dataset="", backends=("gloo",), run_id=name))
        for rank in range(2):
            log = EventLog(folder.rank_events(rank), rank=rank, local_rank=rank, world_size=2, node=0, run_id=name,
                           launched_unix_ns=0)  # fmt: skip
            for operation in ("all_reduce", "broadcast"):
                for size in (4, 4000):
                    log.event("raw_point", backend="gloo", device="cpu", operation=operation, dtype="float32",
                              size_bytes=size, correct=True, times_ns=[1000 * size, 2000 * size])  # fmt: skip
            log.close()
        return str(folder.path)

    return make


def test_a_run_is_written_as_a_page_as_pictures_and_as_a_row_a_point(
    mlb: Mlb, raw_run: Callable[[str], str], tmp_path: Path
) -> None:
    one, other = raw_run("one"), raw_run("other")
    done = mlb("report", one, "--html", str(tmp_path / "page.html"), "--csv", str(tmp_path / "points.csv"),
               "--svg", str(tmp_path / "drawn"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    names = {f"{what}-{o}-float32.svg" for what in ("time", "bandwidth") for o in ("all_reduce", "broadcast")}
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == names
    page = (tmp_path / "page.html").read_text()
    assert "4 points, every result checked and right" in page
    assert "not evaluated" not in page
    rows = list(csv.DictReader(io.StringIO((tmp_path / "points.csv").read_text())))
    assert len(rows) == 4
    assert set(rows[0]) == {"run", "goal", "ranks", "nodes", *(field.name for field in fields(Point))}
    assert (rows[1]["run"], rows[1]["ranks"], rows[1]["nodes"]) == ("one", "2", "1")
    assert (rows[1]["operation"], rows[1]["size_bytes"], rows[1]["median_us"]) == ("all_reduce", "4000", "6000.0")
    both = list(csv.DictReader(io.StringIO(mlb("report", one, other, "--csv", "-").stdout)))
    assert [row["run"] for row in both] == ["one"] * 4 + ["other"] * 4


def test_files_that_task0a_does_not_have_are_refused(mlb: Mlb, raw_run: Callable[[str], str], tmp_path: Path) -> None:
    one, other, training = raw_run("one"), raw_run("other"), str(small_run(tmp_path).folder.path)
    out = str(tmp_path / "out")
    for arguments, words in (
        ((one, "--trace", out), "A run of task0a has no --trace."),
        ((one, "--parquet", out, "--mllog", out), "has no --parquet or --mllog."),
        ((one, "--tensorboard", out), "Take --html FILE, --csv FILE, --svg FOLDER, --png FOLDER, --json or --md."),
        ((one, training, "--csv", out), "A run of task0a and a training cannot be in one file."),
        ((training, one, "--html", out), "A run of task0a and a training cannot be in one file."),
        ((one, other, "--html", out), "shows one run of task0a only."),
    ):
        done = mlb("report", *arguments)
        assert done.returncode == 2, arguments
        assert words in " ".join(done.stderr.split())
        assert not Path(out).exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("task0a", "--goal", "smoke"), "Goals of task0a: full, quick."),
        (("task0a", "--quick", "--nodes", "2"), "This machine is one node, not 2."),
        (("task0a", "--quick", "--steps", "2"), "task0a trains nothing: it has no --steps."),
        (("task0a", "--quick", "--ranks", "1"), "nobody to communicate with"),
        (("task0a", "--quick", "--backend", "mqi"), "one of gloo, mpi, nccl, ucc"),
        (("task3a", "--quick"), "task0a's alone"),
        (("task3a", "--aggregation", "gosip"), "Did you mean 'gossip'?"),
        (("task3a", "--goal", "smoke", "--aggregation", "ps:servers=3"), "3 servers on 2 ranks"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(mlb: Mlb, arguments: tuple[str, ...], words: str) -> None:
    done = mlb("bench", *arguments)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.split())
    assert not (mlb.home / "runs").exists()


SHAPES = {1: 8, 2: 4, 4: 2, 8: 1}
"""Ranks on each node, by nodes: eight ranks in every shape there is."""


def write_fleet(mlb: Mlb, nodes: int, gpus: int = 0) -> None:
    where = [(f"t-{i}", f"10.0.0.{i + 1}") for i in range(nodes)]
    record = {
        "schema_version": 1, "name": "t", "cloud": "ssh", "status": "ready", "expires_at": "2099-01-01T00:00:00Z",
        "usd_per_hour": None,
        "nodes": [
            {"name": name, "ssh_host": at, "ssh_port": 22, "ssh_user": "root", "private_ip": at, "gpus": gpus}
            for name, at in where
        ],
    }  # fmt: skip
    folder = mlb.home / "state" / "fleets" / "t"
    folder.mkdir(parents=True)
    (folder / "fleet.json").write_text(json.dumps(record))


def test_one_gpu_is_measured_over_nccl_and_one_cpu_is_not(mlb: Mlb) -> None:
    write_fleet(mlb, 1, gpus=1)
    planned = ("bench", "task0a", "--quick", "--fleet", "t", "--dry-run")
    for options in ((), ("--gpus", "1"), ("--backend", "nccl")):
        done = mlb(*planned, *options)
        assert done.returncode == 0, done.stderr
        assert "--nproc-per-node=1" in done.stdout
        assert "gloo is left out: one rank has nobody to communicate with." in done.stderr
    done = mlb(*planned, "--backend", "gloo", "--ranks", "1")
    assert done.returncode == 2
    assert "One rank has nobody to communicate with." in done.stderr


def test_on_a_fleet_it_is_said_what_is_left_out(mlb: Mlb) -> None:
    write_fleet(mlb, 2)
    planned = ("bench", "task0a", "--quick", "--fleet", "t", "--ranks", "1", "--dry-run")
    said = " ".join(mlb(*planned).stderr.split())
    assert "nccl is left out: it needs GPUs, and there are none." in said
    assert "ucc is left out" in said
    assert ("mpi is left out" in said) is (find_spec("mpi4py") is None)
    assert mlb(*planned, "--backend", "gloo").stderr == ""


def test_eight_ranks_are_planned_in_every_shape(mlb: Mlb) -> None:
    write_fleet(mlb, 8)
    for count, each in SHAPES.items():
        options = ("--fleet", "t", "--nodes", str(count), "--ranks", str(each), "--backend", "gloo", "--oversubscribe")
        plan = mlb.json("bench", "task0a", "--quick", "--dry-run", *options)["plan"]
        assert [node["name"] for node in plan["nodes"]] == [f"t-{i}" for i in range(count)]
        for number, node in enumerate(plan["nodes"]):
            assert f"--nnodes={count}" in node["argv"]
            assert f"--nproc-per-node={each}" in node["argv"]
            assert count == 1 or f"--node-rank={number}" in node["argv"]
