"""The residual networks for CIFAR of task 1a: ResNet-20 and its smaller and deeper relatives, version 1.

He, Zhang, Ren and Sun 2015, "Deep Residual Learning for Image Recognition", section 4.2, with projection shortcuts
(option B) as MLBench has them: 272,474 parameters at depth 20.

Shapes: B images, C channels, H and W pixels, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class ResNetCIFARConfig:
    """Depth and width; the defaults are the model that MLBench's task 1a trains."""

    depth: int = 20
    """Layers with weights along the longest path: 6 n + 2 for n blocks a stage."""
    width: int = 16
    """Channels of the first stage; each later one doubles them and halves the pixels."""
    classes: int = 10


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; the shortcut is projected where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW = F.relu(self.bn1(self.conv1(x_BCHW)))
        y_BCHW = self.bn2(self.conv2(y_BCHW))
        return F.relu(y_BCHW + self.shortcut(x_BCHW))


class ResNetCIFAR(nn.Module):
    """A convolution, three stages of basic blocks, the mean over all pixels, a linear layer."""

    def __init__(self, config: ResNetCIFARConfig) -> None:
        super().__init__()
        self.config = config
        blocks, rest = divmod(config.depth - 2, 6)
        assert blocks > 0, "a depth is 6 n + 2"
        assert not rest, "a depth is 6 n + 2"
        width = config.width
        self.conv = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        layers: list[nn.Module] = []
        inputs = width
        for outputs, first_stride in ((width, 1), (2 * width, 2), (4 * width, 2)):
            for i in range(blocks):
                layers.append(BasicBlock(inputs, outputs, first_stride if i == 0 else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*layers)
        self.linear = nn.Linear(inputs, config.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Scores, (B, K)."""
        y_BCHW = F.relu(self.bn(self.conv(x_BCHW)))
        scores_BK: Tensor = self.linear(self.blocks(y_BCHW).mean((2, 3)))
        return scores_BK
