"""Text out of a language model: word by word, each choice fed back with the states."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckError
from .manifest import LOGITS, TOKEN, Manifest
from .runner import Runner

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Choice:
    """How the next word is chosen: of the `top` most probable ones at this temperature; 0 takes the most probable."""

    temperature: float
    top: int
    seed: int


@dataclass(frozen=True)
class NextWord:
    """A token that was chosen, and the probability that the network gave it, before temperature and `top`."""

    token: int
    probability: float


def continued(
    runner: Runner, manifest: Manifest, tokens: Sequence[int], choice: Choice, *, never: Sequence[int] = ()
) -> Iterator[NextWord]:
    """What comes after `tokens`, without end.

    Args:
        runner: of a language model.
        manifest: its manifest.
        tokens: what is there already, one at least.
        choice: how words are chosen.
        never: tokens that are not chosen.

    Raises:
        CheckError: the network gave logits that are not numbers.
    """
    generator = np.random.default_rng(choice.seed)
    feeds = _first_feeds(manifest)
    for token in tokens[:-1]:
        _step(runner, manifest, feeds, token)
    token = tokens[-1]
    while True:
        probabilities = _probabilities(_step(runner, manifest, feeds, token))
        token = _chosen(probabilities, choice, never, generator)
        yield NextWord(token, float(probabilities[token]))


def _first_feeds(manifest: Manifest) -> Arrays:
    """Zeros for every input; a free batch is as small as the artefact takes it."""
    batch = manifest.smallest_batch
    shapes = {t.name: tuple(batch if isinstance(size, str) else size for size in t.shape) for t in manifest.inputs}
    return {tensor.name: np.zeros(shapes[tensor.name], tensor.dtype) for tensor in manifest.inputs}


def _step(runner: Runner, manifest: Manifest, feeds: Arrays, token: int) -> NDArray[Any]:
    """The logits after `token`; `feeds` then holds the states for the next step."""
    # A fixed batch is filled with copies; the first answer counts.
    feeds[TOKEN][:] = token
    outputs = runner.infer(feeds)
    for state in manifest.states:
        # A copy: the runner's arrays are its own, and read again as inputs.
        feeds[state.input] = outputs[state.output].copy()
    logits: NDArray[Any] = outputs[LOGITS][0]
    return logits


def _probabilities(logits: NDArray[Any]) -> NDArray[np.float64]:
    if not np.isfinite(logits).all():
        raise CheckError("the network gave logits that are not numbers; export it again and look at its parity file")
    powers = np.exp(logits.astype(np.float64) - logits.max())
    shares: NDArray[np.float64] = powers / powers.sum()
    return shares


def _chosen(
    probabilities: NDArray[np.float64], choice: Choice, never: Sequence[int], generator: np.random.Generator
) -> int:
    allowed = probabilities.copy()
    allowed[list(never)] = 0
    # Stable and of the negated values: on a tie the lower token comes first.
    best = np.argsort(-allowed, kind="stable")[: choice.top]
    if choice.temperature == 0:
        return int(best[0])
    weights = (allowed[best] / allowed[best[0]]) ** (1 / choice.temperature)
    return int(generator.choice(best, p=weights / weights.sum()))
