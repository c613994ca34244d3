"""Blocking all-reduces after the whole backward: of all gradients in one buffer (MLBench's pattern), or by layer."""

from __future__ import annotations

from .flat import FlatGradients


class BlockingAllReduce(FlatGradients):
    """Averages the gradients of all ranks in one buffer; MLBench packed and unpacked it in every step."""

    def _average(self) -> None:
        self.exchange.all_reduce(self.buffer)
        self.buffer.div_(self.world_size)


class LayerwiseAllReduce(FlatGradients):
    """One all-reduce a parameter tensor, in the model's order: MLBench's `by_layer`."""

    def _average(self) -> None:
        for gradient in self._views():
            self.exchange.all_reduce(gradient)
        self.buffer.div_(self.world_size)
