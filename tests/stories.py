"""Hand-built runs: a rank's log is told as a story, its clock moves with the telling."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlb.results import keys
from mlb.results.line import encode
from mlb.results.run import NodeStatus, RunFolder, RunSpec, write_json

MS = 1_000_000
S = 1000 * MS
LAUNCHED = 1_700_000_000 * S


class Story:
    """One rank's log; every method moves the clock and adds the lines that the runners would add."""

    def __init__(self, rank: int = 0, *, run_id: str = "a-run", host: str = "node", clock_ns: int = 5 * S) -> None:
        self.lines: list[bytes] = []
        self.rank, self.run_id, self.host = rank, run_id, host
        self.clock_ns = self.zero_ns = clock_ns
        self.steps = 0

    def wait(self, ns: int) -> Story:
        """Let time pass that no event names; before `start` it is the launch."""
        self.clock_ns += ns
        return self

    def event(self, key: str, *, at_ns: int | None = None, **fields: Any) -> Story:
        self.lines.append(encode(key, len(self.lines), self.clock_ns if at_ns is None else at_ns, fields))
        return self

    def unix_ns(self) -> int:
        return LAUNCHED + self.clock_ns - self.zero_ns

    def start(self, **fields: Any) -> Story:
        return self.event(
            keys.LOG_START,
            **{
                "schema_version": 1,
                "run_id": self.run_id,
                "rank": self.rank,
                "local_rank": self.rank,
                "world_size": 2,
                "node": 0,
                "host": self.host,
                "pid": 100 + self.rank,
                "unix_time_ns": self.unix_ns(),
                "launched_unix_ns": LAUNCHED,
                **fields,
            },
        )

    def stage(self, name: str, ns: int) -> Story:
        start, self.clock_ns = self.clock_ns, self.clock_ns + ns
        return self.event(keys.STAGE, name=name, start_ns=start, duration_ns=ns)

    def sync(self, error_ns: int = 10_000, **fields: Any) -> Story:
        """Compare clocks: all stories tell of the same moments since their own zero."""
        return self.event(keys.CLOCK_SYNC, **{"offset_ns": -self.zero_ns, "error_ns": error_ns, "rounds": 40, **fields})

    def step(
        self,
        *phases_ns: int,
        epoch: int = 1,
        tokens: int = 100,
        samples: int = 4,
        warmup: bool = False,
        loss: float = 6.25,
        **fields: Any,
    ) -> Story:
        """A step with one all-reduce, which takes its whole communication phase."""
        before, communication = sum(phases_ns[:4]), phases_ns[4]
        collective = {
            "collective_operation": ["all_reduce"],
            "collective_bytes": [4096],
            "collective_arrival_ns": [before],
            "collective_end_ns": [before + communication],
            "blocked_start_ns": [before],
            "blocked_end_ns": [before + communication],
        }
        start, self.clock_ns, self.steps = self.clock_ns, self.clock_ns + sum(phases_ns), self.steps + 1
        return self.event(
            keys.STEP,
            epoch_num=epoch,
            step=self.steps - 1,
            start_ns=start,
            step_ns=sum(phases_ns),
            **{f"{phase}_ns": ns for phase, ns in zip(keys.PHASES, phases_ns, strict=True)},
            samples=samples,
            tokens=tokens,
            bytes_reduced=4096,
            loss=loss,
            warmup=warmup,
            **(collective | fields if communication else fields),
        )

    def bare_step(self, ns: int, *, epoch: int = 1, tokens: int = 100, samples: int = 4) -> Story:
        """A step that was left unmeasured."""
        start, self.clock_ns, self.steps = self.clock_ns, self.clock_ns + ns, self.steps + 1
        place = {"epoch_num": epoch, "step": self.steps - 1, "start_ns": start, "step_ns": ns}
        return self.event(keys.BARE_STEP, **place, samples=samples, tokens=tokens, warmup=False)

    def evaluate(self, value: float, ns: int, *, epoch: int = 1, split: str = "validation") -> Story:
        start, self.clock_ns = self.clock_ns, self.clock_ns + ns
        span = {"start_ns": start, "duration_ns": ns, "samples": 10}
        self.event(keys.EVAL_START, at_ns=start, epoch_num=epoch, split=split)
        self.event(keys.EVAL_STOP, epoch_num=epoch, split=split, **span)
        return self.event(keys.EVAL_ACCURACY, value=value, metric=f"{split} perplexity", epoch_num=epoch, split=split)

    def stop(self, clock_step_ns: int = 0) -> Story:
        return self.event(keys.LOG_STOP, unix_time_ns=self.unix_ns() + clock_step_ns)

    @property
    def bytes(self) -> bytes:
        return b"".join(self.lines)


class Run:
    """A run folder made of stories."""

    def __init__(self, path: Path, **spec: Any) -> None:
        self.spec = RunSpec(**{**_SPEC, **spec})
        self.folder = RunFolder(path / self.spec.run_id)
        self.folder.create()
        write_json(self.folder.spec, self.spec)

    def tell(self, *stories: Story) -> Run:
        for story in stories:
            self.write(story.rank, story.bytes)
        return self

    def write(self, rank: int, data: bytes) -> Run:
        self.folder.rank_events(rank).write_bytes(data)
        return self

    def node(self, node: int = 0, **status: Any) -> Run:
        full = NodeStatus(**{**_STATUS, "node": node, **status})
        write_json(self.folder.node_status(node), asdict(full))
        return self


_SPEC: dict[str, Any] = {
    "run_id": "a-run",
    "task": "task3a",
    "goal": "smoke",
    "recipe": "smoke",
    "division": "smoke",
    "comparable": False,
    "metric": "validation perplexity",
    "target": 300.0,
    "target_is_upper_bound": True,
    "max_epochs": 12,
    "max_steps": None,
    "seed": 43,
    "dataset": "synthetic",
    "data_path": "/data",
    "data_origin": "made by mlb",
    "best_possible": None,
    "ranks": 2,
    "backend": "gloo",
    "threads_per_rank": 1,
    "fleet": "local",
    "created_unix_ns": LAUNCHED - 2 * S,
    "argv": ("mlb", "bench", "task3a"),
    "mlb_version": "0.1.0",
    "git_revision": "0123abc",
    "launched_unix_ns": LAUNCHED,
}

_STATUS: dict[str, Any] = {
    "state": "succeeded",
    "agent_pid": 1,
    "agent_start_ticks": 1,
    "started_unix_ns": LAUNCHED,
    "stopped_unix_ns": LAUNCHED + 60 * S,
}


def paced_run(
    runs: Path,
    name: str,
    ranks: int,
    step_ms: int,
    communication_ms: int = 0,
    *,
    steps: int = 4,
    seed: int = 1,
    quality: tuple[float, ...] = (),
) -> RunFolder:
    """A rank a node, steps of 10 samples a rank; `quality` at the ends of as many equal parts of them."""
    run = Run(runs, run_id=name, ranks=ranks, nodes=ranks, seed=seed)
    for rank in range(ranks):
        told = Story(rank, run_id=name, clock_ns=(7 + rank) * 1000 * MS).start(world_size=ranks, node=rank).sync()
        told.event("run_start")
        for step in range(steps):
            rest = (step_ms - communication_ms) * MS
            told.step(0, 0, rest, 0, communication_ms * MS, 0, 0, samples=10)
            if quality and (step + 1) % (steps // len(quality)) == 0:
                told.evaluate(quality[(step + 1) * len(quality) // steps - 1], 50 * MS)
        reached = bool(quality) and quality[-1] <= 300
        told.event("run_stop", status="success" if reached else "aborted", reason="goal" if reached else "steps")
        run.tell(told.sync().stop())
    for node in range(ranks):
        run.node(node)
    return run.folder


def small_run(path: Path, **spec: Any) -> Run:
    """The run of the golden reports: two ranks, two epochs, the goal in the second."""
    run = Run(path, **{"best_possible": 251.5, **spec})
    names = {"run_id": run.spec.run_id}
    return run.tell(_small_story(0, lag_ns=0, **names), _small_story(1, lag_ns=40 * MS, **names)).node()


def _small_story(rank: int, lag_ns: int, run_id: str) -> Story:
    """Rank 1 computes longer and waits less: both arrive at the same time."""
    story = Story(rank, run_id=run_id, host=f"node-{rank}", clock_ns=(7 + 100 * rank) * S)
    story.wait(1500 * MS).start().stage("import", 2500 * MS).stage("process_group", 500 * MS + lag_ns)
    story.wait(40 * MS - lag_ns).stage("model", 300 * MS)
    if rank == 0:
        story.event(keys.SEED, value=43).event(keys.PARAMETER_COUNT, value=1_000_000)
        story.event(keys.HYPERPARAMETER, name="dropout", value=0.4)
    story.sync().event(keys.RUN_START)
    for epoch, perplexity in ((1, 420.5), (2, 288.1234)):
        story.stage("epoch", 10 * MS).event(keys.EPOCH_START, epoch_num=epoch)
        for step in range(5):
            compute, wait = 200 * MS + lag_ns, 100 * MS - lag_ns
            phases = (5 * MS, 1 * MS, 100 * MS, compute, wait, 30 * MS, 4 * MS)
            story.step(*phases, epoch=epoch, tokens=700, samples=10, warmup=epoch == 1 and step < 3)
        story.event(keys.EPOCH_STOP, epoch_num=epoch).evaluate(perplexity, 400 * MS, epoch=epoch)
    story.event(keys.RUN_STOP, status="success", reason="goal").evaluate(295.5, 350 * MS, epoch=0, split="test")
    story.sync().event(keys.PARAMETER_DIGEST, value="c0ffee").stage("finish", 20 * MS)
    return story.wait(5 * MS + lag_ns // 4).stop()
