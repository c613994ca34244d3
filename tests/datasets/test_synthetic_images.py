"""Generated textures: the same from the same seed, in the layout of ImageNet, their class theirs alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mlb.datasets import generated, synthetic_images
from mlb.datasets.jpeg_load import Images, Wanted
from mlb.datasets.prepare import prepare
from mlb.datasets.synthetic_images import CLASSES, Textures, image
from mlb.errors import UsageError


def test_prepared_as_imagenet_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic_images, "Textures", lambda: Textures(train=24, valid=16))
    made = prepare("synthetic-images", vocabulary=None, data_dir=None, cache_dir=tmp_path, seed=3)
    assert (made.counts, made.best_possible, made.unit) == ({"train": 24, "valid": 16}, 100.0, "images")
    images = Images(made.path)
    pixels, labels = images[Wanted("valid", tuple(range(16)), 64, resized=64)]
    assert labels.tolist() == [*range(8), *range(8)]
    for place in (0, 9):
        drawn, _ = image(Textures(), "valid", place, 3)
        off = pixels[place].permute(1, 2, 0).numpy().astype(float) - drawn
        assert np.abs(off.mean(2)).mean() < 8, "but for the colour of the noise, which a JPEG halves"
    again = prepare("synthetic-images", vocabulary=None, data_dir=None, cache_dir=tmp_path, seed=3)
    assert again.path == made.path
    with pytest.raises(UsageError, match="cannot be a seed"):
        prepare("synthetic-images", vocabulary=None, data_dir=None, cache_dir=tmp_path, seed=-1)
    assert set(generated.GENERATED) == {"synthetic", "synthetic-images"}


@pytest.mark.parametrize("number", range(8))
def test_a_texture_is_seen_through_the_noise(number: int) -> None:
    """The contrast of the texture is above what the noise leaves of a mean over its neighbourhood of 3x3 pixels."""
    of = Textures()
    for more in range(5):
        pixels, label = image(of, "train", number + 8 * more, seed=1)
        assert label == number == CLASSES.index(CLASSES[number])
        colours = pixels.astype(float)
        smooth = sum(np.roll(colours, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)) / 9
        assert smooth.std((0, 1)).max() > 1.3 * of.noise / 3
