"""espnet-models: our counts beside the published figures, and the same table in the docs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Outcome
from espnet_edge.model.cli import main
from espnet_edge.model.published_figures import published_figures
from espnet_edge.model.registry import get_spec, list_models
from espnet_edge.model.table import markdown_table, onnx_sizes, row_key, table_rows
from networks import detection_folder

DOCS = Path(__file__).resolve().parents[2] / "docs/models.md"
Command = Callable[..., Outcome]


def test_the_docs_have_this_table() -> None:
    assert markdown_table(table_rows()).rstrip() == DOCS.read_text().rstrip(), (
        "write it again: espnet-models --markdown > docs/models.md"
    )


def test_the_sizes_are_those_of_exported_files() -> None:
    assert onnx_sizes().keys() == {row_key(figure) for figure in published_figures(list_models())}, (
        "measure again: python docs/measure_artefact_sizes.py"
    )
    exported = (detection_folder() / "det.onnx").stat().st_size
    # Versions of the exporter may name nodes otherwise.
    assert onnx_sizes()["espnetv2_det 2 voc 300x300"] == pytest.approx(exported, rel=1e-3)


def test_every_network_width_and_data_set_is_there() -> None:
    listed = {(row.network, row.width_mult, row.dataset) for row in published_figures(list_models())}
    specs = [get_spec(name) for name in list_models()]
    assert listed == {
        (spec.name, width, dataset) for spec in specs for width in spec.widths for dataset in spec.default_sizes
    }
    # Segmentation at this width was never released.
    unreleased = next(row for row in table_rows("seg") if (row.width_mult, row.dataset) == (1.25, "voc"))
    assert (unreleased.params, unreleased.published.accuracy) == (343_117, None)


def test_the_authors_own_form_stands_below(command: Command) -> None:
    out = command(main, "shufflenetv1").out
    assert "1.5    3,441,168         291.00             1.44" in out
    assert "own code" not in command(main, "mobilenetv1").out


def test_the_published_figures_of_espnetv2_follow_from_our_counts() -> None:
    for name in ("cls", "seg"):
        for row in table_rows(name):
            if row.published.macs_m is None or row.size is None:
                continue
            bias_adds = {"cityscapes": 20, "voc": 21}.get(row.dataset, 0) * (row.size[0] // 2) * (row.size[1] // 2)
            official = (row.conv_macs + bias_adds / 2) / 1e6
            assert row.published.macs_m == pytest.approx(official, abs=0.011)


def test_what_was_not_published_says_so(command: Command, tmp_path: Path) -> None:
    outcome = command(main, "cls", "--json", tmp_path / "m.json")
    lines = [line for line in outcome.out.splitlines() if " coco " in line]
    assert len(lines) == 5
    assert all("not published" in line for line in lines)
    rows = json.loads((tmp_path / "m.json").read_text())["models"]
    widest = next(row for row in rows if row["dataset"] == "coco" and row["width_mult"] == 2.0)
    # That of ImageNet has 920 classes more, of 1280 weights and a bias each.
    assert widest["params"] == 3_498_136 - 920 * 1281
    assert widest["linear_macs"] == 80 * 1280
    figures = [widest["published"][key] for key in ("accuracy", "metric", "macs_m", "source")]
    assert figures == [None] * 4


def test_baselines_are_near_their_published_figures() -> None:
    for name in ("mobilenetv1", "mobilenetv2", "shufflenetv1", "shufflenetv2"):
        for row in table_rows(name):
            assert row.published.macs_m == pytest.approx((row.conv_macs + row.linear_macs) / 1e6, rel=0.04)


def test_published_parameters_are_near_our_counts() -> None:
    for row in table_rows():
        if row.published.params_m is None:
            assert row.published.accuracy is None
        else:
            # Printed with one or two digits, some cut instead of rounded.
            assert row.published.params_m == pytest.approx(row.params / 1e6, rel=0.03)


def test_the_command(command: Command, tmp_path: Path) -> None:
    outcome = command(main, "seg", "--json", tmp_path / "m.json")
    assert outcome.code == 0
    assert "2,697.74" in outcome.out or "2697.74" in outcome.out
    rows = json.loads((tmp_path / "m.json").read_text())["models"]
    assert {row["network"] for row in rows} == {"seg"}
    assert any(row["params"] == 789242 and row["published"]["accuracy"] == 66.4 for row in rows)


def test_an_unknown_network(command: Command) -> None:
    outcome = command(main, "alexnet")
    assert (outcome.code, "'alexnet' is unknown" in outcome.last_line) == (2, True)
