"""The deploy forms compute the same function as the networks that they replace."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from conftest import formula_input
from espnet_edge.export.rewrite import rewritten
from espnet_edge.export.static_pyramid import (
    PoolConvUp,
    ResizeConvPool,
    StaticPyramidPool,
    UpConvDown,
    adaptive_mean_matrix,
    upsample_matrix,
)
from espnet_edge.model.blocks import ConvNorm
from espnet_edge.model.pyramid_pool import SCALES, PyramidPool, branch_at_scale
from espnet_edge.model.registry import create_model
from espnet_edge.model.seeded import load_seeded_weights

# Even, odd, non-square and tiny maps; those below 10 meet the smallest size of five.
MAP_SIZES = [(32, 64), (17, 23), (16, 30), (19, 20), (3, 3), (4, 7), (2, 8), (10, 10), (1, 1), (12, 9)]


def seeded_pool(last: bool) -> PyramidPool:
    pool = PyramidPool(12, 10, 20, last=last).eval()
    load_seeded_weights(pool)
    assert isinstance(pool.fuse.act, nn.PReLU)
    # Published slopes run from -1.7 to 3.3, published batch norms to factors of 2500.
    with torch.no_grad():
        pool.fuse.act.weight.copy_(torch.linspace(-1.7, 3.3, 50))
        pool.mix.norm.weight[3] = 500.0
        pool.fuse.norm.running_var[7] = 1e-42
    return pool


@pytest.mark.parametrize("size", MAP_SIZES)
@pytest.mark.parametrize("last", [False, True])
def test_static_pyramid(size: tuple[int, int], last: bool) -> None:
    pool = seeded_pool(last)
    x = torch.randn(2, 12, *size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, found = pool(x), StaticPyramidPool(pool, size)(x)
    # Relative to the largest value: the planted factor of 500 makes that large.
    assert (found - expected).abs().max() <= 2e-6 * expected.abs().max()


@pytest.mark.parametrize("size", [(32, 64), (17, 23), (4, 7), (3, 3)])
def test_branches_are_exact_in_double(size: tuple[int, int]) -> None:
    pool = seeded_pool(last=True)
    x = torch.randn(1, 10, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    pool.fuse.norm = nn.BatchNorm2d(50, eps=0).eval()
    static = StaticPyramidPool(pool, size)
    for branch, conv, scale in zip(static.branches, pool.branches, SCALES, strict=True):
        with torch.inference_mode():
            expected = branch_at_scale(x, conv.double(), scale)
            found = branch.double()(x)
        # The constants were stored as float32.
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_the_fast_forms_are_taken_where_they_apply() -> None:
    def kinds(size: tuple[int, int]) -> list[type]:
        return [type(branch) for branch in StaticPyramidPool(seeded_pool(False), size).branches]

    assert kinds((32, 64)) == [UpConvDown, UpConvDown, nn.Conv2d, PoolConvUp, PoolConvUp]
    assert kinds((17, 64)) == [UpConvDown, ResizeConvPool, nn.Conv2d, PoolConvUp, PoolConvUp]
    assert kinds((2, 8)) == [ResizeConvPool, ResizeConvPool, nn.Conv2d, PoolConvUp, PoolConvUp]


@pytest.mark.parametrize(("size", "to"), [(24, 16), (17, 9), (4, 5), (35, 23), (128, 13), (5, 1)])
def test_matrices(size: int, to: int) -> None:
    x = torch.randn(1, 1, size, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    pooled = F.adaptive_avg_pool2d(x, (to, 1))
    grown = F.interpolate(x, size=(to, 1), mode="bilinear", align_corners=True)
    torch.testing.assert_close(adaptive_mean_matrix(size, to) @ x[0, 0], pooled[0, 0])
    torch.testing.assert_close(upsample_matrix(size, to) @ x[0, 0], grown[0, 0])


@pytest.mark.parametrize("size", [(64, 128), (48, 80), (47, 63), (303, 79)])
@pytest.mark.parametrize("classes", [20, 21])
def test_whole_segmentation(size: tuple[int, int], classes: int) -> None:
    network = create_model("seg", width_mult=0.5, num_classes=classes)
    load_seeded_weights(network)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    x = torch.from_numpy(np.concatenate([formula_input(*size), formula_input(*size, 0.3)]))
    with torch.inference_mode():
        torch.testing.assert_close(rewritten(network, size)(x), network(x), rtol=0, atol=1e-5)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_norms_after_convolutions_are_gone() -> None:
    network = rewritten(create_model("cls", width_mult=0.5), (64, 64))
    assert not any(isinstance(m.norm, nn.BatchNorm2d) for m in network.modules() if isinstance(m, ConvNorm))
