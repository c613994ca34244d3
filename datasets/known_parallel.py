"""The data sets of parallel text: what WMT publishes, a small real one, and what users have themselves."""

from __future__ import annotations

from types import MappingProxyType

from .sources import Archive, DataSet, Source, SourceFile

_STATMT = ("http://www.statmt.org", "https://www.statmt.org")
_DATA = ("http://data.statmt.org", "https://data.statmt.org")
"""Two doors to the same publisher: it has no mirror; the checksums are those that TensorFlow Datasets pins."""

_TESTS = {
    "newstest2013-src.en.sgm": "dev/newstest2013-src.en.sgm",
    "newstest2013-src.de.sgm": "dev/newstest2013-src.de.sgm",
    "newstest2014-deen-ref.en.sgm": "dev/newstest2014-deen-ref.en.sgm",
    "newstest2014-deen-src.de.sgm": "dev/newstest2014-deen-src.de.sgm",
}


def _both(name: str, folder: str = "") -> MappingProxyType[str, str]:
    """English and German file -> member."""
    return MappingProxyType({f"{name}.{side}": f"{folder}{name}.{side}" for side in ("en", "de")})


def _wmt(year: int, longest: int, commentary: str, archive: Archive) -> DataSet:
    names = ("europarl-v7.de-en", "commoncrawl.de-en", commentary)
    files = [SourceFile(f"{name}.{side}") for name in names for side in ("en", "de")]
    sources = []
    for statmt, data in zip(_STATMT, _DATA, strict=True):
        archives = (
            Archive(
                f"{statmt}/wmt13/training-parallel-europarl-v7.tgz",
                657_632_379,
                _both(names[0], "training/"),
                "0224c7c710c8a063dfd893b0cc0830202d61f4c75c17eb8e31836103d27d96e7",
            ),
            Archive(
                f"{statmt}/wmt13/training-parallel-commoncrawl.tgz",
                918_311_367,
                _both(names[1]),
                "c7a74e2ea01ac6c920123108627e35278d4ccb5701e15428ffa34de86fa3a9e5",
            ),
            Archive(data + archive.url, archive.size_bytes, archive.members, archive.sha256),
            Archive(
                f"{data}/wmt19/translation-task/dev.tgz",
                38_654_961,
                MappingProxyType(_TESTS),
                "7a7deccf82ebb05ba508dba5eb21356492224e8f630ec4f992132b029b4b25e7",
            ),
        )
        sources.append(Source(archives=archives))
    return DataSet(
        name=f"wmt{year}-en-de",
        large=True,
        title=f"WMT{year} English-German",
        licence="research use, see the pages of WMT",
        kind="parallel",
        files=(*files, *(SourceFile(name) for name in _TESTS)),
        sources=tuple(sources),
        options=MappingProxyType(
            {
                "source": "en",
                "target": "de",
                "train": " ".join(f"{name}.{{}}" for name in names),
                "valid": "newstest2014-deen-{side}.{}.sgm",
                "test": "newstest2013-src.{}.sgm",
                "longest": longest,
            }
        ),
    )


WMT_16 = _wmt(
    16,
    75,
    "news-commentary-v11.de-en",
    Archive(
        "/wmt16/translation-task/training-parallel-nc-v11.tgz",
        75_178_032,
        _both("news-commentary-v11.de-en", "training-parallel-nc-v11/"),
        "cfe8ab047e05043476e498ee765c98e939c7b7d6d294e856344c84476b619d6a",
    ),
)

WMT_17 = _wmt(
    17,
    80,
    "news-commentary-v12.de-en",
    Archive(
        "/wmt17/translation-task/training-parallel-nc-v12.tgz",
        168_591_139,
        _both("news-commentary-v12.de-en", "training/"),
        "2b45f30ef1d550d302fd17dd3a5cbe19134ccc4c2cf50c2dae534aee600101a2",
    ),
)

_MULTI30K_SIZES = {
    "train.en": (1_801_238, "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6"),
    "train.de": (2_110_398, "2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72"),
    "val.en": (63_297, "1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227"),
    "val.de": (75_981, "660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660"),
    "test_2016_flickr.en": (62_076, "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182"),
    "test_2016_flickr.de": (70_649, "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16"),
}


def _multi30k_source(base: str) -> Source:
    return Source(
        archives=tuple(
            Archive(f"{base}/{name}.gz", 4 << 20, MappingProxyType({name: name})) for name in _MULTI30K_SIZES
        )
    )


MULTI30K = DataSet(
    name="multi30k",
    title="Multi30k English-German",
    licence="CC BY-NC-SA 4.0 (Elliott et al., 2016, arXiv:1605.00459)",
    kind="parallel",
    files=tuple(SourceFile(name, size, sha256) for name, (size, sha256) in _MULTI30K_SIZES.items()),
    sources=(
        _multi30k_source("https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw"),
        _multi30k_source("https://cdn.jsdelivr.net/gh/multi30k/dataset@master/data/task1/raw"),
    ),
    counts=MappingProxyType({"valid": 1_014, "test": 1_000}),
    options=MappingProxyType(
        {"source": "en", "target": "de", "train": "train.{}", "valid": "val.{}", "test": "test_2016_flickr.{}"}
    ),
)

_OWN = [f"{split}.{side}" for split in ("train", "valid", "test") for side in ("en", "de")]

OWN_CORPUS = DataSet(
    name="own-corpus",
    title="your own English-German corpus",
    licence="yours",
    kind="parallel",
    files=tuple(SourceFile(name) for name in _OWN),
    sources=(),
    options=MappingProxyType(
        {"source": "en", "target": "de", "train": "train.{}", "valid": "valid.{}", "test": "test.{}"}
    ),
)
