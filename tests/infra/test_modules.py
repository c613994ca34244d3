"""The rendered modules in front of the real Terraform: format, schema, and what a mocked apply comes to."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from mlb.infra.engine import Engine
from mlb.infra.terraform import Terraform, TerraformFailed

GOLDEN = Path(__file__).parent.parent / "golden" / "infra"
CASES = sorted(p.name for p in GOLDEN.iterdir())

# What Terraform itself says of the modules: the outputs' contract, the door, the end of life, the tags.
MOCKED = """
mock_provider "aws" {
  mock_data "aws_ssm_parameter" { defaults = { value = "ami-00000000000000001" } }
  mock_data "aws_ami" { defaults = { id = "ami-00000000000000001" } }
  mock_resource "aws_instance" { defaults = { public_ip = "10.77.0.11", private_ip = "10.20.0.4" } }
}
run "apply" {
  assert {
    condition     = length(output.nodes) == %(nodes)d && output.nodes[0].name == "bench-0"
    error_message = "nodes"
  }
  assert {
    condition     = output.nodes[0].ssh_host == "10.77.0.11" && output.nodes[0].gpus == %(gpus)d
    error_message = "contract"
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.ssh.cidr_ipv4 == "198.51.100.7/32"
    error_message = "open to more than one address"
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.ssh.to_port == 22
    error_message = "open for more than SSH"
  }
  assert {
    condition = alltrue([for node in aws_instance.node : (
      node.metadata_options[0].http_tokens == "required" &&
      node.metadata_options[0].http_put_response_hop_limit == 1 &&
      node.instance_initiated_shutdown_behavior == "terminate" &&
      node.root_block_device[0].encrypted
    )])
    error_message = "a node is not closed, or would not end"
  }
  assert {
    condition     = strcontains(aws_instance.node[0].user_data, "systemctl poweroff")
    error_message = "no deadline"
  }
  assert {
    condition     = aws_instance.node[0].volume_tags["mlb:expires-at"] == "2026-11-24T10:00:00Z"
    error_message = "no expiry"
  }
}
"""


def terraform(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["terraform", *args], cwd=folder, capture_output=True, text=True, check=False)


def copied(case: str, folder: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / case, folder / case))


@pytest.mark.system
@pytest.mark.parametrize("case", CASES)
def test_format(case: str, engine: Engine, terraform_env: None) -> None:
    done = terraform(GOLDEN / case, "fmt", "-check", "-diff", "main.tf")
    assert done.returncode == 0, done.stdout


@pytest.mark.system
@pytest.mark.parametrize("case", [c for c in CASES if c.startswith("docker")])
def test_docker_modules_are_valid(case: str, engine: Engine, terraform_env: None, tmp_path: Path) -> None:
    made = Terraform(copied(case, tmp_path), engine)
    made.init()
    made.validate()


@pytest.mark.system
@pytest.mark.parametrize(
    ("case", "values"),
    [
        ("aws-two-gpus", {"nodes": 4, "gpus": 2}),
        ("aws-spot-t4", {"nodes": 2, "gpus": 1}),
        ("aws-image-by-name", {"nodes": 1, "gpus": 8}),
        ("aws-image-by-id", {"nodes": 1, "gpus": 1}),
    ],
)
def test_aws_modules_with_the_real_schema(
    case: str, values: dict[str, Any], engine: Engine, aws_provider: None, tmp_path: Path
) -> None:
    folder = copied(case, tmp_path)
    (folder / "fleet.tftest.hcl").write_text(MOCKED % values)
    Terraform(folder, engine).init()
    done = terraform(folder, "test", "-json")
    said = [json.loads(line).get("diagnostic", {}) for line in done.stdout.splitlines()]
    failures = [d["detail"] for d in said if d.get("severity") == "error"]
    assert done.returncode == 0, failures
    assert "iam_instance_profile" not in (folder / "main.tf").read_text()


@pytest.fixture
def google(google_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", str(google_config))


@pytest.mark.system
@pytest.mark.parametrize("case", [c for c in CASES if c.startswith("gcp")])
def test_gcp_modules_with_the_real_names_and_types(case: str, engine: Engine, google: None, tmp_path: Path) -> None:
    folder = copied(case, tmp_path)
    (folder / "backend.tf").unlink(missing_ok=True)  # a bucket asks for a login: test_gcs_state.py has one
    made = Terraform(folder, engine)
    made.init()
    made.validate()


@pytest.mark.system
@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("nic_type ", "nictype ", 'An argument named "nictype" is not expected here. Did you mean "nic_type"?'),
        ("seconds = 14400", 'seconds = "4h"', "a number is required"),
        ("max_run_duration {", "max_run_time {", 'Blocks of type "max_run_time" are not expected here'),
        ('machine_type = "a2-highgpu-2g"', "", 'The argument "machine_type" is required'),
        ("-ssh", "_ssh", "doesn't match regexp"),
        ("google_compute_network.fleet.id", "google_compute_network.fleet.idd", 'exported attribute named "idd"'),
    ],
)
def test_a_slip_in_a_gcp_module_is_seen(
    right: str, wrong: str, said: str, engine: Engine, google: None, tmp_path: Path
) -> None:
    folder = copied("gcp-two-gpus", tmp_path)
    text = (folder / "main.tf").read_text()
    assert right in text
    (folder / "main.tf").write_text(text.replace(right, wrong))
    made = Terraform(folder, engine)
    made.init()
    with pytest.raises(TerraformFailed) as error:
        made.validate()
    assert said in str(error.value)


@pytest.mark.system
def test_a_hostile_value_stays_a_value(engine: Engine, terraform_env: None, tmp_path: Path) -> None:
    from mlb.infra.render import hcl

    hostile = '"}\nresource "x" "y" {} ${file("/etc/passwd")} %{ if true }\\" é\u2028\t'
    (tmp_path / "main.tf").write_text(f'output "nodes" {{\n  value = {hcl(hostile)}\n}}\n')
    made = Terraform(tmp_path, engine)
    made.init()
    made.apply(made.plan(tmp_path / "plan", deadline_s=60), deadline_s=60)
    assert made.output("nodes") == hostile
