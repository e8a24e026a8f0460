"""ESPNetv2 for segmentation: the encoder, and a decoder of efficient pyramid pools and gated skip connections.

Source: model/segmentation/espnetv2.py of github.com/sacmehta/EdgeNets, which holds what the paper (section 4.2)
describes.
"""

from torch import Tensor, nn

from .blocks import NormAct
from .espnetv2 import CHANNELS, ESPNetV2Encoder
from .espnetv2_names import official_name
from .pyramid_pool import GatedConv, PyramidPool, double, upsample

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
        level1, level2, level3, level4, _ = self.encoder(image)
        x = self.pyramid4(level4)
        x = self.pyramid3(self.merge3(double(x) + self.skip3(level3)))
        x = self.pyramid2(self.merge2(double(x) + self.skip2(level2)))
        logits: Tensor = self.pyramid1(self.merge1(double(x) + self.skip1(level1)))
        return logits
