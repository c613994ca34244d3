"""What is known of a data set before it is here: its files, what these must look like, where they can be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class SourceFile:
    """One raw file of a data set, known as well as its publisher lets us know it."""

    name: str
    """Its name in a local folder and in the cache: `train.txt`."""
    size_bytes: int | None = None
    """Exact; None where nobody published it."""
    sha256: str | None = None
    """None where nobody published it: the content is then checked when it is read."""
    other_names: tuple[str, ...] = ()
    """Further names under which a local folder may hold the same bytes."""
    folders: tuple[str, ...] = ()
    """Names of folders that hold what the file, an archive, does. Where there are any, the file is too large to be
    read for a checksum, and the list of what it holds stands for one."""
    optional: bool = False
    """Some copies of the data set do without it."""

    @property
    def facts(self) -> str:
        """Size and checksum, as far as they are known, for people."""
        size = "" if self.size_bytes is None else f"{self.size_bytes:>10,} bytes"
        sha256 = "" if self.sha256 is None else f"SHA-256 {self.sha256}"
        known = "  ".join(part for part in (size, sha256) if part) or "size and checksum are not published"
        instead = ", ".join((*(f"folder {name}/" for name in self.folders), *self.other_names))
        return f"{known}  or: {instead}" if self.folders else known


@dataclass(frozen=True)
class Archive:
    """One download that holds several files: zip, tar (packed or not), or one file packed by gzip or bzip2."""

    url: str
    size_bytes: int
    """Exact where the checksum is known, else the size above which the archive is refused."""
    members: Mapping[str, str]
    """File name -> the archive's member that holds it; for a single packed file its own name."""
    sha256: str | None = None


@dataclass(frozen=True)
class Source:
    """One place that serves a data set: files under URLs of their own, archives, or both."""

    files: Mapping[str, str] = field(default_factory=dict)
    """File name -> its URL."""
    archives: tuple[Archive, ...] = ()

    @property
    def host(self) -> str:
        """Name of the server, for people."""
        return urlsplit(self._urls[0]).netloc

    @property
    def address(self) -> str:
        """Where people find it: the archives, and the files as one pattern."""
        parts = [archive.url for archive in self.archives]
        if urls := list(self.files.values()):
            folder = urls[0].rpartition("/")[0]
            names = ",".join(url.removeprefix(f"{folder}/") for url in urls)
            parts.append(f"{folder}/{{{names}}}" if len(urls) > 1 else urls[0])
        return " ".join(parts)

    @property
    def _urls(self) -> list[str]:
        return [*(archive.url for archive in self.archives), *self.files.values()]


@dataclass(frozen=True)
class DataSet:
    """One data set of files."""

    name: str
    """Its name on the command line, and the name of its folder in a data directory."""
    title: str
    licence: str
    kind: str
    """Which of `prepare.MAKERS` turns its files into arrays: `text`, `images`, …"""
    files: tuple[SourceFile, ...]
    sources: tuple[Source, ...]
    """Where to download it, the preferred place first; none for data that only its users have."""
    counts: Mapping[str, int] | None = None
    """Split -> number of tokens, images, … that preparing the files must give; None: not known."""
    vocabulary_size: int | None = None
    """Number of distinct words that preparing the pinned files must give; None: not pinned."""
    options: Mapping[str, int | str] = field(default_factory=dict)
    """What the maker has to know besides the files: the number of features, the two languages."""
    large: bool = False
    """Whether the smoke goal of the task that trains on it takes other, much smaller data."""
    terms: str = ""
    """How people get the files where nobody else may hand them out."""
    of: str = ""
    """The data set of whose files this is another preparation; empty where they are its own."""

    @property
    def folder(self) -> str:
        """The name of its folder in a data directory."""
        return self.of or self.name

    @property
    def pinned(self) -> bool:
        """Whether every file's checksum is known: only then is a local copy proven to be the published data."""
        return all(file.sha256 for file in self.files)
