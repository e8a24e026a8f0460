"""The power of an NVIDIA GPU, and its energy counter, through NVML."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .meter import Channel, Fact, Meter, MeterError, MeterInfo, NoMeterError, Quantity, Reading
from .nvml_facts import PowerSensor, energy_sensor_facts, power_sensor_facts
from .nvml_library import Gpu, NvmlLibrary, RefusedError, choose_gpu
from .nvml_queries import CONDITION_NAMES, gpu_facts, read_conditions

# nvml.h: NVML_FI_DEV_POWER_INSTANT, NVML_FI_DEV_POWER_AVERAGE, NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION; NVML_POWER_SCOPE_*
_FIELDS: Mapping[PowerSensor, int] = {"instant": 186, "average": 185}
_ENERGY = 83
_SCOPE_GPU, _SCOPE_MODULE = 0, 1
_MAX_PLAUSIBLE_MW = 10_000_000
# No GPU runs for that long at 10 kW; in microjoules it still is a signed 64 bit number.
_MAX_PLAUSIBLE_MJ = _MAX_PLAUSIBLE_MW * 10 * 365 * 86_400
# Peaks pass the limit for milliseconds, by less than this; readings are means over 10 ms and more.
_LIMITS = 3
_UJ_PER_MJ = 1000

_GPU_SCOPE = (
    "the GPU with its memory and the circuits around it, as NVML counts them; not the processor and the rest of the "
    "machine"
)
_MODULE_SCOPE = (
    "the whole module, GPU and CPU and the memory of both: NVML does not give the power of this GPU alone; not the "
    'rest of the machine; the counter "energy" is of the GPU alone'
)
_JETSON_NAMES = ("nvgpu", "tegra", "orin", "xavier", "thor")


@dataclass(frozen=True)
class _Source:
    """Where a channel's number is from: a field of a scope, or else a function. NVML's numbers are mW and mJ."""

    channel: Channel
    field: tuple[int, int] | None = None
    function: str = ""

    def __str__(self) -> str:
        if self.field is None:
            return f"{self.channel.name} ({self.function})"
        number, scope = self.field
        return f"{self.channel.name}{' of the module' if scope == _SCOPE_MODULE else ''} (field {number})"


_ENERGY_CHANNEL = Channel("energy", "energy_uj", energy_sensor_facts())
_ENERGY_FIELD = _Source(_ENERGY_CHANNEL, field=(_ENERGY, _SCOPE_GPU))
_ENERGY_FUNCTION = _Source(_ENERGY_CHANNEL, function="nvmlDeviceGetTotalEnergyConsumption")


def open_nvml(uuid: str | None = None, *, clock: Callable[[], int] = time.monotonic_ns) -> Meter:
    """The meter of one GPU. Its channels are those of power.instant, power.average, power.usage and energy that work.

    Args:
        uuid: the GPU's, or a beginning that only one has; None where the machine has one GPU.
        clock: gives the instants of readings. Units: ns.

    Raises:
        NoMeterError: there is no nvidia-ml-py, no driver, no GPU, or it gives no plausible reading.
        InputError: no GPU has this UUID, it is that of a MIG instance, or there are several GPUs and none was named.
    """
    library = NvmlLibrary()
    try:
        return _NvmlMeter(library, choose_gpu(library, uuid), clock)
    except BaseException:
        library.shut_down()
        raise


class _NvmlMeter:
    def __init__(self, library: NvmlLibrary, gpu: Gpu, clock: Callable[[], int]) -> None:
        self._library, self._gpu, self._clock, self._open = library, gpu, clock, True
        facts = gpu_facts(library, gpu)
        self._limit_mw = _highest_limit_mw(facts)
        self._sources = _find_sources(library, gpu, facts, self._limit_mw)
        self._info = _describe(gpu, self._sources, facts)

    @property
    def info(self) -> MeterInfo:
        return self._info

    def read(self) -> Reading:
        """All channels now; the instant is the middle of the time that the calls took.

        NVML says nothing about when a number was new, so each call gives a reading.
        """
        self._check_open()
        before_ns = self._clock()
        answers = _answers(self._library, self._gpu.handle, self._sources)
        after_ns = self._clock()
        values = tuple(map(self._value, self._sources, answers))
        if all(value is None for value in values):
            said = "; ".join(map(self._complaint, self._sources, answers))
            raise MeterError(f"{self._info.device} gives nothing now: {said}")
        return Reading((before_ns + after_ns) // 2, values)

    def read_conditions(self) -> tuple[float | None, ...]:
        self._check_open()
        return read_conditions(self._library, self._gpu.handle)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._library.shut_down()

    def _check_open(self) -> None:
        if not self._open:
            raise MeterError(f"the meter of {self._info.device} is closed; open it again")

    def _value(self, source: _Source, answer: int | RefusedError) -> int | None:
        quantity = source.channel.quantity
        if isinstance(answer, RefusedError) or _doubt(quantity, answer, self._limit_mw):
            return None
        return answer * _UJ_PER_MJ if quantity == "energy_uj" else answer

    def _complaint(self, source: _Source, answer: int | RefusedError) -> str:
        why = answer if isinstance(answer, RefusedError) else _doubt(source.channel.quantity, answer, self._limit_mw)
        return f"{source.channel.name}: {why}"


def _answers(library: NvmlLibrary, handle: Any, sources: Sequence[_Source]) -> list[int | RefusedError]:
    """What each source says now, all that are fields in one call."""
    fields = [source.field for source in sources if source.field]
    of_fields = iter(library.fields(handle, fields) if fields else ())
    return [next(of_fields) if source.field else _ask(library, source.function, handle) for source in sources]


def _ask(library: NvmlLibrary, function: str, handle: Any) -> int | RefusedError:
    try:
        return int(library.ask(function, handle))
    except RefusedError as refused:
        return refused


def _doubt(quantity: Quantity, value: int, limit_mw: int | None) -> str | None:
    """Why the number, in mW or mJ, cannot be true; None where it can. A counter may stand at 0 after a reset."""
    if quantity == "energy_uj":
        return None if 0 <= value <= _MAX_PLAUSIBLE_MJ else f"{value} mJ, more than any GPU draws in ten years"
    if value <= 0:
        return f"{value} mW, and a GPU that answers draws something"
    if value > _MAX_PLAUSIBLE_MW:
        return f"{value} mW, more than any GPU draws"
    if limit_mw is not None and value > _LIMITS * limit_mw:
        return f"{value} mW, more than {_LIMITS} times the power limit of {limit_mw} mW"
    return None


def _highest_limit_mw(facts: Mapping[str, Fact]) -> int | None:
    limits = [facts[name] for name in ("power_limit_mw", "default_power_limit_mw", "enforced_power_limit_mw")]
    return max((limit for limit in limits if isinstance(limit, int) and limit > 0), default=None)


def _find_sources(library: NvmlLibrary, gpu: Gpu, facts: Mapping[str, Fact], limit_mw: int | None) -> list[_Source]:
    """Those that give plausible numbers. Power is of one scope: Grace Hopper has it for the module only.

    Raises:
        NoMeterError: nothing does.
    """
    probes = _Probes(library, gpu, limit_mw)
    power = (
        probes.that_work([_power_field(sensor, _SCOPE_GPU, facts) for sensor in _FIELDS])
        or probes.that_work([_power_field(sensor, _SCOPE_MODULE, facts) for sensor in _FIELDS])
        or probes.that_work([_power_usage(facts)])
    )
    counter = probes.that_work([_ENERGY_FIELD]) or probes.that_work([_ENERGY_FUNCTION])
    if not power and not counter:
        raise NoMeterError(f"{gpu.name} gives no plausible reading: {'; '.join(probes.said)}", _way_out(gpu))
    return [*power, *counter]


class _Probes:
    """Tries sources, each in a call of its own: a driver that does not know a field may refuse the whole call."""

    def __init__(self, library: NvmlLibrary, gpu: Gpu, limit_mw: int | None) -> None:
        self._library, self._gpu, self._limit_mw = library, gpu, limit_mw
        self.said: list[str] = []

    def that_work(self, sources: Sequence[_Source]) -> list[_Source]:
        """Those that give a plausible number now; why the others do not is kept in `said`."""
        return [source for source in sources if self._works(source)]

    def _works(self, source: _Source) -> bool:
        (answer,) = _answers(self._library, self._gpu.handle, [source])
        why = answer if isinstance(answer, RefusedError) else self._doubt(source, answer)
        if why is not None:
            self.said.append(f"{source}: {why}")
        return why is None

    def _doubt(self, source: _Source, value: int) -> str | None:
        if source.channel.quantity == "energy_uj" and value == 0:
            return "0 mJ since the driver was loaded"
        return _doubt(source.channel.quantity, value, self._limit_mw)


def _power_field(sensor: PowerSensor, scope: int, facts: Mapping[str, Fact]) -> _Source:
    return _Source(_power_channel(sensor, facts), field=(_FIELDS[sensor], scope))


def _power_usage(facts: Mapping[str, Fact]) -> _Source:
    return _Source(_power_channel("usage", facts), function="nvmlDeviceGetPowerUsage")


def _power_channel(sensor: PowerSensor, facts: Mapping[str, Fact]) -> Channel:
    architecture, driver = facts["architecture"], facts["driver"]
    assert architecture is None or isinstance(architecture, str)
    assert driver is None or isinstance(driver, str)
    return Channel(f"power.{sensor}", "power_mw", power_sensor_facts(sensor, architecture, driver))


def _describe(gpu: Gpu, sources: Sequence[_Source], facts: Mapping[str, Fact]) -> MeterInfo:
    powers = [source for source in sources if source.channel.quantity == "power_mw"]
    module = any(source.field and source.field[1] == _SCOPE_MODULE for source in powers)
    # The counter is of the GPU alone also where the power is of the module: then it is read, and is not the total.
    counters = [] if module else [source for source in sources if source not in powers]
    return MeterInfo(
        source="nvml",
        device=f"{gpu.name} ({gpu.uuid})",
        sees="machine" if module else "gpu",
        scope=_scope(module, facts["mig"] is True),
        channels=tuple(source.channel for source in sources),
        power_total=tuple(source.channel.name for source in powers[:1]),
        energy_total=tuple(source.channel.name for source in counters),
        condition_names=CONDITION_NAMES,
        facts=facts,
    )


def _scope(module: bool, mig: bool) -> str:
    if module:
        return _MODULE_SCOPE
    return f"{_GPU_SCOPE}; all its MIG instances together" if mig else _GPU_SCOPE


def _way_out(gpu: Gpu) -> str:
    if any(name in gpu.name.lower() for name in _JETSON_NAMES):
        return "a Jetson measures on its board, not in the GPU: --power-source ina3221 or tegrastats"
    return (
        "a GPU that is lent to a virtual machine in part (vGPU) has no power of its own, ask where the machine runs; "
        "otherwise update the driver, or measure by another meter"
    )
