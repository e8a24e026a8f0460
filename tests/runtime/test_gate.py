"""Gates: how they are written, and when they trip."""

import pytest

from espnet_edge.errors import InputError
from espnet_edge.runtime.compare import Comparison, compare
from espnet_edge.runtime.gate import Gate, apply_gates, parse_gate
from results import result_of

STEADY = [[10.0] * 4, [10.01] * 4, [9.99] * 4]
NOISY = [[8.0] * 4, [10.0] * 4, [12.5] * 4]


def comparison(factor: float, rounds: list[list[float]] = STEADY) -> Comparison:
    """Of two runtimes; OpenVINO takes so many times as long after."""
    later = [[factor * ms for ms in block] for block in rounds]
    return compare(
        result_of({"onnxruntime": rounds, "openvino": rounds}), result_of({"onnxruntime": rounds, "openvino": later})
    )


def tripped(text: str, compared: Comparison, *, strict: bool = False) -> list[str]:
    return [one.line for one in apply_gates([parse_gate(text)], compared, strict=strict) if one.tripped]


@pytest.mark.parametrize(
    ("text", "metric", "operator", "limit", "percent", "line"),
    [
        ("energy>+3%", "energy", ">", 3.0, True, None),
        ("energy>3%", "energy", ">", 3.0, True, None),
        (" p50 > +.5 % ", "p50", ">", 0.5, True, None),
        ("p99>2ms", "p99", ">", 2.0, False, None),
        ("p99>2000us", "p99", ">", 2.0, False, None),
        ("mean>0.002s", "mean", ">", 0.002e3, False, None),
        ("throughput<-5%", "throughput", "<", -5.0, True, None),
        ("throughput<-5/s", "throughput", "<", -5.0, False, None),
        ("net>0.1J", "net", ">", 100.0, False, None),
        ("power>1.5W", "power", ">", 1500.0, False, None),
        ("gpu_memory>16MiB", "gpu_memory", ">", 16 * 2.0**20, False, None),
        ("openvino:p50>+5%", "p50", ">", 5.0, True, "openvino"),
        ("C:/seg.onnx onnxruntime: p50>0%", "p50", ">", 0.0, True, "C:/seg.onnx onnxruntime"),
    ],
)
def test_a_gate_is_read(text, metric, operator, limit, percent, line) -> None:
    gate = parse_gate(text)
    assert gate == Gate(text, metric, operator, pytest.approx(limit), percent, line)


@pytest.mark.parametrize(
    ("text", "column", "told"),
    [
        ("", 1, "metric '' is unknown"),
        ("enrgy>+3%", 1, "metric 'enrgy' is unknown; there are p50, p90"),
        ("openvino:enrgy>+3%", 10, "metric 'enrgy' is unknown"),
        (":p50>+3%", 1, "no line is named"),
        ("energy", 7, "> or < is missing"),
        ("energy=3%", 1, "metric 'energy=3%' is unknown"),
        ("energy >= 3%", 9, "a number is missing"),
        ("energy>", 8, "a number is missing"),
        ("energy>nan%", 8, "a number is missing"),
        ("energy>infms", 8, "a number is missing"),
        ("energy>3", 9, "a unit is missing; give one of %, uJ, mJ, J"),
        ("energy>3ms", 9, "'ms' is no unit of energy; give one of %, uJ, mJ, J"),
        ("energy>3e5%", 9, "'e5%' is no unit"),
        ("energy>3%%", 9, "'%%' is no unit"),
        ("energy>3% p50>2%", 9, "'% p50>2%' is no unit"),
        ("energy>-3%", 8, "> takes a limit of 0 or more"),
        ("throughput<5%", 12, "< takes a limit of 0 or less"),
    ],
)
def test_what_is_no_gate_is_refused_with_its_column(text, column, told) -> None:
    with pytest.raises(InputError) as error:
        parse_gate(text)
    assert f"column {column}: {told}" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_endless_gate_is_refused() -> None:
    with pytest.raises(InputError, match="1008 characters"):
        parse_gate("p50>" + "1" * 1003 + "%")


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("p50>+4%", ["openvino"]),
        ("p50>+6%", []),
        ("p50>0.4ms", ["openvino"]),
        ("p50>0.6ms", []),
        ("throughput<-4%", ["openvino"]),
        ("throughput<-6%", []),
        ("p50<-1%", []),
        ("openvino:p50>+4%", ["openvino"]),
        ("onnxruntime:p50>+4%", []),
        ("espnetv2_cls 2 imagenet:p50>+4%", ["openvino"]),
    ],
)
def test_a_gate_trips_beyond_its_limit_on_the_lines_that_it_is_for(text, lines) -> None:
    assert tripped(text, comparison(1.05)) == lines


def test_noise_trips_a_strict_gate_only() -> None:
    compared = comparison(1.05, NOISY)
    assert tripped("p50>+4%", compared) == []
    assert tripped("p50>+4%", compared, strict=True) == ["openvino"]
    assert tripped("p50>+6%", compared, strict=True) == []


@pytest.mark.parametrize(
    ("text", "strict", "told"),
    [
        ("energy>+3%", False, "energy of onnxruntime cannot be compared (in neither result)"),
        ("energy>+3%", True, "energy of onnxruntime cannot be compared"),
        ("torch:p50>+3%", False, "no line is called 'torch'; there are onnxruntime, espnetv2_cls 2 imagenet, openvino"),
        ("p99>+3%", False, "p99 of onnxruntime has no interval (12 samples, 100 are needed for p99"),
    ],
)
def test_a_gate_that_cannot_be_applied_is_no_pass(text, strict, told) -> None:
    with pytest.raises(InputError) as error:
        apply_gates([parse_gate(text)], comparison(1.0), strict=strict)
    assert told in str(error.value)


def test_a_line_that_is_gone_is_no_pass() -> None:
    compared = compare(result_of({"onnxruntime": STEADY, "openvino": STEADY}), result_of({"onnxruntime": STEADY}))
    with pytest.raises(InputError, match=r"is for all lines, and openvino is not in the second result"):
        apply_gates([parse_gate("p50>+3%")], compared)
    assert tripped("onnxruntime:p50>+3%", compared) == []


def test_a_line_that_is_new_has_nothing_to_be_compared_with() -> None:
    compared = compare(result_of({"onnxruntime": STEADY}), result_of({"onnxruntime": STEADY, "openvino": STEADY}))
    assert [one.line for one in apply_gates([parse_gate("p50>+3%")], compared)] == ["onnxruntime"]


def test_a_strict_gate_needs_no_interval() -> None:
    assert tripped("p99>+3%", comparison(1.05), strict=True) == ["openvino"]


def test_a_gate_in_percent_of_nothing_is_refused() -> None:
    from espnet_edge.runtime.result import LineMemory

    results = [
        result_of({"onnxruntime": STEADY}, memory=(LineMemory(name="onnxruntime", gpu_bytes=used),))
        for used in (0, 4 << 20)
    ]
    compared = compare(*results)
    with pytest.raises(InputError, match="no change in percent"):
        apply_gates([parse_gate("gpu_memory>+3%")], compared)
    assert tripped("gpu_memory>0.5MiB", compared) == ["onnxruntime"]
