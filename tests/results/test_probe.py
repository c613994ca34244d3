"""The run's bandwidth against what an all-reduce could do before it."""

import json
from pathlib import Path

import pytest
from mlb.results.metrics import compute
from mlb.results.report import to_text
from stories import small_run


def test_the_bandwidth_is_held_against_the_probe(tmp_path: Path) -> None:
    """4,096 bytes over two ranks: 4,096 to send; the report says what share of the probe's rate that was."""
    folder = small_run(tmp_path).folder
    folder.health.write_text(json.dumps({"all_reduce": {"bus_bits_per_s": 8e6, "large_bytes": 4_194_304}}))
    metrics = compute(folder)
    assert metrics.communication is not None
    rate = metrics.communication.bus_bytes_per_s
    assert rate is not None
    assert f"{100 * rate / 1e6:.3g} % of the 1.0 MB/s of one all-reduce of 4.2 MB" in to_text(metrics, 200)
    assert metrics.to_json()["probe"] == {"bus_bytes_per_s": 1e6, "payload_bytes": 4_194_304}


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"all_reduce": null}', '{"all_reduce": {"bus_bits_per_s": "x", "large_bytes": 1}}']
)
def test_without_a_probe_nothing_is_said(tmp_path: Path, text: str) -> None:
    folder = small_run(tmp_path).folder
    folder.health.write_text(text)
    assert compute(folder).probe is None
    assert "probe" not in to_text(compute(folder), 200)
