"""EESP, the Extremely Efficient Spatial Pyramid of depth-wise dilated convolutions, and its strided form.

Source: Mehta et al., "ESPNetv2: A Light-weight, Power Efficient, and General Purpose Convolutional Neural Network",
CVPR 2019, section 3; order and biases as in the authors' code (github.com/sacmehta/EdgeNets, nn_layers/eesp.py).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import ConvNorm, ConvNormAct, NormAct, same_conv

NUM_BRANCHES = 4  # K in the paper; also the number of groups of the 1x1 convolutions


def branch_dilations(receptive_field_limit: int) -> tuple[int, ...]:
    """Dilations of the branches of a unit whose 3x3 kernels may see at most `receptive_field_limit` pixels.

    Branch k wants an effective kernel of 3 + 2k; one beyond the limit falls back to 3. Sorted, as the hierarchical
    fusion adds small receptive fields to larger ones. Limits of 9 and more give (1, 2, 3, 4), 7 gives (1, 1, 2, 3) and
    5 gives (1, 1, 1, 2).
    """
    wanted = (3 + 2 * branch for branch in range(NUM_BRANCHES))
    kernels = sorted(size if size <= receptive_field_limit else 3 for size in wanted)
    return tuple((size - 1) // 2 for size in kernels)


class EESP(nn.Module):
    """One EESP unit: reduce, four depth-wise dilated branches, hierarchical fusion, expand.

    x: (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride)).

    With stride 1 the input is added where the shapes agree and a PReLU follows. With stride 2 both are left to
    `StridedEESP`; `act` then exists without being used, because the published checkpoints carry its slopes and the
    published parameter counts include them.
    """

    def __init__(self, in_channels: int, out_channels: int, *, receptive_field_limit: int, stride: int = 1) -> None:
        super().__init__()
        branch_channels = out_channels // NUM_BRANCHES
        self.stride = stride
        self.project = ConvNormAct(in_channels, branch_channels, 1, groups=NUM_BRANCHES)
        self.branches = nn.ModuleList(
            same_conv(branch_channels, branch_channels, 3, stride=stride, dilation=dilation, groups=branch_channels)
            for dilation in branch_dilations(receptive_field_limit)
        )
        self.fuse = NormAct(out_channels)
        self.expand = ConvNorm(out_channels, out_channels, 1, groups=NUM_BRANCHES)
        self.act = nn.PReLU(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Run the unit; see the class for shapes."""
        reduced = self.project(x)  # (N, out_channels / 4, H, W)
        sums = [self.branches[0](reduced)]
        for branch in list(self.branches)[1:]:
            # Hierarchical feature fusion: each branch adds the one before, which removes gridding artefacts.
            sums.append(branch(reduced) + sums[-1])
        expanded: Tensor = self.expand(self.fuse(torch.cat(sums, dim=1)))
        if self.stride == 2:
            return expanded
        activated: Tensor = self.act(expanded + x if expanded.shape == x.shape else expanded)
        return activated


class StridedEESP(nn.Module):
    """Halves the map: average pool beside a strided EESP, plus the input image at the new size (paper, section 3.2).

    x: (N, in_channels, H, W), image: (N, 3, ceil(H/2), ceil(W/2)) or None -> (N, out_channels, ceil(H/2), ceil(W/2)).
    """

    def __init__(self, in_channels: int, out_channels: int, *, receptive_field_limit: int) -> None:
        super().__init__()
        self.eesp = EESP(in_channels, out_channels - in_channels, receptive_field_limit=receptive_field_limit, stride=2)
        self.reinforce = nn.Sequential(ConvNormAct(3, 3, 3), ConvNorm(3, out_channels, 1))
        self.act = nn.PReLU(out_channels)

    def forward(self, x: Tensor, image: Tensor | None = None) -> Tensor:
        """Run the unit; without `image` there is no input reinforcement."""
        out = torch.cat([halve(x), self.eesp(x)], dim=1)
        if image is not None:
            out = out + self.reinforce(image)
        activated: Tensor = self.act(out)
        return activated


def halve(x: Tensor) -> Tensor:
    """Average pool 3x3, stride 2, that counts its zero padding: (N, C, H, W) -> (N, C, ceil(H/2), ceil(W/2))."""
    return F.avg_pool2d(x, kernel_size=3, stride=2, padding=1, count_include_pad=True)
