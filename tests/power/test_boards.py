"""Totals by the table of boards: nothing counted twice, no sum without one of its parts, unknown boards refused."""

import pytest

from espnet_edge.power.boards import Total, step_mw, total_of

MODULE_INPUT = ("VDD_IN",)
XAVIER_SUM = ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V")
ORIN_SUM = ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")
OLD_TX2 = "VDD_IN VDD_CPU VDD_GPU VDD_SOC VDD_WIFI VDD_DDR"
TX2 = "VDD_SYS_GPU VDD_SYS_SOC VDD_4V0_WIFI VDD_IN VDD_SYS_CPU VDD_SYS_DDR"
TX2_CARRIER = "VDD_MUX VDD_5V0_IO_SYS VDD_3V3_SYS VDD_3V3_IO_SLP VDD_1V8_IO VDD_3V3_SYS_M2"
ORIN_NX, ORIN = "VDD_IN VDD_CPU_GPU_CV VDD_SOC", " ".join(ORIN_SUM)
THOR = "VDD_GPU VDD_CPU_SOC_MSS VIN_SYS_5V0"
# The rails of each board, and what its device tree calls it.
BOARDS = [
    ("VDD_IN VDD_CPU VDD_GPU", "jetson_cv", "Jetson TX1", MODULE_INPUT),
    (f"VDD_IN VDD_CPU VDD_GPU {TX2_CARRIER}", "NVIDIA Jetson TX1 Developer Kit", "Jetson TX1", MODULE_INPUT),
    (OLD_TX2, "quill", "Jetson TX2", MODULE_INPUT),
    (TX2, "quill", "Jetson TX2", MODULE_INPUT),
    (f"{TX2} {TX2_CARRIER}", "NVIDIA Jetson TX2 Developer Kit", "Jetson TX2", MODULE_INPUT),
    ("VDD_IN VDD_SYS_GPU VDD_SYS_SOC VDD_SYS_CPU VDD_SYS_DDR", "NVIDIA Jetson TX2i", "Jetson TX2", MODULE_INPUT),
    ("VDD_IN VDD_CPU_GPU VDD_SOC", "NVIDIA Jetson TX2 NX Developer Kit", "Jetson TX2 NX", MODULE_INPUT),
    ("POM_5V_IN POM_5V_GPU POM_5V_CPU", "jetson-nano", "Jetson Nano", ("POM_5V_IN",)),
    ("POM_5V_IN POM_5V_GPU POM_5V_CPU", "NVIDIA Jetson Nano Developer Kit", "Jetson Nano", ("POM_5V_IN",)),
    (ORIN_NX, "NVIDIA Jetson Xavier NX Developer Kit", "Jetson Xavier NX", MODULE_INPUT),
    (" ".join(XAVIER_SUM), "Jetson-AGX", "Jetson AGX Xavier", XAVIER_SUM),
    (" ".join(XAVIER_SUM), "NVIDIA Jetson AGX Xavier Developer Kit", "Jetson AGX Xavier", XAVIER_SUM),
    (ORIN_NX, "NVIDIA Jetson Orin Nano Developer Kit Super", "Jetson Orin NX or Orin Nano", MODULE_INPUT),
    (ORIN_NX, "NVIDIA Orin NX Developer Kit", "Jetson Orin NX or Orin Nano", MODULE_INPUT),
    ("VDD_IN", "NVIDIA Jetson Orin Nano Developer Kit", "Jetson Orin NX or Orin Nano", MODULE_INPUT),
    (ORIN, "NVIDIA Jetson AGX Orin Developer Kit", "Jetson AGX Orin", ORIN_SUM),
    (f"{ORIN} NC VDDQ_VDD2_1V8AO NC", "NVIDIA Jetson AGX Orin Developer Kit", "Jetson AGX Orin", ORIN_SUM),
    (f"{THOR} VIN", "NVIDIA Jetson AGX Thor Developer Kit", "Jetson AGX Thor", ("VIN",)),
]


@pytest.mark.parametrize(("rails", "model", "board", "total"), BOARDS)
def test_the_total_of_each_board(rails, model, board, total) -> None:
    found = total_of(rails.split(), model)
    assert (found.board, found.rails, found.reason) == (board, total, None)
    whole_board = board == "Jetson AGX Thor"
    assert found.scope.startswith("the whole board" if whole_board else "the module")
    assert ("without the carrier board" in found.scope) == (not whole_board)


@pytest.mark.parametrize(("rails", "model", "board", "total"), BOARDS)
def test_the_rails_alone_give_the_same_total(rails, model, board, total) -> None:
    found = total_of(rails.split())
    assert (found.rails, found.scope, found.reason) == (total, total_of(rails.split(), model).scope, None)
    # Several boards have these rails, and all have the same total: none of them is named.
    assert found.board == (None if rails in (ORIN_NX, "VDD_IN") else board)


@pytest.mark.parametrize("lost", ORIN_SUM)
def test_a_sum_without_one_of_its_parts_is_no_total(lost) -> None:
    rails = [rail for rail in ORIN_SUM if rail != lost]
    for model in (None, "NVIDIA Jetson AGX Orin Developer Kit"):
        assert total_of([*rails, "NC", "VDDQ_VDD2_1V8AO", "NC"], model) == Total(
            "Jetson AGX Orin",
            (),
            "single rails, whose total is not known",
            "the total of the Jetson AGX Orin is VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0, and "
            f"{lost} is not there: run tegrastats as root, or read the chips in /sys/bus/i2c/drivers",
        )


@pytest.mark.parametrize("lost", XAVIER_SUM)
def test_all_six_of_agx_xavier_are_needed(lost) -> None:
    assert total_of([rail for rail in XAVIER_SUM if rail != lost]).rails == ()


def test_the_rails_of_thor_are_no_total_without_vin() -> None:
    for model in (None, "NVIDIA Jetson AGX Thor Developer Kit"):
        found = total_of(THOR.split(), model)
        assert (found.board, found.rails) == ("Jetson AGX Thor", ())
        assert "the total of the Jetson AGX Thor is VIN, and VIN is not there: " in found.reason
        assert "that the other rails add up to the module is not documented" in found.reason


@pytest.mark.parametrize(
    ("rails", "model", "reason"),
    [
        (
            ORIN,
            "NVIDIA Jetson Orin Nano Developer Kit",
            "VDD_CPU_CV, VDD_GPU_SOC, VIN_SYS_5V0 is no rail of the Jetson O",
        ),
        (
            ORIN_NX,
            "NVIDIA Jetson AGX Orin Developer Kit",
            "VDD_CPU_GPU_CV, VDD_IN, VDD_SOC is no rail of the Jetson AGX",
        ),
        (TX2, "NVIDIA Jetson TX2 NX Developer Kit", "is no rail of the Jetson TX2 NX"),
        (
            ORIN_NX,
            "NVIDIA Jetson Neptune Developer Kit",
            "board NVIDIA Jetson Neptune Developer Kit is not in the table",
        ),
        ("VDD_IN VDD_NEW VDD_SOC", None, "no board in the table has the rails VDD_IN, VDD_NEW, VDD_SOC"),
        (f"{ORIN} VIN", None, "no board in the table has the rails"),
        (f"{ORIN} VDD_IN", None, "no board in the table has the rails"),
        ("VDD_GPU VDD_CPU", None, "may be of several boards (Jetson TX2, Jetson TX1), and is the total of none"),
        ("POM_5V_GPU POM_5V_CPU", None, "the total of the Jetson Nano is POM_5V_IN, and POM_5V_IN is not there"),
        ("", None, "there is no rail of any power: measure at the power adapter"),
        ("NC NC", None, "there is no rail of any power"),
        ("", "NVIDIA Jetson TX2 NX Developer Kit", "its tegrastats prints no rails; read the chip in /sys/bus/i2c"),
        ("", "NVIDIA Jetson Nano 2GB Developer Kit", "the Nano with 2 GB has no sensor"),
        ("VDD_IN VDD_SOC VDD_CPU_GPU_CV VDD_IN", None, "VDD_IN is there twice, and which one counts is not known"),
        (f"{ORIN} VIN_SYS_5V0", None, "VIN_SYS_5V0 is there twice"),
    ],
)
def test_what_is_unknown_or_does_not_fit_has_no_total(rails, model, reason) -> None:
    found = total_of(rails.split(), model)
    assert found.rails == ()
    assert reason in found.reason
    assert ": " in found.reason  # the way out follows
    assert "\n" not in found.reason


def test_reasons_repeat_names_in_bounds_and_harmless_to_a_terminal() -> None:
    for found in (total_of([f"RAIL_{n}" for n in range(1000)]), total_of(["\x1b[2J" + "A" * 10_000], "B" * 10_000)):
        assert len(found.reason) < 500
        assert "\x1b" not in found.reason
    assert "RAIL_108 and 988 more" in total_of([f"RAIL_{n}" for n in range(1000)]).reason


# Values of rails with one step in single recorded lines of tegrastats, so of one supply.
RECORDED = [
    ("Jetson TX2", "VDD_CPU", (231, 154, 386)),
    ("Jetson TX2", "VDD_CPU", (1847, 154, 924)),
    ("Jetson TX2", "VDD_CPU", (152, 152, 381)),
    ("Jetson TX2", "VDD_SYS_CPU", (153, 536, 536)),
    ("Jetson TX2", "VDD_SYS_CPU", (153, 383, 229)),
    ("Jetson TX2", "VDD_DDR", (38, 250)),
    ("Jetson TX2", "VDD_SYS_DDR", (633, 557)),
    ("Jetson TX2", "VDD_SYS_DDR", (134,)),
    ("Jetson Nano", "POM_5V_IN", (1022, 204)),
    ("Jetson Nano", "POM_5V_IN", (943, 123)),
    ("Jetson Nano", "POM_5V_IN", (1750, 366)),
    ("Jetson Xavier NX", "VDD_SOC", (738, 1353)),
    ("Jetson Xavier NX", "VDD_SOC", (650, 2763)),
    ("Jetson AGX Xavier", "CPU", (463, 618, 2936, 309)),
    ("Jetson AGX Xavier", "CPU", (465, 310, 1242)),
    *(
        ("Jetson Orin NX or Orin Nano", "VDD_SOC", values)
        for values in ((515, 1428), (483, 1451), (518, 1475), (1307, 1468), (773, 1424), (560, 1484))
    ),
    ("Jetson AGX Orin", "VDD_CPU_CV", (2412, 1607)),
    ("Jetson AGX Orin", "VDD_CPU_CV", (3205, 4405)),
    ("Jetson AGX Orin", "VDD_CPU_CV", (2265, 2643)),
    ("Jetson AGX Thor", "VDD_CPU_SOC_MSS", (4925, 8710)),
    ("Jetson AGX Thor", "VDD_CPU_SOC_MSS", (4544, 4923)),
]


def is_step(step: float, values: tuple[int, ...]) -> bool:
    """Whether all are multiples of a step that is this one but for the supply's voltage, which is not known to 7 %.

    The voltage differs a little from rail to rail, too.
    """
    near = (step * (0.93 + percent / 1000) for percent in range(141))
    return any(all(abs(value - round(value / one) * one) <= 1 + 0.003 * value for value in values) for one in near)


@pytest.mark.parametrize(("board", "rail", "values"), RECORDED)
def test_recorded_values_are_multiples_of_the_step(board, rail, values) -> None:
    assert is_step(step_mw(rail, board), values)


def test_recorded_values_are_no_multiples_of_twice_the_step() -> None:
    for board, rail in {(board, rail) for board, rail, _ in RECORDED}:
        lines = [values for *where, values in RECORDED if where == [board, rail]]
        assert not all(is_step(step_mw(rail, board) * 2, values) for values in lines), (board, rail)


def test_changes_from_line_to_line_are_one_step() -> None:
    """Neighbours in recorded logs whose values differ by the least that was seen."""
    for board, rail, change_mw in [
        ("Jetson TX2", "VDD_IN", 1776 - 1738),
        ("Jetson AGX Orin", "VIN_SYS_5V0", 4707 - 4607),
        ("Jetson AGX Thor", "VIN_SYS_5V0", 4428 - 4327),
        ("Jetson AGX Thor", "VDD_CPU_SOC_MSS", 4923 - 4544),
    ]:
        assert step_mw(rail, board) == change_mw


@pytest.mark.parametrize(
    ("rail", "board"),
    [
        ("VDD_IN", None),
        ("VDD_IN", "Jetson TX1"),
        ("VIN", "Jetson AGX Thor"),
        ("NC", "Jetson AGX Orin"),
        ("VDD_IN", "Jetson AGX Orin"),
        ("VDD_IN", "Jetson Neptune"),
    ],
)
def test_a_step_that_was_not_seen_is_unknown(rail, board) -> None:
    assert step_mw(rail, board) is None
