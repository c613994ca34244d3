"""Where the real tools are; a tool that is missing skips its tests, unless MLB_REQUIRE names it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mlb.infra import by_tag, teardown
from mlb.infra.engine import Engine, find_engine
from netns_hosts import Hosts, available

from .cache import only_one
from .docker_engine import engine_binary, ensure_base, has_base, running_engine
from .google_mirror import installed

if TYPE_CHECKING:
    from .moto_cloud import Cloud

MIRRORS = (
    "~/.terraform.d/plugins",
    "~/.local/share/terraform/plugins",
    "/usr/local/share/terraform/plugins",
    "/usr/share/terraform/plugins",
)


AWS_SECRET = "s3cret-of-a-test"


def need(tool: str, found: object, *, module: bool = False) -> None:
    """Skip with a reason; fail instead when MLB_REQUIRE (a list with commas, or `all`) names the tool."""
    if found:
        return
    required = os.environ.get("MLB_REQUIRE", "").split(",")
    if tool in required or "all" in required:
        pytest.fail(f"{tool} is required here, and missing", pytrace=False)
    pytest.skip(f"{tool} is missing", allow_module_level=module)


def provider_mirror() -> Path | None:
    """A filesystem mirror that holds the AWS provider: MLB_PROVIDER_MIRROR, or where mirrors usually are."""
    named = os.environ.get("MLB_PROVIDER_MIRROR")
    candidates = [Path(named)] if named else [Path(m).expanduser() for m in MIRRORS] + sorted(Path("/opt").glob("*"))
    return next((c for c in candidates if list(c.glob("*/hashicorp/aws"))), None)


@pytest.fixture(scope="session")
def engine() -> Engine:
    need("terraform", shutil.which("terraform") or shutil.which("tofu"))
    return find_engine()


@pytest.fixture(scope="session")
def cli_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Terraform's own configuration for tests: no network, providers from the mirror where there is one."""
    file = tmp_path_factory.mktemp("terraform") / "terraform.rc"
    mirror = provider_mirror()
    source = f'provider_installation {{\n  filesystem_mirror {{ path = "{mirror}" }}\n}}\n' if mirror else ""
    file.write_text(f"{source}disable_checkpoint = true\n")
    return file


@pytest.fixture
def terraform_env(cli_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", str(cli_config))


@pytest.fixture
def aws_provider(terraform_env: None) -> None:
    need("aws-provider", provider_mirror())


@pytest.fixture(scope="session")
def google_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Terraform's configuration with a stand-in for the google provider, which cannot be had without a network."""
    terraform = shutil.which("terraform") or shutil.which("tofu")
    need("terraform", terraform)
    need("google-stand-in", find_spec("tf"))
    return installed(tmp_path_factory.mktemp("google"), str(terraform))


@pytest.fixture(scope="session")
def docker_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Docker engine with a base image in it."""
    need("docker", shutil.which("docker") and engine_binary())
    folder = tmp_path_factory.mktemp("docker")
    with only_one("docker"), running_engine(folder) as socket:
        need("debootstrap", shutil.which("debootstrap") or has_base(socket))
        ensure_base(socket)
        yield socket


@pytest.fixture
def docker_host(docker_socket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DOCKER_HOST", docker_socket)
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    return docker_socket


@pytest.fixture(scope="session")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """A network on which hosts can be started; its addresses are fixed, so one session at a time has it."""
    need("netns", available())
    made = Hosts(tmp_path_factory.mktemp("hosts"))
    with only_one("netns"):
        made.up()
        yield made
        made.down()


@pytest.fixture(scope="session")
def moto(hosts: Hosts) -> Iterator[Cloud]:
    """AWS on loopback, whose machines are hosts of that network."""
    need("moto", find_spec("moto"))
    from .moto_cloud import running_moto

    with running_moto() as cloud:

        def launch(instance: Any, key: str) -> None:
            cloud.consoles[instance.id] = hosts.start(instance.id, instance.public_ip, key, gpus=2)

        cloud.on_launch, cloud.on_end = launch, hosts.kill
        yield cloud


@pytest.fixture
def cloud(moto: Cloud, engine: object, aws_provider: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """That AWS as the only one this process and its children can reach; empty afterwards."""
    from mlb.infra.aws import Aws

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", AWS_SECRET)
    for key in ("AWS_PROFILE", "AWS_CA_BUNDLE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto.url)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(teardown, "SWEEP_PAUSE_S", 0.05)
    moto.reset()
    yield moto
    moto.reset()
    for fleet in Aws("us-east-1").fleets():
        by_tag.collect(Aws("us-east-1"), fleet)
