"""What an engine computes in, from the words of the inspector in the formats of TensorRT 8.5 to 11."""

import json
from typing import Any

import pytest

from espnet_edge.errors import CheckError, InputError
from espnet_edge.export.layer_precisions import check_layer_precisions, layer_precisions, parse_precision
from espnet_edge.runtime.manifest import LayerPrecisions


def layer(kind: str, reads: list[str], gives: str = "Row major linear FP32", **more: Any) -> dict[str, Any]:
    return {
        "Name": kind,
        "LayerType": kind,
        "Inputs": [{"Name": "x", "Dimensions": [1, 8, 4, 4], "Format/Datatype": text} for text in reads],
        "Outputs": [{"Name": "y", "Dimensions": [1, 8, 4, 4], "Format/Datatype": gives}],
        **more,
    }


def counts(*layers: Any) -> dict[str, int]:
    found = layer_precisions(json.dumps({"Layers": list(layers), "Bindings": ["image"]}))
    assert found is not None
    return {name: count for name, count in found.model_dump().items() if count}


# The texts have the forms of the engines and the list of formats that NVIDIA publishes with its engine explorer.
@pytest.mark.parametrize(
    ("text", "precision"),
    [
        ("Row major linear FP32", "fp32"),
        ("Channel major FP32 format where channel % 4 == 0", "fp32"),
        ("Float", "fp32"),
        ("Row major linear FP16 format", "fp16"),
        ("Channel major FP16 format where channel % 8 == 0", "fp16"),
        ("Thirty-two wide channel vectorized row major FP16 format", "fp16"),
        ("Half", "fp16"),
        ("Half(64,1:8,8)", "fp16"),
        ("Row major Int8 format", "int8"),
        ("Thirty-two wide channel vectorized row major Int8 format", "int8"),
        ("Channel major INT8 format where channel == 4 and column stride % 32 == 0", "int8"),
        ("Int8", "int8"),
        ("BFloat16", "other"),
        ("FP8", "other"),
        ("Row major linear UInt8 format", "other"),
        ("Int32", "unknown"),
        ("N/A due to dynamic shapes", "unknown"),
    ],
)
def test_the_words_for_types(text: str, precision: str) -> None:
    assert counts(layer("CaskConvolution", [text])) == {"layers": 1, precision: 1}


def test_a_quantised_engine() -> None:
    int8 = "Thirty-two wide channel vectorized row major Int8 format"
    assert counts(
        layer("Reformat", ["Row major linear FP32"], int8, Origin="QDQ"),
        layer("ConvActPool", [int8], int8, ConvWeights={"Type": "Int8", "Count": 9408}),
        layer("CaskConvolution", [int8], int8, Weights={"Type": "Int8", "Count": 36864}, Bias={"Type": "Float"}),
        layer("CaskConvolution", ["Row major linear FP32"], Weights={"Type": "Float", "Count": 9}),
        layer("NoOp", [int8], int8),
    ) == {"layers": 3, "int8": 2, "fp32": 1}


def test_weights_tell_where_shapes_are_free() -> None:
    unknown = "N/A due to dynamic shapes"
    assert counts(layer("CaskConvolution", [unknown], unknown, Weights={"Type": "Half", "Count": 9})) == {
        "layers": 1,
        "fp16": 1,
    }


def test_fused_layers_of_newer_versions() -> None:
    assert counts(
        layer("kgen", ["Half", "Half"], "Half", Metadata="[ONNX Layer: a]\x1f[ONNX Layer: b]"),
        layer("gemm", ["Half", "Float"], "Half"),
        layer("Signal", []),
        layer("kgen", ["UInt8", "Float"], "Half"),
    ) == {"layers": 3, "fp16": 2, "fp32": 1}


@pytest.mark.parametrize("text", ['{"Layers": ["conv 1", "conv 2"]}', "{}", "[]", "", "not JSON", '{"Layers": []}'])
def test_what_goes_into_no_detail_is_unknown(text: str) -> None:
    assert layer_precisions(text) is None


def found(**known: int) -> LayerPrecisions:
    every = {name: known.get(name, 0) for name in ("fp32", "fp16", "int8", "other", "unknown")}
    return LayerPrecisions(layers=sum(every.values()), **every)


@pytest.mark.parametrize(
    ("asked", "engine", "types_bind", "passes"),
    [
        ("fp32", found(fp32=5), True, True),
        ("fp16", found(fp32=5), True, False),
        ("fp16", found(fp32=5), False, False),
        ("fp16", found(fp32=2, fp16=8), True, True),
        ("fp16", found(fp32=6, fp16=4), True, False),
        ("fp16", found(fp32=6, fp16=4), False, True),  # the builder was free to take what is faster
        ("int8", found(fp32=4, fp16=4), True, False),
        ("int8", found(fp32=8, int8=1), True, True),
        ("int8", found(unknown=3), True, True),  # nothing is known, so nothing is wrong
    ],
)
def test_an_engine_must_be_what_was_asked_for(
    asked: Any, engine: LayerPrecisions, types_bind: bool, passes: bool
) -> None:
    if passes:
        check_layer_precisions(engine, asked, types_bind=types_bind)
        return
    with pytest.raises(CheckError, match=f"{asked} was asked for, .* {engine.fp32} are fp32, {engine.fp16} fp16"):
        check_layer_precisions(engine, asked, types_bind=types_bind)


def test_precisions_have_names() -> None:
    assert parse_precision("fp16") == "fp16"
    with pytest.raises(InputError, match="'fp64' is unknown; there are fp32, fp16, int8"):
        parse_precision("fp64")
