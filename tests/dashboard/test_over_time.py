"""The time split and the nodes' hardware over time: bounded, exact, and nothing that a file can break."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlb.dashboard.hardware import KEPT, Hardware, NodeSamples
from mlb.dashboard.timeline import STRETCHES, Timeline
from mlb.dashboard.watch import RunWatch
from stories import LAUNCHED, MS, Run, S, Story

CORES = 4


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0.001, 30)), min_size=1, max_size=120))
def test_a_timeline_loses_nothing(spans: list[tuple[float, float]]) -> None:
    timeline, at, total = Timeline(), 0.0, 0.0
    for gap, length in spans:
        timeline.add(at + gap, length, {"forward": 0.25 * length, "backward": 0.75 * length})
        at, total = at + gap + length, total + length
    assert sum(timeline.parts_s["backward"]) == pytest.approx(0.75 * total)
    assert timeline.shares == pytest.approx({"forward": 0.25, "backward": 0.75})
    said = timeline.to_json()
    assert len(said["at"]) <= STRETCHES
    assert all(len(column) == len(said["at"]) for column in said["parts"].values())
    stacked = [sum(column) for column in zip(*said["parts"].values(), strict=True)]
    assert max(stacked) <= 100.1


def test_what_lies_before_the_start_is_left_out() -> None:
    timeline = Timeline()
    timeline.add(-3, 2, {"startup": 2})
    assert timeline.to_json() == {"at": [], "parts": {}}
    timeline.add(-0.1, 0.2, {"input": 0.2})
    assert sum(timeline.parts_s["input"]) == pytest.approx(0.1)


def line(second: int, **fields: Any) -> str:
    """A node that uses two of its four cores, and sends 5 MB/s and receives 3 MB/s."""
    sample = {
        "key": "resources",
        "time_ns": second * S,
        "unix_time_ns": LAUNCHED + second * S,
        "cpu_busy_ns": second * 2 * S,
        "memory_used_bytes": 3 << 30,
        "network": {"eth0": {"sent_bytes": second * 5_000_000, "received_bytes": second * 3_000_000}},
        "gpus": [{"utilisation_percent": 40}, {"utilisation_percent": 60}],
    }
    return json.dumps(sample | fields) + "\n"


HEADER = json.dumps({"key": "resources_start", "time_ns": 1, "cores": CORES, "methods": {}}) + "\n"


def test_samples_are_read_as_they_come(tmp_path: Path) -> None:
    samples = NodeSamples(tmp_path / "resources")
    assert not samples.poll()
    with samples.path.open("w", buffering=1) as file:
        file.write(HEADER + line(1))
        assert samples.poll()
        assert samples.now() is None, "it takes two"
        file.write(line(2)[:30])
        assert not samples.poll()
        file.write(line(2)[30:] + line(3))
        assert samples.poll()
    now = samples.now()
    assert now is not None
    assert (now.cpu_percent, now.memory_gib, now.sent_mb_per_s, now.received_mb_per_s, now.gpu_percent) == (
        pytest.approx((50, 3, 5, 3, 50))
    )
    at, values = samples.over_time()
    assert at == [LAUNCHED + 2 * S, LAUNCHED + 3 * S]
    assert len(values) == 2


@pytest.mark.parametrize("piece", [1, 7, 20_000])
def test_a_long_run_is_read_here_and_there_and_stays_exact(tmp_path: Path, piece: int) -> None:
    """Whether it was followed from its beginning or is opened at its end."""
    samples = NodeSamples(tmp_path / "resources")
    with samples.path.open("w", buffering=1) as file:
        file.write(HEADER)
        for begin in range(1, 20_001, piece):
            file.write("".join(line(second) for second in range(begin, min(begin + piece, 20_001))))
            if piece < 20_000 and begin > 19_000:
                continue
            samples.poll()
    while samples.poll():
        pass
    at, values = samples.over_time()
    assert KEPT // 2 - 2 <= len(values) <= KEPT + 1
    assert at[-1] == LAUNCHED + 20_000 * S
    assert all(one.cpu_percent == pytest.approx(50) and one.sent_mb_per_s == pytest.approx(5) for one in values)
    gaps = [b - a for a, b in itertools.pairwise(at)]
    assert max(gaps) <= 5 * 20_000 * S / len(values)


@pytest.mark.parametrize(
    "rubbish",
    [
        "{\n",
        "[" * 5000 + "\n",
        line(5, network=3, gpus=7),
        line(5, network={"a": 1, "b": {"sent_bytes": "x"}}, gpus=[None, {"utilisation_percent": "nan"}]),
        line(5, cpu_busy_ns="much"),
        line(5, time_ns=-1),
        line(2),
        "x" * (3 << 20) + "\n",
    ],
)
def test_lines_that_are_none_change_nothing(tmp_path: Path, rubbish: str) -> None:
    samples = NodeSamples(tmp_path / "resources")
    samples.path.write_text(HEADER + line(1) + line(2) + line(3) + line(4))
    samples.poll()
    with samples.path.open("a") as file:
        file.write(rubbish + line(9))
    while samples.poll():
        pass
    now = samples.now()
    assert now is not None
    assert now.cpu_percent == pytest.approx(50)
    json.dumps(samples.over_time()[0])


def test_many_nodes_are_shown_together_and_one_alone(tmp_path: Path) -> None:
    run = Run(tmp_path, ranks=3, nodes=3, node_names=("a", "b", "c"))
    for node in range(3):
        lines = [line(second, cpu_busy_ns=second * (node + 1) * S, gpus=[]) for second in range(10, 40)]
        run.folder.node_resources(node).write_text(HEADER + "".join(lines))
        run.node(node, clock_offset_ns=-node * S)
    hardware = Hardware(run.folder, run.spec)
    assert hardware.poll()
    assert not hardware.poll()
    said = hardware.to_json(LAUNCHED + 10 * S, None)
    json.dumps(said, allow_nan=False)
    assert [(row["name"], row["cpu_percent"]) for row in said["rows"]] == [("a", 25), ("b", 50), ("c", 75)]
    mean, least, most = said["series"]["cpu_percent"]
    middle = len(said["at"]) // 2
    assert (mean[middle], least[middle], most[middle]) == (50, 25, 75)
    assert "gpu_percent" not in said["series"], "no node has one"
    assert said["at"][0] == -1, "the third node's clock goes two seconds ahead"
    alone = hardware.to_json(LAUNCHED + 10 * S, 1)
    assert alone["node"] == 1
    assert set(alone["series"]["cpu_percent"][0]) == {50}
    assert hardware.to_json(LAUNCHED, 9)["node"] is None


def test_the_time_of_the_nodes_is_that_of_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path, ranks=1)
    run.tell(Story(0).start().wait(7 * S).event("run_start").step(*[MS] * 7))
    run.folder.node_resources(0).write_text(HEADER + "".join(line(second) for second in range(5, 12)))
    watch = RunWatch(run.folder, run.spec)
    watch.poll()
    watch.hardware.poll()
    assert watch.nodes(None)["at"] == [-1, 0, 1, 2, 3, 4]
    run.folder.rank_log(0).write_text("a line\n")
    assert watch.output() == 7
    assert watch.output() is None
