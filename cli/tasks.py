"""`mlb bench list`: the tasks and their goals."""

from __future__ import annotations

from ..tasks import catalogue
from ..tasks.catalogue import Goal
from .console import show_json, show_table


def show_tasks(as_json: bool) -> None:
    """Print the catalogue."""
    if as_json:
        measures = {"name": catalogue.RAW, "goals": dict(catalogue.RAW_GOALS)}
        show_json(
            {"tasks": [catalogue.to_json(info) for info in catalogue.TASKS.values()], "without_training": [measures]}
        )
        return
    rows = [
        (catalogue.RAW * first, "collectives alone" * first, goal, "", about)
        for first, (goal, about) in zip((True, False), catalogue.RAW_GOALS.items(), strict=True)
    ]
    rows += [
        (info.name if first else "", info.title if first else "", goal.name, _target(goal), goal.about)
        for info in catalogue.TASKS.values()
        for first, goal in ((i == 0, g) for i, g in enumerate(info.goals.values()))
    ]
    show_table("", ("task", "what", "goal", "target", "about"), rows)


def _target(goal: Goal) -> str:
    value = next(iter(goal.targets.values()))
    return f"{goal.metric} {'<=' if goal.upper_bound else '>='} {value:g}"
