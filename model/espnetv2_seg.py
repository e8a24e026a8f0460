"""ESPNetv2 for segmentation: the encoder, and a decoder of efficient pyramid pools and gated skip connections.

Source: model/segmentation/espnetv2.py, nn_layers/efficient_pyramid_pool.py and efficient_pt.py of
github.com/sacmehta/EdgeNets, which hold what the paper (section 4.2) describes.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import ConvNormAct, NormAct
from .espnetv2 import CHANNELS, ESPNetV2Encoder
from .espnetv2_names import official_name

SCALES = (2.0, 1.5, 1.0, 0.5, 0.1)  # of the pyramid's branches, in the order of the checkpoints
MIN_PYRAMID_SIZE = 5  # pixels: no branch works on a smaller map, small maps are enlarged
_BASE_CHANNELS = 16


class ESPNetV2Seg(nn.Module):
    """The segmentation network. image: (N, 3, H, W) normalised RGB -> logits (N, num_classes, H, W).

    H and W must be 0 or 15 modulo 16: only then do the maps of encoder and decoder meet in size.
    """

    published_name = staticmethod(official_name)

    def __init__(self, width_mult: float = 2.0, num_classes: int = 20) -> None:
        super().__init__()
        level1, level2, level3, level4, *_ = CHANNELS[width_mult]
        channels4, channels3, channels2 = 4 * _BASE_CHANNELS, 3 * _BASE_CHANNELS, 2 * _BASE_CHANNELS
        pyramid_channels = min(num_classes // 2, _BASE_CHANNELS)
        self.encoder = ESPNetV2Encoder(width_mult)
        self.pyramid4 = PyramidPool(level4, pyramid_channels, channels4)
        self.skip3 = GatedConv(level3, channels4)
        self.merge3 = NormAct(channels4)
        self.pyramid3 = PyramidPool(channels4, pyramid_channels, channels3)
        self.skip2 = GatedConv(level2, channels3)
        self.merge2 = NormAct(channels3)
        self.pyramid2 = PyramidPool(channels3, pyramid_channels, channels2)
        self.skip1 = GatedConv(level1, channels2)
        self.merge1 = NormAct(channels2)
        self.pyramid1 = PyramidPool(channels2, pyramid_channels, num_classes, last=True)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each pixel."""
        return upsample(self.low_resolution_logits(image), (image.shape[2], image.shape[3]))

    def low_resolution_logits(self, image: Tensor) -> Tensor:
        """Logits before the last, bilinear doubling: (N, num_classes, ceil(H/2), ceil(W/2))."""
        level1, level2, level3, level4 = self.encoder(image)
        x = self.pyramid4(level4)
        x = self.pyramid3(self.merge3(double(x) + self.skip3(level3)))
        x = self.pyramid2(self.merge2(double(x) + self.skip2(level2)))
        logits: Tensor = self.pyramid1(self.merge1(double(x) + self.skip1(level1)))
        return logits


class PyramidPool(nn.Module):
    """Efficient pyramid pool: depth-wise 3x3 convolutions at five scales of the map, mixed by a grouped one.

    x: (N, in_channels, h, w) -> (N, out_channels, h, w). The `last` one of the decoder gives logits: its 1x1
    convolution has a bias and nothing follows it.
    """

    def __init__(self, in_channels: int, pyramid_channels: int, out_channels: int, *, last: bool = False) -> None:
        super().__init__()
        self.project = ConvNormAct(in_channels, pyramid_channels, 1)
        self.branches = nn.ModuleList(
            nn.Conv2d(pyramid_channels, pyramid_channels, 3, padding=1, groups=pyramid_channels, bias=False)
            for _ in SCALES
        )
        self.fuse = NormAct(pyramid_channels * len(SCALES))
        self.shuffle = nn.ChannelShuffle(len(SCALES))
        self.mix = ConvNormAct(pyramid_channels * len(SCALES), pyramid_channels, 3, groups=pyramid_channels)
        self.expand = nn.Conv2d(pyramid_channels, out_channels, 1, bias=last)
        self.out = nn.Identity() if last else NormAct(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Run the pool; see the class for shapes."""
        x = self.project(x)
        maps = [branch_at_scale(x, conv, scale) for conv, scale in zip(self.branches, SCALES, strict=True)]
        fused = self.fuse(torch.cat(maps, dim=1))
        out: Tensor = self.out(self.expand(self.mix(self.shuffle(fused))))
        return out


def branch_at_scale(x: Tensor, conv: nn.Module, scale: float) -> Tensor:
    """`conv` applied to `x` (N, C, h, w) at `scale` times its size, brought back to (h, w).

    Larger scales go up bilinearly and come back by adaptive average pooling, smaller ones the other way round.
    """
    size = x.shape[2], x.shape[3]
    scaled = scaled_size(size[0], scale), scaled_size(size[1], scale)
    out: Tensor
    if scale > 1:
        out = F.adaptive_avg_pool2d(conv(upsample(x, scaled)), size)
    elif scale < 1:
        out = upsample(conv(F.adaptive_avg_pool2d(x, scaled)), size)
    else:
        out = conv(x)
    return out


def scaled_size(size: int, scale: float) -> int:
    """Side of a pyramid branch's map, in pixels: ceil(size * scale), at least 5."""
    return max(MIN_PYRAMID_SIZE, math.ceil(size * scale))


class GatedConv(nn.Module):
    """Skip connection: 3x3 convolution whose channels are weighted by a gate computed from the pooled input.

    x: (N, in_channels, h, w) -> (N, out_channels, h, w). `EfficientPWConv` in the authors' code.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.expand = ConvNormAct(in_channels, out_channels, 3, groups=math.gcd(in_channels, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Run the gate and the convolution."""
        weight = torch.sigmoid(self.gate(x.mean(dim=(2, 3), keepdim=True)))
        out: Tensor = self.expand(x) * weight
        return out


def upsample(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear with corners aligned, to (height, width) pixels."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def double(x: Tensor) -> Tensor:
    """Bilinear with corners aligned, to twice the size."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)
