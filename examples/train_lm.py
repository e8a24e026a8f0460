"""Trains the language model of Efficient Recurrent Units on a text: `python examples/train_lm.py --help`."""

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Annotated

import torch
import typer
from lm_data import Corpus, read_corpus, unigram_perplexity
from lm_training import Epoch, Settings, Training, new_model, perplexity
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from espnet_edge.commands import console as new_console
from espnet_edge.commands import new_app, run
from espnet_edge.errors import InputError, UnavailableError
from espnet_edge.files import write_text
from espnet_edge.model.eru_lm import EMBEDDING_SIZE, NUM_LAYERS, UNITS, EruCell, LanguageModel
from espnet_edge.runtime.vocabulary import UNKNOWN, Vocabulary

PROGRAM = "train_lm"
DEFAULT_WIDTH = 1.0

app = new_app()


class LstmCell(EruCell):
    """The plain LSTM: a linear transform of the input, where the ERU has an EESP unit."""

    def input_transform(self, in_features: int, units: int) -> nn.Module:
        """One matrix; the bias is that of the recurrent transform."""
        return nn.Linear(in_features, 4 * units, bias=False)


@dataclass(frozen=True)
class Result:
    """A trained model in numbers: perplexities of the weights in best.pth."""

    name: str
    units: int
    parameters: int
    valid_perplexity: float
    test_perplexity: float

    def line(self) -> str:
        """For people."""
        return (
            f"{self.name:<8} valid {self.valid_perplexity:7.2f}  test {self.test_perplexity:7.2f}  "
            f"{self.units} units, {self.parameters:,} parameters"
        )


@app.command(
    epilog="""Examples:

\b
  python examples/train_lm.py --data ptb --out build/lm
  python examples/train_lm.py --data ptb --out build/lm --resume
  python examples/train_lm.py --data examples/text --out build/lm_text --units 128 --embedding-size 128 --lr 20 \\
    --batch 4 --bptt 35 --dropout 0.2 --epochs 30 --compare-lstm
"""
)
def train_command(
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of train.txt, valid.txt and test.txt, or ptb.train.txt ...")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where best.pth, last.pth, vocabulary.txt, curve.csv go.")],
    width: Annotated[float | None, typer.Option(help="Of the registry: 1.0 (default), 1.5 or 2.0.")] = None,
    units: Annotated[int | None, typer.Option(help="Of each layer, instead of a width; a multiple of 16.")] = None,
    embedding_size: Annotated[int, typer.Option(help="A multiple of 4.")] = EMBEDDING_SIZE,
    layers: Annotated[int, typer.Option(min=1)] = NUM_LAYERS,
    untied: Annotated[bool, typer.Option("--untied", help="A matrix of its own for the logits.")] = False,
    epochs: Annotated[int, typer.Option(min=1)] = 500,
    batch: Annotated[int, typer.Option(min=1, help="Streams of the text read side by side.")] = 20,
    bptt: Annotated[int, typer.Option(min=1, help="Mean number of steps that gradients go back.")] = 70,
    lr: Annotated[float, typer.Option(help="Learning rate.")] = 30.0,
    clip: Annotated[float, typer.Option(help="Largest norm of a gradient.")] = 0.25,
    dropout: Annotated[float, typer.Option(help="After the embedding and each layer.")] = 0.5,
    seed: Annotated[int, typer.Option(min=0, max=1_000_000)] = 1,
    vocabulary_size: Annotated[
        int | None, typer.Option(min=3, help="Only the most frequent words; the others become <unk>.")
    ] = None,
    compare_lstm: Annotated[
        bool, typer.Option("--compare-lstm", help="Train an LSTM of as many parameters likewise, and compare.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training in --out.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: cuda where it is.")] = "auto",
) -> None:
    """Train the language model by AWD-LSTM's policy; Ctrl-C stops it, --resume goes on with equal numbers."""
    console = new_console()
    settings = Settings(
        units=_units_of(width, units),
        embedding_size=embedding_size,
        layers=layers,
        untied=untied,
        batch=batch,
        bptt=bptt,
        lr=lr,
        clip=clip,
        dropout=dropout,
        seed=seed,
    )
    check_settings(settings)
    place = _device_of(device)
    corpus = read_corpus(data, vocabulary_size)
    check_lengths(corpus, settings)
    describe_texts(corpus, console)
    describe_size(settings, console)

    _check_folder(out, resume)
    out.mkdir(parents=True, exist_ok=True)
    eru = train("ERU", Training(out, corpus, settings, EruCell, place), epochs, resume, console)
    trained = {"ERU": eru}
    if compare_lstm:
        trained["LSTM"] = train_lstm(out / "lstm", corpus, settings, place, epochs, resume, console)
    report(trained, corpus, out / "result.json")


def check_settings(settings: Settings) -> None:
    """Refuse what no model or optimiser can be made of.

    Raises:
        InputError: naming the option and its range.
    """
    for option, value, multiple in (("units", settings.units, 16), ("embedding-size", settings.embedding_size, 4)):
        if value < multiple or value % multiple:
            below = max(multiple, value // multiple * multiple)
            raise InputError(f"--{option} {value}: a multiple of {multiple} is needed, such as {below}")
    for option, number in (("lr", settings.lr), ("clip", settings.clip)):
        if not (number > 0 and math.isfinite(number)):
            raise InputError(f"--{option} {number:g}: it must be above 0, and finite")
    if not 0 <= settings.dropout < 1:
        raise InputError(f"--dropout {settings.dropout:g}: it must be at least 0 and below 1")


def check_lengths(corpus: Corpus, settings: Settings) -> None:
    """Refuse texts that are shorter than one sequence.

    Raises:
        InputError: with the number of words that are there and that are needed.
    """
    needed = settings.batch * (settings.bptt + 1)
    if (words := corpus.train.shape[0]) < needed:
        raise InputError(
            f"the training text has {words} words, --batch {settings.batch} x (--bptt {settings.bptt} + 1) needs "
            f"{needed}; lower --batch or --bptt"
        )
    for split, text in (("valid", corpus.valid), ("test", corpus.test)):
        if text.shape[0] < 2:
            raise InputError(
                f"the {split} text has {text.shape[0]} word with line ends, 2 are needed; give a longer one"
            )


def lstm_units(settings: Settings, vocabulary_size: int) -> int:
    """Units with which an LSTM has nearly as many parameters as the ERU of `settings`."""
    wanted = _parameters(settings, vocabulary_size, EruCell)

    def surplus(units: int) -> int:
        return _parameters(replace(settings, units=units), vocabulary_size, LstmCell) - wanted

    # Parameters rise with the units but for one step: where the units are the embedding size, no map is needed
    # between them. So all are looked at, which costs no memory and little time.
    return min(range(1, settings.units + 1), key=lambda units: abs(surplus(units)))


def describe_texts(corpus: Corpus, console: Console) -> None:
    """Say how long the texts are, and what share of them the vocabulary lacks."""
    sizes = ", ".join(f"{split} {text.shape[0]:,}" for split, text in corpus.texts().items())
    console.print(f"{PROGRAM}: {len(corpus.vocabulary):,} words in the vocabulary; words in the texts: {sizes}")
    unknown = {split: share for split, share in corpus.unknown.items() if share}
    if unknown:
        shares = ", ".join(f"{share:.2%} of {split}" for split, share in unknown.items())
        console.print(f"{PROGRAM}: not in the vocabulary, so read as {UNKNOWN}: {shares}")
    if unknown and not (corpus.train == corpus.vocabulary.index(UNKNOWN)).any():
        console.print(
            f"{PROGRAM}: {UNKNOWN} is never in the training text, so it is not learnt; --vocabulary-size makes it of "
            "the rarest words"
        )


def describe_size(settings: Settings, console: Console) -> None:
    """Say so where the model will be one that espnet-export has no width for."""
    sizes = settings.units in UNITS.values(), settings.embedding_size == EMBEDDING_SIZE, settings.layers == NUM_LAYERS
    if not all(sizes):
        units = ", ".join(map(str, UNITS.values()))
        console.print(
            f"{PROGRAM}: an experiment: espnet-export takes {units} units with an embedding of {EMBEDDING_SIZE} in "
            f"{NUM_LAYERS} layers, this is {settings.units} with {settings.embedding_size} in {settings.layers}"
        )


def train(name: str, training: Training, epochs: int, resume: bool, console: Console) -> Training:
    """Train up to `epochs` in all, a line for each; on a terminal with a bar for the epoch at hand."""
    if resume:
        training.restore()
    write_text(training.folder / "vocabulary.txt", Vocabulary(training.corpus.vocabulary).as_text())
    try:
        while len(training.curve) < epochs:
            with _bar(name, training, epochs, console) as on_words:
                epoch = training.run_epoch(on_words)
            console.print(epoch_line(name, epoch, training, epochs))
    except KeyboardInterrupt:
        if done := len(training.curve):
            epochs_done = f"{done} epoch{'s' * (done > 1)}"
            console.print(f"{PROGRAM}: {name} is trained for {epochs_done}; the same command with --resume goes on")
        raise
    return training


def train_lstm(
    folder: Path,
    corpus: Corpus,
    settings: Settings,
    place: torch.device,
    epochs: int,
    resume: bool,
    console: Console,
) -> Training:
    """The same training of an LSTM of the same size; with `resume` it goes on where one was begun in `folder`."""
    folder.mkdir(exist_ok=True)
    settings = replace(settings, units=lstm_units(settings, len(corpus.vocabulary)))
    resume = resume and (folder / "last.pth").exists()
    return train("LSTM", Training(folder, corpus, settings, LstmCell, place), epochs, resume, console)


def epoch_line(name: str, epoch: Epoch, training: Training, epochs: int) -> str:
    """The numbers of an epoch and the time that is left, for people."""
    left = (epochs - epoch.epoch) * median(past.seconds for past in training.curve)
    return (
        f"{name} epoch {epoch.epoch}/{epochs}  lr {epoch.learning_rate:g}{' averaged' if epoch.averaged else ''}  "
        f"train {_perplexity(epoch.train_perplexity)}  valid {_perplexity(epoch.valid_perplexity)}  "
        f"{epoch.words_per_second:,.0f} words/s  {_duration(left)} left"
    )


def measured(name: str, training: Training) -> Result:
    """Perplexities of the best weights, over the whole texts in one stream."""
    model = training.best_model()
    return Result(
        name=name,
        units=model.units,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        valid_perplexity=perplexity(model, training.corpus.valid),
        test_perplexity=perplexity(model, training.corpus.test),
    )


def microseconds_per_word(models: Sequence[LanguageModel], steps: int = 100, rounds: int = 10) -> list[float]:
    """Median time of one step of one word of each model, measured in turns."""
    times: list[list[float]] = [[] for _ in models]
    for _ in range(rounds + 1):
        for model, of_model in zip(models, times, strict=True):
            of_model.append(_seconds_of(model, steps) / steps * 1e6)
    return [median(of_model[1:]) for of_model in times]  # the first round warms up


def verdict(eru: Result, lstm: Result) -> str:
    """Which of the two is better on the test text, in one line."""
    better = eru.test_perplexity < lstm.test_perplexity
    share = lstm.parameters / eru.parameters - 1
    return (
        f"Test perplexity: ERU {eru.test_perplexity:.2f}, LSTM of the same size ({share:+.2%} parameters) "
        f"{lstm.test_perplexity:.2f}: the ERU is {'better' if better else 'NOT better'}, with this seed"
    )


def report(trained: dict[str, Training], corpus: Corpus, path: Path) -> None:
    """Print what was reached beside what knowing the words' frequencies alone gives; `path` gets it as JSON."""
    unigram = {split: unigram_perplexity(corpus, corpus.texts()[split]) for split in ("valid", "test")}
    results = [measured(name, training) for name, training in trained.items()]
    print(f"unigram  valid {unigram['valid']:7.2f}  test {unigram['test']:7.2f}")
    for result in results:
        print(result.line())
    content: dict[str, object] = {"unigram": unigram, "models": [asdict(result) for result in results]}
    if len(results) == 2:
        times = microseconds_per_word([training.best_model() for training in trained.values()])
        named = dict(zip(trained, times, strict=True))
        print("us a word, one stream: " + ", ".join(f"{name} {time_us:.0f}" for name, time_us in named.items()))
        print(verdict(*results))
        content["microseconds_per_word"] = named
    write_text(path, json.dumps(content, indent=2) + "\n")


def main() -> None:
    """Run the command and exit."""
    run(app, PROGRAM)


def _perplexity(value: float) -> str:
    """Two decimals, unless the model is lost."""
    return f"{value:.2f}" if value < 1e6 else f"{value:.1e}"


def _units_of(width: float | None, units: int | None) -> int:
    if units is not None and width is not None:
        raise InputError(f"--width {width:g} and --units {units} both say how many units; give one of them")
    if units is not None:
        return units
    width = DEFAULT_WIDTH if width is None else width
    if width not in UNITS:
        raise InputError(f"--width {width:g}: the widths are {', '.join(map(str, UNITS))}; --units takes any size")
    return UNITS[width]


def _device_of(name: str) -> torch.device:
    if name not in {"auto", "cpu", "cuda"}:
        raise InputError(f"--device {name}: choose auto, cpu or cuda")
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise UnavailableError("--device cuda: PyTorch finds no CUDA device; choose --device cpu")
    return torch.device("cuda" if found and name != "cpu" else "cpu")


def _check_folder(out: Path, resume: bool) -> None:
    nearest = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise InputError(f"--out {out}: {nearest} is no folder that can be written; choose another")
    begun = (out / "last.pth").exists()
    if not resume and (begun or (out / "lstm" / "last.pth").exists()):
        raise InputError(f"--out {out}: holds a training; --resume goes on with it, another --out begins anew")
    if resume and not begun:
        raise InputError(f"--out {out}: holds no last.pth to --resume; check the folder, or leave --resume out")


def _parameters(settings: Settings, vocabulary_size: int, cell: type[EruCell]) -> int:
    with torch.device("meta"):  # shapes alone, no numbers
        model = new_model(settings, vocabulary_size, cell)
    return sum(parameter.numel() for parameter in model.parameters())


@contextmanager
def _bar(name: str, training: Training, epochs: int, console: Console) -> Iterator[Callable[[int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        description = f"{name} epoch {len(training.curve) + 1}/{epochs}"
        task = progress.add_task(description, total=training.words_per_epoch)
        yield lambda words: progress.advance(task, words)


@torch.inference_mode()
def _seconds_of(model: LanguageModel, steps: int) -> float:
    model.eval()
    states = model.zero_states(1)
    hidden, cell = states.hidden, states.cell
    token = torch.zeros(1, dtype=torch.int64, device=hidden.device)
    start = time.perf_counter()
    for _ in range(steps):
        logits, hidden, cell = model(token, hidden, cell)
    logits.sum().item()  # waits for a GPU
    return time.perf_counter() - start


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return (
        f"{minutes // 60} h {minutes % 60} min"
        if minutes >= 60
        else f"{minutes} min"
        if minutes
        else f"{seconds:.0f} s"
    )


if __name__ == "__main__":
    main()
