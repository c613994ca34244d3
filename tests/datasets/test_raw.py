"""Raw files from the user's folder, the cache and the sources: verified always, and the messages say what to do."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import os
import re
import struct
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlb.datasets.known import DATASETS, WIKITEXT_2, dataset_named
from mlb.datasets.raw import download, from_cache_or_download, from_user, how_to_get
from mlb.datasets.sources import SPLITS, Archive, DataSet, Source
from mlb.errors import DataCorrupt, DataMissing, UsageError


def read(paths: Any) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in paths.values()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_first_source_is_enough(tiny: Any, tmp_path: Path) -> None:
    tiny.serve_files()
    seen: list[tuple[int, int]] = []
    raw = download(tiny.dataset, tmp_path / "tiny", lambda done, total: seen.append((done, total)))
    size = sum(map(len, tiny.bodies.values()))
    assert read(raw.paths) == tiny.bodies
    assert raw.origin == f"downloaded from 127.0.0.1:{tiny.server.server_port}"
    assert seen == sorted(seen)
    assert seen[-1] == (size, size)


@pytest.mark.parametrize("wrong", ["absent", "altered"])
def test_the_second_source_steps_in(tiny: Any, tmp_path: Path, wrong: str) -> None:
    tiny.serve_files()
    if wrong == "absent":
        del tiny.server.paths["/plain/valid.txt"]
    else:
        tiny.server.paths["/plain/valid.txt"].body = b"x" * len(tiny.bodies["valid.txt"])
    tiny.serve_zip()
    raw = download(tiny.dataset, tmp_path)
    assert read(raw.paths) == tiny.bodies
    assert raw.origin == f"downloaded from localhost:{tiny.server.server_port}"
    assert names(tmp_path) == [".lock", "test.txt", "train.txt", "valid.txt"]


def test_only_what_is_lacking_is_fetched(tiny: Any, tmp_path: Path) -> None:
    tiny.serve_files()
    tiny.write(tmp_path)
    (tmp_path / "test.txt").write_bytes(b"damaged")
    from_cache_or_download(tiny.dataset, tmp_path, offline=False)
    assert [path for path, _ in tiny.server.asked] == ["/plain/test.txt"]
    assert (tmp_path / "test.txt").read_bytes() == tiny.bodies["test.txt"]


def test_an_archive_writes_nothing_but_the_files(tiny: Any, tmp_path: Path) -> None:
    members = {f"tiny/wiki.{name}": body for name, body in tiny.bodies.items()}
    tiny.serve_zip({"../evil": b"x", "tiny/more": b"x", **members})
    download(tiny.dataset, tmp_path / "cache")
    assert names(tmp_path) == ["cache"]
    assert names(tmp_path / "cache") == [".lock", "test.txt", "train.txt", "valid.txt"]


def understated(archive: bytes, size: int) -> bytes:
    """The archive, its members' sizes replaced by `size` in its directory."""
    patched = bytearray(archive)
    for entry in re.finditer(b"PK\x01\x02", archive):
        patched[entry.start() + 24 : entry.start() + 28] = struct.pack("<I", size)
    return bytes(patched)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("no zip", "File is not a zip file"),
        ("cut", "File is not a zip file"),
        ("flipped", "."),
        ("no member", "There is no item named 'tiny/wiki.train.txt' in the archive"),
        ("longer", "tiny/wiki.train.txt: 87 bytes expected, 88 announced"),
        ("altered", "tiny/wiki.train.txt: SHA-256 .* expected, .* found"),
        ("bomb", "."),
        ("too large", "at most 10,000 bytes expected, 10,001"),
    ],
)
def test_a_bad_archive_is_refused(tiny: Any, tmp_path: Path, make_zip: Any, kind: str, why: str) -> None:
    train = tiny.bodies["train.txt"]
    assert len(train) == 87
    good = make_zip({"tiny/wiki.train.txt": train})
    archive = {
        "no zip": b"<html></html>",
        "cut": good[:-30],
        "flipped": good[:60] + bytes([good[60] ^ 0xFF]) + good[61:],
        "no member": make_zip({"tiny/train.txt": train}),
        "longer": make_zip({"tiny/wiki.train.txt": train + b"x"}),
        "altered": make_zip({"tiny/wiki.train.txt": b"x" * 87}),
        "bomb": understated(make_zip({"tiny/wiki.train.txt": b"x" * 1_000_000}), 87),
        "too large": os.urandom(10_001),
    }[kind]
    tiny.server.serve("/tiny.zip", archive)
    with pytest.raises(DataMissing) as raised:
        download(tiny.dataset, tmp_path)
    assert re.search(f"^localhost:[0-9]+: {why}", raised.value.why, re.MULTILINE)
    assert names(tmp_path) == [".lock"]


def test_nothing_to_be_had_says_why_and_what_to_do(tiny: Any, tmp_path: Path) -> None:
    with pytest.raises(DataMissing) as raised:
        download(tiny.dataset, tmp_path)
    port = tiny.server.server_port
    sha256 = {name: hashlib.sha256(body).hexdigest() for name, body in tiny.bodies.items()}
    assert str(raised.value) == (
        "Tiny is not on this machine and cannot be downloaded.\n"
        f"127.0.0.1:{port}: HTTP 404 Not Found\n"
        f"localhost:{port}: HTTP 404 Not Found\n"
        "Put these files into DIR/tiny/ and name DIR with --data-dir DIR or MLB_DATA_DIR=DIR:\n"
        f"  train.txt          87 bytes  SHA-256 {sha256['train.txt']}\n"
        f"  valid.txt          21 bytes  SHA-256 {sha256['valid.txt']}\n"
        f"  test.txt           29 bytes  SHA-256 {sha256['test.txt']}\n"
        "They can be had from\n"
        f"  http://127.0.0.1:{port}/plain/{{train.txt,valid.txt,test.txt}}\n"
        f"  http://localhost:{port}/tiny.zip\n"
        "Or train on generated text, which needs no file and no network: --data synthetic"
    )
    assert raised.value.exit_code == 3


def test_wrong_bytes_everywhere_are_called_corrupt(tiny: Any, tmp_path: Path) -> None:
    tiny.serve_files()
    tiny.server.paths["/plain/train.txt"].body = b"x" * 87
    tiny.serve_zip({"tiny/wiki.train.txt": b"x" * 87})
    with pytest.raises(DataCorrupt, match="is not the data set it was") as raised:
        download(tiny.dataset, tmp_path)
    assert len(raised.value.why.splitlines()) == 2
    assert "--data synthetic" in raised.value.fix


def test_the_cache_is_verified_and_used(tiny: Any, tmp_path: Path) -> None:
    tiny.write(tmp_path)
    raw = from_cache_or_download(tiny.dataset, tmp_path, offline=False)
    assert (raw.origin, read(raw.paths)) == ("cache", tiny.bodies)
    assert tiny.server.asked == []


def test_offline_does_not_ask_anybody(tiny: Any, tmp_path: Path) -> None:
    tiny.serve_files()
    tiny.write(tmp_path)
    (tmp_path / "valid.txt").write_bytes(b"damaged")
    with pytest.raises(DataMissing, match="downloading is switched off") as raised:
        from_cache_or_download(tiny.dataset, tmp_path, offline=True)
    assert raised.value.why == f"{tmp_path / 'valid.txt'}: 21 bytes expected, 7 found."
    assert tiny.server.asked == []


@pytest.mark.parametrize(
    ("inside", "renamed"),
    [
        ("tiny", {}),
        ("tiny", {"train": "wiki.train.txt", "valid": "wiki.valid.txt"}),
        (".", {}),
        (".", {"test": "wiki.test.txt"}),
    ],
)
def test_a_users_folder_may_have_either_layout(tiny: Any, tmp_path: Path, inside: str, renamed: dict[str, str]) -> None:
    folder = tiny.write(tmp_path / inside, **renamed)
    raw = from_user(tiny.dataset, tmp_path)
    assert raw is not None
    assert raw.origin == f"the folder {folder}"
    assert list(raw.paths) == [f"{split}.txt" for split in SPLITS]
    assert sorted(read(raw.paths).values()) == sorted(tiny.bodies.values())


def test_a_folder_without_the_data_set_is_no_error(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("of another data set")
    assert from_user(tiny.dataset, tmp_path) is None


@pytest.mark.parametrize("kind", ["absent", "file"])
def test_a_folder_that_is_none_is_named(tiny: Any, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "data"
    if kind == "file":
        folder.touch()
    fault = "is not a folder" if kind == "file" else "does not exist"
    with pytest.raises(DataMissing) as raised:
        from_user(tiny.dataset, folder)
    assert raised.value.what == f"The data folder {folder} {fault}."
    assert raised.value.fix == how_to_get(tiny.dataset)


@pytest.mark.parametrize("where", ["data/tiny", "tiny"])
def test_half_a_data_set_is_named(tiny: Any, tmp_path: Path, where: str) -> None:
    folder = tiny.write(tmp_path / where)
    (folder / "test.txt").unlink()
    with pytest.raises(DataMissing, match=r"Not there: test\.txt\."):
        from_user(tiny.dataset, folder.parent if where == "data/tiny" else folder)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"the sea is", "21 bytes expected, 10 found."),
        (b"", "21 bytes expected, 0 found."),
        (b"x" * 21, f"SHA-256 .* expected, {hashlib.sha256(b'x' * 21).hexdigest()} found."),
    ],
    ids=["cut", "empty", "altered"],
)
def test_a_users_bad_file_is_named_and_left_alone(tiny: Any, tmp_path: Path, bad: bytes, why: str) -> None:
    path = tiny.write(tmp_path / "tiny") / "valid.txt"
    path.write_bytes(bad)
    with pytest.raises(DataCorrupt) as raised:
        from_user(tiny.dataset, tmp_path)
    assert raised.value.what == f"{path} is not the valid.txt of Tiny."
    assert re.fullmatch(why, raised.value.why)
    assert path.read_bytes() == bad


def test_a_misspelt_data_set_is_recognised() -> None:
    with pytest.raises(UsageError, match="Did you mean 'wikitext-2'") as raised:
        dataset_named("wikitext2")
    assert raised.value.fix == f"Data sets: {', '.join(DATASETS)}, synthetic, synthetic-images."


def test_wikitext_is_described_completely() -> None:
    assert [file.name for file in WIKITEXT_2.files] == [f"{split}.txt" for split in SPLITS]
    assert WIKITEXT_2.pinned
    assert [source.host for source in WIKITEXT_2.sources] == [
        "raw.githubusercontent.com",
        "wikitext.smerity.com",
    ]
    message = how_to_get(WIKITEXT_2)
    for file in WIKITEXT_2.files:
        assert f"{file.size_bytes:,}" in message
        assert file.sha256 in message


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=list(DATASETS))
def test_every_data_set_is_described_completely(dataset: DataSet) -> None:
    names = [file.name for file in dataset.files]
    for source in dataset.sources:
        served = [*source.files, *(name for archive in source.archives for name in archive.members)]
        assert sorted(served) == sorted(names), "a source delivers every file, once"
        assert source.address.startswith(("https://", "http://"))
    message = how_to_get(dataset)
    assert all(name in message for name in names)


def tarred(members: dict[str, bytes], mode: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:
        for name, body in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return packed.getvalue()


@pytest.mark.parametrize("packing", ["tgz", "tar.bz2", "tar"])
def test_a_tar_archive_gives_its_files(tiny: Any, tmp_path: Path, packing: str) -> None:
    mode = {"tgz": "w:gz", "tar.bz2": "w:bz2", "tar": "w"}[packing]
    body = tarred({"../evil": b"x", **{f"./d/{name}": body for name, body in tiny.bodies.items()}}, mode)
    url = tiny.server.serve(f"/tiny.{packing}", body)
    archive = Archive(url, len(body), {n: f"d/{n}" for n in tiny.bodies}, hashlib.sha256(body).hexdigest())
    raw = download(replace(tiny.dataset, sources=(Source(archives=(archive,)),)), tmp_path / "cache")
    assert read(raw.paths) == tiny.bodies
    assert names(tmp_path) == ["cache"]


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress)])
def test_packed_single_files_are_unpacked(tiny: Any, tmp_path: Path, suffix: str, pack: Any) -> None:
    archives = []
    for name, body in tiny.bodies.items():
        packed = pack(body)
        archives.append(Archive(tiny.server.serve(f"/{name}.{suffix}", packed), 1_000, {name: name}))
    raw = download(replace(tiny.dataset, sources=(Source(archives=tuple(archives)),)), tmp_path)
    assert read(raw.paths) == tiny.bodies


def test_a_packed_file_that_is_no_such_thing_is_refused(tiny: Any, tmp_path: Path) -> None:
    for suffix in ("gz", "bz2", "tgz"):
        archive = Archive(tiny.server.serve(f"/train.txt.{suffix}", b"<html>"), 1_000, {"train.txt": "train.txt"})
        with pytest.raises(DataCorrupt, match="not the data set it was"):
            download(replace(tiny.dataset, sources=(Source(archives=(archive,)),)), tmp_path)
    assert names(tmp_path) == [".lock"]
