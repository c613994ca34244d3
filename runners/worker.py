"""One rank: `python -m mlb.runners.worker RUN_FOLDER`, started by torchrun, which gives it its rank by environment.

The order matters: the rank makes itself known and ties itself to its parent before it imports torch, so that a
rank that dies early is noticed like any other.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from ..results import keys
from ..results.run import RunFolder, RunSpec
from ..results.writer import EventLog
from .lifeline import die_with_parent


def main() -> NoReturn:
    """Run the rank to its end; exits with 0 when the run ended by itself, 1 when it failed."""
    born_ns = time.monotonic_ns()
    die_with_parent()
    rank, folder = int(os.environ["RANK"]), RunFolder(Path(sys.argv[1]))
    _redirect_output(folder.rank_log(rank))
    _register(folder.rank_pid(rank))
    faulthandler.enable()
    # The agent asks for the stacks of a rank that hangs.
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    # Before any thread exists: all of them inherit the mask, and only the watcher receives the signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    spec = folder.read_spec()
    log = _open_log(folder, spec, rank)
    threading.Thread(target=_stop_when_asked, args=(log, folder), daemon=True).start()
    _leave(_run(spec, folder, log, born_ns))


def _run(spec: RunSpec, folder: RunFolder, log: EventLog, born_ns: int) -> int:
    try:
        from .rank import run_rank  # torch comes in here, and its import is a stage on the clock

        run_rank(folder, spec, log, born_ns)
        log.close()
    except BaseException as error:  # noqa: BLE001  # whatever it is, it must reach the log before the rank goes
        # Should it be a full disk, the cause can be written down by what this gives back.
        folder.reserve.unlink(missing_ok=True)
        _report(error, log)
        return 1
    return 0


def _report(error: BaseException, log: EventLog) -> None:
    """Say in the rank's output and in its log why it fails; a log that cannot be written must not hide the cause."""
    traceback.print_exception(error)
    kind, message = type(error).__name__, str(error) or repr(error)
    with _leaving_anyway():
        log.event(keys.FAILURE, kind=kind, message=message[:2000], collateral=_is_collateral(error))
    with _leaving_anyway():
        # Also after a failed event: the log keeps what it could not write, and tries once more.
        log.close()


def _is_collateral(error: BaseException) -> bool:
    """Whether the error says that another rank is gone, rather than that this one went wrong.

    torch has a class for NCCL's errors, mpi4py one for MPI's; gloo's arrive as RuntimeError with the name of the
    library in the text.
    """
    names = {f"{base.__module__}.{base.__name__}" for base in type(error).__mro__}
    if "mpi4py.MPI.Exception" in names or any(name.endswith(".DistError") for name in names):
        return True
    return isinstance(error, RuntimeError) and "gloo" in str(error).lower()


def _stop_when_asked(log: EventLog, folder: RunFolder) -> None:
    """On SIGTERM, save what is buffered and leave at once.

    A thread waits for the signal instead of a handler: the main thread may sit in a collective that never ends.
    """
    signal.sigwait({signal.SIGTERM})
    with _leaving_anyway():
        if folder.stop_request.exists():
            log.event(keys.RUN_STOP, status="aborted", reason="stopped")
        else:
            log.event(keys.FAILURE, kind="Stopped", message="stopped after another rank's end", collateral=True)
    with _leaving_anyway():
        log.close()
    _leave(128 + signal.SIGTERM)


@contextmanager
def _leaving_anyway() -> Iterator[None]:
    """For the last acts of a rank: a log that cannot be written must not keep it from leaving."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  # whatever it is, the rank is on its way out
        print(f"the event log: {error}", file=sys.stderr)  # noqa: T201


def _open_log(folder: RunFolder, spec: RunSpec, rank: int) -> EventLog:
    return EventLog(
        folder.rank_events(rank),
        rank=rank,
        local_rank=int(os.environ["LOCAL_RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
        node=int(os.environ["GROUP_RANK"]),
        run_id=spec.run_id,
        launched_unix_ns=spec.launched_unix_ns,
    )


def _redirect_output(path: Path) -> None:
    """Send this process's standard output and error, libraries' included, to the rank's log file."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


def _register(path: Path) -> None:
    """Tell the agent this rank's pid; the rename makes the file appear whole."""
    temporary = path.with_suffix(".new")
    temporary.write_text(str(os.getpid()))
    temporary.replace(path)


def _leave(code: int) -> NoReturn:
    """End now: the interpreter's own shut-down can wait for ever on a communication thread whose peer is gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
