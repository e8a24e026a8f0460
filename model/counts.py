"""Parameters and multiply-accumulates.

Convention: one multiply-accumulate (MAC) per weight and output element of a convolution, in_features * out_features
per row of a linear layer. Bias adds, batch norm, activations, pooling, resizing and element-wise operations are not
counted. The "FLOPs" in the authors' tables are `conv_macs` plus half an operation per bias add of a convolution, and
leave the linear layer out.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Counts:
    """Counts for one image. `conv_bias_adds` is what the authors' "FLOPs" hold besides: half an operation each."""

    params: int
    conv_macs: int
    linear_macs: int
    conv_bias_adds: int

    @property
    def macs(self) -> int:
        """Convolutions and linear layers together."""
        return self.conv_macs + self.linear_macs


def count(module: nn.Module, input_size: tuple[int, int, int]) -> Counts:
    """Counts of `module` for one image of `input_size` (channels, height, width).

    Only shapes are computed: no memory for maps is taken and no arithmetic done.
    """
    shadow = copy.deepcopy(module).to("meta").eval()
    totals = {"conv": 0, "linear": 0, "bias": 0}

    def on_conv(layer: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        totals["conv"] += out.numel() * layer.in_channels // layer.groups * math.prod(layer.kernel_size)
        totals["bias"] += out.numel() if layer.bias is not None else 0

    def on_linear(layer: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> None:
        assert isinstance(layer, nn.Linear)
        totals["linear"] += out.numel() * layer.in_features

    for layer in shadow.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(on_conv)
        elif isinstance(layer, nn.Linear):
            layer.register_forward_hook(on_linear)
    with torch.inference_mode():
        shadow(torch.empty(1, *input_size, device="meta"))
    params = sum(parameter.numel() for parameter in module.parameters())
    return Counts(params, totals["conv"], totals["linear"], totals["bias"])
