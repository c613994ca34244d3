"""A Terraform filesystem mirror that holds the stand-in provider, and a key file that the login library takes."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

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


def key_file(folder: Path, project: str, url: str) -> Path:
    """The key of a service account, whose tokens come from the fake service."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    file = folder / "key.json"
    account = {"type": "service_account", "project_id": project, "private_key_id": "1", "private_key": pem}
    email = f"bench@{project}.iam.gserviceaccount.com"
    file.write_text(json.dumps({**account, "client_email": email, "client_id": "1", "token_uri": f"{url}/token"}))
    return file
