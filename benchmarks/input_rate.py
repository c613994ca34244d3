"""How fast task 1b's images decode on one core: python benchmarks/input_rate.py [ROUNDS].

Pictures of noise of the size of ImageNet's usual image, 500x375 pixels and about 110 kB, and the same shrunk to a
shorter side of 320. Each is decoded, cropped at random (8 to 100 % of it), resized to 224x224 and mirrored, as the
training does; and its middle is taken, as the evaluation does. Interleaved; processor time of this process.
"""

import io
import sys
import time

import numpy as np
from common import interval, machine
from mlb.datasets.jpeg import centre_crop, keep, random_crop
from PIL import Image

PICTURES = 20
GPU_IMAGES_PER_S = 7_770
"""Of one H200 in MLPerf's fastest 8-GPU run of ResNet-50 (8 x H200, 12.03 minutes)."""


def picture(number: int) -> bytes:
    """500x375 pixels with the spectrum of photographs, one over the frequency."""
    random = np.random.default_rng(number)
    height, width = 375, 500
    power = np.fft.fftfreq(height)[:, None] ** 2 + np.fft.rfftfreq(width)[None] ** 2
    power[0, 0] = 1
    planes = []
    for _ in range(3):
        noise = random.normal(size=power.shape) + 1j * random.normal(size=power.shape)
        plane = np.fft.irfft2(noise / power**0.55, s=(height, width))
        planes.append((plane - plane.mean()) / plane.std() * 50 + 120)
    pixels = np.stack(planes, -1) + random.normal(0, 8, (height, width, 1))
    written = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(written, "JPEG", quality=90)
    return written.getvalue()


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    random = np.random.default_rng(0)
    full = [picture(number) for number in range(PICTURES)]
    sets = {"imagenet": full, "imagenet-320": [keep(content, 320).content for content in full]}
    ways = {
        "random crop": lambda content: random_crop(content, 224, random, (0.08, 1.0)),
        "middle": lambda content: centre_crop(content, 256, 224),
        "check": lambda content: keep(content, None),
    }
    seconds: dict[tuple[str, str], list[float]] = {(name, way): [] for name in sets for way in ways}
    for _ in range(rounds):
        for name, way in seconds:
            start = time.process_time()
            for content in sets[name]:
                ways[way](content)
            seconds[name, way].append((time.process_time() - start) / PICTURES)
    print(machine())
    for (name, way), values in seconds.items():
        median, low, high = interval(values)
        size = sum(map(len, sets[name])) / PICTURES / 1000
        print(
            f"{name:13} {size:4.0f} kB  {way:12} {1e3 * median:5.2f} ms (95 % {1e3 * low:.2f}-{1e3 * high:.2f}), "
            f"{1 / median:5.0f} images/s a core, {GPU_IMAGES_PER_S * median:4.1f} cores for {GPU_IMAGES_PER_S:,} a s"
        )


if __name__ == "__main__":
    main()
