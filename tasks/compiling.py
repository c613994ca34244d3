"""torch.compile and lower precision, where the machine has them."""

from __future__ import annotations

import shutil
import warnings
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn


def compiled(model: nn.Module) -> nn.Module:
    """The model through torch.compile; the model itself, with a warning, where a CPU has no C++ compiler."""
    on_cpu = all(p.device.type == "cpu" for p in model.parameters())
    if on_cpu and not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        warnings.warn("no C++ compiler (g++, clang++): the model is not compiled", stacklevel=2)
        return model
    result: nn.Module = torch.compile(model)  # type: ignore[assignment]
    return result


def precision_of(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Autocast to bfloat16 where that is asked for."""
    if precision == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()
