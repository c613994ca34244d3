"""`mlb runs`: the runs on this machine."""

from __future__ import annotations

from .options import Json


def runs(
    as_json: Json = False,
) -> None:
    """The runs on this machine, the newest last."""
    from ..errors import ResultsInvalid
    from ..provisioner.runs import all_runs, state_of
    from .console import note, show_json, show_table
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
        show_table("", ("run", "task", "goal", "ranks", "state"), rows)
    else:
        note(f"no run yet in {runs_dir()}; start one: mlb bench task3a --goal smoke")
