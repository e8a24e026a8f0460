"""The C++ runtime against Python: pixels to labels, classes and boxes, and the upsampling of logits with its argmax.

    python benchmarks/cpp.py --rounds 20

Both sides run the same file in OpenVINO with the same number of threads, in one process, and answer for the same
photo at its own size: Python by `photo_input`, `infer` and `photo_answer`, C++ by its C interface. In each round both
open the network anew, then run a few blocks in turns, in random order. Their answers have to be equal. Then the
upsampling of logits 20x256x512 to labels 512x1024: C++ on one thread against `upsampled_labels`, against plain NumPy on
whole arrays, and against PyTorch on one thread.

Exit code 4 where answers differ, where the 95 % interval of C++ over Python lies above 1, or where that of an
upsampling in C++ over another does not lie below 0.5.
"""

import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import typer
from c_library import CLibrary, Pixels
from numpy.typing import NDArray

from espnet_edge.commands import console, new_app, run
from espnet_edge.errors import CheckError, InputError
from espnet_edge.export import ExportOptions, Progress, export
from espnet_edge.files import write_text
from espnet_edge.model.deploy import Io
from espnet_edge.runtime.answers import photo_answer
from espnet_edge.runtime.images import load_photo, photo_input
from espnet_edge.runtime.manifest import Manifest, read_manifest
from espnet_edge.runtime.paired import INTERVAL_RULE, LEAST_ROUNDS, paired_ratio
from espnet_edge.runtime.runner import open_runner
from espnet_edge.runtime.stats import Ratio, median
from espnet_edge.runtime.upsampling import upsampled_labels

PROGRAM = "cpp"
LIBRARY = Path("build/cpp/libespnet_runtime.so")
PHOTO_SIZE = (720, 1280)
LOGITS, LABELS = (20, 256, 512), (512, 1024)
CPP, PYTHON = "C++", "Python"
# Limits of C++ over the other side: of the median end to end, of the interval's upper end for the upsampling.
NOT_ABOVE, BELOW = 1.0, 0.5
WARM_UPS = 2
BLOCKS = 2  # of each side in a round: what changes slowly touches both alike
BOXES = 50  # that pass the threshold of a detection network with random weights
NS_PER_MS = 1_000_000

Answer = Callable[[], Any]

app = new_app()


@dataclass(frozen=True)
class Network:
    """An exported network, and what it is called in the table."""

    name: str
    path: Path
    manifest: Manifest


@dataclass(frozen=True)
class Measured:
    """The medians of the rounds of C++ and of another side. Units: ns."""

    name: str
    other: str
    cpp_ns: tuple[float, ...]
    other_ns: tuple[float, ...]
    end_to_end: bool
    agreement: str

    @property
    def ratio(self) -> Ratio:
        """C++ over the other side, paired by round."""
        return paired_ratio(self.cpp_ns, self.other_ns)

    @property
    def holds(self) -> bool:
        """Whether C++ is fast enough: end to end not slower by the median, else certainly below half."""
        low, high = self.ratio.low, self.ratio.high
        if low is None or high is None:
            return False
        return self.ratio.median <= NOT_ABOVE if self.end_to_end else high < BELOW

    @property
    def line(self) -> str:
        """For people."""
        ratio = self.ratio
        interval = "no interval" if ratio.low is None else f"{ratio.low:.3f} to {ratio.high:.3f}"
        return (
            f"{self.name:<12} {self.other:<16} {median(self.cpp_ns) / NS_PER_MS:9.2f} "
            f"{median(self.other_ns) / NS_PER_MS:9.2f} {ratio.median:7.3f}  {interval:<16} "
            f"{'holds' if self.holds else 'TOO SLOW':<9} {self.agreement}"
        )


@app.command()
def cpp(
    rounds: Annotated[int, typer.Option(help="New sessions of each side.")] = 20,
    block: Annotated[float, typer.Option(help="Length of a block, about.  [s]")] = 0.5,
    threads: Annotated[int, typer.Option(help="CPU threads of OpenVINO on both sides.")] = 1,
    library: Annotated[Path, typer.Option(help="The shared library of the C++ runtime.")] = LIBRARY,
    photo: Annotated[Path | None, typer.Option(help="A photo.  [default: a made-up one of 720x1280]")] = None,
    weights: Annotated[str, typer.Option(help="As of espnet-export.")] = "random",
    seed: Annotated[int, typer.Option(help="Of the order within the rounds.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the medians of all rounds.")] = None,
) -> None:
    """The C++ runtime against Python, interleaved."""
    if rounds < LEAST_ROUNDS or threads < 1 or not block > 0:
        raise InputError(
            f"rounds {rounds}, threads {threads}, block {block:g}: give {LEAST_ROUNDS}, 1 and some seconds at least"
        )
    c_library = CLibrary(library)
    pixels = made_up_photo() if photo is None else load_photo(photo)
    generator = random.Random(seed)  # noqa: S311
    with tempfile.TemporaryDirectory() as folder:
        networks = _networks(Path(folder), weights, pixels, threads)
        measured = _end_to_end(networks, c_library, pixels, rounds, block, threads, generator)
    measured += _upsampling(c_library, rounds, block, generator)
    print("what         against            C++ ms  other ms   ratio  95 % interval    verdict   answers")
    for one in measured:
        print(one.line)
    print(
        f"\nC++ runtime {c_library.version}; a photo of {pixels.shape[0]}x{pixels.shape[1]}, {threads} thread"
        f"{'s' * (threads != 1)}, weights {weights}; {rounds} rounds of {BLOCKS} blocks of about {block:g} s"
    )
    print(f"ratio of medians, C++ over the other; interval: {INTERVAL_RULE}")
    if json_file is not None:
        write_text(json_file, json.dumps([asdict(one) for one in measured], indent=1) + "\n")
    if failed := [f"{one.name} against {one.other}" for one in measured if not one.holds]:
        raise CheckError(
            f"{', '.join(failed)}: C++ is slower than it has to be (end to end {NOT_ABOVE:g}, upsampling {BELOW:g} of "
            "the other); on a machine with other work give more --rounds"
        )


def made_up_photo() -> Pixels:
    """Waves of many lengths in three colours, with some noise: no decoder or resize finds it easy, (720, 1280, 3)."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[0 : PHOTO_SIZE[0], 0 : PHOTO_SIZE[1]][..., np.newaxis]
    photo = np.full((*PHOTO_SIZE, 3), 128.0)
    for length in (1000, 300, 100, 30, 10):
        phase_y, phase_x = generator.uniform(0, 2 * np.pi, (2, 3))
        photo += 20 * np.sin(2 * np.pi * y / length + phase_y) * np.sin(2 * np.pi * x / length + phase_x)
    photo += generator.normal(0, 5, photo.shape)
    pixels: Pixels = np.clip(np.rint(photo), 0, 255).astype(np.uint8)
    return pixels


def _networks(folder: Path, weights: str, pixels: Pixels, threads: int) -> list[Network]:
    wanted: tuple[tuple[str, str, Io], ...] = (
        ("seg deploy", "seg", "deploy"),
        ("seg lowres", "seg", "lowres"),
        ("cls", "cls", "deploy"),
        ("det", "det", "deploy"),
    )
    networks = []
    for name, model, io in wanted:
        console().print(f"exporting {name}")
        out = folder / name.replace(" ", "_")
        export(ExportOptions(model=model, out=out, io=io, weights=weights, engine="none"), Progress())
        path = out / f"{model}.onnx"
        manifest = read_manifest(path)
        if manifest.task == "detection" and manifest.weights.random:
            manifest = _with_boxes(path, manifest, pixels, threads)
        networks.append(Network(name, path, manifest))
    return networks


def _with_boxes(path: Path, manifest: Manifest, pixels: Pixels, threads: int) -> Manifest:
    """The manifest with a threshold that some boxes pass: with random weights none does, and nothing would be done."""
    with open_runner(path, "openvino", threads=threads) as runner:
        scores = runner.infer({manifest.inputs[0].name: photo_input(pixels, manifest)})["scores"]
    threshold = float(np.sort(scores[..., 1:].ravel())[-BOXES])
    changed = manifest.model_copy(
        update={"postprocessing": manifest.postprocessing.model_copy(update={"score_threshold": threshold})}
    )
    changed.write(path)
    return changed


def _end_to_end(
    networks: Sequence[Network],
    library: CLibrary,
    pixels: Pixels,
    rounds: int,
    block: float,
    threads: int,
    generator: random.Random,
) -> list[Measured]:
    """All networks take turns in each round, in random order, and the two sides of each in it."""
    medians: dict[str, dict[str, list[float]]] = {network.name: {CPP: [], PYTHON: []} for network in networks}
    agreement = {}
    for number in range(rounds):
        console().print(f"round {number + 1} of {rounds}")
        for network in generator.sample(networks, len(networks)):
            with _both_sides(network, library, pixels, threads, generator) as sides:
                agreement[network.name] = _checked_agreement(network, sides[CPP](), sides[PYTHON]())
                for side, value in _medians(sides, block, generator).items():
                    medians[network.name][side].append(value)
    return [
        Measured(
            name=network.name,
            other=PYTHON,
            cpp_ns=tuple(medians[network.name][CPP]),
            other_ns=tuple(medians[network.name][PYTHON]),
            end_to_end=True,
            agreement=agreement[network.name],
        )
        for network in networks
    ]


@contextmanager
def _both_sides(
    network: Network, library: CLibrary, pixels: Pixels, threads: int, generator: random.Random
) -> Iterator[dict[str, Answer]]:
    """The photo's answer from each side, in sessions that are opened in random order."""
    openers = {CPP: _cpp(network, library, pixels, threads), PYTHON: _python(network, pixels, threads)}
    with ExitStack() as opened:
        yield {side: opened.enter_context(openers[side]) for side in generator.sample(sorted(openers), len(openers))}


@contextmanager
def _cpp(network: Network, library: CLibrary, pixels: Pixels, threads: int) -> Iterator[Answer]:
    with library.opened(network.path, threads) as opened:
        ask = {"segmentation": opened.segment, "classification": opened.classify, "detection": opened.detect}
        function: Callable[[Pixels], Any] = ask[network.manifest.task]
        yield lambda: function(pixels)


@contextmanager
def _python(network: Network, pixels: Pixels, threads: int) -> Iterator[Answer]:
    manifest = network.manifest
    name = manifest.inputs[0].name
    with open_runner(network.path, "openvino", threads=threads) as runner:
        yield lambda: photo_answer(runner.infer({name: photo_input(pixels, manifest)}), manifest, pixels.shape[:2])


def _checked_agreement(network: Network, ours: Any, python: Any) -> str:
    """In words: how equal the answers are.

    Raises:
        CheckError: they differ in a label, a class or a box.
    """
    if network.manifest.task == "segmentation":
        if differing := int((ours != python).sum()):
            raise CheckError(f"{network.name}: {differing} of {python.size} labels of C++ differ from those of Python")
        return f"{python.size} labels equal"
    if ours != python:
        raise CheckError(f"{network.name}: C++ answers {ours[:3]}..., Python {python[:3]}...")
    return f"{len(python)} {'boxes' if network.manifest.task == 'detection' else 'classes'} equal"


def _medians(sides: Mapping[str, Answer], block: float, generator: random.Random) -> dict[str, float]:
    """Of each side over blocks of about `block` seconds, in turns, in random order. Units: ns."""
    samples: dict[str, list[int]] = {side: [] for side in sides}
    counts = {side: _count(answer, block) for side, answer in sides.items()}
    for _ in range(BLOCKS):
        for side in generator.sample(sorted(sides), len(sides)):
            samples[side] += _timed(sides[side], WARM_UPS + counts[side])[WARM_UPS:]
    return {side: median(of_side) for side, of_side in samples.items()}


def _count(answer: Answer, block: float) -> int:
    """How many answers fill a block."""
    return max(1, round(block * 1e9 / min(_timed(answer, WARM_UPS))))


def _timed(answer: Answer, count: int) -> list[int]:
    samples = []
    for _ in range(count):
        start = time.perf_counter_ns()
        found = answer()
        samples.append(time.perf_counter_ns() - start)
        del found
    return samples


def _upsampling(library: CLibrary, rounds: int, block: float, generator: random.Random) -> list[Measured]:
    """Labels from the same logits by all sides, each on one thread."""
    logits = np.random.default_rng(0).normal(0, 10, LOGITS).astype(np.float32)
    labels = np.empty(LABELS, np.uint8)
    batch = torch.from_numpy(logits)[np.newaxis]

    def by_cpp() -> NDArray[Any]:
        library.upsample_argmax(logits, labels)
        return labels

    def by_torch() -> NDArray[Any]:
        full = F.interpolate(batch, size=LABELS, mode="bilinear", align_corners=True)
        found: NDArray[Any] = full.argmax(dim=1)[0].numpy()
        return found

    sides: dict[str, Answer] = {
        CPP: by_cpp,
        "upsampled_labels": lambda: upsampled_labels(logits[np.newaxis], LABELS)[0],
        "NumPy": lambda: by_numpy(logits, LABELS),
        "torch": by_torch,
    }
    medians: dict[str, list[float]] = {side: [] for side in sides}
    with _one_torch_thread(), torch.inference_mode():
        agreement = {side: _label_agreement(by_cpp(), sides[side](), side) for side in sides}
        for number in range(rounds):
            console().print(f"upsampling, round {number + 1} of {rounds}")
            for side, value in _medians(sides, block, generator).items():
                medians[side].append(value)
    return [
        Measured("upsampling", side, tuple(medians[CPP]), tuple(medians[side]), False, agreement[side])
        for side in sides
        if side != CPP
    ]


def by_numpy(logits: NDArray[np.float32], size: tuple[int, int]) -> NDArray[Any]:
    """What one would write: whole arrays, all rows, then all columns, then the argmax. (classes, h, w) -> `size`."""
    for axis, wanted in ((1, size[0]), (2, size[1])):
        positions = np.linspace(0, logits.shape[axis] - 1, wanted)
        before = positions.astype(int)
        after = np.minimum(before + 1, logits.shape[axis] - 1)
        share = (positions - before).astype(np.float32).reshape((-1, 1) if axis == 1 else -1)
        first, second = logits.take(before, axis), logits.take(after, axis)
        logits = first + share * (second - first)
    labels: NDArray[Any] = logits.argmax(axis=0)
    return labels


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _label_agreement(ours: NDArray[Any], other: NDArray[Any], side: str) -> str:
    """In words: how equal the labels are. Those of the shared definition have to be.

    Raises:
        CheckError: they differ, and more than by the rounding of another definition.
    """
    equal = float((ours == other).mean())
    # Others round positions and sums otherwise, which decides between two classes that are about equal.
    if equal < (1.0 if side == "upsampled_labels" else 0.999):
        raise CheckError(f"upsampling: {equal:.6f} of the labels of C++ are those of {side}")
    return f"{equal:.6f} of the labels equal"


if __name__ == "__main__":
    run(app, PROGRAM)
