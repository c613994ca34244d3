"""The unit that runs on a node: `python -m mlb.runners.agent RUN_FOLDER NODE [OPTIONS] -- TORCHRUN_ARGUMENTS`.

It runs torchrun in its own process (why: docs/decisions/0003), sees in which order ranks die, leaves no process
behind, and writes the node's status down; the launcher only reads that file, so a run does not need its launcher.
The agents of a run watch each other (docs/decisions/0009): the end of one is the end of all.
"""

from __future__ import annotations

import argparse
import contextlib
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

from ..results.process import incarnation, start_ticks
from ..results.run import NodeStatus, RunFolder, RunSpec, write_json
from .backends import mpi_is_wanted
from .environment import describe_node
from .lifeline import AGENT_PID_VARIABLE, adopt_orphans
from .peers import Hub, Peers, Spoke
from .resources import ResourceSampler
from .route import use_interface_to
from .supervision import StopRequested, Supervision

_RESERVE_BYTES = 1 << 20


def main() -> NoReturn:
    """Run the node's part of a run to its end; the exit code is 0 only if every rank ended well."""
    own, torchrun = _split(sys.argv[1:])
    options = _parse(own)
    folder = RunFolder(options.folder)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _raise_stop)
    adopt_orphans()
    os.environ[AGENT_PID_VARIABLE] = str(os.getpid())
    status = NodeStatus(
        node=options.node,
        state="running",
        agent_pid=os.getpid(),
        agent_start_ticks=start_ticks(os.getpid()),
        started_unix_ns=time.time_ns(),
        incarnation=incarnation(),
    )
    # Known from here on, whatever fails next.
    write_json(folder.node_status(options.node), status)
    # Without it, a disk that fills may take the last words with it; no reason not to run.
    with contextlib.suppress(OSError):
        folder.reserve.write_bytes(b"\0" * _RESERVE_BYTES)
    final = _run(folder, status, options, torchrun)
    # At once: unloading torch takes part of a second, in which the run would be over and still have a process.
    os._exit(0 if final.state == "succeeded" else 1)


def _run(folder: RunFolder, status: NodeStatus, options: argparse.Namespace, torchrun: Sequence[str]) -> NodeStatus:
    spec = folder.read_spec()
    try:
        if options.route_to:
            status = replace(status, interface=use_interface_to(options.route_to, options.address))
    except OSError as error:
        message = f"the other nodes are not to be reached by their private addresses: {error}"
        return save(folder, replace(status, state="failed", message=message, stopped_unix_ns=time.time_ns()))
    # Beside the run, not before it: asking a GPU's driver can take a second.
    describing = threading.Thread(target=_describe, args=(folder.node_environment(status.node),))
    describing.start()
    supervision = Supervision(folder, spec, status, options.cloud)
    _let_mpi_meet(spec, torchrun)
    try:
        peers = _peers(folder, spec, options, supervision)
    except OSError as error:
        message = f"the port {options.meet} for the agents cannot be used: {error}"
        return save(folder, replace(status, state="failed", message=message, stopped_unix_ns=time.time_ns()))
    resources = ResourceSampler(folder.node_resources(status.node), status.node)
    final = supervision.run(peers, lambda: _torchrun(torchrun))
    resources.close()
    describing.join()
    return save(folder, final)


def save(folder: RunFolder, status: NodeStatus) -> NodeStatus:
    """Write the status, on a full disk by the room that was kept for it."""
    folder.reserve.unlink(missing_ok=True)
    write_json(folder.node_status(status.node), status)
    return status


def _describe(path: Path) -> None:
    # A disk that is full now fails the ranks' logs as well, which say so.
    with contextlib.suppress(OSError):
        write_json(path, describe_node())


def _peers(folder: RunFolder, spec: RunSpec, options: argparse.Namespace, supervision: Supervision) -> Peers | None:
    if spec.nodes == 1:
        return None
    host, _, port = options.meet.rpartition(":")
    token = folder.token.read_text()
    if options.node == 0:
        return Hub(host, int(port), spec.nodes, token, supervision.end)
    return Spoke(host, int(port), options.node, token, supervision.end)


def _let_mpi_meet(spec: RunSpec, torchrun: Sequence[str]) -> None:
    """Where MPI is used, have its ranks find each other through this agent; the ranks inherit the environment."""
    if not mpi_is_wanted(spec):
        return
    from .pmi import PORT_VARIABLE, MpiMeeting, local_store, torchruns_store

    # Another launcher's, such as Slurm's: this process is no rank of its.
    for name in [name for name in os.environ if name.startswith(("PMI_", "PMIX_"))]:
        del os.environ[name]
    if interface := os.environ.get("GLOO_SOCKET_IFNAME"):
        for variable in ("UCX_NET_DEVICES", "FI_TCP_IFACE"):
            os.environ.setdefault(variable, interface)
    option = "--rdzv-endpoint="
    host, _, port = next(text for text in torchrun if text.startswith(option)).removeprefix(option).rpartition(":")
    several = spec.nodes > 1
    if several:
        # UCX takes containers of one machine for that machine, and their shared memory is not shared. Ranks of one
        # node lose nothing: MPICH has shared memory of its own.
        os.environ.setdefault("UCX_TLS", "^sm")
    meeting = MpiMeeting(
        spec.run_id, spec.ranks, spec.nodes, (lambda: torchruns_store(host, int(port))) if several else local_store
    )
    os.environ[PORT_VARIABLE] = meeting.address


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
        raise StopRequested(str(error)) from error
    return {}


def _split(arguments: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mlb.runners.agent")
    parser.add_argument("folder", type=Path)
    parser.add_argument("node", type=int)
    parser.add_argument("--meet", help="HOST:PORT of node 0's agent; runs of several nodes only")
    parser.add_argument("--address", help="this node's private address")
    parser.add_argument("--route-to", help="a peer's private address: its route decides on the network interface")
    parser.add_argument("--cloud", default="", help="whose notices of preemption to ask for")
    return parser.parse_args(arguments)


def _raise_stop(number: int, _frame: FrameType | None) -> None:
    raise StopRequested(f"received {signal.Signals(number).name}")


if __name__ == "__main__":
    main()
