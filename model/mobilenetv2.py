"""MobileNetV2: inverted residuals and linear bottlenecks (Sandler et al., CVPR 2018, table 2).

Structure and parameter names as in torchvision, so that its state dictionaries load as they are.
"""

from torch import Tensor, nn

from .seed_gains import SeedGains

# expansion, output channels at width 1.0, units, stride of the first
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_LAST_CHANNELS = 1280


class MobileNetV2(nn.Module):
    """image: (N, 3, H, W) normalised RGB -> logits (N, num_classes)."""

    seed_gains = SeedGains(depthwise=1.0, pointwise=2.0, linear=0.6)

    def __init__(self, width_mult: float = 1.0, num_classes: int = 1000) -> None:
        super().__init__()
        channels = rounded_channels(32 * width_mult)
        layers: list[nn.Module] = [_ConvNormRelu6(3, channels, stride=2)]
        for expansion, out, units, first_stride in _STAGES:
            out_channels = rounded_channels(out * width_mult)
            for unit in range(units):
                layers.append(_InvertedResidual(channels, out_channels, expansion, first_stride if unit == 0 else 1))
                channels = out_channels
        last = rounded_channels(_LAST_CHANNELS * max(1.0, width_mult))
        layers.append(_ConvNormRelu6(channels, last, kernel_size=1))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, num_classes))

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each image."""
        pooled = self.features(image).mean(dim=(2, 3), keepdim=True).flatten(1)
        logits: Tensor = self.classifier(pooled)
        return logits


def rounded_channels(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of `divisor` that is not more than a tenth below `channels`."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor


class _InvertedResidual(nn.Module):
    """1x1 up, depth-wise 3x3, 1x1 down without activation; the input is added where shapes agree."""

    def __init__(self, in_channels: int, out_channels: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        expand = [] if expansion == 1 else [_ConvNormRelu6(in_channels, hidden, kernel_size=1)]
        self.conv = nn.Sequential(
            *expand,
            _ConvNormRelu6(hidden, hidden, stride=stride, groups=hidden),
            nn.Conv2d(hidden, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.adds_input = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return x + out if self.adds_input else out


class _ConvNormRelu6(nn.Sequential):
    def __init__(
        self, in_channels: int, out_channels: int, *, kernel_size: int = 3, stride: int = 1, groups: int = 1
    ) -> None:
        padding = kernel_size // 2
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU6(),
        )
