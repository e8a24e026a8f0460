"""Which lines of a result belong to the paper's networks, and with which others each is compared."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..result import Line, Result
from .published import NETWORKS, by_name


@dataclass(frozen=True)
class Setting:
    """Lines that differ in the network and the batch alone.

    Attributes:
        name: what they have in common: the runtime, with the device where that is a GPU.
        lines: by network, then by batch.
    """

    name: str
    lines: Mapping[str, dict[int, Line]] = field(default_factory=dict)

    @property
    def batches(self) -> tuple[int, ...]:
        """Every batch that some line has, from the smallest on."""
        return tuple(sorted({batch for of_one in self.lines.values() for batch in of_one}))

    def line(self, network: str, batch: int) -> Line | None:
        """The line of a network at a batch; None where it was not measured."""
        return self.lines.get(network, {}).get(batch)


def settings_of(result: Result) -> tuple[Setting, ...]:
    """The lines of the paper's networks at the paper's widths, by what they have in common, in the result's order."""
    found: dict[str, dict[str, dict[int, Line]]] = {}
    for line in result.lines:
        file = result.file_of(line)
        network = by_name().get(file.network or "")
        if network is None or file.width_mult != network.width_mult:
            continue
        name = line.runtime if line.device == "cpu" else f"{line.runtime} on {line.device_name or line.device}"
        found.setdefault(name, {}).setdefault(network.network, {})[line.batch] = line
    return tuple(Setting(name, lines) for name, lines in found.items())


def measured_networks(result: Result) -> tuple[str, ...]:
    """Names of the paper's networks that some line is of, in the paper's order."""
    present = {name for setting in settings_of(result) for name in setting.lines}
    return tuple(network.network for network in NETWORKS if network.network in present)
