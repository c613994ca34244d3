"""The meeting of MPI ranks under torchrun: a server of PMI-1, the words in which MPICH's ranks ask who they are.

Each node's agent serves the ranks of its node over loopback; what they leave for each other (their addresses) lies in
a store that the nodes share. So MPI needs no launcher of its own: see docs/decisions/0055-mpi-under-torchrun.md.
Source of the words: MPICH's `src/pmi/doc/wire-protocol-v1`; one line each way, `cmd=NAME key=value ...`.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from datetime import timedelta

from torch.distributed import HashStore, PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

PORT_VARIABLE, RANK_VARIABLE = "PMI_PORT", "PMI_ID"
_MAPPING = "PMI_process_mapping"
_LIMITS = "cmd=maxes kvsname_max=256 keylen_max=256 vallen_max=4096"


class MpiMeeting:
    """Tells the MPI ranks of this node their number, and hands on what all ranks put down for each other.

    Args:
        name: of the run, without blanks; MPI names its shared memory after it, so that no two runs may have the same.
        ranks: of the whole run.
        nodes: of the whole run; each has the same number of ranks, in order.
        open_store: gives the store that all nodes share; called when the first rank asks, no sooner.
    """

    def __init__(self, name: str, ranks: int, nodes: int, open_store: Callable[[], Store]) -> None:
        self._name, self._ranks, self._nodes, self._here = name, ranks, nodes, ranks // nodes
        self._open_store = open_store
        self._store: Store | None = None
        self._barrier = threading.Barrier(self._here)
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=self._here)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        """For `PMI_PORT` in the ranks' environment; each rank adds its number as `PMI_ID`."""
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more ranks."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                rank, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._serve, args=(rank,), daemon=True).start()

    def _serve(self, rank: socket.socket) -> None:
        # However a rank goes, the supervision of its process notices; here its connection just ends.
        barriers = 0
        try:
            with rank, rank.makefile("r") as lines:
                for line in lines:
                    words = dict(word.partition("=")[::2] for word in line.split())
                    command = words.get("cmd", "")
                    if command == "barrier_in":
                        self._meet(barriers)
                        barriers += 1
                    rank.sendall((self._answer(command, words, line) + "\n").encode())
        except (OSError, threading.BrokenBarrierError):
            self._barrier.abort()

    def _answer(self, command: str, words: dict[str, str], line: str) -> str:
        if command == "initack":
            facts = (f"size={self._ranks}", f"rank={words['pmiid']}", "debug=0")
            return "\n".join(["cmd=initack", *(f"cmd=set {fact}" for fact in facts)])
        if command == "put":
            # A value may hold blanks: it is the rest of the line.
            self._shared.set(words["key"], line.partition(" value=")[2].rstrip("\n"))
            return "cmd=put_result rc=0 msg=success"
        if command == "get":
            return self._got(words["key"])
        return {
            "init": "cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0",
            "get_maxes": _LIMITS,
            "get_appnum": "cmd=appnum appnum=0",
            "get_universe_size": f"cmd=universe_size size={self._ranks}",
            "get_my_kvsname": f"cmd=my_kvsname kvsname={self._name}",
            "barrier_in": "cmd=barrier_out",
            "finalize": "cmd=finalize_ack",
        }.get(command, f"cmd={command} rc=-1 msg=unknown_command")

    def _got(self, key: str) -> str:
        if key == _MAPPING:
            # From node 0 on, so many nodes, so many ranks each: MPI need not guess by the names of hosts.
            return f"cmd=get_result rc=0 msg=success value=(vector,(0,{self._nodes},{self._here}))"
        if not self._shared.check([key]):
            return "cmd=get_result rc=-1 msg=key_not_found value=unknown"
        return f"cmd=get_result rc=0 msg=success value={self._shared.get(key).decode()}"

    def _meet(self, number: int) -> None:
        """Wait for all ranks of this node, then for all nodes."""
        first = self._barrier.wait() == 0
        come, go = f"barrier {number}", f"passed {number}"
        if first and self._shared.add(come, 1) == self._nodes:
            self._shared.set(go, "1")
        self._shared.wait([go])

    @property
    def _shared(self) -> Store:
        with self._lock:
            if self._store is None:
                self._store = PrefixStore("mlb-pmi", self._open_store())
            return self._store


def local_store() -> Store:
    """For a run of one node: this process's own."""
    return HashStore()


def torchruns_store(host: str, port: int) -> Store:
    """For a run of several nodes: the store that torchrun's agents have met at, by the time there are ranks."""
    return TCPStore(host, port, is_master=False, timeout=timedelta(minutes=2))
