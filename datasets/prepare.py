"""Prepare a data set for training, or say what is there of it: `prepare` and `status`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import MlbError
from . import store
from .download import Progress
from .files import check, exclusive
from .generated import GENERATED
from .known import dataset_named
from .making import Limits, Order
from .raw import RawFiles, from_cache_or_download, from_user, local_path, raw_folder
from .sources import DataSet, SourceFile
from .store import Prepared, Recipe
from .writing import Writing

__all__ = ["DataStatus", "Prepared", "PreparedFolder", "RawFile", "prepare", "status"]

MAKERS = ("text", "images", "libsvm", "parallel", "imagenet")
"""Kinds of data sets; each is a file of this room with `check(order)`, `inputs(order)` and `make(order, writing)`;
one that says it is RESUMABLE finds in the folder again what it wrote before it was killed."""


def prepare(
    dataset: str,
    *,
    vocabulary: int | None,
    data_dir: Path | None,
    cache_dir: Path,
    offline: bool = False,
    seed: int = 1,
    train_tokens: int | None = None,
    valid_tokens: int | None = None,
    test_tokens: int | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Find or make a data set's raw files, and turn them into arrays in the cache; what is there is reused.

    Args:
        dataset: a name of `known.DATASETS` or `generated.GENERATED`.
        vocabulary: number of words; None for all words of WikiText-2, or as many for generated text.
        data_dir: the user's folder with raw files, searched first; None if the user named none.
        cache_dir: our own folder, for downloads and for prepared data.
        offline: do not download.
        seed: of generated data; without effect on a data set of files.
        train_tokens: length of the training split of text. Generated text has exactly that many tokens (None: as
            many as WikiText-2), a data set of files at most (None: all). The vocabulary is that of all.
        valid_tokens: the same for the validation split.
        test_tokens: the same for the test split.
        progress: told about a download, in bytes (there, in all).

    Raises:
        UsageError: there is no such data set, or a number makes no sense.
        DataMissing: the raw files are neither here nor to be had.
        DataCorrupt: a raw file is not what its checksum says, or does not hold what it should.
        DiskFull: the cache has no room.
        PreflightError: the cache may not be written.
    """
    limits = Limits(train_tokens, valid_tokens, test_tokens)
    limits.check()
    cache_dir = cache_dir.absolute()
    if dataset in GENERATED:
        return _prepare_generated(dataset, cache_dir, Order(vocabulary, limits, seed=seed))
    found = dataset_named(dataset)
    order = Order(vocabulary, limits, dataset=found)
    maker = _maker(found.kind)
    maker.check(order)
    raw = from_user(found, data_dir) if data_dir is not None else None
    return _prepare_files(order, raw, cache_dir, offline=offline, progress=progress)


@dataclass(frozen=True)
class RawFile:
    """What there is of one raw file."""

    name: str
    path: Path | None
    """Where it lies; None if it is absent."""
    state: str
    """`ok`, `absent` or `corrupt`."""
    problem: str
    """What is wrong with a corrupt file; empty otherwise."""
    size_bytes: int | None
    expected_bytes: int | None
    """None where the size is not published."""
    expected_sha256: str | None


@dataclass(frozen=True)
class PreparedFolder:
    """What there is of one prepared data set."""

    path: Path
    prepared: Prepared | None
    """Its content; None if it is damaged (the next run that needs it makes it anew)."""


@dataclass(frozen=True)
class DataStatus:
    """What there is of a data set on this machine; nothing was changed or downloaded to find out."""

    name: str
    title: str
    raw: tuple[RawFile, ...]
    """One entry a file; empty for generated data."""
    prepared: tuple[PreparedFolder, ...]
    sources: tuple[str, ...]
    """Where the raw files can be had, the preferred place first."""
    licence: str


def status(dataset: str, *, data_dir: Path | None, cache_dir: Path) -> DataStatus:
    """What there is of a data set, looked for where `prepare` would look; every file is verified.

    Raises:
        UsageError: there is no such data set.
    """
    paths = [path for path in store.folders(cache_dir.absolute()) if path.name.rpartition("-")[0] == dataset]
    prepared = tuple(PreparedFolder(path, store.read(path, thorough=True)) for path in paths)
    if dataset in GENERATED:
        return DataStatus(dataset, GENERATED[dataset].title, (), prepared, (), "none: it is made on this machine")
    found = dataset_named(dataset)
    users = raw_folder(found, data_dir) if data_dir is not None else None
    folder = users or cache_dir.absolute() / found.folder
    raw = tuple(_raw_file(file, local_path(file, folder)) for file in found.files)
    sources = tuple(source.address for source in found.sources)
    return DataStatus(found.name, found.title, raw, prepared, sources, found.licence)


class _Maker:
    """The three functions of a kind's file, typed."""

    def __init__(self, kind: str) -> None:
        module = importlib.import_module(f".{kind}", __package__)
        self.check: Callable[[Order], None] = module.check
        self.inputs: Callable[[Order], Mapping[str, object]] = module.inputs
        self.make: Callable[[Order, Writing], None] = module.make
        self.resumable: bool = getattr(module, "RESUMABLE", False)


def _maker(kind: str) -> _Maker:
    assert kind in MAKERS, kind
    return _Maker(kind)


def _prepare_generated(name: str, cache_dir: Path, order: Order) -> Prepared:
    generator = GENERATED[name]
    recipe = Recipe(name, generator.inputs(order))
    origin = f"generated, seed {order.seed}"
    return _reuse(cache_dir, recipe) or _make(cache_dir, recipe, origin, lambda writing: generator.make(order, writing))


def _prepare_files(
    order: Order, raw: RawFiles | None, cache_dir: Path, *, offline: bool, progress: Progress | None
) -> Prepared:
    dataset, maker = order.of, _maker(order.of.kind)
    if dataset.pinned:
        # The checksums say what the files hold: they need not be here.
        recipe = Recipe(dataset.name, _inputs(maker, order, {f.name: f.sha256 or "" for f in dataset.files}))
        if ready := _reuse(cache_dir, recipe):
            return replace(ready, origin=raw.origin if raw else "cache")
    elif raw is None and maker.resumable and (ready := store.read_latest(cache_dir, dataset.name, maker.inputs(order))):
        return replace(ready, origin="cache")
    files = raw or from_cache_or_download(dataset, cache_dir / dataset.folder, offline=offline, progress=progress)
    order = replace(order, paths=files.paths, progress=progress)
    recipe = Recipe(dataset.name, _inputs(maker, order, files.sha256s(dataset)))
    if ready := _reuse(cache_dir, recipe):
        return replace(ready, origin=files.origin)

    def make(writing: Writing) -> None:
        maker.make(order, writing)
        _check_counts(dataset, writing, order)

    return replace(_make(cache_dir, recipe, files.origin, make, keep=maker.resumable), origin=files.origin)


def _inputs(maker: _Maker, order: Order, sha256s: Mapping[str, str]) -> Mapping[str, object]:
    return {"files": dict(sha256s), **maker.inputs(order)}


def _reuse(cache_dir: Path, recipe: Recipe) -> Prepared | None:
    """The data set if it was made before and is whole."""
    ready = store.read(recipe.folder(cache_dir))
    return ready if ready is not None and ready.fingerprint == recipe.fingerprint else None


def _make(
    cache_dir: Path, recipe: Recipe, origin: str, make: Callable[[Writing], None], *, keep: bool = False
) -> Prepared:
    """Make a data set, or wait for the process that is making it and use that one's."""
    with exclusive(store.prepared_root(cache_dir)):
        store.clean(cache_dir)
        if ready := _reuse(cache_dir, recipe):
            return ready
        with store.writing(cache_dir, recipe, origin=origin, keep=keep) as writing:
            make(writing)
        return store.prepared_from(writing, recipe.folder(cache_dir), recipe, origin)


def _check_counts(dataset: DataSet, writing: Writing, order: Order) -> None:
    """The files must give the published numbers."""
    expected = {split: order.limits.at_most(split, n) for split, n in (dataset.counts or {}).items()}
    found = {split: writing.counts.get(split, 0) + writing.left_out[split] for split in expected}
    wrong_words = order.vocabulary is None and dataset.vocabulary_size not in {None, writing.vocabulary_size}
    if expected != found or wrong_words:
        raise MlbError(
            f"Preparing {dataset.title} gave {found} {writing.unit} and {writing.vocabulary_size or 0:,} words.",
            why=f"Expected: {expected} and {dataset.vocabulary_size or 0:,}.",
            fix="Files that hold less or more than the published ones are another data set; "
            "if these are the published ones, this is a fault in mlb: please report it.",
        )


def _raw_file(file: SourceFile, path: Path | None) -> RawFile:
    found = check(path, file.size_bytes, file.sha256) if path else None
    return RawFile(
        name=file.name,
        path=path,
        state=found.state if found else "absent",
        problem=found.problem if found else "",
        size_bytes=found.size_bytes if found else None,
        expected_bytes=file.size_bytes,
        expected_sha256=file.sha256,
    )
