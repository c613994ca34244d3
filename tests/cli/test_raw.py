"""`mlb bench task0a` as users run it."""

import json

import pytest
from mlb.results.raw import OPERATIONS, plan_of
from support import Mlb

pytestmark = pytest.mark.system


def test_every_operation_at_every_size_is_right_and_reported(mlb: Mlb) -> None:
    done = mlb("bench", "task0a", "--quick")
    assert done.returncode == 0, done.stderr
    assert "every result checked and right" in done.stdout
    report = mlb.json("report")
    assert len(report["points"]) == len(OPERATIONS) * len(plan_of("quick").sizes)
    assert all(0 < p["p5_us"] <= p["median_us"] <= p["p95_us"] <= p["p99_us"] for p in report["points"])
    assert mlb("report").stdout == done.stdout, "the files alone give the same report"
    assert mlb("bench", "attach").stdout == done.stdout
    (folder,) = (mlb.home / "runs").iterdir()
    assert json.loads((folder / "metrics.json").read_text())["points"] == report["points"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("task0a", "--goal", "smoke"), "Goals of task0a: full, quick."),
        (("task0a", "--quick", "--nodes", "2"), "this machine only"),
        (("task0a", "--quick", "--ranks", "1"), "nobody to communicate with"),
        (("task0a", "--quick", "--backend", "mpi"), "one of gloo, nccl"),
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
