"""Task 0a's operations: what each leaves in the buffers, and what is called for it."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mlb.results.backends import mpi_packages_missing
from mlb.results.raw import OPERATIONS
from mlb.runners.pmi import MpiMeeting, local_store
from mlb.runners.raw_calls import MpiCalls


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
