"""ImageNet from folders and tar files: the same shards every way, resumed after a kill, and what is refused."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from imagenet_tree import NAMES, TRUTH, VALID, WNIDS, Tree, labels, photo, small_imagenet, tarred, write
from mlb.datasets import known, packing
from mlb.datasets.jpeg import BadImage, centre_crop, keep, random_crop
from mlb.datasets.jpeg_load import Images, Wanted
from mlb.datasets.load import load_array
from mlb.datasets.prepare import prepare, status
from mlb.datasets.raw import how_to_get
from mlb.datasets.store import Prepared
from mlb.errors import DataCorrupt, DataMissing, MlbError
from PIL import Image


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {d.name: small_imagenet(d) for d in (known.IMAGENET, known.IMAGENET_320)}
    monkeypatch.setattr(known, "DATASETS", table)


def made(tmp_path: Path, name: str = "imagenet", **options: Any) -> Prepared:
    return prepare(name, vocabulary=None, data_dir=tmp_path, cache_dir=tmp_path / "cache", **options)


def contents(prepared: Prepared) -> dict[str, list[tuple[bytes, int]]]:
    """Every image's bytes and class, as the training reads them."""
    images = Images(prepared.path)
    return {
        split: [(images._content(split, place), int(row[3])) for place, row in enumerate(images.index(split))]
        for split in ("train", "valid")
    }


def published(tree: Tree) -> dict[str, list[tuple[bytes, int]]]:
    """The same from the tree."""
    train = [(c, WNIDS.index(wnid)) for wnid, images in tree.train.items() for c in images.values()]
    valid = [(c, WNIDS.index(wnid)) for c, wnid in zip(tree.valid.values(), TRUTH, strict=True)]
    return {"train": train, "valid": valid}


def test_folders_and_tar_files_give_the_users_own_bytes(tmp_path: Path) -> None:
    tree = Tree()
    tree.as_folders(tmp_path / "a/imagenet")
    labels(tmp_path / "a/imagenet")
    tree.as_tars(tmp_path / "b/imagenet")
    labels(tmp_path / "b/imagenet")
    tree.as_folders(tmp_path / "c/imagenet", sort=True)
    for way in "abc":
        found = made(tmp_path / way)
        assert (found.counts, found.unit, found.skipped) == ({"train": 12, "valid": VALID}, "images", {})
        expected = published(tree)
        if way == "c":  # in the order of the classes
            expected["valid"] = sorted(expected["valid"], key=lambda pair: pair[1])
        assert contents(found) == expected
    assert (found.path / "classes.txt").read_text().split() == list(WNIDS)
    assert not list(found.path.glob("*.json*"))[1:], "only meta.json is left"


def test_the_development_kit_names_the_validation_images(tmp_path: Path) -> None:
    tree, root = Tree(), tmp_path / "imagenet"
    tree.as_folders(root)
    numbers = {wnid: number for number, wnid in enumerate(reversed(WNIDS), 1)}
    table = np.zeros(4, [("ILSVRC2012_ID", object), ("WNID", object)])
    for row, (wnid, number) in zip(table, [*numbers.items(), ("n09999999", 4)], strict=True):
        row["ILSVRC2012_ID"], row["WNID"] = number, wnid
    meta = io.BytesIO()
    scipy.io.savemat(meta, {"synsets": table})
    truth = "".join(f"{numbers[wnid]}\n" for wnid in TRUTH).encode()
    kit = {"data/meta.mat": meta.getvalue(), "data/ILSVRC2012_validation_ground_truth.txt": truth}
    packed = tarred({f"ILSVRC2012_devkit_t12/{name}": content for name, content in kit.items()}, "w:gz")
    (root / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(packed)
    assert contents(made(tmp_path)) == published(tree)
    (root / "ILSVRC2012_devkit_t12.tar.gz").unlink()
    write(root / "ILSVRC2012_devkit_t12/data", {Path(name).name: content for name, content in kit.items()})
    assert contents(made(tmp_path)) == published(tree)


def test_kaggles_table_and_a_plain_list_name_them_too(tmp_path: Path) -> None:
    root = tmp_path / "imagenet"
    Tree().as_folders(root)
    rows = [f"{name},{wnid} 1 2 30 40 {wnid} 5 6 7 8\n" for name, wnid in zip(NAMES, TRUTH, strict=True)]
    (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "".join(reversed(rows)))
    assert contents(made(tmp_path))["valid"] == published(Tree())["valid"]
    (root / "LOC_val_solution.csv").unlink()
    (root / "imagenet_2012_validation_synset_labels.txt").write_text("".join(f"{wnid}\n" for wnid in TRUTH))
    assert contents(made(tmp_path))["valid"] == published(Tree())["valid"]


def test_images_as_imagenet_really_has_them(tmp_path: Path) -> None:
    """CMYK and a PNG under a JPEG's name are re-encoded and counted; grey stays; large ones shrink for imagenet-320."""
    tree = Tree()
    first, second, third = tree.train.values()
    first["n01440764_0.JPEG"] = photo(1, mode="CMYK")
    second["n02105855_1.JPEG"] = photo(2, form="PNG")
    third["n03000134_0.JPEG"] = photo(3, mode="L")
    third["n03000134_1.JPEG"] = photo(4, size=(900, 700))
    tree.as_folders(tmp_path / "imagenet", sort=True)
    found = made(tmp_path)
    assert found.changed == {"re-encoded from JPEG of CMYK": 1, "re-encoded from PNG of RGB": 1}
    assert contents(found)["train"][8:10] == [(third[f"n03000134_{i}.JPEG"], 2) for i in (0, 1)]
    for place in range(12):
        pixels, _ = Images(found.path)[Wanted("train", (place,), 16, seed=1)]
        assert pixels.shape == (1, 3, 16, 16)
    smaller = made(tmp_path, "imagenet-320")
    assert smaller.changed == found.changed | {"shrunk to a shorter side of 320": 1}
    assert Image.open(io.BytesIO(contents(smaller)["train"][9][0])).size == (411, 320)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty files"), (b"not an image", "no JPEG or PNG"), (photo(1)[:700], "do not decode to their end")],
)
def test_a_bad_training_image_is_left_out_and_counted(
    tmp_path: Path, content: bytes, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Tree()
    tree.train[WNIDS[1]]["n02105855_2.JPEG"] = content
    tree.as_folders(tmp_path / "imagenet", sort=True)
    with pytest.raises(DataCorrupt, match="1 of the 12 images to train on") as raised:
        made(tmp_path)
    assert "n02105855_2.JPEG" in raised.value.why
    monkeypatch.setattr("mlb.datasets.imagenet._BAD_SHARE", 0.1)
    found = made(tmp_path)
    assert found.counts == {"train": 11, "valid": VALID}
    assert [reason in text for text in found.skipped] == [True]


def test_a_bad_validation_image_is_an_error(tmp_path: Path) -> None:
    tree = Tree()
    tree.valid[f"{NAMES[2]}.JPEG"] = photo(5)[:500]
    tree.as_tars(tmp_path / "imagenet")
    labels(tmp_path / "imagenet")
    with pytest.raises(DataCorrupt, match="1 of the 6 images to validate on") as raised:
        made(tmp_path)
    assert NAMES[2] in raised.value.why


def test_a_missing_image_is_another_data_set(tmp_path: Path) -> None:
    tree = Tree()
    del tree.train[WNIDS[0]]["n01440764_1.JPEG"]
    tree.as_folders(tmp_path / "imagenet", sort=True)
    with pytest.raises(MlbError, match=r"gave \{'train': 11, 'valid': 6\} images") as raised:
        made(tmp_path)
    assert "'train': 12" in raised.value.why


def test_labels_that_are_missing_wrong_or_too_few(tmp_path: Path) -> None:
    root = tmp_path / "imagenet"
    Tree().as_folders(root)
    with pytest.raises(DataMissing, match="have no labels") as missing:
        made(tmp_path)
    assert "LOC_val_solution.csv" in missing.value.fix
    file = root / "val_labels.txt"
    file.write_text("".join(f"{name} {wnid}\n" for name, wnid in zip(NAMES[1:], TRUTH[1:], strict=True)))
    with pytest.raises(DataCorrupt, match="5 labels for 6 validation images"):
        made(tmp_path)
    file.write_text("".join(f"{name} tench\n" for name in NAMES))
    with pytest.raises(DataCorrupt, match="wrong label") as wrong:
        made(tmp_path)
    assert "Line 1" in wrong.value.why
    file.write_text("".join(f"{name} n00000001\n" for name in NAMES))
    with pytest.raises(DataCorrupt, match="class that the training set does not have: n00000001"):
        made(tmp_path)


def test_a_tar_file_that_ends_early_and_a_class_too_few(tmp_path: Path) -> None:
    tree, root = Tree(), tmp_path / "imagenet"
    tree.as_tars(root)
    labels(root)
    train = root / "ILSVRC2012_img_train.tar"
    whole = train.read_bytes()
    train.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataCorrupt, match=r"ILSVRC2012_img_train.tar is damaged"):
        made(tmp_path)
    train.write_bytes(tarred({f"{wnid}.tar": tarred(tree.train[wnid]) for wnid in WNIDS[:2]}))
    with pytest.raises(DataCorrupt, match="holds 2 classes, not 3"):
        made(tmp_path)
    train.write_bytes(tarred({f"{wnid}.tar": tarred(tree.train[wnid])[:1000] for wnid in WNIDS}))
    with pytest.raises(DataCorrupt, match=r"n\d+.tar in .* is damaged"):
        made(tmp_path)


def test_without_the_files_the_error_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match="is not on this machine") as raised:
        made(tmp_path, offline=True)
    assert raised.value.fix == how_to_get(known.DATASETS["imagenet"])
    message = how_to_get(known.IMAGENET)
    for part in ("147,897,477,120 bytes", "6,744,924,160 bytes", "DIR/imagenet/", "folder train/", "image-net.org"):
        assert part in message
    assert [raw.state for raw in status("imagenet", data_dir=None, cache_dir=tmp_path / "cache").raw] == ["absent"] * 3


def test_what_was_prepared_is_used_without_the_raw_files(tmp_path: Path) -> None:
    tree = Tree()
    tree.as_folders(tmp_path / "imagenet", sort=True)
    found = made(tmp_path)
    again = prepare("imagenet", vocabulary=None, data_dir=None, cache_dir=tmp_path / "cache", offline=True)
    assert (again.path, again.origin) == (found.path, "cache")
    with pytest.raises(DataMissing):
        prepare("imagenet-320", vocabulary=None, data_dir=None, cache_dir=tmp_path / "cache", offline=True)


KILLED = """
import os, sys
from pathlib import Path
from mlb.datasets import known, packing, prepare
sys.path[:0] = [{folder!r}]
from imagenet_tree import small_imagenet
known.DATASETS = {{"imagenet": small_imagenet(known.IMAGENET)}}
os.sched_getaffinity = lambda _: [0]
real = packing._pack
def pack(shard, *rest):
    if shard.name == "train-00002":
        os.kill(os.getpid(), 9)
    return real(shard, *rest)
packing._pack = pack
root = Path(sys.argv[1])
prepare.prepare("imagenet", vocabulary=None, data_dir=root, cache_dir=root / "cache")
"""


def test_a_killed_preparation_goes_on_and_gives_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for way in ("killed", "whole"):
        Tree().as_folders(tmp_path / way / "imagenet", sort=True)
    script = KILLED.format(folder=str(Path(__file__).parents[1]))
    done = subprocess.run([sys.executable, "-P", "-c", script, str(tmp_path / "killed")], check=False)
    assert done.returncode == -9
    root = tmp_path / "killed/cache/prepared"
    assert not [path for path in root.iterdir() if not path.name.startswith(".")]
    packed: list[str] = []
    real = packing._pack

    def count(shard: packing.Shard, *rest: Any) -> packing.Packed:
        packed.append(shard.name)
        return real(shard, *rest)

    monkeypatch.setattr(packing, "_pack", count)
    one = made(tmp_path / "killed")
    assert "train-00000" not in packed
    assert "train-00002" in packed
    two = made(tmp_path / "whole")
    assert one.fingerprint == two.fingerprint
    files = [json.loads((p.path / "meta.json").read_text())["files"] for p in (one, two)]
    assert files[0] == files[1]
    assert sorted(p.name for p in one.path.iterdir()) == sorted([*files[0], "meta.json"])
    assert not list(root.glob(".unfinished-*"))
    packed.clear()
    assert made(tmp_path / "killed").path == one.path
    assert packed == [], "what is there is reused"


def test_crops_are_torchvisions(tmp_path: Path) -> None:
    """Sizes and places by the definitions; a crop of the whole image at its own size is the image."""
    content = photo(9, size=(64, 48))
    whole = np.asarray(Image.open(io.BytesIO(content)))
    assert np.array_equal(centre_crop(content, 48, 48), whole[:, 8:56])
    random = np.random.default_rng(1)
    square = photo(9, size=(48, 48))
    plain = np.asarray(Image.open(io.BytesIO(square)))
    seen = [random_crop(square, 48, random, (1.0, 1.0)) for _ in range(40)]
    mirrored = sum(np.array_equal(pixels, plain[:, ::-1]) for pixels in seen)
    same = sum(np.array_equal(pixels, plain) for pixels in seen)
    assert mirrored > 5
    assert same > 5
    long = photo(9, size=(400, 20))
    assert random_crop(long, 16, random, (0.9, 1.0)).shape == (16, 16, 3)


def test_a_kept_image_is_decoded_to_its_end() -> None:
    content = photo(3)
    assert keep(content, None).content == content
    with pytest.raises(BadImage):
        keep(content[:-20], None)


def test_a_damaged_shard_is_named_when_it_is_read(tmp_path: Path) -> None:
    Tree().as_folders(tmp_path / "imagenet", sort=True)
    found = made(tmp_path)
    shard = found.path / "train-00001.u8"
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(DataCorrupt, match="is damaged"):
        Images(found.path)[Wanted("train", (5,), 16, seed=1)]
    shard.write_bytes(b"short")
    with pytest.raises(DataCorrupt, match="bytes expected, 5 found"):
        Images(found.path)[Wanted("train", (5,), 16, seed=1)]
    assert load_array(found.path, "train_index").shape == (12, 4)
