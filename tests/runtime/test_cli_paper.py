"""`espnet-paper` as a user types it, on five tiny files that say they are the paper's networks."""

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from espnet_edge.errors import InputError, UnavailableError
from espnet_edge.files import write_text
from espnet_edge.runtime.cli_paper import main
from espnet_edge.runtime.manifest import file_info, load_manifest
from espnet_edge.runtime.paper import run as paper_run
from espnet_edge.runtime.paper.comparison import Traced, paper_files
from espnet_edge.runtime.paper.published import NETWORKS, PaperNetwork
from espnet_edge.runtime.result import read_result, write_result
from paper_results import CONV_MACS, paper_result
from results import result_of

QUICK = ("--runtime", "onnxruntime", "--threads", 1, "--rounds", 5, "--iterations", 2, "--batches", 1)


@pytest.fixture
def five(conv_artefact, tmp_path) -> Path:
    """The folder that `make paper` makes, with a tiny network in each place."""
    for network in NETWORKS:
        exported(conv_artefact, tmp_path, network)
    return tmp_path / "five"


def exported(conv_artefact, tmp_path: Path, which: PaperNetwork, /, **changes) -> Path:
    path = Path("five") / which.model / f"{which.model}.onnx"
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    fields = {
        "network": which.network,
        "width_mult": which.width_mult,
        "macs": {"conv": CONV_MACS[which.network], "linear": 1_280_000},
    }
    return conv_artefact("batch", path, **{**fields, **changes})


@pytest.fixture(autouse=True)
def pages(monkeypatch) -> list[Path]:
    """The pages that were written; what is in them has tests of its own."""
    written: list[Path] = []
    monkeypatch.setattr(
        "espnet_edge.runtime.page.write_page", lambda path, _result, _published: written.append(path), raising=False
    )
    return written


@pytest.fixture
def no_meter(tmp_path, monkeypatch) -> None:
    """A machine on which nothing measures power."""
    opening = import_module("espnet_edge.power.meters")
    places = opening.Places(root=tmp_path / "empty", environ={"PATH": str(tmp_path)})
    monkeypatch.setattr(opening, "Places", lambda: places)


def test_the_comparison_from_files_to_claims_and_again(five, command, no_meter, tmp_path, pages):
    out = tmp_path / "report"
    done = command(main, five, *QUICK[:-1], "2,1", "--out", out)
    assert done.code == 0, done.err
    result = read_result(out / "paper.json")
    assert result.program == "espnet-paper"
    assert result.partial is None
    assert [line.batch for line in result.lines] == [1, 2] * 5
    assert result.paper is not None
    assert result.paper.networks == tuple(network.network for network in NETWORKS)
    assert result.paper.batches == (1, 2)
    assert [part.line for part in result.breakdowns] == [line.name for line in result.lines if line.batch == 1]
    assert all(part.operators["Conv"] == 2 for part in result.breakdowns)
    # No meter: time is compared all the same, and of power nothing is claimed.
    assert result.power is not None
    assert "nothing here gives a plausible reading" in (result.power.unavailable or "")
    assert "nothing here gives a plausible reading" in (result.paper.no_traces_reason or "")
    verdicts = {claim.statement.split(":")[0]: claim.verdict for claim in result.paper.claims}
    assert verdicts["ESPNetv2 is about as fast as the others"] != "not measured"
    assert verdicts["ESPNetv2 draws the least power at every batch size"] == "not measured"
    for words in ("MobileNetv1 0.75", "ps/MAC", "what the paper says:", "284.8 million", "doubts:"):
        assert words in done.out

    again = command(main, "--from", out / "paper.json", "--out", tmp_path / "again")
    assert again.code == 0, again.err
    assert (tmp_path / "again" / "paper.json").read_bytes() == (out / "paper.json").read_bytes()
    assert again.out == done.out
    assert pages == [out / "paper.html", tmp_path / "again" / "paper.html"]


def test_power_that_was_asked_for_and_is_not_there_ends_with_3(five, command, no_meter, tmp_path):
    done = command(main, five, *QUICK, "--measure", "latency,power", "--out", tmp_path / "report")
    assert done.code == 3
    assert "nothing here gives a plausible reading" in done.last_line
    assert read_result(tmp_path / "report" / "paper.json").latency is not None


def test_latency_alone(five, command, tmp_path):
    done = command(main, five, *QUICK, "--measure", "latency", "--out", tmp_path / "report")
    assert done.code == 0, done.err
    result = read_result(tmp_path / "report" / "paper.json")
    assert result.breakdowns == ()
    assert result.paper is not None
    assert result.paper.no_traces_reason == "power was not measured: --measure latency,power"


def test_without_the_libraries_of_the_page_the_numbers_are_kept(command, tmp_path, monkeypatch):
    def without_jinja2(_path, _result, _published):
        raise UnavailableError("the page needs jinja2, which is not installed: pip install 'espnet-edge[report]'")

    monkeypatch.setattr("espnet_edge.runtime.page.write_page", without_jinja2, raising=False)
    write_result(tmp_path / "kept.json", paper_result())
    done = command(main, "--from", tmp_path / "kept.json", "--out", tmp_path / "report")
    assert done.code == 0
    assert "no page was written: the page needs jinja2" in done.err
    assert (tmp_path / "report" / "paper.json").is_file()


def test_an_interrupted_run_is_kept_as_partial(five, command, no_meter, tmp_path, monkeypatch):
    profiled = []

    def interrupted_at_the_third(line, *arguments, **options):
        if len(profiled) == 2:
            raise KeyboardInterrupt
        profiled.append(real(line, *arguments, **options))
        return profiled[-1]

    real = import_module("espnet_edge.runtime.operator_profile").breakdown
    monkeypatch.setattr("espnet_edge.runtime.operator_profile.breakdown", interrupted_at_the_third)
    done = command(main, five, *QUICK, "--out", tmp_path / "report")
    assert done.code == 130
    assert "interrupted after the operators of 2 of 5 networks; what was measured until then" in done.err
    result = read_result(tmp_path / "report" / "paper.json")
    assert result.partial == "interrupted after the operators of 2 of 5 networks"
    assert len(result.breakdowns) == 2
    assert result.latency is not None
    assert result.paper is not None
    assert result.paper.no_traces_reason == "interrupted before"


def test_ctrl_c_in_the_third_panel(five, monkeypatch):
    monkeypatch.setattr(
        paper_run, "traced", lambda *_a, **_o: Traced(reason="interrupted after 1 of 5", interrupted=True)
    )
    tools = replace(paper_run.Tools(**vars(real_tools())), measured=made_up)
    found = paper_run.compare(request(five, measures=("latency", "power")), quiet(), [], tools)
    assert found.interrupted
    assert found.result.partial == "interrupted after 1 of 5"


def test_engines_that_do_not_run_here_are_skipped_unless_named(five):
    make_engines(five)
    tools = replace(real_tools(), open_subjects=without_engines, measured=made_up)
    found = paper_run.compare(request(five, engine_runtimes=("auto",)), quiet(), [], tools)
    assert [one.reason for one in found.result.skipped] == ["no GPU is here"] * 5
    assert {one.runtime for one in found.result.skipped} == {"engines (.trt)"}
    with pytest.raises(UnavailableError, match="no GPU is here"):
        paper_run.compare(request(five, engine_runtimes=("tensorrt",), named=True), quiet(), [], tools)


def test_engines_alone_are_enough_where_they_run(five):
    make_engines(five)
    for network in NETWORKS:
        (five / network.model / f"{network.model}.onnx").unlink()
    files = paper_files(five)
    assert (files.onnx, len(files.engines)) == ((), 5)
    opened = []

    def asked(engines, options, stack):
        opened.append((engines, options.runtimes, options.named))
        raise UnavailableError("no GPU is here")

    tools = replace(real_tools(), open_subjects=asked)
    with pytest.raises(UnavailableError, match="no GPU is here"):
        paper_run.compare(request(five, engine_runtimes=("auto",)), quiet(), [], tools)
    assert opened == [(files.engines, ("auto",), False)]
    with pytest.raises(InputError, match="onnxruntime runs ONNX files, and not all five"):
        paper_run.compare(request(five, named=True), quiet(), [], tools)


def make_engines(folder: Path) -> None:
    """Files that say they are engines of the networks beside them."""
    for network in NETWORKS:
        onnx = folder / network.model / f"{network.model}.onnx"
        engine = onnx.with_suffix(".trt")
        write_text(engine, "no engine of this machine")
        manifest = load_manifest(onnx)
        assert manifest is not None
        manifest.model_copy(update={"file": file_info(engine)}).write(engine)


def real_tools() -> paper_run.Tools:
    return paper_run._tools()


def without_engines(engines, options, stack):
    if engines[0].suffix == ".trt":
        raise UnavailableError("no GPU is here")
    return real_tools().open_subjects(engines, options, stack)


def made_up(opened, wanted, **_options):
    """A measurement of what was opened in which nothing took any time."""
    measuring = import_module("espnet_edge.runtime.measuring")
    lines = tuple(subject.line for subject in opened.subjects)
    result = result_of().model_copy(
        update={
            "files": tuple({subject.path: subject.file for subject in opened.subjects}.values()),
            "lines": lines,
            "skipped": tuple(opened.skipped),
            "latency": None,
            "memory": None,
        }
    )
    return measuring.Measurement(result)


def request(folder: Path, **changes) -> paper_run.Request:
    from espnet_edge.power.campaign import Settings
    from espnet_edge.runtime.bench import BenchSettings

    fields = {
        "files": paper_files(folder),
        "runtimes": ("onnxruntime",),
        "engine_runtimes": (),
        "named": False,
        "device": "cpu",
        "threads": 1,
        "batches": (1,),
        "measures": ("latency",),
        "bench": BenchSettings(rounds=1, iterations=1),
        "power": Settings(),
    }
    return paper_run.Request(**{**fields, **changes})


def quiet():
    from rich.console import Console

    return Console(stderr=True)


def test_a_missing_network_names_the_command_that_makes_it(five, command, tmp_path):
    (five / "mobilenetv1" / "mobilenetv1.onnx").unlink()
    done = command(main, five, "--out", tmp_path / "report")
    assert done.code == 2
    assert f"{five}/mobilenetv1/mobilenetv1.onnx is missing; espnet-export mobilenetv1 --width 0.75" in done.last_line
    assert "or make paper for all five" in done.last_line
    done = command(main, tmp_path / "nowhere", "--out", tmp_path / "report")
    assert (done.code, "make paper" in done.last_line) == (2, True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width_mult": 0.5}, "is mobilenetv1 0.5, the paper's comparison has mobilenetv1 0.75 there"),
        ({"network": "espnetv2_cls"}, "is espnetv2_cls 0.75, the paper's comparison has mobilenetv1 0.75 there"),
        ({"precision": "fp16"}, "is fp16, image uint8 (batch,8,16,3)"),
    ],
)
def test_another_network_is_no_comparison(five, conv_artefact, command, tmp_path, changes, words):
    exported(conv_artefact, tmp_path, next(n for n in NETWORKS if n.model == "mobilenetv1"), **changes)
    done = command(main, five, "--out", tmp_path / "report")
    assert done.code == 2
    assert words in done.last_line


def test_a_changed_file_is_not_loaded(five, command, tmp_path):
    with (five / "cls" / "cls.onnx").open("ab") as file:
        file.write(b"x")
    done = command(main, five, "--out", tmp_path / "report")
    assert done.code == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--batches", "0"), "--batches '0': give numbers from 1"),
        (("--batches", "1,,2"), "give numbers from 1"),
        (("--batches", "99999999999999999999"), "give numbers from 1"),
        (("--runtime", "onyx"), "--runtime 'onyx' is unknown"),
        (("--runtime", "onnxruntime,tensorrt"), "tensorrt runs engines (.trt), and not all five networks have one"),
        (("--measure", "speed"), "--measure 'speed' is unknown"),
        (("--measure", "operators"), "name latency or power, too"),
        (("--power-window", "nan"), "--power-window nan: give seconds"),
        (("--images", "0"), "--images"),
        (("--rounds", "0"), "--rounds"),
    ],
)
def test_wrong_options(five, command, tmp_path, options, words):
    done = command(main, five, *options, "--out", tmp_path / "report")
    assert done.code == 2
    assert words in done.last_line


def test_wrong_places(five, command, tmp_path):
    write_text(tmp_path / "a_file", "")
    for arguments, words in (
        ((five,), "--out FOLDER"),
        ((five, "--out", tmp_path / "a_file"), "is a file"),
        (("--from", tmp_path / "nowhere.json"), "nowhere.json"),
        ((five, "--from", tmp_path / "kept.json"), "measures nothing"),
    ):
        done = command(main, *arguments)
        assert done.code == 2
        assert words in done.last_line


def test_only_results_of_the_comparison_are_computed_again(command, tmp_path):
    write_result(tmp_path / "other.json", result_of())
    kept = command(main, "--from", tmp_path / "other.json")
    # One network alone is compared with nothing.
    assert kept.code == 0
    assert "not measured" in kept.out
    values = json.loads((tmp_path / "other.json").read_text())
    write_text(tmp_path / "old.json", json.dumps({**values, "schema_version": 2}))
    old = command(main, "--from", tmp_path / "old.json")
    assert (old.code, "schema version 2" in old.last_line) == (2, True)


def test_a_result_is_not_replaced_by_its_own_claims(command, tmp_path):
    write_result(tmp_path / "paper.json", paper_result())
    done = command(main, "--from", tmp_path / "paper.json", "--out", tmp_path)
    assert (done.code, "would replace" in done.last_line) == (2, True)
