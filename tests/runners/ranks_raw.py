"""One rank of test_raw: makes every operation of task 0a over gloo and, where it is there, over MPI."""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from mlb.results.backends import mpi_packages_missing
from mlb.results.raw import OPERATIONS, elements
from mlb.runners import mpi
from mlb.runners.raw import Case, Place

dist.init_process_group("gloo")
groups = {"gloo": dist.group.WORLD}
if not mpi_packages_missing():
    mpi.start()
    groups["mpi"] = dist.new_group(backend=mpi.NAME)
ranks, rank = dist.get_world_size(), dist.get_rank()
found = {}
for backend, group in groups.items():
    place = Place(backend, torch.device("cpu"), group)
    for operation in OPERATIONS:
        for dtype in ("float32", "float16", "bfloat16"):
            count = elements(operation, 1_000, dtype, ranks)
            case = Case(operation, getattr(torch, dtype), count, place, ranks, rank)
            case.fill()
            before = case.is_correct()
            case.run()
            correct = case.is_correct()
            found[f"{backend} {operation} {dtype}"] = (before, correct, case.timed())
(Path(sys.argv[1]) / f"{rank}.json").write_text(json.dumps(found))
dist.barrier()
dist.destroy_process_group()
mpi.leave()
