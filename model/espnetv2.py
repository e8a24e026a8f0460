"""ESPNetv2: the backbone and the ImageNet classifier (paper, section 3 and table 1).

Source of the widths: model/classification/espnetv2.py of github.com/sacmehta/EdgeNets.
"""

from typing import NamedTuple

from torch import Tensor, nn

from .blocks import ConvNormAct
from .eesp import EESP, NUM_BRANCHES, StridedEESP, halve
from .espnetv2_names import official_name

# width_mult (s in the paper): channels of stem, levels 2 to 5, and of the last 1x1 convolution.
CHANNELS = {
    0.5: (16, 32, 64, 128, 256, 1024),
    1.0: (32, 64, 128, 256, 512, 1024),
    1.25: (32, 80, 160, 320, 640, 1024),
    1.5: (32, 96, 192, 384, 768, 1024),
    2.0: (32, 128, 256, 512, 1024, 1280),
}


class Features(NamedTuple):
    """Maps of the encoder, by level: level k has 1 / 2^k of the image's size. `image16`: the image at level 4's."""

    level1: Tensor
    level2: Tensor
    level3: Tensor
    level4: Tensor
    image16: Tensor


class ESPNetV2Encoder(nn.Module):
    """Levels 1 to 4, all that segmentation needs.

    image: (N, 3, H, W) normalised RGB -> maps of 1/2, 1/4, 1/8, 1/16 of its size, each rounded up.
    """

    def __init__(self, width_mult: float) -> None:
        super().__init__()
        stem, level2, level3, level4, *_ = CHANNELS[width_mult]
        self.stem = ConvNormAct(3, stem, 3, stride=2)
        self.down2 = StridedEESP(stem, level2, receptive_field_limit=13)
        self.down3 = StridedEESP(level2, level3, receptive_field_limit=11)
        self.stage3 = nn.Sequential(*(EESP(level3, level3, receptive_field_limit=9) for _ in range(3)))
        self.down4 = StridedEESP(level3, level4, receptive_field_limit=9)
        self.stage4 = nn.Sequential(*(EESP(level4, level4, receptive_field_limit=7) for _ in range(7)))

    def forward(self, image: Tensor) -> Features:
        """Run levels 1 to 4."""
        # The image shrinks by the same pooling as the maps do, so both always agree in size.
        image4 = halve(halve(image))
        image8 = halve(image4)
        image16 = halve(image8)
        level1 = self.stem(image)
        level2 = self.down2(level1, image4)
        level3 = self.stage3(self.down3(level2, image8))
        level4 = self.stage4(self.down4(level3, image16))
        return Features(level1, level2, level3, level4, image16)


class ESPNetV2Backbone(ESPNetV2Encoder):
    """Levels 1 to 5 with the last 1x1 convolution: what the classifier and detection share."""

    def __init__(self, width_mult: float) -> None:
        super().__init__(width_mult)
        *_, level4, level5, last = CHANNELS[width_mult]
        self.down5 = StridedEESP(level4, level5, receptive_field_limit=7)
        self.stage5 = nn.Sequential(*(EESP(level5, level5, receptive_field_limit=5) for _ in range(3)))
        self.head = nn.Sequential(
            ConvNormAct(level5, level5, 3, groups=level5),
            ConvNormAct(level5, last, 1, groups=NUM_BRANCHES),
        )

    def level5(self, level4: Tensor, image32: Tensor | None = None) -> Tensor:
        """Level 5 from level 4: (N, channels, h, w) -> (N, last channels, ceil(h/2), ceil(w/2)).

        `image32` is the image at the new size, for input reinforcement; None leaves it out.
        """
        out: Tensor = self.head(self.stage5(self.down5(level4, image32)))
        return out


class ESPNetV2(ESPNetV2Backbone):
    """The classifier. image: (N, 3, H, W) normalised RGB -> logits (N, num_classes).

    `down5.reinforce` exists but is not fed, as in the authors' code; only detection feeds it.
    """

    published_name = staticmethod(official_name)

    def __init__(self, width_mult: float = 2.0, num_classes: int = 1000) -> None:
        super().__init__(width_mult)
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(CHANNELS[width_mult][-1], num_classes)

    def forward(self, image: Tensor) -> Tensor:  # type: ignore[override]
        """Logits of each image."""
        level5 = self.level5(super().forward(image).level4)
        pooled = level5.mean(dim=(2, 3), keepdim=True).flatten(1)
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits
