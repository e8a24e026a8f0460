"""ShuffleNetV1: grouped 1x1 convolutions and channel shuffle (Zhang et al., CVPR 2018, table 1).

Reference form and parameter names as in pytorchcv. The authors' own code differs: it puts the shuffle behind the
depth-wise convolution, transposes it, concatenates the shortcut first, has a stem of 24 channels at width 1.5 (36 here)
and a classifier without bias.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .seed_gains import SeedGains

# groups: output channels of stages 2 to 4 of the paper at width 1.0
_CHANNELS = {
    1: (144, 288, 576),
    2: (200, 400, 800),
    3: (240, 480, 960),
    4: (272, 544, 1088),
    8: (384, 768, 1536),
}
_UNITS = (4, 8, 4)


class ShuffleNetV1(nn.Module):
    """image: (N, 3, H, W) normalised RGB -> logits (N, num_classes)."""

    seed_gains = SeedGains(depthwise=0.5, pointwise=1.6, linear=0.6)

    def __init__(self, width_mult: float = 1.0, num_classes: int = 1000, groups: int = 3) -> None:
        super().__init__()
        channels = int(24 * width_mult)
        self.features = nn.Sequential(OrderedDict(init_block=_Stem(channels)))
        for number, (out, units) in enumerate(zip(_CHANNELS[groups], _UNITS, strict=True), 1):
            out_channels = int(out * width_mult)
            stage = nn.Sequential()
            for unit in range(1, units + 1):
                first_of_all = number == 1 and unit == 1
                stage.add_module(
                    f"unit{unit}",
                    _Unit(channels, out_channels, groups, 1 if first_of_all else groups, downsample=unit == 1),
                )
                channels = out_channels
            self.features.add_module(f"stage{number}", stage)
        self.output = nn.Linear(channels, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each image."""
        pooled = self.features(image).mean(dim=(2, 3), keepdim=True).flatten(1)
        logits: Tensor = self.output(pooled)
        return logits


class _Stem(nn.Sequential):
    def __init__(self, out_channels: int) -> None:
        super().__init__(
            OrderedDict(
                conv=nn.Conv2d(3, out_channels, 3, stride=2, padding=1, bias=False),
                bn=nn.BatchNorm2d(out_channels),
                activ=nn.ReLU(),
                pool=nn.MaxPool2d(3, stride=2, padding=1),
            )
        )


class _Unit(nn.Module):
    """Grouped 1x1, shuffle, depth-wise 3x3, grouped 1x1; the input is added, or beside it at half the size.

    x: (N, in_channels, H, W) -> (N, out_channels, H, W), or half of H and W, rounded up, if `downsample`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, groups: int, first_groups: int, *, downsample: bool
    ) -> None:
        super().__init__()
        middle = out_channels // 4
        own_channels = out_channels - in_channels if downsample else out_channels
        self.downsample = downsample
        self.groups = groups
        self.compress_conv1 = nn.Conv2d(in_channels, middle, 1, groups=first_groups, bias=False)
        self.compress_bn1 = nn.BatchNorm2d(middle)
        stride = 2 if downsample else 1
        self.dw_conv2 = nn.Conv2d(middle, middle, 3, stride, padding=1, groups=middle, bias=False)
        self.dw_bn2 = nn.BatchNorm2d(middle)
        self.expand_conv3 = nn.Conv2d(middle, own_channels, 1, groups=groups, bias=False)
        self.expand_bn3 = nn.BatchNorm2d(own_channels)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.compress_bn1(self.compress_conv1(x)))
        out = self.dw_bn2(self.dw_conv2(shuffle(out, self.groups)))
        out = self.expand_bn3(self.expand_conv3(out))
        shortcut = F.avg_pool2d(x, 3, stride=2, padding=1) if self.downsample else x
        return F.relu(torch.cat([out, shortcut], dim=1) if self.downsample else out + shortcut)


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave the channels of `groups` groups: channel j of group i comes to place j * groups + i."""
    _, channels, height, width = x.shape
    return x.reshape(-1, groups, channels // groups, height, width).transpose(1, 2).reshape(-1, channels, height, width)
