"""Collectives that belong to no training step: those of start-up, of evaluations and of the end of a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

from ..results import keys
from ..results.writer import EventLog


class OutsideSteps:
    """An observer that writes each collective as a line of its own.

    Outside of steps nothing is lost by waiting for the device: both ends are taken when it has come to rest.
    """

    def __init__(self, log: EventLog, device: torch.device) -> None:
        self._log = log
        self._device = device

    def collective(self, operation: str, payload_bytes: int, *_: object, **__: object) -> Callable[[], None]:
        self._rest()
        start = time.monotonic_ns()

        def ended() -> None:
            self._rest()
            now = time.monotonic_ns()
            self._log.event(
                keys.COLLECTIVE,
                time_ns=now,
                operation=operation,
                payload_bytes=payload_bytes,
                start_ns=start,
                duration_ns=now - start,
            )

        return ended

    def backward_done(self) -> None:
        return None

    def blocking(self, *_: object) -> AbstractContextManager[None]:
        return nullcontext()

    def _rest(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
