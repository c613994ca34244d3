"""What a page may ask for: carried out as the command line would, with its checks and its errors."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from typing import Any, Final

from ..errors import MlbError, UsageError
from .home import Home

_DEADLINE_S: Final = 600.0
"""Preparing data may take minutes; a stop takes seconds."""
_VALUE: Final = re.compile(r"[A-Za-z0-9][\w.:+-]{0,99}")
_OPTIONS: Final = ("goal", "data", "ranks", "seed", "steps", "backend")


class ActionFailed(MlbError):
    """The command that carries out an action said no; its words are the message."""


def start(home: Home, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Start a run and let go of it; returns what `mlb bench --detach --json` says.

    Raises:
        UsageError: a field that is none, or a value that is no plain word.
        ActionFailed: the command refused.
    """
    unknown = sorted(set(asked) - {"task", *_OPTIONS})
    if unknown:
        raise UsageError(f"A run has no {unknown[0]!r}.", fix=f"Fields: task, {', '.join(_OPTIONS)}.")
    task = _plain("task", asked.get("task"))
    if task not in {info["name"] for info in home.tasks}:
        raise UsageError(f"There is no task {task!r}.", fix="Tasks: " + ", ".join(t["name"] for t in home.tasks))
    options = [w for name in _OPTIONS if asked.get(name) not in (None, "") for w in _option(name, asked[name])]
    return _run(home, "bench", task, *options, "--detach")


def stop(home: Home, run: str) -> dict[str, Any]:
    """Stop a run; raises as `start`."""
    return _run(home, "bench", "stop", _plain("run", run))


def _option(name: str, value: object) -> tuple[str, str]:
    return f"--{name}", _plain(name, value)


def _plain(name: str, value: object) -> str:
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not _VALUE.fullmatch(text):
        raise UsageError(f"{name} cannot be {str(value)[:60]!r}.", fix="It has to be one plain word.")
    return text


def _run(home: Home, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [*home.command, *arguments, "--json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
    )
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise ActionFailed("The command gave no answer.", why=done.stderr[-500:]) from None
    if "error" in answer:
        error = answer["error"]
        raise ActionFailed(str(error.get("what")), why=str(error.get("why", "")), fix=str(error.get("fix", "")))
    return answer
