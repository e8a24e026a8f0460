"""What our bench adds to an inference: its samples against a bare loop around the library's own call.

    python benchmarks/harness.py --rounds 30 --iterations 20

In each round both sides open the network anew, ours as `espnet-bench` does and the bare one with nothing but the
library: where the memory of a session lies changes its time by more than a harness does, and this way it is drawn
anew for every round. Then each side runs a few blocks in turns, in random order. Exit code 4 where the 95 % interval of
the ratio of medians of a whole network lies outside of 0.98 to 1.02.
"""

import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import typer
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from espnet_edge.commands import console, new_app, run
from espnet_edge.errors import CheckError, InputError
from espnet_edge.export import ExportOptions, Progress, export
from espnet_edge.files import write_text
from espnet_edge.runtime.bench import BenchSettings, bench
from espnet_edge.runtime.feeds import random_feeds
from espnet_edge.runtime.paired import INTERVAL_RULE, LEAST_ROUNDS, paired_ratio
from espnet_edge.runtime.runner import open_runner
from espnet_edge.runtime.stats import Ratio, median
from espnet_edge.runtime.work import Work

PROGRAM = "harness"
RUNTIMES = ("onnxruntime", "openvino")
LOWEST, HIGHEST = 0.98, 1.02
# The tiny network is some hundred times shorter than a whole one: a block of the same inferences would be over at once.
TINY_ITERATIONS = 20
WARM_UPS = 5
BLOCKS = 4  # of each side in a round: what changes slowly touches both alike
NS_PER_US = 1000

Feeds = dict[str, NDArray[Any]]
Block = Callable[[int], Sequence[int]]

app = new_app()


@dataclass(frozen=True)
class Case:
    """A network in a runtime. `whole`: large enough for its ratio to be held to the limits."""

    network: str
    runtime: str
    path: Path
    whole: bool


@dataclass(frozen=True)
class Measured:
    """The medians of both sides, one of each round. Units: ns."""

    network: str
    runtime: str
    whole: bool
    ours_ns: tuple[float, ...]
    bare_ns: tuple[float, ...]

    @property
    def ratio(self) -> Ratio:
        """Ours over bare, paired by round."""
        return paired_ratio(self.ours_ns, self.bare_ns)

    @property
    def overhead_us(self) -> float:
        """Median over the rounds of what ours takes longer."""
        return median([ours - bare for ours, bare in zip(self.ours_ns, self.bare_ns, strict=True)]) / NS_PER_US

    @property
    def agrees(self) -> bool:
        """Whether the whole interval lies within the limits."""
        low, high = self.ratio.low, self.ratio.high
        return low is not None and high is not None and low >= LOWEST and high <= HIGHEST

    @property
    def line(self) -> str:
        """For people."""
        ratio = self.ratio
        assert ratio.low is not None
        assert ratio.high is not None
        verdict = ("agrees" if self.agrees else "DIFFERS") if self.whole else "no limit"
        return (
            f"{self.network:<6} {self.runtime:<12} {median(self.bare_ns) / NS_PER_US:11.1f} {self.overhead_us:+12.2f} "
            f"{ratio.median:8.4f}  {ratio.low:.4f} to {ratio.high:.4f}  {verdict}"
        )


@app.command()
def harness(
    rounds: Annotated[int, typer.Option(help="New sessions of each side.")] = 30,
    iterations: Annotated[int, typer.Option(help="Timed inferences of a block.")] = 20,
    threads: Annotated[int, typer.Option(help="CPU threads of the library.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the order within the rounds.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the medians of all blocks.")] = None,
) -> None:
    """What our bench adds to an inference, against a bare loop around the library's own call."""
    if rounds < LEAST_ROUNDS or iterations < 1 or threads < 1:
        raise InputError(
            f"rounds {rounds}, iterations {iterations}, threads {threads}: give {LEAST_ROUNDS}, 1 and 1 at least"
        )
    with tempfile.TemporaryDirectory() as folder:
        cases = _cases(Path(folder))
        measured = _measured(cases, rounds, iterations, threads, random.Random(seed))  # noqa: S311
    print("network runtime        bare us/inf  overhead us   ratio  95 % interval")
    for one in measured:
        print(one.line)
    print(
        f"\n{rounds} rounds of {BLOCKS} blocks of {iterations} inferences, of the tiny network {TINY_ITERATIONS} x more"
    )
    print(f"ratio of medians, interval: {INTERVAL_RULE}")
    if json_file is not None:
        write_text(json_file, json.dumps([asdict(one) for one in measured], indent=1) + "\n")
    if failed := [f"{one.network} in {one.runtime}" for one in measured if one.whole and not one.agrees]:
        raise CheckError(
            f"{', '.join(failed)}: the interval of our bench against a bare loop is not within {LOWEST} to {HIGHEST}; "
            "on a machine with other work give more --rounds"
        )


def _measured(
    cases: Sequence[Case], rounds: int, iterations: int, threads: int, generator: random.Random
) -> list[Measured]:
    """All cases take turns in each round, in random order, and the two sides of a case in it."""
    medians: dict[tuple[Case, str], list[float]] = {(case, side): [] for case in cases for side in ("ours", "bare")}
    for number in range(rounds):
        console().print(f"round {number + 1} of {rounds}")
        for case in generator.sample(cases, len(cases)):
            count = iterations if case.whole else iterations * TINY_ITERATIONS
            for side, samples in _round(case, count, threads, generator).items():
                medians[case, side].append(median(samples))
    return [
        Measured(case.network, case.runtime, case.whole, tuple(medians[case, "ours"]), tuple(medians[case, "bare"]))
        for case in cases
    ]


def _round(case: Case, count: int, threads: int, generator: random.Random) -> dict[str, list[int]]:
    """Samples of both sides in new sessions, which are opened in random order, too. Units: ns."""
    openers = {"ours": _ours, "bare": _BARE[case.runtime]}
    samples: dict[str, list[int]] = {side: [] for side in openers}
    with ExitStack() as opened:
        blocks = {
            side: opened.enter_context(openers[side](case, threads))
            for side in generator.sample(sorted(openers), len(openers))
        }
        for _ in range(BLOCKS):
            for side in generator.sample(sorted(blocks), len(blocks)):
                samples[side] += blocks[side](count)
    return samples


@contextmanager
def _ours(case: Case, threads: int) -> Iterator[Block]:
    """A block as `espnet-bench` measures it."""
    with open_runner(case.path, case.runtime, threads=threads, trust=True) as runner:
        feeds = random_feeds(runner.inputs, batch=None, seed=0, source=case.path.name)

        def block(count: int) -> Sequence[int]:
            settings = BenchSettings(
                rounds=1, iterations=count, warmup_iterations=WARM_UPS, warmup_s=0, max_warmup_s=0, stages=False
            )
            return bench({case.network: Work((partial(runner.infer, feeds),))}, settings).lines[0].samples_ns[0]

        yield block


@contextmanager
def _bare_onnxruntime(case: Case, threads: int) -> Iterator[Block]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(case.path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    feeds = _feeds(case)

    def block(count: int) -> Sequence[int]:
        samples = []
        for _ in range(WARM_UPS + 1 + count):
            start = time.perf_counter_ns()
            outputs = session.run(names, feeds)
            samples.append(time.perf_counter_ns() - start)
            del outputs
        return samples[-count:]

    yield block


@contextmanager
def _bare_openvino(case: Case, threads: int) -> Iterator[Block]:
    import openvino

    core = openvino.Core()
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(threads),
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = core.compile_model(core.read_model(str(case.path)), "CPU", options).create_infer_request()
    feeds = _feeds(case)

    def block(count: int) -> Sequence[int]:
        samples = []
        for _ in range(WARM_UPS + 1 + count):
            start = time.perf_counter_ns()
            outputs = request.infer(feeds, share_inputs=True, share_outputs=True)
            samples.append(time.perf_counter_ns() - start)
            del outputs
        return samples[-count:]

    yield block


_BARE = {"onnxruntime": _bare_onnxruntime, "openvino": _bare_openvino}


def _feeds(case: Case) -> Feeds:
    """Random images, of the shape that the file says."""
    generator = np.random.default_rng(0)
    inputs = onnx.load(case.path).graph.input
    shapes = {one.name: [size.dim_value for size in one.type.tensor_type.shape.dim] for one in inputs}
    return {name: generator.integers(0, 256, shape, dtype=np.uint8) for name, shape in shapes.items()}


def _cases(folder: Path) -> list[Case]:
    """The tiny network and the classifier, each in both runtimes."""
    console().print("exporting the classifier with random weights")
    export(ExportOptions(model="cls", out=folder, weights="random", engine="none"), Progress())
    tiny = _tiny(folder / "tiny.onnx")
    files = {"tiny": (tiny, False), "cls": (folder / "cls.onnx", True)}
    return [Case(name, runtime, path, whole) for name, (path, whole) in files.items() for runtime in RUNTIMES]


def _tiny(path: Path) -> Path:
    """Two convolutions of a small image: some tens of microseconds."""
    generator = np.random.default_rng(0)
    weights = {"w1": (8, 3, 3, 3), "w2": (8, 8, 3, 3)}
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["real"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "w1"], ["first"], pads=[1] * 4),
        helper.make_node("Relu", ["first"], ["positive"]),
        helper.make_node("Conv", ["positive", "w2"], ["logits"], pads=[1] * 4),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 32, 32, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 8, 32, 32])],
        initializer=[
            numpy_helper.from_array(generator.standard_normal(shape).astype(np.float32), name)
            for name, shape in weights.items()
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


if __name__ == "__main__":
    run(app, PROGRAM)
