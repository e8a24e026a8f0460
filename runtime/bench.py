"""Measuring latency: several runners, interleaved, every sample kept.

Runners are measured in rounds. In each round every runner has one block, in an order drawn anew, so that what changes
slowly (temperature, clocks, other work) touches all of them alike, and a ratio is formed within a round.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .manifest import TensorInfo
from .runner import Runner, RunnerInfo
from .stats import Ratio, Summary, median, summarise

Feeds = Mapping[str, NDArray[Any]]
Clock = Callable[[], int]
Progress = Callable[[str, int, int], None]

_NS_PER_S = 1_000_000_000


@dataclass(frozen=True)
class BenchSettings:
    """How often and in which order: see `bench`."""

    warmup_iterations: int
    warmup_s: float
    iterations: int
    rounds: int
    seed: int

    def check(self) -> None:
        """Raise InputError where a number makes no sense."""
        for name, least in (("warmup_iterations", 0), ("warmup_s", 0), ("iterations", 1), ("rounds", 1), ("seed", 0)):
            if (value := getattr(self, name)) < least:
                raise InputError(f"{name} {value}: give at least {least}")


@dataclass(frozen=True)
class LatencySamples:
    """All that was measured of one runner. Units: ns.

    `samples_ns` has one tuple for each round. `discarded_ns` are the first iterations of the blocks and `warmup_ns`
    those before the first round; they are kept for inspection and enter no figure. `inputs` says what was fed.
    """

    name: str
    info: RunnerInfo
    inputs: tuple[str, ...]
    warmup_ns: tuple[int, ...]
    discarded_ns: tuple[int, ...]
    samples_ns: tuple[tuple[int, ...], ...]

    @property
    def summary(self) -> Summary:
        """Figures over the samples of all rounds."""
        return summarise([sample for block in self.samples_ns for sample in block])

    @property
    def round_medians_ns(self) -> tuple[float, ...]:
        """The median of each round's block."""
        return tuple(median(block) for block in self.samples_ns)


@dataclass(frozen=True)
class BenchResult:
    """What `bench` measured; `order` has the names of each round's blocks in the order in which they ran."""

    settings: BenchSettings
    runners: tuple[LatencySamples, ...]
    order: tuple[tuple[str, ...], ...]

    def ratio(self, samples: LatencySamples) -> Ratio:
        """`samples` against the first runner, paired by round: medians of blocks of the same round are divided."""
        pairs = zip(samples.round_medians_ns, self.runners[0].round_medians_ns, strict=True)
        ratios = [mine / first for mine, first in pairs]
        return Ratio(median(ratios), min(ratios), max(ratios), len(ratios))


def bench(
    runners: Mapping[str, Runner],
    feeds: Mapping[str, Feeds],
    *,
    warmup_iterations: int = 3,
    warmup_s: float = 0.5,
    iterations: int = 10,
    rounds: int = 5,
    seed: int = 0,
    progress: Progress | None = None,
    clock: Clock = time.perf_counter_ns,
) -> BenchResult:
    """Latency of `infer`, end to end on host arrays, of each runner.

    Each sample is the time from the call of `infer`, its input arrays ready in memory, until the output arrays are
    there. First every runner is warmed up. Then, in each round, every runner runs one block: one iteration that is
    discarded, because the caches and the cores still belong to the runner before it, and `iterations` timed ones.

    Args:
        runners: open runners by name; ratios refer to the first.
        feeds: the inputs of each runner, under the runner's name.
        warmup_iterations: least number of iterations of each runner before the first round.
        warmup_s: least duration of that warm-up; fast networks need more than a few iterations.
        iterations: timed ones in each block.
        rounds: blocks of each runner.
        seed: of the order within the rounds.
        progress: called between blocks, never inside one, with a text, the blocks done and all blocks.
        clock: monotonic, in ns.

    Raises:
        InputError: a number is out of range, or the inputs do not fit.
    """
    settings = BenchSettings(warmup_iterations, warmup_s, iterations, rounds, seed)
    settings.check()
    if not runners or runners.keys() != feeds.keys():
        raise InputError(
            f"runners {list(runners)} and feeds {list(feeds)}: give feeds for each runner, and one at least"
        )
    told = _Steps(progress, total=len(runners) * (rounds + 1))
    warmups = {}
    for name, runner in runners.items():
        told.step(f"warm-up: {name}")
        warmups[name] = _warm_up(runner, feeds[name], settings, clock)
    order = _order(list(runners), settings)
    blocks: dict[str, list[list[int]]] = {name: [] for name in runners}
    for number, names in enumerate(order, 1):
        for name in names:
            told.step(f"round {number} of {rounds}: {name}")
            blocks[name].append(_timed(runners[name], feeds[name], 1 + iterations, clock))
    told.step("done")
    samples = tuple(_samples(name, runners[name], feeds[name], warmups[name], blocks[name]) for name in runners)
    return BenchResult(settings, samples, order)


def random_feeds(inputs: Sequence[TensorInfo], *, batch: int | None, seed: int, source: str) -> dict[str, NDArray[Any]]:
    """Seeded random inputs of the right dtype and shape: pixels over the whole range, float numbers from N(0, 1).

    Integer inputs are 0 or 1, which are valid indices into any table.

    Args:
        inputs: what the network takes.
        batch: size of a free batch, 1 if None.
        seed: the same gives the same arrays.
        source: name of the file, for messages.

    Raises:
        InputError: `batch` differs from a fixed batch, another dimension is free, or there is not enough memory.
    """
    generator = np.random.default_rng(seed)
    shapes = {tensor.name: _fed_shape(tensor, batch, source) for tensor in inputs}
    try:
        return {tensor.name: _random_array(tensor.dtype, shapes[tensor.name], generator) for tensor in inputs}
    except MemoryError as error:
        raise InputError(f"{source}: no memory for inputs of shape {list(shapes.values())}; lower --batch") from error


def described(feeds: Feeds) -> tuple[str, ...]:
    """Name, type and shape of each input: "image uint8 (1,512,1024,3)"."""
    return tuple(f"{name} {array.dtype} ({','.join(map(str, array.shape))})" for name, array in feeds.items())


class _Steps:
    """Counts blocks for a progress display."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def step(self, text: str) -> None:
        if self._progress is not None:
            self._progress(text, self._done, self._total)
        self._done += 1


def _order(names: list[str], settings: BenchSettings) -> tuple[tuple[str, ...], ...]:
    generator = np.random.default_rng(settings.seed)
    return tuple(tuple(names[i] for i in generator.permutation(len(names))) for _ in range(settings.rounds))


def _warm_up(runner: Runner, feeds: Feeds, settings: BenchSettings, clock: Clock) -> list[int]:
    samples: list[int] = []
    end = clock() + round(settings.warmup_s * _NS_PER_S)
    while len(samples) < settings.warmup_iterations or clock() < end:
        samples += _timed(runner, feeds, 1, clock)
    return samples


def _timed(runner: Runner, feeds: Feeds, iterations: int, clock: Clock) -> list[int]:
    """Durations of `iterations` calls. Units: ns."""
    durations = []
    for _ in range(iterations):
        start = clock()
        outputs = runner.infer(feeds)
        durations.append(clock() - start)
        # Freed here and not while the next call is timed.
        del outputs
    return durations


def _samples(
    name: str, runner: Runner, feeds: Feeds, warmup_ns: Sequence[int], blocks: Sequence[Sequence[int]]
) -> LatencySamples:
    return LatencySamples(
        name=name,
        info=runner.info,
        inputs=described(feeds),
        warmup_ns=tuple(warmup_ns),
        discarded_ns=tuple(block[0] for block in blocks),
        samples_ns=tuple(tuple(block[1:]) for block in blocks),
    )


def _fed_shape(tensor: TensorInfo, batch: int | None, source: str) -> tuple[int, ...]:
    shape, axis = list(tensor.shape), tensor.batch_axis
    if shape and isinstance(shape[axis], str):
        shape[axis] = 1 if batch is None else batch
    elif shape and batch not in (None, shape[axis]):
        raise InputError(
            f"--batch {batch}: {source} has the fixed batch {shape[axis]}; leave the option out, "
            f"or export with --batch 1,{batch},{batch}"
        )
    if free := [size for size in shape if isinstance(size, str)]:
        raise InputError(
            f"{source}: {tensor.name} has the free size {free[0]!r}; export it with fixed height and width"
        )
    return tuple(size for size in shape if isinstance(size, int))


def _random_array(dtype: str, shape: tuple[int, ...], generator: np.random.Generator) -> NDArray[Any]:
    if dtype == "uint8":
        return generator.integers(0, 256, shape, dtype=np.uint8)
    if dtype.startswith("float"):
        return generator.standard_normal(shape, dtype=np.float32).astype(dtype, copy=False)
    return generator.integers(0, 2, shape).astype(dtype, copy=False)
