"""The dashboard over HTTP: who gets in, what is told, what changes nothing."""

import json
import socket
from pathlib import Path

import pytest
from dashboards import Dashboard
from stories import small_run
from support import Mlb

pytestmark = pytest.mark.system

PATHS = (
    "/",
    "/api/overview",
    "/api/events",
    "/api/runs/a-run/logs",
    "/runs/a-run/report",
    "/static/dashboard.js",
    "/no",
)


@pytest.mark.parametrize("path", PATHS)
def test_without_the_token_nothing_is_told(dashboard: Dashboard, path: str) -> None:
    for headers in ({}, {"x_mlb_token": "wrong"}, {"cookie": "mlb_dashboard=wrong"}):
        status, text = dashboard.ask(path, **headers)
        assert status == 401
        assert dashboard.token not in text


def test_a_wrong_token_changes_nothing(dashboard: Dashboard, mlb_home: Path) -> None:
    small_run(mlb_home / "runs")
    before = sorted(mlb_home.rglob("*"))
    for headers in ({}, {"x_mlb_token": "wrong"}, {"cookie": f"mlb_dashboard={dashboard.token}"}):
        for path in ("/api/runs", "/api/runs/a-run/stop"):
            assert dashboard.ask(path, "POST", {"task": "task3a"}, **headers)[0] == 401
    assert dashboard.ask("/api/runs", "POST", {}, x_mlb_token=dashboard.token, origin="http://evil.example")[0] == 403
    assert dashboard.ask("/api/overview", x_mlb_token=dashboard.token, host="evil.example")[0] == 421
    assert dashboard.ask("/?token=wrong")[0] == 401
    assert dashboard.ask("/api/runs/a-run/stop", x_mlb_token=dashboard.token)[0] == 405
    assert sorted(mlb_home.rglob("*")) == before


def test_what_is_told_to_the_one_who_has_it(dashboard: Dashboard, mlb_home: Path) -> None:
    small_run(mlb_home / "runs")
    status, text = dashboard.get("/api/overview")
    assert status == 200
    assert json.loads(text)["runs"][0]["run"] == "a-run"
    assert "Goal reached" in dashboard.get("/runs/a-run/report")[1]
    assert dashboard.get("/runs/a-run/archive")[1].startswith("PK")
    assert dashboard.get("/api/runs/a-run/logs") == (200, '{"logs":{}}')
    status, text = dashboard.get("/runs/b-run/report")
    assert status == 400
    assert "There is no run 'b-run'" in text
    assert dashboard.get("/compare?runs=a-run")[0] == 400
    assert dashboard.get("/static/..%2f..%2f..%2fpyproject.toml")[0] in (400, 404)
    assert dashboard.get("/static/index.html.j2")[0] == 404
    assert dashboard.get("/runs/..%2f..%2fetc/report")[0] in (400, 404)


def test_bad_requests_are_answered(dashboard: Dashboard) -> None:
    for body in ([1], "text", {"task": "task9"}):
        status, text = dashboard.ask("/api/runs", "POST", body, x_mlb_token=dashboard.token)
        assert status == 400
        assert json.loads(text)["what"]


def test_it_listens_on_loopback_alone_and_ends_on_ctrl_c(dashboard: Dashboard) -> None:
    addresses = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in addresses - {"127.0.0.1"}:
        with socket.socket() as door:
            door.settimeout(2)
            assert door.connect_ex((address, dashboard.port)) != 0 or address.startswith("127.")
    assert dashboard.stop() in (0, 130)


def test_a_port_in_use(mlb_home: Path, tmp_path: Path) -> None:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen()
        port = door.getsockname()[1]
        done = Mlb(mlb_home, tmp_path)("dashboard", "--no-open", "--port", str(port))
    assert done.returncode == 2
    assert f"Port {port} cannot be used" in done.stderr
    assert "--port" in done.stderr
