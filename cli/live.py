"""What a running benchmark looks like: epoch, loss, perplexity, speed, and where the time goes."""

from __future__ import annotations

import math
from collections import Counter, deque

from ..results import keys
from ..results.line import Event
from ..results.run import RunSpec

_WINDOW = 50
"""Steps that speed and split are averaged over."""


class LiveView:
    """Takes in events, gives lines to keep and a status line to redraw."""

    def __init__(self, spec: RunSpec) -> None:
        self.spec = spec
        self._recent: deque[tuple[int, int, Counter[str]]] = deque(maxlen=_WINDOW)
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
        if event.key == keys.STAGE and fields.get("name") not in ("epoch", "finish"):
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

    def _step(self, event: Event) -> None:
        fields = event.fields
        phases = Counter({phase: int(fields[f"{phase}_ns"]) for phase in keys.PHASES})
        self._recent.append((int(fields["tokens"]) * self.spec.ranks, int(fields["step_ns"]), phases))
        loss = fields["loss"]
        shown = f"loss {loss:.3f}, perplexity {_exp(loss):.1f}" if isinstance(loss, float) else f"loss {loss}"
        where = f"epoch {fields['epoch_num']}, step {fields['step']}"
        self._status = f"{where}: {shown}, {self._speed():,.0f} tokens/s | {self._split()}"

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
            f"{self._speed():,.0f} tokens/s | {self._split()}"
        )

    def _speed(self) -> float:
        """Tokens of all ranks a second, over the recent steps."""
        spent_ns = sum(step_ns for _, step_ns, _ in self._recent)
        return 1e9 * sum(tokens for tokens, _, _ in self._recent) / spent_ns if spent_ns else 0.0

    def _split(self) -> str:
        total = sum((phases for _, _, phases in self._recent), Counter[str]())
        spent_ns = sum(total.values())
        shares = {phase: 100 * ns / spent_ns for phase, ns in total.items()} if spent_ns else {}
        return ", ".join(f"{phase} {share:.0f} %" for phase, share in shares.items() if share >= 0.5)


def _exp(loss: float) -> float:
    return math.exp(loss) if loss < 700 else math.inf
