"""Faults planted one by one; the doctor names each, says how to mend it, and says nothing else is wrong."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mlb.cli.config import OTHER_VARIABLES, SETTINGS
from mlb.doctor import accounts, files, leftovers, machine, tools
from mlb.doctor.finding import FAIL, OK, WARN, Place
from mlb.infra.blueprint import Blueprint
from mlb.infra.fleet import Fleet
from mlb.infra.folder import FleetFolder
from mlb.infra.spec import FleetSpec
from stories import small_run
from support import Mlb

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Patient:
    """A home with nothing wrong in it but what a test plants."""

    mlb: Mlb
    path: Path
    env: dict[str, str] = field(default_factory=dict)

    def program(self, name: str, text: str) -> None:
        """Put a program first on PATH."""
        bin_folder = self.path / "bin"
        bin_folder.mkdir(exist_ok=True)
        (bin_folder / name).write_text("#!/bin/sh\n" + text)
        (bin_folder / name).chmod(0o755)
        self.env["PATH"] = f"{bin_folder}:{os.environ['PATH']}"

    def only_path(self, *names: str) -> None:
        """A PATH with a few programs on it."""
        folder = self.path / "few"
        folder.mkdir()
        for name in names:
            found = subprocess.run(["which", name], capture_output=True, text=True, check=True).stdout.strip()
            (folder / name).symlink_to(found)
        self.env["PATH"] = str(folder)

    def examine(self) -> dict[str, Any]:
        done = self.mlb("doctor", "--json", **self.env)
        assert "Traceback" not in done.stderr, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (3 if answer["faults"] else 0)
        return answer


@pytest.fixture
def patient(mlb_home: Path, tmp_path: Path) -> Patient:
    mlb = Mlb(mlb_home, tmp_path)
    for name in [name for name in mlb.env if name.startswith(("AWS_", "GOOGLE_", "DOCKER_"))]:
        del mlb.env[name]
    return Patient(mlb, tmp_path, {"HOME": str(tmp_path / "user")})


def fleet(patient: Patient, *, ends_in_s: int) -> Path:
    """A fleet's record, as `mlb infra apply` writes it."""
    folder = FleetFolder(patient.mlb.home / "state", "old")
    folder.create()
    spec = FleetSpec(name="old", cloud="docker", ttl_s=3600)
    created = int(time.time()) + ends_in_s - spec.ttl_s
    blueprint = Blueprint(
        spec=spec, fleet_id="abc123", owner="me", created=created, version="0.1.0", machine=None, zone="", public_key=""
    )
    Fleet(blueprint, "ready").save(folder)
    return folder.path


def no_terraform(patient: Patient) -> None:
    patient.only_path("ssh", "ssh-keygen", "git")
    patient.env["PYTHONPATH"] = ""


def old_terraform(patient: Patient) -> None:
    patient.program("terraform", """echo '{"terraform_version": "0.12.0"}'""")


def gpu_without_cuda(patient: Patient) -> None:
    patient.program(
        "nvidia-smi",
        'if [ "$1" = -L ]; then echo "GPU 0: NVIDIA H100 (UUID: GPU-1)"; else echo "CUDA Version: 12.4"; fi',
    )


def config_with_a_slip(patient: Patient) -> None:
    (patient.mlb.cwd / "mlb.toml").write_text("rank = 2\n")


def half_a_key(patient: Patient) -> None:
    patient.env["AWS_ACCESS_KEY_ID"] = "AKIA"


def a_profile_that_is_not_there(patient: Patient) -> None:
    patient.env["AWS_PROFILE"] = "prod"


def credentials_for_everyone(patient: Patient) -> None:
    file = patient.path / "credentials"
    file.write_text("[default]\naws_access_key_id = x\n")
    file.chmod(0o644)
    patient.env["AWS_SHARED_CREDENTIALS_FILE"] = str(file)


def no_google_file(patient: Patient) -> None:
    patient.env["GOOGLE_APPLICATION_CREDENTIALS"] = str(patient.path / "none.json")


def a_file_for_the_runs(patient: Patient) -> None:
    patient.mlb.home.mkdir(parents=True)
    (patient.mlb.home / "runs").write_text("")


def no_data_folder(patient: Patient) -> None:
    patient.env["MLB_DATA_DIR"] = str(patient.path / "nowhere")


def a_damaged_data_file(patient: Patient) -> None:
    folder = patient.path / "data" / "wikitext-2"
    folder.mkdir(parents=True)
    for name in ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"):
        (folder / name).write_text("not the text")
    patient.env["MLB_DATA_DIR"] = str(patient.path / "data")


def a_fleet_past_its_deadline(patient: Patient) -> None:
    fleet(patient, ends_in_s=-600)


def a_damaged_record(patient: Patient) -> None:
    (fleet(patient, ends_in_s=600) / "fleet.json").write_text("{")


def a_key_that_others_read(patient: Patient) -> None:
    key = fleet(patient, ends_in_s=600) / "id_ed25519"
    key.write_text("secret")
    key.chmod(0o644)


def a_clock_set_back(patient: Patient) -> None:
    runs = patient.mlb.home / "runs"
    runs.mkdir(parents=True)
    spec = small_run(runs).folder.spec
    os.utime(spec, (time.time() + 7200,) * 2)


FAULTS: dict[Callable[[Patient], None], tuple[str, str, str]] = {
    no_terraform: ("terraform", "There is no terraform", "Install"),
    old_terraform: ("terraform", "version 0.12.0", "erraform"),
    gpu_without_cuda: ("gpus", "NVIDIA H100), but torch", "pip install torch"),
    config_with_a_slip: ("settings", "Did you mean 'ranks'?", "Settings:"),
    half_a_key: ("aws", "AWS_SECRET_ACCESS_KEY is not", "export AWS_SECRET_ACCESS_KEY"),
    a_profile_that_is_not_there: ("aws", "'prod', which is not there", "aws configure --profile prod"),
    credentials_for_everyone: ("aws", "others may read", "chmod 600"),
    no_google_file: ("gcp", "which is not there", "gcloud auth application-default login"),
    a_file_for_the_runs: ("runs", "where a folder has to be", "mv "),
    no_data_folder: ("data", "nowhere is not there", "mkdir"),
    a_damaged_data_file: ("data of task3a", "train.txt: 10,797,148 bytes expected", "mlb data prepare task3a"),
    a_fleet_past_its_deadline: ("fleet old", "its deadline passed 10 minutes ago", "mlb infra destroy --name old"),
    a_damaged_record: ("fleet old", "is damaged", "mlb infra destroy --name old"),
    a_key_that_others_read: ("permissions", "id_ed25519", "chmod -R go-rwx"),
    a_clock_set_back: ("clock", "120 minutes in the future", "timedatectl set-ntp true"),
}


@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_found_and_explained(patient: Patient, plant: Callable[[Patient], None]) -> None:
    name, what, fix = FAULTS[plant]
    plant(patient)
    found = [f for f in patient.examine()["findings"] if f["state"] == FAIL]
    assert [f["name"] for f in found] == [name], found
    assert what in found[0]["what"]
    assert fix in found[0]["fix"]


def test_a_healthy_machine_has_no_fault(patient: Patient) -> None:
    answer = patient.examine()
    assert [f for f in answer["findings"] if f["state"] == FAIL] == []
    assert len(answer["findings"]) >= 15
    assert all(f["fix"] for f in answer["findings"] if f["state"] != OK)


def test_words_for_people(patient: Patient) -> None:
    half_a_key(patient)
    done = patient.mlb("doctor", **patient.env)
    assert done.returncode == 3
    assert "fault: aws: export AWS_SECRET_ACCESS_KEY" in done.stdout
    assert "1 fault," in done.stdout


def test_a_misspelt_variable_is_a_warning(patient: Patient) -> None:
    patient.env["MLB_RANK"] = "2"
    (found,) = [f for f in patient.examine()["findings"] if f["name"] == "settings" and f["state"] == WARN]
    assert "Did you mean MLB_RANKS?" in found["what"]


def test_every_variable_of_the_code_is_known() -> None:
    texts = [p.read_text() for p in ROOT.glob("*/*.py") if p.parent.name not in ("tests", "benchmarks")]
    named = {name for text in texts for name in re.findall(r"\"(MLB_[A-Z_]+[A-Z])\"", text)}
    assert named <= OTHER_VARIABLES | {setting.variable for setting in SETTINGS.values()}


def test_generated_text_is_offered_only_where_it_is_taken(patient: Patient) -> None:
    fixes = {f["name"]: f["fix"] for f in patient.examine()["findings"] if f["name"].startswith("data of ")}
    offered = {name: fix for name, fix in fixes.items() if "synthetic" in fix}
    assert set(offered) == {"data of task3a"}
    assert fixes["data of task1b"] == "mlb data prepare task1b --from DIR"
    command = offered["data of task3a"].partition("without it: mlb ")[2].split()
    assert patient.mlb(*command, "--dry-run", **patient.env).returncode == 0


def test_small_shared_memory(tmp_path: Path) -> None:
    (found, *_) = machine.memory(Place(tmp_path, tmp_path, tmp_path, shm=tmp_path / "shm"))
    assert found.state == FAIL
    assert "mount" in found.fix


def test_few_open_files() -> None:
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096))\n"
        "from pathlib import Path; from mlb.doctor import machine; from mlb.doctor.finding import Place\n"
        "print([f.fix for f in machine.memory(Place(*[Path('/tmp')] * 3)) if f.name == 'open files'])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    assert "ulimit -n 4096" in done.stdout


def test_a_small_mtu(tmp_path: Path) -> None:
    for name, mtu in (("eth0", 1280), ("eth1", 9000), ("lo", 65536)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mtu").write_text(f"{mtu}\n")
        (tmp_path / name / "operstate").write_text("up\n")
    (found,) = machine.cards(Place(tmp_path, tmp_path, tmp_path, network=tmp_path))
    assert found.state == WARN
    assert "eth0 1280" in found.what
    assert "eth1" not in found.what


def test_what_listens_is_not_docker(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    place = Place(tmp_path, tmp_path, tmp_path, environ={"DOCKER_HOST": f"unix://{path}"})
    assert next(tools.docker(place)).state == WARN
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(path))
        door.listen()
        import threading

        def answer() -> None:
            with door.accept()[0] as caller:
                caller.recv(100)
                caller.sendall(b"HTTP/1.0 200 OK\r\n\r\nOK")

        thread = threading.Thread(target=answer)
        thread.start()
        assert next(tools.docker(place)).state == OK
        thread.join()


def test_a_run_that_vanished(tmp_path: Path) -> None:
    small_run(tmp_path).node(state="running", agent_pid=2**22 + 1, agent_start_ticks=1)
    (found,) = leftovers.runs(Place(tmp_path, tmp_path, tmp_path))
    assert found.name == "runs lost"
    assert "a-run" in found.what


def test_files_of_a_crash(tmp_path: Path) -> None:
    (tmp_path / "fleets").mkdir()
    (tmp_path / "fleets" / ".old.123").mkdir()
    (found,) = files.leftovers_of_a_crash(Place(tmp_path, tmp_path, tmp_path))
    assert "rm -rf" in found.fix


def test_nobody_outside_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With credentials here, and without --online: no socket to anywhere but Docker's."""

    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    environ = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "HOME": str(tmp_path)}
    (found,) = accounts.aws(Place(tmp_path, tmp_path, tmp_path, environ=environ))
    assert found.state == OK
    assert "--online" in found.what


def test_online_asks_aws_who_this_is(patient: Patient) -> None:
    """A stand-in for AWS answers; without it, the fault says that AWS could not be asked."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    patient.env |= {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }
    done = patient.mlb("doctor", "--online", "--json", **patient.env)
    server.stop()
    found = {f["name"]: f for f in json.loads(done.stdout)["findings"]}
    assert found["aws"]["state"] == OK, found["aws"]
    assert "account 123456789012" in found["aws"]["what"]
    assert "aws quotas" in found
    gone = patient.mlb("doctor", "--online", "--json", **patient.env)
    (aws,) = [f for f in json.loads(gone.stdout)["findings"] if f["name"] == "aws"]
    assert aws["state"] == FAIL
    assert "could not be asked" in aws["what"]
