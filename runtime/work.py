"""What a measurement calls: one inference, ready to run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Call = Callable[[], object]
# One inference whose parts are timed: their durations by name, in the order in which they happen. Units: ns.
StagedCall = Callable[[], Mapping[str, int]]

# Stages of an inference on a GPU: the host's call that queues the work; the copy of the inputs to the GPU, the
# computation, the copy of the outputs back, by the GPU's own clock.
GPU_STAGES = ("enqueue", "h2d", "compute", "d2h")
# Stages of a photo from its file to its answer, by the host's clock.
PHOTO_STAGES = ("decode", "preprocess", "infer", "postprocess")


@dataclass(frozen=True)
class Work:
    """One thing that is measured.

    Attributes:
        calls: one inference on arrays that are ready in memory, complete when it returns. One call for each stream;
            each is called from one thread at a time, and different ones from different threads at once.
        images: images (or words) of one inference.
        staged: the same inference with its stages timed; None where it has no parts that can be told apart.
    """

    calls: tuple[Call, ...]
    images: int = 1
    staged: StagedCall | None = None

    @property
    def call(self) -> Call:
        """The first stream's."""
        return self.calls[0]
