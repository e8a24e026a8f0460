"""What is printed of a result: tables, definitions, doubts with their remedy."""

from dataclasses import replace

import pytest

from espnet_edge.runtime.bench import BenchSettings
from espnet_edge.runtime.latency_report import latency_doubts, ratio_text
from espnet_edge.runtime.report import definitions, doubts, print_report
from espnet_edge.runtime.result import Breakdown, Latency, LineMemory, OperatorShare, Snapshot
from espnet_edge.runtime.stats import Ratio, summarise
from espnet_edge.runtime.tables import plain_table
from results import MS, energy_of, latency_of, line, measured_file, power_of, result_of, snapshot

LONG = [[2.0] * 70] * 10  # as many as p99 needs


def latency(*lines, **settings) -> Latency:
    every = {"rounds": 10, "iterations": 70, **settings}
    return Latency(settings=BenchSettings(**every), order=(tuple(one.name for one in lines),), lines=lines)


def printed(capsys, result) -> list[str]:
    told = {"definitions": tuple(definitions(result, None)), "doubts": tuple(doubts(result, None))}
    print_report(result.model_copy(update=told), None)
    return capsys.readouterr().out.splitlines()


def test_the_table_has_aligned_columns() -> None:
    lines = plain_table([{"runtime": "onnxruntime", "n": "5"}, {"runtime": "torch", "n": "500"}])
    assert lines == ["runtime        n", "onnxruntime    5", "torch        500"]


def test_the_printed_report(capsys) -> None:
    slow = latency_of("openvino", [[5.0] * 70] * 10).model_copy(update={"ratio": Ratio(2.5, 2.4, 2.6, 10, 2.45, 2.55)})
    result = result_of(latency=latency(latency_of("onnxruntime", LONG, first=True), slow), memory=None)
    head, first, second, *rest = printed(capsys, result)
    columns = "runtime version device threads n p50 ms p90 ms p95 ms p99 ms images/s ratio"
    assert head.split() == columns.split()
    assert first.split() == ["onnxruntime", "1.32.0", "cpu", "2", "700", *["2.000"] * 4, "500", "1.00"]
    assert second.split() == ["openvino", "1.32.0", "cpu", "2", "700", *["5.000"] * 4, "200", "2.50", "[2.45..2.55]"]
    text = "\n".join(rest)
    for words in (
        "input: espnetv2_cls.onnx: image uint8 (1,224,224,3), random",
        "one call of infer, from the input arrays ready in memory",
        "NumPy's 'linear'",
        "10 rounds of one block for each line",
        "at least 70 timed ones",
        "until three windows agree",
        "machine: AMD EPYC, 2 of 2 cores",
    ):
        assert words in text
    assert "doubts" not in text


def test_several_engines_and_batches_have_columns(capsys) -> None:
    result = result_of(
        {"a": LONG, "b": LONG},
        files=(measured_file(), measured_file("mobilenetv2")),
        lines=(line("a"), line("b", "mobilenetv2.onnx", batch=4, streams=2)),
        memory=None,
    )
    head, first, second, *_ = printed(capsys, result)
    assert head.split()[:7] == ["engine", "runtime", "version", "device", "threads", "batch", "streams"]
    assert first.split()[0] == "espnetv2_cls.onnx"
    assert second.split()[5:7] == ["4", "2"]


def test_stages_have_a_table_and_their_meaning(capsys) -> None:
    stages = dict.fromkeys(("decode", "preprocess", "infer", "postprocess"), ((3 * MS, 5 * MS),))
    summaries = {name: summarise(rounds[0]) for name, rounds in stages.items()}
    photo = latency_of("a", LONG, first=True).model_copy(update={"stages_ns": stages, "stages": summaries})
    lines = printed(capsys, result_of({"a": LONG}, latency=latency(photo), memory=None))
    assert "a         decode       2   4.000   4.800   4.980" in lines
    text = "\n".join(lines)
    assert "latency: from the bytes of a photo's file on the disk to the answer" in text
    assert "decode: a photo's file to pixels" in text


def test_a_fixed_rate_shows_service_time_and_what_falls_behind(capsys) -> None:
    late = latency_of("a", LONG, first=True).model_copy(
        update={"service_ns": ((2 * MS,),), "service_summary": summarise([2 * MS])}
    )
    lines = printed(capsys, result_of({"a": LONG}, latency=latency(late, rate_hz=1000.0), memory=None))
    text = "\n".join(lines)
    assert "a         service  1   2.000" in text
    assert "1000 arrive per second by a timetable" in text
    assert "a does not keep up: one takes 2.000 ms on average, which makes 500 of 1000 per second" in text
    assert "lower --rate" in text


def test_energy_at_a_rate_is_of_an_arrival_and_says_what_falls_behind() -> None:
    lines = (line("onnxruntime", rate_hz=30.0), line("openvino", rate_hz=200.0))
    result = result_of(
        lines=lines, latency=None, power=power_of(energy_of("onnxruntime", 400.0), energy_of("openvino", 300.0))
    )
    assert any("energy at a rate: of one arrival of 30 per second" in text for text in definitions(result, None))
    (doubt,) = (text for text in doubts(result, None) if "does not keep up" in text)
    assert doubt.startswith("openvino does not keep up while power is measured: 100 of 200 per second")


def test_all_inputs_of_a_batch_sweep_are_named() -> None:
    second = line("b", batch=4).model_copy(update={"inputs": ("image uint8 (4,224,224,3)",)})
    text = definitions(result_of({"a": LONG, "b": LONG}, lines=(line("a"), second)), None)[0]
    assert text == "input: espnetv2_cls.onnx: image uint8 (1,224,224,3), image uint8 (4,224,224,3), random"


def test_memory_has_a_table_and_says_what_is_not_known(capsys) -> None:
    memory = (
        LineMemory(
            name="onnxruntime",
            before_rss_bytes=30 << 20,
            loaded_rss_bytes=90 << 20,
            peak_rss_bytes=120 << 20,
            inferences=9,
        ),
        LineMemory(name="openvino", unavailable="the process was killed by SIGKILL"),
    )
    lines = printed(capsys, result_of(latency=None, memory=memory))
    assert lines[1].split() == ["onnxruntime", "30.0", "90.0", "120.0"]
    assert lines[2].split() == ["openvino", *["unknown"] * 3]
    assert "  - openvino: not measured: the process was killed by SIGKILL" in lines


def test_operators_have_a_table_for_each_line(capsys) -> None:
    shares = tuple(OperatorShare(operator=f"Op{i}", count=i + 1, time_ms=1.0, share=0.1) for i in range(12))
    part = Breakdown(
        line="onnxruntime",
        operators={"Conv": 50, "PRelu": 40},
        kernels=60,
        activations_bytes=5_000_000,
        shares=shares,
        profiled_ms=10.0,
        source="onnxruntime 1.32.0 profiler, 20 inferences",
    )
    nothing = Breakdown(line="openvino", unavailable="it does not say")
    lines = printed(capsys, result_of(latency=None, memory=None, breakdowns=(part, nothing)))
    assert lines[1].split() == ["onnxruntime", "Op0", "1", "1.000", "10.0", "%"]
    assert lines[11].split()[:4] == ["onnxruntime", "2", "other", "kinds"]
    text = "\n".join(lines)
    assert "onnxruntime: 286.1 M multiply-accumulates" in text
    assert "onnxruntime: 90 nodes in the file: 50 Conv, 40 PRelu" in text
    assert "onnxruntime: 60 operators are executed in one inference, 10.000 ms" in text
    assert "openvino: it does not say" in text


def test_a_partial_result_says_so_first_and_in_the_doubts(capsys) -> None:
    lines = printed(capsys, result_of(partial="interrupted in round 3 of 10"))
    assert lines[0] == "partial: interrupted in round 3 of 10"
    assert any(text.startswith("  - interrupted in round 3 of 10: what was to follow is missing") for text in lines)


@pytest.mark.parametrize(
    ("n", "words"),
    [
        (1, "that sample"),
        (60, "n=60: p90 needs 64, p95 needs 130, p99 needs 662; raise --rounds"),
        (661, "n=661: p99 needs 662; raise"),
    ],
)
def test_doubt_about_the_tail(n, words) -> None:
    (doubt,) = latency_doubts(result_of({"a": [[1.0] * n]}))
    assert words in doubt


def test_doubts_about_drift_ties_and_warm_up() -> None:
    first = latency_of("a", [[11.0] * 700] * 2, first=True).model_copy(update={"steady": False})
    both = latency(first, latency_of("b", [[10.0] * 400, [12.0] * 400]))
    restless, drift, tie = latency_doubts(result_of({"a": LONG, "b": LONG}, latency=both))
    assert "a: not steady after 10 s of warm-up" in restless
    assert "b 20% (10.000 to 12.000 ms)" in drift
    assert "b: cannot be told apart from a" in tie


def test_of_many_restless_lines_the_worst_are_named() -> None:
    lines = {f"line {i}": [[10.0] * 400, [10.0 + i] * 400] for i in range(2, 9)}
    (drift,) = (text for text in latency_doubts(result_of(lines)) if "medians of the rounds" in text)
    assert drift.index("line 8 80%") < drift.index("line 5 50%") < drift.index(" and 3 more lines;")


def test_a_ratio_of_too_few_rounds_has_no_interval() -> None:
    assert ratio_text(Ratio(1.5, 1.4, 1.7, 10, 1.45, 1.6)) == "1.50 [1.45..1.60]"
    assert ratio_text(Ratio(0.012, 0.011, 0.013, 2)) == "0.012 [no interval]"


def test_doubts_about_the_machine_count_all_streams() -> None:
    result = result_of(lines=(line("onnxruntime", threads=2, streams=2), line("openvino")))
    assert any("4 threads on 2 usable cores" in doubt for doubt in doubts(result, None))
    busy = result_of(before=Snapshot(load_average=3.1, conditions=snapshot().conditions))
    assert any("load average 3.1 on 2 cores before" in doubt for doubt in doubts(busy, None))


def test_a_graph_that_fell_back_is_a_doubt() -> None:
    on_gpu = line("onnxruntime", device="cuda", graph=False, graph_fallback_reason="the capture failed")
    (doubt,) = (text for text in doubts(result_of(lines=(on_gpu, line("openvino"))), None) if "CUDA graph" in text)
    assert "(the capture failed)" in doubt


def test_environment_of_the_results_is_real() -> None:
    assert replace(result_of().environment, cpu=None).line.startswith("x86_64")
