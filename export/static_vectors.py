"""The EESP units of a language model as three matrix products: few kernels, where a device waits for their starts."""

import torch
from torch import Tensor, nn

from ..model.eru_lm import DilatedBranches, GroupLinear, VectorEESP


class StaticVectorEESP(nn.Module):
    """`VectorEESP` with constant matrices. x: (N, in_features) -> (N, gates * units), equal up to float32 rounding.

    The dilated branches, shifts and sums of a short vector, become one matrix for each gate: more arithmetic, but one
    operator for fifty.
    """

    reduce: Tensor
    branches: Tensor
    expand: Tensor

    def __init__(self, unit: VectorEESP) -> None:
        super().__init__()
        self.register_buffer("reduce", _matrices(unit.reduce))
        self.register_buffer("branches", _branch_matrices(unit.branches))
        self.register_buffer("expand", _matrices(unit.expand))
        self.act = unit.act

    def forward(self, x: Tensor) -> Tensor:
        """What the gates get from the input."""
        batch = x.shape[0]
        groups, _, parts = self.reduce.shape
        gates, features, fused_features = self.branches.shape
        reduced = _by_group(x, groups) @ self.reduce  # (groups, N, gates * part of a gate)
        by_gate = reduced.reshape(groups, batch, gates, parts // gates).permute(2, 1, 0, 3)
        fused = by_gate.reshape(gates, batch, features) @ self.branches
        activated = self.act(fused.transpose(0, 1).reshape(batch, gates * fused_features))
        expanded = _by_group(activated, self.expand.shape[0]) @ self.expand
        return expanded.transpose(0, 1).reshape(batch, -1)


def _by_group(x: Tensor, groups: int) -> Tensor:
    """(N, features) -> (groups, N, features of the group)."""
    return x.reshape(x.shape[0], groups, -1).transpose(0, 1)


def _matrices(layer: GroupLinear) -> Tensor:
    """The weight as (groups, in, out)."""
    weight = layer.weight.detach()
    return weight.reshape(layer.groups, -1, weight.shape[1]).transpose(1, 2).contiguous()


def _branch_matrices(branches: DilatedBranches) -> Tensor:
    """What the branches make of each unit vector: (gates, features, branches * features)."""
    _, _, gates, features = branches.shape
    unit_vectors = torch.eye(features)[:, None].expand(features, gates, features)
    with torch.no_grad():
        images: Tensor = branches(unit_vectors)  # (unit vector, gates, branches, features)
    return images.transpose(0, 1).flatten(2).contiguous()
