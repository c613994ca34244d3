"""Where the real tools are; a tool that is missing skips its tests, unless MLB_REQUIRE names it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlb.infra.engine import Engine, find_engine

from .docker_engine import engine_binary, ensure_base, has_base, running_engine

MIRRORS = (
    "~/.terraform.d/plugins",
    "~/.local/share/terraform/plugins",
    "/usr/local/share/terraform/plugins",
    "/usr/share/terraform/plugins",
)


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
def docker_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Docker engine with a base image in it."""
    need("docker", shutil.which("docker") and engine_binary())
    folder = tmp_path_factory.mktemp("docker")
    with running_engine(folder) as socket:
        need("debootstrap", shutil.which("debootstrap") or has_base(socket))
        ensure_base(socket)
        yield socket


@pytest.fixture
def docker_host(docker_socket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DOCKER_HOST", docker_socket)
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    return docker_socket
