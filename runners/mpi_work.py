"""What MPI is doing for torch: work that is over, work of a thread, and messages on their way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.futures import Future


class Done(dist.Work):
    """Work that is over."""

    def __init__(self, result: list[Tensor]) -> None:
        super().__init__()
        self._result = result

    def wait(self, timeout: timedelta = timedelta(0)) -> bool:  # noqa: ARG002  # torch's signature
        return True

    def is_completed(self) -> bool:
        return True

    def get_future(self) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(self._result)
        return future


class Pending(dist.Work):
    """Work that the worker thread does."""

    def __init__(self, future: Future[Any]) -> None:
        super().__init__()
        self._future = future

    def wait(self, timeout: timedelta = timedelta(0)) -> bool:  # noqa: ARG002  # MPI knows none; hangs are watched for
        self._future.wait()
        return True

    def is_completed(self) -> bool:
        return self._future.done()

    def get_future(self) -> Future[Any]:
        return self._future


class Message(dist.Work):
    """A message on its way to or from another rank."""

    def __init__(self, request: Any, tensor: Tensor, target: Tensor | None = None) -> None:
        super().__init__()
        self._request, self._tensor, self._target = request, tensor, target

    def wait(self, timeout: timedelta = timedelta(0)) -> bool:  # noqa: ARG002  # as above
        self._request.Wait()
        self._land()
        return True

    def is_completed(self) -> bool:
        return bool(self._request.Test())

    def get_future(self) -> Future[Any]:
        self.wait()
        return Done([self._tensor]).get_future()

    def _land(self) -> None:
        if self._target is not None:
            self._target.copy_(self._tensor)
            self._target = None


class Worker:
    """One thread for the asynchronous collectives of all groups, in the order in which they were called."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="mpi")
        self._lock = threading.Lock()
        self._waiting = 0
        self._thread: int | None = None

    def work(self, call: Callable[[], object], result: list[Tensor], *, blocking: bool) -> dist.Work:
        """Do it now where the caller waits anyway and nothing was called before it; else leave it to the thread.

        What the thread itself asks for, in a callback of a future, is done there and then: torch's PowerSGD waits for
        it in the callback. It then comes between the collective that was awaited and the next, on every rank.
        """
        inside = threading.get_ident() == self._thread
        with self._lock:
            now = inside or (blocking and not self._waiting)
            self._waiting += not now
        if now:
            call()
            return Done(result)
        future: Future[Any] = Future()
        self._threads.submit(self._do, call, future, result)
        return Pending(future)

    def shutdown(self) -> None:
        self._threads.shutdown()

    def _do(self, call: Callable[[], object], future: Future[Any], result: list[Tensor]) -> None:
        self._thread = threading.get_ident()
        try:
            call()
        except Exception as error:  # noqa: BLE001  # whatever it is, who waits is to get it
            self._ended()
            future.set_exception(error)
        else:
            self._ended()
            future.set_result(result)

    def _ended(self) -> None:
        with self._lock:
            self._waiting -= 1
