"""One run as it goes on: its logs read by offset, kept as curves of bounded size."""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Final

from ..errors import MlbError
from ..results import keys
from ..results.fold import PART_OF_STAGE
from ..results.line import Event, as_ns, as_number
from ..results.log import LogTail
from ..results.run import RunFolder, RunSpec
from ..results.text import sanitise
from .curve import Curve
from .hardware import Hardware
from .timeline import Timeline

_RECENT: Final = 50
"""Steps that the present speed is averaged over."""
_BUDGET_S: Final = 0.4
"""Of one look: a log of hours is shown as far as it is read, and read on at the next look."""
_EVALUATIONS: Final = 2000


class RunWatch:
    """Follows rank 0 of a run: all ranks do the same at the same time."""

    def __init__(self, folder: RunFolder, spec: RunSpec) -> None:
        self.folder, self.spec = folder, spec
        self.version = 0
        """Grows whenever there is something new."""
        self._tail = LogTail(folder.rank_events(0))
        self.hardware = Hardware(folder, spec)
        self._zero_ns: int | None = None
        self._zero_unix_ns = spec.launched_unix_ns or spec.created_unix_ns
        self._output_bytes = 0
        self._loss, self._rate = Curve(), Curve()
        self._quality: deque[tuple[float, float]] = deque(maxlen=_EVALUATIONS)
        self._timeline = Timeline()
        self._recent: deque[dict[str, int]] = deque(maxlen=_RECENT)
        self._steps = self._epoch = 0
        self._unit = "samples"
        self._doing = "starting"
        self._trouble = ""
        self._ended = False

    def poll(self) -> bool:
        """Read what is new, for a moment at most; says whether there was anything."""
        before = self.version
        try:
            self._tail.visit(self._take, _BUDGET_S)
        except MlbError as error:
            if self._trouble != error.what:
                self._trouble, self.version = error.what, self.version + 1
        return self.version != before

    def output(self) -> int | None:
        """How much output there is by now; None where that is as much as at the last call."""
        size = sum(path.stat().st_size for path in self.folder.logs.glob("*.log"))
        before, self._output_bytes = self._output_bytes, size
        return size if size != before else None

    def nodes(self, node: int | None) -> dict[str, Any]:
        """What the hardware of one node, or of all, does and did."""
        return self.hardware.to_json(self._zero_unix_ns, node)

    def to_json(self) -> dict[str, Any]:
        """The run so far, in at most a few thousand numbers."""
        spec = self.spec
        recent_ns = sum(step["step_ns"] for step in self._recent)
        tokens = sum(step["tokens"] for step in self._recent)
        return {
            "run": spec.run_id,
            "metric": sanitise(spec.metric),
            "target": spec.target,
            "falls": spec.target_is_upper_bound,
            "steps": self._steps,
            "epoch": self._epoch,
            "doing": self._doing,
            "trouble": sanitise(self._trouble),
            "tokens_per_s": 1e9 * tokens * spec.ranks / recent_ns if recent_ns and not self._ended else None,
            "unit": self._unit,
            "split": self._timeline.shares,
            "split_over_time": self._timeline.to_json(),
            "quality": [list(column) for column in zip(*self._quality, strict=True)] or [[], []],
            "loss": self._loss.to_json(),
            "rate": self._rate.to_json(),
        }

    def _take(self, event: Event) -> None:
        self.version += 1
        fields = event.fields
        if event.key == keys.LOG_START:
            self._zero_ns, unix_ns = event.time_ns, as_ns(fields.get("unix_time_ns"))
            self._zero_unix_ns = unix_ns or self._zero_unix_ns
        elif event.key == keys.RUN_START:
            self._zero_unix_ns += event.time_ns - (self._zero_ns or event.time_ns)
            self._zero_ns = event.time_ns
            self._timeline = Timeline()
        elif event.key == keys.STAGE:
            self._stage(event)
        elif event.key in (keys.STEP, keys.BARE_STEP):
            self._step(event)
        elif event.key == keys.EVAL_STOP:
            self._span(event, "evaluation")
        elif event.key == keys.EVAL_START and not self._ended:
            self._doing = sanitise(f"evaluating the {fields.get('split')} split", 60)
        elif event.key == keys.EVAL_ACCURACY:
            value = as_number(fields.get("value"))
            if value is not None and math.isfinite(value) and fields.get("split") == "validation":
                self._quality.append((self._seconds(event.time_ns), value))
        elif event.key == keys.RUN_STOP:
            self._doing, self._ended = sanitise(f"ended: {fields.get('reason')}", 60), True

    def _step(self, event: Event) -> None:
        fields = event.fields
        step_ns, tokens = as_ns(fields.get("step_ns")) or 0, as_ns(fields.get("tokens")) or 0
        self._steps += 1
        self._epoch = as_ns(fields.get("epoch_num")) or self._epoch
        self._doing = f"epoch {self._epoch}, step {self._steps}"
        start_ns = as_ns(fields.get("start_ns"))
        if start_ns is not None:
            parts = {phase: (as_ns(fields.get(f"{phase}_ns")) or 0) / 1e9 for phase in keys.PHASES}
            bare = {"bare_steps": step_ns / 1e9}
            self._timeline.add(self._seconds(start_ns), step_ns / 1e9, bare if event.key == keys.BARE_STEP else parts)
        if tokens not in (0, as_ns(fields.get("samples"))):
            self._unit = "tokens"
        self._recent.append({"step_ns": step_ns, "tokens": tokens})
        at, loss = self._seconds(event.time_ns), as_number(fields.get("loss"))
        if loss is not None and math.isfinite(loss):
            self._loss.add(at, loss)
        if step_ns:
            self._rate.add(at, 1e9 * tokens * self.spec.ranks / step_ns)

    def _stage(self, event: Event) -> None:
        name = event.fields.get("name")
        if not self._ended:
            self._doing = sanitise(f"stage {name}", 60)
        self._span(event, PART_OF_STAGE.get(name, "startup") if isinstance(name, str) else "startup")

    def _span(self, event: Event, part: str) -> None:
        """Time that belongs to one part."""
        start_ns, length_ns = as_ns(event.fields.get("start_ns")), as_ns(event.fields.get("duration_ns"))
        if start_ns is not None and length_ns:
            self._timeline.add(self._seconds(start_ns), length_ns / 1e9, {part: length_ns / 1e9})

    def _seconds(self, time_ns: int) -> float:
        return round((time_ns - (self._zero_ns or time_ns)) / 1e9, 3)
