"""`mlb dashboard`: a local web page over the fleets and runs of this machine."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def dashboard(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option("--open/--no-open", help="Open it in the browser.")] = True,
) -> None:
    """Show fleets and runs in the browser, live. Serves on 127.0.0.1 only, to whoever has the printed address."""
    from ..errors import PreflightError
    from ..infra.folder import state_home
    from ..tasks import catalogue
    from .console import note, show_text
    from .dirs import runs_dir

    try:
        from ..dashboard import server
    except ModuleNotFoundError as error:
        raise PreflightError(
            "The dashboard needs libraries that are not installed.", why=str(error), fix="pip install 'mlb[dashboard]'"
        ) from None
    from ..dashboard.guard import Guard
    from ..dashboard.home import Home

    tasks = [catalogue.to_json(info) for info in catalogue.TASKS.values()]
    home = Home(runs_dir(), state_home(), tasks, (sys.executable, "-P", "-m", "mlb"))
    door = server.listen(port)
    guard = Guard(door.getsockname()[1])
    address = f"http://127.0.0.1:{guard.port}/?token={guard.token}"
    show_text(address)
    sys.stdout.flush()
    note("whoever has this address can start and stop runs; ctrl-C ends the dashboard, not the runs")
    if browser and sys.stdout.isatty():
        import webbrowser

        webbrowser.open(address)
    server.serve(home, guard, door)
