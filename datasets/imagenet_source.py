"""ImageNet as users have it: the two published tar files, or the folders unpacked from them, and the labels.

The training set is a folder with a folder for each class, or a tar of one tar a class. The validation set is a flat
folder or tar of 50,000 images, whose labels are a file of their own, or sorted into a folder for each class.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataCorrupt
from .imagenet_labels import read_labels
from .listing import folder_files, members
from .making import Order
from .packing import RawImage, Shard

TRAIN, VALIDATION, LABELS = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"
"""Names of the raw files; each may also be a folder (datasets/known.py)."""

_SUFFIXES = (".jpeg", ".jpg", ".png")
_TOGETHER = 1_000
"""Validation images of a shard."""


@dataclass(frozen=True)
class Raw:
    """What was found."""

    train: Path
    validation: Path
    labels: Path | None
    classes: tuple[str, ...]
    """WordNet ids in order: a class is a place among them."""

    def number(self, wnid: str, where: str) -> int:
        """The class of a WordNet id.

        Raises:
            DataCorrupt: there is no such class in the training set.
        """
        try:
            return self.classes.index(wnid)
        except ValueError as error:
            raise DataCorrupt(
                f"{where} is of a class that the training set does not have: {wnid}.",
                why=f"Its classes go from {self.classes[0]} to {self.classes[-1]}, {len(self.classes):,} of them.",
                fix="Take the training and the validation set of the same data set.",
            ) from error


@dataclass(frozen=True)
class _Place:
    """One image's bytes within a file."""

    name: str
    path: Path
    first: int
    size: int | None
    """None: the whole file."""

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.first)
            return file.read() if self.size is None else file.read(self.size)


def find(order: Order) -> Raw:
    """Look at what the user has.

    Raises:
        DataCorrupt: not as many classes as the data set has.
    """
    train = order.paths[TRAIN]
    names = [p.name for p in sorted(train.iterdir()) if p.is_dir()] if train.is_dir() else _class_tars(train)
    classes = tuple(sorted(names))
    expected = int(order.of.options["classes"])
    if len(classes) != expected:
        raise DataCorrupt(
            f"{train} holds {len(classes):,} classes, not {expected:,}.",
            why="A class is a folder of images, or a tar file in the published tar file.",
            fix="Take the whole training set.",
        )
    return Raw(train, order.paths[VALIDATION], order.paths.get(LABELS), classes)


def total_bytes(path: Path) -> int:
    """Bytes of the raw images in a folder or a tar file, about."""
    return sum(size for _, size in folder_files(path)) if path.is_dir() else path.stat().st_size


def train_shards(raw: Raw) -> Iterator[Shard]:
    """One shard a class."""
    if raw.train.is_dir():
        for label, wnid in enumerate(raw.classes):
            yield Shard("train", label, _Folder(raw.train / wnid, label))
        return
    inner = {Path(member.name).stem: member for member in members(raw.train)}
    for label, wnid in enumerate(raw.classes):
        yield Shard("train", label, _ClassTar(raw.train, inner[wnid].offset_data, inner[wnid].size, wnid, label))


def validation_shards(raw: Raw) -> Iterator[Shard]:
    """A shard a class where they are sorted, else one for every thousand images."""
    path = raw.validation
    if path.is_dir() and (folders := sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))):
        for number, folder in enumerate(folders):
            yield Shard("valid", number, _Folder(folder, raw.number(folder.name, str(folder))))
        return
    if path.is_dir():
        places = [_Place(name, path / name, 0, None) for name, _ in folder_files(path) if _is_image(name)]
    else:
        found = sorted(members(path), key=lambda member: member.name)
        places = [_Place(Path(m.name).name, path, m.offset_data, m.size) for m in found if _is_image(m.name)]
    labels = read_labels(raw.labels, len(places), path)
    numbers = [raw.number(labels.of(i, place.name), place.name) for i, place in enumerate(places)]
    for number, first in enumerate(range(0, len(places), _TOGETHER)):
        end = first + _TOGETHER
        yield Shard("valid", number, _Places(tuple(places[first:end]), tuple(numbers[first:end])))


@dataclass(frozen=True)
class _Folder:
    """The images in a folder of one class."""

    path: Path
    label: int

    def __call__(self) -> Iterator[RawImage]:
        for name, _ in folder_files(self.path):
            if _is_image(name):
                yield RawImage(str(self.path / name), self.label, (self.path / name).read_bytes())


@dataclass(frozen=True)
class _ClassTar:
    """The images in one class's tar file, within the tar file of all."""

    path: Path
    first: int
    size: int
    wnid: str
    label: int

    def __call__(self) -> Iterator[RawImage]:
        try:
            with self.path.open("rb") as file:
                file.seek(self.first)
                with tarfile.open(fileobj=file, mode="r|") as archive:
                    for member in archive:
                        if member.offset_data + member.size > self.size:
                            raise tarfile.ReadError(f"it ends within {member.name}")
                        content = archive.extractfile(member) if _is_image(member.name) else None
                        if content is not None:
                            yield RawImage(f"{self.wnid}.tar: {member.name}", self.label, content.read())
        except tarfile.TarError as error:
            raise DataCorrupt(
                f"{self.wnid}.tar in {self.path} is damaged.", why=f"{error}.", fix="Replace it with an intact copy."
            ) from error


@dataclass(frozen=True)
class _Places:
    """Images with a label each."""

    places: tuple[_Place, ...]
    labels: tuple[int, ...]

    def __call__(self) -> Iterator[RawImage]:
        for place, label in zip(self.places, self.labels, strict=True):
            yield RawImage(place.name, label, place.read())


def _class_tars(train: Path) -> list[str]:
    return [Path(member.name).stem for member in members(train) if member.name.endswith(".tar")]


def _is_image(name: str) -> bool:
    return name.lower().endswith(_SUFFIXES)
