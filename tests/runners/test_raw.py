"""Task 0a's operations: what each leaves in the buffers, and what is called for it."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mlb.results.backends import mpi_packages_missing
from mlb.results.raw import OPERATIONS, points_of, report_of, to_json
from mlb.results.run import RunFolder, write_json
from mlb.runners.pmi import MpiMeeting, local_store
from mlb.runners.raw_calls import MpiCalls
from support import example_spec


@pytest.mark.system
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_every_operation_leaves_what_it_should(run_ranks: Callable[..., Path], ranks: int) -> None:
    meeting = MpiMeeting(f"raw-{os.getpid()}-{ranks}", ranks, 1, local_store)
    out = run_ranks(Path(__file__).with_name("ranks_raw.py"), ranks, PMI_PORT=meeting.address)
    meeting.close()
    logs = [json.loads((out / f"{rank}.json").read_text()) for rank in range(ranks)]
    backends = ["gloo", "mpi"] if not mpi_packages_missing() else ["gloo"]
    assert len(logs[0]) == len(backends) * len(OPERATIONS) * 3
    for case in logs[0]:
        assert all(log[case][1] for log in logs), f"{case} is wrong"
        assert not all(log[case][0] for log in logs), f"{case} was right before it was made"
        assert all(log[case][2] > 0 for log in logs)


def measured(run_ranks: Callable[..., Path], path: Path, ranks: int, *backends: str, **environment: str) -> RunFolder:
    folder = RunFolder(path / "run")
    folder.create()
    write_json(folder.spec, example_spec(task="task0a", goal="quick", ranks=ranks, backends=backends))
    run_ranks(Path(__file__).with_name("ranks_measure.py"), ranks, str(folder.path), **environment)
    return folder


@pytest.mark.system
def test_each_size_type_and_operation_is_measured_on_all_backends_before_the_next(
    run_ranks: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("mpi4py")
    meeting = MpiMeeting(f"raw-turns-{os.getpid()}", 2, 1, local_store)
    folder = measured(run_ranks, tmp_path, 2, "gloo", "mpi", PMI_PORT=meeting.address)
    meeting.close()
    points = points_of(folder)
    assert all(point.correct for point in points)
    turns = [(p.operation, p.dtype) for p in points[::2]]
    assert turns == [(p.operation, p.dtype) for p in points[1::2]]
    assert [point.backend for point in points] == ["gloo", "mpi"] * (2 * 2 * len(OPERATIONS))
    one_size = [(operation, dtype) for dtype in ("float32", "bfloat16") for operation in OPERATIONS]
    assert turns == one_size * 2
    largest = [p.size_bytes for p in points if p.operation == "all_reduce"]
    assert largest == [4, 4, 2, 2, 400, 400, 200, 200]


@pytest.mark.system
def test_one_rank_tells_what_it_can_and_what_it_cannot(run_ranks: Callable[..., Path], tmp_path: Path) -> None:
    folder = measured(run_ranks, tmp_path, 1, "gloo")
    points = points_of(folder)
    assert len(points) == 2 * 2 * len(OPERATIONS)
    assert all(p.correct and p.median_us > 0 and p.algbw > 0 and p.busbw is None for p in points)
    assert {p["busbw"] for p in json.loads(json.dumps(to_json(folder, points)))["points"]} == {None}
    report = report_of(folder, points)
    assert "nothing crosses a link" in report.warnings[0]
    assert {row[report.tables[0].headers.index("busbw GB/s")] for table in report.tables for row in table.rows} == {"-"}


class Library:
    """A communicator that writes down what it is asked for; all of mpi4py's methods are there."""

    rank, size = 1, 3

    def __init__(self) -> None:
        self.called: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_arguments: self.called.append(name)


def test_over_mpi_the_library_is_called_and_nothing_before_it() -> None:
    pytest.importorskip("mpi4py")
    library = Library()
    group: Any = type("Group", (), {"communicator": library})
    calls, tensor = MpiCalls(group), torch.zeros(6)
    for operation in OPERATIONS:
        call = getattr(calls, operation)(tensor, tensor)
        assert not library.called, "it is made ready, not made"
        call()
        assert len(library.called) == 1
        library.called.clear()
