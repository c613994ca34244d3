"""The only file that imports starlette and uvicorn: routes, each a few lines over the rest of this room."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import MlbError, UsageError
from ..pages.page import comparison_page, page, run_page
from ..provisioner.runs import find, known_state
from ..results import archive
from ..results.compare import compare, entry_of
from ..results.extent import BUCKETS
from ..results.metrics import compute
from ..results.report import last_words
from . import actions
from .guard import COOKIE, Guard
from .home import Home
from .hub import Hub

_STATIC: Final = {
    "uPlot-1.6.32.min.js": "text/javascript",
    "uPlot-1.6.32.min.css": "text/css",
    "dashboard.js": "text/javascript",
    "dashboard.css": "text/css",
}
_BODY_LIMIT: Final = 64 << 10
_LOG_LINES: Final = 1000
"""Of all files together; but of each at least:"""
_LEAST_LINES: Final = 20
_LOG_FILES: Final = 130
"""64 nodes of a rank each, and their agents."""
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
Handler = Callable[[Request], Awaitable[Response]]


def listen(port: int) -> socket.socket:
    """A socket on 127.0.0.1; port 0 takes a free one.

    Raises:
        UsageError: the port is in use or may not be used.
    """
    door = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind(("127.0.0.1", port))
        door.listen()
    except OSError as error:
        door.close()
        raise UsageError(
            f"Port {port} cannot be used: {error.strerror}.", fix="Name another with --port; 0 takes a free one."
        ) from None
    return door


def serve(home: Home, guard: Guard, door: socket.socket) -> None:
    """Serve until ctrl-C."""
    hub = Hub(home)
    threading.Thread(target=hub.warm_up, name="warm-up", daemon=True).start()
    config = uvicorn.Config(
        application(home, guard, hub),
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    try:
        uvicorn.Server(config).run(sockets=[door])
    finally:
        hub.attendants.let_go()


def application(home: Home, guard: Guard, hub: Hub) -> ASGIApp:
    """The dashboard as an ASGI application, its guard around all of it."""
    pages = _Pages(home, guard, hub)
    routes: Sequence[tuple[str, str, Handler]] = (
        ("/", "GET", pages.index),
        ("/static/{name}", "GET", pages.static),
        ("/api/events", "GET", pages.events),
        ("/api/overview", "GET", pages.overview),
        ("/api/runs", "POST", pages.start),
        ("/api/runs/{run}/stop", "POST", pages.stop),
        ("/api/runs/{run}/logs", "GET", pages.logs),
        ("/runs/{run}/report", "GET", pages.report),
        ("/runs/{run}/archive", "GET", pages.archive),
        ("/compare", "GET", pages.compare),
    )
    return _Guarded(Starlette(routes=[Route(p, _told(h), methods=[m]) for p, m, h in routes]), guard)


class _Guarded:
    """Lets through what the guard does not refuse, and puts the security headers on every answer."""

    def __init__(self, inner: ASGIApp, guard: Guard) -> None:
        self.inner, self.guard = inner, guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return None
        request = Request(scope)
        refused = self.guard.refusal(request.method, request.headers, request.cookies.get(COOKIE))
        token = request.query_params.get("token")
        if refused and refused[0] == 401 and request.method == "GET" and request.url.path == "/" and token:
            if self.guard.knows(token):
                answer: Response = RedirectResponse("/", 303, _HEADERS)
                answer.set_cookie(COOKIE, token, httponly=True, samesite="strict")
                return await answer(scope, receive, send)
            refused = (401, "That is not this dashboard's token: open the address that mlb dashboard printed.")
        if refused:
            return await JSONResponse({"what": refused[1]}, refused[0], _HEADERS)(scope, receive, send)

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [(k.lower().encode(), v.encode()) for k, v in _HEADERS.items()]
            await send(message)

        return await self.inner(scope, receive, with_headers)


def _told(handler: Handler) -> Handler:
    """Errors as JSON: what, why, fix."""

    async def told(request: Request) -> Response:
        try:
            return await handler(request)
        except MlbError as error:
            return JSONResponse({"what": error.what, "why": error.why, "fix": error.fix}, 400)

    return told


class _Pages:
    """One method a route."""

    def __init__(self, home: Home, guard: Guard, hub: Hub) -> None:
        self.home, self.guard, self.hub = home, guard, hub

    async def index(self, _request: Request) -> Response:
        return HTMLResponse(page("dashboard/index.html.j2", token=self.guard.token, tasks=self.home.tasks))

    async def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _STATIC:
            return JSONResponse({"what": "There is no such file."}, 404)
        return Response(_static(name), media_type=_STATIC[name])

    async def events(self, request: Request) -> Response:
        node = request.query_params.get("node", "")
        stream = self.hub.stream(request.query_params.get("run", ""), int(node) if node.isdecimal() else None)
        return StreamingResponse(stream, media_type="text/event-stream")

    async def overview(self, _request: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(self.hub.overview.to_json))

    async def start(self, request: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(actions.start, self.home, await _body(request)))

    async def stop(self, request: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(actions.stop, self.home, self._run_id(request)))

    async def logs(self, request: Request) -> Response:
        folder = find(self.home.runs_dir, self._run_id(request))
        files = sorted(folder.logs.glob("*.log"))
        lines = max(_LEAST_LINES, _LOG_LINES // max(1, len(files)))
        text = {path.name: await asyncio.to_thread(last_words, path, lines) for path in files[:_LOG_FILES]}
        return JSONResponse({"logs": text})

    async def report(self, request: Request) -> Response:
        run = self._run_id(request)
        return HTMLResponse(await asyncio.to_thread(self._report, run))

    async def archive(self, request: Request) -> Response:
        folder = find(self.home.runs_dir, self._run_id(request))
        with tempfile.NamedTemporaryFile(prefix="mlb-", suffix=archive.SUFFIX, delete=False) as made:
            file = Path(made.name)
        await asyncio.to_thread(archive.pack, folder, file)
        return FileResponse(file, filename=folder.run_id + archive.SUFFIX, background=BackgroundTask(file.unlink))

    async def compare(self, request: Request) -> Response:
        names = [name for name in request.query_params.get("runs", "").split(",") if name]
        if len(names) < 2:
            raise UsageError("Two runs or more can be compared.", fix="Mark them in the list.")
        mixed = request.query_params.get("mixed") == "1"
        return HTMLResponse(await asyncio.to_thread(self._compare, names, mixed))

    def _run_id(self, request: Request) -> str:
        """The id in the path, which is a run's and no other folder's."""
        run: str = request.path_params["run"]
        return find(self.home.runs_dir, run.replace("/", "")).run_id

    def _report(self, run: str) -> str:
        folder = find(self.home.runs_dir, run)
        return run_page(folder, compute(folder, BUCKETS, state=known_state(folder)))

    def _compare(self, names: Sequence[str], mixed: bool) -> str:
        folders = [find(self.home.runs_dir, name.replace("/", "")) for name in names]
        return comparison_page(compare([entry_of(folder) for folder in folders], mixed=mixed))


@cache
def _static(name: str) -> bytes:
    return (Path(__file__).resolve().parent.parent / "templates" / "dashboard" / name).read_bytes()


async def _body(request: Request) -> Mapping[str, Any]:
    if int(request.headers.get("content-length", "0")) > _BODY_LIMIT:
        raise UsageError("That is too long a request.")
    try:
        body = await request.json()
    except ValueError:
        raise UsageError("The request is no JSON.") from None
    if not isinstance(body, dict):
        raise UsageError("The request is no JSON object.")
    return body
