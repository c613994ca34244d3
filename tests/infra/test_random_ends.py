"""Whatever is killed at whatever moment: after a last `destroy` nothing is left, or exit code 9 and the exact list.

`pytest -m slow` runs the long form; MLB_SEQUENCES and MLB_SEED say how many and which. The moments are random, so
here, and only here, a test waits for a time and not for an event.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from mlb.infra import by_tag
from mlb.infra.cloud import Leftover
from mlb.infra.docker import Docker

from .docker_engine import BASE

pytestmark = [pytest.mark.system, pytest.mark.slow]
FEW, MANY = 8, int(os.environ.get("MLB_SEQUENCES", "200"))
FIRST_SEED = int(os.environ.get("MLB_SEED", "1000"))
LATEST_S = 2.5


class Fleet:
    """One fleet as the command line sees it, and three ways to end a command."""

    def __init__(self, home: Path, chance: random.Random) -> None:
        self.home = home
        self.chance = chance
        self.said: list[str] = []

    def start(self, verb: str, *args: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "mlb", "infra", verb, "--name", "r", "--lock-timeout", "90s", "--yes", *args]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "MLB_HOME": str(self.home)}
        with (self.home.parent / "log").open("a") as log:
            return subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True)

    def apply(self) -> subprocess.Popen[str]:
        return self.start("apply", "--cloud", "docker", "--image", BASE, "--nodes", str(self.chance.randint(1, 3)))

    def destroy(self) -> subprocess.Popen[str]:
        return self.start("destroy", "--cloud", "docker")

    def engine(self) -> int | None:
        with suppress(OSError, ValueError, KeyError):
            return int(json.loads((self.home / "state" / "locks" / "r.lock").read_text())["group"])
        return None

    def end(self, running: subprocess.Popen[str], how: str) -> None:
        with suppress(subprocess.TimeoutExpired):
            running.wait(self.chance.uniform(0, LATEST_S))
        group = self.engine()
        with suppress(ProcessLookupError):
            if how == "kill mlb":
                running.kill()
            elif how == "kill terraform" and group and running.poll() is None:
                os.kill(group, signal.SIGKILL)
            elif how == "ctrl-c":
                running.send_signal(signal.SIGINT)
        running.wait(120)
        self.said.append(f"{how}: {running.returncode}")


@pytest.fixture(autouse=True)
def clean(docker_host: str, engine: object, terraform_env: None) -> Iterator[None]:
    yield
    for fleet in Docker().fleets():
        by_tag.collect(Docker(), fleet)


def one_sequence(folder: Path, seed: int) -> None:
    chance = random.Random(seed)
    fleet = Fleet(folder / str(seed) / "home", chance)
    fleet.home.parent.mkdir()
    steps: list[Callable[[], subprocess.Popen[str]]] = [fleet.apply, fleet.apply, fleet.destroy]
    for _ in range(chance.randint(1, 4)):
        running = chance.choice(steps)()
        fleet.end(running, chance.choice(["kill mlb", "kill terraform", "ctrl-c", "let it end"]))
    code = fleet.destroy().wait(180)
    left = {(kind.name, kind.resources) for kind in Docker().fleets()}
    log = (folder / str(seed) / "log").read_text()
    story = f"seed {seed}, {fleet.said}, destroy: {code}, left: {left}\n{log[-3000:]}"
    # 3 is "there is no such fleet": everything was gone before.
    assert (code in (0, 3) and not left) or (code == 9 and all(x.id in log for x in leftovers())), story


def leftovers() -> list[Leftover]:
    return [x for fleet in Docker().fleets() for x in Docker().left(fleet.fleet_id)]


def test_a_few_random_ends(tmp_path: Path) -> None:
    for seed in range(FEW):
        one_sequence(tmp_path, seed)


@pytest.mark.timeout(7200)
def test_many_random_ends(tmp_path: Path) -> None:
    for seed in range(FIRST_SEED, FIRST_SEED + MANY):
        one_sequence(tmp_path, seed)
