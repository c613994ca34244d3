"""Prepare a data set for training, or say what is there of it: `prepare` and `status`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import MlbError, UsageError
from . import store, synthetic
from .download import Progress
from .files import check, exclusive
from .raw import RawFiles, from_cache_or_download, from_user, local_path, raw_folder
from .sources import SPLITS, SYNTHETIC, WIKITEXT_2, DataSet, SourceFile, dataset_named
from .store import Prepared, Recipe
from .text import Corpus, read_corpus

__all__ = ["DataStatus", "Prepared", "PreparedFolder", "RawFile", "prepare", "status"]

MIN_VOCABULARY = 3
"""`<unk>`, `<eos>` and a word to learn."""


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
    """Find or make a data set's raw text, and turn it into token ids in the cache; what is there is reused.

    Args:
        dataset: `wikitext-2` or `synthetic`.
        vocabulary: number of words; None for all words of WikiText-2, or as many for generated text.
        data_dir: the user's folder with raw files, searched first; None if the user named none.
        cache_dir: our own folder, for downloads and for prepared data.
        offline: do not download.
        seed: of generated text; without effect on a data set of files.
        train_tokens: length of the training split. Generated text has exactly that many tokens (None: as
            many as WikiText-2), a data set of files at most (None: all). The vocabulary is that of all.
        valid_tokens: the same for the validation split.
        test_tokens: the same for the test split.
        progress: told about a download, in bytes (there, in all).

    Raises:
        UsageError: there is no such data set, or a number makes no sense.
        DataMissing: the raw files are neither here nor to be had.
        DataCorrupt: a raw file is not what its checksum says.
        DiskFull: the cache has no room.
        PreflightError: the cache may not be written.
    """
    lengths = dict(zip(SPLITS, (train_tokens, valid_tokens, test_tokens), strict=True))
    for split, length in lengths.items():
        if length is not None and length < 1:
            raise UsageError(f"A {split} split of {length} tokens makes no sense.", fix="Use 1 or more.")
    cache_dir = cache_dir.absolute()
    if dataset == SYNTHETIC:
        return _prepare_synthetic(cache_dir, vocabulary, seed, lengths)
    if vocabulary is not None and vocabulary < MIN_VOCABULARY:
        raise UsageError(f"A vocabulary of {vocabulary} words makes no sense.", fix=f"Use {MIN_VOCABULARY} or more.")
    found = dataset_named(dataset)
    raw = from_user(found, data_dir) if data_dir is not None else None
    return _prepare_text(found, raw, cache_dir, vocabulary, lengths, offline=offline, progress=progress)


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
    expected_bytes: int
    expected_sha256: str


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
    """One entry a file; empty for generated text."""
    prepared: tuple[PreparedFolder, ...]
    sources: tuple[str, ...]
    """Where the raw files can be had, the preferred place first."""
    licence: str


def status(dataset: str, *, data_dir: Path | None, cache_dir: Path) -> DataStatus:
    """What there is of a data set, looked for where `prepare` would look; every file is verified.

    Raises:
        UsageError: there is no such data set.
    """
    paths = [path for path in store.folders(cache_dir.absolute()) if path.name.startswith(f"{dataset}-")]
    prepared = tuple(PreparedFolder(path, store.read(path)) for path in paths)
    if dataset == SYNTHETIC:
        return DataStatus(SYNTHETIC, "Generated text", (), prepared, (), "none: it is made on this machine")
    found = dataset_named(dataset)
    users = raw_folder(found, data_dir) if data_dir is not None else None
    folder = users or cache_dir.absolute() / found.name
    raw = tuple(_raw_file(file, local_path(file, folder)) for file in found.files)
    sources = tuple(source.address for source in found.sources)
    return DataStatus(found.name, found.title, raw, prepared, sources, found.licence)


def _prepare_synthetic(
    cache_dir: Path, vocabulary: int | None, seed: int, lengths: Mapping[str, int | None]
) -> Prepared:
    if seed < 0:
        raise UsageError(f"{seed} cannot be a seed of generated text.", fix="Use 0 or more.")
    source = synthetic.text_for(vocabulary)
    counts = {split: lengths[split] or (WIKITEXT_2.token_counts or {})[split] for split in SPLITS}
    recipe = Recipe(SYNTHETIC, {"source": asdict(source), "seed": seed, "tokens": counts})

    def make() -> Prepared:
        return store.write(
            cache_dir,
            recipe,
            origin=f"generated, seed {seed}",
            vocabulary=[f"w{rank}" for rank in range(source.vocabulary)],
            ids={split: synthetic.generate(source, split, n, seed).tobytes() for split, n in counts.items()},
            best_perplexity=source.best_perplexity,
        )

    return _reuse(cache_dir, recipe) or _make(cache_dir, recipe, make)


def _prepare_text(
    dataset: DataSet,
    raw: RawFiles | None,
    cache_dir: Path,
    vocabulary: int | None,
    lengths: Mapping[str, int | None],
    *,
    offline: bool,
    progress: Progress | None,
) -> Prepared:
    recipe = _text_recipe(dataset, vocabulary, lengths)
    if ready := _reuse(cache_dir, recipe):
        return replace(ready, origin=raw.origin if raw else "cache")
    files = raw or from_cache_or_download(dataset, cache_dir / dataset.name, offline=offline, progress=progress)

    def make() -> Prepared:
        corpus = read_corpus({split: files.paths[split] for split in SPLITS}, vocabulary)
        _check_counts(dataset, corpus, vocabulary)
        return store.write(
            cache_dir,
            recipe,
            origin=files.origin,
            vocabulary=corpus.vocabulary,
            ids={split: ids[: 4 * (lengths[split] or len(ids))] for split, ids in corpus.ids.items()},
            best_perplexity=None,
        )

    return replace(_make(cache_dir, recipe, make), origin=files.origin)


def _text_recipe(dataset: DataSet, vocabulary: int | None, lengths: Mapping[str, int | None]) -> Recipe:
    inputs: dict[str, Any] = {
        "files": {file.name: file.sha256 for file in dataset.files},
        "vocabulary": vocabulary,
        "tokens": dict(lengths),
    }
    return Recipe(dataset.name, inputs)


def _reuse(cache_dir: Path, recipe: Recipe) -> Prepared | None:
    """The data set if it was made before and is whole."""
    ready = store.read(recipe.folder(cache_dir))
    return ready if ready is not None and ready.fingerprint == recipe.fingerprint else None


def _make(cache_dir: Path, recipe: Recipe, make: Callable[[], Prepared]) -> Prepared:
    """Make a data set, or wait for the process that is making it and use that one's."""
    with exclusive(store.prepared_root(cache_dir)):
        store.clean(cache_dir)
        return _reuse(cache_dir, recipe) or make()


def _check_counts(dataset: DataSet, corpus: Corpus, vocabulary: int | None) -> None:
    """The pinned files must give the published numbers: anything else is a fault of ours."""
    tokens = {split: len(ids) // 4 for split, ids in corpus.ids.items()}
    wrong_tokens = dataset.token_counts is not None and tokens != dict(dataset.token_counts)
    words = len(corpus.vocabulary)
    wrong_words = vocabulary is None and dataset.vocabulary_size not in {None, words}
    if wrong_tokens or wrong_words:
        raise MlbError(
            f"Preparing {dataset.title} gave {tokens} tokens and {words:,} words.",
            why=f"Expected: {dict(dataset.token_counts or {})} and {dataset.vocabulary_size}.",
            fix="This is a fault in mlb: please report it.",
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
