"""`mlb runs`: the runs on this machine."""

from __future__ import annotations

from .options import Json


def runs(
    as_json: Json = False,
) -> None:
    """The runs on this machine, the newest last."""
    from ..errors import ResultsInvalid
    from ..provisioner.runs import all_runs, state_of
    from ..results.table import Table, text_of_table
    from ..results.text import count, sanitise
    from .console import note, result_width, show_json, show_text
    from .dirs import runs_dir

    rows = []
    for folder in all_runs(runs_dir()):
        try:
            spec, state = folder.read_spec(), state_of(folder).state
            rows.append((folder.run_id, spec.task, spec.goal, f"{spec.ranks} x {spec.backend}", state))
        except ResultsInvalid as error:
            rows.append((folder.run_id, "", "", "", f"unreadable: {error.why}"))
    if as_json:
        names = ("run", "task", "goal", "ranks", "state")
        show_json({"runs": [dict(zip(names, row, strict=True)) for row in rows]})
    elif rows:
        # Not by rich, which takes half a second for a thousand rows.
        table = Table(
            count(len(rows), "run"),
            ("run", "task", "goal", "ranks", "state"),
            tuple(tuple(sanitise(cell) for cell in row) for row in rows),
        )
        show_text("\n".join(text_of_table(table, result_width(off_terminal=200))))
    else:
        note(f"no run yet in {runs_dir()}; start one: mlb bench task3a --goal smoke")
