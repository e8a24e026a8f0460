"""Parameters and multiply-accumulates.

Convention: one multiply-accumulate (MAC) per weight and output element of a convolution, one per weight of a linear
layer and vector. What an EESP unit for vectors has in place of convolutions counts as linear. Bias adds, batch norm,
activations, pooling, resizing and element-wise operations are not counted. The "FLOPs" in the authors' tables are
`conv_macs` plus half an operation per bias add of a convolution, and leave the linear layer out.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .eru_lm import DilatedBranches, GroupLinear


@dataclass(frozen=True)
class Counts:
    """Counts for one image or word. `conv_bias_adds`: in the authors' "FLOPs" half an operation each."""

    params: int
    conv_macs: int
    linear_macs: int
    conv_bias_adds: int

    @property
    def macs(self) -> int:
        """Convolutions and linear layers together."""
        return self.conv_macs + self.linear_macs


def count(module: nn.Module, input_size: tuple[int, int, int] | None = None) -> Counts:
    """Counts of `module` for one image of `input_size` (channels, height, width).

    A network that takes no images has `zero_inputs(batch)`, which is asked where `input_size` is None.

    Only shapes are computed: no memory for maps is taken and no arithmetic done.
    """
    shadow = copy.deepcopy(module).to("meta").eval()
    totals = {"conv": 0, "linear": 0, "bias": 0}

    def on_conv(layer: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        totals["conv"] += out.numel() * layer.in_channels // layer.groups * math.prod(layer.kernel_size)
        totals["bias"] += out.numel() if layer.bias is not None else 0

    def on_linear(layer: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> None:
        assert isinstance(layer.weight, Tensor)
        vectors = out.numel() // layer.weight.shape[0] if not isinstance(layer, DilatedBranches) else out.shape[0]
        totals["linear"] += vectors * layer.weight.numel()

    for layer in shadow.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(on_conv)
        elif isinstance(layer, (nn.Linear, GroupLinear, DilatedBranches)):
            layer.register_forward_hook(on_linear)
    with torch.inference_mode():
        if input_size is None:
            shadow(*shadow.zero_inputs(1))  # type: ignore[operator]  # what such a network has
        else:
            shadow(torch.empty(1, *input_size, device="meta"))
    params = sum(parameter.numel() for parameter in module.parameters())
    return Counts(params, totals["conv"], totals["linear"], totals["bias"])
