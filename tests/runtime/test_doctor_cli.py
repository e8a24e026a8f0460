"""The command espnet-doctor: what it prints, writes and returns."""

import json
import re
from pathlib import Path

import pytest

from espnet_edge.errors import one_line
from espnet_edge.runtime import capabilities, cli_bench, cli_doctor
from espnet_edge.runtime.probes import Finding
from plans import one_node, rtx_plan, tensorrt_plan, write_manifest


def test_the_machine_as_lines_and_as_json(command, tmp_path: Path) -> None:
    done = command(cli_doctor.main, "--json", tmp_path / "machine.json")
    assert done.code == 0
    written = json.loads((tmp_path / "machine.json").read_text())
    assert written["schema_version"] == cli_doctor.SCHEMA_VERSION
    rows = written["findings"]
    groups = list(dict.fromkeys(row["group"] for row in rows))
    assert groups == ["machine", "library", "build", "run", "sensor", "measure"]
    lines = done.out.splitlines()
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        assert line.startswith(row["group"])
        assert f" {'yes' if row['there'] else 'no '}  {one_line(row['answer'])}" in line
        assert row["there"] or line.endswith(f"; way out: {one_line(row['way_out'])}")
    found = {row["what"]: row for row in rows}
    assert found["onnxruntime"]["there"]
    assert found["ONNX, onnxruntime"]["there"]
    assert found["latency"]["there"]
    assert not found["power"]["there"]


def test_a_terminal_gets_a_table(command, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        Finding("library", "alpha", there=True, answer="1.2 [beta]"),
        Finding("library", "omega", there=False, answer="not \x1b[31minstalled", way_out="pip install omega"),
    ]
    monkeypatch.setattr(capabilities, "machine_findings", lambda: rows)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    out = command(cli_doctor.main).out
    assert "1.2 [beta]" in out
    assert r"not \x1b[31minstalled" in out
    assert "\x1b[32myes" in out
    assert "way out" in out
    monkeypatch.setenv("COLUMNS", "50")
    narrow = re.sub(r"\x1b\[[\d;]*m", "", command(cli_doctor.main).out)
    assert max(len(line) for line in narrow.splitlines()) <= 50
    assert "pip" in narrow


def test_a_file_as_lines_and_as_json(command, tmp_path: Path) -> None:
    engine = tmp_path / "seg.trt"
    engine.write_bytes(tensorrt_plan(10, 3, 0, 26))
    write_manifest(engine, {"compute_capabilities": ["8.7"], "device": "Orin"})
    done = command(cli_doctor.main, engine, "--json", tmp_path / "seg.doctor.json")
    written = json.loads((tmp_path / "seg.doctor.json").read_text())["file"]
    assert done.code == written["exit_code"] == 3
    assert "built by  TensorRT 10.3.0.26 for sm 8.7 (Orin)\n" in done.out
    assert "fits      no\n" in done.out
    assert written["facts"]["built by"] == "TensorRT 10.3.0.26 for sm 8.7 (Orin)"
    assert done.err == ""


def test_exit_codes(command, tmp_path: Path) -> None:
    file = tmp_path / "file.trt"
    for data, code in (
        (one_node().SerializeToString(), 0),
        (b"something else", 2),
        (rtx_plan((1, 7, 1, 116), 0x7E)[:1000], 4),
        (b"", 4),
    ):
        file.write_bytes(data)
        assert command(cli_doctor.main, file).code == code, data[:8]
    file.write_bytes(tensorrt_plan(10, 3, 0, 26))
    write_manifest(file, {"compute_capabilities": ["8.7"]})
    file.write_bytes(tensorrt_plan(10, 3, 0, 27))
    assert command(cli_doctor.main, file).code == 4
    missing = command(cli_doctor.main, tmp_path / "none.trt")
    assert (missing.code, missing.out) == (2, "")
    assert (
        missing.err
        == f"espnet-doctor: {tmp_path / 'none.trt'}: no such file; make one with espnet-export, or check the path\n"
    )


def test_json_does_not_replace_the_file(command, tmp_path: Path) -> None:
    engine = tmp_path / "seg.trt"
    engine.write_bytes(tensorrt_plan(10, 3, 0, 26))
    for path in (engine, tmp_path / "seg.trt.json"):
        done = command(cli_doctor.main, engine, "--json", path)
        assert done.code == 2
        assert "would replace a file of this command" in done.err


def test_names_from_elsewhere_do_nothing_to_the_terminal(command, tmp_path: Path) -> None:
    evil = "evil\x1b]0;title\x07\x1b[2J\u202e"
    engine = tmp_path / f"{evil}.trt"
    engine.write_bytes(rtx_plan((1, 7, 1, 116), 0x0C))
    info = {"builder": "tensorrt-rtx", "builder_version": "1.7.1.116", "device": evil}
    write_manifest(engine, info, network=evil, weights={"source": evil + "x" * 10_000, "sha256": None, "random": False})
    done = command(cli_doctor.main, engine)
    missing = command(cli_doctor.main, tmp_path / f"{evil}.none")
    assert (done.code, missing.code) == (3, 2)
    for text in (done.out, missing.err):
        assert all(c.isprintable() or c == "\n" for c in text)
        assert r"evil\x1b]0;title\x07\x1b[2J\u202e" in text
    assert max(len(line) for line in done.out.splitlines()) < 5000


def test_one_line_keeps_what_people_write() -> None:
    assert one_line("Straße 東京 ×2\n  next\tword") == "Straße 東京 ×2 next word"
    assert one_line(b"\xff".decode(errors="surrogateescape")) == r"\udcff"


@pytest.mark.parametrize("name", capabilities.MEASURES)
def test_the_doctor_knows_what_the_bench_measures(command, name: str, tmp_path: Path) -> None:
    assert any(finding.what == name for finding in capabilities.measure_findings([]))
    done = command(cli_bench.main, "--engine", tmp_path / "none.onnx", "--measure", name)
    assert "none.onnx: no such file" in done.err
