"""One rank of a short all-reduce over the fleet's own network: `python -m mlb.runners.all_reduce_probe`.

Who and where it is comes from torch.distributed's variables (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT), the backend
from MLB_BACKEND. Rank 0 prints one JSON line.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from .nccl_log import have_nccl_tell, networks

_TIMEOUT = timedelta(seconds=60)
_SMALL = 1024
_LARGE = {"gloo": 1 << 20, "nccl": 1 << 23}
"""Elements, 4 bytes each: 4 MiB and 32 MiB."""
_REPEATS = {_SMALL: 20}
_FEW = 3


def main() -> None:
    """Time a small and a large all-reduce, check their sums, and say what they went over."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "nccl"
        have_nccl_tell(os.environ, log)
        said = _measure(os.environ["MLB_BACKEND"], log)
    if dist.get_rank() == 0:
        print(json.dumps(said), flush=True)  # noqa: T201  # its answer
    dist.barrier()
    dist.destroy_process_group()


def _measure(backend: str, nccl_log: Path) -> dict[str, object]:
    device = torch.device("cuda", 0) if backend == "nccl" else torch.device("cpu")
    if backend == "nccl":
        torch.cuda.set_device(device)
    dist.init_process_group(backend, timeout=_TIMEOUT)
    timed = {elements: _time(elements, device) for elements in (_SMALL, _LARGE[backend])}
    world = dist.get_world_size()
    used: list[list[str]] = [[] for _ in range(world)]
    # One node that falls back to TCP has its neighbours do the same, but not the whole ring.
    dist.all_gather_object(used, networks(nccl_log) if backend == "nccl" else ["TCP"])
    large = 4 * _LARGE[backend]
    return {
        "backend": backend,
        "ranks": world,
        "networks": sorted({name for names in used for name in names}),
        "small_bytes": 4 * _SMALL,
        "small_s": timed[_SMALL],
        "large_bytes": large,
        "large_s": timed[_LARGE[backend]],
        # NCCL's bus bandwidth: what a ring moves over each link, 2 (n - 1) / n of the data.
        "bus_bits_per_s": 8 * large * 2 * (world - 1) / world / timed[_LARGE[backend]],
    }


def _time(elements: int, device: torch.device) -> float:
    """Seconds of the fastest of several all-reduces; raises ValueError if the sum is wrong."""
    values = torch.empty(elements, device=device)
    best = float("inf")
    for _ in range(_REPEATS.get(elements, _FEW)):
        values.fill_(dist.get_rank() + 1)
        dist.barrier()
        _settle(device)
        begun = time.monotonic()
        dist.all_reduce(values)
        _settle(device)
        best = min(best, time.monotonic() - begun)
        world = dist.get_world_size()
        if not bool((values == world * (world + 1) // 2).all()):
            raise ValueError(f"an all-reduce of {elements} values over {world} ranks came to a wrong sum")
    return best


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
