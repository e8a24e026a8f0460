"""What the paper's figures say: power on a Jetson TX2 over time, accuracy against FLOPs; and the networks they compare.

The body of the paper was not at hand. The numbers are digitised from the two figures in the authors' repository; the
CSV files beside this module name their source and its errors.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

TX2_FIGURE = "images/powerTX2.png of sacmehta/ESPNetv2, digitised"
ACCURACY_FIGURE = "images/effCompare.png of sacmehta/ESPNetv2, digitised"
README = "README of sacmehta/ESPNetv2"
RECALLED = "recalled from the paper's efficiency figure, its text was not at hand"
# "sampling interval = 100 ms" on the figure's axis.
SAMPLE_PERIOD_S = 0.1


@dataclass(frozen=True)
class PaperNetwork:
    """A network of the comparison, at the width that has about 300 million multiply-adds.

    Attributes:
        network: its name in manifests and results.
        model: what `espnet-export` calls it, and so the name of its folder and file.
        width_mult: the width.
        label: for people.
        position: its point in the figure of accuracy against FLOPs.
        curve: name of its columns in the CSV files.
    """

    network: str
    model: str
    width_mult: float
    label: str
    position: int
    curve: str

    @property
    def short(self) -> str:
        """For people, without the width."""
        return self.label.split()[0]

    @property
    def top1(self) -> float:
        """ImageNet top-1 as the paper's figure shows it. Units: percent."""
        point = accuracy_points()[self.position]
        assert point.top1 is not None
        return point.top1

    @property
    def flops_m(self) -> float | None:
        """FLOPs (multiply-adds) that the figure or the README prints; None where the label is left out. Units: 1e6."""
        point = accuracy_points()[self.position]
        return point.readme_flops_m or point.flops_m


@dataclass(frozen=True)
class AccuracyPoint:
    """A point of the figure; None for what is not printed or was not digitised. Units: percent, 1e6 multiply-adds."""

    curve: str
    flops_m: float | None
    top1: float | None
    readme_flops_m: float | None
    readme_top1: float | None


@dataclass(frozen=True)
class PowerCurve:
    """Power of one network in the TX2 figure.

    Attributes:
        time_s: from the first sample on. Units: s.
        power_w: Units: W.
        seen: False where the curve is hidden under another one and the value interpolated.
    """

    time_s: tuple[float, ...]
    power_w: tuple[float, ...]
    seen: tuple[bool, ...]

    @property
    def energy_j(self) -> float:
        """Area under the curve: each sample stands for its interval. Units: J."""
        return sum(self.power_w) * SAMPLE_PERIOD_S

    @property
    def peak_w(self) -> float:
        """Units: W."""
        return max(self.power_w)


NETWORKS = (
    PaperNetwork("espnetv2_cls", "cls", 2.0, "ESPNetv2 2.0", 18, "espnetv2"),
    PaperNetwork("shufflenetv2", "shufflenetv2", 1.5, "ShuffleNetv2 1.5", 20, "shufflenetv2"),
    PaperNetwork("mobilenetv1", "mobilenetv1", 0.75, "MobileNetv1 0.75", 22, "mobilenetv1"),
    PaperNetwork("shufflenetv1", "shufflenetv1", 1.5, "ShuffleNetv1 1.5", 19, "shufflenetv1"),
    PaperNetwork("mobilenetv2", "mobilenetv2", 1.0, "MobileNetv2 1.0", 21, "mobilenetv2"),
)
ESPNETV2, *OTHERS = NETWORKS


def by_name() -> Mapping[str, PaperNetwork]:
    """The networks by their name in results, ESPNetv2 first."""
    return {network.network: network for network in NETWORKS}


@cache
def tx2_power() -> Mapping[str, PowerCurve]:
    """The curves of the TX2 figure, by the network's name in results."""
    rows = _rows("tx2_power.csv")
    times_s = tuple(round((int(row["sample"]) - 1) * SAMPLE_PERIOD_S, 1) for row in rows)
    return {
        network.network: PowerCurve(
            times_s,
            tuple(float(row[f"{network.curve}_w"]) for row in rows),
            tuple(row[f"{network.curve}_seen"] == "1" for row in rows),
        )
        for network in NETWORKS
    }


def published_traces() -> Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]:
    """`tx2_power` as pages take curves to draw beside measured ones: times in s and powers in W, by network."""
    return {name: (curve.time_s, curve.power_w) for name, curve in tx2_power().items()}


@cache
def accuracy_points() -> Mapping[int, AccuracyPoint]:
    """The points of accuracy against FLOPs, by their position from left to right."""
    return {
        int(row["position"]): AccuracyPoint(
            row["network"],
            *(_number(row[name]) for name in ("flops_m", "top1", "readme_flops_m", "readme_top1")),
        )
        for row in _rows("effcompare.csv")
    }


def _rows(name: str) -> list[dict[str, str]]:
    lines = files(__package__).joinpath(name).read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def _number(cell: str) -> float | None:
    return float(cell) if cell else None
