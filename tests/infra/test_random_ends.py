"""Whatever is killed at whatever moment: after a last `destroy` nothing is left, or exit code 9 and the exact list.

A few sequences run with every test run, MLB_SEQUENCES (200) of them with the slow ones, from seed MLB_SEED on, three
at a time. The moments are random, so here, and only here, a test waits for a time and not for an event.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from mlb.infra import by_tag
from mlb.infra.cloud import Leftover
from mlb.infra.docker import Docker

from .docker_engine import BASE

pytestmark = [pytest.mark.system]
FEW, MANY = 9, int(os.environ.get("MLB_SEQUENCES", "200"))
FIRST_SEED = int(os.environ.get("MLB_SEED", "1000"))
AT_ONCE = 3
LATEST_S = 3.0


class Fleet:
    """One fleet as the command line sees it, and three ways to end a command."""

    def __init__(self, folder: Path, name: str, chance: random.Random) -> None:
        self.home = folder / "home"
        self.log = folder / "log"
        self.name = name
        self.chance = chance
        self.said: list[str] = []

    def start(self, verb: str, *args: str) -> subprocess.Popen[str]:
        options = ["--name", self.name, "--cloud", "docker", "--lock-timeout", "90s", "--yes"]
        command = [sys.executable, "-m", "mlb", "infra", verb, *options, *args]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "MLB_HOME": str(self.home)}
        with self.log.open("a") as log:
            return subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True)

    def apply(self) -> subprocess.Popen[str]:
        return self.start("apply", "--image", BASE, "--nodes", str(self.chance.randint(1, 3)))

    def destroy(self) -> subprocess.Popen[str]:
        return self.start("destroy")

    def engine(self) -> int | None:
        with suppress(OSError, ValueError, KeyError):
            return int(json.loads((self.home / "state" / "locks" / f"{self.name}.lock").read_text())["group"])
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
        self.said.append(f"{how}: {running.wait(120)}")

    def left(self) -> list[Leftover]:
        return [x for f in Docker().fleets() if f.name == self.name for x in Docker().left(f.fleet_id)]


@pytest.fixture(autouse=True)
def clean(docker_host: str, engine: object, terraform_env: None) -> Iterator[None]:
    # However these tests were started, ctrl-C must reach what they start: SIGINT that is ignored is inherited.
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    yield
    for fleet in Docker().fleets():
        by_tag.collect(Docker(), fleet)


def one_sequence(folder: Path, seed: int) -> list[str]:
    """Runs a random story to its end and gives how its commands ended."""
    chance = random.Random(seed)
    (folder / str(seed)).mkdir()
    fleet = Fleet(folder / str(seed), f"r{seed}", chance)
    steps: list[Callable[[], subprocess.Popen[str]]] = [fleet.apply, fleet.apply, fleet.destroy]
    for _ in range(chance.randint(1, 4)):
        running = chance.choice(steps)()
        fleet.end(running, chance.choice(["kill mlb", "kill terraform", "ctrl-c", "let it end"]))
    code = fleet.destroy().wait(180)
    left, log = fleet.left(), fleet.log.read_text()
    story = f"seed {seed}, {fleet.said}, destroy: {code}, left: {left}\n{log[-3000:]}"
    # 3 is "there is no such fleet": everything was gone before.
    assert (code in (0, 3) and not left) or (code == 9 and all(x.id in log for x in left)), story
    assert "bug in mlb" not in log, story
    return [*fleet.said, f"last destroy: {code}"]


def run(folder: Path, seeds: range) -> Counter[str]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ends = Counter(end for said in pool.map(lambda seed: one_sequence(folder, seed), seeds) for end in said)
    print(f"{len(seeds)} sequences from seed {seeds.start}: {dict(sorted(ends.items()))}")  # noqa: T201
    return ends


def test_a_few_random_ends(tmp_path: Path) -> None:
    run(tmp_path, range(FEW))


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_many_random_ends(tmp_path: Path) -> None:
    ends = run(tmp_path, range(FIRST_SEED, FIRST_SEED + MANY))
    # Had ctrl-C been ignored, none of these would be there, and the promise would not have been put to the test.
    for what in ("ctrl-c: 11", "kill mlb: -9", "let it end: 0"):
        assert ends[what], f"no sequence had {what!r}: {ends}"
