"""The schedules give the published rates, epoch by epoch, for every group and after an interruption.

The literals are what utilities/lr_scheduler.py of github.com/sacmehta/EdgeNets returns at its default arguments.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import LRScheduler

from espnet_edge.model import HybridLR, WarmRestartLR

DOCS = Path(__file__).resolve().parents[2] / "docs/schedules.md"

# First epoch with a new base, and the rates of its first cycle; they repeat up to the next.
CYCLES = {
    1: (0.5, 0.4, 0.3, 0.2, 0.1),
    51: (0.25, 0.2, 0.15, 0.1, 0.05),
    101: (0.125, 0.1, 0.075, 0.05, 0.025),
    131: (0.0625, 0.05, 0.0375, 0.025, 0.0125),
    161: (0.03125, 0.025, 0.01875, 0.0125, 0.00625),
    191: (0.01562, 0.0125, 0.00937, 0.00625, 0.00312),
    221: (0.00781, 0.00625, 0.00469, 0.00312, 0.00156),
    251: (0.00391, 0.00313, 0.00234, 0.00156, 0.00078),
    281: (0.00195, 0.00156, 0.00117, 0.00078, 0.00039),
}
WARM_UP_AND_TWO_CYCLES = [0.1, 0.5, 0.4, 0.3, 0.2, 0.1, 0.5, 0.4, 0.3, 0.2, 0.1]


def optimizer_with(*rates: float) -> SGD:
    return SGD([{"params": [torch.ones(1, requires_grad=True)], "lr": rate} for rate in rates], lr=1.0)


def published_epoch(epoch: int) -> float:
    """The published rate of `epoch` >= 1 of the 300."""
    start = max(first for first in CYCLES if first <= epoch)
    return CYCLES[start][(epoch - start) % 5]


def run(schedule: LRScheduler, epochs: int) -> list[tuple[float, ...]]:
    """Rates of all groups in the optimizer itself, in each of the next `epochs` epochs, as a training sees them."""
    seen = []
    for _ in range(epochs):
        seen.append(tuple(group["lr"] for group in schedule.optimizer.param_groups))
        schedule.optimizer.step()
        schedule.step()
    return seen


def of_first_group(schedule: LRScheduler, epochs: int) -> list[float]:
    return [rates[0] for rates in run(schedule, epochs)]


def test_warm_up_then_cycles() -> None:
    assert of_first_group(WarmRestartLR(optimizer_with(0.1)), 11) == WARM_UP_AND_TWO_CYCLES


def test_all_300_epochs() -> None:
    rates = of_first_group(WarmRestartLR(optimizer_with(0.1)), 300)
    assert rates == [0.1, *(published_epoch(epoch) for epoch in range(1, 300))]
    assert (rates[50], rates[51], rates[281], rates[299]) == (0.1, 0.25, 0.00195, 0.00078)


def test_hybrid_over_120_epochs() -> None:
    rates = of_first_group(HybridLR(optimizer_with(0.1), total_epochs=120), 121)
    assert rates[:11] == WARM_UP_AND_TWO_CYCLES
    assert rates[:61] == [0.1, *([0.5, 0.4, 0.3, 0.2, 0.1] * 12)]
    assert rates[59:63] == [0.2, 0.1, 0.098333, 0.096667]
    assert rates[117:] == [0.005, 0.003333, 0.001667, 0.0]


def test_hybrid_of_the_segmentation_training() -> None:
    rates = run(HybridLR(optimizer_with(0.009, 0.09), total_epochs=100), 100)
    assert [first for first, _ in rates[58:63]] == [0.027, 0.018, 0.009, 0.008775, 0.00855]
    assert rates[99][0] == 0.000225
    assert all(decoder == first * 10 for first, decoder in rates)


def test_hybrid_stays_at_zero() -> None:
    schedule = HybridLR(optimizer_with(0.1), total_epochs=6, cycle_epochs=4)
    assert of_first_group(schedule, 9) == [0.1, 0.5, 0.4, 0.3, 0.066667, 0.033333, 0.0, 0.0, 0.0]


def test_other_cycles_and_milestones() -> None:
    schedule = WarmRestartLR(optimizer_with(1.0), cycle_length=3, milestones=(4, 5), gamma=0.1)
    assert of_first_group(schedule, 8) == [1.0, 3.0, 2.0, 1.0, 0.3, 0.02, 0.01, 0.03]
    schedule = WarmRestartLR(optimizer_with(0.1), milestones=())
    assert of_first_group(schedule, 300)[295:] == [0.1, 0.5, 0.4, 0.3, 0.2]


def test_groups_keep_their_ratio_to_the_first() -> None:
    rates = run(WarmRestartLR(optimizer_with(0.1, 1.0, 0.0)), 300)
    # By itself 1.0 would be 0.01953 in epoch 281: the first group's rate is what is rounded.
    assert rates[281] == (0.00195, pytest.approx(0.0195, rel=1e-15), 0.0)
    assert all(second == pytest.approx(10 * first, rel=1e-15) for first, second, _ in rates)


def test_without_rounding() -> None:
    schedule = WarmRestartLR(optimizer_with(1e-6), rounded=False)
    assert schedule.rate(281) == pytest.approx(5e-6 / 256, rel=1e-12)
    hybrid = HybridLR(optimizer_with(1e-6), total_epochs=120, rounded=False)
    assert (hybrid.rate(1), hybrid.rate(119)) == (pytest.approx(5e-6), pytest.approx(1e-6 / 60, rel=1e-12))


def test_rate_looks_ahead_and_changes_nothing() -> None:
    schedule = WarmRestartLR(optimizer_with(0.1))
    assert [schedule.rate(epoch) for epoch in (0, 1, 281)] == [0.1, 0.5, 0.00195]
    assert (schedule.last_epoch, schedule.get_last_lr()) == (0, [0.1])


def test_the_rate_as_a_tensor() -> None:
    optimizer = Adam([torch.ones(1, requires_grad=True)], lr=torch.tensor(0.1, dtype=torch.float64))
    schedule = HybridLR(optimizer, total_epochs=120)
    rate = optimizer.param_groups[0]["lr"]
    run(schedule, 61)
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == 0.098333
    schedule.load_state_dict(HybridLR(optimizer_with(0.1), total_epochs=120).state_dict())
    assert rate.item() == 0.1


@pytest.mark.parametrize("kind", [WarmRestartLR, HybridLR])
@pytest.mark.parametrize("interrupted", [1, 33, 60, 61, 103])
@pytest.mark.parametrize("optimizer_first", [False, True])
def test_resume(kind: Any, interrupted: int, optimizer_first: bool, tmp_path: Path) -> None:
    options = {"total_epochs": 120} if kind is HybridLR else {}
    whole = run(kind(optimizer_with(0.1, 1.0), **options), 120)
    schedule = kind(optimizer_with(0.1, 1.0), **options)
    run(schedule, interrupted)
    torch.save({"optimizer": schedule.optimizer.state_dict(), "schedule": schedule.state_dict()}, tmp_path / "s.pth")
    state = torch.load(tmp_path / "s.pth", weights_only=True)

    optimizer = optimizer_with(0.1, 1.0)
    if optimizer_first:
        optimizer.load_state_dict(state["optimizer"])
    resumed = kind(optimizer, **options)
    resumed.load_state_dict(state["schedule"])
    if not optimizer_first:
        optimizer.load_state_dict(state["optimizer"])
    assert resumed.state_dict() == state["schedule"]
    assert run(resumed, 120 - interrupted) == whole[interrupted:]


def test_resume_by_last_epoch() -> None:
    optimizer = optimizer_with(0.1)
    run(WarmRestartLR(optimizer), 50)
    assert of_first_group(WarmRestartLR(optimizer, last_epoch=49), 3) == [0.1, 0.25, 0.2]


def test_the_settings_travel_with_the_state() -> None:
    schedule = WarmRestartLR(optimizer_with(0.1), cycle_length=3, milestones=[2, 4], gamma=0.1)
    other = WarmRestartLR(optimizer_with(0.2))
    other.load_state_dict(schedule.state_dict())
    assert run(other, 9) == run(schedule, 9)


def test_a_state_of_other_groups_is_refused() -> None:
    schedule = WarmRestartLR(optimizer_with(0.1))
    with pytest.raises(ValueError, match="the rates of 2 parameter groups, the optimizer has 1"):
        schedule.load_state_dict(WarmRestartLR(optimizer_with(0.1, 1.0)).state_dict())
    assert of_first_group(schedule, 3) == [0.1, 0.5, 0.4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cycle_length": 0}, "cycle_length 0: a whole number, at least 1"),
        ({"cycle_length": 2.5}, "cycle_length 2.5: a whole number, at least 1"),
        ({"milestones": (0, 10)}, "milestone 0: a whole number, at least 1"),
        ({"milestones": (101, 51)}, "milestone 51 follows 101"),
        ({"milestones": (51, 51)}, "milestone 51 follows 51"),
        ({"gamma": 0.0}, "gamma 0.0: it must be above 0 and at most 1"),
        ({"gamma": 1.5}, "gamma 1.5: it must be above 0 and at most 1"),
        ({"gamma": float("nan")}, "gamma nan: it must be above 0 and at most 1"),
    ],
)
def test_wrong_cycles(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        WarmRestartLR(optimizer_with(0.1), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"total_epochs": 61}, "total_epochs 61, cycle_epochs 61: none is left for the linear part"),
        ({"total_epochs": 30, "cycle_epochs": 40}, "total_epochs 30, cycle_epochs 40: none is left"),
        ({"total_epochs": 120.0}, "total_epochs 120.0: a whole number, at least 1"),
        ({"total_epochs": 120, "cycle_epochs": 0}, "cycle_epochs 0: a whole number, at least 1"),
        ({"total_epochs": 120, "cycle_length": -5}, "cycle_length -5: a whole number, at least 1"),
    ],
)
def test_wrong_hybrid(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        HybridLR(optimizer_with(0.1), **options)


def test_wrong_bases() -> None:
    with pytest.raises(ValueError, match="first group's rate is 0: it must be above 0"):
        HybridLR(optimizer_with(0.0, 0.1), total_epochs=120)
    with pytest.raises(ValueError, match=r"rate 0.001 falls to 3.90625e-06, which is 0 at 5 decimals.*rounded=False"):
        WarmRestartLR(optimizer_with(0.001))
    with pytest.raises(ValueError, match="rate 1e-06 falls to 1e-06, which is 0 at 5 decimals"):
        HybridLR(optimizer_with(1e-6), total_epochs=120)


def test_a_refusal_leaves_the_optimizer_as_it_was() -> None:
    optimizer = optimizer_with(0.001)
    with pytest.raises(ValueError, match="rounded=False"):
        WarmRestartLR(optimizer)
    assert "initial_lr" not in optimizer.param_groups[0]
    assert optimizer.param_groups[0]["lr"] == 0.001


def test_the_example_in_the_docs_runs() -> None:
    example = re.search(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert example
    names: dict[str, Any] = {}
    exec(example[1], names)  # noqa: S102 - it is our own page
    assert [group["lr"] for group in names["optimizer"].param_groups] == [0.0, 0.0]
    assert names["schedule"].rate(99) == 0.000225
