"""ESPNetv2-SSD: detection in one pass at six map sizes (Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016).

Source: model/detection/espnetv2.py and ssd.py of github.com/sacmehta/EdgeNets, in the form of the published weights.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .blocks import ConvNormAct
from .eesp import halve
from .espnetv2 import CHANNELS, ESPNetV2Backbone
from .espnetv2_names import official_detection_name
from .pyramid_pool import PyramidPool, upsample

BOXES_PER_LOCATION = 6
# The network predicts, per prior (centre, size), (centre - prior centre) / (prior size * first) and
# log(size / prior size) / second.
VARIANCES = (0.1, 0.2)

_EXTRA_CHANNELS = (512, 256, 128)  # levels 6 to 8
_PYRAMID_REDUCTION = 5
_SCALES = {6: (2.0, 1.0), 5: (2.0, 1.0, 0.5), 4: (2.0, 1.0, 0.5, 0.25), 3: (2.0, 1.0, 0.5, 0.25)}


class Maps(NamedTuple):
    """Maps that objects are found in: level k has 1 / 2^k of the image's size, rounded up; level 8 is one pixel."""

    level3: Tensor
    level4: Tensor
    level5: Tensor
    level6: Tensor
    level7: Tensor
    level8: Tensor


class ESPNetV2Det(nn.Module):
    """The detection network. image: (N, 3, H, W) normalised RGB -> confidences (N, P, classes), locations (N, P, 4).

    Both are raw: confidences before softmax (class 0 is the background), locations as offsets of the P prior boxes.
    Priors run over the maps from large to small, then rows, columns, and 6 boxes. One network serves all sizes: 300x300
    has 11,640 priors, 512x512 has 32,742.
    """

    published_name = staticmethod(official_detection_name)

    def __init__(self, width_mult: float = 2.0, num_classes: int = 81) -> None:
        super().__init__()
        _, _, level3, level4, _, level5 = CHANNELS[width_mult]
        level6, level7, level8 = _EXTRA_CHANNELS
        self.num_classes = num_classes
        self.backbone = ESPNetV2Backbone(width_mult)
        self.extra6 = _half_size(level5, level6)
        self.extra7 = _half_size(level6, level7)
        self.extra8 = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(level7, level8, 1, bias=False), nn.ReLU())
        self.pyramid6 = _pyramid(6, level7, level6)
        self.pyramid5 = _pyramid(5, level6, level5)
        self.pyramid4 = _pyramid(4, level5, level4)
        self.pyramid3 = _pyramid(3, level4, level3)
        channels = (level3, level4, level5, level6, level7, level8)
        self.box_heads = nn.ModuleList(nn.Conv2d(c, BOXES_PER_LOCATION * 4, 1) for c in channels)
        self.class_heads = nn.ModuleList(nn.Conv2d(c, BOXES_PER_LOCATION * num_classes, 1) for c in channels)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Confidences and locations of each prior."""
        return self.predictions(self.top_down(self.bottom_up(image)))

    def bottom_up(self, image: Tensor) -> Maps:
        """The maps as the backbone and the extra levels give them."""
        _, _, level3, level4, image16 = self.backbone(image)
        level5 = self.backbone.level5(level4, halve(image16))
        level6 = self.extra6(level5)
        level7 = self.extra7(level6)
        return Maps(level3, level4, level5, level6, level7, self.extra8(level7))

    def top_down(self, maps: Maps) -> Maps:
        """Levels 6 to 3 fused, each with the one above it; levels 7 and 8 as they are."""
        level6 = self.pyramid6(_on_top(maps.level7, maps.level6))
        level5 = self.pyramid5(_on_top(level6, maps.level5))
        level4 = self.pyramid4(_on_top(level5, maps.level4))
        level3 = self.pyramid3(_on_top(level4, maps.level3))
        return Maps(level3, level4, level5, level6, maps.level7, maps.level8)

    def predictions(self, maps: Maps) -> tuple[Tensor, Tensor]:
        """Confidences (N, P, classes) and locations (N, P, 4) from the fused maps."""
        confidences = [_by_prior(head(x), self.num_classes) for head, x in zip(self.class_heads, maps, strict=True)]
        locations = [_by_prior(head(x), 4) for head, x in zip(self.box_heads, maps, strict=True)]
        return torch.cat(confidences, dim=1), torch.cat(locations, dim=1)


def _half_size(in_channels: int, out_channels: int) -> nn.Sequential:
    """Depth-wise 3x3 with stride 2, then 1x1: (N, in, h, w) -> (N, out, ceil(h/2), ceil(w/2))."""
    return nn.Sequential(
        ConvNormAct(in_channels, in_channels, 3, stride=2, groups=in_channels),
        ConvNormAct(in_channels, out_channels, 1),
    )


def _pyramid(level: int, above: int, channels: int) -> PyramidPool:
    return PyramidPool(above + channels, channels // _PYRAMID_REDUCTION, channels, scales=_SCALES[level])


def _on_top(above: Tensor, x: Tensor) -> Tensor:
    """`above` resized to `x` and stacked on it: (N, a, h', w'), (N, c, h, w) -> (N, a + c, h, w)."""
    return torch.cat([upsample(above, (x.shape[2], x.shape[3])), x], dim=1)


def _by_prior(x: Tensor, numbers: int) -> Tensor:
    """Output of a head, (N, 6 * numbers, h, w) -> (N, h * w * 6, numbers)."""
    # Flattened before it is split, so that a free batch needs no computed shape.
    return torch.unflatten(x.permute(0, 2, 3, 1).flatten(1), 1, (-1, numbers))
