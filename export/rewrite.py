"""Deploy rewrites: the same function of the image, in a form that exports well for one fixed size."""

import copy

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..model.blocks import ConvNorm
from ..model.espnetv2_seg import ESPNetV2Seg
from ..model.pyramid_pool import PyramidPool
from .static_pyramid import Resize, StaticPyramidPool


def rewritten(network: nn.Module, size: tuple[int, int]) -> nn.Module:
    """A copy of `network` for images of `size` (height, width), equal to it up to float32 rounding.

    Batch norms that follow a convolution go into it; segmentation gets its pyramid pools and last resize for this size.
    """
    network = copy.deepcopy(network).eval()
    if isinstance(network, ESPNetV2Seg):
        network = StaticSegmentation(network, size)
    fold_norms(network)
    return network.eval()


class StaticSegmentation(nn.Module):
    """`ESPNetV2Seg` for one size. image: (N, 3, H, W) -> logits (N, num_classes, H, W)."""

    def __init__(self, network: ESPNetV2Seg, size: tuple[int, int]) -> None:
        super().__init__()
        self.network = network
        map_size = size
        for level in range(1, 5):
            map_size = (map_size[0] + 1) // 2, (map_size[1] + 1) // 2
            if level == 1:
                self.last_resize = Resize(map_size, size)
            pool = getattr(network, f"pyramid{level}")
            assert isinstance(pool, PyramidPool)
            setattr(network, f"pyramid{level}", StaticPyramidPool(pool, map_size))

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each pixel."""
        logits: Tensor = self.last_resize(self.network.low_resolution_logits(image))
        return logits


def fold_norms(network: nn.Module) -> None:
    """Fold, in place, every batch norm that directly follows a convolution into that convolution."""
    for module in network.modules():
        if isinstance(module, ConvNorm):
            # Composed in float64: some published channels have a variance of 1e-45, others a factor of 2500.
            folded = fuse_conv_bn_eval(module.conv.double(), module.norm.double())
            module.conv, module.norm = folded.float(), nn.Identity()  # type: ignore[assignment]
