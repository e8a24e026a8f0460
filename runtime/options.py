"""Options that several commands of this package have, and what is checked of them."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import InputError

if TYPE_CHECKING:
    from ..power.campaign import Settings

MAX_WINDOW_S = 3600

Device = Annotated[Literal["cpu", "cuda"], typer.Option(help="Of ONNX files; engines (.trt) always run on the GPU.")]
Threads = Annotated[int | None, typer.Option(metavar="N", min=1, help="CPU threads. [default: one per usable core]")]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Of the random input and of the order in the rounds.")]
PowerSource = Annotated[
    str,
    typer.Option(
        metavar="auto|nvml[:UUID]|ina3221|tegrastats|rapl|replay:FILE",
        help="What reads the power. auto: the first that gives a plausible reading of what computes.",
    ),
]
PowerWindow = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Length of a window of power. [default: chosen for the sensor]"),
]
PowerRounds = Annotated[int | None, typer.Option(metavar="N", min=3, max=1000, help="Rounds of power. [default: 9]")]


def power_settings(rounds: int | None, window_s: float | None, seed: int) -> "Settings":
    """What was chosen of the measurement of power.

    Raises:
        InputError: the window is no length of time, or longer than an hour.
    """
    from ..power.campaign import Settings

    if window_s is not None and not 0 < window_s <= MAX_WINDOW_S:
        raise InputError(f"--power-window {window_s:g}: give seconds, more than 0 and at most {MAX_WINDOW_S}")
    return Settings(rounds=rounds, window_s=window_s, seed=seed)
