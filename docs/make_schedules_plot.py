"""Draws docs/schedules.svg: `python docs/make_schedules_plot.py`, with the extra `report` installed.

The same versions draw the same bytes. The background is transparent and every colour is readable on white and on black.
"""

from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from torch.optim import SGD

from espnet_edge.model import HybridLR, WarmRestartLR
from espnet_edge.model.schedules import MILESTONES

SVG = Path(__file__).with_name("schedules.svg")
BASE = 0.1
GREY, BLUE, ORANGE = "#787d85", "#2f81f7", "#d0701c"
STYLE = {"svg.hashsalt": "schedules", "svg.fonttype": "none", "font.size": 11, "text.color": GREY}


def draw(path: Path) -> None:
    """Write the picture of both schedules to `path`; the ending says in which format."""
    mpl.rcdefaults()  # whatever the user's own settings are
    mpl.rcParams.update(STYLE)
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=BASE)
    cycles, hybrid = WarmRestartLR(optimizer), HybridLR(optimizer, total_epochs=120)
    figure = Figure(figsize=(8, 6.5), layout=ConstrainedLayoutEngine(hspace=0.07))
    above, below = figure.subplots(2)

    # A step ends where the next epoch starts, so the last one needs an end of its own.
    rates = [cycles.rate(epoch) for epoch in range(300)]
    above.step(range(301), [*rates, rates[-1]], where="post", color=BLUE, linewidth=1.1)
    above.set_yscale("log")
    above.set_yticks([0.5, 0.1, 0.01, 0.001], ["0.5", "0.1", "0.01", "0.001"])
    above.set_yticks([], minor=True)
    above.set_xticks([0, *MILESTONES, 300])
    above.set_xlim(0, 300)
    above.set_title("WarmRestartLR: base 0.1, halved at eight epochs (logarithmic)", loc="left")

    rates = [hybrid.rate(epoch) for epoch in range(120)]
    below.step(range(62), rates[:62], where="post", color=BLUE, linewidth=1.3, label="cycles")
    below.step(range(61, 121), [*rates[61:], rates[-1]], where="post", color=ORANGE, linewidth=1.8, label="linear")
    below.set_xticks([0, *range(11, 62, 10), 80, 100, 120])
    below.set_yticks([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    below.set_xlim(0, 120)
    below.set_ylim(0)
    below.legend(frameon=False, loc="upper right")
    below.set_title("HybridLR: base 0.1, cycles for 61 of 120 epochs", loc="left")

    figure.align_ylabels()
    for axes in (above, below):
        axes.set_xlabel("epoch", color=GREY)
        axes.set_ylabel("learning rate", color=GREY)
        axes.tick_params(colors=GREY)
        axes.set_facecolor("none")
        axes.grid(color=GREY, alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(GREY)
    metadata = {"Date": None, "Creator": None, "Title": "WarmRestartLR and HybridLR"}
    figure.savefig(path, transparent=True, metadata=metadata if path.suffix == ".svg" else None)


if __name__ == "__main__":
    draw(SVG)
