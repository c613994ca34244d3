"""The labels of ImageNet's validation images, from whichever file the user has.

Known are: the development kit (packed, or its folder), whose numbers its meta.mat names; Kaggle's
LOC_val_solution.csv; a text file of `image WordNet-id` lines; one of a WordNet id a line, in the images' order.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataCorrupt, DataMissing

_TRUTH, _META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
_WNID = re.compile(r"n\d{8}")


@dataclass(frozen=True)
class Labels:
    """A WordNet id for every validation image."""

    path: Path
    by_place: Sequence[str] = ()
    """In the order of the images' names; empty where the file names the images."""
    by_name: Mapping[str, str] | None = None

    def of(self, place: int, name: str) -> str:
        """
        Raises:
            DataCorrupt: the file does not know the image.
        """
        if self.by_name is None:
            return self.by_place[place]
        stem = Path(name).stem
        if stem not in self.by_name:
            raise DataCorrupt(f"{self.path} has no label for {name}.", fix="Replace it with an intact copy.")
        return self.by_name[stem]


def read_labels(path: Path | None, images: int, validation: Path) -> Labels:
    """The labels in a file, as many as there are images.

    Raises:
        DataMissing: there is no such file.
        DataCorrupt: the file is none of the known forms, or has other than `images` labels.
    """
    if path is None:
        raise DataMissing(
            f"The images in {validation} have no labels.",
            why="They are not sorted into a folder for each class.",
            fix="Put the development kit (ILSVRC2012_devkit_t12.tar.gz, or its folder), LOC_val_solution.csv, or a "
            "text file val_labels.txt of `image WordNet-id` lines beside them.",
        )
    try:
        labels = _development_kit(path) if path.is_dir() or path.name.endswith(".gz") else _text(path)
    except (OSError, EOFError, tarfile.TarError, UnicodeDecodeError, KeyError) as error:
        raise DataCorrupt(f"{path} cannot be read.", why=f"{error}.", fix="Replace it with an intact copy.") from error
    found = len(labels.by_place if labels.by_name is None else labels.by_name)
    if found != images:
        raise DataCorrupt(
            f"{path} has {found:,} labels for {images:,} validation images.",
            fix="Take the labels and the images of the same data set, all of both.",
        )
    return labels


def _text(path: Path) -> Labels:
    by_place: list[str] = []
    by_name: dict[str, str] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        words = line.replace(",", " ").split()
        if not words or words[0] == "ImageId":
            continue
        wnid = words[0] if len(words) == 1 else words[1]
        if not _WNID.fullmatch(wnid):
            raise DataCorrupt(
                f"{path} has a wrong label.",
                why=f"Line {number:,} is {line[:60]!r}; a label is a WordNet id such as n01440764.",
                fix="A line is `image WordNet-id`, or a WordNet id alone.",
            )
        if len(words) == 1:
            by_place.append(wnid)
        elif by_name.setdefault(Path(words[0]).stem, wnid) != wnid:
            raise DataCorrupt(f"{path} has two labels for {words[0]}.", why=f"The second is in line {number:,}.")
    return Labels(path, by_place, by_name or None)


def _development_kit(path: Path) -> Labels:
    truth, meta = _from_folder(path) if path.is_dir() else _from_archive(path)
    wnids = _synsets(meta, path)
    by_place = []
    for number, line in enumerate(truth.decode().split(), 1):
        if not line.isdecimal() or int(line) not in wnids:
            raise DataCorrupt(
                f"{path} has a wrong label.", why=f"Line {number:,} of {_TRUTH} is {line[:20]!r}, which is no class."
            )
        by_place.append(wnids[int(line)])
    return Labels(path, by_place)


def _from_folder(path: Path) -> tuple[bytes, bytes]:
    folder = path / "data" if (path / "data").is_dir() else path
    return (folder / _TRUTH).read_bytes(), (folder / _META).read_bytes()


def _from_archive(path: Path) -> tuple[bytes, bytes]:
    found: dict[str, bytes] = {}
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            content = archive.extractfile(member) if Path(member.name).name in (_TRUTH, _META) else None
            if content is not None:
                found[Path(member.name).name] = content.read()
    return found[_TRUTH], found[_META]


def _synsets(meta: bytes, path: Path) -> dict[int, str]:
    """ILSVRC2012_ID -> WordNet id."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise DataMissing(
            f"The labels in {path} are numbers, which its meta.mat names: that takes scipy to read.",
            fix="Install it (`pip install scipy`), or take LOC_val_solution.csv or a text file of `image WordNet-id` "
            "lines, val_labels.txt, in place of the development kit.",
        ) from error
    table = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
    return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in table}
