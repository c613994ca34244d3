"""`mlb man`: the manual page, made from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

_FILES = (
    ("mlb.toml", "settings of this folder"),
    ("~/.config/mlb/config.toml", "settings of the user"),
    ("~/.local/share/mlb/runs/", "run folders"),
    ("~/.local/state/mlb/fleets/", "records, keys and Terraform's state of fleets"),
    ("~/.cache/mlb/", "data sets; may be deleted at any time"),
)


def man() -> None:
    """Print the manual page: mlb man | man -l -"""
    from .app import app
    from .console import show_text

    show_text("\n".join(page(typer.main.get_command(app))))


def page(command: Any) -> Iterator[str]:
    """The page in groff's man macros, line by line; `command` is click's."""
    from .. import __version__
    from .config import SETTINGS

    yield f'.TH MLB 1 "" "mlb {__version__}" "User commands"'
    yield from (
        ".SH NAME",
        "mlb \\- " + _escaped(_help(command)),
        ".SH SYNOPSIS",
        ".B mlb",
        "COMMAND [OPTIONS] [ARGUMENTS]",
    )
    yield from (".SH OPTIONS", *_options(command), ".SH COMMANDS")
    for name, sub in _commands(command, "mlb"):
        arguments = " ".join(_metavar(p) for p in sub.params if p.param_type_name == "argument")
        yield from (f".SS {_escaped(f'{name} {arguments}'.strip())}", _escaped(_help(sub)), *_options(sub))
    yield from (".SH ENVIRONMENT", ".TP", ".B MLB_HOME", "one folder for everything that mlb writes")
    for setting in SETTINGS.values():
        yield from (".TP", f".B {setting.variable}", _escaped(setting.about))
    yield ".SH FILES"
    for file, about in _FILES:
        yield from (".TP", f".I {_escaped(file)}", _escaped(about))
    yield from (".SH EXIT STATUS", *_statuses())


def _commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command
    if "run" in group.commands:
        # The verb that is left out: `mlb bench TASK`.
        yield path, group.commands["run"]


def _options(command: Any) -> Iterator[str]:
    for option in (p for p in command.params if p.param_type_name == "option" and not p.hidden):
        names = ", ".join((*option.opts, *option.secondary_opts))
        metavar = "" if option.is_flag else " " + _metavar(option)
        yield from (".TP", f".B {_escaped(names + metavar)}", _escaped(option.help or ""))


def _statuses() -> Iterator[str]:
    from .. import errors

    yield from (".TP", ".B 0", "done")
    tree: list[type[errors.MlbError]] = [errors.MlbError, *errors.MlbError.__subclasses__()]
    for error in sorted((e for e in tree if e.__module__ == errors.__name__), key=lambda e: e.exit_code):
        yield from (".TP", f".B {error.exit_code}", _escaped((error.__doc__ or "").splitlines()[0]))


def _metavar(param: Any) -> str:
    return str(param.metavar or param.name.upper())


def _help(command: Any) -> str:
    return " ".join((command.help or "").split())


def _escaped(text: str) -> str:
    """`text` without meaning to groff: hyphens that can be copied, no control line."""
    plain = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + plain if plain.startswith((".", "'")) else plain
