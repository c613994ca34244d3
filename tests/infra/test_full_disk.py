"""A disk without room: nothing is rented onto it, and what was begun when it filled up is removed again."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlb.errors import DiskFull, MlbError
from mlb.infra import commands
from mlb.infra.docker import Docker
from mlb.infra.folder import FleetFolder
from mlb.infra.watcher import Limits, Watcher

from .conftest import need
from .docker_engine import BASE

pytestmark = [pytest.mark.system]
LIMITS = Limits(apply_s=120, destroy_s=120, ready_s=60)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 60 MB."""
    need("netns", os.geteuid() == 0)
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=60m", "none", str(folder)]
    need("netns", subprocess.run(mount, capture_output=True, check=False).returncode == 0)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> None:
    with (disk / "rubbish").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 65536)
        except OSError:
            return


def request(disk: Path, **given: object) -> commands.Request:
    return commands.request({"cloud": "docker", "image": BASE, "nodes": 2, **given}, disk / "state")


def test_nothing_is_begun_on_a_full_disk(
    small_disk: Path, docker_host: str, engine: object, terraform_env: None
) -> None:
    fill(small_disk)
    with pytest.raises(DiskFull):
        commands.apply(request(small_disk), LIMITS, Watcher())
    (small_disk / "rubbish").unlink()
    with (small_disk / "rubbish").open("wb") as file:
        file.write(b"x" * 30_000_000)
    with pytest.raises(DiskFull, match=r"need 50 MB in .*; \d\d MB are free"):
        commands.apply(request(small_disk), LIMITS, Watcher())
    assert Docker().fleets() == []


@pytest.mark.parametrize("moment", ["Applying the plan", "Waiting for 2 nodes to answer"])
def test_a_disk_that_fills_up_on_the_way_leaves_no_machine_unknown(
    small_disk: Path, docker_host: str, engine: object, terraform_env: None, moment: str
) -> None:
    def say(text: str) -> None:
        if text == moment:
            fill(small_disk)

    with pytest.raises(MlbError) as error:
        commands.apply(request(small_disk), LIMITS, Watcher(say=say))
    assert error.value.exit_code in (3, 5, 6), error.value
    recorded = FleetFolder(small_disk / "state", "docker").fleet_json.exists()
    assert recorded or Docker().fleets() == [], "machines are there, and no record of them"
    # The disk is still full: that must not keep anybody from ending it.
    if recorded:
        commands.destroy("docker", "docker", "", LIMITS, Watcher(), small_disk / "state")
    assert Docker().fleets() == []
    assert shutil.disk_usage(small_disk).free < 60_000_000
