"""MobileNetV1: depth-wise separable convolutions (Howard et al., arXiv 1704.04861, table 1).

Reference form: BN eps 1e-5 and symmetric padding, as PyTorch ports have it; parameter names as in pytorchcv.
"""

from collections import OrderedDict

from torch import Tensor, nn

from .seed_gains import SeedGains

# Output channels of the units of each stage at width 1.0; the first unit of stages 2 to 5 halves the map.
_STAGES = ((64,), (128, 128), (256, 256), (512,) * 6, (1024, 1024))


class MobileNetV1(nn.Module):
    """image: (N, 3, H, W) normalised RGB -> logits (N, num_classes)."""

    seed_gains = SeedGains(depthwise=2.0, pointwise=2.4, linear=0.6)

    def __init__(self, width_mult: float = 1.0, num_classes: int = 1000) -> None:
        super().__init__()
        channels = int(32 * width_mult)
        self.features = nn.Sequential(OrderedDict(init_block=_ConvNormRelu(3, channels, stride=2)))
        for number, stage_channels in enumerate(_STAGES, 1):
            stage = nn.Sequential()
            for unit, out in enumerate(stage_channels, 1):
                out_channels = int(out * width_mult)
                stride = 2 if unit == 1 and number > 1 else 1
                stage.add_module(f"unit{unit}", _Separable(channels, out_channels, stride))
                channels = out_channels
            self.features.add_module(f"stage{number}", stage)
        self.output = nn.Linear(channels, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each image."""
        pooled = self.features(image).mean(dim=(2, 3), keepdim=True).flatten(1)
        logits: Tensor = self.output(pooled)
        return logits


class _Separable(nn.Sequential):
    """Depth-wise 3x3, then 1x1. (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride))."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(
            OrderedDict(
                dw_conv=_ConvNormRelu(in_channels, in_channels, stride=stride, groups=in_channels),
                pw_conv=_ConvNormRelu(in_channels, out_channels, kernel_size=1),
            )
        )


class _ConvNormRelu(nn.Sequential):
    def __init__(
        self, in_channels: int, out_channels: int, *, kernel_size: int = 3, stride: int = 1, groups: int = 1
    ) -> None:
        padding = kernel_size // 2
        super().__init__(
            OrderedDict(
                conv=nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False),
                bn=nn.BatchNorm2d(out_channels),
                activ=nn.ReLU(),
            )
        )
