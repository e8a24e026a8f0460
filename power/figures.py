"""The figures of a measurement of power, as values."""

from dataclasses import dataclass

from .uncertainty import Estimate


@dataclass(frozen=True)
class Unavailable:
    """A figure that is not known, and why. It is never 0."""

    reason: str


Figure = Estimate | Unavailable


@dataclass(frozen=True)
class Window:
    """What was drawn in one window of a load.

    Attributes:
        round: counted from 0.
        start_ns: Units: ns of the monotonic clock.
        end_ns: likewise.
        inferences: how many ran, fractions counted.
        paused_ns: time in it in which none ran, by plan. Units: ns.
        tick_ns: how far apart the readings at its ends are; what happened between them is not known. Units: ns.
        energy_j: pauses included; None where the window is refused. Units: J.
        gross_mj: of one inference, what the pauses drew taken off. Units: mJ.
        refused: why no number is earned; None where one is.
    """

    round: int
    start_ns: int
    end_ns: int
    inferences: float
    paused_ns: int
    tick_ns: int = 0
    energy_j: float | None = None
    gross_mj: float | None = None
    refused: str | None = None

    @property
    def mid_ns(self) -> int:
        """The middle of the window. Units: ns."""
        return (self.start_ns + self.end_ns) // 2

    @property
    def inference_ns(self) -> float:
        """Mean time of an inference, pauses left out. Units: ns."""
        return (self.end_ns - self.start_ns - self.paused_ns) / self.inferences


@dataclass(frozen=True)
class EnergyBy:
    """Figures of one load by one way of measuring it.

    Attributes:
        label: which one: "nvml counter", "ina3221 samples", a rail's name.
        gross_mj: energy of one inference. Units: mJ.
        net_mj: without what idle would have drawn in the same time. Units: mJ.
        power_mw: mean power while it ran. Units: mW.
        gain_error: of the sensor, as a share; not in the intervals. None where it is not known.
        offset_mj: what the sensor's constant error may add to or take from gross energy, likewise. Units: mJ.
        windows: what the figures are formed from.
    """

    label: str
    gross_mj: Figure
    net_mj: Figure
    power_mw: Figure
    gain_error: float | None
    offset_mj: float | None
    windows: tuple[Window, ...]


@dataclass(frozen=True)
class LoadEnergy:
    """Figures of one load.

    Attributes:
        name: the load's.
        total: the figures to go by.
        other: the same by the other way of measuring, where the meter has both.
        difference: of `other` from `total`, as a share; None where one of them is not known.
        rails: each rail of a board, or what else the meter reads beside the total.
        ratio: energy relative to the first load, paired by round; None for the first load itself.
        inference_ms: mean time of an inference in the windows. Units: ms.
        window_s: mean length of the windows. Units: s.
    """

    name: str
    total: EnergyBy
    other: EnergyBy | None
    difference: float | None
    rails: tuple[EnergyBy, ...]
    ratio: Figure | None
    inference_ms: float
    window_s: float


@dataclass(frozen=True)
class EnergyReport:
    """All figures of a recording, idle power (mW) among them, and what speaks against them, each with its remedy."""

    loads: tuple[LoadEnergy, ...]
    idle_before_mw: float | None
    idle_after_mw: float | None
    doubts: tuple[str, ...]
