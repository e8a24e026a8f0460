"""Deploy rewrites: the same function of the image, in a form that exports well for one fixed size."""

import copy

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..model.blocks import ConvNorm
from ..model.eru_lm import EruCell, LanguageModel, VectorEESP
from ..model.espnetv2_det import ESPNetV2Det, Maps
from ..model.espnetv2_seg import ESPNetV2Seg
from ..model.pyramid_pool import PyramidPool
from .static_pyramid import ProjectOfTwo, Resize, StaticPyramidPool
from .static_vectors import StaticVectorEESP


def rewritten(network: nn.Module, size: tuple[int, int] | None) -> nn.Module:
    """A copy of `network` for images of `size` (height, width), equal to it up to float32 rounding.

    Batch norms that follow a convolution go into it; segmentation and detection get their pyramid pools and resizes
    for this size; a language model, which has none, gets its EESP units as matrices.
    """
    network = copy.deepcopy(network).eval()
    if size is None:
        _use_matrices(network)
        return network
    if isinstance(network, ESPNetV2Seg):
        network = StaticSegmentation(network, size)
    elif isinstance(network, ESPNetV2Det):
        network = StaticDetection(network, size)
    fold_norms(network)
    return network.eval()


def _use_matrices(network: nn.Module) -> None:
    assert isinstance(network, LanguageModel), "every other network has a size"
    for cell in network.cells:
        assert isinstance(cell, EruCell)
        assert isinstance(cell.transform, VectorEESP)
        cell.transform = StaticVectorEESP(cell.transform)


class StaticSegmentation(nn.Module):
    """`ESPNetV2Seg` for one size. image: (N, 3, H, W) -> logits (N, num_classes, H, W)."""

    def __init__(self, network: ESPNetV2Seg, size: tuple[int, int]) -> None:
        super().__init__()
        self.network = network
        sizes = _map_sizes(size)
        self.last_resize = Resize(sizes[1], size)
        for level in range(1, 5):
            pool = getattr(network, f"pyramid{level}")
            assert isinstance(pool, PyramidPool)
            setattr(network, f"pyramid{level}", StaticPyramidPool(pool, sizes[level]))

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each pixel."""
        logits: Tensor = self.last_resize(self.low_resolution_logits(image))
        return logits

    def low_resolution_logits(self, image: Tensor) -> Tensor:
        """As that of `ESPNetV2Seg`."""
        return self.network.low_resolution_logits(image)


class StaticDetection(nn.Module):
    """`ESPNetV2Det` for one size. image: (N, 3, H, W) -> confidences (N, P, classes), locations (N, P, 4)."""

    def __init__(self, network: ESPNetV2Det, size: tuple[int, int]) -> None:
        super().__init__()
        self.network = network
        sizes = _map_sizes(size)
        self.projects, self.pyramids = nn.ModuleList(), nn.ModuleList()
        for level in range(6, 2, -1):
            pool = getattr(network, f"pyramid{level}")
            assert isinstance(pool, PyramidPool)
            above = network.box_heads[level - 2].in_channels
            assert isinstance(above, int)
            self.projects.append(ProjectOfTwo(pool.project, above, sizes[level + 1], sizes[level]))
            pool.project = nn.Identity()  # type: ignore[assignment]
            self.pyramids.append(StaticPyramidPool(pool, sizes[level]))
            delattr(network, f"pyramid{level}")

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Confidences and locations of each prior."""
        *large_to_small, level7, level8 = self.network.bottom_up(image)
        fused = [level7, level8]
        for project, pyramid, x in zip(self.projects, self.pyramids, reversed(large_to_small), strict=True):
            fused.insert(0, pyramid(project(fused[0], x)))
        return self.network.predictions(Maps(*fused))


def _map_sizes(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Size of the map at each level, the image's first: every level halves, rounding up."""
    sizes = [size]
    for _ in range(7):
        height, width = sizes[-1]
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    return sizes


def fold_norms(network: nn.Module) -> None:
    """Fold, in place, every batch norm that directly follows a convolution into that convolution."""
    for module in network.modules():
        if isinstance(module, ConvNorm):
            # Composed in float64: some published channels have a variance of 1e-45, others a factor of 2500.
            folded = fuse_conv_bn_eval(module.conv.double(), module.norm.double())
            module.conv, module.norm = folded.float(), nn.Identity()  # type: ignore[assignment]
