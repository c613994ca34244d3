"""One image as a file, through Pillow: is it sound, what is kept of it, and the pixels of a crop.

Rates on one core (benchmarks/input_rate.py): benchmarks/README.md.

Shapes: S pixels a side.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageFile, UnidentifiedImageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]
    Random = np.random.Generator

_REENCODED_QUALITY = 100
"""Of what had to be re-encoded as it stands: MLPerf's preparation of ImageNet uses the same."""
_SMALLER_QUALITY = 90
_TRIES = 10
"""Crops drawn before the whole image is taken, as torchvision has it."""


class BadImage(Exception):
    """These bytes are no image that can be trained on; the text is the reason, without the image's name."""


@dataclass(frozen=True)
class Kept:
    """What is kept of an image."""

    content: bytes
    """A JPEG of grey or of red, green and blue."""
    change: str = ""
    """What was done to it; empty where the bytes are the user's own."""


def keep(content: bytes, short_side: int | None) -> Kept:
    """Decode an image to its last pixel, and keep its bytes wherever they are what the training can decode.

    Args:
        short_side: shrink an image whose shorter side is longer than that; None: never.

    Raises:
        BadImage: empty, cut short, or no image.
    """
    if not content:
        raise BadImage("empty files")
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            image.load()
            if short_side is not None and min(image.size) > short_side:
                scale = short_side / min(image.size)
                size = (round(image.width * scale), round(image.height * scale))
                smaller = image.convert("RGB").resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
                return Kept(_encoded(smaller, _SMALLER_QUALITY), f"shrunk to a shorter side of {short_side}")
            if image.format != "JPEG" or image.mode not in ("RGB", "L"):
                what = f"{image.format} of {image.mode}"
                return Kept(_encoded(image.convert("RGB"), _REENCODED_QUALITY), f"re-encoded from {what}")
    except UnidentifiedImageError as error:
        raise BadImage("files that are no JPEG or PNG") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadImage("images that do not decode to their end") from error
    return Kept(content)


def random_crop(content: bytes, side: int, random: Random, area: tuple[float, float]) -> Pixels:
    """A random part of the image, of `area` of its pixels and 3:4 to 4:3 in shape, resized; half are mirrored.

    The distribution is that of torchvision's RandomResizedCrop and RandomHorizontalFlip.

    Returns: (S, S, 3).
    """
    import numpy as np

    image = _opened(content)
    left, top, width, height = _box(image.width, image.height, random, area)
    mirrored = random.random() < 0.5
    part = image.crop((left, top, left + width, top + height)).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else part)


def centre_crop(content: bytes, resized: int, side: int) -> Pixels:
    """The middle of the image: its shorter side is resized to `resized`, and `side` x `side` pixels are taken.

    Returns: (S, S, 3).
    """
    import numpy as np

    image = _opened(content)
    # The longer side is cut, not rounded, and the middle is rounded: torchvision's Resize and CenterCrop do so.
    width, height = (int(resized * n / min(image.size)) for n in image.size)
    left, top = round((width - side) / 2), round((height - side) / 2)
    whole = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(whole.crop((left, top, left + side, top + side)))


def encode(pixels: Pixels, quality: int) -> bytes:
    """(S, S, 3) as a JPEG."""
    return _encoded(Image.fromarray(pixels), quality)


def _opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content)).convert("RGB")


def _box(width: int, height: int, random: Random, area: tuple[float, float]) -> tuple[int, int, int, int]:
    """Left, top, width and height of a crop."""
    import numpy as np

    log_ratio = np.log(4 / 3)
    for _ in range(_TRIES):
        pixels = width * height * random.uniform(*area)
        ratio = np.exp(random.uniform(-log_ratio, log_ratio))
        w, h = round(np.sqrt(pixels * ratio)), round(np.sqrt(pixels / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(random.integers(width - w + 1)), int(random.integers(height - h + 1)), w, h
    # An image so long that no crop fitted: the middle of it, in the nearest shape that is allowed.
    w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    return (width - w) // 2, (height - h) // 2, w, h


def _encoded(image: Image.Image, quality: int) -> bytes:
    written = io.BytesIO()
    image.save(written, "JPEG", quality=quality, subsampling=0 if quality == _REENCODED_QUALITY else -1)
    return written.getvalue()


ImageFile.LOAD_TRUNCATED_IMAGES = False  # Pillow's own default, which another library may have changed
