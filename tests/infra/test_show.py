"""What `mlb infra` promises, shown by the command itself: processes as users start them, real Terraform, real SSH."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from mlb.infra.aws import Aws
from mlb.infra.docker import Docker
from support import Mlb

from .conftest import AWS_SECRET
from .docker_engine import BASE

if TYPE_CHECKING:
    from .moto_cloud import Cloud

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
COMMAND_S = 400  # far beyond what a command takes: the limit only keeps a hang from holding up everything else
AWS = ("--cloud", "aws", "--allow-cidr", "10.77.0.1/32", "--ssh-user", "root", "--yes")


class Command(Mlb):
    """`mlb infra` with the tests' Terraform, Docker and AWS."""

    def infra(self, *args: str, code: int = 0) -> Any:
        """Run a verb with --json and give its answer; it must end with `code`."""
        done = self.run(*args)
        assert done.returncode == code, done.stderr + done.stdout
        return json.loads(done.stdout)

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        process = self.start("infra", *args, "--json")
        out, err = process.communicate(timeout=COMMAND_S)
        return subprocess.CompletedProcess(args, process.returncode, out, err)


@pytest.fixture
def aws(cloud: Cloud, mlb_home: Path, tmp_path: Path) -> Command:
    """After `cloud`, whose settings its processes inherit."""
    return Command(mlb_home, tmp_path)


def left_on_aws() -> int:
    return sum(fleet.resources for fleet in Aws("us-east-1").fleets())


def test_aws_apply_status_apply_grow_destroy(aws: Command, cloud: Cloud) -> None:
    made = aws.infra("apply", *AWS, "--gpus", "2", "--nodes", "4")
    assert (made["status"], made["blueprint"]["machine"]["id"]) == ("ready", "g7.12xlarge")
    assert {check["gpus"] for check in made["checks"]} == {2}
    assert all(check["ends_in_s"] > 0 for check in made["checks"]), "each node shows its armed timer"
    assert made["blueprint"]["image_id"] == "ami-1e749f67"
    status = aws.infra("status")
    assert (set(status["states"].values()), status["drifted"]) == ({"running"}, False)
    assert aws.infra("apply", "--yes")["changes"] == [], "a second apply has nothing to do"

    grown = aws.infra("apply", "--nodes", "6", "--yes")
    assert [change["action"] for change in grown["changes"]] == ["create", "create"]
    assert [node["id"] for node in grown["nodes"][:4]] == [node["id"] for node in made["nodes"]]
    assert len(grown["nodes"]) == 6

    assert aws.infra("destroy", "--yes")["left"] == 0
    assert left_on_aws() == 0
    assert aws.infra("ls")["fleets"] == []


def test_aws_four_fleets_at_once_from_four_processes(aws: Command, cloud: Cloud) -> None:
    def whole_life(name: str) -> tuple[int, list[Any], list[str], int]:
        named = ("--name", name, "--yes")
        first = aws.infra("apply", *AWS[:-1], *named, "--gpus", "1", "--gpu-type", "T4", "--nodes", "4")
        again = aws.infra("apply", *named)["changes"]
        grown = aws.infra("apply", *named, "--nodes", "6")
        left = aws.infra("destroy", *named)["left"]
        return len(first["nodes"]), again, [change["action"] for change in grown["changes"]], left

    with ThreadPoolExecutor(4) as pool:
        lives = list(pool.map(whole_life, ["one", "two", "three", "four"]))
    assert lives == [(4, [], ["create", "create"], 0)] * 4
    assert left_on_aws() == 0
    assert aws.infra("ls")["fleets"] == []


class Argvs:
    """The command lines of a process and all its descendants, as long as it runs."""

    def __init__(self, root: psutil.Process) -> None:
        self.root = root
        self.seen: set[str] = set()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._look)

    def __enter__(self) -> Argvs:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def _look(self) -> None:
        while not self.over.wait(0.002):
            with suppress(psutil.Error):
                for process in [self.root, *self.root.children(recursive=True)]:
                    with suppress(psutil.Error):
                        self.seen.add(" ".join(process.cmdline()))


def test_no_secret_in_state_argv_logs_or_user_data(aws: Command, cloud: Cloud, mlb_home: Path) -> None:
    """On nodes without GPUs. A machine whose price nobody knows is refused first: that must be accepted by name."""
    refused = aws.infra("apply", *AWS, "--gpus", "8", "--instance-type", "p5e.48xlarge", code=3)
    assert "is not in the catalogue" in refused["error"]["what"]
    assert "--accept-unknown-price" in refused["error"]["fix"]
    said = ""
    seen: set[str] = set()
    private: set[str] = set()
    for args in (("apply", *AWS, "--gpus", "0"), ("status",), ("destroy", "--yes")):
        process = aws.start("infra", *args, MLB_DEBUG="1")
        with Argvs(psutil.Process(process.pid)) as argvs:
            out, err = process.communicate(timeout=COMMAND_S)
        assert process.returncode == 0, err
        said += out + err
        seen |= argvs.seen
        if args[0] == "apply":
            key = mlb_home / "state" / "fleets" / "aws" / "id_ed25519"
            private = set(key.read_text().splitlines()[1:-1])
            kept = {p: p.read_text(errors="replace") for p in mlb_home.rglob("*") if p.is_file() and p != key}
            user_data = "".join(_user_data())
            assert json.loads((key.parent / "fleet.json").read_text())["blueprint"]["machine"]["id"] == "m7i.xlarge"
    for program in ("terraform plan", "terraform apply", "terraform-provider-aws", "ssh -F none", "ssh-keygen"):
        assert any(program in argv for argv in seen), f"{program} was not seen: the scan would prove nothing"
    assert "mlb-deadline" in user_data
    assert any(path.name == "terraform.tfstate" for path in kept)
    assert any(path.name == "saved.plan" for path in kept)
    for secret in (AWS_SECRET, *private):
        for where, text in {**kept, "argv": "\n".join(seen), "output": said, "user data": user_data}.items():
            assert secret not in text, where


def _user_data() -> Iterator[str]:
    api = Aws("us-east-1").api
    for reservation in api.pages("ec2", "describe_instances", "Reservations"):
        for instance in reservation["Instances"]:
            asked = {"InstanceId": instance["InstanceId"], "Attribute": "userData"}
            if instance["State"]["Name"] == "running":
                value = api.call("ec2", "describe_instance_attribute", **asked)["UserData"]["Value"]
                yield base64.b64decode(value).decode()


def test_docker_four_nodes_ready_in_under_a_minute_and_one_replaced(
    docker_host: str, engine: object, terraform_env: None, mlb_home: Path, tmp_path: Path
) -> None:
    mlb = Command(mlb_home, tmp_path)
    mlb.infra("apply", "--cloud", "docker", "--image", BASE, "--yes")  # the image exists from here on
    assert mlb.infra("destroy", "--yes")["left"] == 0
    begun = time.monotonic()
    made = mlb.infra("apply", "--cloud", "docker", "--image", BASE, "--nodes", "4", "--yes")
    assert time.monotonic() - begun < 60
    assert (made["status"], len(made["nodes"])) == ("ready", 4)
    for i in range(4):
        assert mlb("infra", "ssh", str(i), "hostname").stdout == f"docker-{i}\n"
    pinned = (mlb_home / "state" / "fleets" / "docker" / "known_hosts").read_text().splitlines()
    assert len(pinned) == 4

    subprocess.run(["docker", "rm", "--force", made["nodes"][2]["id"]], check=True, capture_output=True)
    repaired = mlb.infra("apply", "--yes")
    assert {change["resource"] for change in repaired["changes"]} == {'terraform_data.node["002"]'}
    assert mlb.infra("destroy", "--yes")["left"] == 0
    assert Docker().left(made["fleet_id"]) == []
