"""Every pattern on slow and fast links: python benchmarks/patterns.py --help.

Needs root: each rank lives in a network namespace. Rates in Mbit/s, 0 for no limit. All
patterns take turns, twice, in one set of processes; a step is a small perceptron's (1.05 million float32 parameters,
4.2 MB), as long as on its slowest rank; the median over steps is shown. "NIC" is what left all network interfaces over
what the formula says, at the last of the rates; there the headers of full frames (66 bytes for 1448) are added to the
formula, but not without a limit, where the kernel counts frames of 64 KiB.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import links
import torch
import torch.distributed as dist
from mlb.aggregation.patterns import create
from torch import nn

links.PREFIX = "mlbpt"
PATTERNS = (
    "allreduce", "layerwise", "ddp:bucket_mb=1", "zero1", "fsdp", "hierarchical:ranks_per_node=1", "ps", "ssp",
    "gossip", "weights", "localsgd", "diloco", "fp16:bucket_mb=1", "bf16:bucket_mb=1", "powersgd:start=2", "topk",
    "randomk", "sign", "qsgd:bits=4", "int8",
)  # fmt: skip


def with_headers(payload: float, rate_mbit: float) -> float:
    """Bytes a NIC counts: a shaped link cuts frames of 1448 bytes and 66 of headers, a bare veth frames of 64 KiB."""
    return payload * (1 + 66 / (1448 if rate_mbit else 65536))


def measure(ranks: int, rate_mbit: float, patterns: Sequence[str], steps: int) -> dict[str, dict[str, float]]:
    """Train with each pattern; gives its median step in ms, and the bytes sent by all ranks by NIC and by formula."""
    with tempfile.TemporaryDirectory() as folder, links.links([rate_mbit] * ranks):
        processes = []
        for rank in range(ranks):
            environment = {
                "RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": links.address(0), "MASTER_PORT": "29577",
                "GLOO_SOCKET_IFNAME": "eth0", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent),
            }  # fmt: skip
            command = ["ip", "netns", "exec", links.space(rank), sys.executable, "-P", __file__, "--rank", folder]
            processes.append(
                subprocess.Popen([*command, json.dumps(patterns), str(steps)], env={**os.environ, **environment})
            )
        codes = [process.wait() for process in processes]
        if any(codes):
            raise RuntimeError(f"the ranks ended with {codes}")
        found = [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(ranks)]
    return {pattern: _together([each[pattern] for each in found]) for pattern in patterns}


def _together(ranks: list[dict[str, Any]]) -> dict[str, float]:
    slowest = [max(times) for times in zip(*(each["times_ms"] for each in ranks), strict=True)]
    return {
        "step_ms": median(slowest),
        "nic": sum(each["nic"] for each in ranks),
        "formula": sum(each["formula"] for each in ranks),
        "steps": len(slowest),
    }


def rank_main(folder: Path, patterns: list[str], steps: int) -> None:
    """One rank: trains with each pattern in turn, twice over."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    dist.init_process_group("gloo")
    results: dict[str, dict[str, Any]] = {p: {"times_ms": [], "nic": 0, "formula": 0.0} for p in patterns}
    for turn in range(2):
        for pattern in patterns:
            for name, value in train(pattern, steps, turn).items():
                results[pattern][name] += value
    (folder / f"{dist.get_rank()}.json").write_text(json.dumps(results))
    dist.destroy_process_group()


def train(pattern: str, steps: int, turn: int) -> dict[str, Any]:
    """The times of the steps after three that are not counted, and the bytes sent in them."""
    torch.manual_seed(turn)
    model = nn.Sequential(*(layer for _ in range(4) for layer in (nn.Linear(512, 512), nn.Tanh())))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    aggregation = create(pattern, model, dist.get_world_size())
    forward = aggregation.wrap(lambda batch: (model(batch).pow(2).mean(), torch.zeros(())))
    times = []
    for step in range(steps + 3):
        if step == 3:
            dist.barrier()
            nic, formula = _nic_bytes(), aggregation.exchange.sent_bytes
        start = time.perf_counter()
        objective, _ = forward(torch.randn(32, 512))
        objective.backward()
        aggregation.reduce()
        optimiser.step()
        optimiser.zero_grad(set_to_none=False)
        aggregation.after_step()
        times.append((time.perf_counter() - start) * 1e3)
    dist.barrier()
    found = {"nic": _nic_bytes() - nic, "formula": aggregation.exchange.sent_bytes - formula, "times_ms": times[3:]}
    aggregation.finish()
    aggregation.close()
    dist.barrier()
    return found


def _nic_bytes() -> int:
    return int(Path("/sys/class/net/eth0/statistics/tx_bytes").read_text())


def table(ranks: int, steps: int, rates: Sequence[float], patterns: Sequence[str]) -> Iterator[str]:
    """The table, line by line; the ratios are to the first pattern."""
    found = {rate: measure(ranks, rate, patterns, steps) for rate in rates}
    names = [f"{rate:g} Mbit/s" if rate else "no limit" for rate in rates]
    yield f"{'pattern, ' + str(ranks) + ' ranks':<30}{'KB a step and rank':>20}{'NIC':>8}" + "".join(
        f"{name + ', ms':>20}{'ratio':>8}" for name in names
    )
    for pattern in patterns:
        first = found[rates[-1]][pattern]
        sent = first["formula"] / first["steps"] / ranks / 1e3
        ratio = first["nic"] / with_headers(first["formula"], rates[-1]) if first["formula"] else float("nan")
        times = [(found[rate][pattern]["step_ms"], found[rate][patterns[0]]["step_ms"]) for rate in rates]
        cells = "".join(f"{time_ms:>20.1f}{time_ms / baseline:>8.2f}" for time_ms, baseline in times)
        yield f"{pattern:<30}{sent:>20,.1f}{ratio:>8.3f}{cells}"


def main() -> None:
    if sys.argv[1:2] == ["--rank"]:
        rank_main(Path(sys.argv[2]), json.loads(sys.argv[3]), int(sys.argv[4]))
        return
    from common import machine

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rates", type=float, nargs="+", default=[100, 1000, 0], metavar="MBIT")
    parser.add_argument("--patterns", nargs="+", default=PATTERNS)
    given = parser.parse_args()
    print(machine())
    for line in table(given.ranks, given.steps, given.rates, given.patterns):
        print(line)


if __name__ == "__main__":
    main()
