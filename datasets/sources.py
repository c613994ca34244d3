"""The data sets there are: their files, what these must look like to the byte, and where they can be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlsplit

from ..errors import UsageError, did_you_mean

SPLITS = ("train", "valid", "test")

SYNTHETIC = "synthetic"
"""Name of the data set that is generated on the spot: it has no files and no source."""


@dataclass(frozen=True)
class SourceFile:
    """One raw file of a data set, known to the byte."""

    name: str
    """Its name in a local folder and in the cache: `train.txt`."""
    size_bytes: int
    sha256: str
    other_names: tuple[str, ...] = ()
    """Further names under which a local folder may hold the same bytes."""

    @property
    def split(self) -> str:
        """The split that the file holds: its name without the suffix."""
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class Source:
    """One place that serves a data set: each file under its own URL, or all of them in one zip archive."""

    files: Mapping[str, str]
    """File name -> its URL, or, for an archive, the archive member that holds it."""
    archive_url: str = ""
    """URL of the zip archive; empty where every file has a URL of its own."""
    archive_limit_bytes: int = 0
    """Size above which the archive is refused. Its own checksum is not pinned: those of its members are."""

    @property
    def host(self) -> str:
        """Name of the server, for people."""
        return urlsplit(self.archive_url or next(iter(self.files.values()))).netloc

    @property
    def address(self) -> str:
        """Where people find it: the archive, or the files as one pattern."""
        urls = list(self.files.values())
        folder = urls[0].rpartition("/")[0]
        names = ",".join(url.removeprefix(f"{folder}/") for url in urls)
        return self.archive_url or f"{folder}/{{{names}}}"


@dataclass(frozen=True)
class DataSet:
    """One data set of text files, one file a split."""

    name: str
    """Its name on the command line, and the name of its folder in a data directory."""
    title: str
    licence: str
    files: tuple[SourceFile, ...]
    sources: tuple[Source, ...]
    """Where to download it, the preferred place first."""
    token_counts: Mapping[str, int] | None = None
    """Split -> number of tokens that preparing the pinned files must give; None: not pinned."""
    vocabulary_size: int | None = None
    """Number of distinct tokens that preparing the pinned files must give; None: not pinned."""


_PYTORCH_EXAMPLES = (
    "https://raw.githubusercontent.com/pytorch/examples/77f55b912142e11fcfdf5b530231fb9c52f181e8"
    "/word_language_model/data/wikitext-2"
)

WIKITEXT_2 = DataSet(
    name="wikitext-2",
    title="WikiText-2",
    licence="CC BY-SA (text of Wikipedia; Merity et al., 2016, arXiv:1609.07843)",
    files=(
        SourceFile(
            name="train.txt",
            size_bytes=10_797_148,
            sha256="9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
            other_names=("wiki.train.tokens",),
        ),
        SourceFile(
            name="valid.txt",
            size_bytes=1_121_681,
            sha256="f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
            other_names=("wiki.valid.tokens",),
        ),
        SourceFile(
            name="test.txt",
            size_bytes=1_256_449,
            sha256="d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
            other_names=("wiki.test.tokens",),
        ),
    ),
    sources=(
        Source(files=MappingProxyType({f"{split}.txt": f"{_PYTORCH_EXAMPLES}/{split}.txt" for split in SPLITS})),
        Source(
            files=MappingProxyType({f"{split}.txt": f"wikitext-2/wiki.{split}.tokens" for split in SPLITS}),
            archive_url="https://wikitext.smerity.com/wikitext-2-v1.zip",
            archive_limit_bytes=32 << 20,
        ),
    ),
    token_counts=MappingProxyType({"train": 2_088_628, "valid": 217_646, "test": 245_569}),
    vocabulary_size=33_278,
)

DATASETS: Mapping[str, DataSet] = MappingProxyType({WIKITEXT_2.name: WIKITEXT_2})


def dataset_named(name: str) -> DataSet:
    """The data set of files called `name`.

    Raises:
        UsageError: there is none; the message lists what there is.
    """
    known = (*DATASETS, SYNTHETIC)
    if name not in DATASETS:
        hint = did_you_mean(name, known)
        raise UsageError(f"There is no data set {name!r}.{hint}", fix=f"Data sets: {', '.join(known)}.")
    return DATASETS[name]
