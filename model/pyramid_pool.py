"""What the decoders of segmentation and detection are made of: pyramid pools and gated skip connections.

Source: nn_layers/efficient_pyramid_pool.py and nn_layers/efficient_pt.py of github.com/sacmehta/EdgeNets.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import ConvNormAct, NormAct

SCALES = (2.0, 1.5, 1.0, 0.5, 0.1)  # of a segmentation pyramid's branches, in the order of the checkpoints
MIN_PYRAMID_SIZE = 5  # pixels: no branch works on a smaller map, small maps are enlarged


class PyramidPool(nn.Module):
    """Efficient pyramid pool: depth-wise 3x3 convolutions at several scales of the map, mixed by a grouped one.

    x: (N, in_channels, h, w) -> (N, out_channels, h, w). The `last` one of a decoder gives logits: its 1x1
    convolution has a bias and nothing follows it. `scales` fall from branch to branch, as in the checkpoints.
    """

    def __init__(
        self,
        in_channels: int,
        pyramid_channels: int,
        out_channels: int,
        *,
        scales: tuple[float, ...] = SCALES,
        last: bool = False,
    ) -> None:
        super().__init__()
        self.scales = scales
        self.project = ConvNormAct(in_channels, pyramid_channels, 1)
        self.branches = nn.ModuleList(
            nn.Conv2d(pyramid_channels, pyramid_channels, 3, padding=1, groups=pyramid_channels, bias=False)
            for _ in scales
        )
        self.fuse = NormAct(pyramid_channels * len(scales))
        self.shuffle = nn.ChannelShuffle(len(scales))
        self.mix = ConvNormAct(pyramid_channels * len(scales), pyramid_channels, 3, groups=pyramid_channels)
        self.expand = nn.Conv2d(pyramid_channels, out_channels, 1, bias=last)
        self.out = nn.Identity() if last else NormAct(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Run the pool; see the class for shapes."""
        x = self.project(x)
        maps = [branch_at_scale(x, conv, scale) for conv, scale in zip(self.branches, self.scales, strict=True)]
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
