"""One node's ranks under watch: what may end them, in which order they died, and the status that comes of it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from ..results.run import NodeStatus, RankFailure, RunFolder, RunSpec, write_json
from .deaths import DeathWatch
from .failures import count_oom_kills, describe
from .hang import HangWatch, collect_stacks
from .lifeline import kill_descendants
from .peers import Ending, Peers
from .preemption import PreemptionWatch

FORCE_AFTER_S = 14.0
"""torchrun gives its ranks 10 s to leave. If it has not come back by then (it may sit in a rendezvous that takes no
signal), everything is killed and the status is written without it."""

_REQUEST_POLL_S = 0.5

ExitCodes = Mapping[int, tuple[int, int]]
"""Rank -> (pid, exit code) of the ranks that failed."""


class StopRequested(Exception):
    """A signal asked this agent to end its ranks."""


class Supervision:
    """Runs a node's ranks to their end, or to whatever ends them first."""

    def __init__(self, folder: RunFolder, spec: RunSpec, status: NodeStatus, cloud: str) -> None:
        self._folder, self._spec, self._status, self._cloud = folder, spec, status, cloud
        self._node = status.node
        self._peers: Peers | None = None
        self._ending: Ending | None = None
        self._suspects: tuple[int, ...] = ()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._oom_kills_before = count_oom_kills()
        self._watch = DeathWatch([(r, folder.rank_pid(r)) for r in spec.ranks_of(self._node)], self._remember)

    def run(self, peers: Peers | None, torchrun: Callable[[], ExitCodes]) -> NodeStatus:
        """Run `torchrun` under watch; returns the final status, not yet written, when nothing of it runs any more."""
        self._peers = peers
        if peers is not None:
            peers.start()
        ranks = self._spec.ranks_of(self._node)
        hangs = HangWatch(self._folder, ranks, self._spec.hang_after_s, lambda why: self._end_here("hang", why))
        notices = PreemptionWatch(self._cloud, lambda why: self._end_here("interrupted", why))
        threading.Thread(target=self._look_for_request, daemon=True).start()
        exit_codes: ExitCodes = {}
        message = asked = ""
        try:
            exit_codes = torchrun()
        except StopRequested as stop:
            asked = str(stop)
        except Exception as error:  # noqa: BLE001  # whatever torchrun raises, the node's status must say so
            message = f"{type(error).__name__}: {error}"
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self._ended.set()
        hangs.close()
        notices.close()
        kill_descendants()
        return self._conclude(exit_codes, message, asked)

    def end(self, ending: Ending) -> None:
        """End this node's ranks; the first ending counts. Returns at once."""
        with self._lock:
            if self._ending is not None or self._ended.is_set():
                return
            self._ending = ending
        threading.Thread(target=self._carry_out, args=(ending,), daemon=True).start()

    def _look_for_request(self) -> None:
        while not self._ended.wait(_REQUEST_POLL_S):
            if self._folder.stop_request.exists():
                self._end_here("stopped", "stopped on request")
                return

    def _end_here(self, kind: str, why: str) -> None:
        ending = Ending(kind, self._node, why)
        if self._peers is not None:
            self._peers.announce(ending)
        self.end(ending)

    def _carry_out(self, ending: Ending) -> None:
        if ending.kind == "hang":
            self._suspects = collect_stacks(self._folder, self._watch.pids)
        if not self._ended.is_set():
            os.kill(os.getpid(), signal.SIGTERM)
        if not self._ended.wait(FORCE_AFTER_S):
            self._ended.set()
            kill_descendants()
            final = self._conclude({}, "", "")
            self._folder.reserve.unlink(missing_ok=True)
            write_json(self._folder.node_status(self._node), final)
            os._exit(1)

    def _conclude(self, exit_codes: ExitCodes, message: str, asked: str) -> NodeStatus:
        self._watch.close()
        state, message = self._state(exit_codes, message, asked)
        failures = self._failures(exit_codes) if state == "failed" else ()
        peers = self._peers
        if peers is not None:
            first = f"rank {failures[0].rank}: {failures[0].message}" if failures else ""
            peers.announce(Ending(state, self._node, message or first))
            peers.close()
        return replace(
            self._status,
            state=state,
            message=message,
            stopped_unix_ns=time.time_ns(),
            rank_pids=dict(self._watch.pids),
            failures=failures,
            clock_offset_ns=peers.clock_offset_ns if peers else 0,
            clock_error_ns=peers.clock_error_ns if peers else 0,
            lost=(self._ending.node,) if self._ending and self._ending.kind == "lost" else (),
            suspects=self._suspects,
        )

    def _state(self, exit_codes: ExitCodes, message: str, asked: str) -> tuple[str, str]:
        """The node's final state, and why."""
        ending = self._ending
        if self._folder.stop_request.exists() or (ending and ending.kind == "stopped"):
            return "stopped", asked or "stopped on request"
        if ending and ending.kind in ("hang", "interrupted") and ending.node == self._node:
            return ending.kind, ending.why
        if ending and ending.kind == "hang":
            return "hang", f"{self._spec.name_of(ending.node)}: {ending.why}"
        if ending and ending.kind == "lost":
            return "failed", f"{self._spec.name_of(ending.node)} was lost: {ending.why}"
        if exit_codes or message:
            return "failed", message
        if ending:
            return "aborted", f"ended after {self._spec.name_of(ending.node)}: {ending.why}"
        # Nobody of ours asked: the machine is going down, or somebody ended the agent by hand.
        return ("interrupted", asked) if asked else ("succeeded", "")

    def _failures(self, exit_codes: ExitCodes) -> tuple[RankFailure, ...]:
        """The failed ranks in the order of their deaths; ranks that died before they could register come last."""
        times, oom = dict(self._watch.deaths), count_oom_kills() - self._oom_kills_before
        order = [rank for rank, _ in self._watch.deaths if rank in exit_codes]
        order += [rank for rank in exit_codes if rank not in order]
        return tuple(
            describe(
                self._folder,
                rank=rank,
                pid=exit_codes[rank][0],
                exit_code=exit_codes[rank][1],
                seen_unix_ns=times.get(rank, time.time_ns()),
                oom_kills=oom,
            )
            for rank in order
        )

    def _remember(self, pids: dict[int, int]) -> None:
        write_json(self._folder.node_status(self._node), replace(self._status, rank_pids=pids))
