"""torch.compile and lower precision, where the machine has them."""

from __future__ import annotations

import shutil
import warnings
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from ..errors import UsageError


def compiled(model: nn.Module, *, graphs: bool = False) -> nn.Module:
    """The model through torch.compile; the model itself, with a warning, where a CPU has no C++ compiler.

    Args:
        graphs: record CUDA graphs, which launch all kernels at once: of a small network, launching them one by one
            takes longer than running them.
    """
    on_cpu = all(p.device.type == "cpu" for p in model.parameters())
    if on_cpu and not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        warnings.warn("no C++ compiler (g++, clang++): the model is not compiled", stacklevel=2)
        return model
    if graphs:
        # A gradient that autograd takes over from a graph would be overwritten by the graph's next run.
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
    mode = "reduce-overhead" if graphs and not on_cpu else None
    result: nn.Module = torch.compile(model, mode=mode)  # type: ignore[assignment]
    return result


def compile_here(when: str, device: torch.device) -> bool:
    """Whether a recipe's `compile` (`never`, `gpu`, `always`) asks for it on this device.

    Raises:
        UsageError: it is none of the three.
    """
    if when not in ("never", "gpu", "always"):
        raise UsageError(f"compile={when} is none of the choices.", fix="compile is never, gpu or always.")
    return when == "always" or (when == "gpu" and device.type == "cuda")


def precision_of(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Autocast to bfloat16 where that is asked for."""
    if precision == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()
