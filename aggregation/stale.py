"""The asynchronous parameter server with a bound on staleness."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .base import NO_AVERAGES, Averages
from .exchange import Exchange
from .weights import WeightExchange, flat, put

_PATIENCE_S = 600.0
"""The longest a rank waits for the slowest; a rank that died is noticed by the agent long before."""


class StaleParameterServer(WeightExchange):
    """Stale synchronous parallel (Ho et al. 2013, "More effective distributed ML via a stale synchronous parallel
    parameter server"): a rank sends the change of its weights after each step and gets the server's weights back.

    The server, a thread for each other rank beside rank 0's training, adds 1/n of every change. Its answer to a rank's
    step t holds every change up to step t - staleness and none after step t + staleness: 0 is synchronous, and gives
    what the mean of the changes gives.

    Args:
        staleness: steps by which the fastest rank may be ahead of the slowest.
    """

    def __init__(self, model: nn.Module, exchange: Exchange, staleness: int = 4) -> None:
        super().__init__(model, exchange)
        self._rank = exchange.rank
        self._staleness = staleness
        self._start = flat([p.data for p in self._parameters])
        self._links = self._make_links()
        self._server = Server(self._start.clone(), exchange.ranks, staleness) if self._rank == 0 else None
        self._threads = [
            threading.Thread(target=self._server.serve, args=(rank, link), daemon=True)
            for rank, link in self._links.items()
            if self._server
        ]
        for thread in self._threads:
            thread.start()

    def _make_links(self) -> dict[int, dist.ProcessGroup]:
        """A group for each rank and the server: messages of different ranks cannot be mistaken for each other."""
        forever = timedelta(days=1)
        groups = {r: dist.new_group([0, r], timeout=forever) for r in range(1, self.world_size)}
        return groups if self._rank == 0 else {self._rank: groups[self._rank]}

    def _exchange_weights(self) -> None:
        weights = [p.data for p in self._parameters]
        change = flat(weights).sub_(self._start)
        sent = round(2 * change.nbytes * (self.world_size - 1) / self.world_size)
        with self.exchange.told("send", sent, sent, steps_behind=self._staleness):
            if self._server:
                self._start = self._server.take_in(0, change, self._step)
            else:
                link = self._links[self._rank]
                dist.send(torch.tensor([self._step]), 0, group=link)
                dist.send(change, 0, group=link)
                self._start = torch.empty_like(change)
                dist.recv(self._start, 0, group=link)
        put(self._start, weights)

    @contextmanager
    def evaluating(self, averages: Averages = NO_AVERAGES) -> Iterator[None]:
        """The server's weights once all changes are in; training goes on from them. It has no optimiser and so no
        averages: of these, the mean over the ranks."""
        with averages as kept:
            if kept:
                with super().evaluating():
                    yield
            else:
                self.finish()
                yield

    @torch.no_grad()
    def finish(self) -> None:
        if self.world_size == 1:
            return
        with self.exchange.outside_steps():
            with self.exchange.told("barrier", 0, 0):
                dist.barrier()
            if self._server:
                self._start = self._server.weights.clone()
            with self.exchange.told("broadcast", self._start.nbytes, self._start.nbytes):
                dist.broadcast(self._start, src=0)
        put(self._start, [p.data for p in self._parameters])

    def close(self) -> None:
        if self._server:
            for thread in self._threads:
                thread.join(_PATIENCE_S)
        elif self.world_size > 1:
            dist.send(torch.tensor([-1]), 0, group=self._links[self._rank])


class Server:
    """The shared weights, and how far each rank is."""

    def __init__(self, weights: Tensor, ranks: int, staleness: int) -> None:
        self.weights = weights
        self._staleness = staleness
        self._clocks = [0] * ranks
        self._answered = [0] * ranks
        self._changed = threading.Condition()
        self._broken: BaseException | None = None

    def take_in(self, rank: int, change: Tensor, step: int) -> Tensor:
        """Add a rank's change of its step; the weights once no rank is too far behind.

        Raises:
            RuntimeError: a rank is gone.
        """
        with self._changed:
            # Who was answered first may be back with a later step before another has taken its answer.
            self._wait(lambda: min(self._answered) >= step - 1 - self._staleness)
            self.weights.add_(change, alpha=1 / len(self._clocks))
            self._clocks[rank] = step
            self._changed.notify_all()
            self._wait(lambda: min(self._clocks) >= step - self._staleness)
            answer = self.weights.clone()
            self._answered[rank] = step
            self._changed.notify_all()
            return answer

    def _wait(self, near: Callable[[], bool]) -> None:
        arrived = self._changed.wait_for(lambda: self._broken or near(), timeout=_PATIENCE_S)
        if self._broken or not arrived:
            raise RuntimeError(f"gloo: the parameter server lost a rank: {self._broken or 'no answer'}")

    def serve(self, rank: int, link: dist.ProcessGroup) -> None:
        """Answer one rank until it says that it is done; runs on a thread of its own."""
        try:
            while True:
                step = torch.zeros(1, dtype=torch.int64)
                dist.recv(step, rank, group=link)
                if step.item() < 0:
                    return
                change = torch.empty_like(self.weights)
                dist.recv(change, rank, group=link)
                dist.send(self.take_in(rank, change, int(step)), rank, group=link)
        except RuntimeError as error:
            with self._changed:
                self._broken = error
                self._changed.notify_all()
