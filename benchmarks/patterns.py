"""Every pattern on slow and fast links: python benchmarks/patterns.py --help.

Needs root: each rank lives in a network namespace. Rates in Mbit/s, 0 for no limit. The table is made in parts of a few
patterns each, kept in a file of JSON lines: the same command goes on where it was ended, and prints what there is.

The patterns of a part take turns, twice, in one set of processes; a step is a small perceptron's (1.05 million float32
parameters, 4.2 MB), as long as on its slowest rank; the median over steps is shown, of the patterns that exchange in
every eighth step only the mean over whole eights. "NIC" is what left all network interfaces over what the formula says,
at the fastest link: the headers of full frames (66 bytes for 1448) are added to the formula, without a limit those of
the kernel's frames of 64 KiB.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import links
import torch
import torch.distributed as dist
from common import append, lines_of, machine
from mlb.aggregation.patterns import create
from torch import nn

links.PREFIX = "mlbpt"
PATTERNS = (
    "allreduce", "layerwise", "ddp:bucket_mb=1", "zero1", "fsdp", "hierarchical:ranks_per_node=1", "ps", "ssp",
    "gossip", "weights", "localsgd:period=8", "diloco:period=8", "fp16:bucket_mb=1", "bf16:bucket_mb=1",
    "powersgd:start=2", "topk", "randomk", "sign", "qsgd:bits=4", "int8",
)  # fmt: skip


def with_headers(payload: float, rate_mbit: float) -> float:
    """Bytes a NIC counts: a shaped link cuts frames of 1448 bytes and 66 of headers, a bare veth frames of 64 KiB."""
    return payload * (1 + 66 / (1448 if rate_mbit else 65536))


def measure(ranks: int, rate_mbit: float, patterns: Sequence[str], steps: int) -> dict[str, dict[str, float]]:
    """Train with each pattern; gives its median step in ms, and the bytes sent by all ranks by NIC and by formula."""
    found = links.run_ranks(__file__, [json.dumps(patterns), str(steps)], [rate_mbit] * ranks, 0.0, 29577)
    return {pattern: _together(pattern, [each[pattern] for each in found]) for pattern in patterns}


def _together(pattern: str, ranks: list[dict[str, Any]]) -> dict[str, float]:
    slowest = [max(times) for times in zip(*(each["times_ms"] for each in ranks), strict=True)]
    return {
        "step_ms": mean(slowest) if "period" in pattern else median(slowest),
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


def parts(
    ranks: Sequence[int], rates: Sequence[float], patterns: Sequence[str], at_once: int
) -> Iterator[tuple[int, float, list[str]]]:
    """The table in pieces of a few minutes; the first pattern is in each, as what the others are held against."""
    first, *others = patterns
    for number in ranks:
        for rate in rates:
            for place in range(0, max(1, len(others)), at_once):
                yield number, rate, [first, *others[place : place + at_once]]


def fill(path: Path, wanted: Sequence[tuple[int, float, list[str]]], steps: int, at_most: int | None) -> None:
    """Measure the pieces that are not in the file yet, each written down as soon as it is whole."""
    there = {_key(line) for line in lines_of(path)}
    names = ("ranks", "rate_mbit", "patterns")
    missing = [one for one in wanted if _key({**dict(zip(names, one, strict=True)), "steps": steps}) not in there]
    print(f"{len(missing)} of {len(wanted)} parts to make", flush=True)
    for ranks, rate, patterns in missing[:at_most]:
        print(f"{ranks} ranks, {_named(rate)}: {', '.join(patterns)}", flush=True)
        found = measure(ranks, rate, patterns, steps)
        line = {
            "machine": machine(),
            "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "ranks": ranks,
            "rate_mbit": rate,
            "patterns": patterns,
            "steps": steps,
            "found": found,
        }
        append(path, line)


def _key(line: Mapping[str, Any]) -> str:
    return json.dumps([line[name] for name in ("ranks", "rate_mbit", "patterns", "steps")])


def _named(rate: float) -> str:
    return f"{rate:g} Mbit/s" if rate else "no limit"


def table(lines: Sequence[Mapping[str, Any]], ranks: int) -> Iterator[str]:
    """The table of so many ranks; each ratio is to the first pattern of the same piece, which ran beside it."""
    mine = [line for line in lines if line["ranks"] == ranks]
    rates = list(dict.fromkeys(line["rate_mbit"] for line in mine))
    yield f"{'pattern, ' + str(ranks) + ' ranks':<30}{'KB a step and rank':>20}{'NIC':>8}" + "".join(
        f"{_named(rate) + ', ms':>20}{'ratio':>8}" for rate in rates
    )
    for pattern in dict.fromkeys(pattern for line in mine for pattern in line["patterns"]):
        by_rate = {line["rate_mbit"]: line for line in mine if pattern in line["patterns"]}
        cells = ""
        for rate in rates:
            found = by_rate[rate]["found"] if rate in by_rate else None
            step_ms = found[pattern]["step_ms"] if found else float("nan")
            base_ms = found[by_rate[rate]["patterns"][0]]["step_ms"] if found else float("nan")
            cells += f"{step_ms:>20.1f}{step_ms / base_ms:>8.2f}"
        last = max(by_rate, key=lambda rate: rate or float("inf"))
        counted = by_rate[last]["found"][pattern]
        sent = counted["formula"] / counted["steps"] / ranks / 1e3
        whole = with_headers(counted["formula"], last)
        yield f"{pattern:<30}{sent:>20,.1f}{counted['nic'] / whole if whole else float('nan'):>8.3f}{cells}"


def main() -> None:
    if sys.argv[1:2] == ["--rank"]:
        rank_main(Path(sys.argv[2]), json.loads(sys.argv[3]), int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--steps", type=int, default=8, help="of each turn; a multiple of 8")
    parser.add_argument("--rates", type=float, nargs="+", default=[100, 1000, 0], metavar="MBIT")
    parser.add_argument("--patterns", nargs="+", default=PATTERNS)
    parser.add_argument("--at-once", type=int, default=5, help="patterns of a part, the first not counted")
    parser.add_argument("--parts", type=int, default=None, help="end after so many new parts")
    parser.add_argument("--file", type=Path, default=Path("patterns.jsonl"), help="gone on with where it is there")
    given = parser.parse_args()
    wanted = parts(given.ranks, given.rates, given.patterns, given.at_once)
    fill(given.file, list(wanted), given.steps, given.parts)
    lines = lines_of(given.file)
    for known in dict.fromkeys(line["machine"] for line in lines):
        print(known)
    for ranks in dict.fromkeys(line["ranks"] for line in lines):
        for row in table(lines, ranks):
            print(row)


if __name__ == "__main__":
    main()
