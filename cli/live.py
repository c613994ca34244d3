"""What a running benchmark looks like: epoch, loss, perplexity, speed, and where the time goes."""

from __future__ import annotations

import math
from collections import Counter, deque
from typing import NamedTuple

from ..results import keys
from ..results.line import Event
from ..results.run import RunSpec

_WINDOW = 50
"""Steps that speed and split are averaged over."""


class _Recent(NamedTuple):
    """What is kept of a step of rank 0."""

    tokens: int
    samples: int
    step_ns: int
    phases: Counter[str]


class LiveView:
    """Takes in events, gives lines to keep and a status line to redraw."""

    def __init__(self, spec: RunSpec, *, show_stages: bool = False) -> None:
        """Show a run.

        Args:
            show_stages: leave a line for each stage of start-up and for the first step, timed from the command.
        """
        self.spec = spec
        self._show_stages = show_stages
        self._to_unix_ns = 0
        self._recent: deque[_Recent] = deque(maxlen=_WINDOW)
        self._lines: list[str] = []
        self._status = "starting"

    def add(self, rank: int, event: Event) -> None:
        """Take in one event; only rank 0's are shown, since all ranks do the same at the same time."""
        if rank != 0:
            return
        try:
            self._take(event)
        except (KeyError, TypeError, ValueError):
            # A line that is JSON but not what it should be: the reader counts it, the display goes on.
            return

    def _take(self, event: Event) -> None:
        fields = event.fields
        if event.key == keys.LOG_START:
            self._to_unix_ns = int(fields["unix_time_ns"]) - event.time_ns
        if self._show_stages:
            self._stage(event)
        if event.key == keys.STAGE and fields.get("name") not in keys.STAGES_AFTER_STARTUP:
            self._status = f"start-up: {fields.get('name')}"
        elif event.key == keys.STEP:
            self._step(event)
        elif event.key == keys.EVAL_START:
            self._status = f"epoch {fields.get('epoch_num')}: evaluating the {fields.get('split')} split"
        elif event.key == keys.EVAL_ACCURACY:
            self._evaluated(event)
        elif event.key == keys.OPTIMISER_SWITCH:
            self._lines.append(f"epoch {fields.get('epoch_num')}: optimiser is now {fields.get('value')}")

    def new_lines(self) -> list[str]:
        """The lines that came since the last call."""
        lines, self._lines = self._lines, []
        return lines

    def render(self) -> str:
        """The line that is redrawn in place."""
        return self._status

    def _stage(self, event: Event) -> None:
        if event.key == keys.STAGE and event.fields["name"] not in keys.STAGES_AFTER_STARTUP:
            self._mark(event.time_ns, f"{event.fields['name']} done, took {event.fields['duration_ns'] / 1e9:.3f} s")
        elif event.key == keys.STEP and event.fields["step"] == 0:
            self._mark(int(event.fields["start_ns"]), "first training step begins")

    def _mark(self, time_ns: int, what: str) -> None:
        since_s = (time_ns + self._to_unix_ns - self.spec.created_unix_ns) / 1e9
        self._lines.append(f"[{since_s:6.3f} s] {what}")

    def _step(self, event: Event) -> None:
        fields = event.fields
        phases = Counter({phase: int(fields[f"{phase}_ns"]) for phase in keys.PHASES})
        tokens, samples, step_ns = (int(fields[name]) for name in ("tokens", "samples", "step_ns"))
        self._recent.append(_Recent(tokens, samples, step_ns, phases))
        loss = fields["loss"]
        shown = f"loss {loss:.3f}" if isinstance(loss, float) else f"loss {loss}"
        if isinstance(loss, float) and "perplexity" in self.spec.metric:
            shown += f", perplexity {_exp(loss):.1f}"
        where = f"epoch {fields['epoch_num']}, step {fields['step']}"
        self._status = f"{where}: {shown}, {self._speed()} | {self._split()}"

    def _evaluated(self, event: Event) -> None:
        fields = event.fields
        value = fields["value"]
        shown = f"{value:.2f}" if isinstance(value, float) else str(value)
        sign = "<=" if self.spec.target_is_upper_bound else ">="
        if fields["split"] != "validation":
            self._lines.append(f"{fields['metric']} {shown}")
            return
        self._lines.append(
            f"epoch {fields['epoch_num']}: {fields['metric']} {shown} (goal {sign} {self.spec.target:g}), "
            f"{self._speed()} | {self._split()}"
        )

    def _speed(self) -> str:
        """Work of all ranks a second, over the recent steps: every rank does as much as rank 0."""
        spent_ns = sum(step.step_ns for step in self._recent)
        per_ns = self.spec.ranks / spent_ns if spent_ns else 0.0
        tokens, samples = sum(step.tokens for step in self._recent), sum(step.samples for step in self._recent)
        of_samples = f"{1e9 * samples * per_ns:,.0f} samples/s"
        # Images and rows have no tokens of their own: both count the same.
        return of_samples if tokens in (0, samples) else f"{1e9 * tokens * per_ns:,.0f} tokens/s, {of_samples}"

    def _split(self) -> str:
        total = sum((step.phases for step in self._recent), Counter[str]())
        spent_ns = sum(total.values())
        shares = {phase: 100 * ns / spent_ns for phase, ns in total.items()} if spent_ns else {}
        return ", ".join(f"{phase} {share:.0f} %" for phase, share in shares.items() if share >= 0.5)


def _exp(loss: float) -> float:
    return math.exp(loss) if loss < 700 else math.inf
