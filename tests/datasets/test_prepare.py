"""`prepare` and `status`: the published numbers, reuse, damage, and two processes at once."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlb.datasets import store
from mlb.datasets.known import WIKITEXT_2
from mlb.datasets.prepare import Prepared, prepare, status
from mlb.datasets.sources import SPLITS
from mlb.datasets.synthetic import text_for
from mlb.datasets.writing import Writing
from mlb.errors import DataCorrupt, DataMissing, DiskFull, PreflightError, UsageError


def small(cache: Path, **options: Any) -> Prepared:
    """A generated data set of a few thousand tokens."""
    tokens = {"train_tokens": 3000, "valid_tokens": 200, "test_tokens": 100}
    return prepare("synthetic", **{"vocabulary": 100, "data_dir": None, "cache_dir": cache, **tokens, **options})


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_wikitext_gives_the_published_numbers(real_data: Path, cache: Path) -> None:
    made = prepare("wikitext-2", vocabulary=None, data_dir=real_data, cache_dir=cache)
    assert made.counts == {"train": 2_088_628, "valid": 217_646, "test": 245_569}
    assert made.vocabulary_size == 33_278
    assert made.best_possible is None
    assert made.origin == f"the folder {real_data / 'wikitext-2'}"
    words = (made.path / "vocabulary.txt").read_text().splitlines()
    assert words[:4] == ["<eos>", "=", "Valkyria", "Chronicles"]
    again = prepare("wikitext-2", vocabulary=None, data_dir=real_data, cache_dir=cache)
    assert again == made


def test_wikitext_with_a_small_vocabulary(real_data: Path, cache: Path) -> None:
    made = prepare("wikitext-2", vocabulary=2000, data_dir=real_data, cache_dir=cache, valid_tokens=1000)
    assert made.counts == {"train": 2_088_628, "valid": 1000, "test": 245_569}
    assert made.vocabulary_size == 2000
    words = (made.path / "vocabulary.txt").read_text().splitlines()
    assert words[:3] == ["the", ",", "."]
    assert {"<unk>", "<eos>"} <= set(words)
    # The cache alone is enough from now on.
    later = prepare("wikitext-2", vocabulary=2000, data_dir=None, cache_dir=cache, valid_tokens=1000, offline=True)
    assert later.origin == "cache"
    assert later.path == made.path


def test_an_altered_wikitext_is_refused_although_it_was_prepared(real_data: Path, cache: Path, tmp_path: Path) -> None:
    prepare("wikitext-2", vocabulary=None, data_dir=real_data, cache_dir=cache)
    shutil.copytree(real_data / "wikitext-2", tmp_path / "wikitext-2", copy_function=shutil.copyfile)
    (tmp_path / "wikitext-2").chmod(0o700)
    with (tmp_path / "wikitext-2" / "test.txt").open("r+b") as file:
        file.seek(1000)
        file.write(b"\x00")
    with pytest.raises(DataCorrupt, match=r"test\.txt is not the test\.txt of WikiText-2"):
        prepare("wikitext-2", vocabulary=None, data_dir=tmp_path, cache_dir=cache)


def test_a_download_ends_up_prepared(tiny: Any, tmp_path: Path) -> None:
    tiny.serve_files()
    first = prepare("tiny", vocabulary=None, data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert first.origin == f"downloaded from 127.0.0.1:{tiny.server.server_port}"
    assert first.counts == {"train": 23, "valid": 6, "test": 9}
    assert json.loads((first.path / "meta.json").read_text())["prepared"]["origin"] == first.origin
    asked = len(tiny.server.asked)
    second = prepare("tiny", vocabulary=None, data_dir=None, cache_dir=tmp_path / "cache")
    third = prepare("tiny", vocabulary=5, data_dir=None, cache_dir=tmp_path / "cache")
    assert (second.origin, third.origin) == ("cache", "cache")
    assert third.vocabulary_size == 5
    assert len(tiny.server.asked) == asked


def test_without_raw_files_offline_there_is_nothing(tiny: Any, tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match="switched off"):
        prepare("tiny", vocabulary=None, data_dir=None, cache_dir=tmp_path, offline=True)


def test_generated_text_needs_nothing(tmp_path: Path) -> None:
    made = small(tmp_path, seed=5, data_dir=tmp_path / "not there", offline=True)
    assert (made.name, made.origin, made.vocabulary_size) == ("synthetic", "generated, seed 5", 100)
    assert made.counts == {"train": 3000, "valid": 200, "test": 100}
    assert made.best_possible == text_for(100).best_perplexity
    assert small(tmp_path, seed=5) == made
    assert small(tmp_path, seed=6).path != made.path
    assert small(tmp_path, seed=5, vocabulary=101).fingerprint != made.fingerprint


def test_a_prepared_folder_explains_itself(tmp_path: Path) -> None:
    made = small(tmp_path)
    assert made.path == tmp_path / "prepared" / f"synthetic-{made.fingerprint[:12]}"
    found = files(made.path)
    meta = json.loads(found.pop("meta.json"))
    assert meta["schema_version"] == 2
    assert meta["prepared"]["counts"] == made.counts
    assert meta["made_from"]["seed"] == 1
    assert {name: entry["sha256"] for name, entry in meta["files"].items()} == {
        name: hashlib.sha256(body).hexdigest() for name, body in found.items()
    }
    assert {name: len(body) for name, body in found.items() if name.endswith("i32")} == {
        f"{split}.i32": 4 * made.counts[split] for split in SPLITS
    }


@pytest.mark.parametrize("name", ["train.i32", "vocabulary.txt", "meta.json"])
@pytest.mark.parametrize("damage", ["deleted", "cut", "altered"])
def test_a_damaged_folder_is_made_anew(tmp_path: Path, name: str, damage: str) -> None:
    made = small(tmp_path)
    whole = files(made.path)
    path = made.path / name
    if damage == "deleted":
        path.unlink()
    else:
        path.write_bytes(whole[name][:-3] if damage == "cut" else b"x" + whole[name][1:])
    assert [folder.prepared for folder in status("synthetic", data_dir=None, cache_dir=tmp_path).prepared] == [None]
    assert small(tmp_path) == made
    assert files(made.path) == whole
    assert sorted(path.name for path in made.path.parent.iterdir()) == [".lock", made.path.name]


def test_a_whole_folder_is_not_written_again(tmp_path: Path) -> None:
    made = small(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in made.path.iterdir()}
    small(tmp_path)
    assert {path.name: path.stat().st_mtime_ns for path in made.path.iterdir()} == before


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    left = tmp_path / "prepared" / ".making-x"
    left.mkdir(parents=True)
    (left / "train.i32").touch()
    small(tmp_path)
    assert not left.exists()


SEVERAL = """
import sys
from pathlib import Path
from mlb.datasets.prepare import prepare
print("ready", flush=True)
sys.stdin.readline()
made = prepare("synthetic", vocabulary=500, data_dir=None, cache_dir=Path(sys.argv[1]), train_tokens=200_000)
print(made.path, made.fingerprint)
"""


def test_processes_that_prepare_at_once_all_succeed(tmp_path: Path, child_environment: dict[str, str]) -> None:
    argv = [sys.executable, "-c", SEVERAL, str(tmp_path)]
    pipe = subprocess.PIPE
    children = [subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, env=child_environment) for _ in range(3)]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    answers = {child.communicate()[0] for child in children}
    assert [child.returncode for child in children] == [0, 0, 0]
    assert len(answers) == 1
    path = Path(answers.pop().split()[0])
    assert store.read(path) is not None
    assert sorted(p.name for p in path.parent.iterdir()) == [".lock", path.name]


FULL = """
import resource, sys
from pathlib import Path
from mlb.datasets.prepare import prepare
from mlb.errors import DiskFull
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    prepare("synthetic", vocabulary=500, data_dir=None, cache_dir=Path(sys.argv[1]), train_tokens=200_000)
except DiskFull as error:
    print(error)
"""


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, child_environment: dict[str, str]) -> None:
    argv = [sys.executable, "-c", FULL, str(tmp_path)]
    child = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True, env=child_environment)
    assert child.stdout.startswith(f"There is no room for {tmp_path}/prepared/synthetic-")
    assert "File too large.\nFree some space" in child.stdout
    assert [path.name for path in (tmp_path / "prepared").iterdir()] == [".lock"]


def test_a_device_without_room_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(writing: Writing, file: object, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Writing, "_write", no_room)
    with pytest.raises(DiskFull, match="No space left on device"):
        small(tmp_path)


def test_a_cache_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(PreflightError, match="cannot be written"):
        small(tmp_path / "cache")


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        ("wikitext", {}, "Did you mean 'wikitext-2'"),
        ("wikitext-2", {"vocabulary": 2}, "A vocabulary of 2 words makes no sense"),
        ("synthetic", {"vocabulary": 10}, "A vocabulary of 10 words is too small"),
        ("synthetic", {"valid_tokens": 0}, "A valid split of 0 tokens makes no sense"),
        ("synthetic", {"seed": -1}, "-1 cannot be a seed"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path: Path, dataset: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        prepare(dataset, **{"vocabulary": None, "data_dir": None, "cache_dir": tmp_path, **options})
    assert list(tmp_path.iterdir()) == []


def test_the_status_of_files(tiny: Any, tmp_path: Path) -> None:
    found = status("tiny", data_dir=tmp_path / "not there", cache_dir=tmp_path / "cache")
    assert [(raw.name, raw.path, raw.state) for raw in found.raw] == [
        ("train.txt", None, "absent"),
        ("valid.txt", None, "absent"),
        ("test.txt", None, "absent"),
    ]
    folder = tiny.write(tmp_path / "data" / "tiny", train="wiki.train.txt")
    (folder / "test.txt").write_bytes(b"damaged")
    (folder / "valid.txt").unlink()
    found = status("tiny", data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")
    assert [(raw.path, raw.state, raw.size_bytes, raw.expected_bytes) for raw in found.raw] == [
        (folder / "wiki.train.txt", "ok", 87, 87),
        (None, "absent", None, 21),
        (folder / "test.txt", "corrupt", 7, 29),
    ]
    assert found.raw[2].problem == "29 bytes expected, 7 found"
    assert (found.title, found.licence, found.prepared) == ("Tiny", "CC0", ())
    assert not (tmp_path / "cache").exists()


def test_the_status_of_generated_text(tmp_path: Path) -> None:
    made = small(tmp_path)
    found = status("synthetic", data_dir=None, cache_dir=tmp_path)
    assert (found.name, found.raw, found.sources) == ("synthetic", (), ())
    assert [folder.prepared for folder in found.prepared] == [made]
    assert status(WIKITEXT_2.name, data_dir=None, cache_dir=tmp_path).prepared == ()


def test_an_unknown_data_set_has_no_status(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no data set 'mnist'"):
        status("mnist", data_dir=None, cache_dir=tmp_path)


def test_preparing_is_imported_without_torch_and_numpy(child_environment: dict[str, str]) -> None:
    code = "import sys, mlb.datasets.prepare; print({'torch', 'numpy'} & set(sys.modules))"
    argv = [sys.executable, "-c", code]
    child = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True, env=child_environment)
    assert child.stdout == "set()\n"
