"""Small trees and tar files in ImageNet's layout, made by the tests."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mlb.datasets.sources import DataSet, SourceFile
from PIL import Image

WNIDS = ("n01440764", "n02105855", "n03000134")
PER_CLASS = 4
VALID = 6
NAMES = tuple(f"ILSVRC2012_val_{i:08}" for i in range(1, VALID + 1))
TRUTH = tuple(WNIDS[i % 3] for i in range(VALID))
"""Of the validation images, in the order of their names."""


def photo(number: int, *, mode: str = "RGB", size: tuple[int, int] = (40, 30), form: str = "JPEG") -> bytes:
    """A picture of smooth noise, another one for each number."""
    random = np.random.default_rng(number)
    channels = len(mode) if mode != "L" else 1
    planes = random.integers(0, 256, (8, 8, channels), np.uint8).squeeze()
    written = io.BytesIO()
    Image.fromarray(planes, mode).resize(size, Image.Resampling.BICUBIC).save(written, form, quality=90)
    return written.getvalue()


@dataclass
class Tree:
    """The images of a small data set."""

    train: dict[str, dict[str, bytes]] = field(
        default_factory=lambda: {
            wnid: {f"{wnid}_{i}.JPEG": photo(100 * c + i) for i in range(PER_CLASS)} for c, wnid in enumerate(WNIDS)
        }
    )
    valid: dict[str, bytes] = field(
        default_factory=lambda: {f"{name}.JPEG": photo(1000 + i) for i, name in enumerate(NAMES)}
    )

    def as_folders(self, root: Path, *, sort: bool = False) -> None:
        """`train/` and `val/`; the latter flat unless sorted into classes."""
        for wnid, images in self.train.items():
            write(root / "train" / wnid, images)
        for wnid in WNIDS if sort else ():
            mine = {f"{n}.JPEG" for n, truth in zip(NAMES, TRUTH, strict=True) if truth == wnid}
            write(root / "val" / wnid, {name: content for name, content in self.valid.items() if name in mine})
        if not sort:
            write(root / "val", self.valid)

    def as_tars(self, root: Path) -> None:
        """The two published tar files."""
        root.mkdir(parents=True, exist_ok=True)
        inner = {f"{wnid}.tar": tarred(images) for wnid, images in self.train.items()}
        (root / "ILSVRC2012_img_train.tar").write_bytes(tarred(inner))
        (root / "ILSVRC2012_img_val.tar").write_bytes(tarred(self.valid))


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def tarred(files: Mapping[str, bytes], mode: str = "w") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def labels(root: Path) -> None:
    """A text file of `image WordNet-id` lines."""
    lines = (f"{name}.JPEG {wnid}\n" for name, wnid in zip(NAMES, TRUTH, strict=True))
    (root / "val_labels.txt").write_text("".join(lines))


def small_imagenet(of: DataSet, **changes: object) -> DataSet:
    """The data set with three classes, 12 training and 6 validation images, and files of any size."""
    files = tuple(SourceFile(f.name, None, None, f.other_names, f.folders, f.optional) for f in of.files)
    values = vars(of) | {
        "files": files, "counts": {"train": 12, "valid": VALID}, "options": {**of.options, "classes": 3}
    } | changes  # fmt: skip
    return DataSet(**values)
