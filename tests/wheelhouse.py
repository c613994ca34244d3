"""A folder of wheels for nodes without a package index, kept from one test run to the next: 200 MB."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlb.provisioner import bootstrap, wheel


def filled_wheelhouse() -> Path:
    """torch, numpy, what they need, and uv; skips where they are not to be had."""
    folder = Path(os.environ.get("MLB_TEST_CACHE", "/var/tmp/mlb-test-cache")) / "wheelhouse"
    packages = bootstrap.supplies(wheel.build(folder.parent)).packages
    wanted = [*(f"{name}=={version}" for name, version in packages.items()), "uv"]
    download = [sys.executable, "-m", "pip", "download", "-q", "--only-binary", ":all:", "-d", str(folder), *wanted]
    done = subprocess.run(download, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no wheels of {wanted} are to be had: {done.stderr[-200:]}")
    return folder
