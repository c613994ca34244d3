"""Task 3a at its full size on two ranks: minutes on two cores, so it runs with `make test-long`."""

import statistics
from pathlib import Path

import pytest
from mlb.results.log import read_log
from mlb.results.run import RunFolder
from support import Mlb


@pytest.mark.system
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_hundred_steps_of_the_full_model(mlb: Mlb, real_data: Path) -> None:
    """Both ranks end with the same weights to the last bit, and the loss has fallen."""
    process = mlb.start("bench", "task3a", "--goal", "light", "--steps", "100", MLB_DATA_DIR=str(real_data))
    _, err = process.communicate(timeout=1700)
    assert process.returncode == 0, err
    (path,) = (mlb.home / "runs").iterdir()
    logs = [read_log(RunFolder(path).rank_events(rank)).events for rank in (0, 1)]
    (count,) = [event.fields["value"] for event in logs[0] if event.key == "parameter_count"]
    assert count == 33_556_078
    digests = [event.fields["value"] for log in logs for event in log if event.key == "parameter_digest"]
    assert len(digests) == 2
    assert digests[0] == digests[1]
    for log in logs:
        losses = [event.fields["loss"] for event in log if event.key == "step"]
        assert len(losses) == 100
        assert statistics.mean(losses[-20:]) < statistics.mean(losses[:20]) - 1.0
