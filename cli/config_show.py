"""`mlb config`: every setting, its value, and where that came from."""

from __future__ import annotations

from .options import Json


def config(
    as_json: Json = False,
) -> None:
    """The settings in force here, and where each comes from."""
    from .config import SETTINGS, resolve
    from .console import show_json, show_table
    from .dirs import cache_dir, config_file, runs_dir

    resolved = {name: resolve(name) for name in SETTINGS}
    shown = {name: "" if r.value is None else str(r.value) for name, r in resolved.items()}
    folders = {"config_file": str(config_file()), "runs": str(runs_dir()), "cache": str(cache_dir())}
    if as_json:
        settings = {name: {"value": shown[name] or None, "origin": r.origin} for name, r in resolved.items()}
        show_json({"settings": settings, "folders": folders})
        return
    rows = [(name, shown[name], r.origin, SETTINGS[name].about) for name, r in resolved.items()]
    show_table("", ("setting", "value", "from", "about"), rows)
    show_table("", ("folder", "path"), list(folders.items()))
