import json
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_edge.errors import InputError
from espnet_edge.runtime.paper.claims import claims_of
from espnet_edge.runtime.result import read_result, result_text, write_result
from results import energy_of, line, power_of, result_of

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"


@pytest.fixture
def values() -> dict:
    return json.loads(result_text(result_of()))


def test_a_result_is_read_as_it_was_written(tmp_path) -> None:
    result = result_of(power=power_of(energy_of("onnxruntime", 400.0), energy_of("openvino", 300.0)))
    write_result(tmp_path / "a.json", result)
    read = read_result(tmp_path / "a.json")
    assert read == result
    assert result_text(read) == result_text(result)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda v: v.update(schema_version=2), "has schema version 2, this program reads 3"),
        (lambda v: v.pop("schema_version"), "it has no schema_version"),
        (lambda v: v.update(lines=[]), "lines:"),
        (lambda v: v["lines"][0].update(batch=0), "lines.0.batch:"),
        (lambda v: v["lines"][0].update(file="other.onnx"), "which is not among the files"),
        (lambda v: v["lines"][1].update(name=v["lines"][0]["name"]), "two lines have one name"),
        (lambda v: v["latency"]["lines"][0].update(name="else"), "which is not among the lines"),
        (lambda v: v["latency"]["lines"][0].update(throughput_per_s=-1), "latency.lines.0.throughput_per_s"),
        (lambda v: v["latency"]["lines"][0]["samples_ns"].append([]), "a round without samples"),
        (lambda v: v["latency"]["lines"][0].update(elapsed_ns=[1]), "lengths of its rounds do not fit"),
        (lambda v: v["latency"]["lines"][0]["summary"].update(p50_ms=0.001), "its summary is not of its samples"),
        (lambda v: v["latency"]["lines"][0]["summary"].update(n=999), "its summary is not of its samples"),
        (lambda v: v["latency"].update(lines=[]), "latency.lines"),
        (lambda v: v["latency"]["order"][0].append("else"), "order has 'else'"),
        (lambda v: v["latency"]["lines"].append(v["latency"]["lines"][0]), "two latency have one name"),
        (lambda v: v.update(surprise=1), "surprise: Extra inputs are not permitted"),
    ],
)
def test_a_file_that_was_changed_is_refused_with_the_place(tmp_path, values, change, told) -> None:
    change(values)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(values))
    with pytest.raises(InputError) as error:
        read_result(path)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", "{", '{"schema_version": NaN}', "not json"])
def test_a_file_that_is_no_result_is_refused(tmp_path, text) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"a\.json"):
        read_result(path)


def test_a_latency_that_is_no_number_is_refused(tmp_path, values) -> None:
    values["latency"]["lines"][0]["summary"]["p50_ms"] = float("nan")
    path = tmp_path / "a.json"
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match="NaN is no number"):
        read_result(path)


def test_parts_of_a_line_are_found_by_its_name() -> None:
    result = result_of(power=power_of(energy_of("openvino", 300.0)))
    assert result.latency_of("openvino").summary.p50_ms == pytest.approx(12.05)
    assert result.energy_of("openvino").total.gross_mj.value == 300.0
    assert result.energy_of("onnxruntime") is None
    assert result.memory_of("onnxruntime").inferences == 5
    assert result.file_of(line()).macs == 286_090_000


def test_the_schema_in_the_documentation_is_that_of_the_code() -> None:
    docs = Path(__file__).resolve().parents[2] / "docs"
    written = subprocess.run(
        [sys.executable, "-c", "import write_result_schema; print(write_result_schema.schema_text(), end='')"],
        cwd=docs,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert written == (docs / "result.schema.json").read_text(), "run python docs/write_result_schema.py"


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/paper.json")), ids=lambda path: path.parent.name)
def test_results_that_are_kept_can_be_read(path) -> None:
    result = read_result(path)
    assert result.paper is not None
    assert claims_of(result) == result.paper.claims
