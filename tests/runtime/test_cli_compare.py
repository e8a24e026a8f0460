"""The command espnet-compare: what it prints, writes and returns."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from espnet_edge.errors import one_line
from espnet_edge.runtime import cli_compare
from espnet_edge.runtime.compare_report import annotation
from espnet_edge.runtime.result import Result, result_text, write_result
from results import ENVIRONMENT, energy_of, line, measured_file, power_of, result_of

STEADY = [[10.0] * 4, [10.01] * 4, [9.99] * 4]
GOVERNOR = {"environment": replace(ENVIRONMENT, governor="powersave")}


@pytest.fixture
def write(tmp_path: Path):
    def written(name: str, factor: float = 1.0, gross_mj: float | None = 400.0, **changes) -> Path:
        rounds = [[factor * ms for ms in block] for block in STEADY]
        names = {"onnxruntime": STEADY, "openvino": rounds}
        power = power_of(*(energy_of(name, gross_mj) for name in names)) if gross_mj else None
        if power:
            power = power.model_copy(update={"recording": {"meter": {"source": "rapl", "device": "AMD EPYC"}}})
        path = tmp_path / name
        write_result(path, result_of(names, **{"power": power, **changes}))
        return path

    return written


def row(out: str, name: str, metric: str) -> list[str]:
    found = [line.split() for line in out.splitlines() if line.startswith(f"{name} ") and f" {metric} " in line]
    assert len(found) == 1, out
    return found[0]


def words(text: str) -> list[str]:
    return text.split()


def test_what_changed_is_printed(command, write) -> None:
    done = command(cli_compare.main, write("a.json"), write("b.json", 1.05, 440.0))
    assert (done.code, done.err) == (0, "")
    assert row(done.out, "openvino", "p50") == words("openvino p50 10 ms 10.5 ms +5.0 % +4.8..+5.2 % worse")
    assert row(done.out, "onnxruntime", "p50")[2:8] == words("10 ms 10 ms 0.00 %")
    assert row(done.out, "openvino", "energy")[2:8] == words("400 mJ 440 mJ +10.0 %")
    assert row(done.out, "openvino", "memory")[2:8] == words("120 MiB 120 MiB 0.00 %")
    assert "openvino: p99 has no interval (12 samples, 100 are needed for p99" in done.out
    assert "definitions:" in done.out
    assert "doubts:" not in done.out
    assert "\x1b" not in done.out


def test_a_tripped_gate_is_exit_code_four_with_the_whole_report(command, write) -> None:
    gates = ("--fail-if", "openvino:p50>+3%", "--fail-if", "energy>+20%")
    done = command(cli_compare.main, write("a.json"), write("b.json", 1.05, 440.0), *gates)
    assert done.code == 4
    assert done.err == "espnet-compare: 1 of 3 gates tripped: openvino:p50>+3% on openvino (+5.0 %)\n"
    assert "openvino:p50>+3% tripped on openvino: p50 10 ms before, 10.5 ms after, +5.0 % (+4.8..+5.2 %)" in done.out
    assert "energy>+20% held on onnxruntime" in done.out


def test_gates_that_hold_are_exit_code_zero(command, write) -> None:
    done = command(cli_compare.main, write("a.json"), write("b.json", 1.02), "--fail-if", "p50>+3%")
    assert done.code == 0


def test_strict_gates_need_no_significance(command, write) -> None:
    files = write("a.json"), write("b.json", 1.0, 402.0)
    assert command(cli_compare.main, *files, "--fail-if", "net>0.1%").code == 0
    assert command(cli_compare.main, *files, "--fail-if", "net>0.1%", "--strict").code == 4


def test_unequal_conditions_are_refused_in_one_line_and_doubts_with_anyway(command, write) -> None:
    threads = tuple(line(name, runtime=name, threads=1) for name in ("onnxruntime", "openvino"))
    files = write("a.json"), write("b.json", 2.0, lines=threads, **GOVERNOR)
    done = command(cli_compare.main, *files, "--fail-if", "p50>+3%")
    assert done.code == 2
    assert done.out == ""
    assert done.err == (
        "espnet-compare: not measured under equal conditions: governor: performance before, powersave after; threads "
        "of onnxruntime: 2 before, 1 after; threads of openvino: 2 before, 1 after; measure again, or compare with "
        "--anyway\n"
    )
    done = command(cli_compare.main, *files, "--anyway")
    assert done.code == 0
    assert "  - not measured under equal conditions: governor: performance before, powersave after" in done.out
    assert "  - not measured under equal conditions: threads of openvino: 2 before, 1 after" in done.out
    assert command(cli_compare.main, *files, "--anyway", "--fail-if", "p50>+3%").code == 4


def test_one_file_twice_is_no_change(command, write) -> None:
    path = write("a.json")
    done = command(cli_compare.main, path, path, "--fail-if", "p50>0%", "--fail-if", "energy>0%")
    assert done.code == 0
    assert "both results are the same one" in done.out
    assert "worse\n" not in done.out
    assert "better\n" not in done.out


def test_everything_is_written_as_json(command, write, tmp_path) -> None:
    files = write("a.json"), write("b.json", 1.05, 440.0, partial="interrupted", environment=ENVIRONMENT)
    done = command(cli_compare.main, *files, "--fail-if", "p50>+3%", "--json", tmp_path / "c.json")
    assert done.code == 4
    values = json.loads((tmp_path / "c.json").read_text())
    assert values["schema_version"] == 1
    assert values["files"] == {"before": str(files[0]), "after": str(files[1])}
    assert [one["after"] for one in values["lines"]] == ["onnxruntime", "openvino"]
    p50 = values["lines"][1]["changes"][0]
    assert (p50["metric"], p50["unit"], p50["verdict"]) == ("p50", "ms", "worse")
    assert p50["percent"] == pytest.approx(5.0)
    low, high = p50["interval"]
    assert low < p50["after"] - p50["before"] < high
    assert [(gate["applied_to"], gate["tripped"]) for gate in values["gates"]] == [
        ("onnxruntime", False),
        ("openvino", True),
    ]
    assert values["doubts"] == ["the second result is not complete (interrupted): measure it again"]
    p99 = values["lines"][1]["changes"][3]
    assert (p99["metric"], p99["interval"], p99["interval_percent"]) == ("p99", None, None)


def test_the_result_is_not_replaced_by_the_comparison(command, write) -> None:
    path = write("a.json")
    done = command(cli_compare.main, path, write("b.json"), "--json", path)
    assert done.code == 2
    assert "would replace a file of this command" in done.err


def test_annotations_and_a_summary_for_github(command, write, tmp_path, monkeypatch) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("earlier\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    after = write("b.json", 1.05, 440.0, partial="stopped: 100%, by hand")
    gates = ("--fail-if", "openvino:p50>+3%", "--fail-if", "energy>+20%")
    done = command(cli_compare.main, write("a.json"), after, *gates, "--github")
    assert done.code == 4
    held = "energy 400 mJ before, 440 mJ after, +10.0 %25 (+9.7..+10.3 %25)"
    assert [line for line in done.out.splitlines() if line.startswith("::")] == [
        (
            "::error title=openvino%3Ap50>+3%25::openvino:p50>+3%25 tripped on openvino: p50 10 ms before, 10.5 ms "
            "after, +5.0 %25 (+4.8..+5.2 %25)"
        ),
        f"::notice title=energy>+20%25::energy>+20%25 held on onnxruntime: {held}",
        f"::notice title=energy>+20%25::energy>+20%25 held on openvino: {held}",
        (
            "::warning title=espnet-compare::the second result is not complete (stopped: 100%25, by hand): "
            "measure it again"
        ),
    ]
    lines = summary.read_text().splitlines()
    assert lines[:2] == ["earlier", "### espnet-compare"]
    assert "| line | metric | before | after | change | 95 % interval | verdict |" in lines
    assert "| openvino | p50 | 10 ms | 10.5 ms | +5.0 % | +4.8..+5.2 % | worse |" in lines
    assert "**Gates**" in lines
    assert "**Doubts**" in lines


def test_names_of_others_do_nothing_in_a_summary_or_an_annotation(command, write, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    name = "a|<b>[x](y)\n::error::evil"
    changes = {"lines": (line(name),), "latency": None, "memory": None, "power": power_of(energy_of(name, 400.0))}
    done = command(cli_compare.main, write("a.json", **changes), write("b.json", **changes), "--github")
    assert done.code == 0
    assert not [line for line in done.out.splitlines() if line.startswith("::error")]
    text = (tmp_path / "summary.md").read_text()
    assert r"| a\|&lt;b&gt;\[x\]\(y\) ::error::evil | energy |" in text


def test_an_annotation_is_one_line_that_github_reads_back() -> None:
    assert annotation("error", "a:b,c%", "50 %\r\nof") == "::error title=a%3Ab%2Cc%25::50 %25%0D%0Aof"


def test_without_a_summary_file_annotations_are_enough(command, write, monkeypatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    assert command(cli_compare.main, write("a.json"), write("b.json"), "--github").code == 0


def test_what_is_wrong_is_an_annotation_too(command, write) -> None:
    done = command(cli_compare.main, write("a.json"), write("b.json", **GOVERNOR), "--github")
    assert done.code == 2
    assert done.out.startswith("::error title=espnet-compare::not measured under equal conditions: governor")
    assert done.out.count("\n") == 1


def test_another_network_is_refused_with_both(command, write) -> None:
    other = measured_file("mobilenetv2", path="espnetv2_cls.onnx")
    done = command(cli_compare.main, write("a.json"), write("b.json", files=(other,)))
    assert done.code == 2
    assert "espnetv2_cls 2 imagenet" in done.err
    assert "mobilenetv2 2 imagenet" in done.err


def changed_text(**changes) -> str:
    values = json.loads(result_text(result_of()))
    return json.dumps({**values, **changes})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is no JSON"),
        ("{}", "it has no schema_version"),
        (changed_text(schema_version=2), "has schema version 2, this program reads 3"),
        (changed_text(started=float("nan")), "NaN is no number"),
        (changed_text(lines=[]), "lines:"),
    ],
)
def test_what_is_no_result_is_refused(command, write, tmp_path, text, told) -> None:
    (tmp_path / "wrong.json").write_text(text)
    done = command(cli_compare.main, write("a.json"), tmp_path / "wrong.json")
    assert done.code == 2
    assert "wrong.json" in done.err
    assert told in done.err
    assert done.err.count("\n") == 1
    assert command(cli_compare.main, tmp_path / "wrong.json", write("a.json")).code == 2


def test_a_gate_is_refused_before_anything_is_read(command, tmp_path) -> None:
    done = command(cli_compare.main, tmp_path / "none.json", tmp_path / "none.json", "--fail-if", "energy>3")
    assert done.code == 2
    assert "column 9: a unit is missing" in done.err


def test_a_gate_without_its_metric_is_no_pass(command, write) -> None:
    done = command(cli_compare.main, write("a.json"), write("b.json", gross_mj=None), "--fail-if", "energy>+3%")
    assert done.code == 2
    assert "energy of onnxruntime cannot be compared (not in the second result)" in done.err


def test_results_without_a_common_metric_are_told(command, write) -> None:
    alone = {"latency": None, "memory": None, "power": None}
    done = command(cli_compare.main, write("a.json"), write("b.json", **alone))
    assert done.code == 0
    assert "the results have no metric in common" in done.out
    assert "p50 (not in the second result)" in done.out


def test_a_terminal_gets_a_table(command, write, monkeypatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    done = command(cli_compare.main, write("a.json"), write("b.json", 1.05))
    assert "─" in done.out
    assert "worse" in one_line(done.out)
    monkeypatch.setenv("COLUMNS", "60")
    # Too narrow: cut numbers would be worse than wrapped lines.
    assert "─" not in command(cli_compare.main, write("a.json"), write("b.json", 1.05)).out


def test_the_fixture_is_a_result(write) -> None:
    assert isinstance(Result.model_validate_json(write("a.json").read_text()), Result)
