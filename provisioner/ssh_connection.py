"""A node reached over SSH: Fabric makes the connection, the deadlines are ours.

paramiko never notices a peer that is frozen, and Fabric's own time-outs leave the remote process running, so both are
done here: a command runs under timeout(1) on the node, and a silent connection is asked for a sign of life.
"""

from __future__ import annotations

import errno
import logging
import os
import random
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TypeVar

import fabric
import paramiko

from ..errors import NodeUnreachable
from . import ssh_socket
from .fleet import Fleet, FleetNode
from .ssh_session import PATIENT, TICK_S, LinkLost, Patience, Session

R = TypeVar("R")

# paramiko logs a traceback for each connection that fails; Python would show it where no handler is set.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_FIX = "`mlb infra status` shows whether it runs."
_MOST_BREAKS = 10
"""So often a link may break under one piece of work."""
_MAX_SESSIONS = 8
"""Channels at a time on one connection: OpenSSH allows ten."""


class Connection:
    """The one connection to a node: made when it is needed, made again after it was lost."""

    def __init__(self, node: FleetNode, fleet: Fleet, patience: Patience = PATIENT) -> None:
        self.node = node
        self.patience = patience
        self._fleet = fleet
        self._lock = threading.Lock()
        self._ping_lock = threading.Lock()
        self._sessions = threading.BoundedSemaphore(_MAX_SESSIONS)
        self._live: fabric.Connection | None = None
        self._closed = False
        self._begun = 0
        """How many commands were begun."""

    def retried(self, work: Callable[[], R]) -> R:
        """Do `work`, again while the link breaks, with pauses that grow and differ from node to node.

        Raises:
            NodeUnreachable: the link stayed lost, or the node shows another host key than the pinned one.
        """
        until = time.monotonic() + self.patience.retry_s
        pause, breaks = 0.2, 0
        while True:
            begun = self._begun
            try:
                return work()
            except LinkLost as lost:
                if self._begun > begun and breaks < _MOST_BREAKS:
                    # It worked in between, maybe for an hour: the time that it may stay lost begins now.
                    until, pause, breaks = time.monotonic() + self.patience.retry_s, 0.2, breaks + 1
                wait = pause * random.uniform(0.5, 1.5)
                if self._closed or time.monotonic() + wait > until:
                    raise self.unreachable(str(lost)) from None
                time.sleep(wait)
                pause = min(2 * pause, 5.0)

    @contextmanager
    def session(self, argv: Sequence[str], timeout_s: float | None) -> Iterator[Session]:
        """A command on the node, begun.

        Args:
            timeout_s: ended there after so long; None for no limit but the link's.

        Raises:
            LinkLost: anything of the connection failed, here or in the caller's block.
        """
        limit = ["timeout", "--kill-after=5", f"{timeout_s:g}"] if timeout_s is not None else []
        with self._sessions, _link_errors():
            live = self._open()
            try:
                with closing(live.transport.open_session(timeout=self.patience.connect_s)) as channel:
                    channel.settimeout(TICK_S)
                    with self._watched(live):
                        channel.exec_command(shlex.join([*limit, *argv]))
                    self._begun += 1
                    yield Session(self.patience, self._ping_lock, channel, timeout_s)
            except (LinkLost, paramiko.SSHException, EOFError, OSError):
                self._drop(live)
                raise

    def close(self) -> None:
        """Close the connection for good: what still waits on it ends with NodeUnreachable."""
        self._closed = True
        self._drop(self._live)

    def _open(self) -> fabric.Connection:
        with self._lock:
            if self._closed:
                raise LinkLost("the connection was closed")
            if self._live is None or not self._live.is_connected:
                self._live = self._connect()
            return self._live

    def _connect(self) -> fabric.Connection:
        node, limit = self.node, self.patience.connect_s
        # A key of the user's own may be locked, and then it is their agent that opens it.
        own = bool(node.ssh_key)
        keys = {"key_filename": str(self._fleet.key_of(node)), "allow_agent": own, "look_for_keys": False}
        limits = {"banner_timeout": limit, "auth_timeout": limit, "channel_timeout": limit}
        # Nothing of the user's own SSH or Fabric files may change where this goes or what it trusts.
        made = fabric.Connection(
            node.ssh_host,
            user=node.ssh_user,
            port=node.ssh_port,
            config=fabric.Config(lazy=True, overrides={"load_ssh_configs": False}),
            connect_kwargs={**keys, **limits},
        )
        made.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        for file in (self._fleet.key_of(node), self._fleet.known_hosts):
            if not os.access(file, os.R_OK):
                raise self.unreachable(f"{file} is not there, or not to be read.", "`mlb infra apply` makes it.")
        made.client.load_host_keys(str(self._fleet.known_hosts))
        name = node.ssh_host if node.ssh_port == 22 else f"[{node.ssh_host}]:{node.ssh_port}"
        if made.client.get_host_keys().lookup(name) is None:
            raise self.unreachable("No host key is pinned for it.", "`mlb infra apply` pins the keys of a fleet.")
        silent_s = self.patience.silence_s + self.patience.ping_s
        sock = ssh_socket.connect(node.ssh_host, node.ssh_port, connect_s=limit, write_s=silent_s)
        made.connect_kwargs["sock"] = sock
        try:
            made.open()
            return made
        except BaseException as error:
            made.close()
            sock.close()
            if isinstance(error, paramiko.BadHostKeyException):
                why = "It shows another host key than the one that is pinned: somebody may be in between."
                raise self.unreachable(why, "If the machine was replaced: `mlb infra apply`.") from None
            if isinstance(error, paramiko.AuthenticationException):
                why = f"It refuses the fleet's key: {error}."
                raise self.unreachable(why, "`mlb infra apply` says more.") from None
            raise

    @contextmanager
    def _watched(self, live: fabric.Connection) -> Iterator[None]:
        """For calls of paramiko that wait without an end: they fail once the transport is closed."""
        watch = threading.Timer(self.patience.connect_s, live.transport.close)
        watch.daemon = True
        watch.start()
        try:
            yield
        finally:
            watch.cancel()

    def _drop(self, live: fabric.Connection | None) -> None:
        """Close a connection; not one that another thread has made in its place."""
        if self._live is live:
            self._live = None
        if live is not None:
            live.close()

    def unreachable(self, why: str, fix: str = _FIX) -> NodeUnreachable:
        """The error of this node for a reason."""
        node = self.node
        where = f"{node.ssh_user}@{node.ssh_host}:{node.ssh_port}"
        return NodeUnreachable(f"{node.name} cannot be reached over SSH ({where}).", why=why, fix=fix)


@contextmanager
def _link_errors() -> Iterator[None]:
    try:
        yield
    except (paramiko.SSHException, EOFError, OSError) as error:
        if isinstance(error, OSError) and (error.filename is not None or error.errno in _DISK):
            raise  # of a file on this machine, not of the link
        raise LinkLost(str(error) or "the connection broke") from error
