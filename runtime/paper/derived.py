"""What follows from the figures of a result: per image, per multiply-accumulate, per byte. Pure functions.

For tables and pages; every number has its unit in its name, and is None where what it is made of was not measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ..result import Figure, Line, Result, Unknown


@dataclass(frozen=True)
class Bounded:
    """A value with its 95 % interval, `value` +- `half_width`, in one unit."""

    value: float
    half_width: float

    def times(self, factor: float) -> "Bounded":
        """The same in another unit."""
        return Bounded(self.value * factor, self.half_width * factor)


@dataclass(frozen=True)
class Efficiency:
    """One line's figures for an image.

    Attributes:
        line: its name.
        network: name of the network; None for a file without a manifest.
        batch: images of one inference.
        ms_per_image: median latency of an inference over the batch. Units: ms.
        gross_j: all that was drawn while an image was inferred. Units: J.
        net_j: without what idle would have drawn. Units: J.
        power_w: mean power while it ran. Units: W.
        images_per_j: by gross energy. Units: 1/J.
        ps_per_mac: time over multiply-accumulates, convolutions and linear layers. Units: ps.
        pj_per_mac: gross energy likewise. Units: pJ.
        ns_per_kib: time over the bytes that are moved if nothing is fused: weights once for each inference, maps
            once written and once read by each reader. Units: ns for 1024 bytes.
        nj_per_kib: gross energy likewise. Units: nJ for 1024 bytes.
        top1: published ImageNet top-1. Units: percent.
    """

    line: str
    network: str | None
    batch: int
    ms_per_image: float | None = None
    gross_j: Bounded | None = None
    net_j: Bounded | None = None
    power_w: Bounded | None = None
    images_per_j: float | None = None
    ps_per_mac: float | None = None
    pj_per_mac: float | None = None
    ns_per_kib: float | None = None
    nj_per_kib: float | None = None
    top1: float | None = None


def efficiencies(result: Result) -> tuple[Efficiency, ...]:
    """The figures of every line, in the result's order."""
    top1 = result.paper.top1 if result.paper else {}
    return tuple(_efficiency(result, line, top1) for line in result.lines)


def accuracy_against_energy(result: Result) -> tuple[tuple[str, float, Bounded], ...]:
    """Line, published top-1 in percent, gross energy of an image in J, of the lines that have both."""
    return tuple(
        (one.line, one.top1, one.gross_j)
        for one in efficiencies(result)
        if one.top1 is not None and one.gross_j is not None
    )


def _efficiency(result: Result, line: Line, top1: Mapping[str, float]) -> Efficiency:
    file, latency, energy = result.file_of(line), result.latency_of(line.name), result.energy_of(line.name)
    ms = latency.summary.p50_ms / line.batch if latency else None
    gross = _bounded(energy.total.gross_mj, 1e-3 / line.batch) if energy else None
    gross_j = gross.value if gross else None
    kib = _kib_per_image(result, line)
    return Efficiency(
        line=line.name,
        network=file.network,
        batch=line.batch,
        ms_per_image=ms,
        gross_j=gross,
        net_j=_bounded(energy.total.net_mj, 1e-3 / line.batch) if energy else None,
        power_w=_bounded(energy.total.power_mw, 1e-3) if energy else None,
        images_per_j=_over(1.0, gross_j),
        ps_per_mac=_over(ms, file.macs, 1e9),
        pj_per_mac=_over(gross_j, file.macs, 1e12),
        ns_per_kib=_over(ms, kib, 1e6),
        nj_per_kib=_over(gross_j, kib, 1e9),
        top1=top1.get(file.network or ""),
    )


def _bounded(figure: Figure | Unknown, factor: float) -> Bounded | None:
    return None if isinstance(figure, Unknown) else Bounded(figure.value, figure.half_width).times(factor)


def _over(above: float | None, below: float | None, factor: float = 1.0) -> float | None:
    return above / below * factor if above is not None and below else None


def _kib_per_image(result: Result, line: Line) -> float | None:
    """Bytes that one inference moves, over its images. Units: 1024 bytes."""
    breakdown = result.breakdown_of(line.name)
    if breakdown is None or breakdown.weights_bytes is None or breakdown.activations_bytes is None:
        return None
    return (breakdown.weights_bytes + breakdown.activations_bytes) / line.batch / 1024
