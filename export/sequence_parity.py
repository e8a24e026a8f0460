"""The parity proof of a language model: two hundred steps, each side feeding back its own states.

What a step gets wrong the next ones inherit, so the comparison covers what a long text would show.
"""

from collections.abc import Callable, Iterator

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from ..model.eru_lm import LanguageModel
from ..runtime.manifest import Precision
from .batch import Batch
from .parity import ParityCase, ParityReport, compared

STEPS = 200
_OUTPUTS = ("logits", "hidden_out", "cell_out")

Tokens = NDArray[np.int64]
Floats = NDArray[np.float32]


def sequence_inputs(vocabulary_size: int, batch: Batch) -> Iterator[tuple[str, Tokens]]:
    """Name and tokens (200, N) of each case: all words in order, noise, and each batch size of a free batch."""
    sizes = sorted({batch.minimum, batch.optimum, batch.maximum})
    generator = np.random.default_rng(0)
    starts = np.linspace(0, vocabulary_size, sizes[0], endpoint=False, dtype=np.int64)
    yield "words in order", (np.arange(STEPS)[:, np.newaxis] + starts) % vocabulary_size
    for i in range(2):
        yield f"noise {i}", generator.integers(0, vocabulary_size, (STEPS, sizes[0]))
    for count in sizes[1:]:
        yield f"batch of {count}", generator.integers(0, vocabulary_size, (STEPS, count))


def prove_sequence_parity(
    network: LanguageModel,
    model: onnx.ModelProto,
    *,
    batch: Batch,
    onnx_sha256: str,
    on_case: Callable[[ParityCase], None],
    precision: Precision = "fp32",
) -> ParityReport:
    """Compare logits and states of every step.

    Args:
        network: the reference.
        model: the exported file.
        batch: the sizes that it accepts.
        onnx_sha256: of the file, for the report.
        on_case: told of each case when it is done.
        precision: of the file.
    """
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    cases = []
    for name, tokens in sequence_inputs(network.embedding.num_embeddings, batch):
        expected, found = _reference_steps(network, tokens), _file_steps(network, session, tokens)
        cases.append(
            compared(
                name,
                tokens.shape[1],
                dict(zip(_OUTPUTS, expected, strict=True)),
                found,
                task="language_modelling",
                outputs_follow_logits=True,  # the logits are the output
                precision=precision,
            )
        )
        on_case(cases[-1])
    return ParityReport.of(cases, onnx_sha256, precision)


def _reference_steps(network: LanguageModel, tokens: Tokens) -> list[Floats]:
    """Logits (steps, N, words) and the states (steps, layers, N, units) of every step."""
    states = network.zero_states(tokens.shape[1])
    steps = []
    with torch.inference_mode():
        for token in torch.from_numpy(tokens):
            logits, *after = network(token, *states)
            states = type(states)(*after)
            steps.append((logits.numpy(), *(state.numpy() for state in after)))
    return [np.stack(output) for output in zip(*steps, strict=True)]


def _file_steps(network: LanguageModel, session: onnxruntime.InferenceSession, tokens: Tokens) -> list[Floats]:
    """The same of the file, from the same zeros."""
    hidden, cell = (state.numpy() for state in network.zero_states(tokens.shape[1]))
    steps = []
    for token in tokens:
        logits, hidden, cell = session.run(list(_OUTPUTS), {"token": token, "hidden": hidden, "cell": cell})
        steps.append((logits, hidden, cell))
    return [np.stack(output) for output in zip(*steps, strict=True)]
