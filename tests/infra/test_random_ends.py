"""Whatever is killed at whatever moment: after a last `destroy` nothing is left, or exit code 9 and the exact list.

A few sequences run with every test run, MLB_SEQUENCES (200) of them with the slow ones, from seed MLB_SEED on, three
at a time; on AWS an eighth of that, since a fleet there takes a minute. A moment is a step that the command itself
tells of, and up to half a second more: here, and only here, a test waits for a time and not for an event.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mlb.infra import by_tag
from mlb.infra.cloud import Leftover
from mlb.infra.docker import Docker

from .docker_engine import BASE

if TYPE_CHECKING:
    from .moto_cloud import Cloud

pytestmark = [
    pytest.mark.system,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
FEW, MANY = 9, int(os.environ.get("MLB_SEQUENCES", "200"))
FIRST_SEED = int(os.environ.get("MLB_SEED", "1000"))
AT_ONCE = 3
AFTER_S = 0.5
ALWAYS = ""  # the command has begun, and has not said anything yet
MOMENTS = {
    "apply": [
        *(ALWAYS, "Looking at the account", "Planning", "Applying the plan", ": Creating...", "Creation complete"),
        *("Asking for the host keys", "Waiting for"),
    ],
    "destroy": [ALWAYS, "Destroying with Terraform", ": Destroying...", "Destruction complete", "Looking for what is"],
}


@dataclass(frozen=True)
class Place:
    """Where the fleets are: the options of `apply`, the most nodes, and all fleets that can be seen by tag."""

    where: tuple[str, ...]
    apply: tuple[str, ...]
    most: int
    cloud: Callable[[], Any]

    def left(self, name: str) -> list[Leftover]:
        cloud = self.cloud()
        return [x for f in cloud.fleets() if f.name == name for x in cloud.left(f.fleet_id)]


class Fleet:
    """One fleet as the command line sees it, and the ways to end a command."""

    def __init__(self, place: Place, folder: Path, name: str, chance: random.Random) -> None:
        self.place = place
        self.home = folder / "home"
        self.log = folder / "log"
        self.name = name
        self.chance = chance
        self.said: list[str] = []

    def start(self, verb: str, *args: str) -> subprocess.Popen[str]:
        options = ["--name", self.name, *self.place.where, "--lock-timeout", "90s", "--yes"]
        command = [sys.executable, "-m", "mlb", "infra", verb, *options, *args]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "MLB_HOME": str(self.home)}
        with self.log.open("a") as log:
            return subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True)

    def apply(self) -> subprocess.Popen[str]:
        return self.start("apply", *self.place.apply, "--nodes", str(self.chance.randint(1, self.place.most)))

    def destroy(self) -> subprocess.Popen[str]:
        return self.start("destroy")

    def engine(self) -> int | None:
        with suppress(OSError, ValueError, KeyError):
            return int(json.loads((self.home / "state" / "locks" / f"{self.name}.lock").read_text())["group"])
        return None

    def one_step(self) -> None:
        """A command that is started, and ended in one of the ways at one of its moments."""
        verb = self.chance.choice(["apply", "apply", "destroy"])
        how = self.chance.choice(["kill mlb", "kill terraform", "ctrl-c", "ctrl-c twice", "let it end"])
        moment = self.chance.choice(MOMENTS[verb])
        before = len(self.log.read_text()) if self.log.exists() else 0
        running = {"apply": self.apply, "destroy": self.destroy}[verb]()
        reached = how == "let it end" or self._await(running, before, moment)
        group = self.engine()
        with suppress(ProcessLookupError):
            if running.poll() is not None or how == "let it end":
                pass
            elif how == "kill mlb":
                running.kill()
            elif how == "kill terraform" and group:
                os.kill(group, signal.SIGKILL)
            elif how.startswith("ctrl-c"):
                running.send_signal(signal.SIGINT)
                if how == "ctrl-c twice":
                    with suppress(subprocess.TimeoutExpired):
                        running.wait(self.chance.uniform(0, AFTER_S))
                    running.send_signal(signal.SIGINT)
        code = running.wait(200)
        self.said.append(f"{how}: {code}")
        if reached and how != "let it end":
            self.said.append(f"{verb} at {moment or 'once'!r}")

    def _await(self, running: subprocess.Popen[str], before: int, moment: str) -> bool:
        """Whether the command came to its moment, and half a second at most beyond it."""
        while moment not in self.log.read_text(errors="replace")[before:]:
            if running.poll() is not None:
                return False
            time.sleep(0.02)
        with suppress(subprocess.TimeoutExpired):
            running.wait(self.chance.uniform(0, AFTER_S))
        return running.poll() is None


def one_sequence(place: Place, folder: Path, seed: int) -> list[str]:
    """Runs a random story to its end and gives how its commands ended."""
    chance = random.Random(seed)
    (folder / str(seed)).mkdir()
    fleet = Fleet(place, folder / str(seed), f"r{seed}", chance)
    for _ in range(chance.randint(1, 4)):
        fleet.one_step()
    code = fleet.destroy().wait(300)
    left, log = place.left(fleet.name), fleet.log.read_text()
    story = f"seed {seed}, {fleet.said}, destroy: {code}, left: {left}\n{log[-3000:]}"
    # 3 is "there is no such fleet": everything was gone before.
    assert (code in (0, 3) and not left) or (code == 9 and all(x.id in log for x in left)), story
    assert "bug in mlb" not in log, story
    return [*fleet.said, f"last destroy: {code}"]


def run(place: Place, folder: Path, seeds: Sequence[int]) -> Counter[str]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ends = Counter(end for said in pool.map(lambda seed: one_sequence(place, folder, seed), seeds) for end in said)
    print(f"{len(seeds)} sequences from seed {seeds[0]}: {dict(sorted(ends.items()))}", flush=True)  # noqa: T201
    return ends


def check(ends: Counter[str]) -> None:
    """Had ctrl-C been ignored, or no command come far enough, the promise would not have been put to the test."""
    for what in ("ctrl-c: 11", "kill mlb: -9", "let it end: 0"):
        assert ends[what], f"no sequence had {what!r}: {ends}"
    for verb, moments in MOMENTS.items():
        reached = [moment for moment in moments if ends[f"{verb} at {moment or 'once'!r}"]]
        assert len(reached) > len(moments) / 2, f"{verb} was ended at {reached} alone: {ends}"


@pytest.fixture
def docker(docker_host: str, engine: object, terraform_env: None) -> Iterator[Place]:
    # However these tests were started, ctrl-C must reach what they start: SIGINT that is ignored is inherited.
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    yield Place(("--cloud", "docker"), ("--image", BASE), 3, Docker)
    for fleet in Docker().fleets():
        by_tag.collect(Docker(), fleet)


@pytest.fixture
def aws(cloud: Cloud) -> Place:
    from mlb.infra.aws import Aws

    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    options = ("--gpus", "2", "--allow-cidr", "10.77.0.1/32", "--ssh-user", "root")
    return Place(("--cloud", "aws", "--region", "us-east-1"), options, 2, lambda: Aws("us-east-1"))


def test_a_few_random_ends(docker: Place, tmp_path: Path) -> None:
    run(docker, tmp_path, range(FEW))


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_many_random_ends(docker: Place, tmp_path: Path) -> None:
    check(run(docker, tmp_path, range(FIRST_SEED, FIRST_SEED + MANY)))


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_many_random_ends_on_aws(aws: Place, tmp_path: Path) -> None:
    run(aws, tmp_path, range(FIRST_SEED, FIRST_SEED + MANY // 8))
