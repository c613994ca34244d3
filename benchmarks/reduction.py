"""How fast logs become a report: python benchmarks/reduction.py [RANKS] [STEPS], 64 and 156,250 if left out.

Writes logs of that many step records (5.6 GB for ten million) and makes the report's numbers from them in a process of
its own, whose peak memory is the kernel's. Then one rank's file is read by each of the engines that are installed.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from common import machine
from log_overhead import SPEC
from mlb.results import keys
from mlb.results.columns import BLOCKED_LISTS, COLLECTIVE_LISTS, NUMBERS
from mlb.results.line import encode
from mlb.results.run import RunFolder, write_json

LISTS = (*COLLECTIVE_LISTS, *BLOCKED_LISTS)
VARIANTS = 4
"""Ranks with different times; the others repeat them."""

REPORT = """
import sys, time
from pathlib import Path
from mlb.results.metrics import compute
from mlb.results.run import RunFolder
start = time.perf_counter()
metrics = compute(RunFolder(Path(sys.argv[1])))
print(time.perf_counter() - start, metrics.communication.reduction.health.joined * metrics.spec.ranks)
"""

ENGINES = {
    "pyarrow": """
import pyarrow as pa, pyarrow.json as reader
schema = pa.schema([*((n, pa.int64()) for n in numbers), *((n, pa.list_(pa.int64())) for n in lists)])
options = reader.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
rows = reader.read_json(path, reader.ReadOptions(block_size=4 << 20), options).num_rows
""",
    "polars": """
import polars as pl
schema = {**{n: pl.Int64 for n in numbers}, **{n: pl.List(pl.Int64) for n in lists}}
rows = pl.read_ndjson(path, schema=schema, ignore_errors=True).height
""",
    "duckdb": """
import duckdb
columns = {**{n: "BIGINT" for n in numbers}, **{n: "BIGINT[]" for n in lists}}
found = duckdb.sql(f"select * from read_ndjson('{path}', columns={columns!r}, ignore_errors=true)")
rows = len(found.fetchnumpy()["step"])
""",
}


def log(rank: int, steps: int) -> Iterator[bytes]:
    """Lines of a rank's log."""
    chance, now, seq = random.Random(rank), 10**13, 2
    identity = {"rank": rank, "local_rank": 0, "world_size": 0, "node": 0, "host": "h", "pid": 1, "run_id": "r"}
    clocks = {"unix_time_ns": 1_700_000_000 * 10**9, "launched_unix_ns": 1_700_000_000 * 10**9}
    yield encode(keys.LOG_START, 0, now, {"schema_version": 1, **identity, **clocks})
    yield encode(keys.CLOCK_SYNC, 1, now, {"offset_ns": 0, "error_ns": 9_000, "rounds": 40})
    for step in range(steps):
        times = [chance.randrange(10**5, 10**8) for _ in range(7)]
        before, blocked, whole = sum(times[:4]), times[4], sum(times)
        phases = ",".join(f'"{phase}_ns":{ns}' for phase, ns in zip(keys.PHASES, times, strict=True))
        yield (
            f'{{"key":"step","seq":{seq},"time_ns":{now + whole},"epoch_num":1,"step":{step},"start_ns":{now},'
            f'"step_ns":{whole},{phases},"collective_operation":["all_reduce"],"collective_bytes":[6499584],'
            f'"collective_arrival_ns":[{before + 500}],"collective_end_ns":[{before + blocked - 700}],'
            f'"blocked_start_ns":[{before}],"blocked_end_ns":[{before + blocked}],"samples":10,"tokens":350,'
            f'"bytes_reduced":6499584,"loss":{chance.random() * 9},"warmup":{"true" if step < 3 else "false"}}}\n'
        ).encode()
        now, seq = now + whole, seq + 1
    yield encode(keys.CLOCK_SYNC, seq, now, {"offset_ns": 0, "error_ns": 9_000, "rounds": 40})
    yield encode(keys.LOG_STOP, seq + 1, now, {"unix_time_ns": clocks["unix_time_ns"] + now - 10**13})


def write_run(folder: RunFolder, ranks: int, steps: int) -> int:
    """A run folder with that many ranks; gives the logs' bytes."""
    folder.create()
    write_json(folder.spec, replace(SPEC, ranks=ranks))
    for rank in range(ranks):
        path = folder.rank_events(rank)
        if rank < VARIANTS:
            with path.open("wb") as file:
                file.writelines(log(rank, steps))
        else:
            first = next(log(rank, 0))
            with folder.rank_events(rank % VARIANTS).open("rb") as source, path.open("wb") as file:
                source.readline()
                file.write(first)
                shutil.copyfileobj(source, file, 16 << 20)
    return sum(path.stat().st_size for path in folder.events.iterdir())


def child(program: str, *arguments: str) -> tuple[str, float, float]:
    """Output, seconds of processor and peak memory in MB of a Python program."""
    # The kernel's own ru_maxrss would count this process's memory, which the child has until it begins its program.
    tail = "\nprint(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1])"
    process = subprocess.Popen([sys.executable, "-P", "-c", program + tail, *arguments], stdout=subprocess.PIPE)
    assert process.stdout is not None
    *output, memory_kb = process.stdout.read().decode().splitlines() or ["0"]
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit("the child failed")
    return "".join(output), usage.ru_utime + usage.ru_stime, int(memory_kb) / 1024


def main() -> None:
    ranks = int(sys.argv[1]) if len(sys.argv) > 1 else 64
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 156_250
    print(machine())
    with tempfile.TemporaryDirectory() as path:
        folder = RunFolder(Path(path))
        size = write_run(folder, ranks, steps)
        print(f"{ranks * steps:,} step records on {ranks} ranks, {size / 1e9:.2f} GB", flush=True)
        output, cpu_s, memory = child(REPORT, path)
        wall, joined = output.split()
        print(f"report: {float(wall):.1f} s ({cpu_s:.1f} s of processor), peak {memory:,.0f} MB, {joined} joined")
        for _ in range(3):
            for name, program in ENGINES.items():
                names = json.dumps([NUMBERS, LISTS])
                given = f"import json,time\npath={str(folder.rank_events(0))!r}\nnumbers,lists=json.loads({names!r})\n"
                timed = f"{given}start=time.perf_counter()\n{program}\nprint(time.perf_counter()-start, rows)"
                start = time.perf_counter()
                output, cpu_s, memory = child(f"try:\n    import {name}\nexcept ImportError: raise SystemExit\n{timed}")
                if output:
                    print(f"{name:<8} {float(output.split()[0]):.2f} s of {time.perf_counter() - start:.2f} s, "
                          f"{cpu_s:.2f} s of processor, peak {memory:,.0f} MB")  # fmt: skip


if __name__ == "__main__":
    main()
