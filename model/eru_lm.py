"""A word-level language model of Efficient Recurrent Units (ERU): an LSTM whose input goes through EESP units.

No code and no equations of the paper's ERU are public. Known is: an LSTM cell in which the linear transform of the
input vector is replaced by an EESP unit; 3 layers, embedding size 400, the smallest model about 7 M parameters. What
follows is our reading of it; docs/language_model.md tells the two apart.

With x_t the input of a layer (M numbers), h and c its states (N numbers), K = 4 branches, g = 4 groups, d = N / K, and
for each gate s of input, forget, candidate, output:

    z_s     = P_s x_t                                                       P_s: M -> d, linear in g groups, no bias
    b_s,k   = w_s,k,-1 * z_s[i - r_k] + w_s,k,0 * z_s[i] + w_s,k,+1 * z_s[i + r_k]      i modulo d, r_k = 1, 2, 3, 4
    y_s,1   = b_s,1,   y_s,k = y_s,k-1 + b_s,k                              hierarchical feature fusion
    e_s     = U_s PReLU([y_s,1, ..., y_s,K])                                U_s: K d -> N, linear in K groups, no bias
    a_s     = e_s + R_s h_(t-1) + bias_s                                    R_s: N -> N, linear
    c_t     = sigmoid(a_forget) * c_(t-1) + sigmoid(a_input) * tanh(a_candidate)
    h_t     = sigmoid(a_output) * tanh(c_t)

The logits are E q + bias, q the last layer's h_t (by way of a linear map where N is not the embedding size), E the
embedding matrix (tied softmax) or one of its own.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .seed_gains import SeedGains

NUM_LAYERS = 3
EMBEDDING_SIZE = 400
# width_mult: units of each layer, multiples of 16 (branches times groups).
UNITS = {1.0: 400, 1.5: 608, 2.0: 800}

_GATES = 4
_BRANCHES = 4
_GROUPS = 4
_DILATIONS = (1, 2, 3, 4)
_TAPS = 3


class States(NamedTuple):
    """What a language model remembers: `hidden` and `cell`, each (layers, N, units)."""

    hidden: Tensor
    cell: Tensor


class GroupLinear(nn.Module):
    """A linear map without bias in groups, for vectors what a 1x1 convolution in groups is for maps.

    x: (..., in_features) -> (..., out_features); group k of the outputs sees group k of the inputs alone.
    """

    def __init__(self, in_features: int, out_features: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(out_features, in_features // groups))
        nn.init.kaiming_uniform_(self.weight, nonlinearity="linear")

    def forward(self, x: Tensor) -> Tensor:
        """Map each vector."""
        # (groups, vectors, in) @ (groups, in, out): one matrix product for each group, over all vectors at once.
        vectors = x.reshape(-1, self.groups, self.weight.shape[1]).transpose(0, 1)
        matrices = self.weight.reshape(self.groups, -1, self.weight.shape[1]).transpose(1, 2)
        return (vectors @ matrices).transpose(0, 1).reshape(*x.shape[:-1], self.weight.shape[0])


class DilatedBranches(nn.Module):
    """The depth-wise dilated convolutions of an EESP unit with their fusion, for vectors.

    x: (..., vectors, features) -> (..., vectors, branches, features). A vector's index is channel and place at once:
    each element has its own three weights, and the neighbourhood closes to a ring.
    """

    def __init__(self, vectors: int, features: int) -> None:
        super().__init__()
        self.shape = (_BRANCHES, _TAPS, vectors, features)
        self.weight = nn.Parameter(torch.empty(_BRANCHES * vectors * features, _TAPS))
        nn.init.kaiming_uniform_(self.weight, nonlinearity="linear")

    def forward(self, x: Tensor) -> Tensor:
        """Convolve each vector by each branch, and fuse."""
        branches, taps, vectors, features = self.shape
        weight = self.weight.reshape(branches, vectors, features, taps)
        fused: list[Tensor] = []
        for taps_of_branch, dilation in zip(weight.unbind(), _DILATIONS, strict=True):
            before, here, after = taps_of_branch.unbind(dim=-1)
            branch = before * _rolled(x, -dilation) + here * x + after * _rolled(x, dilation)
            fused.append(branch if not fused else fused[-1] + branch)
        return torch.stack(fused, dim=-2)


class VectorEESP(nn.Module):
    """EESP units for vectors, one for each gate. x: (..., in_features) -> (..., gates * units), gate by gate."""

    def __init__(self, in_features: int, units: int) -> None:
        super().__init__()
        self.features = units // _BRANCHES
        self.reduce = GroupLinear(in_features, _GATES * self.features, _GROUPS)
        self.branches = DilatedBranches(_GATES, self.features)
        self.act = nn.PReLU(_GATES * units)
        self.expand = GroupLinear(_GATES * units, _GATES * units, _GATES * _BRANCHES)

    def forward(self, x: Tensor) -> Tensor:
        """What the gates get from the input."""
        vectors = x.reshape(-1, x.shape[-1])
        # A group of the reduction holds a part of every gate.
        parts = self.reduce(vectors).reshape(-1, _GROUPS, _GATES, self.features // _GROUPS)
        reduced = parts.transpose(1, 2).reshape(-1, _GATES, self.features)
        fused = self.branches(reduced).reshape(vectors.shape[0], -1)
        expanded: Tensor = self.expand(self.act(fused))
        return expanded.reshape(*x.shape[:-1], expanded.shape[-1])


class EruCell(nn.Module):
    """An LSTM cell whose input transform is `transform`, an EESP unit by default. States are (N, units)."""

    def __init__(self, in_features: int, units: int) -> None:
        super().__init__()
        self.transform = self.input_transform(in_features, units)
        self.recurrent = nn.Linear(units, _GATES * units)

    def input_transform(self, in_features: int, units: int) -> nn.Module:
        """What maps the input vector to the gates: (..., in_features) -> (..., 4 * units)."""
        return VectorEESP(in_features, units)

    def step(self, transformed: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """New states from the transformed input (N, 4 * units) and the old states."""
        gates = transformed + self.recurrent(hidden)
        units = hidden.shape[-1]
        # Slices, not one split: ONNX has two forms of that, and the older one is what TensorRT 8.5 reads.
        opened, kept, candidate, shown = (gates[..., i * units : (i + 1) * units] for i in range(_GATES))
        cell = torch.sigmoid(kept) * cell + torch.sigmoid(opened) * torch.tanh(candidate)
        return torch.sigmoid(shown) * torch.tanh(cell), cell


class LanguageModel(nn.Module):
    """Logits of the next word. One step, which is what is exported:

    token: int64 (N,), hidden and cell: (layers, N, units) -> logits (N, vocabulary_size), hidden and cell after it.

    Args:
        vocabulary_size: number of words.
        units: of each layer.
        embedding_size: of a word's vector.
        num_layers: of cells.
        dropout: share of zeros after the embedding, between the layers and after the last, in training; one mask
            holds for a whole sequence, as in AWD-LSTM (Merity et al., "Regularizing and Optimizing LSTM Language
            Models", ICLR 2018).
        tied_softmax: the embedding matrix is also that of the logits.
        cell: makes the cell of a layer from its input size and units.
    """

    # Weaker ones make every word alike, much stronger ones a chaos in which rounding grows from step to step.
    seed_gains = SeedGains(linear=1.5)

    def __init__(
        self,
        vocabulary_size: int,
        units: int,
        embedding_size: int = EMBEDDING_SIZE,
        num_layers: int = NUM_LAYERS,
        dropout: float = 0.5,
        tied_softmax: bool = True,
        cell: type[EruCell] = EruCell,
    ) -> None:
        super().__init__()
        self.units = units
        self.dropout = dropout
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        self.cells = nn.ModuleList(cell(units if i else embedding_size, units) for i in range(num_layers))
        last = embedding_size if tied_softmax else units
        self.project = nn.Identity() if last == units else nn.Linear(units, last, bias=False)
        self.decoder = nn.Linear(last, vocabulary_size)
        nn.init.zeros_(self.decoder.bias)
        if tied_softmax:
            self.decoder.weight = self.embedding.weight
        else:
            nn.init.uniform_(self.decoder.weight, -0.1, 0.1)

    def forward(self, token: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One step."""
        x = self.embedding(token)
        new_hidden, new_cell = [], []
        for i, layer in enumerate(self.cells):
            assert isinstance(layer, EruCell)
            x, c_out = layer.step(layer.transform(x), hidden[i], cell[i])
            new_hidden.append(x)
            new_cell.append(c_out)
        return self.decoder(self.project(x)), torch.stack(new_hidden), torch.stack(new_cell)

    def sequence(self, tokens: Tensor, states: States) -> tuple[Tensor, States]:
        """Logits after each word of a sequence, faster than step by step, and the states after the last.

        tokens: int64 (T, N) -> logits (T, N, vocabulary_size). What a layer's input gives is computed for all steps
        at once.
        """
        x = self._dropped(self.embedding(tokens))
        hidden, cell = list(states.hidden.unbind()), list(states.cell.unbind())
        for i, layer in enumerate(self.cells):
            assert isinstance(layer, EruCell)
            outputs = []
            for transformed in layer.transform(x).unbind():
                hidden[i], cell[i] = layer.step(transformed, hidden[i], cell[i])
                outputs.append(hidden[i])
            x = self._dropped(torch.stack(outputs))
        return self.decoder(self.project(x)), States(torch.stack(hidden), torch.stack(cell))

    def zero_states(self, batch: int) -> States:
        """The states before the first word."""
        zeros = self.decoder.bias.new_zeros(len(self.cells), batch, self.units)
        return States(zeros, zeros.clone())

    def zero_inputs(self, batch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs of one step: word 0 before any other."""
        hidden, cell = self.zero_states(batch)
        return hidden.new_zeros(batch, dtype=torch.int64), hidden, cell

    def _dropped(self, x: Tensor) -> Tensor:
        """x: (T, N, features) with the same zeros in all T steps."""
        return x * F.dropout(torch.ones_like(x[:1]), self.dropout, self.training)


class EruLm(LanguageModel):
    """The language model at a width of the registry. `num_classes` is the number of words."""

    def __init__(self, width_mult: float = 1.0, num_classes: int = 10_000, tied_softmax: bool = True) -> None:
        super().__init__(num_classes, UNITS[width_mult], tied_softmax=tied_softmax)

    @staticmethod
    def options_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
        """The options that a checkpoint was made with and that change the layers."""
        embedding, decoder = state.get("embedding.weight"), state.get("decoder.weight")
        untied = embedding is not None and decoder is not None and not _equal(embedding, decoder)
        return {"tied_softmax": not untied}


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)


def _rolled(x: Tensor, places: int) -> Tensor:
    """`_rolled(x, r)[..., i]` is x[..., (i + r) modulo its length]."""
    places %= x.shape[-1]
    return torch.cat([x[..., places:], x[..., :places]], dim=-1)
