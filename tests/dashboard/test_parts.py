"""Curves of bounded size, the guard's rules, what a page may ask for."""

import asyncio
import json
import time
import tracemalloc
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from dashboards import run_async
from hypothesis import given
from hypothesis import strategies as st
from mlb.dashboard import actions, watch
from mlb.dashboard.curve import Curve
from mlb.dashboard.guard import Guard
from mlb.dashboard.home import Home
from mlb.dashboard.hub import Hub
from mlb.dashboard.overview import Overview
from mlb.dashboard.watch import RunWatch
from mlb.errors import UsageError
from mlb.infra import catalogue
from mlb.infra.blueprint import Blueprint
from mlb.infra.fleet import Fleet, Node
from mlb.infra.folder import FleetFolder
from mlb.infra.spec import FleetSpec
from mlb.results.ledger import Charge
from stories import MS, Run, Story, small_run

GUARD = Guard(8000, "token")
GOOD = {"host": "127.0.0.1:8000", "x-mlb-token": "token"}


def test_a_million_points_stay_few_and_keep_their_shape() -> None:
    curve = Curve()
    tracemalloc.start()
    for i in range(1_000_000):
        curve.add(i, i % 2)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    xs, ys = curve.to_json()
    assert 400 <= len(xs) <= 800
    assert xs == sorted(xs)
    assert xs[-1] > 990_000
    assert all(y == 0.5 for y in ys)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300))
def test_a_curve_keeps_the_mean(values: list[float]) -> None:
    curve = Curve(limit=16)
    for i, value in enumerate(values):
        curve.add(i, value)
    kept = len(curve.ys) * curve.width
    assert len(curve.ys) <= 16
    assert sum(curve.ys) * curve.width == pytest.approx(sum(values[:kept]), abs=1e-3)


@pytest.mark.parametrize(
    ("method", "headers", "cookie", "status"),
    [
        ("GET", GOOD, None, None),
        ("GET", {"host": "localhost:8000"}, "token", None),
        ("GET", {"host": "127.0.0.1:8000"}, None, 401),
        ("GET", {"host": "127.0.0.1:8000"}, "tokeN", 401),
        ("GET", {**GOOD, "host": "evil.example:8000"}, "token", 421),
        ("GET", {"x-mlb-token": "token"}, None, 421),
        ("POST", GOOD, None, None),
        ("POST", {**GOOD, "origin": "http://127.0.0.1:8000"}, None, None),
        ("POST", {"host": "127.0.0.1:8000"}, "token", 401),
        ("POST", {**GOOD, "origin": "http://evil.example"}, "token", 403),
        ("POST", {**GOOD, "origin": "null"}, "token", 403),
        ("DELETE", {"host": "127.0.0.1:8000"}, "token", 401),
    ],
)
def test_who_may_ask(method: str, headers: dict[str, str], cookie: str | None, status: int | None) -> None:
    refused = GUARD.refusal(method, headers, cookie)
    assert (refused[0] if refused else None) == status


def test_two_dashboards_have_two_tokens() -> None:
    assert Guard(1).token != Guard(1).token
    assert len(Guard(1).token) >= 40


HOME = Home(Path("/nowhere"), Path("/nowhere"), [{"name": "task3a"}], ("false",))


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"task": "task9"},
        {"task": "stop"},
        {"task": "task3a", "data_dir": "/etc"},
        {"task": "task3a", "goal": "--help"},
        {"task": "task3a", "ranks": "2; rm"},
        {"task": "task3a", "ranks": [2]},
        {"task": "task3a", "ranks": True},
        {"task": ["task3a"]},
    ],
)
def test_what_a_page_may_not_ask_for(asked: dict) -> None:
    with pytest.raises(UsageError):
        actions.start(HOME, asked)


def test_the_speed_of_images_is_in_samples(tmp_path: Path) -> None:
    run = Run(tmp_path, ranks=1)
    run.tell(Story(0).start().event("run_start").step(*[MS] * 7, samples=64, tokens=64))
    watch = RunWatch(run.folder, run.spec)
    assert watch.poll()
    assert watch.to_json()["unit"] == "samples"


def test_a_watch_reads_on_where_it_stopped(tmp_path: Path) -> None:
    run = Run(tmp_path, ranks=1)
    watch = RunWatch(run.folder, run.spec)
    assert not watch.poll()
    story = Story(0).start().event("run_start").step(*[MS] * 7)
    run.tell(story)
    assert watch.poll()
    assert not watch.poll()
    assert (watch.to_json()["steps"], watch.to_json()["unit"]) == (1, "tokens")
    run.tell(story.step(*[MS] * 7).evaluate(420.0, MS).event("run_stop", status="success", reason="goal").stop())
    assert watch.poll()
    said = watch.to_json()
    assert (said["steps"], said["doing"]) == (2, "ended: goal")
    assert said["quality"] == [[0.015], [420.0]]
    assert sum(said["split"].values()) == pytest.approx(1.0)
    # Two steps of 7 ms and an evaluation of 1 ms, one behind the other.
    assert said["split"]["evaluation"] == pytest.approx(1 / 15)
    assert sum(column[-1] for column in said["split_over_time"]["parts"].values()) == pytest.approx(100, abs=0.1)


def test_a_long_log_is_shown_as_far_as_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_BUDGET_S", 0.0)
    story = Story(0).start().event("run_start")
    for _ in range(2000):
        story.step(MS, MS, MS, MS, MS, MS, MS)
    run = Run(tmp_path, ranks=1).tell(story)
    followed, seen = RunWatch(run.folder, run.spec), []
    while followed.poll():
        seen.append(followed.to_json()["steps"])
    assert len(seen) >= 4
    assert seen == sorted(seen)
    assert seen[-1] == 2000


def test_hostile_events_end_up_as_text(tmp_path: Path) -> None:
    run = Run(tmp_path, ranks=1)
    story = Story(0).start().event("run_start").event("step", step="<b>", step_ns=-1, loss="nan", tokens=[1])
    story.event("eval_accuracy", value=1e999, split="validation").event("stage", name={"<script>": 1})
    run.write(0, story.bytes + b"rubbish\n" + b"[" * 5000 + b"\n")
    watch = RunWatch(run.folder, run.spec)
    watch.poll()
    json.dumps(watch.to_json(), allow_nan=False)


def test_the_overview_shows_every_kind_of_run(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    small_run(runs, run_id="good")
    small_run(runs, run_id="rest", resumed_run="killed")
    Run(runs, run_id="lost").node(state="running", agent_pid=2**22 + 1, agent_start_ticks=1)
    (runs / "broken").mkdir()
    (runs / "broken" / "run.json").write_text("{")
    rows = {row["run"]: row for row in Overview(Home(runs, tmp_path, [], ())).to_json()["runs"]}
    assert rows["good"]["result"] == "goal reached in 5.2 s"
    assert rows["rest"]["result"] == "goal reached, resumed from killed", "no time: it would be that of the rest"
    assert rows["lost"]["state"] == "lost"
    assert rows["broken"]["state"] == "unreadable"


def test_a_fleet_says_what_its_nodes_are(tmp_path: Path) -> None:
    def said(cloud: str, gpus: int, machine: str | None) -> str:
        folder = FleetFolder(tmp_path / "state", "a")
        folder.create()
        row = next((one for one in catalogue.load().machines if one.machine_type == machine), None)
        node = Node("a-0", "i-1", "198.51.100.1", "10.0.0.4", "198.51.100.1", 22, "ubuntu", gpus)
        spec = FleetSpec(name="a", cloud=cloud, ttl_s=3600)
        blueprint = Blueprint(
            spec=spec, fleet_id="0a1b2c3d", machine=row, zone="", created=int(time.time()), owner="ada",
            version="0.1.0", public_key="ssh-ed25519 AAAA",
        )  # fmt: skip
        Fleet(blueprint, "ready", (node,)).save(folder)
        (fleet,) = Overview(Home(tmp_path / "runs", tmp_path / "state", [], ())).fleets()
        return str(fleet["machine"])

    assert said("aws", 4, "g5.12xlarge") == "g5.12xlarge: 48 vCPUs, 192 GiB, 4 x A10G"
    assert said("ssh", 2, None) == "2 GPUs on each"
    assert said("docker", 0, None) == ""


def test_a_fleet_says_what_it_has_cost_through_its_changes(tmp_path: Path) -> None:
    folder, now = FleetFolder(tmp_path / "state", "a"), int(time.time())
    folder.create()
    blueprint = Blueprint(
        spec=FleetSpec(name="a", cloud="aws"), fleet_id="0a1b2c3d", machine=None, zone="", created=now - 7200,
        owner="ada", version="0.1.0", public_key="ssh-ed25519 AAAA",
    )  # fmt: skip
    grown = (Charge(now - 7200, 1, 12.0, is_ceiling=True), Charge(now, 8, 96.0))
    Fleet(blueprint, "ready", usd_per_hour=96.0, ledger=grown).save(folder)
    (fleet,) = Overview(Home(tmp_path / "runs", tmp_path / "state", [], ())).fleets()
    assert fleet["usd_per_hour"] == 96
    assert fleet["usd_so_far"] == pytest.approx(24, abs=2), "a minute of the eight at most has passed"
    assert (fleet["usd_per_hour_is_ceiling"], fleet["usd_so_far_is_ceiling"]) == (False, True)


def test_what_cannot_be_read_in_time_is_named_and_read_later(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for i in range(5):
        small_run(runs, run_id=f"run-{i}")
    overview = Overview(Home(runs, tmp_path, [], ()))
    said = overview.to_json(budget_s=0.0)
    assert [row["run"] for row in said["runs"]] == [f"run-{i}" for i in reversed(range(5))]
    assert {row["state"] for row in said["runs"]} == {"reading"}
    assert overview.unread == 5
    assert {row["state"] for row in overview.to_json()["runs"]} == {"succeeded"}
    assert overview.unread == 0
    assert {row["state"] for row in overview.to_json(budget_s=0.0)["runs"]} == {"succeeded"}, "it remembers"


def test_a_second_page_takes_no_news_from_the_first(tmp_path: Path) -> None:
    """Both show the same run; what is new of it is told to both."""
    run = Run(tmp_path / "runs", ranks=1)
    story = Story(0).start().event("run_start").step(*[MS] * 7)
    run.tell(story)

    async def follow() -> None:
        hub = Hub(Home(tmp_path / "runs", tmp_path, [], ()))
        first, second = hub.stream("a-run"), hub.stream("a-run")
        assert "epoch 1, step 1" in await told(first, "run")
        run.tell(story.event("run_stop", status="success", reason="goal"))
        await told(second, "run")
        assert "ended: goal" in await told(second, "run")
        assert "ended: goal" in await told(first, "run")
        await first.aclose()
        await second.aclose()

    run_async(follow())


async def told(stream: AsyncGenerator[str], kind: str) -> str:
    """The next event of a kind."""
    async with asyncio.timeout(30):
        async for text in stream:
            if text.startswith(f"event: {kind}\n"):
                return text
    raise AssertionError("the stream ended")
