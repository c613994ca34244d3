"""`mlb bench patterns`: the communication patterns and their options."""

from __future__ import annotations

from ..aggregation import catalogue
from ..option import describe
from .console import show_json, show_table


def show_patterns(as_json: bool) -> None:
    """Print the catalogue."""
    if as_json:
        show_json({"patterns": [catalogue.to_json(info) for info in catalogue.PATTERNS.values()]})
        return
    rows = []
    for info in catalogue.PATTERNS.values():
        for place, (option, valid) in enumerate(describe(info.options)):
            rows.append((info.name, info.about, option, valid) if place == 0 else ("", "", option, valid))
    show_table("", ("aggregation", "what", "option", "valid"), rows)
