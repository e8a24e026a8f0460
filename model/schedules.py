"""The learning rates of the published training: cycles with warm restarts, alone or before a linear end.

The rate that an optimizer is made with is the base, the lowest rate of a cycle (eta_min in the paper); a cycle starts
at `cycle_length` times the base (eta_max). Epochs count from 0. Call `step()` once at the end of each epoch.

Every rate is computed from the base and the epoch alone, so that no error adds up and a resumed run has the same rates.
As in the authors' code the first parameter group's rate is rounded, and those of other groups keep their ratio to it:
a decoder that starts with ten times the rate has exactly ten times the rate in every epoch.

Source: Mehta et al., "ESPNetv2: A Light-weight, Power Efficient, and General Purpose Convolutional Neural Network",
CVPR 2019; warm-up, milestones, rounding and the hybrid form as in utilities/lr_scheduler.py of
github.com/sacmehta/EdgeNets.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

MILESTONES = (51, 101, 131, 161, 191, 221, 251, 281)  # epochs of the 300 on ImageNet at which the base is halved
CYCLIC_DECIMALS = 5
HYBRID_DECIMALS = 6


class PublishedLR(LRScheduler, ABC):
    """What both schedules share: `rate(epoch)` for the first group, and the others in proportion.

    Args:
        optimizer: its rates are the bases.
        lowest: the smallest share of the base that a cycle comes down to.
        rounded: whether rates are rounded as published.
        last_epoch: the epoch before the one to start with.

    Raises:
        ValueError: the first group's base is not above 0, so that nothing can be in proportion to it, or its lowest
            share rounds to 0.
    """

    def __init__(self, optimizer: Optimizer, *, lowest: float, rounded: bool, last_epoch: int) -> None:
        group = optimizer.param_groups[0]
        base = float(group.get("initial_lr", group["lr"]))
        if not base > 0:
            raise ValueError(f"the first group's rate is {base:g}: it must be above 0")
        if rounded and round(base * lowest, CYCLIC_DECIMALS) == 0:
            raise ValueError(
                f"the first group's rate {base:g} falls to {base * lowest:g}, which is 0 at {CYCLIC_DECIMALS} "
                "decimals: start higher or pass rounded=False"
            )
        self.rounded = rounded
        super().__init__(optimizer, last_epoch)

    @abstractmethod
    def rate(self, epoch: int) -> float:
        """The first group's rate in `epoch`; changes nothing."""

    @property
    def base(self) -> float:
        """The first group's base rate."""
        return float(self.base_lrs[0])

    def get_lr(self) -> list[float | Tensor]:
        """Rates of all groups in the current epoch, for `step()`; ask `get_last_lr()` for them."""
        rate = self.rate(self.last_epoch)
        return [rate * (float(base) / self.base) for base in self.base_lrs]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken, whether the optimizer's own state is loaded before or after.

        Raises:
            ValueError: the state is of an optimizer with another number of parameter groups.
        """
        groups, rates = self.optimizer.param_groups, state_dict["_last_lr"]
        if len(rates) != len(groups):
            raise ValueError(
                f"the state has the rates of {len(rates)} parameter groups, the optimizer has {len(groups)}"
            )
        super().load_state_dict(state_dict)
        for group, rate in zip(groups, rates, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = float(rate)

    def _rounded(self, rate: float, decimals: int) -> float:
        return round(rate, decimals) if self.rounded else rate


class WarmRestartLR(PublishedLR):
    """Linear decay from `cycle_length` times the base to the base, over and over; the base falls at milestones.

    Epoch 0 is a warm-up at the base. With T = `cycle_length`, epoch t > 0 has base * (T - (t - 1) mod T), and the base
    is multiplied by `gamma` in each epoch of `milestones`. The defaults are the 300 epochs of ImageNet, where the
    optimizer starts with 0.1. The authors call it `CyclicLR`; PyTorch's class of that name is another schedule.

    Args:
        optimizer: its rates are the bases.
        cycle_length: T, in epochs.
        milestones: rising epochs from which on the base is `gamma` times what it was; () for none.
        gamma: above 0, at most 1.
        rounded: to 5 decimals from epoch 1 on, as published.
        last_epoch: the epoch before the one to start with, as in every schedule of PyTorch.

    Raises:
        ValueError: an argument is out of its range, or the rates would round to 0.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        cycle_length: int = 5,
        milestones: Sequence[int] = MILESTONES,
        gamma: float = 0.5,
        rounded: bool = True,
        last_epoch: int = -1,
    ) -> None:
        check_at_least("cycle_length", cycle_length, 1)
        for milestone in milestones:
            check_at_least("milestone", milestone, 1)
        for earlier, later in pairwise(milestones):
            if later <= earlier:
                raise ValueError(f"milestone {later} follows {earlier}: milestones must rise")
        if not 0 < gamma <= 1:
            raise ValueError(f"gamma {gamma}: it must be above 0 and at most 1")
        self.cycle_length = cycle_length
        self.milestones = tuple(milestones)
        self.gamma = gamma
        lowest = gamma ** len(self.milestones)
        super().__init__(optimizer, lowest=lowest, rounded=rounded, last_epoch=last_epoch)

    def rate(self, epoch: int) -> float:
        """The first group's rate in `epoch`; changes nothing."""
        base = self.base
        for milestone in self.milestones:
            if epoch >= milestone:
                base *= self.gamma
        if epoch == 0:
            return base
        return self._rounded(cyclic_rate(base, epoch, self.cycle_length), CYCLIC_DECIMALS)


class HybridLR(PublishedLR):
    """The cycles of `WarmRestartLR` without milestones, then linear from the base towards zero.

    The cycles take epochs 0 to `cycle_epochs` - 1. After them, with n = `total_epochs` - `cycle_epochs` + 1, epoch t
    has base * (1 - (t - `cycle_epochs` + 1) / n): one n-th of the base in the last epoch, zero when training is over.

    Args:
        optimizer: its rates are the bases.
        total_epochs: of the whole training; published are 120 for classification, 100 for segmentation.
        cycle_epochs: how many of them go in cycles.
        cycle_length: length of one cycle, in epochs.
        rounded: cycles to 5 decimals, the rest to 6, as published.
        last_epoch: the epoch before the one to start with, as in every schedule of PyTorch.

    Raises:
        ValueError: an argument is out of its range, or the rates of the cycles would round to 0.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        total_epochs: int,
        cycle_epochs: int = 61,
        cycle_length: int = 5,
        rounded: bool = True,
        last_epoch: int = -1,
    ) -> None:
        check_at_least("cycle_length", cycle_length, 1)
        check_at_least("cycle_epochs", cycle_epochs, 1)
        check_at_least("total_epochs", total_epochs, 1)
        if total_epochs <= cycle_epochs:
            raise ValueError(
                f"total_epochs {total_epochs}, cycle_epochs {cycle_epochs}: none is left for the linear part; "
                "WarmRestartLR is the schedule without it"
            )
        self.total_epochs = total_epochs
        self.cycle_epochs = cycle_epochs
        self.cycle_length = cycle_length
        super().__init__(optimizer, lowest=1.0, rounded=rounded, last_epoch=last_epoch)

    def rate(self, epoch: int) -> float:
        """The first group's rate in `epoch`, 0 after the last; changes nothing."""
        if epoch == 0:
            return self._rounded(self.base, HYBRID_DECIMALS)
        if epoch < self.cycle_epochs:
            return self._rounded(cyclic_rate(self.base, epoch, self.cycle_length), CYCLIC_DECIMALS)
        linear_epochs = self.total_epochs - self.cycle_epochs + 1
        past = min(epoch - self.cycle_epochs + 1, linear_epochs)
        return self._rounded(self.base - self.base * (past / linear_epochs), HYBRID_DECIMALS)


def cyclic_rate(base: float, epoch: int, cycle_length: int) -> float:
    """Rate in `epoch` >= 1 of cycles that start in epoch 1 at `cycle_length` times `base` and end at `base`."""
    # In the authors' order of operations, because its last bit decides how 0.003125 rounds.
    return base * cycle_length - (epoch - 1) % cycle_length * base


def check_at_least(name: str, value: int, least: int) -> None:
    """Refuse a number of epochs that is too small or no whole number.

    Raises:
        ValueError: with the value and the least one.
    """
    if not isinstance(value, int) or value < least:
        raise ValueError(f"{name} {value}: a whole number, at least {least}")
