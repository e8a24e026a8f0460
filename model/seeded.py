"""Deterministic weights and inputs that depend on nothing but names, shapes and sizes.

The recorded outputs of the official networks were made with exactly these, so that arithmetic and wiring can be proven
on any machine without a checkpoint.
"""

import math
import zlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .checkpoint import published_names
from .seed_gains import SeedGains


def formula_image(height: int, width: int, phase: float = 0.0) -> NDArray[np.float32]:
    """A normalised image (3, height, width), float32, with structure at all scales.

    Sums of products of sines and cosines of row, column and channel, rounded to multiples of 1/4096 so that the last
    bit of a platform's sine does not matter. Another `phase` gives another image.
    """
    c = np.arange(3, dtype=np.float64)[:, None, None]
    i = np.arange(height, dtype=np.float64)[:, None]
    j = np.arange(width, dtype=np.float64)
    turn = 2 * math.pi
    value = (
        1.10 * np.sin(turn * (i / 37 + c / 3 + phase)) * np.cos(turn * (j / 53 - c / 5))
        + 0.70 * np.sin(turn * (i * j) / 4096 + c + 2 * phase)
        + 0.40 * np.cos(turn * (i + 2 * j) / 11 + 0.5 * c - phase)
    )
    return (np.rint(value * 4096) / 4096).astype(np.float32)


def load_seeded_weights(model: nn.Module, *, salt: str = "") -> None:
    """Fill `model` with pseudo-random weights that depend on nothing but the official names, the shapes and `salt`.

    The scales keep the signal alive through all layers, so that logits differ between inputs. For each tensor:
    u in [0, 1) from PCG64 seeded by crc32(salt + official name), s = 2u - 1; then by kind: running mean 0.05 s,
    running variance 0.75 + 0.5 u, bias 0.1 s, batch-norm weight 0.9 + 0.2 u, PReLU slope 0.1 + 0.3 u, convolution
    s sqrt(3 g / fan_in) with the network's gain g for depth-wise or other convolutions, linear s sqrt(3 / in_features)
    times its gain. Networks that need other gains than `SeedGains` has by default say so in `seed_gains`.
    """
    state = model.state_dict()
    published_name = published_names(model)
    gains: SeedGains = getattr(model, "seed_gains", SeedGains())
    batch_norms = {name.rpartition(".")[0] for name in state if name.endswith(".running_mean")}
    model.load_state_dict(
        {
            name: _seeded_tensor(
                salt + published_name(name), tensor, gains, is_norm=name.rpartition(".")[0] in batch_norms
            )
            for name, tensor in state.items()
        }
    )


def _seeded_tensor(name: str, tensor: Tensor, gains: SeedGains, *, is_norm: bool) -> Tensor:
    kind, shape = name.rpartition(".")[2], tuple(tensor.shape)
    if kind == "num_batches_tracked":
        return torch.zeros_like(tensor)
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    uniform = generator.random(tensor.numel()).reshape(shape)
    signed = 2 * uniform - 1
    if kind == "running_mean":
        values = 0.05 * signed
    elif kind == "running_var":
        values = 0.75 + 0.5 * uniform
    elif kind == "bias":
        values = 0.1 * signed
    elif len(shape) == 4:
        gain = gains.depthwise if shape[1] == 1 and shape[2] > 1 else gains.pointwise
        values = signed * np.sqrt(3.0 * gain / (shape[1] * shape[2] * shape[3]))
    elif len(shape) == 2:
        values = signed * np.sqrt(3.0 / shape[1]) * gains.linear
    else:
        values = 0.9 + 0.2 * uniform if is_norm else 0.1 + 0.3 * uniform
    return torch.from_numpy(values.astype(np.float32))
