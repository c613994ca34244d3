"""Settings: flag, then `MLB_*`, then `./mlb.toml`, then the user's config file, then the default."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from ..aggregation.catalogue import DEFAULT as DEFAULT_AGGREGATION
from ..errors import UsageError
from ..provisioner.shape import BACKENDS
from ..results.spec_check import MAX_RANKS
from .dirs import config_file

MAX_SEED: Final = 10**13
"""torch takes 64 bits, and a million streams are made of one seed (runners/rank.py, tasks/task3a.py)."""

OTHER_VARIABLES: Final = frozenset(
    {
        # what users set, agents give their ranks, and containers get
        "MLB_HOME", "MLB_DEBUG", "MLB_TERRAFORM", "MLB_PROVIDER_MIRROR", "MLB_AGENT_PID", "MLB_DEADLINE",
        "MLB_AUTHORIZED_KEY",
        # the tests'
        "MLB_REQUIRE", "MLB_ACCEPT", "MLB_ACCEPT_GOLDEN", "MLB_TEST_CACHE", "MLB_SEQUENCES",
    }
)  # fmt: skip
"""Variables that are no settings but mean something to mlb or its tests."""

_SURELY_MEANT = 0.85
"""A likeness to a setting's variable: `MLB_RNAKS`. Less alike may be another program's: it is not refused."""


@dataclass(frozen=True)
class Setting:
    """One thing a user can set."""

    name: str
    parse: Callable[[object], Any]
    """Turns a flag's, a variable's or a file's value into the setting's; raises ValueError with what is valid."""
    default: Any
    about: str

    @property
    def variable(self) -> str:
        """The environment variable of this setting."""
        return f"MLB_{self.name.upper()}"


@dataclass(frozen=True)
class Resolved:
    """A setting's value and where it came from."""

    value: Any
    origin: str


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a non-empty string")
    return value


def _path(value: object) -> Path:
    return (value if isinstance(value, Path) else Path(_text(value))).expanduser()


def _whole(low: int, high: int, value: object) -> int:
    """A whole number from `low` to `high`; text is taken for the sake of environment variables."""
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,40}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"a whole number from {low} to {high}")
    return value


def _one_of(choices: tuple[str, ...], value: object) -> str:
    if value not in choices:
        raise ValueError("one of " + ", ".join(choices))
    return str(value)


SETTINGS: Mapping[str, Setting] = {
    s.name: s
    for s in (
        Setting("data", _text, "real", "`real`: the goal's own data set; or the name of one that stands in for it"),
        Setting("data_dir", _path, None, "folder that holds data sets, looked into before the cache"),
        Setting("goal", _text, None, "goal of a task; the task's own default where not set"),
        Setting("ranks", partial(_whole, 1, MAX_RANKS), None, "processes on each node; a GPU each, else 2"),
        Setting("fleet", _text, None, "fleet to run on, `local` for this machine; the current fleet where not set"),
        Setting("backend", partial(_one_of, BACKENDS), None, "nccl where there are GPUs, else gloo"),
        Setting(
            "aggregation",
            _text,
            DEFAULT_AGGREGATION,
            "communication pattern, NAME[:OPTION=VALUE[:...]]",
        ),
        Setting(
            "seed",
            partial(_whole, 0, MAX_SEED),
            None,
            "seed of weights, dropout and data order; the task's own where not set",
        ),
    )
}


def resolve(name: str, flag: object = None) -> Resolved:
    """The value of a setting.

    Args:
        flag: what the command line gave, None where it gave nothing.

    Raises:
        UsageError: a value is not valid; says where it stands and what is.
    """
    setting = SETTINGS[name]
    if flag is not None:
        return Resolved(_checked(setting, flag, f"--{name.replace('_', '-')}"), "command line")
    from_environment = os.environ.get(setting.variable)
    if from_environment:
        return Resolved(_checked(setting, from_environment, setting.variable), setting.variable)
    for path in (Path("mlb.toml"), config_file()):
        values = _read(path)
        if name in values:
            place = f"{path}, line {_line_of(path, name)}"
            return Resolved(_checked(setting, values[name], place), str(path))
    return Resolved(setting.default, "default")


def value(name: str, flag: object = None) -> Any:
    """The value of a setting, without its origin."""
    return resolve(name, flag).value


def unknown_variables() -> dict[str, str]:
    """Each `MLB_*` variable that is set and means nothing -> the one that may be meant, or nothing."""
    known = OTHER_VARIABLES | {setting.variable for setting in SETTINGS.values()}
    unknown = sorted(name for name in set(os.environ) - known if name.startswith("MLB_"))
    return {name: next(iter(difflib.get_close_matches(name, known, n=1)), "") for name in unknown}


def meaningless_variables() -> list[str]:
    """The `MLB_*` variables that mean nothing, for a command that takes settings: somebody may count on one.

    Raises:
        UsageError: one is a setting's, misspelt.
    """
    unknown = list(unknown_variables())
    for name in unknown:
        if near := difflib.get_close_matches(name, [s.variable for s in SETTINGS.values()], 1, _SURELY_MEANT):
            raise UsageError(
                f"{name} is set and means nothing to mlb. Did you mean {near[0]}?",
                fix=f"Rename it, or take it away: unset {name}. `mlb config` shows all settings.",
            )
    return unknown


def _checked(setting: Setting, raw: object, place: str) -> Any:
    try:
        return setting.parse(raw)
    except ValueError as error:
        raise UsageError(
            f"{place}: {setting.name} cannot be {raw!r}.", fix=f"It has to be {error}. ({setting.about})"
        ) from None


def _read(path: Path) -> Mapping[str, object]:
    """A config file's settings; none where it does not exist."""
    try:
        values = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read.", why=str(error)) from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML.", why=str(error), fix="See docs/configuration.md.") from None
    for key in values:
        if key not in SETTINGS:
            near = difflib.get_close_matches(key, list(SETTINGS), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UsageError(
                f"{path}, line {_line_of(path, key)}: there is no setting {key!r}.{hint}",
                fix=f"Settings: {', '.join(SETTINGS)}.",
            )
    return values


def _line_of(path: Path, key: str) -> int:
    """The line, from 1, at which a key of the file stands; tables count by their heading."""
    pattern = re.compile(rf"""\s*(\[\s*)?["']?{re.escape(key)}["']?\s*[=.\]]""")
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if pattern.match(line):
            return number
    return 1
