"""ResNet-50 version 1.5: its size, and loss and gradients against the equations written out."""

from __future__ import annotations

import pytest
import torch
from mlb.models.resnet50 import Bottleneck, ResNet50, ResNet50Config
from torch import Tensor
from torch.nn import functional as F


def test_the_model_has_the_published_parameters() -> None:
    model = ResNet50(ResNet50Config())
    assert sum(p.numel() for p in model.parameters()) == 25_557_032
    blocks = [block for block in model.blocks if isinstance(block, Bottleneck)]
    assert len(blocks) == 16
    strides = [(block.conv1.stride[0], block.conv2.stride[0]) for block in blocks]
    assert strides == [(1, 2 if i in (3, 7, 13) else 1) for i in range(16)], "v1.5: the stride is in the 3x3"
    assert all(not block.bn3.weight.any() for block in blocks)


def written_out(x: Tensor, w: dict[str, Tensor], blocks: tuple[int, ...]) -> Tensor:
    """The training pass from unfolded patches, matrix products and batch moments."""

    def convolve(x: Tensor, name: str, stride: int) -> Tensor:
        kernel = w[f"{name}.weight"]
        side, padding = kernel.shape[-1], kernel.shape[-1] // 2
        patches = F.unfold(x, side, padding=padding, stride=stride)
        size = (x.shape[-1] + 2 * padding - side) // stride + 1
        return (kernel.flatten(1) @ patches).view(len(x), -1, size, size)

    def normalise(x: Tensor, name: str) -> Tensor:
        mean, square = x.mean((0, 2, 3), keepdim=True), (x * x).mean((0, 2, 3), keepdim=True)
        scale, shift = (w[f"{name}.{part}"].view(1, -1, 1, 1) for part in ("weight", "bias"))
        return (x - mean) / (square - mean * mean + 1e-5).sqrt() * scale + shift

    x = normalise(convolve(x, "conv", 2), "bn").clamp_min(0)
    patches = F.unfold(F.pad(x, (1, 1, 1, 1)), 3, stride=2)
    size = (x.shape[-1] - 1) // 2 + 1
    x = patches.view(len(x), x.shape[1], 9, size, size).amax(2)
    number = 0
    for stage, count in enumerate(blocks):
        for i in range(count):
            name, stride = f"blocks.{number}", 2 if stage and not i else 1
            y = normalise(convolve(x, f"{name}.conv1", 1), f"{name}.bn1").clamp_min(0)
            y = normalise(convolve(y, f"{name}.conv2", stride), f"{name}.bn2").clamp_min(0)
            y = normalise(convolve(y, f"{name}.conv3", 1), f"{name}.bn3")
            if f"{name}.shortcut.0.weight" in w:
                x = normalise(convolve(x, f"{name}.shortcut.0", stride), f"{name}.shortcut.1")
            x = (y + x).clamp_min(0)
            number += 1
    return x.mean((2, 3)) @ w["linear.weight"].t() + w["linear.bias"]


def test_loss_and_gradients_equal_the_equations() -> None:
    """Float64, one fixed batch, all four stages with a second block in two of them."""
    torch.manual_seed(3)
    config = ResNet50Config(blocks=(2, 1, 2, 1), width=4, classes=7, zero_last_scale=False)
    model = ResNet50(config).double()
    images = torch.rand(5, 3, 64, 64, dtype=torch.float64)
    labels = torch.tensor([0, 6, 3, 3, 1])
    loss = F.cross_entropy(model(images), labels, label_smoothing=0.1)
    loss.backward()
    copies = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    scores = written_out(images, copies, config.blocks)
    log_p = scores - torch.logsumexp(scores, 1, keepdim=True)
    expected = (0.9 * -log_p.gather(1, labels[:, None]).squeeze(1) + 0.1 * -log_p.mean(1)).mean()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    for name, p in model.named_parameters():
        assert p.grad is not None
        torch.testing.assert_close(p.grad, copies[name].grad, rtol=1e-7, atol=1e-10)
