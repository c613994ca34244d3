"""The CLI's edge: every error becomes one clear message and an exit code here, and nowhere else."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from pathlib import Path

from ..errors import MlbError
from . import streams
from .dirs import unusable

INTERRUPTED = 130


def run() -> int:
    """Run the command line and return its exit code."""
    streams.open_streams()
    code = 0
    try:
        code = _command()
        # What is still held back would fail when Python ends, with a traceback and a code of its own.
        sys.stdout.flush()
    except streams.ReaderGone:
        streams.silence()
    except streams.OutputLost as error:
        streams.silence()
        code = _report(error, as_json=False)
    return code


def _command() -> int:
    try:
        try:
            from .app import app

            result = app(prog_name="mlb", standalone_mode=True)
        except SystemExit as stop:
            if isinstance(stop.__context__, BrokenPipeError):
                # Typer ends with 1 and no word for any pipe that breaks; ours to standard output are none of these.
                raise stop.__context__ from None
            return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (streams.ReaderGone, streams.OutputLost):
        raise
    except MlbError as error:
        return _report(error, as_json="--json" in sys.argv)
    except OSError as error:
        return _report(unusable(error) or _internal(error), as_json="--json" in sys.argv)
    except Exception as error:  # noqa: BLE001  # the one place where any error may end
        return _report(_internal(error), as_json="--json" in sys.argv)
    return result if isinstance(result, int) else 0


def debugging() -> bool:
    """Whether tracebacks and timings are wanted: `--debug` or MLB_DEBUG=1."""
    return "--debug" in sys.argv or os.environ.get("MLB_DEBUG", "") not in ("", "0")


def _report(error: MlbError, *, as_json: bool) -> int:
    if debugging():
        traceback.print_exception(error)
    if as_json:
        fields = {"what": error.what, "why": error.why, "fix": error.fix, "exit_code": error.exit_code}
        print(json.dumps({"schema_version": 1, "error": fields}))  # noqa: T201
    else:
        from .console import show_error

        show_error(error)
    return error.exit_code


def _internal(error: Exception) -> MlbError:
    """An error nobody raised on purpose: keep its traceback in a file, and show the user where."""
    text = "".join(traceback.format_exception(error))
    handle, name = tempfile.mkstemp(prefix="mlb-error-", suffix=".txt")
    with os.fdopen(handle, "w") as file:
        file.write(f"argv: {sys.argv}\n{text}")
    return MlbError(
        f"mlb failed in a way it should not: {type(error).__name__}: {error}",
        why="This is a bug in mlb.",
        fix=f"Please report it with {Path(name)}; --debug shows the traceback here.",
    )
