"""Which power rails of a Jetson add up to its total, board by board, and what that total leaves out.

Rails are not independent: some are the whole input of the module, some are parts of others, some belong to the carrier
board. A total is given only for a set of rails that the table knows, and never for a sum that lacks one of its parts.

Where the rows are from: the device trees of Linux (arch/arm64/boot/dts/nvidia: tegra186-p3310, tegra186-p2771-0000,
tegra234-p3701, tegra234-p3767) and of Jetson Linux 32.6 as listed in energymon's jetson/JetsonPowerRails.md; each row
names what says that its total is one.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import one_line
from .trace import SensorFacts

# INA3221, datasheet SBOS576, at 25 C: gain errors of 0.25 % each of the shunt's and of the bus voltage at most, and an
# offset of 80 uV on the shunt, two steps. The shunt is of 1 % on AGX Xavier (design guide DG-09840); other boards' are
# not public, and taken to be as good.
INA3221_GAIN_ERROR, INA3221_OFFSET_STEPS = 0.015, 2
INA3221_SOURCE = "INA3221, datasheet SBOS576; a shunt of 1 %, as NVIDIA's design guide of AGX Xavier has it"

NOT_CONNECTED = "NC"  # the label of a channel of a chip that no rail runs through; AGX Orin has two
_NOT_IN_MODULE = "without the carrier board, the fan and what is plugged in"
_MODULE_INPUT = f"the module: all that enters it; {_NOT_IN_MODULE}"
_MODULE_SUM = f"the module: all of its inputs, measured where they branch; {_NOT_IN_MODULE}"
_UNKNOWN_SCOPE = "single rails, whose total is not known"


@dataclass(frozen=True)
class Total:
    """Which rails add up to the total power.

    Attributes:
        board: its name in the table; None where it is unknown or one of several.
        rails: their powers add up to the total; () where none is known.
        scope: what is in it and what is not, in words.
        reason: why there is no total, with the way out; None where there is one.
    """

    board: str | None
    rails: tuple[str, ...]
    scope: str
    reason: str | None


@dataclass(frozen=True)
class _Board:
    """A row of the table.

    `models`: what its device-tree model says, in small letters with spaces; `total`: the rails that add up to it;
    `parts`: what is in there already, so that adding it counts it twice; `outside`: rails of the carrier board;
    `without`: what to do where a rail of the total is missing; `steps_mw`: see `step_mw`.
    """

    name: str
    models: tuple[str, ...]
    total: tuple[str, ...]
    parts: tuple[str, ...]
    scope: str
    without: str
    outside: tuple[str, ...] = ()
    steps_mw: Mapping[str, float] = field(default_factory=dict)

    def knows(self, rails: set[str]) -> bool:
        return rails <= {*self.total, *self.parts, *self.outside}

    def has_total(self, rails: set[str]) -> bool:
        return set(self.total) <= rails


_AS_ROOT = "run tegrastats as root, or read the chips in /sys/bus/i2c/drivers"
# Where a name differs between the documents and the device trees, both are listed.
_TX_CARRIER = (
    *("VDD_MUX", "VDD_5V0_IO_SYS", "VDD_5V_IO_SYS", "VDD_3V3_SYS"),
    *("VDD_3V3_IO_SLP", "VDD_3V3_IO", "VDD_1V8_IO", "VDD_3V3_SYS_M2", "VDD_M2_IN"),
)
# Specific before general: the first row whose model is contained in the device tree's counts.
#
# Steps are the least common difference of values in recorded lines of tegrastats. The chip, Texas Instruments' INA3221,
# shows current in steps of 40 uV over the shunt (datasheet SBOS576), so a step in mW grows with the supply's voltage:
# the figures hold for the supplies that come with the developer kits.
_BOARDS = (
    _Board(
        # VIN is measured by an INA238 on the carrier board, before module and carrier part (NVIDIA forum 366461). That
        # the three others are all inputs of the module is likely, as on AGX Orin, but no public document says so. In
        # three recorded lines VIN exceeds their sum by 6.2, 6.4 and 7.6 W, which a carrier and its converters can draw.
        name="Jetson AGX Thor",
        models=("thor",),
        total=("VIN",),
        parts=("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"),
        scope="the whole board: module, carrier board, and all that they supply, behind the power adapter",
        without=(
            "its carrier board has no INA238, or the driver ina238 is not loaded; that the other rails add up to the "
            "module is not documented, so compare them one by one, or measure at the power adapter"
        ),
        # 20 mA (2 mOhm) at about 19 V and at 5 V: 4544, 4923 and -392, 0; 4327, 4428.
        steps_mw={"VDD_GPU": 379.0, "VDD_CPU_SOC_MSS": 379.0, "VIN_SYS_5V0": 101.0},
    ),
    _Board(
        # Inputs as on AGX Xavier: two rails at the main supply's voltage and one at 5 V, by their steps. That the
        # DRAM's, VDDQ_VDD2_1V8AO, is a part of VIN_SYS_5V0 is inferred: it is measured at 5 V, too, its step of 100 mW
        # being 20 mA by the 2 mOhm of the device tree.
        name="Jetson AGX Orin",
        models=("agx orin",),
        total=("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
        parts=("VDDQ_VDD2_1V8AO",),
        scope=_MODULE_SUM,
        without=_AS_ROOT,
        # 377 to 402 in lines of different boards: 20 mA at 19 to 20 V. VIN_SYS_5V0: 4607, 4707; VDDQ: 301, 707.
        steps_mw={"VDD_GPU_SOC": 400.0, "VDD_CPU_CV": 400.0, "VIN_SYS_5V0": 100.0, "VDDQ_VDD2_1V8AO": 100.0},
    ),
    _Board(
        # One device tree (p3767) for both modules.
        name="Jetson Orin NX or Orin Nano",
        models=("orin nx", "orin nano"),
        total=("VDD_IN",),
        parts=("VDD_CPU_GPU_CV", "VDD_SOC"),
        scope=_MODULE_INPUT,
        without=_AS_ROOT,
        # 8 mA (5 mOhm) at 5 V: 515, 1428 and 4761 of one line are 13, 36 and 120 times 39.7.
        steps_mw={"VDD_IN": 40.0, "VDD_CPU_GPU_CV": 40.0, "VDD_SOC": 40.0},
    ),
    _Board(
        # NVIDIA's design guide DG-09840, 5.6.2: the monitors stand in the branches of SYS_VIN_HV, and in SYS_VIN_MV,
        # the module's other input (SYS5V); forum thread 75574: SYS5V is all but DDR, CPU, GPU and CV.
        name="Jetson AGX Xavier",
        models=("agx xavier", "jetson agx"),
        total=("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
        parts=(),
        scope=_MODULE_SUM,
        without=_AS_ROOT,
        # 8 mA (5 mOhm, design guide) at 19 V: 309, 463, 618; 72 mW at 9 V. SYS5V by the same shunt at 5 V: no two
        # recorded values lie close enough to see it.
        steps_mw={**dict.fromkeys(("GPU", "CPU", "SOC", "CV", "VDDRQ"), 155.0), "SYS5V": 40.0},
    ),
    _Board(
        # NVIDIA forum, thread 200883: "VDD_IN is the total power of module".
        name="Jetson Xavier NX",
        models=("xavier nx",),
        total=("VDD_IN",),
        parts=("VDD_CPU_GPU_CV", "VDD_SOC"),
        scope=_MODULE_INPUT,
        without=_AS_ROOT,
        # 650, 738, 1041 and 1353 are 16, 18, 26 and 33 times 40 to 41.
        steps_mw={"VDD_IN": 41.0, "VDD_CPU_GPU_CV": 41.0, "VDD_SOC": 41.0},
    ),
    _Board(
        # NVIDIA's design guide DG-10141: VDD_IN supplies the PMIC and the other regulators. Its tegrastats (Jetson
        # Linux 32.6) prints no rails (jetson_stats, issue 187).
        name="Jetson TX2 NX",
        models=("tx2 nx", "lanai"),
        total=("VDD_IN",),
        parts=("VDD_CPU_GPU", "VDD_SOC"),
        scope=_MODULE_INPUT,
        without="its tegrastats prints no rails; read the chip in /sys/bus/i2c/drivers/ina3221x",
    ),
    _Board(
        # VDD_IN supplies the module, VDD_MUX beside it the carrier board (NVIDIA forum, thread 201037). Names before
        # Jetson Linux 32, after it, and of Linux's own device tree.
        name="Jetson TX2",
        models=("tx2", "quill"),
        total=("VDD_IN",),
        parts=(
            *("VDD_CPU", "VDD_GPU", "VDD_SOC", "VDD_WIFI", "VDD_DDR"),
            *("VDD_SYS_CPU", "VDD_SYS_GPU", "VDD_SYS_SOC", "VDD_4V0_WIFI", "VDD_SYS_DDR"),
            *("VDD_3V8_WIFI", "VDD_5V0_DDR"),
        ),
        outside=_TX_CARRIER,
        scope=_MODULE_INPUT,
        without=_AS_ROOT,
        # 4 mA (10 mOhm) at 19 V: 154, 231, 386; at 5 V: 134, 230, 557; VDD_IN: 1738, 1776.
        steps_mw={
            "VDD_IN": 38.0,
            **dict.fromkeys(("VDD_CPU", "VDD_GPU", "VDD_SOC", "VDD_SYS_CPU", "VDD_SYS_GPU", "VDD_SYS_SOC"), 77.0),
            **dict.fromkeys(("VDD_WIFI", "VDD_DDR", "VDD_4V0_WIFI", "VDD_SYS_DDR"), 19.0),
        },
    ),
    _Board(
        # As on TX2. Recorded is one line: no two values that would show a step.
        name="Jetson TX1",
        models=("tx1", "jetson cv"),
        total=("VDD_IN",),
        parts=("VDD_CPU", "VDD_GPU"),
        outside=_TX_CARRIER,
        scope=_MODULE_INPUT,
        without=_AS_ROOT,
    ),
    _Board(
        # NVIDIA forum, thread 73608: POM_5V_IN is the total, "you don't need to add POM_5V_GPU and POM_5V_CPU to it".
        name="Jetson Nano",
        models=("jetson nano",),
        total=("POM_5V_IN",),
        parts=("POM_5V_GPU", "POM_5V_CPU"),
        scope=_MODULE_INPUT,
        without="the Nano with 2 GB has no sensor; measure at its power adapter",
        # 123, 166, 204 and 366 are 3, 4, 5 and 9 times 41.
        steps_mw=dict.fromkeys(("POM_5V_IN", "POM_5V_GPU", "POM_5V_CPU"), 41.0),
    ),
)
_AT_THE_ADAPTER = "measure at the power adapter"
_ONE_BY_ONE = f"compare rails one by one, or {_AT_THE_ADAPTER}"
_MAX_NAME, _MAX_LISTED = 80, 12  # of what a message repeats: characters of a name, and names


def total_of(rails: Sequence[str], model: str | None = None) -> Total:
    """Which of `rails` add up to the total, by the table of boards.

    Args:
        rails: names as tegrastats or the chips' labels have them, in any order; NC is passed over.
        model: what /proc/device-tree/model says, where it is known. It must be of a board whose rails these are.

    Returns:
        A total without rails, and with the reason, where the model or the set of rails is unknown, where they do not
        belong together, or where a rail of the total is missing or there twice.
    """
    named = _board_of(model)
    present = set(rails) - {NOT_CONNECTED}
    if not present:
        return _no_total(named, f"there is no rail of any power: {named.without if named else _AT_THE_ADAPTER}")
    if model and named is None:
        return _no_total(None, f"the board {_listed([model])} is not in the table of boards: {_ONE_BY_ONE}")
    candidates = [board for board in ([named] if named else _BOARDS) if board.knows(present)]
    if not candidates:
        return _no_total(named, _why_unknown(present, named))
    whole = _best([board for board in candidates if board.has_total(present)], present)
    if len({board.total for board in whole}) != 1:
        return _no_total(candidates[0] if len(candidates) == 1 else None, _why_missing(candidates, present))
    board = whole[0]
    if twice := [rail for rail, times in Counter(rails).items() if times > 1 and rail in board.total]:
        return _no_total(named, f"{_listed(twice)} is there twice, and which one counts is not known: {_ONE_BY_ONE}")
    return Total(board.name if len(whole) == 1 else None, board.total, board.scope, None)


def step_mw(rail: str, board: str | None) -> float | None:
    """The smallest change of a rail's power that was seen in recorded lines, at the developer kit's supply. Units: mW.

    None where it is not known. `board`: as `Total.board` has it.
    """
    return next((row.steps_mw.get(rail) for row in _BOARDS if row.name == board), None)


def of_ina3221(sensor: SensorFacts, source: str) -> SensorFacts:
    """The facts of a rail with the errors of its chip, by `source`: gain, and the offset where the step is known."""
    offset_mw = None if sensor.step_mw is None else INA3221_OFFSET_STEPS * sensor.step_mw
    return sensor.updated(gain_error=INA3221_GAIN_ERROR, offset_mw=offset_mw, source=source)


def _board_of(model: str | None) -> _Board | None:
    text = " ".join((model or "").lower().replace("-", " ").replace("_", " ").split())
    return next((board for board in _BOARDS for name in board.models if name in text), None)


def _best(boards: list[_Board], present: set[str]) -> list[_Board]:
    """Those that have no other rails than these, where there are such; else all."""
    return [board for board in boards if {*board.total, *board.parts} == present - set(board.outside)] or boards


def _no_total(board: _Board | None, reason: str) -> Total:
    return Total(board.name if board else None, (), _UNKNOWN_SCOPE, reason)


def _why_unknown(present: set[str], named: _Board | None) -> str:
    if named is None:
        return f"no board in the table has the rails {_listed(present)}: {_ONE_BY_ONE}"
    strange = [rail for rail in present if not named.knows({rail})]
    return f"{_listed(strange)} is no rail of the {named.name} in the table of boards: {_ONE_BY_ONE}"


def _why_missing(candidates: list[_Board], present: set[str]) -> str:
    board = candidates[0]
    if len(candidates) > 1:
        names = ", ".join(candidate.name for candidate in candidates)
        return f"{_listed(present)} may be of several boards ({names}), and is the total of none: {_ONE_BY_ONE}"
    missing = [rail for rail in board.total if rail not in present]
    needed = " + ".join(board.total)
    return f"the total of the {board.name} is {needed}, and {_listed(missing)} is not there: {board.without}"


def _listed(rails: Collection[str]) -> str:
    """Names as a message repeats them: of bounded length, harmless to a terminal."""
    names = [one_line(name)[:_MAX_NAME] for name in sorted(rails)]
    return ", ".join(names[:_MAX_LISTED]) + (f" and {len(names) - _MAX_LISTED} more" if names[_MAX_LISTED:] else "")
