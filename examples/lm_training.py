"""One training of a language model by AWD-LSTM's learning policy, which can be interrupted and go on exactly.

Merity et al., "Regularizing and Optimizing LSTM Language Models", ICLR 2018: SGD with a constant rate until the
perplexity of the validation text has not improved for some epochs, then the average of all weights from there on
(NT-ASGD); clipped gradients; back-propagation over lengths that vary. Its regularisers other than dropout, such as
DropConnect on the recurrent weights, are not part of it.
"""

import csv
import io
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lm_data import Corpus, as_streams, random_lengths, sequences
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.swa_utils import AveragedModel

from espnet_edge.errors import InputError
from espnet_edge.files import write_bytes, write_text
from espnet_edge.model.eru_lm import EruCell, LanguageModel, States

WEIGHT_DECAY = 1.2e-6
PATIENCE = 5  # epochs without improvement before the weights are averaged
_EVALUATION_STEPS = 70
_MAX_CHECKPOINT_BYTES = 4 << 30
_FORMAT = 1


@dataclass(frozen=True)
class Settings:
    """What decides the numbers of a training, besides the texts. Named like the command's options."""

    units: int
    embedding_size: int
    layers: int
    untied: bool
    batch: int
    bptt: int
    lr: float
    clip: float
    dropout: float
    seed: int


@dataclass(frozen=True)
class Epoch:
    """One line of the curve. Perplexities: `train` with dropout, `valid` with what best.pth would hold."""

    epoch: int
    learning_rate: float
    averaged: bool
    train_perplexity: float
    valid_perplexity: float
    words_per_second: float
    seconds: float


class Training:
    """A model on its way in `folder`: last.pth to go on from, best.pth for use, curve.csv to look at.

    Args:
        folder: where the files go.
        corpus: what is learnt and checked.
        settings: also those of the model.
        cell: makes the cell of each layer.
        device: to compute on.
    """

    def __init__(
        self, folder: Path, corpus: Corpus, settings: Settings, cell: type[EruCell], device: torch.device
    ) -> None:
        torch.manual_seed(settings.seed)
        self.folder = folder
        self.corpus = corpus
        self.settings = settings
        self.model = new_model(settings, len(corpus.vocabulary), cell).to(device)
        self.optimizer = SGD(self.model.parameters(), lr=settings.lr, weight_decay=WEIGHT_DECAY)
        self.averaged: AveragedModel | None = None
        self.curve: list[Epoch] = []
        self._identity = {
            "cell": cell.__name__,
            "vocabulary": len(corpus.vocabulary),
            "texts": corpus.digest()[:16],
            **asdict(settings),
        }
        self._text = as_streams(corpus.train, settings.batch).to(device)

    @property
    def words_per_epoch(self) -> int:
        """Words that are predicted in an epoch."""
        return self._text[1:].numel()

    def run_epoch(self, on_words: Callable[[int], None]) -> Epoch:
        """Train through the text once, validate, and write the files. `on_words` hears of each sequence's words.

        Raises:
            InputError: the loss is no number any more.
        """
        start = time.perf_counter()
        loss = self._train_through_text(on_words)
        seconds = time.perf_counter() - start
        valid = perplexity(self._usable_model(), self.corpus.valid, _streams_for(self.corpus.valid))
        if not math.isfinite(valid):
            raise self._diverged()
        done = Epoch(
            epoch=len(self.curve) + 1,
            learning_rate=self.settings.lr,
            averaged=self.averaged is not None,
            train_perplexity=_exponential(loss),
            valid_perplexity=valid,
            words_per_second=self.words_per_epoch / seconds,
            seconds=seconds,
        )
        earlier = [epoch.valid_perplexity for epoch in self.curve]
        self.curve.append(done)
        self._save(is_best=valid < min(earlier, default=math.inf))
        return done

    def restore(self) -> None:
        """Go on from last.pth.

        Raises:
            InputError: it is damaged, not one of ours, or of another training; both values are named.
        """
        path = self.folder / "last.pth"
        state = _load(path)
        try:
            self._check_identity(path, state["identity"])
            self.curve = [Epoch(**epoch) for epoch in state["curve"]]
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            if state["averaged"] is not None:
                self.averaged = AveragedModel(self.model)
                self.averaged.load_state_dict(state["averaged"])
            torch.set_rng_state(state["random"])
            if state["random_cuda"]:
                torch.cuda.set_rng_state_all(state["random_cuda"])
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"{path}: not a training of this program ({reason}); choose another --out") from None

    def best_model(self) -> LanguageModel:
        """The model with the weights of best.pth."""
        self.model.load_state_dict(torch.load(self.folder / "best.pth", weights_only=True))
        return self.model

    def _train_through_text(self, on_words: Callable[[int], None]) -> float:
        """Mean loss over all words."""
        settings = self.settings
        # From the epoch's number, so that a resumed training draws the same lengths.
        lengths = random_lengths(settings.bptt, seed=settings.seed * 1_000_003 + len(self.curve))
        states = self.model.zero_states(settings.batch)
        total = 0.0
        self._start_averaging_if_stuck()
        self.model.train()
        for inputs, targets in sequences(self._text, lengths):
            states = States(states.hidden.detach(), states.cell.detach())
            loss, states = self._step(inputs, targets, states)
            total += loss * targets.numel()
            on_words(targets.numel())
        return total / self.words_per_epoch

    def _step(self, inputs: Tensor, targets: Tensor, states: States) -> tuple[float, States]:
        logits, states = self.model.sequence(inputs, states)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        if not torch.isfinite(loss):
            raise self._diverged()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        for group in self.optimizer.param_groups:
            # A short sequence has the mean of fewer words, so it counts for less.
            group["lr"] = self.settings.lr * inputs.shape[0] / self.settings.bptt
        self.optimizer.step()
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)
        return loss.item(), states

    def _start_averaging_if_stuck(self) -> None:
        valid = [epoch.valid_perplexity for epoch in self.curve]
        if (
            self.averaged is None
            and len(valid) > PATIENCE
            and valid[-1] > min(valid[: -PATIENCE - 1], default=math.inf)
        ):
            self.averaged = AveragedModel(self.model)

    def _usable_model(self) -> LanguageModel:
        model = self.model if self.averaged is None else self.averaged.module
        assert isinstance(model, LanguageModel)
        return model

    def _save(self, is_best: bool) -> None:
        # last.pth comes last: an interruption before it repeats the epoch, with the same outcome.
        if is_best:
            write_bytes(self.folder / "best.pth", _saved(_on_cpu(self._usable_model().state_dict())))
        write_text(self.folder / "curve.csv", _csv(self.curve))
        state = {
            "format": _FORMAT,
            "identity": self._identity,
            "curve": [asdict(epoch) for epoch in self.curve],
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": self.averaged.state_dict() if self.averaged is not None else None,
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if self._text.is_cuda else [],
        }
        write_bytes(self.folder / "last.pth", _saved(state))

    def _check_identity(self, path: Path, saved: dict[str, Any]) -> None:
        for name, wanted in self._identity.items():
            if name not in saved or saved[name] != wanted:
                option = f"--{name.replace('_', '-')}" if hasattr(self.settings, name) else f"the {name}"
                raise InputError(
                    f"{path}: {option} was {saved.get(name, 'not there')} when it began, now it is {wanted}; "
                    "go on with the same settings and texts, or choose another --out"
                )

    def _diverged(self) -> InputError:
        return InputError(
            f"the loss is no number any more in epoch {len(self.curve) + 1} at --lr {self.settings.lr:g}; "
            "start again in another --out with a lower --lr"
        )


def new_model(settings: Settings, vocabulary_size: int, cell: type[EruCell]) -> LanguageModel:
    """A model as the settings say, with fresh weights."""
    return LanguageModel(
        vocabulary_size,
        settings.units,
        embedding_size=settings.embedding_size,
        num_layers=settings.layers,
        dropout=settings.dropout,
        tied_softmax=not settings.untied,
        cell=cell,
    )


@torch.inference_mode()
def perplexity(model: LanguageModel, text: Tensor, streams: int = 1) -> float:
    """Of each word of `text` after the first of a stream, the model having read the stream up to there."""
    model.eval()
    words = as_streams(text, streams).to(model.decoder.bias.device)
    states = model.zero_states(streams)
    total = 0.0
    for inputs, targets in sequences(words, repeat(_EVALUATION_STEPS)):
        logits, states = model.sequence(inputs, states)
        total += F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").item()
    return _exponential(total / words[1:].numel())


def _streams_for(text: Tensor) -> int:
    """Up to ten side by side for speed, where so many starts without context hardly count."""
    return min(10, max(1, text.shape[0] // 1000))


def _exponential(loss: float) -> float:
    return math.exp(loss) if loss < 700 else math.inf


def _csv(curve: list[Epoch]) -> str:
    table = io.StringIO()
    writer = csv.DictWriter(table, asdict(curve[0]), lineterminator="\n")
    writer.writeheader()
    for epoch in curve:
        row = {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in asdict(epoch).items()}
        writer.writerow(row | {"averaged": int(epoch.averaged)})
    return table.getvalue()


def _on_cpu(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.cpu() for name, tensor in state.items()}


def _saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path}: no such file, so there is nothing to resume; leave --resume out, or check --out")
    if (size := path.stat().st_size) > _MAX_CHECKPOINT_BYTES:
        raise InputError(f"{path}: {size} bytes, a training has at most {_MAX_CHECKPOINT_BYTES}; check --out")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001  A damaged file can make the unpickler fail in any way.
        raise InputError(f"{path}: damaged or not a training; choose another --out") from None
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise InputError(f"{path}: format {found}, this program reads {_FORMAT}; choose another --out")
    return state
