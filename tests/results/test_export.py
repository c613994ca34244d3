"""Other tools' formats, read back by those tools where they are here."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from mlb.errors import ResultsInvalid, UsageError
from mlb.results.export import EXPORTS, export
from mlb.results.parquet import COLUMNS
from mlb.tasks.recipe1b import RECIPES_1B
from mlb.tasks.recipe4 import RECIPES_4B

MS = 1_000_000
ROOT = Path(__file__).resolve().parents[2]


def test_the_trace_has_every_step_on_one_clock(small_run: Any, tmp_path: Path) -> None:
    folder = small_run(tmp_path).folder
    export(folder, "trace", tmp_path / "t.json")
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    steps = [e for e in events if e["name"].startswith("step ")]
    assert len(steps) == 2 * 10
    first, second = (next(e for e in steps if e["pid"] == rank) for rank in (0, 1))
    assert first["ts"] == second["ts"] == 0, "both ranks' first step began at the same moment"
    waiting = [e["dur"] for e in events if e["name"] == "waiting"]
    assert waiting == [40_000.0] * 10, "rank 0 waits 40 ms in every step, rank 1 never"
    assert {e["dur"] for e in events if e["name"] == "transfer"} == {60_000.0}
    for track in (0, 1):
        assert sum(e["dur"] for e in events if e["ph"] == "X" and e["tid"] == track) == 2 * 10 * 440_000.0
    assert {e["args"]["name"] for e in events if e["name"] == "process_name"} == {"rank 0", "rank 1"}


def test_the_table_is_tidy_and_documented(small_run: Any, tmp_path: Path) -> None:
    folder = small_run(tmp_path).folder
    assert export(folder, "parquet", tmp_path / "t.parquet") == 20
    table = pyarrow.parquet.read_table(tmp_path / "t.parquet")
    assert tuple(table.column_names) == COLUMNS
    text = (ROOT / "docs/exports.md").read_text()
    assert not [name for name in COLUMNS if f"`{name}`" not in text]
    rows = table.to_pylist()
    assert {row["exposed_wait_ns"] for row in rows if row["rank"] == 0} == {40 * MS}
    assert {row["exposed_wait_ns"] for row in rows if row["rank"] == 1} == {0}
    for row in rows:
        assert row["communication_ns"] == row["exposed_transfer_ns"] + row["exposed_wait_ns"]
    assert table.schema.metadata[b"told_apart_by"] == b"aligned clocks"
    starts = {rank: [row["start_ns"] for row in rows if row["rank"] == rank] for rank in (0, 1)}
    assert starts[0] == starts[1], "the ranks' own clocks differ by 100 s"


TRANSFORMER = {
    "max_sequence_length": 80, "train_samples": 100, "eval_samples": 10, "opt_name": "adam",
    "opt_base_learning_rate": 0.001,
}  # fmt: skip
OWN = {"max_sequence_length_method": "discard"} | {
    name: value for name, value in asdict(RECIPES_4B["reference"]).items() if name != "learning_rate"
}
"""Beside MLPerf's own names, task 4b's: they must come out under MLPerf's."""


RESNET = {
    "global_batch_size": 4096, "train_samples": 1_281_167, "eval_samples": 50_000, "opt_name": "lars",
    "opt_base_learning_rate": 10.0, "opt_weight_decay": 2e-4,
}  # fmt: skip
"""Likewise of task 1b, whose own names are its reference recipe's."""


def transformer(story: Any, run_at: Any, path: Path, quality: float, division: str = "closed") -> Any:
    return with_rules(story, run_at, path, quality, TRANSFORMER, OWN, task="task4b", target=25.0, division=division)


def with_rules(
    story: Any, run_at: Any, path: Path, quality: float, known: dict[str, Any], own: dict[str, Any], **changes: Any
) -> Any:
    """What a run of a task with rules logs; the log is written by the same words as a rank's."""
    told = story().start().stage("model", 100 * MS).event("seed", value=7)
    for name, value in known.items():
        told.event(name, value=value)
    for name, value in own.items():
        told.event("hyperparameter", name=name, value=value)
    told.event("run_start").event("epoch_start", epoch_num=1).step(1, 1, 1, 1, 0, 1, 1).event("epoch_stop", epoch_num=1)
    told.evaluate(quality, 5 * MS).event("run_stop", status="success", reason="goal")
    told.evaluate(20.0, 5 * MS, epoch=0, split="test").stop()
    return run_at(path, **{"ranks": 1, "target_is_upper_bound": False} | changes).tell(told)


def checked(path: Path, tmp_path: Path) -> str:
    command = ["-m", "mlperf_logging.compliance_checker", "--usage", "training", "--ruleset", "0.7.0"]
    command += ["--log_output", str(tmp_path / "checker.log"), str(path)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=tmp_path, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize(("quality", "verdict"), [(25.2, "SUCCESS"), (24.9, "FAIL")])
def test_mlcommons_own_checker_judges_the_lines(
    story: Any, run_at: Any, tmp_path: Path, quality: float, verdict: str
) -> None:
    export(transformer(story, run_at, tmp_path, quality).folder, "mllog", tmp_path / "result.txt")
    text = (tmp_path / "result.txt").read_text()
    assert text.count('"eval_accuracy"') == 1, "the test split is not what the goal is measured by"
    assert '"cache_clear", "value": false' in text
    assert verdict in checked(tmp_path / "result.txt", tmp_path)


@pytest.mark.parametrize(("quality", "verdict"), [(75.95, "SUCCESS"), (75.8, "FAIL")])
def test_a_closed_run_of_resnet_passes_too(
    story: Any, run_at: Any, tmp_path: Path, quality: float, verdict: str
) -> None:
    own, spec = asdict(RECIPES_1B["reference"]), {"task": "task1b", "target": 75.9, "division": "closed"}
    export(with_rules(story, run_at, tmp_path, quality, RESNET, own, **spec).folder, "mllog", tmp_path / "result.txt")
    assert verdict in checked(tmp_path / "result.txt", tmp_path)


@pytest.mark.parametrize("kind", sorted(EXPORTS))
def test_nothing_is_left_of_an_export_that_fails(run_at: Any, story: Any, tmp_path: Path, kind: str) -> None:
    run = run_at(tmp_path, ranks=1).tell(story())
    (tmp_path / "out").mkdir()
    with pytest.raises(ResultsInvalid, match="nothing to write"):
        export(run.folder, kind, tmp_path / "out" / "file")
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(UsageError, match="cannot be written"):
        export(run.folder, kind, tmp_path / "missing" / "file")


def test_the_open_division_asks_for_less(story: Any, run_at: Any, tmp_path: Path) -> None:
    run = transformer(story, run_at, tmp_path, 25.2, division="open")
    log = run.folder.rank_events(0)
    log.write_bytes(log.read_bytes().replace(b'"max_sequence_length', b'"not_so_long'))
    export(run.folder, "mllog", tmp_path / "result.txt")
    assert "SUCCESS" in checked(tmp_path / "result.txt", tmp_path)
