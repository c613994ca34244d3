"""A Terraform filesystem mirror that holds the stand-in provider, and the login that goes with it."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from pathlib import Path

VERSION = "6.50.0"
_MODULE = 'terraform {\n  required_providers {\n    google = { source = "hashicorp/google" }\n  }\n}\n'
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def installed(folder: Path, terraform: str) -> Path:
    """Terraform's configuration file for a mirror with nothing but the stand-in."""
    (folder / "main.tf").write_text(_MODULE)
    said = subprocess.run([terraform, "providers"], cwd=folder, capture_output=True, text=True, check=True).stdout
    found = re.search(r"provider\[(\S+)/hashicorp/google\]", said)
    assert found, said
    system = f"{platform.system().lower()}_{_ARCHITECTURES[platform.machine()]}"
    place = folder / "mirror" / found[1] / "hashicorp" / "google" / VERSION / system
    place.mkdir(parents=True)
    script = Path(__file__).with_name("google_provider.py")
    program = place / f"terraform-provider-google_v{VERSION}"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
    program.chmod(0o755)
    config = folder / "terraform.rc"
    mirror = f'provider_installation {{\n  filesystem_mirror {{ path = "{folder / "mirror"}" }}\n}}\n'
    config.write_text(f"{mirror}disable_checkpoint = true\n")
    return config


def login_file(folder: Path) -> Path:
    """What `gcloud auth application-default login` leaves behind, with a token that need not be asked for.

    A service account's key would do as well, but with one the login library asks Google itself for its regions.
    """
    person = {"type": "authorized_user", "client_id": "i", "client_secret": "s", "refresh_token": "of-a-test"}
    file = folder / "login.json"
    file.write_text(json.dumps({**person, "token": "of-a-test", "expiry": "2099-01-01T00:00:00Z"}))
    return file
