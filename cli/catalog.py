"""`mlb catalog`: the machines and prices that quotes are made from."""

from __future__ import annotations

from typing import Annotated

import typer

from .infra_options import Project
from .options import Json

app = typer.Typer(help="The prices that quotes are made from.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def main() -> None:
    """Keeps `refresh` a sub-command while it is the only one."""


@app.command()
def refresh(
    cloud: Annotated[str, typer.Option("--cloud", help="aws or gcp.")] = "aws",
    region: Annotated[
        list[str] | None, typer.Option("--region", help="May be repeated. [default: us-east-1, us-central1]")
    ] = None,
    project: Project = None,
    as_json: Json = False,
) -> None:
    """Ask the cloud's own price list for today's prices, with your credentials; costs nothing."""
    from ..infra.folder import state_home
    from ..infra.quote import dollars
    from ..infra.refresh import refresh as ask
    from .console import show_json, show_text

    done = ask(cloud, region or [], state_home(), project or "")
    if as_json:
        changes = [
            {"machine": n.id, "region": n.region, "from": str(o.on_demand), "to": str(n.on_demand)}
            for o, n in done.changed
        ]
        show_json(
            {
                "file": str(done.file),
                "prices": len(done.prices),
                "disks": len(done.disks),
                "changed": changes,
                "without": done.without,
            }
        )
        return
    lines = [f"{len(done.prices)} prices of today in {done.file}"]
    lines += [
        f"  {new.id} in {new.region}: {dollars(old.on_demand)} -> {dollars(new.on_demand)}" for old, new in done.changed
    ]
    lines += [f"  {d.kind} in {d.region}: ${d.usd_per_gb_month} per GB and month" for d in done.disks]
    if done.without:
        lines.append(f"No price there for: {', '.join(done.without)}")
    show_text("\n".join(lines))
