"""What a network is besides its layers: the names, sizes and conventions that a deployer needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

# "multi_label" is classification where a picture may have any number of the classes.
Task = Literal["classification", "multi_label", "segmentation", "detection", "language_modelling"]

# ImageNet statistics, RGB, of pixels scaled to 0..1; every published network of this family was trained with them.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ModelSpec:
    """A network of the registry.

    Sizes are (height, width) in pixels. `default_sizes` maps each data set that the network is made for to its size,
    None where the network takes no pictures.
    `size_multiple` m: height and width must be 0 or m - 1 modulo m; 1 means any size from `min_size` up.
    `only_sizes`: where not empty, nothing but these.
    `other_tasks` maps the data sets that turn `task` into another one to that; see `for_dataset`.
    """

    name: str
    task: Task
    widths: tuple[float, ...]
    default_width: float
    default_sizes: Mapping[str, tuple[int, int] | None]
    size_multiple: int = 1
    only_sizes: tuple[tuple[int, int], ...] = ()
    other_tasks: Mapping[str, Task] = field(default_factory=dict)
    min_size: int = 32
    max_size: int = 8192
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    @property
    def default_dataset(self) -> str:
        """The first data set listed."""
        return next(iter(self.default_sizes))

    def for_dataset(self, dataset: str) -> "ModelSpec":
        """The same network with the task that it has when it is trained on `dataset`."""
        return replace(self, task=self.other_tasks.get(dataset, self.task))

    def accepts(self, size: tuple[int, int]) -> bool:
        """Whether the network runs at `size` (height, width)."""
        if self.only_sizes:
            return size in self.only_sizes
        return all(self._accepts_side(side) for side in size)

    def nearest_sizes(self, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """The nearest sizes that work, not larger and not smaller than `size` where there are such.

        Where only some sizes work these are the first and the last of them.
        """
        if self.only_sizes:
            return self.only_sizes[0], self.only_sizes[-1]
        height, width = size
        return (self._step(height, -1), self._step(width, -1)), (self._step(height, 1), self._step(width, 1))

    def _accepts_side(self, side: int) -> bool:
        multiple = self.size_multiple
        return self.min_size <= side <= self.max_size and side % multiple in {0, multiple - 1}

    def _step(self, side: int, direction: int) -> int:
        side = min(max(side, self.min_size), self.max_size)
        while not self._accepts_side(side):
            side += direction
            if not self.min_size <= side <= self.max_size:
                return self.min_size if direction < 0 else self.max_size
        return side
