"""torch's own pattern: gradients are all-reduced in buckets while backward still computes the earlier layers'."""

# No `from __future__ import annotations`: DDP looks at the annotations of its hook, and takes no strings.
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .base import B, Forward, Observer, Unobserved


class OverlappedDDP:
    """DistributedDataParallel with its default buckets; a comm hook, which does what the default does, is observed.

    Buffers are not broadcast at every step: no other pattern here does so, and it would be a collective more.
    """

    name = "ddp"
    bucket_mb: float | None = None
    """Size of a bucket in MiB; None for torch's default: 25, the first one 1."""

    def __init__(self, model: nn.Module, world_size: int) -> None:
        self.observer: Observer = Unobserved()
        # Alone there is nothing to reduce, and DDP would still copy every gradient through its buckets.
        self.backward_ends_in = "communication" if world_size > 1 else "backward"
        self._model = model
        self._world_size = world_size
        self._bytes = 0

    def wrap(self, forward: Forward[B]) -> Forward[B]:
        if self._world_size == 1:
            return forward
        ddp = DistributedDataParallel(
            _Forward(self._model, forward),
            bucket_cap_mb=self.bucket_mb,
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
            init_sync=False,
        )
        ddp.register_comm_hook(None, self._all_reduce)
        return ddp

    def reduce(self) -> int:
        """Backward has averaged the gradients already; this only says how much it sent."""
        handed_over, self._bytes = self._bytes, 0
        return handed_over

    def _all_reduce(self, _state: object, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:  # type: ignore[name-defined]
        """The comm hook: called by backward as soon as all gradients of a bucket are there."""
        if bucket.index() == 0:
            # Queued before DDP's own final callback, which waits for the buckets: runs when the computing is over.
            torch.autograd.Variable._execution_engine.queue_callback(self.observer.backward_done)
        buffer = bucket.buffer().div_(self._world_size)
        payload_bytes = buffer.numel() * buffer.element_size()
        self._bytes += payload_bytes
        ended = self.observer.collective("all_reduce", payload_bytes)
        work = dist.all_reduce(buffer, async_op=True)

        def finish(future: torch.futures.Future[list[Tensor]]) -> Tensor:
            ended()
            return future.value()[0]

        reduced: torch.futures.Future[Tensor] = work.get_future().then(finish)
        return reduced


class _Forward(nn.Module):
    """The task's forward pass as a module's, which is what DDP can wrap."""

    def __init__(self, model: nn.Module, forward: Any) -> None:
        super().__init__()
        self.model = model
        self._task_forward = forward

    def forward(self, batch: Any) -> Any:
        return self._task_forward(batch)
