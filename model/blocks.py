"""Blocks that several networks share: convolution, batch norm, PReLU, in the orders that occur."""

from torch import Tensor, nn


class NormAct(nn.Module):
    """Batch norm and a PReLU with one slope per channel. x: (N, channels, H, W) -> same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.act = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise, then activate."""
        out: Tensor = self.act(self.norm(x))
        return out


class ConvNorm(nn.Module):
    """Convolution without bias, padded to keep ceil(size / stride), and batch norm.

    x: (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, groups: int = 1):
        super().__init__()
        self.conv = same_conv(in_channels, out_channels, kernel_size, stride=stride, groups=groups)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, then normalise."""
        out: Tensor = self.norm(self.conv(x))
        return out


class ConvNormAct(ConvNorm):
    """`ConvNorm` followed by a PReLU with one slope per channel."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, groups: int = 1):
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, groups=groups)
        self.act = nn.PReLU(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, normalise, activate."""
        out: Tensor = self.act(super().forward(x))
        return out


def same_conv(
    in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Conv2d:
    """Convolution without bias whose zero padding keeps ceil(size / stride) for odd kernels."""
    padding = dilation * (kernel_size - 1) // 2
    return nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding, dilation=dilation, groups=groups, bias=False
    )
