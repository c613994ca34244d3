"""How quick the list of runs and the dashboard are: python benchmarks/dashboard_speed.py [STEPS].

`mlb runs` over 1,000 runs; then the dashboard over 200 runs that are over and ten that go on, one of them of 64 nodes
and one of STEPS steps (a million): first paint in Chromium, an update from a line in a log to the page, opening the
long run, and the processor time of a dashboard that is looked at while nothing happens. Needs Chromium.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import interval, machine

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from dashboards import Dashboard
from mlb.results.metrics import compute
from mlb.results.run import write_json
from stories import MS, Run, Story, small_run
from support import Mlb

ROUNDS, IDLE_S = 7, 20.0
RESOURCES = '{"key":"resources_start","time_ns":1,"cores":8,"methods":{}}\n' + "".join(
    f'{{"key":"resources","time_ns":{i * 10**9},"cpu_busy_ns":{i * 4 * 10**9},"memory_used_bytes":{1 << 30},'
    f'"network":{{"eth0":{{"received_bytes":{i * 10**6},"sent_bytes":{i * 10**6}}}}}}}\n'
    for i in range(1, 8)
)


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    print(machine(), f"load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        mlb = Mlb(home, Path(folder))
        fill(home, 1000)
        listed = [timed(mlb, "runs") for _ in range(ROUNDS)]
        say("mlb runs, 1,000 runs", [wall for wall, _ in listed], [cpu for _, cpu in listed])
        for run in sorted((home / "runs").iterdir())[200:]:
            shutil.rmtree(run)
        live = going_on(home, steps)
        dashboard = Dashboard(mlb)
        try:
            in_browser(dashboard, live)
        finally:
            dashboard.stop()


def fill(home: Path, number: int) -> None:
    """Finished runs: one made, the others copies under names of their own."""
    for i in range(number):
        folder = small_run(home / "runs", run_id=f"20260101T{i:06d}Z_task3a_local_{i:06x}", seed=i).folder
        if i < 200:
            write_json(folder.metrics, compute(folder).to_json())


def going_on(home: Path, steps: int) -> list[Run]:
    """Ten runs whose node says that it runs, with this process as its agent."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    runs = []
    for i in range(10):
        ranks = 64 if i == 1 else 1
        run = Run(home / "runs", run_id=f"20260202T00000{i}Z_task3a_local_{i:06x}", ranks=ranks, nodes=ranks)
        story = Story(0, run_id=run.spec.run_id).start().event("run_start")
        for _ in range(steps if i == 0 else 100):
            story.step(MS, 0, 10 * MS, 20 * MS, 5 * MS, MS, 0)
        run.tell(story)
        for node in range(ranks):
            run.node(node, state="running", agent_pid=os.getpid(), agent_start_ticks=ticks, stopped_unix_ns=0)
            run.folder.node_resources(node).write_text(RESOURCES)
        runs.append(run)
    return runs


def in_browser(dashboard: Dashboard, live: list[Run]) -> None:
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        paints = [paint(chromium, dashboard) for _ in range(ROUNDS)]
        say("first paint of 210 runs", [rows for rows, _ in paints])
        say("all of them read", [read for _, read in paints])
        page = chromium.new_page()
        page.goto(dashboard.address)
        said = page.get_by_role("button", name=live[1].folder.run_id, exact=True)
        begun = time.monotonic()
        said.click()
        page.locator("#resources tbody tr").nth(63).wait_for()
        say("opening a run of 64 nodes", [time.monotonic() - begun])
        say("from a line in the log to the page", [update(page, live[2], i) for i in range(ROUNDS)])
        begun, before = time.monotonic(), cpu_s(dashboard.process.pid)
        time.sleep(IDLE_S)
        idle = (cpu_s(dashboard.process.pid) - before) / (time.monotonic() - begun)
        print(f"idle, one page open: {100 * idle:.1f} % of a core over {IDLE_S:.0f} s")
        begun = time.monotonic()
        page.get_by_role("button", name=live[0].folder.run_id, exact=True).click()
        page.locator("#loss canvas").wait_for(timeout=300_000)
        size = live[0].folder.rank_events(0).stat().st_size
        say(f"opening a log of {size / 1e6:,.0f} MB", [time.monotonic() - begun])
        chromium.close()


def paint(chromium: Any, dashboard: Dashboard) -> tuple[float, float]:
    """From asking for the page to all rows of it, and to the last of them that says how its run stands."""
    context = chromium.new_context()
    page = context.new_page()
    begun = time.monotonic()
    page.goto(dashboard.address)
    until(page, "document.querySelectorAll('#run-table tbody tr').length === 210")
    painted = time.monotonic() - begun
    until(page, "!document.querySelector('#run-table .reading')")
    read = time.monotonic() - begun
    context.close()
    return painted, read


def update(page: Any, run: Run, number: int) -> float:
    """Open a run the first time; then say something in its log and wait until it is read."""
    if number == 0:
        page.get_by_role("button", name=run.folder.run_id, exact=True).click()
        page.get_by_text("epoch 1, step 100").wait_for()
    with run.folder.rank_events(0).open("ab") as file:
        line = Story(0, run_id=run.spec.run_id).event("eval_start", split=f"number{number}").lines[0]
        file.write(line.replace(b'"seq":0', b'"seq":%d' % (102 + number)))
    begun = time.monotonic()
    said = f"evaluating the number{number} split"
    until(page, f"document.getElementById('doing').textContent.includes('{said}')")
    return time.monotonic() - begun


def until(page: Any, true: str) -> None:
    """Wait for what an expression says of the page, looked at in every frame: a locator looks twice a second only."""
    look = f"const look = () => ({true}) ? done() : requestAnimationFrame(look); look();"
    page.evaluate(f"() => new Promise((done) => {{ {look} }})")


def timed(mlb: Mlb, *arguments: str) -> tuple[float, float]:
    """Wall and processor seconds of a command."""
    begun, before = time.monotonic(), os.times()
    subprocess.run(
        [sys.executable, "-P", "-m", "mlb", *arguments], env=mlb.env, cwd=mlb.cwd, check=True, stdout=subprocess.DEVNULL
    )
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - begun, spent


def cpu_s(pid: int) -> float:
    """Processor seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def say(what: str, walls: list[float], cpus: list[float] | None = None) -> None:
    middle, low, high = interval(walls)
    spread = f" (95 % {low:.2f}-{high:.2f}), n={len(walls)}" if len(walls) > 1 else ""
    spent = f"; {interval(cpus)[0]:.2f} s of processor" if cpus else ""
    print(f"{what}: {middle:.2f} s{spread}{spent}", flush=True)


if __name__ == "__main__":
    main()
