"""Images and LIBSVM rows to arrays: the real files' published numbers, and what is refused."""

from __future__ import annotations

import bz2
from pathlib import Path

import numpy as np
import pytest
from mlb.datasets import known
from mlb.datasets.libsvm import read_blocks
from mlb.datasets.load import load_array
from mlb.datasets.prepare import prepare, status
from mlb.datasets.sources import DataSet, SourceFile
from mlb.errors import DataCorrupt, DataMissing, MlbError, UsageError


def small_cifar(images: int = 3) -> DataSet:
    files = (SourceFile("data_batch_1.bin", images * 3073), SourceFile("test_batch.bin", images * 3073))
    return DataSet("small", "Small", "CC0", "images", files, (), options={"side": 32, "classes": 10})


def write_cifar(folder: Path, images: int = 3, label: int = 7) -> np.ndarray:
    folder.mkdir(parents=True, exist_ok=True)
    records = np.random.default_rng(1).integers(0, 256, (images, 3073), np.uint8)
    records[:, 0] = label
    for name in ("data_batch_1.bin", "test_batch.bin"):
        records.tofile(folder / name)
    return records


def test_images_become_arrays_byte_by_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "DATASETS", {"small": small_cifar()})
    records = write_cifar(tmp_path / "small")
    made = prepare("small", vocabulary=None, data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert (made.unit, made.counts, made.vocabulary_size) == ("images", {"train": 3, "test": 3}, None)
    images = load_array(made.path, "train").numpy()
    assert images.shape == (3, 3, 32, 32)
    assert images[1, 2, 5, 4] == records[1, 1 + 2 * 1024 + 5 * 32 + 4], "planes, then rows"
    assert load_array(made.path, "test_labels").tolist() == [7, 7, 7]


def test_other_bytes_make_another_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files whose checksums nobody published are told apart by what they hold."""
    monkeypatch.setattr(known, "DATASETS", {"small": small_cifar()})
    write_cifar(tmp_path / "small")
    made = prepare("small", vocabulary=None, data_dir=tmp_path, cache_dir=tmp_path / "cache")
    write_cifar(tmp_path / "small", label=8)
    other = prepare("small", vocabulary=None, data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert other.fingerprint != made.fingerprint
    assert load_array(other.path, "train_labels").tolist() == [8, 8, 8]
    found = status("small", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert len(found.prepared) == 2


def test_a_wrong_label_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "DATASETS", {"small": small_cifar()})
    write_cifar(tmp_path / "small", label=10)
    with pytest.raises(DataCorrupt, match=r"Image 0 has the label 10; labels go from 0 to 9"):
        prepare("small", vocabulary=None, data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert [p.name for p in (tmp_path / "cache" / "prepared").iterdir()] == [".lock"]


def test_a_cut_batch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "DATASETS", {"small": small_cifar()})
    write_cifar(tmp_path / "small", images=2)
    with pytest.raises(DataCorrupt, match="9,219 bytes expected, 6,146 found"):
        prepare("small", vocabulary=None, data_dir=tmp_path, cache_dir=tmp_path / "cache")


def test_nothing_to_download_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "DATASETS", {"small": small_cifar()})
    with pytest.raises(DataMissing, match="mlb knows no place to download them from"):
        prepare("small", vocabulary=None, data_dir=None, cache_dir=tmp_path)


def test_cifar_10_gives_the_published_counts(real_data: Path, tmp_path: Path) -> None:
    if not (real_data / "cifar-10-batches-bin").is_dir():
        pytest.skip(f"no CIFAR-10 in {real_data}")
    made = prepare("cifar-10-batches-bin", vocabulary=None, data_dir=real_data, cache_dir=tmp_path)
    assert made.counts == {"train": 50_000, "test": 10_000}
    assert load_array(made.path, "train_labels").bincount().tolist() == [5000] * 10


def test_a9a_gives_the_published_counts(real_data: Path, tmp_path: Path) -> None:
    if not (real_data / "libsvm").is_dir():
        pytest.skip(f"no a9a in {real_data}")
    made = prepare("a9a", vocabulary=None, data_dir=real_data, cache_dir=tmp_path)
    assert made.counts == {"train": 32_561, "test": 16_281}
    rows, labels = load_array(made.path, "train"), load_array(made.path, "train_labels")
    assert rows.shape == (32_561, 123)
    assert int(labels.sum()) == 7_841, "the positive ones of Adult's training set"
    # The file's first line.
    assert rows[0].nonzero().flatten().add(1).tolist() == [3, 11, 14, 19, 39, 42, 55, 64, 67, 73, 75, 76, 80, 83]


def test_rows_survive_blocks_and_packing(tmp_path: Path) -> None:
    n, features = 9_000, 20
    values = np.random.default_rng(3).normal(size=(n, features)).astype(np.float32)
    values[np.random.default_rng(4).random((n, features)) < 0.5] = 0
    lines = []
    for i, row in enumerate(values):
        pairs = " ".join(f"{j + 1}:{v!r}" for j, v in enumerate(row.tolist()) if v)
        lines.append(f"{'+1' if i % 3 == 0 else '-1'} {pairs} \n")
    (tmp_path / "f.bz2").write_bytes(bz2.compress("".join(lines).encode()))
    blocks = [(rows.copy(), labels.copy()) for rows, labels in read_blocks(tmp_path / "f.bz2", features)]
    np.testing.assert_array_equal(np.concatenate([rows for rows, _ in blocks]), values)
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in blocks]), np.arange(n) % 3 == 0)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "it is not `label index:value"),
        (b"+1 3", "it is not `label index:value"),
        (b"+1 3:1:2", "it is not `label index:value"),
        (b"2 3:1", "the label 2; labels are"),
        (b"+1 3:1 3:2", "its indices do not rise"),
        (b"+1 0:1", "its indices do not rise"),
        (b"+1 6:1", "its indices do not rise"),
        (b"+1 2.5:1", "its indices do not rise"),
        (b"+1 2:nan", "a value is not finite"),
        (b"+1 two:1", ""),
        (b"\xff\xfe", ""),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: bytes, why: str) -> None:
    (tmp_path / "f").write_bytes(b"+1 1:1\n-1 2:1\n" + line + b"\n")
    with pytest.raises(DataCorrupt, match=rf"In or after line 3: .*{why}"):
        list(read_blocks(tmp_path / "f", 5))


def test_a_cut_bzip2_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f.bz2").write_bytes(bz2.compress(b"+1 1:1\n" * 50_000)[:-20])
    with pytest.raises(DataCorrupt, match="is not a LIBSVM file"):
        list(read_blocks(tmp_path / "f.bz2", 5))


def test_fewer_rows_than_published_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a9a").mkdir()
    for name in ("a9a", "a9a.t"):
        (tmp_path / "a9a" / name).write_text("+1 1:1\n")
    with pytest.raises(MlbError, match=r"gave \{'train': 1, 'test': 1\} rows"):
        prepare("a9a", vocabulary=None, data_dir=tmp_path, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("dataset", ["a9a", "cifar-10-batches-bin"])
def test_numbers_have_no_vocabulary(tmp_path: Path, dataset: str) -> None:
    with pytest.raises(UsageError, match="has no vocabulary"):
        prepare(dataset, vocabulary=100, data_dir=None, cache_dir=tmp_path)
