"""The language model against its equations, written out once more in NumPy."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from espnet_edge.model.eru_lm import UNITS, EruCell, EruLm, LanguageModel, VectorEESP

Array = NDArray[np.float64]


def small(tied_softmax: bool = True, units: int = 32, dropout: float = 0.5) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(11, units, embedding_size=16, num_layers=2, dropout=dropout, tied_softmax=tied_softmax).eval()


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def eesp(state: dict[str, Array], prefix: str, x: Array, units: int) -> list[Array]:
    """e_s of the docstring for one vector x and each gate s, element by element."""
    gates, branches, groups, d = 4, 4, 4, units // 4
    reduce, taps = state[f"{prefix}.reduce.weight"], state[f"{prefix}.branches.weight"]
    slope, expand = state[f"{prefix}.act.weight"], state[f"{prefix}.expand.weight"]
    part = len(x) // groups
    z = np.zeros((gates, d))
    for s in range(gates):
        for i in range(d):
            group, place = divmod(i, d // groups)
            row = reduce[(group * gates + s) * (d // groups) + place]
            z[s, i] = row @ x[group * part : (group + 1) * part]
    taps = taps.reshape(branches, gates, d, 3)
    answers = []
    for s in range(gates):
        y = np.zeros((branches, d))
        for k, dilation in enumerate((1, 2, 3, 4)):
            for i in range(d):
                before, here, after = taps[k, s, i]
                y[k, i] = before * z[s, (i - dilation) % d] + here * z[s, i] + after * z[s, (i + dilation) % d]
            y[k] += y[k - 1] if k else 0
        a = slope.reshape(gates, branches, d)[s]
        activated = np.where(y > 0, y, a * y)
        rows = expand.reshape(gates, branches, d, d)[s]
        answers.append(np.concatenate([rows[k] @ activated[k] for k in range(branches)]))
    return answers


def step(model: LanguageModel, token: int, hidden: Array, cell: Array) -> tuple[Array, Array, Array]:
    state = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}
    x = state["embedding.weight"][token]
    hidden, cell = hidden.copy(), cell.copy()
    for i in range(len(hidden)):
        recurrent = state[f"cells.{i}.recurrent.weight"] @ hidden[i] + state[f"cells.{i}.recurrent.bias"]
        given, kept, candidate, shown = (
            e + r
            for e, r in zip(eesp(state, f"cells.{i}.transform", x, model.units), np.split(recurrent, 4), strict=True)
        )
        cell[i] = sigmoid(kept) * cell[i] + sigmoid(given) * np.tanh(candidate)
        x = hidden[i] = sigmoid(shown) * np.tanh(cell[i])
    if "project.weight" in state:
        x = state["project.weight"] @ x
    return state["decoder.weight"] @ x + state["decoder.bias"], hidden, cell


@pytest.mark.parametrize("tied_softmax", [True, False])
def test_the_equations(tied_softmax: bool) -> None:
    model = small(tied_softmax)
    generator = np.random.default_rng(0)
    hidden, cell = generator.standard_normal((2, 2, 32))
    with torch.no_grad():
        for parameter in model.parameters():  # biases and slopes, too, are to matter
            parameter.add_(0.1 * torch.randn_like(parameter))
    for token in (3, 10, 0):
        expected = step(model, token, hidden, cell)
        with torch.inference_mode():
            found = model(torch.tensor([token]), *(torch.from_numpy(s[:, None]).float() for s in (hidden, cell)))
        np.testing.assert_allclose(found[0][0].numpy(), expected[0], atol=1e-5)
        np.testing.assert_allclose(found[1][:, 0].numpy(), expected[1], atol=1e-5)
        np.testing.assert_allclose(found[2][:, 0].numpy(), expected[2], atol=1e-5)
        hidden, cell = expected[1:]


def test_a_sequence_is_its_steps() -> None:
    model = small()
    tokens = torch.randint(11, (200, 3), generator=torch.Generator().manual_seed(0))
    states = model.zero_states(3)
    with torch.inference_mode():
        logits, after = model.sequence(tokens, states)
        for token, expected in zip(tokens, logits, strict=True):
            found, *states = model(token, *states)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(tuple(states), tuple(after), rtol=0, atol=1e-5)


@pytest.mark.parametrize("width_mult", UNITS)
@pytest.mark.parametrize("tied_softmax", [True, False])
def test_every_width_runs_and_has_its_size(width_mult: float, tied_softmax: bool) -> None:
    model = EruLm(width_mult, 10_000, tied_softmax)
    sizes = {
        (1.0, True): 6_554_000,
        (1.0, False): 10_554_000,
        (1.5, True): 10_080_272,
        (1.5, False): 15_917_072,
        (2.0, True): 14_378_000,
        (2.0, False): 22_058_000,
    }
    assert sum(p.numel() for p in model.parameters()) == sizes[width_mult, tied_softmax]
    with torch.inference_mode():
        logits, hidden, cell = model(*model.zero_inputs(2))
    assert logits.shape == (2, 10_000)
    assert hidden.shape == cell.shape == (3, 2, UNITS[width_mult])
    assert model.options_of(model.state_dict()) == {"tied_softmax": tied_softmax}


def test_every_unit_sees_the_whole_input_vector() -> None:
    unit = VectorEESP(16, 32)
    jacobian = torch.autograd.functional.jacobian(unit, torch.randn(1, 16))
    assert isinstance(jacobian, Tensor)
    reached = jacobian[0, :, 0].reshape(4, 4, 8, 16) != 0
    # The last branches have sums of all dilations; the first one's neighbourhood is three of eight elements.
    assert reached[:, 3].all()
    assert reached.any(dim=-1).all()


def test_every_parameter_learns_and_the_signal_survives() -> None:
    model = small(tied_softmax=False).train()
    logits, _ = model.sequence(torch.randint(11, (20, 4)), model.zero_states(4))
    logits.square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
    cell = model.cells[0]
    assert isinstance(cell, EruCell)
    # Fresh weights keep the size of what goes through, or three layers learn nothing.
    assert 0.3 < float(cell.transform(torch.randn(1000, 16)).detach().std()) < 3


def test_dropout_is_the_same_in_all_steps_and_for_training_only() -> None:
    model = small().train()
    tokens = torch.zeros(5, 2, dtype=torch.int64)
    dropped = model._dropped(torch.ones(5, 2, 16))
    assert (dropped == dropped[0]).all()
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    model.eval()
    with torch.inference_mode():
        first, second = (model.sequence(tokens, model.zero_states(2))[0] for _ in range(2))
    assert torch.equal(first, second)
