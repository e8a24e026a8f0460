"""End to end: from the bytes of a photo's file to the answer, as espnet-run does it, as something to measure."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from ..errors import InputError
from .answers import LabelMap, ScoredBox, ScoredClass, photo_answer
from .images import check_answers_fit, load_photo, photo_input
from .manifest import Manifest
from .runner import Runner
from .work import PHOTO_STAGES, Work

Answer = LabelMap | list[ScoredClass] | list[ScoredBox]
Clock = Callable[[], int]


def photo_work(
    runner: Runner, manifest: Manifest, photos: Sequence[Path], *, clock: Clock = time.perf_counter_ns
) -> Work:
    """Each call takes the next photo in turn from its file to its answer.

    Decoding reads the file, from the system's cache after the first time, and makes it upright RGB; pre-processing
    resizes and lays out; post-processing gives the label map at the photo's size, the ranked classes, or the boxes in
    the photo's pixels after suppression. Nothing is drawn or written. `Work.call` returns the answer.

    Args:
        runner: open, of the artefact that `manifest` describes.
        manifest: how photos are prepared and answers read.
        photos: files; each is read once here.
        clock: monotonic, in ns, for the stages.

    Raises:
        InputError: there is no photo or one cannot be read, or the network takes no photos or more than one at a time.
        CheckError: the network sees a crop, which its answer cannot be put back on.
    """
    _check(manifest)
    if not photos:
        raise InputError(f"no photo is given; name one at least for {manifest.name}, end to end")
    for photo in photos:
        _check_photo(photo, manifest)
    chain = _Chain(runner, manifest, cycle(photos), clock)
    return Work((chain.answer,), images=1, staged=chain.stages_ns)


@dataclass(frozen=True)
class _Chain:
    runner: Runner
    manifest: Manifest
    photos: Iterator[Path]
    clock: Clock

    def answer(self) -> Answer:
        """Of the next photo."""
        return self._run(lambda: None)

    def stages_ns(self) -> dict[str, int]:
        """Of the next photo, by name. Units: ns."""
        instants = [self.clock()]
        self._run(lambda: instants.append(self.clock()))
        return {name: instants[i + 1] - instants[i] for i, name in enumerate(PHOTO_STAGES)}

    def _run(self, stage_is_done: Callable[[], None]) -> Answer:
        pixels = load_photo(next(self.photos))
        stage_is_done()
        prepared = photo_input(pixels, self.manifest)
        stage_is_done()
        outputs = self.runner.infer({self.manifest.inputs[0].name: prepared})
        stage_is_done()
        found = photo_answer(outputs, self.manifest, pixels.shape[:2])
        stage_is_done()
        return found


def _check(manifest: Manifest) -> None:
    if manifest.task == "language_modelling":
        raise InputError(
            f"{manifest.name} is a language model and takes no photos; measure it without photos, or give another file"
        )
    if (batch := manifest.smallest_batch) != 1:
        raise InputError(
            f"{manifest.name} takes {batch} images at a time, photos are measured one by one; export with --batch 1"
        )
    check_answers_fit(manifest, manifest.name)


def _check_photo(photo: Path, manifest: Manifest) -> None:
    pixels = load_photo(photo)
    try:
        photo_input(pixels, manifest)
    except InputError as error:
        raise InputError(f"{photo}: {error}") from None
