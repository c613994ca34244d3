"""The raw files of a data set: found in the user's folder or the cache, else downloaded; always verified."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataCorrupt, DataMissing
from .archive import extract
from .download import Progress, fetch
from .files import Check, check, exclusive, sha256_of
from .listing import listing_digest
from .sources import Archive, DataSet, Source, SourceFile
from .tally import Tally

_DOWNLOADS = 4
"""Downloads at a time: more gain nothing where one server has it all."""

_LARGEST_BYTES = 64 << 30
"""A file whose size is not published may not be larger."""


@dataclass(frozen=True)
class RawFiles:
    """The verified raw files of a data set."""

    paths: Mapping[str, Path]
    """Name of the file in `DataSet.files` -> where it lies."""
    origin: str
    """Where they come from, for people."""

    def sha256s(self, dataset: DataSet) -> dict[str, str]:
        """File name -> SHA-256: the pinned one, which was verified, else that of the file as it is."""
        files = {file: self.paths[file.name] for file in dataset.files if file.name in self.paths}
        return {file.name: file.sha256 or _identity(file, path) for file, path in files.items()}


def _identity(file: SourceFile, path: Path) -> str:
    return listing_digest(path) if path.is_dir() or (file.folders and not file.optional) else sha256_of(path)


def raw_folder(dataset: DataSet, folder: Path) -> Path | None:
    """The folder that holds the data set's files: `folder/<name>`, or `folder` itself; None if neither does.

    `folder` itself counts where it is called like the data set, or holds all of its files: a lone `train.txt`
    in a folder of many things is somebody else's.
    """
    inner = folder / dataset.folder
    if any(local_path(file, inner) for file in dataset.files):
        return inner
    here = [local_path(file, folder) for file in dataset.files if not file.optional]
    return folder if all(here) or (any(here) and folder.name == dataset.folder) else None


def local_path(file: SourceFile, folder: Path) -> Path | None:
    """The file of `folder` that should have the bytes of `file`, under any of its names, or None."""
    candidates = (folder / name for name in (file.name, *file.other_names))
    with contextlib.suppress(PermissionError):
        if found := next((path for path in candidates if path.is_file()), None):
            return found
        return next((path for name in file.folders if (path := folder / name).is_dir()), None)
    return None


def from_user(dataset: DataSet, data_dir: Path) -> RawFiles | None:
    """The files in the folder that the user named, verified; None if it has no such data set.

    Raises:
        DataMissing: the folder does not exist, or holds only some of the files.
        DataCorrupt: a file is not what it should be. It is the user's: it is left alone.
    """
    if fault := _fault(data_dir):
        raise DataMissing(f"The data folder {data_dir} {fault}.", fix=how_to_get(dataset))
    folder = raw_folder(dataset, data_dir)
    if folder is None:
        return None
    paths = {file: local_path(file, folder) for file in dataset.files}
    if absent := [file.name for file, path in paths.items() if path is None and not file.optional]:
        raise DataMissing(
            f"The folder {folder} holds only a part of {dataset.title}.",
            why=f"Not there: {', '.join(absent)}.",
            fix=how_to_get(dataset),
        )
    found = {file: path for file, path in paths.items() if path is not None}
    for file, path in found.items():
        _verify_users(dataset, file, path)
    return RawFiles({file.name: path for file, path in found.items()}, f"the folder {folder}")


def from_cache_or_download(
    dataset: DataSet, cache: Path, *, offline: bool, progress: Progress | None = None
) -> RawFiles:
    """The files in the folder `cache`, verified; the ones that are not there, or are damaged, are downloaded.

    Raises:
        DataMissing, DataCorrupt, DiskFull: as `download`; DataMissing also where `offline` forbids it.
    """
    states = {file: _in_cache(file, cache) for file in dataset.files}
    if all(state.state == "ok" for state in states.values()):
        return RawFiles({file.name: cache / file.name for file in dataset.files}, "cache")
    if offline:
        damaged = [f"{cache / file.name}: {s.problem}." for file, s in states.items() if s.state == "corrupt"]
        raise DataMissing(
            f"{dataset.title} is not on this machine, and downloading is switched off.",
            why="\n".join(damaged),
            fix=how_to_get(dataset),
        )
    return download(dataset, cache, progress)


def download(dataset: DataSet, cache: Path, progress: Progress | None = None) -> RawFiles:
    """Download the files that `cache` lacks into it, from the first source that delivers them.

    Raises:
        DataMissing: no source could be reached; the message says how to get the files by hand.
        DataCorrupt: all sources delivered other bytes than the pinned ones.
        DiskFull: no room for the files.
    """
    failures: list[tuple[Source, DataMissing | DataCorrupt]] = []
    with exclusive(cache):
        for source in dataset.sources:
            lacking = [file for file in dataset.files if _in_cache(file, cache).state != "ok"]
            try:
                _download_from(source, lacking, cache, progress)
            except (DataMissing, DataCorrupt) as error:
                failures.append((source, error))
            else:
                paths = {file.name: cache / file.name for file in dataset.files}
                return RawFiles(paths, f"downloaded from {source.host}")
    why = "\n".join(f"{source.host}: {error.why}" for source, error in failures)
    if failures and all(isinstance(error, DataCorrupt) for _, error in failures):
        what = f"{dataset.title} was downloaded, but is not the data set it was."
        raise DataCorrupt(what, why=why, fix=how_to_get(dataset))
    raise DataMissing(
        f"{dataset.title} is not on this machine and cannot be downloaded.", why=why, fix=how_to_get(dataset)
    )


def how_to_get(dataset: DataSet) -> str:
    """What to do without a download: which files go where, and what runs without any."""
    width = max(len(file.name) for file in dataset.files)
    lines = (f"  {f.name:{width}}  {f.facts}{'  (not always needed)' if f.optional else ''}" for f in dataset.files)
    table = "\n".join(lines)
    places = "\n".join(f"  {source.address}" for source in dataset.sources)
    unknown = dataset.terms or "mlb knows no place to download them from."
    had_from = f"They can be had from\n{places}\n" if places else f"{unknown}\n"
    return (
        f"Put these files into DIR/{dataset.folder}/ and name DIR with --data-dir DIR or MLB_DATA_DIR=DIR:\n"
        f"{table}\n"
        f"{had_from}"
        f"{_instead(dataset)}"
    )


def _instead(dataset: DataSet) -> str:
    if dataset.kind == "text":
        return "Or train on generated text, which needs no file and no network: --data synthetic"
    shows = "`mlb data status TASK` shows what is here."
    return f"The task's `--goal smoke` needs much smaller data; {shows}" if dataset.large else shows


def _fault(folder: Path) -> str:
    """Why a folder cannot be used, or nothing."""
    try:
        if not folder.is_dir():
            return "is not a folder" if folder.exists() else "does not exist"
    except PermissionError:
        return "may not be read"
    return "" if os.access(folder, os.R_OK | os.X_OK) else "may not be read"


def _verify_users(dataset: DataSet, file: SourceFile, path: Path) -> None:
    found = check(path, file.size_bytes, file.sha256)
    if found.state == "ok":
        return
    raise DataCorrupt(
        f"{path} is not the {file.name} of {dataset.title}.",
        why=f"{found.problem or 'it vanished'}.",
        fix=f"mlb leaves your files alone. Replace it with an intact copy, or name another data folder.\n"
        f"{how_to_get(dataset)}",
    )


def _in_cache(file: SourceFile, cache: Path) -> Check:
    return check(cache / file.name, file.size_bytes, file.sha256)


def _download_from(source: Source, lacking: Sequence[SourceFile], cache: Path, progress: Progress | None) -> None:
    """Fetch what is lacking, several downloads at a time; the first failure, in the files' order, is raised."""
    names = {file.name for file in lacking}
    archives = [archive for archive in source.archives if names & set(archive.members)]
    files = [file for file in lacking if file.name in source.files]
    tally = Tally([*(a.size_bytes if a.sha256 else 0 for a in archives), *(f.size_bytes or 0 for f in files)], progress)
    by_name = {file.name: file for file in lacking}
    with ThreadPoolExecutor(_DOWNLOADS) as pool, tally.stopping():
        jobs = []
        for i, archive in enumerate(archives):
            members = {by_name[name]: member for name, member in archive.members.items() if name in names}
            jobs.append(pool.submit(_unpack, archive, members, cache, tally.report(i)))
        for i, file in enumerate(files, len(archives)):
            jobs.append(pool.submit(_fetch_file, source.files[file.name], file, cache, tally.report(i)))
        for job in jobs:
            job.result()


def _unpack(archive: Archive, members: Mapping[SourceFile, str], cache: Path, report: Progress) -> None:
    path = cache / archive.url.rpartition("/")[2]
    try:
        fetch(archive.url, path, size_bytes=archive.size_bytes, sha256=archive.sha256, progress=report)
        extract(path, members, cache)
    finally:
        path.unlink(missing_ok=True)


def _fetch_file(url: str, file: SourceFile, cache: Path, report: Progress) -> None:
    size_bytes = file.size_bytes if file.size_bytes is not None else _LARGEST_BYTES
    fetch(url, cache / file.name, size_bytes=size_bytes, sha256=file.sha256, progress=report)
