"""A case of truth.py: ranks with ordered compute and faults in namespaces of their own, and what their logs hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from links import address, links, space
from log_overhead import SPEC
from mlb.results.breakdown import Breakdown
from mlb.results.communication import Communication, communication_of
from mlb.results.reduction import Alignment, reduce
from mlb.results.run import RunFolder, write_json

WARM_UP = 16


@dataclass(frozen=True)
class Case:
    """One run of ranks."""

    name: str
    ranks: int = 4
    steps: int = 96
    rates_mbit: tuple[float, ...] = (200.0,)
    """One for each rank, or one for all; 0 for an unshaped link."""
    delay_ms: float = 0.0
    payload_bytes: int = 500_000
    pattern: str = "allreduce"
    layers: int = 1
    bucket_mb: float = 0.0
    """Of DDP's buckets; 0 for torch's default."""
    forward_ms: float = 10.0
    backward_ms: float = 10.0
    faults_ms: Mapping[str, float] = field(default_factory=dict)
    """`rank phase step`, the step within the period -> how long that rank sleeps there."""
    period: int = 8
    clocks: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    """Rank -> nanoseconds that its clock is ahead, and ppm that it runs too fast."""
    off_in_odd_steps: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a case's logs hold; arrays of milliseconds, shape (R, S), without the first `WARM_UP` steps."""

    case: Case
    communication: Communication
    blocks: tuple[Breakdown, ...]
    alignment: Alignment
    arrived_ms: np.ndarray
    """When each rank's own work before the collective ended, by the machine's one clock and none of mlb's measuring."""

    def ms(self, of: Callable[[Breakdown], np.ndarray]) -> np.ndarray:
        return np.concatenate([of(block) for block in self.blocks], axis=1)[:, WARM_UP:] / 1e6

    def part(self, name: str) -> np.ndarray:
        return self.ms(lambda block: block.parts[name])

    @property
    def step(self) -> np.ndarray:
        """Numbers of the steps, shape (S,)."""
        return np.concatenate([block.joined["step"][0] for block in self.blocks])[WARM_UP:]

    @property
    def transfer(self) -> np.ndarray:
        return self.ms(lambda block: block.transfer_ns)

    @property
    def wait(self) -> np.ndarray:
        return self.ms(lambda block: block.wait_ns)

    @property
    def step_ms(self) -> np.ndarray:
        return self.ms(lambda block: block.joined["step_ns"])

    @property
    def mlbench_ms(self) -> np.ndarray:
        """MLBench's "communication": the host's time around a blocking all-reduce; nothing under DDP."""
        if self.case.pattern == "ddp":
            return np.zeros_like(self.step_ms)
        return self.ms(lambda block: block.joined["communication_ns"])


def run(case: Case) -> Outcome:
    """Run the ranks of a case, and read their logs."""
    rates = case.rates_mbit * case.ranks if len(case.rates_mbit) == 1 else case.rates_mbit
    with tempfile.TemporaryDirectory() as path, links(rates, case.delay_ms):
        folder = RunFolder(Path(path))
        folder.create()
        spec = replace(SPEC, ranks=case.ranks, max_steps=case.steps, aggregation=case.pattern)
        write_json(folder.spec, spec)
        (folder.path / "case.json").write_text(json.dumps(vars(case) | {"faults_ms": dict(case.faults_ms)}))
        _ranks(case, folder)
        blocks: list[Breakdown] = []
        reduction = reduce(folder, spec, lambda _alignment: blocks.append)
        _, communication = communication_of(folder, spec)
        arrived = [json.loads((folder.path / f"arrived-{rank}.json").read_text()) for rank in range(case.ranks)]
    assert communication is not None
    return Outcome(case, communication, tuple(blocks), reduction.alignment, np.array(arrived)[:, WARM_UP:] / 1e6)


def _ranks(case: Case, folder: RunFolder) -> None:
    script = str(Path(__file__).with_name("truth_rank.py"))
    processes = []
    for rank in range(case.ranks):
        place = {"RANK": rank, "WORLD_SIZE": case.ranks, "LOCAL_RANK": 0, "GROUP_RANK": rank}
        meeting = {"MASTER_ADDR": address(0), "MASTER_PORT": 29_500, "GLOO_SOCKET_IFNAME": "eth0"}
        environment = os.environ | {k: str(v) for k, v in (place | meeting).items()} | {"OMP_NUM_THREADS": "1"}
        command = ["ip", "netns", "exec", space(rank), sys.executable, script, str(folder.path)]
        with folder.rank_log(rank).open("wb") as output:
            processes.append(subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT))
    try:
        for rank, process in enumerate(processes):
            if process.wait(timeout=300):
                sys.exit(f"{case.name}: rank {rank} failed:\n{folder.rank_log(rank).read_text()[-3000:]}")
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()
