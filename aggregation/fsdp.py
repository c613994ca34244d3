"""FSDP2: parameters, gradients and optimiser state in shards, gathered for the forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.fsdp._fully_shard._fsdp_collectives import DefaultAllGather, DefaultReduceScatter
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from .base import NO_AVERAGES, Aggregation, Averages
from .exchange import Exchange
from .optimiser import AroundSteps


class FullyShardedDDP(Aggregation):
    """torch's `fully_shard` on the model as one unit, as tasks also use its weights outside of its forward method.

    The parameters become DTensors of which each rank has a slice; an optimiser that was made before is pointed to
    them before its first step. On gloo the reduce-scatter sends as much as an all-reduce (exchange.py).
    The weights are gathered right after the step that changed them, where nothing else goes on.
    """

    acts_after_step = True

    def __init__(self, model: nn.Module, exchange: Exchange) -> None:
        super().__init__(model, exchange)
        self._sharded: dict[nn.Parameter, nn.Parameter] = {}
        self._hooks: AroundSteps | None = None
        self._step = ExitStack()
        if self.world_size > 1:
            self.backward_ends_in = "communication"
            self._shard()

    def _shard(self) -> None:
        before = list(self.model.parameters())
        device = before[0].device.type
        fully_shard(self.model, mesh=init_device_mesh(device, (self.world_size,)), reshard_after_forward=False)
        assert isinstance(self.model, FSDPModule)
        self.model.set_custom_all_gather(_ToldAllGather(self.exchange))
        self.model.set_custom_reduce_scatter(_ToldReduceScatter(self.exchange))
        sharded = list(self.model.parameters())
        self._hooks = AroundSteps(self._point_to_shards)
        # Tasks look at weights outside of forward; between steps they are therefore whole.
        self.finish()
        # An optimiser that is made between steps has the whole parameters.
        for others in (before, self.model.parameters()):
            self._sharded |= zip(others, sharded, strict=True)

    def _point_to_shards(self, optimiser: Optimizer) -> None:
        for group in optimiser.param_groups:
            group["params"] = [self._sharded.get(p, p) for p in group["params"]]

    @contextmanager
    def accumulating(self) -> Iterator[None]:
        """The weights stay whole for the next pass, and so do the gradients, which are summed on each rank."""
        self._communicate(False)
        yield
        self._communicate(True)

    def _communicate(self, after_backward: bool) -> None:
        if isinstance(self.model, FSDPModule):
            self.model.set_requires_gradient_sync(after_backward)
            self.model.set_reshard_after_backward(after_backward)

    def reduce(self) -> int:
        """Backward has averaged the gradients already; this only says how much was sent since the last step.

        From here to `after_step` the collectives of whoever works on shards are told: clipping, LARS.
        """
        if self._sharded:
            self._step.enter_context(_ToldNorms(self.exchange))
        return self.exchange.take()

    def after_step(self) -> int:
        self._step.close()
        self._gather()
        return self.exchange.take()

    @contextmanager
    def evaluating(self, averages: Averages = NO_AVERAGES) -> Iterator[None]:
        """With whole weights throughout: ranks may evaluate batches of different number."""
        with averages as kept:
            self._gather_outside(anew=kept)
            yield
        self._gather_outside(anew=kept)

    def finish(self) -> None:
        self._gather_outside()

    def _gather_outside(self, anew: bool = False) -> None:
        """Gather between steps what is not; `anew` after a change of the shards, which the whole weights lack."""
        if anew and isinstance(self.model, FSDPModule):
            self.model.reshard()
        with self.exchange.outside_steps():
            self._gather()

    def _gather(self) -> None:
        if isinstance(self.model, FSDPModule):
            self.model.unshard()

    def close(self) -> None:
        if self._hooks:
            self._hooks.close()


class _ToldAllGather(DefaultAllGather):
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __call__(self, output_tensor: Any, input_tensor: Any, group: Any, async_op: bool = False) -> Any:
        ranks = self._exchange.ranks
        with self._exchange.told("all_gather", output_tensor.nbytes, (ranks - 1) / ranks * output_tensor.nbytes):
            work = super().__call__(output_tensor, input_tensor, group, async_op)
            if work is not None:
                work.wait()
        return None


class _ToldReduceScatter(DefaultReduceScatter):
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __call__(self, output_tensor: Any, input_tensor: Any, group: Any, op: Any, async_op: bool = False) -> Any:
        ranks = self._exchange.ranks
        self._exchange.observer.backward_done()
        factor = (2 if dist.get_backend(group) == "gloo" else 1) * (ranks - 1) / ranks
        with self._exchange.told("reduce_scatter", input_tensor.nbytes, factor * input_tensor.nbytes):
            return super().__call__(output_tensor, input_tensor, group, op, async_op)


class _ToldNorms(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch does not annotate it
    """Tells of the all-reduces by which DTensors sum a norm's parts: the optimiser waits for them.

    Any other collective on the way is refused: nobody would tell of it.
    """

    _COLLECTIVES = torch.ops._c10d_functional
    _WITHOUT_MESSAGES = (_COLLECTIVES.wait_tensor.default, _COLLECTIVES._wrap_tensor_autograd.default)

    def __init__(self, exchange: Exchange) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._exchange = exchange

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented  # first it makes of itself what there is to see here
        if func.namespace != "_c10d_functional" or func in self._WITHOUT_MESSAGES:
            return func(*args, **(kwargs or {}))
        if func is not self._COLLECTIVES.all_reduce.default:
            raise RuntimeError(f"the fsdp pattern cannot tell of {func} in an optimiser's step: use zero1")
        ranks, payload = self._exchange.ranks, args[0].nbytes
        with (
            self._exchange.observer.blocking("optimiser"),
            self._exchange.told("all_reduce", payload, 2 * (ranks - 1) / ranks * payload),
        ):
            return self._COLLECTIVES.wait_tensor(func(*args, **(kwargs or {})))
