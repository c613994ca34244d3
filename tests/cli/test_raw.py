"""`mlb bench task0a` as users run it."""

import json
from importlib.util import find_spec

import pytest
from mlb.results.raw import OPERATIONS, plan_of
from support import Mlb

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


def test_eight_ranks_are_planned_in_every_shape(mlb: Mlb) -> None:
    where = [(f"t-{i}", f"10.0.0.{i + 1}") for i in range(8)]
    nodes = [
        {"name": name, "ssh_host": at, "ssh_port": 22, "ssh_user": "root", "private_ip": at, "gpus": 0}
        for name, at in where
    ]
    folder = mlb.home / "state" / "fleets" / "t"
    folder.mkdir(parents=True)
    facts = {"status": "ready", "expires_at": "2099-01-01T00:00:00Z", "usd_per_hour": None}
    record = {"schema_version": 1, "name": "t", "cloud": "ssh", "nodes": nodes, **facts}
    (folder / "fleet.json").write_text(json.dumps(record))
    for count, each in SHAPES.items():
        options = ("--fleet", "t", "--nodes", str(count), "--ranks", str(each), "--backend", "gloo", "--oversubscribe")
        plan = mlb.json("bench", "task0a", "--quick", "--dry-run", *options)["plan"]
        assert [node["name"] for node in plan["nodes"]] == [f"t-{i}" for i in range(count)]
        for number, node in enumerate(plan["nodes"]):
            assert f"--nnodes={count}" in node["argv"]
            assert f"--nproc-per-node={each}" in node["argv"]
            assert count == 1 or f"--node-rank={number}" in node["argv"]
