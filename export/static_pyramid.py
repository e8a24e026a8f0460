"""The pyramid pool for one fixed map size, written with operators that every runtime has.

Adaptive average pooling has no ONNX operator. Exporters unroll it into hundreds of Gather and Add nodes; here each
branch becomes a few convolutions, resizes or matrix products that give the same numbers up to float32 rounding.
Kernels are composed in float64.

Notation: a branch of scale s works on a map of ceil(s h) x ceil(s w) (at least 5) with a depth-wise 3x3 kernel W. The
batch norm after the concatenation is one factor A and one term B per channel; pooling and aligned interpolation are
linear per channel and keep constants, so A goes into W and B becomes the bias of the branch's convolution.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..model.blocks import ConvNormAct
from ..model.pyramid_pool import PyramidPool, scaled_size, upsample

# Multiply-accumulates per channel above which a bilinear resize costs less than two matrix products (measured on CPUs).
_MAX_MATMUL_UPSAMPLE_MACS = 600_000


class StaticPyramidPool(nn.Module):
    """`pool` for maps of `size` (h, w). x: (N, in_channels, h, w) -> (N, out_channels, h, w)."""

    def __init__(self, pool: PyramidPool, size: tuple[int, int]) -> None:
        super().__init__()
        self.project = pool.project
        factors, terms = norm_as_affine(pool.fuse.norm)
        convs = [conv for conv in pool.branches if isinstance(conv, nn.Conv2d)]
        channels = convs[0].out_channels
        self.branches = nn.ModuleList(
            _static_branch(conv, scale, size, factor, term)
            for conv, scale, factor, term in zip(
                convs, pool.scales, torch.split(factors, channels), torch.split(terms, channels), strict=True
            )
        )
        self.slopes = nn.ParameterList(nn.Parameter(s) for s in torch.split(pool.fuse.act.weight.detach(), channels))
        self.mix = SumOfDepthwise(pool.mix)
        self.expand = pool.expand
        self.out = pool.out

    def forward(self, x: Tensor) -> Tensor:
        """Run the pool; see the class for shapes."""
        x = self.project(x)
        maps = [F.prelu(branch(x), slope) for branch, slope in zip(self.branches, self.slopes, strict=True)]
        out: Tensor = self.out(self.expand(self.mix(maps)))
        return out


class ProjectOfTwo(nn.Module):
    """The 1x1 convolution that a pyramid begins with, for a map that is a smaller one, grown, on top of a larger one.

    Growing and a 1x1 convolution commute, so only the few projected channels are grown, and nothing is stacked.
    above: (N, a, h', w'), x: (N, c, h, w) -> (N, channels, h, w), for `project` of a + c channels.
    """

    def __init__(self, project: ConvNormAct, above: int, size: tuple[int, int], to: tuple[int, int]) -> None:
        super().__init__()
        factor, term = norm_as_affine(project.norm)
        kernel = project.conv.weight.detach().double() * factor.reshape(-1, 1, 1, 1)
        of_above, of_x = kernel[:, :above], kernel[:, above:]
        self.conv_above = nn.Conv2d(above, len(kernel), 1, bias=False)
        self.conv = nn.Conv2d(of_x.shape[1], len(kernel), 1)
        self.conv_above.weight.data = of_above.float().contiguous()
        self.conv.weight.data, self.conv.bias = of_x.float().contiguous(), nn.Parameter(term.float())
        self.grow = _upsample(size, to)
        self.act = project.act

    def forward(self, above: Tensor, x: Tensor) -> Tensor:
        """Project both, grow the smaller, add, activate."""
        activated: Tensor = self.act(self.grow(self.conv_above(above)) + self.conv(x))
        return activated


class SumOfDepthwise(nn.Module):
    """Concatenation, channel shuffle and the grouped 3x3 convolution after it, as one depth-wise convolution per map.

    After the shuffle, group g of the convolution sees channel g of each map: the sum over the maps of a depth-wise
    convolution. No map is copied to be concatenated or shuffled. maps: B times (N, C, h, w) -> (N, C, h, w).
    """

    def __init__(self, mix: ConvNormAct) -> None:
        super().__init__()
        factor, term = norm_as_affine(mix.norm)
        kernel = mix.conv.weight.detach().double() * factor.reshape(-1, 1, 1, 1)  # (C, B, 3, 3)
        zero = torch.zeros_like(term)
        self.convs = nn.ModuleList(
            _depthwise(part, term if i == 0 else zero, stride=1, padding=1)
            for i, part in enumerate(torch.split(kernel, 1, dim=1))
        )
        self.act = mix.act

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Convolve each map, add, activate."""
        total: Tensor = self.convs[0](maps[0])
        for conv, x in zip(list(self.convs)[1:], maps[1:], strict=True):
            total = total + conv(x)
        activated: Tensor = self.act(total)
        return activated


class UpConvDown(nn.Module):
    """Scales 2.0 and 1.5: resize, then one convolution that is the 3x3 kernel and the pooling back in one.

    At 2.0 pooling is the mean of 2x2 blocks: a 4x4 kernel with stride 2. At 1.5, on even maps, the windows start at
    rows 3j + p for output rows 2j + p, p = 0, 1, likewise for columns: four 5x5 kernels with stride 3, one for each
    pair (p, q), whose outputs interleave.
    """

    def __init__(self, kernel: Tensor, bias: Tensor, scale: float) -> None:
        super().__init__()
        block = _kernel_with_mean_of_2x2(kernel)
        channels = kernel.shape[0]
        self.scale = scale
        if scale == 2.0:
            self.conv = _depthwise(block, bias, stride=2, padding=1)
            self.interleave: nn.Module = nn.Identity()
        else:
            shifted = torch.stack([F.pad(block, (q, 1 - q, p, 1 - p)) for p in (0, 1) for q in (0, 1)], dim=1)
            self.conv = _depthwise(
                shifted.reshape(4 * channels, 1, 5, 5), bias.repeat_interleave(4), stride=3, padding=1, groups=channels
            )
            self.interleave = nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        out: Tensor = self.interleave(self.conv(resize_by(x, self.scale)))
        return out


class PoolConvUp(nn.Module):
    """Scales below 1: average down, 3x3 kernel, bilinear up."""

    def __init__(self, conv: nn.Conv2d, size: tuple[int, int], scaled: tuple[int, int]) -> None:
        super().__init__()
        self.down = _adaptive_mean(size, scaled)
        self.conv = conv
        self.up = _upsample(scaled, size)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        out: Tensor = self.up(self.conv(self.down(x)))
        return out


class ResizeConvPool(nn.Module):
    """Scales above 1 on maps where `UpConvDown` does not apply: bilinear up, 3x3 kernel, adaptive mean."""

    def __init__(self, conv: nn.Conv2d, size: tuple[int, int], scaled: tuple[int, int]) -> None:
        super().__init__()
        self.up = _upsample(size, scaled)
        self.conv = conv
        self.down = _adaptive_mean(scaled, size)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        out: Tensor = self.down(self.conv(self.up(x)))
        return out


class Separable(nn.Module):
    """A linear map of rows and one of columns. x: (N, C, h, w) -> (N, C, h2, w2) = rows @ (x @ columns).

    The product with the constant on the left stays the last one, also where the other order would cost less: OpenVINO
    2026.4 merges a PReLU into a product with a constant on the right as if the slopes belonged to its columns.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, rows: Tensor, columns: Tensor) -> None:
        super().__init__()
        self.register_buffer("rows", rows.float(), persistent=False)  # (h2, h)
        self.register_buffer("columns", columns.float().T.contiguous(), persistent=False)  # (w, w2)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the columns, then the rows."""
        return self.rows @ (x @ self.columns)


class Resize(nn.Module):
    """Bilinear with corners aligned, from one fixed size to another."""

    def __init__(self, size: tuple[int, int], to: tuple[int, int]) -> None:
        super().__init__()
        self.to_size = to
        ratios = {to[0] / size[0], to[1] / size[1]}
        # A factor that is exact in binary lets the exporter write a constant instead of computing the size.
        self.scale = ratios.pop() if ratios in ({2.0}, {1.5}) else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h2, w2)."""
        return upsample(x, self.to_size) if self.scale is None else resize_by(x, self.scale)


def resize_by(x: Tensor, scale: float) -> Tensor:
    """Bilinear with corners aligned, by a factor that gives whole sizes."""
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=True)


def norm_as_affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Factor and term per channel, float64, that evaluation-mode batch norm amounts to: norm(x) = factor * x + term."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return factor.detach(), (norm.bias.double() - norm.running_mean.double() * factor).detach()


def adaptive_mean_matrix(size: int, to: int) -> Tensor:
    """(to, size), float64: row i averages the inputs floor(i size / to) .. ceil((i + 1) size / to) - 1."""
    matrix = torch.zeros(to, size, dtype=torch.float64)
    for i in range(to):
        first, end = i * size // to, -(-(i + 1) * size // to)
        matrix[i, first:end] = 1 / (end - first)
    return matrix


def upsample_matrix(size: int, to: int) -> Tensor:
    """(to, size), float64: bilinear interpolation with corners aligned along one axis."""
    matrix = torch.zeros(to, size, dtype=torch.float64)
    for i in range(to):
        position = i * (size - 1) / (to - 1) if to > 1 else 0.0
        low = min(math.floor(position), size - 1)
        matrix[i, low] += 1 - (position - low)
        matrix[i, min(low + 1, size - 1)] += position - low
    return matrix


def _static_branch(conv: nn.Conv2d, scale: float, size: tuple[int, int], factor: Tensor, term: Tensor) -> nn.Module:
    kernel = conv.weight.detach().double() * factor.reshape(-1, 1, 1, 1)
    scaled = scaled_size(size[0], scale), scaled_size(size[1], scale)
    if scale == 2.0 and all(2 * side == to for side, to in zip(size, scaled, strict=True)):
        return UpConvDown(kernel, term, scale)
    if scale == 1.5 and all(side % 2 == 0 and 3 * side == 2 * to for side, to in zip(size, scaled, strict=True)):
        return UpConvDown(kernel, term, scale)
    plain = _depthwise(kernel, term, stride=1, padding=1)
    if scale == 1.0:
        return plain
    return (ResizeConvPool if scale > 1 else PoolConvUp)(plain, size, scaled)


def _kernel_with_mean_of_2x2(kernel: Tensor) -> Tensor:
    """(C, 1, 3, 3) -> (C, 1, 4, 4): the kernel followed by the mean of a 2x2 block, as one kernel."""
    shifts = [F.pad(kernel, (v, 1 - v, u, 1 - u)) for u in (0, 1) for v in (0, 1)]
    return torch.stack(shifts).mean(dim=0)


def _depthwise(kernel: Tensor, bias: Tensor, *, stride: int, padding: int, groups: int | None = None) -> nn.Conv2d:
    out_channels, _, side, _ = kernel.shape
    groups = groups or out_channels
    conv = nn.Conv2d(groups, out_channels, side, stride, padding, groups=groups)
    conv.weight.data, conv.bias = kernel.float(), nn.Parameter(bias.float())
    return conv


def _adaptive_mean(size: tuple[int, int], to: tuple[int, int]) -> nn.Module:
    (h, w), (h2, w2) = size, to
    if h % h2 == 0 and w % w2 == 0:
        window = h // h2, w // w2
        return nn.AvgPool2d(window, window)
    return Separable(adaptive_mean_matrix(h, h2), adaptive_mean_matrix(w, w2))


def _upsample(size: tuple[int, int], to: tuple[int, int]) -> nn.Module:
    if size[0] * to[0] * to[1] < _MAX_MATMUL_UPSAMPLE_MACS:
        return Separable(upsample_matrix(size[0], to[0]), upsample_matrix(size[1], to[1]))
    return Resize(size, to)
