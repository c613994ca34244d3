"""Seeded images of eight textures, as JPEG: a small set to classify whose best possible accuracy is 100 %.

A class is a texture: stripes along one of two axes or a diagonal, a chequerboard, a grid of lines, rings, spokes,
clouds. Its phase, frequency, colours, contrast and a tilt of up to ten degrees are drawn for each image, and noise is
laid over. The class is one of them by construction, mirrored or cropped it stays the same, and the contrast is
above the noise: a rule that is never wrong exists, hence 100 %.

Shapes: S pixels a side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Plane = npt.NDArray[np.float64]

CLASSES = ("rows", "columns", "diagonals", "chequers", "grid", "rings", "spokes", "clouds")

BEST_ACCURACY = 100.0
"""In percent."""

_SPLITS = ("train", "valid")


@dataclass(frozen=True)
class Textures:
    """How many images of which size."""

    train: int = 8_000
    valid: int = 2_000
    side: int = 64
    quality: int = 90
    """Of the JPEG."""
    noise: float = 24.0
    """Standard deviation of the noise, of 255."""


def image(of: Textures, split: str, number: int, seed: int) -> tuple[npt.NDArray[np.uint8], int]:
    """An image, (S, S, 3), and its class: every image has a stream of random numbers of its own."""
    import numpy as np

    random = np.random.Generator(np.random.PCG64([seed, _SPLITS.index(split), number]))
    label = number % len(CLASSES)
    tilt = np.deg2rad(random.uniform(-10, 10))
    v, u = np.mgrid[0 : of.side, 0 : of.side] / of.side - 0.5
    plane = _TEXTURES[CLASSES[label]](u * np.cos(tilt) - v * np.sin(tilt), u * np.sin(tilt) + v * np.cos(tilt), random)
    ground, contrast = random.uniform(90, 165, 3), random.uniform(30, 70) * random.choice([-1, 1], 3)
    pixels = ground + contrast * plane[..., None] + random.normal(0, of.noise, (of.side, of.side, 3))
    return pixels.clip(0, 255).astype(np.uint8), label


def _waves(along: Plane, random: np.random.Generator) -> Plane:
    import numpy as np

    return np.asarray(np.sin(2 * np.pi * (random.uniform(4, 8) * along + random.uniform())))


def _rows(_: Plane, v: Plane, random: np.random.Generator) -> Plane:
    return _waves(v, random)


def _columns(u: Plane, _: Plane, random: np.random.Generator) -> Plane:
    return _waves(u, random)


def _diagonals(u: Plane, v: Plane, random: np.random.Generator) -> Plane:
    return _waves((u + random.choice([-1, 1]) * v) / 2**0.5, random)


def _chequers(u: Plane, v: Plane, random: np.random.Generator) -> Plane:
    import numpy as np

    return np.sign(_waves(u, random) * _waves(v, random))


def _grid(u: Plane, v: Plane, random: np.random.Generator) -> Plane:
    import numpy as np

    return np.maximum(np.abs(_waves(u, random)), np.abs(_waves(v, random))) ** 8 * 2 - 1


def _rings(u: Plane, v: Plane, random: np.random.Generator) -> Plane:
    import numpy as np

    x, y = random.uniform(-0.2, 0.2, 2)
    return _waves(np.hypot(u - x, v - y), random)


def _spokes(u: Plane, v: Plane, random: np.random.Generator) -> Plane:
    import numpy as np

    x, y = random.uniform(-0.2, 0.2, 2)
    return np.asarray(np.sin(random.integers(8, 15) * np.arctan2(v - y, u - x) + random.uniform(0, 2 * np.pi)))


def _clouds(u: Plane, _: Plane, random: np.random.Generator) -> Plane:
    import numpy as np

    side = len(u)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]) * side
    spectrum = np.fft.rfft2(random.normal(size=(side, side))) * np.exp(-(((frequency - 5) / 2) ** 2))
    plane = np.fft.irfft2(spectrum, s=(side, side))
    return np.asarray((plane / plane.std() * 0.7).clip(-1, 1))


_TEXTURES: dict[str, Callable[[Plane, Plane, np.random.Generator], Plane]] = {
    "rows": _rows,
    "columns": _columns,
    "diagonals": _diagonals,
    "chequers": _chequers,
    "grid": _grid,
    "rings": _rings,
    "spokes": _spokes,
    "clouds": _clouds,
}
