"""The data sets that can be prepared, by name: the table behind `mlb data` and the goals of the tasks."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ..errors import UsageError, did_you_mean
from .known_imagenet import IMAGENET, IMAGENET_320
from .known_parallel import MULTI30K, OWN_CORPUS, WMT_16, WMT_17
from .sources import SPLITS, Archive, DataSet, Source, SourceFile

SYNTHETIC = "synthetic"
"""Text that is generated on the spot: it has no files and no source."""

SYNTHETIC_IMAGES = "synthetic-images"
"""Images that are generated on the spot."""

_PYTORCH_EXAMPLES = (
    "https://raw.githubusercontent.com/pytorch/examples/77f55b912142e11fcfdf5b530231fb9c52f181e8"
    "/word_language_model/data/wikitext-2"
)

WIKITEXT_2 = DataSet(
    name="wikitext-2",
    title="WikiText-2",
    licence="CC BY-SA (text of Wikipedia; Merity et al., 2016, arXiv:1609.07843)",
    kind="text",
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
            archives=(
                Archive(
                    "https://wikitext.smerity.com/wikitext-2-v1.zip",
                    32 << 20,
                    MappingProxyType({f"{split}.txt": f"wikitext-2/wiki.{split}.tokens" for split in SPLITS}),
                ),
            )
        ),
    ),
    counts=MappingProxyType({"train": 2_088_628, "valid": 217_646, "test": 245_569}),
    vocabulary_size=33_278,
)

_CIFAR_FILES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")


def _cifar_archive(url: str) -> Source:
    # The checksum is widely published: TensorFlow Datasets, MLDatasets.jl and others pin the same.
    return Source(
        archives=(
            Archive(
                url,
                170_052_171,
                MappingProxyType({name: f"cifar-10-batches-bin/{name}" for name in _CIFAR_FILES}),
                sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            ),
        )
    )


CIFAR_10 = DataSet(
    name="cifar-10-batches-bin",
    title="CIFAR-10",
    licence="research use (Krizhevsky, 2009, Learning Multiple Layers of Features from Tiny Images)",
    kind="images",
    # The archive is pinned, not the files in it: copies of these are checked by their size and their labels.
    files=tuple(SourceFile(name, size_bytes=30_730_000) for name in _CIFAR_FILES),
    sources=(
        _cifar_archive("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"),
        _cifar_archive("https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/cifar-10-binary.tar.gz"),
    ),
    counts=MappingProxyType({"train": 50_000, "test": 10_000}),
    options=MappingProxyType({"side": 32, "classes": 10}),
)

_LIBSVM = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/binary"
_LIBSVM_HTTP = "http://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/binary"

A9A = DataSet(
    name="a9a",
    title="a9a (Adult)",
    licence="CC BY 4.0 (Becker and Kohavi, 1996, UCI Adult; encoded by Platt, 1998)",
    kind="libsvm",
    files=(SourceFile("a9a", other_names=("libsvm/a9a",)), SourceFile("a9a.t", other_names=("libsvm/a9a.t",))),
    sources=tuple(Source(files={"a9a": f"{base}/a9a", "a9a.t": f"{base}/a9a.t"}) for base in (_LIBSVM, _LIBSVM_HTTP)),
    counts=MappingProxyType({"train": 32_561, "test": 16_281}),
    options=MappingProxyType({"features": 123}),
)

EPSILON = DataSet(
    name="epsilon",
    large=True,
    title="epsilon (PASCAL challenge 2008)",
    licence="research use, see the LIBSVM page",
    kind="libsvm",
    files=(
        SourceFile("epsilon_normalized.bz2", other_names=("epsilon_normalized",)),
        SourceFile("epsilon_normalized.t.bz2", other_names=("epsilon_normalized.t",)),
    ),
    sources=tuple(
        Source(files={name: f"{base}/{name}" for name in ("epsilon_normalized.bz2", "epsilon_normalized.t.bz2")})
        for base in (_LIBSVM, _LIBSVM_HTTP)
    ),
    counts=MappingProxyType({"train": 400_000, "test": 100_000}),
    options=MappingProxyType({"features": 2_000}),
)

DATASETS: Mapping[str, DataSet] = MappingProxyType(
    {
        d.name: d
        for d in (WIKITEXT_2, CIFAR_10, IMAGENET, IMAGENET_320, A9A, EPSILON, WMT_16, WMT_17, MULTI30K, OWN_CORPUS)
    }
)


def dataset_named(name: str) -> DataSet:
    """The data set of files called `name`.

    Raises:
        UsageError: there is none; the message lists what there is.
    """
    known = (*DATASETS, SYNTHETIC, SYNTHETIC_IMAGES)
    if name not in DATASETS:
        hint = did_you_mean(name, known)
        raise UsageError(f"There is no data set {name!r}.{hint}", fix=f"Data sets: {', '.join(known)}.")
    return DATASETS[name]
