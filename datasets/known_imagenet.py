"""ImageNet (ILSVRC 2012): its files, which only its users may have, and two ways to keep its images."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from .sources import DataSet, SourceFile

_TERMS = (
    "It may not be handed on, so mlb cannot download it: register at https://image-net.org, accept the terms\n"
    "(research, not commercial), and take the files of ILSVRC 2012, tasks 1 and 2. Published MD5 sums:\n"
    "train 1d675b47d978889d74fa0da5fadfb00e, validation 29b22e2961454d5413ddabcf34fc5622.\n"
    "Kaggle's copy (ILSVRC/Data/CLS-LOC and LOC_val_solution.csv) is the same data."
)

IMAGENET = DataSet(
    name="imagenet",
    large=True,
    title="ImageNet (ILSVRC 2012)",
    licence="research use, not to be handed on (Russakovsky et al., 2015, arXiv:1409.0575)",
    kind="imagenet",
    files=(
        SourceFile("ILSVRC2012_img_train.tar", size_bytes=147_897_477_120, folders=("train",)),
        SourceFile("ILSVRC2012_img_val.tar", size_bytes=6_744_924_160, folders=("val",)),
        SourceFile(
            "ILSVRC2012_devkit_t12.tar.gz",
            other_names=(
                "LOC_val_solution.csv",
                "val_labels.txt",
                "imagenet_2012_validation_synset_labels.txt",
            ),
            folders=("ILSVRC2012_devkit_t12",),
            optional=True,
        ),
    ),
    sources=(),
    counts=MappingProxyType({"train": 1_281_167, "valid": 50_000}),
    options=MappingProxyType({"classes": 1_000, "short_side": 0}),
    terms=_TERMS,
)

IMAGENET_320 = replace(
    IMAGENET,
    name="imagenet-320",
    title="ImageNet (ILSVRC 2012), shrunk to a shorter side of 320 pixels",
    options=MappingProxyType({"classes": 1_000, "short_side": 320}),
    of="imagenet",
)
"""Another input, for open runs: it decodes in three quarters of the time (benchmarks/README.md), and crops see less."""
