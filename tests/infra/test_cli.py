"""`mlb infra` as a user meets it: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlb.infra.fleet import Fleet
from mlb.infra.folder import FleetFolder
from mlb.infra.spec import FleetSpec

from .docker_engine import BASE
from .test_parts import BLUEPRINT, NODE


@pytest.fixture
def mlb(mlb_home: Path) -> Any:
    def run(*args: str, **environ: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mlb", "infra", *args]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), **environ}
        return subprocess.run(command, capture_output=True, text=True, env=env, check=False, stdin=subprocess.DEVNULL)

    return run


def test_quote_reads_well(mlb: Any) -> None:
    done = mlb("quote", "--cloud", "aws", "--gpus", "2", "--nodes", "4")
    assert done.returncode == 0
    for words in ("4 x g7.12xlarge", "$28.56", "forgotten weekend   $1,713.43", "2026-07-20", "Alternatives"):
        assert words in done.stdout
    assert done.stderr == ""


def test_quote_in_json(mlb: Any) -> None:
    answer = json.loads(mlb("quote", "--cloud", "gcp", "--gpus", "2", "--json").stdout)
    assert (answer["schema_version"], answer["chosen"]["machine"]) == (1, "n1-standard-8+2xT4")


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["quote", "--cloud", "awz"], 2, "Did you mean aws"),
        (["quote", "--cloud", "aws", "--nodes", "0"], 2, "--nodes must be 1 to 1000, not 0"),
        (["quote", "--cloud", "aws", "--region", "us-esat-1"], 2, "Did you mean"),
        (["quote", "--cloud", "aws", "--ttl", "soon"], 2, "is not a duration"),
        (["quote", "--cloud", "aws", "--max-price", "0.10"], 3, "more than --max-price"),
        (["quote", "--cloud", "aws", "--disk-gb", "16000", "--max-price", "1"], 3, "The fleet costs $2.28 per hour"),
        (["quote", "--cloud", "aws", "--max-price", "nan"], 2, "must be a finite number above 0"),
        (["apply", "--cloud", "aws", "--gpus", "8", "--max-price", "0.5", "--dry-run"], 3, "more than --max-price 0.5"),
        (["plan", "--cloud", "aws", "--gpus", "8", "--max-price", "0.5"], 3, "more than --max-price 0.5"),
        (["quote"], 2, "Which cloud?"),
        (["apply", "--cloud", "aws", "--name", "${x}", "--yes"], 2, "cannot be a fleet's name"),
        (["apply", "--cloud", "aws", "--allow-cidr", "0.0.0.0/0", "--yes"], 2, "--allow-world"),
        (["apply", "--cloud", "aws"], 2, "--cloud aws --yes"),
        (["status", "--name", "../x"], 2, "cannot be a fleet's name"),
        (["status", "--name", "none"], 3, "There is no fleet none"),
        (["destroy", "--name", "none", "--yes"], 3, "There is no fleet none"),
        (["gc"], 2, "Which cloud?"),
        (["ls", "--all-regions"], 2, "--all-regions without --cloud"),
        (["ls", "--region", "nowhere"], 2, "--region without --cloud"),
        (["ls", "--project", "bench-1234"], 2, "Add --cloud aws, gcp or docker"),
        (["apply", "--cloud", "gcp", "--project", "My Project", "--yes"], 2, "cannot be the id of a Google Cloud"),
        (["apply", "--cloud", "aws", "--project", "bench-1234", "--yes"], 2, "A fleet on aws has no project"),
        (["apply", "--cloud", "ssh", "--yes"], 2, "Which hosts?"),
        (["apply", "--cloud", "ssh", "--hosts", "/none", "--yes"], 2, "/none cannot be read"),
        (["apply", "--cloud", "ssh", "--hosts", "/none", "--spot"], 2, "cannot be asked for --spot"),
        (["apply", "--cloud", "docker", "--hosts", "/none", "--yes"], 2, "are for --cloud ssh"),
        (["apply", "--cloud", "ssh", "--hosts", "/none", "--replace-bad-nodes"], 2, "is not for hosts that exist"),
        (["plan", "--cloud", "ssh"], 2, "nothing to plan"),
        (["gc", "--cloud", "ssh"], 2, "have no cloud behind them"),
    ],
)
def test_refusals(mlb: Any, mlb_home: Path, args: list[str], code: int, words: str) -> None:
    done = mlb(*args)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not mlb_home.exists(), "a refusal must leave nothing behind"


@pytest.mark.parametrize("text", ["{", '{"schema_version": 1, "blueprint": {}}', "[]", '{"schema_version": 9}'])
def test_a_damaged_record_hides_no_other_fleet(mlb: Any, mlb_home: Path, text: str) -> None:
    good, bad = (FleetFolder(mlb_home / "state", name) for name in ("good", "bad"))
    for folder in (good, bad):
        folder.create()
    Fleet(replace(BLUEPRINT, spec=FleetSpec(name="good", cloud="aws")), "ready", (NODE,), usd_per_hour=110.0).save(good)
    bad.fleet_json.write_text(text)
    done = mlb("ls")
    assert done.returncode == 12, done.stderr
    assert "$110.00" in done.stdout
    assert "What is recorded of bad cannot be read; machines of it may still be billed" in done.stderr
    listed, _ = json.JSONDecoder().raw_decode(mlb("ls", "--json").stdout)
    assert [fleet["name"] for fleet in listed["fleets"]] == ["good"]
    good.remove()
    assert "no fleet on this machine" not in mlb("ls").stderr


def test_help_loads_nothing_heavy(mlb_home: Path) -> None:
    code = "import sys\nfrom mlb.cli.edge import run\nrun()\nprint(*sys.modules, file=sys.stderr)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-P", "-c", code, "infra", "apply", "--help"]
    loaded = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stderr
    heavy = {"torch", "boto3", "google", "fabric", "python_terraform", "rich", "jinja2"}
    assert not heavy & {name.split(".")[0] for name in loaded.split()}


def test_apply_says_first_that_aws_is_untried(mlb: Any) -> None:
    """Without credentials it gets no further than that."""
    nowhere = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
    options = ("--cloud", "aws", "--gpus", "2", "--allow-cidr", "198.51.100.7/32", "--yes")
    done = mlb("apply", *options, **nowhere, AWS_MAX_ATTEMPTS="1")
    assert done.returncode == 3, done.stderr
    assert "never on a real account" in done.stderr
    assert "AWS could not be asked" in done.stderr


def test_apply_says_first_that_gcp_is_untried(mlb: Any, tmp_path: Path) -> None:
    options = ("--cloud", "gcp", "--gpus", "2", "--allow-cidr", "198.51.100.7/32", "--yes")
    done = mlb("apply", *options, GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "none.json"))
    assert done.returncode == 3, done.stderr
    assert "never on a real account" in done.stderr
    assert "gcloud auth application-default login" in done.stderr


def test_a_dry_run_needs_nothing_and_writes_nothing(mlb: Any, mlb_home: Path) -> None:
    done = mlb("apply", "--cloud", "aws", "--gpus", "2", "--nodes", "4", "--dry-run", PATH="/nonexistent")
    assert done.returncode == 0
    assert 'resource "aws_instance" "node"' in done.stdout
    assert not mlb_home.exists()


@pytest.mark.parametrize(
    ("options", "project"), [((), "THE-PROJECT-OF-THE-LOGIN"), (("--project", "bench-1234"), "bench-1234")]
)
def test_a_dry_run_on_gcp_names_the_project(mlb: Any, options: tuple[str, ...], project: str) -> None:
    done = mlb("apply", "--cloud", "gcp", "--gpus", "2", "--dry-run", *options)
    assert f'project = "{project}"' in done.stdout


@pytest.mark.system
def test_a_local_fleet_from_apply_to_destroy(
    mlb: Any, mlb_home: Path, engine: object, terraform_env: None, docker_host: str
) -> None:
    made = mlb("apply", "--cloud", "docker", "--nodes", "2", "--image", BASE, "--yes", "--json")
    assert made.returncode == 0, made.stderr
    assert [node["name"] for node in json.loads(made.stdout)["nodes"]] == ["docker-0", "docker-1"]
    again = mlb("apply", "--yes")
    assert "No changes" in again.stdout
    assert "docker (current)" in mlb("ls").stdout
    assert mlb("ssh", "1", "--", "hostname", "--short").stdout == "docker-1\n"
    argv = json.loads(mlb("ssh", "1", "--json").stdout)["argv"]
    assert subprocess.run([*argv, "hostname"], capture_output=True, text=True).stdout == "docker-1\n"
    assert json.loads(mlb("status", "--json").stdout)["drifted"] is False
    assert "0 fleets" in mlb("gc", "--cloud", "docker").stdout
    gone = mlb("destroy", "--yes")
    assert (gone.returncode, gone.stdout) == (0, "Fleet docker: 0 left.\n")
    assert "no fleet on this machine" in mlb("ls").stderr


@pytest.mark.system
def test_sigterm_ends_an_apply_in_good_order(
    mlb_home: Path, engine: object, terraform_env: None, docker_host: str
) -> None:
    command = [sys.executable, "-m", "mlb", "infra", "apply", "--cloud", "docker", "--nodes", "3", "--image", BASE]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with subprocess.Popen([*command, "--yes"], stderr=subprocess.PIPE, text=True, env=env) as running:
        assert running.stderr
        for line in running.stderr:
            if "terraform_data.network: Creation complete" in line:
                running.send_signal(signal.SIGTERM)
                break
        rest = running.stderr.read()
        assert running.wait(60) == 11, rest
    assert "Nothing of the fleet is left" in rest
    names = subprocess.run(
        ["docker", "network", "ls", "-q", "-f", "label=mlb.fleet=docker"], capture_output=True, text=True
    )
    assert names.stdout == ""
