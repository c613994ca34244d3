"""A run on a fleet, watched from here: one thread a node brings its files and sees how its agent stands.

Nothing of a run depends on this: it can be left, killed or cut off at any moment, and begun again later.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..errors import DiskFull, MlbError, NodeUnreachable, ResultsInvalid
from ..results.node import NodeStatus, state_of_all
from ..results.run import RunFolder, RunSpec, write_json
from . import feed_on_node
from .plan import NodePlan, read_plan
from .pull import NodePull, Sight
from .runs import AGENT_START_S, RunState
from .ssh import SshTransport

LOOK_EVERY_S = 2.0
"""Pause between two looks at a node. One costs the node some 40 ms of one core, at a lower priority than the ranks'."""

GONE_AFTER_S = 45.0
"""A node that cannot be reached for so long, while another one says that the run is over, counts as gone: by then its
agent has ended its ranks, if the machine is there at all."""

_TICK_S = 0.1


@dataclass
class _View:
    """What is known of one node; written by its thread, read by all."""

    pull: NodePull
    sight: Sight | None = None
    unreachable_since: float | None = None
    """Monotonic."""
    trouble: str = ""
    verified: bool = False
    looked: threading.Event = field(default_factory=threading.Event)
    """Set once there was an answer or the lack of one."""


class Watch:
    """Use it as a context: inside, the run's files here grow as those on the nodes do."""

    def __init__(self, folder: RunFolder, doors: Mapping[int, SshTransport], every_s: float = LOOK_EVERY_S) -> None:
        """Prepare to watch the run in `folder` through a door to each of its nodes."""
        self.folder, self.spec, self.plan = folder, folder.read_spec(), read_plan(folder)
        self.doors = doors
        self._every_s = every_s
        self._launched = time.monotonic()
        self._stop = threading.Event()
        self._failed: MlbError | None = None
        self._views = {n.node: _View(_pull(folder, self.spec, n, doors[n.node])) for n in self.plan.nodes}
        self._threads = [
            threading.Thread(target=self._watch, args=(view,), daemon=True) for view in self._views.values()
        ]

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Not joined: a thread may wait for a node that does not answer, and what it does is harmless.
        self._stop.set()

    def state(self) -> RunState:
        """How the run stands, by what the nodes said last.

        Raises:
            DiskFull: no more can be brought here; the run goes on.
            ResultsInvalid: a node answers nonsense.
        """
        if self._failed is not None:
            raise self._failed
        nodes = tuple(status for n in self._views if (status := self._status(n)) is not None)
        standing = {node: self._standing(node) for node in self._views}
        if any(s == "unreachable" for s in standing.values()) and any(s == "over" for s in standing.values()):
            standing = {n: "gone" if s == "unreachable" and self._is_gone(n) else s for n, s in standing.items()}
        waiting = [node for node, s in standing.items() if s in ("starting", "running", "unreachable")]
        trouble = self._troubles(waiting)
        if waiting:
            starting = len(nodes) < len(self._views) and all(standing[n] != "running" for n in waiting)
            return RunState("starting" if starting else "running", nodes, trouble)
        return self._over(nodes, standing, trouble)

    def look_once(self) -> None:
        """Until every node has answered, or failed to."""
        for view in self._views.values():
            view.looked.wait()

    @property
    def settled(self) -> bool:
        """Whether everything that can be had from the nodes at this moment is here."""
        return all(self._has_all(view) or view.unreachable_since is not None for view in self._views.values())

    def holdings(self) -> dict[str, str]:
        """Node -> how much of its files is here, in words."""
        return {self.spec.name_of(node): _words(view) for node, view in self._views.items()}

    def _has_all(self, view: _View) -> bool:
        if view.sight is None or not view.sight.drained:
            return False
        return view.verified or view.sight.agent != "gone" or not self._said_its_last(view)

    def _over(self, nodes: tuple[NodeStatus, ...], standing: Mapping[int, str], trouble: tuple[str, ...]) -> RunState:
        lost = [n for n, s in standing.items() if s == "lost"]
        gone = {n: s for n, s in standing.items() if s in ("gone", "rebooted")}
        for node, how in gone.items():
            self._write_off(node, how)
        if lost and len(lost) + len(gone) == len(self._views) and not gone:
            return RunState("stopped" if self.folder.stop_request.exists() else "lost", nodes, trouble)
        for node in lost:
            self._write_off(node, "lost")
        nodes = tuple(status for n in self._views if (status := self._status(n)) is not None)
        return RunState(state_of_all(nodes), nodes, trouble)

    def _standing(self, node: int) -> str:
        """`starting`, `running`, `unreachable`, `over`, `lost` (the agent has gone without a word) or `rebooted`."""
        view, status = self._views[node], self._status(node)
        if view.verified:
            return "over"
        if view.unreachable_since is not None:
            return "unreachable"
        if view.sight is None or view.sight.agent == "none":
            late = time.monotonic() - self._launched > AGENT_START_S
            return "lost" if late and view.sight is not None else "starting"
        if status is None or status.final or view.sight.agent == "alive" or not view.sight.drained:
            return "running"
        same = not status.incarnation or view.sight.incarnation == status.incarnation
        return "lost" if same else "rebooted"

    def _is_gone(self, node: int) -> bool:
        since = self._views[node].unreachable_since
        return since is not None and time.monotonic() - since > GONE_AFTER_S

    def _write_off(self, node: int, how: str) -> None:
        """Say here, in the node's place, what it cannot say any more; should it return, its own words replace it."""
        words = {
            "gone": "the machine could not be reached any more",
            "rebooted": "the machine was started anew during the run",
            "lost": "its agent is gone without a word",
        }
        state = "failed" if how == "lost" else "interrupted"
        last = self._status(node) or NodeStatus(node, "running", 0, 0, 0)
        if not last.final:
            now = replace(last, state=state, message=words[how], stopped_unix_ns=time.time_ns(), lost=(node,))
            write_json(self.folder.node_status(node), now)

    def _status(self, node: int) -> NodeStatus | None:
        try:
            return self.folder.read_status(node)
        except ResultsInvalid:
            return None

    def _troubles(self, waiting: list[int]) -> tuple[str, ...]:
        return tuple(f"{self.spec.name_of(n)}: {self._views[n].trouble}" for n in waiting if self._views[n].trouble)

    def _watch(self, view: _View) -> None:
        while not self._stop.is_set() and not view.verified:
            pause_s = self._every_s
            try:
                view.sight = view.pull.look()
                view.unreachable_since, view.trouble = None, ""
                if not view.sight.drained:
                    pause_s = 0.0
                elif view.sight.agent == "gone" and self._said_its_last(view):
                    view.verified = not view.pull.verify()
                    pause_s = 0.0
            except NodeUnreachable as error:
                view.unreachable_since = view.unreachable_since or time.monotonic()
                view.trouble = error.what
            except (DiskFull, ResultsInvalid) as error:
                self._failed = error
            except MlbError as error:
                view.unreachable_since = view.unreachable_since or time.monotonic()
                view.trouble = str(error)
            view.looked.set()
            self._stop.wait(pause_s)

    def _said_its_last(self, view: _View) -> bool:
        node = next(n for n, v in self._views.items() if v is view)
        status = self._status(node)
        return status is not None and status.final


def _words(view: _View) -> str:
    if view.verified:
        return "all its files are here, and equal to those there"
    if view.unreachable_since is not None:
        return f"not all of its files: {view.trouble}"
    return "its files so far are here"


def _pull(folder: RunFolder, spec: RunSpec, node: NodePlan, door: SshTransport) -> NodePull:
    return NodePull(folder, spec, node.node, node.folder, lambda request: door.call("feed", request, feed_on_node))
