"""Prepared tokens as tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mlb.datasets.load import columns, load_array, shard_columns
from mlb.datasets.prepare import prepare
from mlb.datasets.synthetic import generate, text_for
from mlb.errors import DataCorrupt, UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = prepare(
        "synthetic",
        vocabulary=100,
        data_dir=None,
        cache_dir=tmp_path,
        train_tokens=3000,
        valid_tokens=200,
        test_tokens=100,
    )
    return made.path


def test_the_tokens_are_the_generated_ones(folder: Path) -> None:
    ids = load_array(folder, "train")
    assert (ids.dtype, ids.shape) == (torch.int32, (3000,))
    np.testing.assert_array_equal(ids.numpy(), generate(text_for(100), "train", 3000, seed=1))
    assert load_array(folder, "valid").shape == (200,)


def test_writing_to_the_tensor_leaves_the_file_alone(folder: Path) -> None:
    load_array(folder, "test").zero_()
    assert load_array(folder, "test").any()


def test_a_read_only_file_is_enough(folder: Path) -> None:
    (folder / "test.i32").chmod(0o400)
    assert load_array(folder, "test").shape == (100,)


@pytest.mark.parametrize("size", [0, 396, 399, 404])
def test_a_file_of_another_length_is_refused(folder: Path, size: int) -> None:
    (folder / "test.i32").write_bytes(b"\x00" * size)
    with pytest.raises(DataCorrupt, match=f"400 bytes expected, {size} found"):
        load_array(folder, "test")


@pytest.mark.parametrize("meta", [None, "", "[]", "{}", '{"files": {"test.i32": {"array": "test"}}}'])
def test_a_folder_that_was_not_prepared_is_refused(folder: Path, meta: str | None) -> None:
    (folder / "meta.json").unlink()
    if meta is not None:
        (folder / "meta.json").write_text(meta)
    with pytest.raises(DataCorrupt, match="is not a prepared data set"):
        load_array(folder, "test")


def test_an_unknown_array_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no array 'validation'.*\n.*train, valid, test"):
        load_array(folder, "validation")


def test_columns_are_consecutive_pieces() -> None:
    columns_TB = columns(torch.arange(11, dtype=torch.int32), 3)
    assert columns_TB.tolist() == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    assert columns_TB.is_contiguous()
    assert columns_TB.dtype == torch.int32


@pytest.mark.parametrize("tokens", [0, 11, 12, 23])
def test_a_text_without_two_tokens_for_each_sequence_is_refused(tokens: int) -> None:
    with pytest.raises(UsageError, match=f"A text of {tokens} tokens is too short for a batch of 12 sequences"):
        columns(torch.arange(tokens), 12)


@pytest.mark.parametrize("world", [1, 2, 3, 6])
def test_every_column_is_on_one_rank(world: int) -> None:
    columns_TB = columns(torch.arange(60), 6)
    shards = [shard_columns(columns_TB, rank, world) for rank in range(world)]
    assert all(shard.shape == (10, 6 // world) and shard.is_contiguous() for shard in shards)
    assert torch.equal(torch.cat(shards, dim=1), columns_TB)


@pytest.mark.parametrize(("rank", "world"), [(0, 4), (2, 2), (-1, 2)])
def test_an_uneven_share_is_refused(rank: int, world: int) -> None:
    with pytest.raises(UsageError, match="6 sequences cannot be shared out evenly"):
        shard_columns(columns(torch.arange(60), 6), rank, world)
