"""`mlb doctor`: everything that can be wrong before the first run, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Json

if TYPE_CHECKING:
    from ..doctor.finding import Finding
    from ..tasks.catalogue import TaskInfo

_FAULTS_FOUND = 3


def doctor(
    online: Annotated[bool, typer.Option("--online", help="Also ask the clouds whose credentials are here.")] = False,
    as_json: Json = False,
) -> None:
    """Check this machine, its settings and its leftovers, and say how to mend what is wrong."""
    from dataclasses import asdict

    from ..doctor.examine import examine
    from ..doctor.finding import FAIL, OK, Place
    from ..infra.folder import state_home
    from .console import show_json, show_table, show_text
    from .dirs import cache_dir, runs_dir

    place = Place(runs_dir(), cache_dir(), state_home(), online=online)
    findings = [*_settings(), *examine(place), *_data()]
    faults = sum(finding.state == FAIL for finding in findings)
    if as_json:
        show_json({"faults": faults, "findings": [asdict(finding) for finding in findings]})
    else:
        show_table("", ("", "what", "found"), [(f.state, f.name, f.what) for f in findings])
        for finding in (f for f in findings if f.state != OK):
            show_text(f"{finding.state}: {finding.name}: {finding.fix}")
        show_text(f"{faults} fault{'s'[: faults != 1]}, {sum(f.state not in (OK, FAIL) for f in findings)} warnings")
    raise typer.Exit(_FAULTS_FOUND if faults else 0)


def _settings() -> Iterator[Finding]:
    """Config files and MLB_* variables: valid, and none misspelt."""
    from ..doctor.finding import fail, ok, warn
    from ..errors import MlbError
    from . import config

    for name, near in config.unknown_variables().items():
        meant = f" Did you mean {near}?" if near else ""
        yield warn("settings", f"{name} is set and means nothing to mlb.{meant}", f"unset {name}")
    try:
        for name in config.SETTINGS:
            config.resolve(name)
    except MlbError as error:
        yield fail("settings", f"{error.what} {error.why}".strip(), error.fix)
    else:
        yield ok("settings", "flags' defaults, MLB_* variables and config files are valid")


def _data() -> Iterator[Finding]:
    """The data of every task: sound, or how to get it."""
    from ..doctor.finding import fail, ok, warn
    from ..errors import MlbError
    from ..tasks import catalogue
    from . import config
    from .dirs import cache_dir

    try:
        folder = config.value("data_dir")
    except MlbError:
        return  # said above
    if folder is not None and not folder.is_dir():
        yield fail("data", f"the data folder {folder} is not there", "mkdir it, or unset MLB_DATA_DIR / data_dir")
        return
    for info in catalogue.TASKS.values():
        goal = info.goal(info.default_goal)
        found = catalogue.data_status(goal, data_dir=folder, cache_dir=cache_dir())
        broken = [f"{raw.name}: {raw.problem}" for raw in found.raw if raw.problem and raw.path]
        missing = [raw.name for raw in found.raw if raw.path is None or not raw.path.exists()]
        name = f"data of {info.name}"
        if broken:
            yield fail(name, "; ".join(broken[:3]), f"Delete it, then: mlb data prepare {info.name}")
        elif missing:
            bring = "" if found.sources else " --from DIR"
            fix = f"mlb data prepare {info.name}{bring}{_stand_in(info)}"
            yield warn(name, f"{found.title}: {len(missing)} files are not here", fix)
        else:
            yield ok(name, f"{found.title} is here and sound")


def _stand_in(info: TaskInfo) -> str:
    """A way to train the task without its data, where it has a goal with a target on text that is generated."""
    for goal in reversed([*info.goals.values()]):
        if "synthetic" in goal.targets:
            return f"; or without it: mlb bench {info.name} --goal {goal.name} --data synthetic"
    return ""
