"""Checkpoints: the same curve to the bit, whole files only, nothing executed."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mlb.aggregation.base import Aggregation
from mlb.aggregation.exchange import Exchange
from mlb.errors import ResultsInvalid
from mlb.results.log import read_log
from mlb.results.run import RunFolder, rank_checkpoint
from mlb.results.writer import EventLog
from mlb.runners.checkpoint import KEPT, Checkpoints, Position, resume
from mlb.runners.loop import TrainingLoop
from small_tasks import TASKS, task_2a
from support import example_spec

SPEC = example_spec(ranks=1, target=-1.0, max_epochs=3)


def train(task: Any, folder: RunFolder, *, position: Position | None = None, steps: int | None = None) -> list[Any]:
    """Losses of each step, the qualities, and the digest of the weights."""
    folder.create()
    log = EventLog(folder.rank_events(0), rank=0, local_rank=0, world_size=1, node=0, run_id="r", launched_unix_ns=0)
    spec = replace(SPEC, target_is_upper_bound=True, max_steps=steps)
    loop = TrainingLoop(
        spec,
        task,
        Aggregation(task.model, Exchange(1)),
        log,
        torch.device("cpu"),
        checkpoints=Checkpoints(folder, 0, 1, 1),
        start=position,
    )
    try:
        loop.run()
    finally:
        log.close()
    seen = [("step", e.fields["step"], e.fields["loss"]) for e in events(folder, "step")]
    seen += [
        ("quality", e.fields["split"], e.fields["epoch_num"], e.fields["value"])
        for e in events(folder, "eval_accuracy")
    ]
    return [*seen, *(("digest", e.fields["value"]) for e in events(folder, "parameter_digest"))]


def events(folder: RunFolder, key: str) -> list[Any]:
    return [event for event in read_log(folder.rank_events(0)).events if event.key == key]


NAMED = {"schedule": "multistep:milestones=0.5+1.4+2:gamma=0.5"}


@pytest.mark.parametrize(
    ("name", "changes"),
    [*((name, {}) for name in TASKS), *((name, NAMED) for name in ("2a", "3a", "4b"))]
    + [("2a", {"optimiser": name}) for name in ("adam", "schedulefree-adamw")],
)
def test_a_run_goes_on_from_any_step_to_the_same_bits(
    request: Any, tmp_path: Path, name: str, changes: dict[str, Any]
) -> None:
    """Mid-epoch, at an epoch's last step and at its first: losses, qualities and weights equal those of a whole run."""

    def fresh() -> Any:
        torch.manual_seed(11)
        return TASKS[name](request, **changes)

    whole = train(fresh(), RunFolder(tmp_path / "whole"))
    per_epoch = sum(1 for kind, *_ in whole if kind == "step") // 3
    for cut in {1, per_epoch - 1, per_epoch, per_epoch + 1, 2 * per_epoch + 1}:
        first = RunFolder(tmp_path / f"first-{cut}")
        train(fresh(), first, steps=cut)
        torch.manual_seed(99)  # whatever the process did before
        task = TASKS[name](request, **changes)
        position = resume(first.checkpoint(cut), task, 0, 1)
        assert position.steps == cut
        rest = train(task, RunFolder(tmp_path / f"rest-{cut}"), position=position)
        done = [row for row in whole if row[0] == "step" and row[1] < cut]
        epochs_before = [row for row in whole if row[0] == "quality"][: position.epoch - 1]
        assert rest == [row for row in whole if row not in done and row not in epochs_before]


@pytest.fixture
def saved(request: Any, tmp_path: Path) -> tuple[RunFolder, Any]:
    torch.manual_seed(1)
    folder, task = RunFolder(tmp_path / "run"), task_2a(request)
    checkpoints = Checkpoints(folder, 0, 1, 5)
    for steps in (5, 10, 15, 20):
        checkpoints.take(task, Position(1, steps, steps))
    checkpoints.wait()
    return folder, task


def test_the_newest_are_kept(saved: tuple[RunFolder, Any]) -> None:
    folder, _ = saved
    assert [path.name for path in folder.whole_checkpoints(1)] == ["step-00000015", "step-00000020"]
    assert KEPT == 2
    assert [p.name for p in folder.checkpoint(20).iterdir()] == ["rank-00000.pt"]


def test_a_checkpoint_counts_once_every_rank_has_written_it(saved: tuple[RunFolder, Any]) -> None:
    folder, _ = saved
    assert folder.whole_checkpoints(2) == []
    rank_checkpoint(folder.checkpoint(15), 1).touch()
    assert [path.name for path in folder.whole_checkpoints(2)] == ["step-00000015"]


def test_what_is_saved_is_the_state_of_its_step(request: Any, tmp_path: Path) -> None:
    """Training goes on while the file is written: the copy is taken before."""
    task = task_2a(request)
    before = task.model.linear.weight.detach().clone()
    checkpoints = Checkpoints(RunFolder(tmp_path), 0, 1, 1)
    checkpoints.take(task, Position(1, 1, 1))
    with torch.no_grad():
        task.model.linear.weight.zero_()
    checkpoints.wait()
    resume(RunFolder(tmp_path).checkpoint(1), task, 0, 1)
    assert torch.equal(task.model.linear.weight, before)


class Bomb:
    def __reduce__(self) -> Any:
        return (os.system, ("touch /tmp/mlb-test-bomb",))


@pytest.mark.parametrize("damage", ["cut", "empty", "code", "other rank", "other task", "absent"])
def test_a_checkpoint_that_cannot_be_used_is_named(saved: tuple[RunFolder, Any], request: Any, damage: str) -> None:
    folder, task = saved
    path = rank_checkpoint(folder.checkpoint(20), 0)
    rank = 0
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-50])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "code":
        path.write_bytes(pickle.dumps(Bomb()))
    elif damage == "other rank":
        path.rename(rank_checkpoint(folder.checkpoint(20), 1))
        rank = 1
    elif damage == "other task":
        task = TASKS["1a"](request)
    else:
        path.unlink()
    with pytest.raises(ResultsInvalid, match="is not a checkpoint that this run can go on from"):
        resume(folder.checkpoint(20), task, rank, 1)
    assert not Path("/tmp/mlb-test-bomb").exists()


def test_a_disk_that_is_full_does_not_end_the_training(
    request: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", no_room)
    checkpoints = Checkpoints(RunFolder(tmp_path), 0, 1, 1)
    checkpoints.take(task_2a(request), Position(1, 1, 1))
    checkpoints.wait()
    assert "a checkpoint could not be written: [Errno 28] No space left on device" in capsys.readouterr().err
    assert RunFolder(tmp_path).whole_checkpoints(1) == []
    assert not list(RunFolder(tmp_path).checkpoint(1).iterdir())
