"""The residual networks of bottleneck blocks for ImageNet of task 1b: ResNet-50 version 1.5 and reduced relatives.

He, Zhang, Ren and Sun 2015, "Deep Residual Learning for Image Recognition", table 1, in the form that MLPerf calls
v1.5: where a stage halves the pixels, the stride is in the 3x3 convolution, not in the 1x1 before it. 25,557,032
parameters at 1,000 classes.

Shapes: B images, C channels, H and W pixels, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

_EXPANSION = 4
"""Channels of a block's result for each channel of its 3x3 convolution."""


@dataclass(frozen=True)
class ResNet50Config:
    """Depth and width; the defaults are ResNet-50."""

    blocks: tuple[int, ...] = (3, 4, 6, 3)
    """Bottleneck blocks of each stage."""
    width: int = 64
    """Channels of the first convolution, and of the first stage's 3x3 ones; each later stage doubles them."""
    classes: int = 1_000
    zero_last_scale: bool = True
    """Start each block as the identity: the last normalisation of a block begins with a scale of 0
    (Goyal et al. 2017, arXiv:1706.02677, section 5.1)."""


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut, projected where the shape changes."""

    def __init__(self, inputs: int, middle: int, stride: int) -> None:
        super().__init__()
        outputs = _EXPANSION * middle
        self.conv1 = nn.Conv2d(inputs, middle, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW = F.relu(self.bn1(self.conv1(x_BCHW)))
        y_BCHW = F.relu(self.bn2(self.conv2(y_BCHW)))
        y_BCHW = self.bn3(self.conv3(y_BCHW))
        return F.relu(y_BCHW + self.shortcut(x_BCHW))


class ResNet50(nn.Module):
    """A 7x7 convolution and a maximum over 3x3, each of stride 2, the stages, the mean over all pixels, a linear
    layer."""

    def __init__(self, config: ResNet50Config) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.conv = nn.Conv2d(3, width, 7, 2, padding=3, bias=False)
        self.bn = nn.BatchNorm2d(width)
        layers: list[nn.Module] = []
        inputs = width
        for stage, blocks in enumerate(config.blocks):
            middle = width << stage
            for i in range(blocks):
                layers.append(Bottleneck(inputs, middle, 2 if stage and i == 0 else 1))
                inputs = _EXPANSION * middle
        self.blocks = nn.Sequential(*layers)
        self.linear = nn.Linear(inputs, config.classes)
        self._initialise()

    def _initialise(self) -> None:
        """He's normal weights; the linear layer's with a deviation of 0.01, as Goyal et al. have them."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, Bottleneck) and self.config.zero_last_scale:
                nn.init.zeros_(module.bn3.weight)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Scores, (B, K)."""
        y_BCHW = F.max_pool2d(F.relu(self.bn(self.conv(x_BCHW))), 3, 2, padding=1)
        scores_BK: Tensor = self.linear(self.blocks(y_BCHW).mean((2, 3)))
        return scores_BK
