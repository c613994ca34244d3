"""The split of generated runs: the parts add up to the wall exactly, and the residual is the gaps that were planted."""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from mlb.results.keys import PHASES
from mlb.results.metrics import compute
from mlb.results.report import to_markdown, to_text
from mlb.results.split import PARTS

MS = 1_000_000
PLACES = {"import": "startup", "data": "startup", "epoch": "between_epochs", "finish": "finish"}

spans = st.integers(0, 10**12)
parts = st.one_of(
    st.tuples(st.sampled_from(["import", "data", "epoch", "finish"]), spans),
    st.tuples(st.just("step"), st.lists(spans, min_size=len(PHASES), max_size=len(PHASES))),
    st.tuples(st.just("evaluation"), spans),
    st.tuples(st.just("gap"), spans),
    st.tuples(st.just("mark"), st.just(0)),
)
ranks = st.tuples(spans, st.integers(0, 10**15), st.lists(parts, max_size=12), st.booleans())


def tell(tale: Any, kind: str, size: Any, planted: dict[str, int]) -> None:
    """Add one happening to the story, and to what the split has to say about it."""
    if kind == "step":
        tale.step(*size)
        for phase, ns in zip(PHASES, size, strict=True):
            planted[phase] += ns
    elif kind == "evaluation":
        tale.evaluate(7.0, size)
        planted["evaluation"] += size
    elif kind == "gap":
        tale.wait(size)
        planted["unaccounted"] += size
    elif kind == "mark":
        tale.event("from the future", start_ns=0, duration_ns=10**9)
    else:
        tale.stage(kind, size)
        planted[PLACES[kind]] += size


@settings(max_examples=60)
@given(told=st.lists(ranks, min_size=1, max_size=4))
def test_the_parts_add_up_to_the_wall(
    told: list[tuple[int, int, list[tuple[str, Any]], bool]], story: Any, run_at: Any
) -> None:
    planted: list[dict[str, int]] = []
    walls: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        run = run_at(Path(folder), ranks=len(told))
        for rank, (launch, clock, happenings, whole) in enumerate(told):
            expected = dict.fromkeys(PARTS, 0) | {"launch": launch}
            # Each node's monotonic clock has a zero of its own.
            tale = story(rank, clock_ns=clock).wait(launch).start()
            for kind, size in happenings:
                tell(tale, kind, size, expected)
            # A log that was cut off ends with its last line; the time it lost is the ending.
            run.tell(tale.stop() if whole else tale.event("from the future"))
            planted.append(expected)
            walls.append(tale.clock_ns - clock)
        metrics = compute(run.folder)
    wall = max(walls)
    for split, expected, own in zip(metrics.split.ranks, planted, walls, strict=True):
        assert split.parts_ns == expected | {"ending": wall - own}
        assert sum(split.parts_ns.values()) == split.wall_ns == wall
        assert split.overlap_ns == 0
        assert split.adds_up == (wall > 0 and expected["unaccounted"] * 100 <= wall)
    assert to_text(metrics)
    assert to_markdown(metrics)


def test_collectives_outside_of_steps_belong_to_the_interval_that_ends_next(
    story: Any, run_at: Any, tmp_path: Path
) -> None:
    def collective(tale: Any, ms: int) -> Any:
        return tale.event("collective", operation="all_reduce", payload_bytes=4, start_ns=0, duration_ns=ms * MS)

    tale = collective(story().start(), 30).stage("model", 100 * MS)
    tale = collective(collective(tale.step(*[MS] * 7), 2), 1).evaluate(7.0, 50 * MS)
    run = run_at(tmp_path, ranks=1).tell(tale.evaluate(7.0, 50 * MS).stop())
    metrics = compute(run.folder)
    (rank,) = metrics.split.ranks
    assert rank.outside_ns == {"startup": 30 * MS, "evaluation": 3 * MS}
    assert rank.parts_ns["evaluation"] == 100 * MS, "they are a part of it, not beside it"
    assert metrics.to_json()["time"]["ranks"][0]["collectives_outside_steps_s"] == {
        "startup": 0.03,
        "evaluation": 0.003,
    }
    note = "Collectives outside of training steps, waiting included: 0.030 s of startup (mean over ranks)."
    assert note in " ".join(to_text(metrics).split())
