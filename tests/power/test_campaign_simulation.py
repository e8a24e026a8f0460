"""A thousand simulated campaigns: 95 % intervals hold the truth in 93 to 97 % of them, and not where they should not.

A device idles, then runs two networks in rounds, each for a window of 12 s, then idles again. Its power is a level for
each state, plus heating that adds to all states alike, plus noise with a memory (first-order autoregressive). A sensor
reads it every 100 ms in steps. The truths that the intervals are held against, without noise and without steps:

- gross: expected energy per inference, mean over the windows of the network, heating included;
- net: the same above idle, which heating leaves as it is;
- ratio: of the two networks' expected energies in the middle of a round, geometric mean over the rounds.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import exp, hypot, sqrt

import numpy as np
import pytest
from numpy.typing import NDArray

from espnet_edge.power.energy import energy_j
from espnet_edge.power.trace import PowerTrace
from espnet_edge.power.uncertainty import (
    Component,
    Estimate,
    IdleLine,
    mean_over_windows,
    net_over_windows,
    paired_ratio,
    quantisation,
    series_mean,
)

Floats = NDArray[np.float64]

FIGURES = ("gross", "net", "ratio")
CAMPAIGNS = 1000
PERIOD_NS = 100_000_000
# Every network warms up for 1 s in its slot of a round, and runs on for a moment after its window.
SLOT_NS, WARM_UP_NS, WINDOW_NS = 13_500_000_000, 1_000_000_000, 12_000_000_000
NETWORKS_MW, INFERENCE_NS = np.array([8000.0, 7100.0]), np.array([8e6, 12e6])
IDLE_MW = 4800.0
MJ_PER_MW_NS = 1e-9


@dataclass(frozen=True)
class World:
    """What is simulated. Heating is exponential with `heating_s`, plus linear."""

    rounds: int = 9
    noise_mw: float = 300.0
    noise_s: float = 1.0
    heating_mw: float = 300.0
    heating_s: float = 150.0
    heating_mw_per_s: float = 0.3
    idle_s: int = 12
    step_mw: float = 400.0
    interleaved: bool = True
    step_is_known: bool = True

    @property
    def slots(self) -> int:
        return 2 * self.rounds

    @property
    def idle_readings(self) -> int:
        return int(self.idle_s * 1e9) // PERIOD_NS

    def heat_mw(self, time_ns: Floats) -> Floats:
        time_s = time_ns / 1e9
        return self.heating_mw * (1 - np.exp(-time_s / self.heating_s)) + self.heating_mw_per_s * time_s


@dataclass(frozen=True)
class Campaigns:
    """Readings (campaigns, times), and each slot's network, window and count of inferences (campaigns, slots)."""

    world: World
    readings_mw: Floats
    levels_mw: Floats
    network: NDArray[np.int64]
    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    inferences: NDArray[np.int64]


def simulated(world: World, campaigns: int = CAMPAIGNS, seed: int = 1) -> Campaigns:
    rng = np.random.default_rng(seed)
    first_slot_ns = world.idle_readings * PERIOD_NS + WARM_UP_NS
    times_ns = np.arange((2 * first_slot_ns + world.slots * SLOT_NS) // PERIOD_NS) * PERIOD_NS
    network = orders(world, campaigns, rng)
    # Anywhere between two steps of the sensor: what one level does not show another does.
    levels_mw = np.append(NETWORKS_MW, IDLE_MW) + rng.uniform(0, 400, (campaigns, 3))
    slot = (times_ns - first_slot_ns) // SLOT_NS
    states = np.where((slot >= 0) & (slot < world.slots), network[:, slot.clip(0, world.slots - 1)], 2)
    power_mw = np.take_along_axis(levels_mw, states, 1) + world.heat_mw(times_ns) + noise(world, states.shape, rng)
    # Inferences differ a little in speed from window to window; a window is a whole number of them.
    inference_ns = INFERENCE_NS[network] * rng.normal(1, 0.003, network.shape)
    inferences = (WINDOW_NS / inference_ns).astype(np.int64)
    slot_ns = first_slot_ns + SLOT_NS * np.arange(world.slots) + WARM_UP_NS
    start_ns = slot_ns + rng.integers(0, PERIOD_NS, network.shape)
    return Campaigns(
        world=world,
        readings_mw=np.round(power_mw / world.step_mw) * world.step_mw,
        levels_mw=levels_mw,
        network=network,
        start_ns=start_ns,
        end_ns=start_ns + (inferences * inference_ns).astype(np.int64),
        inferences=inferences,
    )


def orders(world: World, campaigns: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Which network runs in each slot: a permutation for each round, or all windows of one and then of the other."""
    if world.interleaved:
        return rng.random((campaigns, world.rounds, 2)).argsort(axis=2).reshape(campaigns, world.slots)
    return np.tile(np.repeat([0, 1], world.rounds), (campaigns, 1))


def noise(world: World, shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    memory = exp(-PERIOD_NS / 1e9 / world.noise_s)
    values = rng.standard_normal(shape[::-1])
    for i in range(1, len(values)):
        values[i] = memory * values[i - 1] + sqrt(1 - memory**2) * values[i]
    return world.noise_mw * values.T


@dataclass(frozen=True)
class Windows:
    """What a program would know of the windows of one network."""

    energy_mj: Floats
    mid_ns: Floats
    inference_ns: Floats
    step_mj: float

    def shared(self) -> tuple[Component, ...]:
        return (Component("quantisation", self.step_mj, "the sensor's step"),)

    @property
    def step_share(self) -> float:
        return self.step_mj / float(self.energy_mj.mean())


@dataclass(frozen=True)
class Campaign:
    """One of the campaigns, analysed as a program would."""

    all: Campaigns
    number: int

    def trace(self) -> PowerTrace:
        readings_mw = self.all.readings_mw[self.number]
        return PowerTrace(np.arange(readings_mw.size) * PERIOD_NS, readings_mw)

    def windows(self, network: int) -> Windows:
        slots = np.flatnonzero(self.all.network[self.number] == network)
        start_ns, end_ns = self.all.start_ns[self.number, slots], self.all.end_ns[self.number, slots]
        inferences, trace = self.all.inferences[self.number, slots], self.trace()
        bounds = list(zip(start_ns.tolist(), end_ns.tolist(), strict=True))
        inference_ns = (end_ns - start_ns) / inferences
        readings = [trace.power_mw[-(-start // PERIOD_NS) : end // PERIOD_NS + 1] for start, end in bounds]
        return Windows(
            energy_mj=1e3 * np.array([energy_j(trace, *window) for window in bounds]) / inferences,
            mid_ns=(start_ns + end_ns) / 2,
            inference_ns=inference_ns,
            step_mj=self.step_mw(*readings) * float(inference_ns.mean()) * MJ_PER_MW_NS,
        )

    def step_mw(self, *readings: Floats) -> float:
        world = self.all.world
        return quantisation(*readings, step_mw=world.step_mw).systematic_mw if world.step_is_known else 0.0

    def idle(self) -> IdleLine:
        readings_mw, n = self.all.readings_mw[self.number], self.all.world.idle_readings
        before, after = readings_mw[:n], readings_mw[-n:]
        mid_ns = (n - 1) * PERIOD_NS // 2
        last_ns = (readings_mw.size - 1) * PERIOD_NS
        return IdleLine(series_mean(before), series_mean(after), mid_ns, last_ns - mid_ns, self.step_mw(before, after))

    def intervals_with_truths(self) -> dict[str, tuple[Estimate, float]]:
        world, one, other = self.all.world, self.windows(0), self.windows(1)
        levels_mw, heat_mw = self.all.levels_mw[self.number], world.heat_mw(one.mid_ns)
        inference_s = INFERENCE_NS[0] * MJ_PER_MW_NS
        in_round_mw = levels_mw[:2, None] + world.heat_mw((one.mid_ns + other.mid_ns) / 2)
        energies = in_round_mw * INFERENCE_NS[:, None]
        shared = (Component("quantisation", hypot(one.step_share, other.step_share)),)
        return {
            "gross": (
                mean_over_windows(one.energy_mj, one.mid_ns, one.shared()),
                float((levels_mw[0] + heat_mw).mean() * inference_s),
            ),
            "net": (
                net_over_windows(one.energy_mj, one.mid_ns, self.idle(), one.inference_ns, one.shared()),
                float((levels_mw[0] - levels_mw[2]) * inference_s),
            ),
            "ratio": (
                paired_ratio(one.energy_mj, other.energy_mj, shared),
                float(np.exp(np.log(energies[0] / energies[1]).mean())),
            ),
        }


@lru_cache
def coverage(world: World, seed: int = 1) -> dict[str, float]:
    """Share of the campaigns in which each interval holds the truth, and in which the net energy is flagged."""
    campaigns = simulated(world, seed=seed)
    found = [Campaign(campaigns, i).intervals_with_truths() for i in range(CAMPAIGNS)]
    held = {name: np.array([holds(*one[name]) for one in found]) for name in FIGURES}
    flagged = np.array([bool(one["net"][0].flags) for one in found])
    held |= {"flagged": flagged, "net or flagged": held["net"] | flagged}
    return {name: float(values.mean()) for name, values in held.items()}


def holds(interval: Estimate, truth: float) -> bool:
    return interval.low <= truth <= interval.high


UNHEATED = World(heating_mw=0.0, heating_mw_per_s=0.0)
# Drift by several steps of the sensor.
STRONG = World(heating_mw=1000.0, heating_mw_per_s=1.0)


@pytest.mark.parametrize("world", [World(), UNHEATED], ids=["heated", "unheated"])
def test_the_truth_is_in_the_intervals_of_95_percent(world: World) -> None:
    held = coverage(world)
    assert all(0.93 <= held[figure] <= 0.97 for figure in FIGURES), held


# Nobody knows how idle power went from one level to the other: the interval of the net energy is wider than need be
# where it drifted, rather than too narrow.
@pytest.mark.parametrize("world", [World(rounds=5), STRONG], ids=["five rounds", "strong heating"])
def test_few_rounds_and_strong_heating_leave_intervals_what_they_say(world: World) -> None:
    held = coverage(world)
    assert all(0.93 <= held[figure] <= 0.97 for figure in ("gross", "ratio")), held
    assert held["net"] >= 0.93


def test_a_device_that_was_not_warmed_up_is_flagged() -> None:
    """Heating is over after a few windows, so that idle power was far from a straight line."""
    held = coverage(World(heating_mw=1000.0, heating_s=40.0))
    assert held["flagged"] >= 0.7
    assert held["net or flagged"] >= 0.95
    assert held["gross"] >= 0.93


def test_idle_without_drift_is_flagged_in_5_percent() -> None:
    assert 0.03 <= coverage(UNHEATED)["flagged"] <= 0.07


def test_networks_that_run_one_after_the_other_cannot_be_compared() -> None:
    """All windows of one network, then all of the other: heating is taken for a difference between them."""
    assert coverage(World(interleaved=False))["ratio"] < 0.6
    assert coverage(World())["ratio"] >= 0.93


@pytest.mark.parametrize("noise_mw", [80.0, 180.0])
def test_noise_below_half_a_step_has_intervals_that_are_wide_enough(noise_mw: float) -> None:
    held = coverage(World(noise_mw=noise_mw))
    assert all(held[figure] >= 0.93 for figure in FIGURES), held


def test_readings_that_never_move_need_the_step_in_the_budget() -> None:
    quiet = replace(UNHEATED, noise_mw=20.0)
    known, unknown = coverage(quiet), coverage(replace(quiet, step_is_known=False))
    assert all(known[figure] >= 0.93 for figure in FIGURES), known
    assert all(unknown[figure] < 0.5 for figure in FIGURES), unknown
