"""The verbs of `mlb infra` that take time: what they ask, what they say on the way, what they show at the end."""

from __future__ import annotations

import shlex
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import ResultsInvalid, UsageError
from ..infra import commands
from ..infra.existing import Hosts
from ..infra.quote import Quote, refuse_if_over
from ..infra.readiness import Check
from ..infra.spec import parse_duration
from ..infra.terraform import Event, Plan
from ..infra.watcher import Limits, Watcher
from . import infra_view as view
from .console import ask_allowed, note, show_json, show_table, show_text, stderr_is_live
from .infra_force import save_the_run
from .infra_progress import Progress
from .infra_tags import Where, list_tagged

_SHOWN = frozenset({"apply_start", "apply_complete", "apply_errored", "apply_progress"})


def limits(zone: str, ready: str, lock: str) -> Limits:
    """The time limits of a command's options."""
    return Limits(apply_s=parse_duration(zone), ready_s=parse_duration(ready), lock_s=parse_duration(lock))


def asked(
    given: Mapping[str, Any], hosts: Path | None, known_hosts: Path | None, *, trust: bool, replace_bad: bool
) -> commands.Request:
    """What `apply` is asked for, checked."""
    return commands.request(given, hosts=Hosts(hosts, known_hosts, trust), replace_bad=replace_bad)


def dry_run(asked: commands.Request, as_json: bool) -> None:
    """The price and the files; no credentials, no network, nothing written.

    Raises:
        PreflightError: the price, which was shown, is above `--max-price`.
    """
    files = commands.dry_run(asked)
    if as_json:
        show_json({"quote": asked.quote.to_json(), "files": files})
    else:
        show_text(view.quote_text(asked.quote))
        for name, text in files.items():
            show_text(f"\n# ---- {name}\n{text}")
    refuse_if_over(asked.quote)


def plan(given: Mapping[str, Any], as_json: bool) -> None:
    """What `apply` would do."""
    if given.get("cloud") == "ssh":
        raise UsageError("There is nothing to plan for hosts that exist.", fix="`mlb infra apply` registers them.")
    asked = commands.request(given)
    with _watched(as_json, yes=True) as watcher:
        made = commands.plan(asked, Limits(), watcher)
    if as_json:
        show_json({"quote": asked.quote.to_json(), "changes": view.plan_json(made)})
    else:
        show_text(f"{view.quote_text(asked.quote)}\n\n{view.plan_text(made)}")


def apply(asked: commands.Request, limit: Limits, *, yes: bool, force: bool, as_json: bool) -> None:
    """Rent or change, and show the fleet."""
    if asked.blueprint.is_rented:
        _refuse_without_answer(yes)
    if asked.blueprint.spec.cloud in view.UNTRIED:
        _tell(view.UNTRIED[asked.blueprint.spec.cloud])
    with _stoppable(), _watched(as_json, yes=yes) as watcher:
        outcome = commands.apply(asked, limit, watcher, force=force)
    if as_json:
        show_json({**outcome.fleet.to_json(), "changes": view.plan_json(outcome.plan)})
    else:
        show_text(view.fleet_text(outcome.fleet, changed=bool(outcome.plan)))


def destroy(name: str | None, where: Where, limit: Limits, *, yes: bool, force: bool, as_json: bool) -> None:
    """Remove, and say that nothing is left."""
    _refuse_without_answer(yes)
    folder = commands.folder_of(name or where.cloud)
    if not yes and not _ask(f"Destroy the fleet {folder.name}?"):
        raise UsageError("Nothing was destroyed.")
    with _stoppable(), _watched(as_json, yes=True) as watcher:
        if force:
            save_the_run(folder, watcher.say)
        swept = commands.destroy(
            folder.name, where.cloud, where.region, limit, watcher, None, project=where.project, force=force
        )
    if as_json:
        show_json({"name": folder.name, "left": 0, "found_by_tag": swept})
    else:
        show_text(f"Fleet {folder.name}: 0 left.")


def list_fleets(where: Where, *, everywhere: bool, as_json: bool) -> None:
    """By record, or by tag in a cloud.

    Raises:
        UsageError: a place without its cloud.
        ResultsInvalid: some records cannot be read; all others were listed.
    """
    if where.cloud is not None:
        list_tagged(where, everywhere=everywhere, as_json=as_json)
        return
    _refuse_place_without_cloud(where, everywhere=everywhere)
    known, damaged = commands.local_fleets()
    if as_json:
        show_json({"fleets": [fleet.to_json() for fleet in known], "current": commands.current_name()})
    elif known:
        show_table("", view.FLEET_HEADERS, view.fleet_rows(known, commands.current_name(), time.time()))
    elif not damaged:
        note("no fleet on this machine; rent one: mlb infra apply --cloud docker --nodes 2")
    if damaged:
        raise ResultsInvalid(
            f"What is recorded of {', '.join(damaged)} cannot be read; machines of it may still be billed.",
            why="\n".join(f"{error.what} {error.why}".rstrip() for error in damaged.values()),
            fix="`mlb infra destroy --name NAME --cloud CLOUD` finds the machines by their tags.",
        )


def _refuse_place_without_cloud(where: Where, *, everywhere: bool) -> None:
    given = {"--region": where.region, "--project": where.project, "--all-regions": everywhere}
    odd = [option for option, value in given.items() if value]
    if odd:
        raise UsageError(
            f"{', '.join(odd)} without --cloud: which cloud?",
            why="Without --cloud the fleets on record here are listed, wherever they are.",
            fix="Add --cloud aws, gcp or docker to look there by tag.",
        )


@contextmanager
def _watched(as_json: bool, *, yes: bool) -> Iterator[Watcher]:
    """What is told and asked on the way; on a terminal Terraform's part of it moves."""
    progress = Progress() if stderr_is_live() else None

    def tell(text: str) -> None:
        if progress:
            for line in filter(None, [progress.stop()]):
                _tell(line)
        _tell(text)

    def confirm(quote: Quote, plan: Plan) -> bool:
        tell(view.quote_text(quote))
        tell(view.plan_text(plan))
        return yes or _ask("Rent this?")

    def event(event: Event) -> None:
        if progress:
            progress.take(event)
        elif event.get("type") in _SHOWN:
            tell(f"  {event['@message']}")

    def check(check: Check) -> None:
        tell(f"  {check.node}: {'; '.join(check.problems) or f'ready after {check.seconds:.1f} s'}")

    def warn(text: str) -> None:
        tell(f"  ! {text}")

    quiet = as_json and not sys.stderr.isatty()
    try:
        yield Watcher(confirm=confirm, warn=warn) if quiet else Watcher(tell, event, check, confirm, warn)
    finally:
        if progress:
            progress.stop()


def _tell(text: str) -> None:
    """A line on stderr, which may be gone: a closed terminal or pipe must cut short nothing that costs money."""
    with suppress(OSError, SystemExit):  # rich leaves the program when a pipe is closed
        note(text)


def _ask(question: str) -> bool:
    """Whether the answer is yes; ctrl-C and an end of input are no."""
    import typer

    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        return False


def _refuse_without_answer(yes: bool) -> None:
    """Nobody is there to answer: say how to run it without a question."""
    if not yes and not ask_allowed():
        raise UsageError(
            "This asks before it acts, and there is no terminal to ask on.",
            fix=f"Run: {shlex.join(['mlb', *sys.argv[1:], '--yes'])}",
        )


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM and a closed terminal end a command as ctrl-C does: in good order."""

    def stop(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = {sig: signal.signal(sig, stop) for sig in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for sig, handler in before.items():
            signal.signal(sig, handler)
