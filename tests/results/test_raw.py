"""Task 0a's table: nccl-tests' definitions, the slowest rank of each repetition, and what is refused."""

from pathlib import Path

import pytest
from mlb.errors import ResultsInvalid
from mlb.results.raw import OPERATIONS, bus_factor, elements, plan_of, points_of, report_of, to_json
from mlb.results.run import RunFolder, write_json
from mlb.results.table import text_of
from mlb.results.writer import EventLog
from support import example_spec


def folder_of(path: Path, *points_of_ranks: list[dict[str, object]]) -> RunFolder:
    folder = RunFolder(path / "run")
    folder.create()
    write_json(folder.spec, example_spec(task="task0a", goal="quick", ranks=len(points_of_ranks)))
    for rank, points in enumerate(points_of_ranks):
        log = EventLog(folder.rank_events(rank), rank=rank, local_rank=rank, world_size=len(points_of_ranks), node=0,
                       run_id="r", launched_unix_ns=0)  # fmt: skip
        for point in points:
            log.event("raw_point", **point)
        log.close()
    return folder


def point(times_us: list[int], **changes: object) -> dict[str, object]:
    fields = {"backend": "gloo", "device": "cpu", "operation": "all_reduce", "dtype": "float32", "size_bytes": 3000}
    return fields | {"correct": True, "times_ns": [1000 * t for t in times_us]} | changes


def test_a_repetition_takes_as_long_as_on_its_slowest_rank(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, [point([1, 20, 3])], [point([10, 2, 30])], [point([5, 5, 5])])
    (found,) = points_of(folder)
    assert (found.median_us, found.p5_us, found.p95_us) == (20, 11, 29)
    # 3000 bytes in 20 us; an all-reduce of 3 ranks counts 2 (3-1)/3 times.
    assert (found.algbw, found.busbw) == (pytest.approx(0.15), pytest.approx(0.2))
    assert to_json(folder, [found])["all_correct"] is True
    assert "every result checked and right" in text_of(report_of(folder, [found]), 100)


def test_sums_that_mpi_cannot_do_are_not_called_its_speed(tmp_path: Path) -> None:
    kinds = [(b, o, d) for b in ("gloo", "mpi") for o in OPERATIONS for d in ("float32", "float16", "bfloat16")]
    lines = [point([1], backend=b, operation=o, dtype=d) for b, o, d in kinds]
    folder = folder_of(tmp_path, lines, lines)
    report = report_of(folder, points_of(folder))
    told = {kind for kind, table in zip(kinds, report.tables, strict=True) if table.notes}
    assert told == {("mpi", o, d) for o in ("all_reduce", "reduce_scatter") for d in ("float16", "bfloat16")}
    assert text_of(report, 200).count("not MPI's times") == 4


def test_one_wrong_rank_makes_a_point_wrong(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, [point([1])], [point([1], correct=False)])
    points = points_of(folder)
    assert to_json(folder, points)["all_correct"] is False
    assert "1 WRONG" in text_of(report_of(folder, points), 100)


@pytest.mark.parametrize("changes", [{"size_bytes": 4}, {"operation": "broadcast"}, {"times_ns": [1, 2]}])
def test_ranks_that_measured_different_things_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(ResultsInvalid, match="did not measure the same"):
        points_of(folder_of(tmp_path, [point([1])], [point([1], **changes)]))


@pytest.mark.parametrize("changes", [{"operation": "../../x"}, {"dtype": "float3"}])
def test_what_task0a_does_not_measure_is_no_point_of_it(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(ResultsInvalid, match="Task 0a has no"):
        points_of(folder_of(tmp_path, [point([1], **changes)]))


def test_nothing_measured_is_not_called_right(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, [], [])
    assert report_of(folder, points_of(folder)).title[-1] == "Nothing was measured."


def test_factors_are_those_of_nccl_tests() -> None:
    assert {operation: bus_factor(operation, 4) for operation in OPERATIONS} == {
        "all_reduce": 1.5,
        "all_gather": 0.75,
        "reduce_scatter": 0.75,
        "broadcast": 1,
        "all_to_all": 0.75,
        "send_recv": 1,
    }


def test_the_full_plan_is_mlbenchs_line_from_4_bytes_to_400_mb() -> None:
    plan = plan_of("full")
    assert (plan.sizes[0], plan.sizes[-1]) == (1, 10**8)
    assert 4 * elements("all_reduce", plan.sizes[-1], "float32", 3) == 400_000_000
    assert plan.dtypes == ("float32", "float16", "bfloat16")
    assert all(elements("all_to_all", size, "float32", 3) % 3 == 0 for size in plan.sizes)
