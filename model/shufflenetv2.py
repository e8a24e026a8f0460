"""ShuffleNetV2: channel split and shuffle (Ma et al., ECCV 2018, table 5).

Structure and parameter names as in torchvision, so that its state dictionaries load as they are. The authors' own code
differs in the strided units and counts slightly more.
"""

import torch
from torch import Tensor, nn

from .seed_gains import SeedGains
from .shufflenetv1 import shuffle

# width: output channels of stages 2 to 4 and of the last 1x1 convolution
_CHANNELS = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}
_UNITS = (4, 8, 4)
_STEM_CHANNELS = 24


class ShuffleNetV2(nn.Module):
    """image: (N, 3, H, W) normalised RGB -> logits (N, num_classes)."""

    seed_gains = SeedGains(depthwise=1.2, pointwise=2.0, linear=0.6)

    def __init__(self, width_mult: float = 1.0, num_classes: int = 1000) -> None:
        super().__init__()
        *stages, last = _CHANNELS[width_mult]
        self.conv1 = _conv_norm_relu(3, _STEM_CHANNELS, 3, stride=2)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = (_STEM_CHANNELS, *stages)
        self.stage2, self.stage3, self.stage4 = (
            nn.Sequential(
                _Unit(channels[i], channels[i + 1], 2),
                *(_Unit(channels[i + 1], channels[i + 1], 1) for _ in range(units - 1)),
            )
            for i, units in enumerate(_UNITS)
        )
        self.conv5 = _conv_norm_relu(channels[-1], last, 1)
        self.fc = nn.Linear(last, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each image."""
        x = self.maxpool(self.conv1(image))
        x = self.conv5(self.stage4(self.stage3(self.stage2(x))))
        logits: Tensor = self.fc(x.mean(dim=(2, 3), keepdim=True).flatten(1))
        return logits


class _Unit(nn.Module):
    """Half of the channels pass by, the other half is convolved; with stride 2 all channels take both branches.

    x: (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.stride = stride
        self.branch1 = nn.Sequential()
        if stride > 1:
            self.branch1 = nn.Sequential(*_depthwise_norm(in_channels, stride), *_conv_norm_relu(in_channels, half, 1))
        self.branch2 = nn.Sequential(
            *_conv_norm_relu(in_channels if stride > 1 else half, half, 1),
            *_depthwise_norm(half, stride),
            *_conv_norm_relu(half, half, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            halves = self.branch1(x), self.branch2(x)
        else:
            half = x.shape[1] // 2
            halves = x[:, :half], self.branch2(x[:, half:])
        return shuffle(torch.cat(halves, dim=1), 2)


def _conv_norm_relu(in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU())


def _depthwise_norm(channels: int, stride: int) -> tuple[nn.Module, nn.Module]:
    conv = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
    return conv, nn.BatchNorm2d(channels)
