"""`mlb pack`, `verify`, `rerun` as commands, on real runs and on archives that are not to be trusted."""

import json
import zipfile

import pytest
from mlb.results.metrics import compute
from mlb.results.run import RunFolder, write_json
from stories import Run, Story, small_run
from support import Mlb


@pytest.fixture
def told(mlb: Mlb) -> RunFolder:
    """A run of a story, among the runs of the home."""
    runs = mlb.home / "runs"
    runs.mkdir(parents=True)
    folder = small_run(runs, target=300.0, dataset="elsewhere").folder
    write_json(folder.metrics, compute(folder).to_json())
    return folder


def test_pack_and_verify(mlb: Mlb, told: RunFolder) -> None:
    packed = mlb.json("pack")
    assert packed["archive"] == "a-run.mlb.zip"
    done = mlb("verify", "a-run.mlb.zip")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "a-run: sound. goal reached" in done.stdout
    assert mlb.json("verify", "a-run.mlb.zip", "--limit-gib", "1")["sound"] is True
    assert mlb("verify", "a-run").returncode == 0
    both = mlb("verify", "a-run", "a-run.mlb.zip")
    assert both.returncode == 12
    assert "no independent repeats" in both.stdout


def test_a_fault_is_named_and_the_code_says_so(mlb: Mlb, told: RunFolder) -> None:
    raw = json.loads(told.metrics.read_text())
    told.metrics.write_text(json.dumps({**raw, "time_to_target_s": 1.5}))
    done = mlb("verify")
    assert done.returncode == 2
    done = mlb("verify", "a-run")
    assert done.returncode == 12
    assert "metrics.json says time_to_target_s 1.5; the logs say 5.22." in done.stdout
    answer = json.loads(mlb("verify", "a-run", "--json").stdout)
    assert answer["runs"][0]["faults"]


@pytest.mark.parametrize("name", ["no-such.zip", "text.zip", "."])
def test_what_is_no_archive(mlb: Mlb, name: str) -> None:
    (mlb.cwd / "text.zip").write_text("text")
    done = mlb("verify", name)
    assert done.returncode == 12
    assert "Traceback" not in done.stderr


def test_too_large_an_archive(mlb: Mlb, told: RunFolder) -> None:
    mlb("pack")
    done = mlb("verify", "a-run.mlb.zip", "--limit-gib", "0.001")
    assert done.returncode == 0
    with zipfile.ZipFile(mlb.cwd / "a-run.mlb.zip", "a", zipfile.ZIP_DEFLATED) as out:
        out.writestr("run/logs/rank-00000.log", bytes(2 << 20))
    done = mlb("verify", "a-run.mlb.zip", "--limit-gib", "0.001")
    assert done.returncode == 12
    assert "--limit-gib" in done.stderr


def test_packing_where_nothing_can_be_written(mlb: Mlb, told: RunFolder) -> None:
    done = mlb("pack", "--to", "no/such/folder/x.zip")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr


def test_rerun_shows_what_it_would_do(mlb: Mlb, told: RunFolder) -> None:
    mlb("pack")
    done = mlb("rerun", "a-run.mlb.zip", "--dry-run")
    assert done.stdout.strip() == "mlb bench task3a --goal smoke --seed 43 --data real --backend gloo --ranks 2"


def test_an_archive_cannot_ask_for_another_command(mlb: Mlb) -> None:
    runs = mlb.home / "runs"
    runs.mkdir(parents=True)
    Run(runs, run_id="evil", task="stop", argv=("mlb", "bench", "stop", "a-run"), ranks=1).tell(Story(0).start().stop())
    done = mlb("rerun", "evil", "--dry-run")
    assert done.returncode == 2
    assert "stop" in done.stderr


@pytest.mark.system
def test_a_real_run_is_packed_verified_and_repeated(mlb: Mlb) -> None:
    """Two steps of the smoke recipe on synthetic text, one rank; then the same again from its archive."""
    options = ("--goal", "smoke", "--data", "synthetic", "--ranks", "1", "--steps", "2", "--seed", "7")
    first = mlb("bench", "task3a", *options)
    assert first.returncode == 0, first.stderr
    archive = mlb.json("pack")["archive"]
    assert mlb("verify", archive).returncode == 0
    again = mlb("rerun", archive)
    assert again.returncode == 0, again.stderr
    runs = [RunFolder(path) for path in sorted((mlb.home / "runs").iterdir())]
    one, other = (compute(run) for run in runs)
    assert set(one.spec.argv) <= set(other.spec.argv)
    assert one.spec.seed == other.spec.seed == 7
    assert one.records[0].digest == other.records[0].digest, "the same seed gives the same parameters"
    done = mlb("verify", runs[0].run_id, runs[1].run_id)
    assert done.returncode == 12
    assert "has the seed 7 of" in done.stdout
