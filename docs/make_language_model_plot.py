"""Draws docs/language_model.svg: `python docs/make_language_model_plot.py`, with the extra `report` installed.

The same versions draw the same bytes. The background is transparent and every colour is readable on white and on black.
"""

import csv
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

SVG = Path(__file__).with_name("language_model.svg")
RESULTS = Path(__file__).parents[1] / "examples/text/results"
UNIGRAM = 127.02  # perplexity of the validation text where only the words' frequencies are known
GREY, BLUE, ORANGE = "#787d85", "#2f81f7", "#d0701c"
STYLE = {"svg.hashsalt": "language_model", "svg.fonttype": "none", "font.size": 11, "text.color": GREY}


def draw(path: Path) -> None:
    """Write the curves of all seeds to `path`; the ending says in which format."""
    mpl.rcdefaults()  # whatever the user's own settings are
    mpl.rcParams.update(STYLE)
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    for model, colour in (("eru", BLUE), ("lstm", ORANGE)):
        for i, file in enumerate(sorted(RESULTS.glob(f"{model}_seed*.csv"))):
            epochs, perplexities = _curve(file)
            axes.plot(epochs, perplexities, color=colour, linewidth=1.3, label=model.upper() if i == 0 else None)
    axes.axhline(UNIGRAM, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        "frequencies of the words alone: 127", (30, UNIGRAM), (0, -14), textcoords="offset points", ha="right"
    )
    axes.set_yscale("log")
    axes.set_yticks([25, 50, 100, 200], ["25", "50", "100", "200"])
    axes.set_yticks([], minor=True)
    axes.set_xlim(1, 30)
    axes.set_title("Perplexity of the validation text, three seeds each (logarithmic)", loc="left")
    axes.set_xlabel("epoch", color=GREY)
    axes.set_ylabel("perplexity", color=GREY)
    axes.tick_params(colors=GREY)
    axes.set_facecolor("none")
    axes.grid(color=GREY, alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.legend(frameon=False, loc="center right")
    metadata = {"Date": None, "Creator": None, "Title": "Training of two language models"}
    figure.savefig(path, transparent=True, metadata=metadata if path.suffix == ".svg" else None)


def _curve(file: Path) -> tuple[list[int], list[float]]:
    with file.open() as lines:
        rows = list(csv.DictReader(lines))
    return [int(row["epoch"]) for row in rows], [float(row["valid_perplexity"]) for row in rows]


if __name__ == "__main__":
    draw(SVG)
