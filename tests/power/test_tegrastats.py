"""Lines of tegrastats: every recorded form, verbatim; cut, garbled and foreign ones give no wrong rail."""

import json
import random
from itertools import pairwise
from pathlib import Path

import pytest

import fake_tegrastats as lines
from espnet_edge.power.boards import total_of
from espnet_edge.power.tegrastats import (
    MAX_LINE_CHARS,
    Load,
    Memory,
    RailPower,
    Temperature,
    lines_between,
    lost_lines,
    parse_line,
)

FORMS = [getattr(lines, name) for name in dir(lines) if name.isupper()]
# Of each recorded line, counted by hand: how many rails it has, and the total in mW; None where there is no total: no
# rails, or Thor without VIN.
RECORDED = [
    *[(3, 2532), (6, 3056), (3, 1022), (3, 4067), (3, 5299), (3, 3205 + 4405 + 4767), (3, 943), (6, 2003)],
    *[(6, 216 + 864 + 144 + 1889), (3, 2412 + 1607 + 4707), (3, 2412 + 1607 + 4607), (3, 2412 + 1607 + 4707)],
    *[(3, None), (3, None), (3, None), (3, 2265 + 2643 + 4722), (3, 5139 + 3268 + 5500), (3, 3034 + 1137 + 4939)],
    *[(1, 7280), (3, 4385 + 1196 + 5552), (4, 16802), (3, 2763), (3, 1750), (6, 3140), (6, 1776), (6, 1738)],
    *[(6, 9273), (6, 1182), (6, 3104), (6, 1876), (6, 5297), (6, 463 + 618 + 2936 + 309 + 3306)],
    *[(6, 18401 + 2301 + 4602 + 2914 + 4632), (3, 5408), (3, 3014), (3, 1003), (3, 12479), (3, 4824), (3, 4761)],
    *[(3, 6626), (3, 6626), (3, 4556), (3, 1995 + 2524), (3, 3342 + 1909 + 3717), (3, 4654), (3, 5832), (0, None)],
    *[(6, 5201), (6, 5432), (0, None), (0, None), (6, 1423), (6, 2057), (6, 465 + 310 + 1242 + 1776), (0, None)],
    *[(4, 26686), (3, 9761)],
]


@pytest.fixture(scope="module")
def corpus(shared: Path) -> list[dict]:
    return [json.loads(line) for line in (shared / "traces" / "tegrastats_corpus.jsonl").read_text().splitlines()]


def verbatim(name: str, power: RailPower, unit: str) -> str:
    return f"{name} " + "/".join(f"{mw}{unit}" for mw in power if mw is not None)


def rails_of(line: str) -> str:
    """The end of a line, where the rails are, as the parser understood it."""
    unit = "mW" if "mW" in line else ""
    return " ".join(verbatim(name, power, unit) for name, power in parse_line(line).items())


@pytest.mark.shared
def test_every_recorded_line_is_known_by_hand(corpus) -> None:
    assert len(corpus) == len(RECORDED) == 57


@pytest.mark.shared
@pytest.mark.parametrize("index", range(57))
def test_recorded_rails_are_those_of_the_line_verbatim(index, corpus) -> None:
    line, (count, _) = corpus[index]["line"], RECORDED[index]
    assert len(parse_line(line)) == count
    assert rails_of(line).split() == line.split()[len(line.split()) - 2 * count :]
    if count:
        assert "VDD" not in " ".join(line.split()[: -2 * count])  # and none was passed over


@pytest.mark.shared
@pytest.mark.parametrize("index", range(57))
def test_recorded_totals_are_those_by_hand(index, corpus) -> None:
    line, total_mw = parse_line(corpus[index]["line"]), RECORDED[index][1]
    for model in (None, corpus[index]["board"]):
        total = total_of(list(line), model)
        assert (total.reason is None) == (total_mw is not None)
        assert sum(line[rail].current_mw for rail in total.rails) == (total_mw or 0)


@pytest.mark.shared
def test_recorded_lines_have_cores_clocks_and_temperatures(corpus) -> None:
    parsed = [parse_line(entry["line"]) for entry in corpus]
    assert all(line.ram and line.ram.total_mb > 1000 and line.ram.largest_block_kb for line in parsed)
    without_swap = [index for index, line in enumerate(parsed) if line.swap is None]
    assert without_swap == [0, 8, 16, 19, 20, 23, 26, 27, 28, 29, 53, 54, 55]
    assert all(3 < len(line.cpus) < 15 for line in parsed)
    assert [index for index, line in enumerate(parsed) if line.gpu is None] == [20, 55]
    assert [index for index, line in enumerate(parsed) if not line.temperatures_c] == [46, 54]
    hottest = [line.hottest_c for line in parsed if line.temperatures_c]
    assert min(hottest) == 28.75  # of a board in the cold: never the PMIC's 100
    assert max(hottest) == 63.5
    with_peaks = [n for n, line in enumerate(parsed) if any(t.peak_c is not None for t in line.temperatures_c.values())]
    assert with_peaks == [14, 15, 16, 17, 18, 19, 56]
    assert with_peaks == [
        n for n, line in enumerate(parsed) if any(power.peak_mw is not None for power in line.values())
    ]


def test_a_line_without_units() -> None:
    line = parse_line(lines.TX2)
    assert line["VDD_IN"] == (3056, 3056, None)
    assert list(line) == ["VDD_SYS_GPU", "VDD_SYS_SOC", "VDD_4V0_WIFI", "VDD_IN", "VDD_SYS_CPU", "VDD_SYS_DDR"]
    assert (line.timestamp, line.swap) == (None, Memory(0, 3926, cached_mb=0))
    assert line.ram == Memory(2344, 7852, largest_block_kb=4096)
    one, none = Load(1, (345,)), None
    assert line.cpus == (one, none, none, one, Load(0, (345,)), Load(2, (345,)))
    assert (line.emc, line.gpu, line.engines) == (Load(4, (1600,)), Load(0, (624,)), {"APE": Load(None, (150,))})
    assert line.temperatures_c["Tdiode"] == (34.25, None)
    assert line.hottest_c == 37.5  # PMIC says 100 whatever happens


def test_names_that_stand_for_a_core_a_sensor_and_a_rail() -> None:
    line = parse_line(lines.AGX_XAVIER)
    assert line["GPU"] == (0, 0, None)  # 0 mW is a reading
    assert line["CPU"] == (216, 216, None)
    assert line.temperatures_c["GPU"] == Temperature(32.0, None)
    assert len(line.cpus) == 8
    assert (line.gpu, line.emc) == (Load(0, ()), Load(0, ()))  # a load, and no clock: tegrastats did not run as root
    assert "RAM" not in line


def test_a_line_with_units() -> None:
    line = parse_line(lines.ORIN_NANO)
    assert dict(line) == {
        "VDD_IN": (12479, 12479, None),
        "VDD_CPU_GPU_CV": (4667, 4667, None),
        "VDD_SOC": (2817, 2817, None),
    }
    assert line.timestamp == "11-15-2024 08:38:09"
    assert line.gpu == Load(63, (621,))
    assert line.engines == {**dict.fromkeys(("NVDEC", "NVJPG", "NVJPG1", "VIC", "OFA")), "APE": Load(None, (200,))}
    assert line.hottest_c == 53.968


def test_a_name_that_is_there_twice_is_no_rail() -> None:
    line = parse_line(lines.AGX_ORIN_AS_ROOT)
    assert (list(line), line.repeated) == (
        ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"],
        frozenset({"NC"}),
    )
    assert line.temperatures_c["CV0"] == (None, None)  # -256: a sensor without power
    assert line.engines["GR3D2"] == Load(0, (0,))
    assert line.engines["VIC"] == Load(None, (729,))
    assert sum(line[rail].current_mw for rail in total_of(list(line)).rails) == 2399 + 400 + 4032
    glued = parse_line(lines.ORIN_NANO + " " + lines.ORIN_NANO)
    assert (dict(glued), glued.repeated) == ({}, {"VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"})


def test_the_junction_is_the_hottest_where_the_line_has_it() -> None:
    assert parse_line("RAM 1/2MB cpu@50C tj@40.5C").hottest_c == 40.5
    assert parse_line("RAM 1/2MB cpu@50C tj@0C").hottest_c == 0.0
    assert parse_line("RAM 1/2MB cpu@50C gpu@-256C PMIC@100C").hottest_c == 50.0
    assert parse_line("RAM 1/2MB tj@-256C cpu@50C").hottest_c == 50.0
    assert parse_line("RAM 1/2MB PMIC@100C").hottest_c is None


def test_small_free_blocks_are_in_kb() -> None:
    assert parse_line("RAM 3595/7607MB (lfb 3x512kB) SWAP 11/3804MB").ram == Memory(3595, 7607, largest_block_kb=512)
    assert parse_line("RAM 3595/7607MB (lfb 1x1MB)").ram == Memory(3595, 7607, largest_block_kb=1024)


def test_a_line_with_peaks() -> None:
    line = parse_line(lines.THOR)
    assert line["VDD_GPU"] == RailPower(current_mw=4925, average_mw=4900, peak_mw=5000)
    assert line["VDD_CPU_SOC_MSS"] == (8710, 8332, 8710)
    assert line.temperatures_c == {"cpu": (34.843, 34.9), "tj": (35.906, 36.0), "gpu": (35.906, 36.5)}
    assert line.gpu == Load(None, (314, 314, 314))
    assert line.engines["NVENC0"] == Load(None, (1556,))
    assert line.engines["VIC"] == Load(59, (423,))
    assert line.engines["PVA0"] is None


def test_an_offset_makes_a_rail_negative() -> None:
    line = parse_line(lines.THOR_AS_USER)
    assert line["VDD_GPU"] == (-392, -392, None)
    assert line["VIN"] == (15004, 15096, None)
    assert (line.gpu, line.emc, line.swap) == (None, None, None)


@pytest.mark.parametrize("text", [lines.TX2_NX, lines.TK1])
def test_lines_without_rails(text) -> None:
    assert dict(parse_line(text)) == {}
    assert parse_line(text).ram is not None


def test_the_oldest_form_has_one_clock_for_all_cores() -> None:
    line = parse_line(lines.TK1)
    assert line.cpus == (Load(25, (2218,)), Load(7, (2218,)), Load(1, (2218,)), Load(1, (2218,)))
    assert (line.emc, line.gpu) == (Load(3, (924,)), Load(0, (252,)))
    assert line.engines == {"AVP": Load(0, (81,)), "VDE": Load(None, (120,))}
    assert line.hottest_c is None


@pytest.mark.parametrize("prefix", ["[2018-08-23 16:30:36] : ", "EPOCH 3/100 ", "step 12 of 40 | ", "\t"])
def test_what_users_put_in_front_is_passed_over(prefix) -> None:
    assert dict(parse_line(prefix + lines.TX2)) == dict(parse_line(lines.TX2))
    assert parse_line(prefix + lines.TX2).timestamp is None


def test_white_space_does_not_matter() -> None:
    for text in FORMS:
        odd = text.replace(" ", "   ").replace(" (lfb", "\t(lfb") + "  \r\n"
        assert vars(parse_line(odd)) | {"timestamp": None} == vars(parse_line(text)) | {"timestamp": None}


@pytest.mark.parametrize(
    "rails",
    [
        "VDD_GPU NaN/0 VDD_CPU InfmW/0mW VDD_SOC 1e9/0",
        "VDD_GPU 100mW/200 VDD_CPU 100/200mW",
        "VDD_GPU 100mW/ VDD_CPU 100/ VDD_SOC 100 VDD_IN /100",
        "VDD_GPU 100/200W VDD_CPU 100mW/brokenmW",
        "VDD_GPU off VDD_CPU N/A VDD_SOC N/A/100mW",
        "VDD_GPU 1/2/3",
        "VDD_GPU 100mW/200mW/300mW/400mW",
        "VDD_GPU\u00a0100mW/200mW VDD_CPU \u0661\u0662mW/\u0663mW",
        "VDD_GPU 99999999/1 VDD_CPU 1mW/99999999mW",
        "SWAP 1/2 IRAM 3/4 RAM 5/6",
        "lower 1/2",
    ],
)
def test_what_looks_like_a_rail_and_is_none(rails) -> None:
    assert dict(parse_line(f"{lines.TX2_NX} {rails}")) == {}


def test_a_line_is_with_units_throughout_or_without() -> None:
    assert list(parse_line(lines.ORIN_NANO + " FRAME 12/100")) == ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"]


@pytest.mark.parametrize(
    "text",
    ["", "\n", "RAM", "hello", "VDD_IN 5mW/5mW", "RAM 1/2kB VDD_IN 5mW/5mW", "RAM \u0661/2MB VDD_IN 5/5", "\x00" * 100],
)
def test_what_is_not_a_line_of_tegrastats_says_nothing(text) -> None:
    assert vars(parse_line(text)) == vars(parse_line(""))
    assert (dict(parse_line(text)), parse_line(text).ram) == ({}, None)


def test_long_lines_are_not_read() -> None:
    whole = lines.TX2 + " " * (MAX_LINE_CHARS - len(lines.TX2))
    assert len(parse_line(whole)) == 6
    assert len(parse_line(whole + " ")) == 0
    for long in ("RAM " * 10_000_000, "RAM 1/2MB CPU [" + "1%@2," * 1_000_000, "9" * 10_000_000):
        assert dict(parse_line(long)) == {}


def test_no_line_takes_long() -> None:
    """Worst cases for patterns that go back: many beginnings of a field that do not end as one."""
    for piece in ("A", "A ", "1", "RAM 1/2MB ", "A1mW/", "CPU [1%@2,", "x@1.1C/", "GR3D 1%@[1,", "A 1/1 ", "\t"):
        parse_line(("RAM 1/2MB " + piece * MAX_LINE_CHARS)[:MAX_LINE_CHARS])


def check_cut(line: str, cut: int) -> None:
    whole = parse_line(line)
    for name, power in parse_line(line[:cut]).items():
        expected = whole.get(name) or (power if name in whole.repeated else None)
        if power == expected:
            continue
        # The one exception: without units, a cut within the very last number, which is the average.
        assert expected is not None, (line[:cut], name)
        assert line[:cut].endswith(f"{name} {expected.current_mw}/{power.average_mw}"), (line[:cut], name)
        assert str(expected.average_mw).startswith(str(power.average_mw))
        assert power == (expected.current_mw, power.average_mw, None)
    assert dict(parse_line(line[cut:])) in ({}, dict(whole)), line[cut:]


@pytest.mark.parametrize("line", FORMS, ids=range(len(FORMS)))
def test_lines_cut_anywhere_give_no_wrong_rail(line) -> None:
    for cut in range(len(line) + 1):
        check_cut(line, cut)


@pytest.mark.shared
def test_recorded_lines_cut_anywhere_give_no_wrong_rail(corpus) -> None:
    for entry in corpus:
        for cut in range(len(entry["line"]) + 1):
            check_cut(entry["line"], cut)


def test_with_units_a_cut_never_gives_a_wrong_number() -> None:
    for line in (lines.ORIN_NANO, lines.THOR, lines.THOR_AS_USER):
        whole = parse_line(line)
        for cut in range(len(line) + 1):
            assert parse_line(line[:cut]).items() <= whole.items()


def printed(line: str) -> set[tuple[str, tuple[int, ...]]]:
    """Every pair of words in a line that could be a rail, found in another way than the parser's."""
    words, found = line.split(), set()
    for name, value in pairwise(words):
        numbers = value.replace("mW", "").split("/")
        if all(number.removeprefix("-").isascii() and number.removeprefix("-").isdigit() for number in numbers):
            found.add((name, tuple(map(int, numbers))))
    return found


def mutated(line: str, generator: random.Random, alphabet: str, times: int) -> str:
    characters = list(line)
    for _ in range(times):
        at = generator.randrange(len(characters))
        what = generator.random()
        if what < 0.6:
            characters[at] = generator.choice(alphabet)
        elif what < 0.8:
            characters.insert(at, generator.choice(alphabet))
        else:
            del characters[at]
    return "".join(characters)


def test_mutations_neither_raise_nor_invent_rails() -> None:
    generator = random.Random(3)  # noqa: S311  Cases, not secrets.
    alphabet = "0123456789/mW@%[], -_.CARD\n\t\x00é\u0663"
    rails = changed = 0
    for _ in range(6000):
        line = mutated(generator.choice(FORMS), generator, alphabet, generator.randrange(1, 12))
        found = parse_line(line)
        assert {(name, tuple(mw for mw in power if mw is not None)) for name, power in found.items()} <= printed(line)
        rails += len(found)
        changed += line not in FORMS
    assert rails > 10_000
    assert changed > 5900


def test_a_letter_in_a_number_makes_no_other_number() -> None:
    """One character anywhere replaced by one that is no digit: rails that are still there have their power."""
    generator = random.Random(4)  # noqa: S311  Cases, not secrets.
    for line in FORMS:
        whole = parse_line(line)
        for at in range(len(line)):
            for character in generator.sample("x/@%, [CmW.\t_", 4):
                if character.isspace() and " " in f"{line} "[at - 1 : at + 2]:
                    continue  # takes the first or the last digit away, and nothing shows it
                for name, power in parse_line(line[:at] + character + line[at + 1 :]).items():
                    assert power == whole.get(name, power), (line[:at], character)


def test_random_text_says_nothing() -> None:
    generator = random.Random(5)  # noqa: S311  Cases, not secrets.
    for _ in range(2000):
        text = "".join(chr(generator.randrange(0x250)) for _ in range(generator.randrange(300)))
        assert dict(parse_line(text)) == {}


@pytest.mark.parametrize(
    ("powers", "first"),
    [
        # AGX Orin, release 36.4.4, three lines in a row: rounded averages.
        ([(4707, 4707), (4607, 4657), (4707, 4674)], 1),
        # TX2, release 28.2: averages that are cut off; the first line stands in the log that the others are from.
        ([(1931, 1931), (1776, 1853), (1738, 1815)], 1),
        ([(1776, 1853), (1738, 1815)], 2),
        ([(250, 288), (250, 275)], 2),
        # Thor, release 39.2.
        ([(8710, 8710), (7953, 8332)], 1),
        ([(100, 100)], 1),
        ([], 1),
    ],
)
def test_the_average_shows_that_no_line_is_missing(powers, first) -> None:
    assert lost_lines([RailPower(*power, None) for power in powers], first) == 0


def test_the_average_shows_a_line_that_is_missing() -> None:
    orin = [RailPower(4707, 4707, None), RailPower(4607, 4657, None), RailPower(4707, 4674, None)]
    assert lost_lines([orin[0], orin[2]]) == 1
    tx2 = [RailPower(1931, 1931, None), RailPower(1776, 1853, None), RailPower(1738, 1815, None)]
    assert lost_lines([tx2[0], tx2[2]]) == 1


def test_counting_goes_on_behind_a_missing_line() -> None:
    log = series([1000, 4000, 1000, 9000, 1000, 9000, 1000, 9000], lambda total, n: total // n)
    for at in range(1, 7):
        assert lost_lines(log[:at] + log[at + 1 :]) == 1


def series(powers: list[int], average) -> list[RailPower]:
    return [RailPower(mw, average(sum(powers[: n + 1]), n + 1), None) for n, mw in enumerate(powers)]


@pytest.mark.parametrize("average", [lambda total, n: total // n, lambda total, n: round(total / n)])
def test_a_whole_log_has_lost_nothing(average) -> None:
    generator = random.Random(6)  # noqa: S311  Cases, not secrets.
    for _ in range(50):
        powers = [generator.choice((1995, 2412, 2814, 9000)) for _ in range(200)]
        assert lost_lines(series(powers, average)) == 0


def test_losses_in_a_log_are_found_and_never_too_many() -> None:
    generator = random.Random(7)  # noqa: S311  Cases, not secrets.
    found = 0
    for _ in range(200):
        log = series([generator.choice((1995, 2412, 2814, 9000)) for _ in range(60)], lambda total, n: round(total / n))
        at, count = generator.randrange(1, 50), generator.randrange(1, 4)
        lost = lost_lines(log[:at] + log[at + count :])
        found += lost > 0
        assert lines_between(log[at - 1], log[at + count], at) <= count
    assert found > 150


def test_a_peak_bounds_what_missing_lines_drew() -> None:
    """One line of 1000, then at least one unseen, then one of 1000, and 2000 on average."""
    before = RailPower(1000, 1000, 1000)
    assert lines_between(before, RailPower(1000, 2000, 4000), 1) == 1
    assert lines_between(before, RailPower(1000, 2000, 3000), 1) == 2
    assert lines_between(before, RailPower(1000, 2000, 2500), 1) == 4
    assert lines_between(before, RailPower(1000, 2000, None), 1) == 1


def test_an_offset_below_nothing_is_no_loss() -> None:
    idle = series([-392] * 20, lambda total, n: total // n)
    assert lost_lines(idle) == 0
    mixed = series([-392, -392, 3000, -392, -392, -392], lambda total, n: round(total / n))
    assert lost_lines(mixed) == 0
    assert lost_lines([mixed[0], mixed[2], *mixed[3:]]) == 1


def test_an_offset_is_bounded() -> None:
    # One line between would have been of -1700 mW.
    assert lines_between(RailPower(1000, 1000, None), RailPower(1000, 100, None), 1) == 2


def test_averages_that_belong_to_no_log_are_one_loss() -> None:
    assert lines_between(RailPower(9000, 9000, 9000), RailPower(1000, 20_000, 1000), 5) == 1


def test_without_an_average_nothing_is_known() -> None:
    assert lost_lines([RailPower(1, None, None), RailPower(9000, None, None)]) == 0
