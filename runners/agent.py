"""The unit that runs on a node: `python -m mlb.runners.agent RUN_FOLDER NODE -- TORCHRUN_ARGUMENTS`.

It runs torchrun in its own process (why: docs/decisions/0003), sees in which order ranks die, leaves no process
behind, and writes the node's status down; the launcher only reads that file, so a run does not need its launcher.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

from ..results.process import start_ticks
from ..results.run import NodeStatus, RankFailure, RunFolder, write_json
from .deaths import DeathWatch
from .environment import describe_node
from .failures import describe
from .lifeline import AGENT_PID_VARIABLE, adopt_orphans, kill_descendants
from .resources import ResourceSampler


class _StopRequested(Exception):
    """A signal asked this agent to end its ranks."""


def main() -> NoReturn:
    """Run the node's part of a run to its end; the exit code is 0 only if every rank ended well."""
    folder, node, arguments = RunFolder(Path(sys.argv[1])), int(sys.argv[2]), sys.argv[4:]
    status = NodeStatus(
        node=node,
        state="running",
        agent_pid=os.getpid(),
        agent_start_ticks=start_ticks(os.getpid()),
        started_unix_ns=time.time_ns(),
    )
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _raise_stop)
    adopt_orphans()
    os.environ[AGENT_PID_VARIABLE] = str(os.getpid())
    write_json(folder.node_status(node), status)
    # Beside the run, not before it: asking a GPU's driver can take a second.
    describing = threading.Thread(target=lambda: write_json(folder.node_environment(node), describe_node()))
    describing.start()
    resources = ResourceSampler(folder.node_resources(node), node)
    final = _supervise(folder, status, arguments)
    resources.close()
    describing.join()
    write_json(folder.node_status(node), final)
    # At once: unloading torch takes part of a second, in which the run would be over and still have a process.
    os._exit(0 if final.state == "succeeded" else 1)


def _supervise(folder: RunFolder, status: NodeStatus, arguments: Sequence[str]) -> NodeStatus:
    known: dict[int, int] = {}

    def remember(pids: dict[int, int]) -> None:
        known.update(pids)
        write_json(folder.node_status(status.node), replace(status, rank_pids=pids))

    ranks = _local_ranks(folder)
    watch = DeathWatch([(rank, folder.rank_pid(rank)) for rank in ranks], remember)
    state, message = "succeeded", ""
    exit_codes: Mapping[int, tuple[int, int]] = {}
    try:
        exit_codes = _torchrun(arguments)
        if exit_codes:
            state = "failed"
    except _StopRequested as stop:
        state, message = "stopped", str(stop)
    except Exception as error:  # noqa: BLE001  # whatever torchrun raises, the node's status must say so
        state, message = "failed", f"{type(error).__name__}: {error}"
    kill_descendants()
    watch.close()
    if folder.stop_request.exists():
        state, message = "stopped", message or "stopped on request"
    failures = _failures(folder, watch, exit_codes) if state == "failed" else ()
    return replace(
        status, state=state, message=message, stopped_unix_ns=time.time_ns(), rank_pids=known, failures=failures
    )


def _torchrun(arguments: Sequence[str]) -> Mapping[int, tuple[int, int]]:
    """Run torchrun here.

    Returns:
        Rank -> (pid, exit code) of the ranks that failed; empty if all ended well.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    try:
        run(parse_args(list(arguments)))  # type: ignore[no-untyped-call]  # torch does not annotate them
    except ChildFailedError as error:
        return {rank: (failure.pid, failure.exitcode) for rank, failure in error.failures.items()}
    except SignalException as error:
        raise _StopRequested(str(error)) from error
    return {}


def _failures(
    folder: RunFolder, watch: DeathWatch, exit_codes: Mapping[int, tuple[int, int]]
) -> tuple[RankFailure, ...]:
    """The failed ranks in the order of their deaths; ranks that died before they could register come last."""
    times = dict(watch.deaths)
    order = [rank for rank, _ in watch.deaths if rank in exit_codes]
    order += [rank for rank in exit_codes if rank not in order]
    return tuple(
        describe(
            folder,
            rank=rank,
            pid=exit_codes[rank][0],
            exit_code=exit_codes[rank][1],
            seen_unix_ns=times.get(rank, time.time_ns()),
        )
        for rank in order
    )


def _local_ranks(folder: RunFolder) -> range:
    return range(folder.read_spec().ranks)


def _raise_stop(number: int, _frame: FrameType | None) -> None:
    raise _StopRequested(f"received {signal.Signals(number).name}")


if __name__ == "__main__":
    main()
