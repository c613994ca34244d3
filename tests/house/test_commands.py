"""Every command that a document names exists, with its options; those that change nothing run here."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from mlb.cli.app import app
from mlb.cli.man import page
from mlb.results.metrics import compute
from mlb.results.run import write_json
from stories import small_run
from support import Mlb

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
COMMAND = typer.main.get_command(app)


def documented() -> Iterator[tuple[str, str]]:
    """(document, command) of every line of an example, and of every command within text."""
    for path in DOCUMENTS:
        if path.name == "CHANGELOG.md":
            continue  # of earlier versions, too
        text = path.read_text()
        for line in re.findall(r"^ {4}(mlb .*)$", text, re.MULTILINE):
            command = re.split(r"\s{2,}|\s#", line)[0]
            if command != "mlb":  # a line of a report
                yield path.name, command
        for command in re.findall(r"`(mlb [^`]+)`", text):
            yield path.name, command


def expanded(command: str) -> Iterator[list[str]]:
    """`mlb bench stop|status` is two commands; brackets and dots are only how it is written."""
    words = re.sub(r"\s\|\s", "|", re.sub(r"[\[\]…]|\.\.\.", " ", command)).split()[1:]
    alternatives: list[list[str]] = [[]]
    for word in words:
        choices = word.split("|")
        alternatives = [[*one, choice] for one in alternatives for choice in choices]
    yield from alternatives


@pytest.mark.parametrize(("document", "command"), sorted(set(documented())))
def test_a_documented_command_exists(document: str, command: str) -> None:
    for words in expanded(command):
        found: Any = COMMAND
        names: list[str] = []
        for word in words:
            sub = getattr(found, "commands", {}).get(word)
            if sub is None and names == ["bench"] and not word.startswith("-"):
                sub = found.commands["run"]  # a task
            if sub is None:
                break
            found = sub
            names.append(word)
        assert names or words[0].startswith("-"), f"{document}: {command}: there is no {words[0]!r}"
        if names == ["bench"]:
            found = found.commands["run"]  # its options, the task left out
        known = {name for option in found.params for name in (*option.opts, *option.secondary_opts)}
        known |= {name for option in COMMAND.params for name in option.opts} | {"--help"}
        options = {word.split("=")[0] for word in words if re.fullmatch(r"--[a-z][a-z-]*(=.*)?", word)}
        assert options <= known, f"{document}: {command}: {sorted(options - known)}"


QUIET = (
    "mlb bench list",
    "mlb bench patterns",
    "mlb bench collect",
    "mlb report",
    "mlb report --html report.html",
    "mlb compare a-run a-run",
    "mlb pack",
    "mlb verify a-run.mlb.zip",
    "mlb rerun a-run.mlb.zip --dry-run",
    "mlb runs",
    "mlb data status task3a",
    "mlb config",
    "mlb infra quote --cloud aws --gpus 2 --nodes 4",
    "mlb infra ls",
    "mlb bench status",
    "mlb bench logs",
    "mlb man",
    "mlb --version",
)


@pytest.mark.system
def test_commands_that_change_nothing_run(mlb_home: Path, tmp_path: Path) -> None:
    folder = small_run(mlb_home / "runs").folder
    write_json(folder.metrics, compute(folder).to_json())
    mlb = Mlb(mlb_home, tmp_path)
    for command in QUIET:
        done = mlb(*shlex.split(command)[1:])
        assert done.returncode in ((0, 12) if "verify" in command else (0,)), f"{command}: {done.stderr}"
        assert "Traceback" not in done.stderr


ELSEWHERE = {
    "mlb bench": "cli/test_full_model.py",
    "mlb bench attach": "cli/test_runs.py",
    "mlb bench stop": "cli/test_runs.py",
    "mlb catalog refresh": "infra/test_refresh.py",
    "mlb compare": "cli/test_compare.py",
    "mlb dashboard": "dashboards.py",
    "mlb data prepare": "cli/test_runs.py",
    "mlb doctor": "doctor/test_doctor.py",
    "mlb infra apply": "infra/test_story.py",
    "mlb infra destroy": "infra/test_story.py",
    "mlb infra gc": "infra/test_gcp.py",
    "mlb infra plan": "infra/test_cli.py",
    "mlb infra ssh": "infra/test_show.py",
    "mlb infra status": "infra/test_gcp.py",
    "mlb scale": "cli/test_series.py",
}
"""Commands that change something or wait for somebody, and the test that runs each for real."""


def verb(command: str) -> Iterator[str]:
    """`mlb bench attach` of `mlb bench attach RUN`."""
    for words in expanded(command):
        found: Any = COMMAND
        names = ["mlb"]
        while words and (sub := getattr(found, "commands", {}).get(words[0])) is not None:
            found, names, words = sub, [*names, words[0]], words[1:]
        if len(names) > 1:
            yield " ".join(names)


def test_every_documented_command_is_run_somewhere() -> None:
    here = {name for command in QUIET for name in verb(command)}
    for document, command in documented():
        for name in verb(command):
            assert name in here or name in ELSEWHERE or name == "mlb infra", f"{document}: nobody runs {command}"
    for name, file in ELSEWHERE.items():
        words = name.split()[1:]
        literal = r",\s*".join(f'"{word}"' for word in words) if name != "mlb infra plan" else '"plan", "--cloud"'
        text = (ROOT / "tests" / file).read_text()
        assert re.search(literal if len(words) > 1 else rf"\(\s*{literal}", text), f"{file} does not run {name}"


def test_every_command_is_in_the_readme_or_hidden() -> None:
    readme = (ROOT / "README.md").read_text()
    for name, command in COMMAND.commands.items():
        assert command.hidden or re.search(rf"mlb (\w+\|)*{name}\b", readme), name


def test_the_manual_names_every_command_and_option() -> None:
    text = "\n".join(page(COMMAND)).replace("\\-", "-")
    for words in (["report"], ["compare"], ["infra", "apply"], ["bench"], ["bench", "attach"], ["doctor"]):
        command: Any = COMMAND
        for word in words:
            command = command.commands[word]
        assert f".SS mlb {' '.join(words)}" in text
        for option in [p for p in command.params if p.param_type_name == "option"]:
            assert option.opts[0] in text


def test_the_manual_is_sound_groff() -> None:
    if shutil.which("groff") is None:
        pytest.skip("no groff here: apt-get install groff")
    text = "\n".join(page(COMMAND)) + "\n"
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww"], input=text.encode(), capture_output=True, check=True)
    assert done.stderr == b""
    assert "EXIT STATUS" in re.sub(r"\x1b\[[0-9;]*m|.\x08", "", done.stdout.decode())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_to_be_had(shell: str, mlb_home: Path, tmp_path: Path) -> None:
    mlb = Mlb(mlb_home, tmp_path)
    done = mlb("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0, done.stderr
    assert "_MLB_COMPLETE" in done.stdout
