"""A run as lines of MLPerf's log (`:::MLLOG`), for the tools that read them. This never makes it an MLPerf result.

Whether the rules were kept is for MLCommons' checker to say, for the tasks that have rules there:
    python -m mlperf_logging.compliance_checker --usage training --ruleset 0.7.0 FILE
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from . import keys
from .line import Event, as_ns, as_number
from .log import visit_log
from .run import RunFolder, RunSpec

BENCHMARKS: Final[Mapping[str, str]] = {"task1b": "resnet", "task4a": "gnmt", "task4b": "transformer"}
"""Tasks whose model, data and target are those of a benchmark of MLPerf training 0.7 -> its name there."""

_NAMES: Final[Mapping[str, str]] = {
    "beta1": "opt_adam_beta_1",
    "beta2": "opt_adam_beta_2",
    "epsilon": "opt_adam_epsilon",
    "warmup_steps": "opt_learning_rate_warmup_steps",
    "pairs_per_step": keys.GLOBAL_BATCH_SIZE,
    "tokens_per_step": keys.GLOBAL_BATCH_SIZE,
}
"""What the tasks of `BENCHMARKS` call it -> what MLPerf does, where the two mean the same."""

_NAMES_OF_RESNET: Final[Mapping[str, str]] = {
    "images_per_step": keys.GLOBAL_BATCH_SIZE,
    "images_per_pass": "model_bn_span",
    "learning_rate": "{}_opt_base_learning_rate",
    "end_learning_rate": "{}_opt_end_learning_rate",
    "poly_power": "{}_opt_learning_rate_decay_poly_power",
    "decay_steps": "{}_opt_learning_rate_decay_steps",
    "momentum": "{}_opt_momentum",
    "weight_decay": "{}_opt_weight_decay",
}
"""Likewise, where MLPerf puts the optimiser in front."""

_WARMUP_OF_RESNET: Final[Mapping[str, str]] = {
    "lars": "lars_opt_learning_rate_warmup_epochs",
    "sgd": "opt_learning_rate_warmup_epochs",
}

_POINT, _START, _END = "POINT_IN_TIME", "INTERVAL_START", "INTERVAL_END"
_INTERVALS: Final = {
    keys.RUN_START: _START,
    keys.RUN_STOP: _END,
    keys.EPOCH_START: _START,
    keys.EPOCH_STOP: _END,
    keys.EVAL_START: _START,
    keys.EVAL_STOP: _END,
    keys.EVAL_ACCURACY: _POINT,
}
_METHOD: Final = "max_sequence_length_method"


def write(folder: RunFolder, path: Path) -> int:
    """Write rank 0's run; gives the number of lines.

    Raises:
        ResultsInvalid: rank 0's log is missing or cannot be read.
    """
    spec, events = folder.read_spec(), list[Event]()
    visit_log(folder.rank_events(0), lambda event: None if event.key == keys.STEP else events.append(event))
    start = next((event for event in events if event.key == keys.LOG_START), None)
    unix_ns = as_ns(start.fields.get("unix_time_ns")) if start else None
    if start is None or unix_ns is None:
        return 0
    lines = list(_lines(spec, events, unix_ns - start.time_ns))
    path.write_text("".join(f":::MLLOG {json.dumps(line)}\n" for line in lines))
    return len(lines)


def _lines(spec: RunSpec, events: list[Event], to_unix_ns: int) -> Iterator[dict[str, Any]]:
    launched_ms = (spec.launched_unix_ns or spec.created_unix_ns) // 1_000_000
    for key, value in _submission(spec).items():
        yield _line(launched_ms, _POINT, key, value)
    yield _line(launched_ms, _START, "init_start")
    facts = _facts(spec, events)
    begun = next((event for event in events if event.key == keys.RUN_START), events[-1])
    run_start_ms = (begun.time_ns + to_unix_ns) // 1_000_000
    for name, value in facts.items():
        if name != _METHOD:
            about = {"method": facts[_METHOD]} if name == keys.MAX_SEQUENCE_LENGTH and _METHOD in facts else {}
            yield _line(run_start_ms, _POINT, name, value, about)
    yield _line(run_start_ms, _END, "init_stop")
    for event in events:
        if event.key in _INTERVALS and event.fields.get("split", "validation") == "validation":
            yield _of_event(spec, event, (event.time_ns + to_unix_ns) // 1_000_000)


def _submission(spec: RunSpec) -> dict[str, Any]:
    """What a submission says of itself; research, since nobody submits it."""
    return {
        "submission_benchmark": BENCHMARKS.get(spec.task, spec.task),
        "submission_org": "mlb user",
        "submission_platform": f"{spec.fleet}, {spec.ranks} ranks",
        "submission_division": spec.division if spec.division in ("closed", "open") else "open",
        "submission_status": "research",
        "cache_clear": False,
    }


def _facts(spec: RunSpec, events: list[Event]) -> dict[str, Any]:
    """The hyperparameters by MLPerf's names; mlb's own are handed on as they are."""
    named = (keys.SEED, *keys.MLPERF_HYPERPARAMETERS)
    facts = {event.key: event.fields.get("value") for event in events if event.key in named}
    own = (event.fields for event in events if event.key == keys.HYPERPARAMETER)
    renamed = _renamed(BENCHMARKS.get(spec.task), str(facts.get(keys.OPT_NAME)))
    for fields in own:
        name = str(fields.get("name"))
        facts.setdefault(renamed.get(name, name), fields.get("value"))
    return facts


def _renamed(benchmark: str | None, optimiser: str) -> Mapping[str, str]:
    """The task's name of a hyperparameter -> MLPerf's."""
    if benchmark != "resnet":
        return _NAMES if benchmark else {}
    warmup = {"warmup_epochs": _WARMUP_OF_RESNET[optimiser]} if optimiser in _WARMUP_OF_RESNET else {}
    return {name: theirs.format(optimiser) for name, theirs in _NAMES_OF_RESNET.items()} | warmup


def _of_event(spec: RunSpec, event: Event, time_ms: int) -> dict[str, Any]:
    about = {name: event.fields[name] for name in ("epoch_num", "status") if name in event.fields}
    value = as_number(event.fields.get("value")) if event.key == keys.EVAL_ACCURACY else None
    if value is not None and spec.task in BENCHMARKS and spec.target > 1:
        value /= 100  # MLPerf has accuracy and BLEU as fractions
    return _line(time_ms, _INTERVALS[event.key], event.key, value, about)


def _line(
    time_ms: int, kind: str, key: str, value: Any = None, about: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "namespace": "mlb",
        "time_ms": time_ms,
        "event_type": kind,
        "key": key,
        "value": value,
        "metadata": dict(about or {}),
    }
