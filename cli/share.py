"""`mlb pack`, `mlb verify`, `mlb rerun`: a run as one file, checked against its own logs, and repeated."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Json

if TYPE_CHECKING:
    from ..results.run import RunFolder, RunSpec
    from ..results.verify import Reference, Verdict

LimitGib = Annotated[float, typer.Option("--limit-gib", min=0.001, help="Refuse an archive that holds more.")]
_GIB = 1 << 30


def pack(
    run: Annotated[str | None, typer.Argument(help="A run's id, a part of it, or its folder; the newest.")] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="Where; RUN.mlb.zip in this folder if left out.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make one archive of RUN, with a manifest and checksums."""
    from ..errors import UsageError
    from ..provisioner.runs import find, state_of
    from ..results import archive
    from .console import show_json, show_text
    from .dirs import runs_dir

    folder = find(runs_dir(), run)
    if not state_of(folder).over:
        raise UsageError(
            f"{folder.run_id} is not over: its logs still grow.", fix=f"mlb bench attach {folder.run_id}, then pack it."
        )
    file = to or Path(folder.run_id + archive.SUFFIX)
    try:
        files = archive.pack(folder, file)
    except OSError as error:
        raise UsageError(f"{file} cannot be written.", why=str(error), fix="Name another file with --to.") from None
    if as_json:
        show_json({"run": folder.run_id, "archive": str(file), "files": files, "bytes": file.stat().st_size})
    else:
        show_text(f"{file}: {files} files, {file.stat().st_size / 1000:,.0f} kB. Check it: mlb verify {file}")


def verify(
    what: Annotated[list[str], typer.Argument(metavar="FILE...", help="Archives of `mlb pack`, or runs.")],
    limit_gib: LimitGib = 4.0,
    as_json: Json = False,
) -> None:
    """Recompute every claim of FILE... from its raw logs, and name each fault."""
    from ..provisioner.runs import known_state
    from ..results.verify import across
    from ..results.verify import verify as check
    from .console import show_json

    with ExitStack() as stack:
        folders = list(_opened(stack, what, limit_gib))
        verdicts = [check(folder, _reference(folder), known_state(folder)) for folder in folders]
        together = across(list(zip(verdicts, folders, strict=True)))
    if as_json:
        runs = [{"run": v.run_id, "sound": v.sound, "faults": list(v.faults)} for v in verdicts]
        show_json({"sound": all(v.sound for v in verdicts) and not together, "runs": runs, "across": together})
    else:
        _show(verdicts, together)
    if together or not all(verdict.sound for verdict in verdicts):
        raise typer.Exit(12)


def rerun(
    what: Annotated[str, typer.Argument(metavar="FILE", help="An archive of `mlb pack`, or a run.")],
    limit_gib: LimitGib = 4.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the command and stop.")] = False,
) -> None:
    """Repeat the run of FILE: the same task, goal, seed and settings, with this version of mlb."""
    from ..results import reproduce
    from ..tasks import catalogue
    from .console import note, show_text

    with ExitStack() as stack:
        (folder,) = _opened(stack, [what], limit_gib)
        spec = folder.read_spec()
    # An archive can ask for a run of a known task and nothing else: `stop` would be a verb.
    catalogue.task(spec.task)
    command = reproduce.command(spec)
    if dry_run:
        show_text(shlex.join(command))
        return
    for line in _not_the_same(spec):
        note(f"warning: {line}")
    note("running: " + shlex.join(command))
    from .app import app

    # The new run's own record is the command, not this one.
    sys.argv[1:] = command[1:]
    raise typer.Exit(app(list(command[1:]), prog_name="mlb", standalone_mode=False) or 0)


def _opened(stack: ExitStack, what: Sequence[str], limit_gib: float) -> Iterator[RunFolder]:
    from ..provisioner.runs import find
    from ..results.archive import unpacked
    from .dirs import runs_dir

    for name in what:
        if Path(name).is_file() or name.endswith(".zip"):
            yield stack.enter_context(unpacked(Path(name), round(limit_gib * _GIB)))
        else:
            yield find(runs_dir(), name)


def _reference(folder: RunFolder) -> Reference | None:
    """The catalogue's entry for a run's goal; None for a task that this version does not know."""
    from ..errors import MlbError
    from ..results.verify import Reference
    from ..tasks import catalogue

    try:
        spec = folder.read_spec()
        goal = catalogue.task(spec.task).goal(spec.goal)
    except MlbError:
        return None
    target = goal.targets.get(spec.dataset)
    if target is None:
        return None
    return Reference(goal.metric, target, goal.upper_bound, goal.max_epochs, goal.recipes[0], goal.comparable)


def _show(verdicts: Sequence[Verdict], together: Sequence[str]) -> None:
    from .console import show_text

    for verdict in verdicts:
        if verdict.sound and verdict.metrics:
            show_text(f"{verdict.run_id}: sound. {verdict.metrics.status}; every claim follows from its logs.")
            continue
        number = len(verdict.faults)
        show_text(f"{verdict.run_id}: {number} fault{'' if number == 1 else 's'}")
        for fault in verdict.faults:
            show_text(f"  - {fault}")
    for fault in together:
        show_text(f"- {fault}")


def _not_the_same(spec: RunSpec) -> Iterator[str]:
    from .. import __version__
    from ..results.text import sanitise

    if spec.mlb_version != __version__:
        yield f"it was run with mlb {sanitise(spec.mlb_version)}; this is {__version__}"
    if spec.git_revision.endswith("-dirty"):
        yield "its source tree had changes that are not in any commit"
    if spec.fleet != "local":
        yield f"it ran on the fleet {sanitise(spec.fleet)}; this runs on the fleet that is there now"
