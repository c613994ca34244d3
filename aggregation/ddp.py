"""torch's own pattern: gradients are all-reduced in buckets while backward still computes the earlier layers'."""

# No `from __future__ import annotations`: DDP looks at the annotations of its hooks, and takes no strings.
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel

from .base import Aggregation, B, Forward, trained
from .exchange import Exchange

Reduced = torch.futures.Future[Tensor]


class OverlappedDDP(Aggregation):
    """DistributedDataParallel; a comm hook, which does what the default does, is observed.

    Buffers are not broadcast at every step: no other pattern here does so, and it would be a collective more.

    Args:
        bucket_mb: size of a bucket of gradients in MiB; 0 for torch's default: 25, the first one 1.
        find_unused: look in each step for parameters without a part in the loss; without it they are an error.
    """

    def __init__(self, model: nn.Module, exchange: Exchange, bucket_mb: float = 0.0, find_unused: bool = False) -> None:
        super().__init__(model, exchange)
        # Alone there is nothing to reduce, and DDP would still copy every gradient through its buckets.
        self.backward_ends_in = "communication" if self.world_size > 1 else "backward"
        self._bucket_mb = bucket_mb
        self._find_unused = find_unused
        self._ddp: DistributedDataParallel | None = None
        self._used_map_ended: Callable[[], None] | None = None

    def wrap(self, forward: Forward[B]) -> Forward[B]:
        if self.world_size == 1:
            return forward
        with warnings.catch_warnings():
            # The name that replaces `broadcast_buffers` in torch 2.13 is not in the versions before it.
            warnings.simplefilter("ignore", FutureWarning)
            self._ddp = DistributedDataParallel(
                _Forward(self.model, forward),
                broadcast_buffers=False,
                gradient_as_bucket_view=True,
                init_sync=False,
                bucket_cap_mb=self._bucket_mb or None,
                find_unused_parameters=self._find_unused,
            )
        self._ddp.register_comm_hook(None, self._hook)
        return self._ddp

    @contextmanager
    def accumulating(self) -> Iterator[None]:
        with self._ddp.no_sync() if self._ddp else nullcontext():
            yield

    def reduce(self) -> int:
        """Backward has averaged the gradients already; this only says how much it sent."""
        if self._used_map_ended:
            self._used_map_ended()
            self._used_map_ended = None
        return self.exchange.take()

    def _hook(self, _state: object, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:  # type: ignore[name-defined]
        """The comm hook: called by backward as soon as all gradients of a bucket are there."""
        if bucket.index() == 0:
            # Queued before DDP's own final callback, which waits for the buckets: runs when the computing is over.
            torch.autograd.Variable._execution_engine.queue_callback(self.observer.backward_done)
        reduced = self._reduced(bucket)
        if self._find_unused and bucket.is_last():
            # As soon as this is back, DDP's reducer sums which parameters were used, 4 bytes each, and waits for it
            # before backward is over.
            payload = 4 * len(trained(self.model))
            self._used_map_ended = self.observer.collective("all_reduce", payload)
            self.exchange.count(payload, 2 * (self.world_size - 1) / self.world_size * payload)
        return reduced

    def _reduced(self, bucket: Any) -> Reduced:
        """The bucket's mean over the ranks, to come."""
        return self._all_reduce(None, bucket)

    def _all_reduce(self, _state: object, bucket: Any) -> Reduced:
        return self._told(default_hooks.allreduce_hook, None, bucket, bucket.buffer().nbytes)

    def _told(self, hook: Callable[[Any, Any], Any], state: object, bucket: Any, payload_bytes: int) -> Reduced:
        """Call one of torch's hooks, and tell the observer when it began and when its result was there."""
        ended = self.observer.collective("all_reduce", payload_bytes)
        self.exchange.count(payload_bytes, 2 * (self.world_size - 1) / self.world_size * payload_bytes)

        def finish(done: Any) -> Tensor:
            ended()
            value: Tensor = done.value()
            return value

        reduced: Reduced = hook(state, bucket).then(finish)
        return reduced


class HalfPrecisionDDP(OverlappedDDP):
    """DDP whose buckets travel in 16 bits, and are summed in 16 bits too.

    With n ranks and v = gradient + memory, a rank sends m = v / n rounded to 16 bits, and memory = v - n m. torch's
    hook rounds once more after that, by dividing in 16 bits, and what this takes off nobody could remember.

    Args:
        error_feedback: remember what rounding took off, and add it to the next step's gradients.
    """

    dtype = torch.float16

    def __init__(
        self,
        model: nn.Module,
        exchange: Exchange,
        bucket_mb: float = 0.0,
        find_unused: bool = False,
        error_feedback: bool = True,
    ) -> None:
        super().__init__(model, exchange, bucket_mb, find_unused)
        self.memory: dict[nn.Parameter, Tensor] = {}
        self._error_feedback = error_feedback

    def _reduced(self, bucket: Any) -> Reduced:
        ranks, whole = self.world_size, bucket.buffer()
        if not self._error_feedback:
            return self._summed((whole / ranks).to(self.dtype), bucket)
        # By parameter, not by bucket: DDP makes its buckets anew after the first step.
        parameters, sizes = bucket.parameters(), [g.numel() for g in bucket.gradients()]
        for p, part in zip(parameters, whole.split(sizes), strict=True):
            if p in self.memory:
                part.add_(self.memory[p])
        message = (whole / ranks).to(self.dtype)
        left_out = whole.sub(message.to(whole.dtype), alpha=ranks)
        self.memory.update(zip(parameters, left_out.split(sizes), strict=True))
        return self._summed(message, bucket)

    def _summed(self, message: Tensor, bucket: Any) -> Reduced:
        return self._told(_sum_into_bucket, message, bucket, message.nbytes)


def _sum_into_bucket(message: Tensor, bucket: Any) -> Reduced:
    """A comm hook: the bucket becomes the sum of all ranks' messages."""
    buffer: Tensor = bucket.buffer()
    work: Any = dist.all_reduce(message, async_op=True)
    summed: Reduced = work.get_future().then(lambda done: buffer.copy_(done.value()[0]))
    return summed


class BFloat16DDP(HalfPrecisionDDP):
    """As float16, with float32's range and fewer digits."""

    dtype = torch.bfloat16


class PowerSGD(OverlappedDDP):
    """DDP with torch's PowerSGD hook: each gradient matrix as the product of two of low rank, with error feedback
    (Vogels et al. 2019, "PowerSGD: practical low-rank gradient compression"). Buckets are sent one after another.

    Args:
        rank: of the approximation.
        start: steps that are all-reduced in full first; DDP's second step still makes buckets anew.
        min_rate: a matrix is compressed where that saves at least this factor.
    """

    def __init__(
        self,
        model: nn.Module,
        exchange: Exchange,
        rank: int = 2,
        start: int = 10,
        min_rate: float = 2.0,
        bucket_mb: float = 0.0,
        find_unused: bool = False,
    ) -> None:
        super().__init__(model, exchange, bucket_mb, find_unused)
        self._rank, self._min_rate = rank, min_rate
        self._bucket_before: Reduced | None = None
        self.state = powerSGD_hook.PowerSGDState(
            process_group=None, matrix_approximation_rank=rank, start_powerSGD_iter=start, min_compression_rate=min_rate
        )

    def _reduced(self, bucket: Any) -> Reduced:
        if self.state.iter < self.state.start_powerSGD_iter:
            payload = bucket.buffer().nbytes
        else:
            if self._bucket_before is not None:
                # The callbacks of two buckets hand over their all-reduces in an order of their own on every rank, and
                # gloo pairs them by order: it aborts the process ("Received data size doesn't match").
                self._bucket_before.wait()
            entries = sum(self.entries(g) for g in bucket.gradients())
            payload = entries * bucket.buffer().element_size()
        # Its first all-reduce is handed over inside the hook, the others follow in callbacks: one entry in the log.
        self._bucket_before = self._told(powerSGD_hook.powerSGD_hook, self.state, bucket, payload)
        if self._find_unused and bucket.is_last():
            # For the same reason: DDP all-reduces which parameters were used as soon as the last hook is back.
            self._bucket_before.wait()
        return self._bucket_before

    def entries(self, gradient: Tensor) -> int:
        """Numbers sent for a gradient: those of both factors, or all of it where that saves too little."""
        rows = gradient.shape[0]
        columns = gradient.numel() // rows
        rank = min(rows, columns, self._rank)
        if (rows + columns) * rank * self._min_rate >= rows * columns:
            return gradient.numel()
        return (rows + columns) * rank


class _Forward(nn.Module):
    """The task's forward pass as a module's, which is what DDP can wrap."""

    def __init__(self, model: nn.Module, forward: Any) -> None:
        super().__init__()
        self.model = model
        self._task_forward = forward

    def forward(self, batch: Any) -> Any:
        return self._task_forward(batch)
