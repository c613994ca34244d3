"""The state of a fleet on GCP in a bucket: Terraform's own `gcs` backend, as rendered, on loopback."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlb.infra.engine import Engine
from mlb.infra.folder import FleetFolder, write_private
from mlb.infra.render import render
from mlb.infra.terraform import Event, Terraform, TerraformFailed

from .fake_gcs import Gcs, running_gcs
from .test_render import CREATED, SPECS, blueprint

pytestmark = [pytest.mark.system]
# What is made is Terraform's own: it is the state of it that is looked at.
MODULE = """
resource "terraform_data" "a" {
  input = "kept"
  provisioner "local-exec" { command = "sleep %s" }
}
output "nodes" { value = [terraform_data.a.output] }
"""
DEADLINE_S = 60.0


@pytest.fixture
def bucket(terraform_env: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gcs]:
    with running_gcs() as gcs:
        monkeypatch.setenv("GOOGLE_BACKEND_STORAGE_CUSTOM_ENDPOINT", gcs.url)
        monkeypatch.setenv("GOOGLE_OAUTH_ACCESS_TOKEN", "of-a-test")
        yield gcs


def terraform(folder: FleetFolder, engine: Engine, *, takes_s: int = 0) -> Terraform:
    """Terraform in a fleet's module, its lock held as the stack holds it."""
    folder.create()
    rendered = render(blueprint(**SPECS["gcp-state-in-a-bucket"]), CREATED)
    for name, text in {"backend.tf": rendered["backend.tf"], "main.tf": MODULE % takes_s}.items():
        write_private(folder.module / name, text)
    held = os.open(folder.path / "lock", os.O_CREAT | os.O_RDWR)
    made = Terraform(folder.module, engine, keep_fds=(held,))
    made.lock_timeout = "1s"
    made.init()
    return made


def test_the_state_lies_there_and_its_lock_is_given_back(tmp_path: Path, engine: Engine, bucket: Gcs) -> None:
    folder = FleetFolder(tmp_path, "a")
    engine_in_it = terraform(folder, engine)
    engine_in_it.apply(engine_in_it.plan(folder.plan_file, deadline_s=DEADLINE_S), deadline_s=DEADLINE_S)
    (name,) = bucket.objects
    assert name == "team/x/mlb-bench-0a1b2c3d/default.tfstate"
    assert json.loads(bucket.objects[name][1])["outputs"]["nodes"]["value"] == ["kept"]
    assert not (folder.module / "terraform.tfstate").exists()
    assert folder.has_state
    assert engine_in_it.output("nodes") == ["kept"]
    assert not engine_in_it.plan(folder.plan_file, deadline_s=DEADLINE_S), "a second plan has nothing to do"


def test_the_lock_of_a_killed_terraform_is_given_back_and_anothers_is_not(
    tmp_path: Path, engine: Engine, bucket: Gcs
) -> None:
    def kill(event: Event) -> None:
        if event["type"] == "apply_start":
            os.kill(groups[-1], signal.SIGKILL)

    groups: list[int] = []
    folder = FleetFolder(tmp_path, "a")
    engine_in_it = terraform(folder, engine, takes_s=60)
    engine_in_it.on_start, engine_in_it.on_event = groups.append, kill
    plan = engine_in_it.plan(folder.plan_file, deadline_s=DEADLINE_S)
    with pytest.raises(TerraformFailed, match="signal 9"):
        engine_in_it.apply(plan, deadline_s=DEADLINE_S)
    lock = "team/x/mlb-bench-0a1b2c3d/default.tflock"
    info = json.loads(bucket.objects[lock][1])

    engine_in_it.on_event = lambda _: None
    bucket.objects[lock] = (1, json.dumps({**info, "Who": "bob@elsewhere"}).encode())
    with pytest.raises(TerraformFailed, match=r"Error acquiring the state lock.*bob@elsewhere"):
        engine_in_it.plan(folder.plan_file, deadline_s=DEADLINE_S)
    assert lock in bucket.objects, "whoever holds it elsewhere may live"

    bucket.objects[lock] = (1, json.dumps(info).encode())
    assert engine_in_it.plan(folder.plan_file, deadline_s=DEADLINE_S)
    assert lock not in bucket.objects
