"""Commands that start no run: what they print, where, and how they end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mlb import __version__
from mlb.cli import bench_raw
from mlb.tasks.catalogue import TASKS
from support import Mlb


def test_version_and_help(mlb: Mlb) -> None:
    assert mlb("--version").stdout.strip() == f"mlb {__version__}"
    for arguments in (["--help"], ["bench", "--help"], ["bench", "task3a", "--help"], ["data", "--help"]):
        done = mlb(*arguments)
        assert done.returncode == 0
        assert done.stdout.startswith("Usage: mlb")


def test_help_and_cheap_commands_load_nothing_heavy(mlb: Mlb) -> None:
    heavy = {"torch", "numpy", "boto3", "google", "fabric", "paramiko", "python_terraform", "rich", "jinja2"}
    for arguments in (["--help"], ["bench", "list", "--json"]):
        code = (
            "import sys; sys.argv = ['mlb', *sys.argv[1:]]\n"
            "from mlb.cli.edge import run\ncode = run()\n"
            "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)\nsys.exit(code)"
        )
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, *arguments], env=mlb.env, capture_output=True, text=True, check=True
        )
        assert not heavy & set(done.stderr.split()), arguments


def test_the_catalogue(mlb: Mlb) -> None:
    listed = mlb("bench", "list").stdout
    assert all(name in listed for name in ("task0a", "quick", *TASKS))
    tasks = {task["name"]: task for task in mlb.json("bench", "list")["tasks"]}
    assert set(tasks) == set(TASKS)
    (raw,) = mlb.json("bench", "list")["without_training"]
    assert (raw["name"], tuple(raw["goals"])) == (bench_raw.TASK, bench_raw.GOALS)
    task = tasks["task3a"]
    assert set(task["goals"]) == {"full", "light", "smoke"}
    assert task["goals"]["light"]["targets"]["wikitext-2"] == 90.0
    assert task["goals"]["smoke"]["comparable"] is False


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["bench", "task3b"], 2, ["no task 'task3b'", "Did you mean 'task", "Tasks: task0a, task1a"]),
        (
            ["scale", "task0a", "--nodes", "1"],
            2,
            ["task0a measures collectives and trains nothing", "mlb bench task0a"],
        ),
        (["bench", "attatch"], 2, ["no task 'attatch'"]),
        (["bench", "task3a", "--goal", "smok"], 2, ["no goal 'smok'", "Did you mean 'smoke'?", "full, light, smoke"]),
        (["bench", "task3a", "--goal", "full", "--data", "synthetic"], 2, ["no target", "real (wikitext-2)"]),
        (["bench", "task3a", "--set", "bptt=3"], 2, ["reference recipe of task3a is closed", "--recipe custom"]),
        (["bench", "task3a", "--recipe", "custom", "--set", "bptt"], 2, ["'bptt' is not KEY=VALUE"]),
        (["bench", "task2a", "--recipe", "fast"], 2, ["no recipe 'fast'", "reference, smoke, custom"]),
        (["bench", "task3a", "--ranks", "0"], 2, ["--ranks", "a whole number from 1"]),
        (["bench", "task3a", "--goal", "smoke", "--ranks", "5000"], 2, ["5000 ranks do not fit", "--oversubscribe"]),
        (["bench", "task3a", "--backend", "mqi"], 2, ["one of gloo, mpi, nccl, ucc"]),
        (["bench", "task3a", "--steps", "0"], 2, ["--steps"]),
        (["bench", "task3a", "--steps", "9" * 20], 2, ["--steps cannot be 9999", "finite number below 2^63"]),
        (["bench", "task3a", "--hang-after", "inf"], 2, ["--hang-after cannot be inf"]),
        (["bench", "task3a", "--hang-after", "nan"], 2, ["--hang-after"]),
        (["bench", "task3a", "--seed", "9" * 26], 2, ["--seed", "a whole number from 0 to 10000000000000"]),
        (["bench", "task3a", "--require-transport", "tpc"], 2, ["no transport 'tpc'", "mean 'tcp'?", "efa, ib, tcp"]),
        (["bench", "task3a", "--goal", "smoke", "--recipe", "custom", "--set", "layers=0"], 2, ["from 1 to 256"]),
        (["bench", "attach"], 2, ["There is no run yet"]),
        (["report", "nosuch"], 2, ["no run 'nosuch'"]),
        (["frobnicate"], 2, ["frobnicate"]),
    ],
)
def test_a_mistake_is_one_clear_message(mlb: Mlb, arguments: list[str], code: int, words: list[str]) -> None:
    done = mlb(*arguments)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert not (mlb.home / "runs").exists(), "a mistake must leave nothing behind"


def test_real_data_that_is_nowhere(mlb: Mlb) -> None:
    """Offline, with a folder that is not there: one message, how to get the data, and the way without it."""
    done = mlb("bench", "task3a", "--data-dir", "/nonexistent", "--goal", "smoke")
    assert done.returncode == 3
    assert done.stderr.count("error:") == 1
    for word in ("/nonexistent", "train.txt", "10,797,148", "9e9fa1ad", "--data synthetic"):
        assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert mlb("data", "prepare", "task3a", "--data", "synthetic").returncode == 0


def test_a_corpus_of_ones_own(mlb: Mlb, tmp_path: Path) -> None:
    """Prepared from a folder by the command of the README; what is left out is counted; again costs nothing."""
    for split, lines in (("train", 400), ("valid", 5), ("test", 3)):
        for side in ("en", "de"):
            words = [f"{side}{i % 17} {side}{i % 5}" for i in range(lines)]
            if split == "train" and side == "de":
                words[7] = ""
            (tmp_path / f"{split}.{side}").write_text("".join(f"{line}\n" for line in words))
    command = ("data", "prepare", "task4b", "--data", "own-corpus", "--from", str(tmp_path))
    found = mlb.json(*command)
    assert found["counts"] == {"train": 399, "valid": 5, "test": 3}
    assert found["skipped"] == {"pairs with an empty side": 1}
    made = (Path(found["path"]) / "meta.json").stat().st_mtime_ns
    assert "left out: 1 pairs with an empty side" in mlb(*command).stdout
    assert (Path(found["path"]) / "meta.json").stat().st_mtime_ns == made
    done = mlb("data", "prepare", "task4b", "--data", "own-corpsu", "--from", str(tmp_path))
    assert (done.returncode, "own-corpus" in done.stderr) == (2, True)


@pytest.mark.parametrize("spoil", ["cut", "altered"])
def test_a_data_file_cut_short_or_altered(mlb: Mlb, real_data: Path, tmp_path: Path, spoil: str) -> None:
    folder = tmp_path / "data" / "wikitext-2"
    folder.mkdir(parents=True)
    for name in ("train.txt", "valid.txt", "test.txt"):
        content = (real_data / "wikitext-2" / name).read_bytes()
        if name == "valid.txt":
            content = content[:-100] if spoil == "cut" else content[:-1] + b"x"
        (folder / name).write_bytes(content)
    done = mlb("bench", "task3a", "--data-dir", str(tmp_path / "data"), "--goal", "smoke")
    assert done.returncode == 3
    assert str(folder / "valid.txt") in done.stderr
    assert (folder / "valid.txt").exists(), "a user's file is never touched"


def test_a_misspelt_variable_is_refused_and_a_strange_one_is_said(mlb: Mlb) -> None:
    asked = ("bench", "task3a", "--goal", "smoke", "--data", "synthetic", "--dry-run")
    done = mlb(*asked, MLB_RNAKS="1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Did you mean MLB_RANKS?" in done.stderr
    done = mlb(*asked, MLB_API_KEY="of the baseball league", MLB_DEBUG="0")
    assert done.returncode == 0
    assert "MLB_API_KEY is set and means nothing to mlb" in done.stderr
    assert "MLB_DEBUG" not in done.stderr


def test_errors_as_json(mlb: Mlb) -> None:
    done = mlb("bench", "task3b", "--json")
    error = json.loads(done.stdout)["error"]
    assert done.returncode == error["exit_code"] == 2
    assert "task3a" in error["fix"]


def test_debug_shows_the_traceback(mlb: Mlb) -> None:
    assert "Traceback" in mlb("bench", "task3b", "--debug").stderr
    assert "Traceback" in mlb("bench", "task3b", MLB_DEBUG="1").stderr


def test_an_internal_error_keeps_its_traceback_in_a_file(mlb: Mlb) -> None:
    code = "import sys, mlb.cli.app as a, mlb.cli.edge as e; a.app = lambda **_: 1 / 0; sys.exit(e.run())"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=mlb.env | {"TMPDIR": str(mlb.cwd)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "Traceback" not in done.stderr
    (kept,) = mlb.cwd.glob("mlb-error-*.txt")
    assert "Traceback" in kept.read_text()


def test_a_folder_that_is_no_run(mlb: Mlb, tmp_path: Path) -> None:
    (mlb.home / "runs" / "strange").mkdir(parents=True)
    done = mlb("report", "strange")
    assert done.returncode == 12
    assert "not a run folder" in done.stderr
    (tmp_path / "other").mkdir()
    assert mlb("report", str(tmp_path / "other")).returncode == 12
    (mlb.home / "runs" / "strange" / "run.json").write_text('{"schema_version": 99}')
    assert mlb("report", "strange").returncode == 12
    listed = mlb("runs")
    assert listed.returncode == 0
    assert "unreadable" in listed.stdout


def test_a_plan_is_printed_and_not_started(mlb: Mlb) -> None:
    plan = mlb.json("bench", "task3a", "--goal", "smoke", "--data", "synthetic", "--dry-run")["plan"]
    (node,) = plan["nodes"]
    assert "mlb.runners.agent" in node["argv"]
    assert "--nproc-per-node=2" in node["argv"]
    assert node["env"]["GLOO_SOCKET_IFNAME"] == "lo"
    assert not (mlb.home / "runs").exists()


def test_config_says_where_each_value_comes_from(mlb: Mlb) -> None:
    (mlb.cwd / "mlb.toml").write_text('goal = "smoke"\n')
    settings = mlb.json("config")["settings"]
    assert settings["goal"] == {"value": "smoke", "origin": "mlb.toml"}
    assert settings["data"]["origin"] == "default"


def test_no_runs_yet(mlb: Mlb) -> None:
    assert mlb.json("runs")["runs"] == []
    assert "no run yet" in mlb("runs").stderr
