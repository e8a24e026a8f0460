"""The model repository, read back through Triton's own messages."""

import json
from pathlib import Path
from typing import Any

import pytest

from espnet_edge.errors import CheckError, InputError
from espnet_edge.files import sha256_of
from espnet_edge.runtime.cli_package import main
from espnet_edge.runtime.manifest import Preprocessing, load_manifest, manifest_path
from espnet_edge.runtime.pbtxt import Symbol, as_text
from espnet_edge.runtime.triton_repository import TritonOptions, triton_config, write_triton_repository
from served import CLASSES, HEIGHT, NAMES, PROFILE, WIDTH, engine, read, triton_messages, write


@pytest.fixture(scope="module")
def messages() -> Any:
    return triton_messages()


@pytest.fixture
def config(messages, tmp_path):
    """config(artefact, **options) -> ModelConfig, as Triton reads it."""

    def package(artefact: Path, labels: tuple[str, ...] | None = NAMES, **options: Any) -> Any:
        written = write_triton_repository(
            artefact, read(artefact), tmp_path / "models", TritonOptions("street", **options), labels=labels
        )
        return messages.text_format.Parse(written.config.read_text(), messages.ModelConfig())

    return package


def tensors(described: Any, messages: Any) -> list[tuple[str, str, list[int]]]:
    return [(t.name, messages.DataType.Name(t.data_type), list(t.dims)) for t in described]


def test_a_fixed_batch_is_served_as_it_is(config, messages, tmp_path):
    artefact = write(tmp_path / "seg.onnx", "segmentation deploy")
    found = config(artefact)
    assert (found.name, found.platform, found.backend) == ("street", "onnxruntime_onnx", "onnxruntime")
    assert found.max_batch_size == 0
    assert not found.HasField("dynamic_batching")
    assert not found.HasField("optimization")
    assert tensors(found.input, messages) == [("image", "TYPE_UINT8", [1, HEIGHT, WIDTH, 3])]
    assert tensors(found.output, messages) == [("labels", "TYPE_UINT8", [1, HEIGHT, WIDTH])]
    assert found.version_policy.latest.num_versions == 1
    assert [(group.count, group.kind) for group in found.instance_group] == [(1, messages.ModelInstanceGroup.KIND_AUTO)]
    assert found.output[0].label_filename == ""
    parameters = {key: value.string_value for key, value in found.parameters.items()}
    assert parameters["manifest.sha256"] == sha256_of(artefact)
    rule = Preprocessing.model_validate_json(parameters["manifest.preprocessing"])
    assert rule == read(artefact).preprocessing
    assert json.loads(parameters["manifest.postprocessing"])["kind"] == "labels"


def test_a_free_batch_is_left_out_of_the_sizes(config, messages, tmp_path):
    found = config(write(tmp_path / "det.onnx", "detection deploy", "batch"), max_batch=6, device="cpu", instances=3)
    assert found.max_batch_size == 6
    assert found.HasField("dynamic_batching")
    assert list(found.dynamic_batching.preferred_batch_size) == []
    assert tensors(found.input, messages) == [("image", "TYPE_UINT8", [HEIGHT, WIDTH, 3])]
    assert tensors(found.output, messages) == [
        ("boxes", "TYPE_FP32", [10, 4]),
        ("scores", "TYPE_FP32", [10, CLASSES]),
    ]
    assert [(group.count, group.kind) for group in found.instance_group] == [(3, messages.ModelInstanceGroup.KIND_CPU)]


def test_an_engine(config, messages, tmp_path):
    artefact = write(tmp_path / "seg.trt", "segmentation deploy", "batch", engine=engine(profile=PROFILE))
    found = config(artefact)
    assert (found.platform, found.backend) == ("tensorrt_plan", "tensorrt")
    assert found.max_batch_size == 16
    assert list(found.dynamic_batching.preferred_batch_size) == [4]
    assert found.instance_group[0].kind == messages.ModelInstanceGroup.KIND_GPU
    assert found.optimization.cuda.graphs
    specs = {spec.batch_size: list(spec.input["image"].dim) for spec in found.optimization.cuda.graph_spec}
    assert specs == {size: [HEIGHT, WIDTH, 3] for size in (1, 4, 16)}
    model = tmp_path / "models" / "street" / "1" / "model.plan"
    assert model.read_bytes() == artefact.read_bytes()


def test_an_engine_for_fewer_pictures_prefers_none_that_do_not_fit(config, tmp_path):
    found = config(
        write(tmp_path / "a.trt", "segmentation deploy", "batch", engine=engine(profile=PROFILE)), max_batch=2
    )
    assert found.max_batch_size == 2
    assert list(found.dynamic_batching.preferred_batch_size) == []
    assert [spec.batch_size for spec in found.optimization.cuda.graph_spec] == [1, 2]


def test_an_engine_of_a_fixed_batch_has_one_graph(config, tmp_path):
    found = config(write(tmp_path / "a.trt", "segmentation deploy", 2, engine=engine()))
    assert found.max_batch_size == 0
    spec = found.optimization.cuda.graph_spec
    assert [(s.batch_size, list(s.input["image"].dim)) for s in spec] == [(0, [2, HEIGHT, WIDTH, 3])]


@pytest.mark.parametrize(
    ("kind", "labelled"),
    [
        ("classification raw", "logits"),
        ("classification deepstream", "probabilities"),
        ("multi_label deploy", "scores"),
        ("multi_label raw", "logits"),
        ("classification deploy", None),  # five scores, which are not those of classes 0 to 4
        ("detection deploy", None),
        ("segmentation deploy", None),
    ],
)
def test_class_vectors_have_labels(config, tmp_path, kind, labelled):
    found = config(write(tmp_path / "x.onnx", kind))
    assert [output.name for output in found.output if output.label_filename] == ([labelled] if labelled else [])
    lines = (tmp_path / "models" / "street" / "labels.txt").read_text().splitlines()
    assert lines == ["road", 'a "quoted" name', "back\\slash", "Straße; 2 lines", "last"]


def test_without_names_there_are_no_labels(config, tmp_path):
    found = config(write(tmp_path / "x.onnx", "classification raw", classes=[]), labels=None)
    assert found.output[0].label_filename == ""
    assert not (tmp_path / "models" / "street" / "labels.txt").exists()


def test_triton_keeps_the_states_of_one_text(config, messages, tmp_path):
    found = config(write(tmp_path / "lm.onnx", "language_modelling deploy"), labels=None)
    assert found.max_batch_size == 0
    assert tensors(found.input, messages) == [("token", "TYPE_INT64", [1])]
    assert tensors(found.output, messages) == [("logits", "TYPE_FP32", [1, CLASSES])]
    batching = found.sequence_batching
    assert batching.WhichOneof("strategy_choice") == "direct"
    assert [(state.input_name, state.output_name) for state in batching.state] == [
        ("hidden", "hidden_out"),
        ("cell", "cell_out"),
    ]
    for state in batching.state:
        assert (state.data_type, list(state.dims)) == (messages.TYPE_FP32, [3, 1, 6])
        (initial,) = state.initial_state
        assert (initial.zero_data, initial.data_type, list(initial.dims)) == (True, messages.TYPE_FP32, [3, 1, 6])


@pytest.mark.parametrize(("batch", "size"), [("batch", -1), (4, 4)])
def test_the_client_keeps_the_states_of_many(config, messages, tmp_path, batch, size):
    found = config(write(tmp_path / "lm.onnx", "language_modelling deploy", batch), labels=None)
    assert found.max_batch_size == 0
    assert not found.HasField("sequence_batching")
    assert not found.HasField("dynamic_batching")
    states = [(name, "TYPE_FP32", [3, size, 6]) for name in ("hidden", "cell")]
    assert tensors(found.input, messages) == [("token", "TYPE_INT64", [size]), *states]
    assert [output.name for output in found.output] == ["logits", "hidden_out", "cell_out"]
    assert "The client keeps the states" in (tmp_path / "models" / "street" / "config.pbtxt").read_text()


def test_a_manifest_from_elsewhere_adds_no_field(config, tmp_path):
    evil = 'x"\nbackend: "python"\n# \x1b[2J'
    built = {**engine(), "builder_version": evil}
    found = config(write(tmp_path / "x.trt", "segmentation deploy", engine=built, network=evil, dataset=evil))
    assert found.backend == "tensorrt"
    assert found.parameters["manifest.network"].string_value == evil
    assert "\x1b" not in (tmp_path / "models" / "street" / "config.pbtxt").read_text()


def test_what_was_copied_is_a_whole_artefact(config, tmp_path):
    artefact = write(tmp_path / "seg.onnx", "segmentation deploy")
    config(artefact)
    copied = tmp_path / "models" / "street" / "1" / "model.onnx"
    assert copied.read_bytes() == artefact.read_bytes()
    manifest = read(copied)
    assert manifest.file.name == "model.onnx"
    assert manifest.model_copy(update={"file": read(artefact).file}) == read(artefact)
    artefact.write_bytes(b"another")
    assert load_manifest(copied) == manifest  # no link to the old file


def test_the_vocabulary_goes_with_a_language_model(config, tmp_path):
    words = tmp_path / "lm.vocabulary.txt"
    words.write_text("a\nb\n")
    recorded = {"name": words.name, "sha256": sha256_of(words), "bytes": 4}
    artefact = write(tmp_path / "lm.onnx", "language_modelling deploy", vocabulary=recorded)
    config(artefact, labels=None)
    assert (tmp_path / "models" / "street" / "1" / words.name).read_text() == "a\nb\n"
    words.write_text("b\na\n")
    with pytest.raises(CheckError, match=r"vocabulary\.txt: sha256 .* was changed"):
        config(artefact, labels=None)
    words.unlink()
    with pytest.raises(CheckError, match="put it back"):
        config(artefact, labels=None)
    assert [path.name for path in (tmp_path / "models" / "street").glob("[0-9]*")] == ["1"]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_versions_are_added_and_kept(tmp_path):
    artefact, models = write(tmp_path / "seg.onnx", "segmentation deploy"), tmp_path / "models"

    def add(**options: Any) -> Path:
        return write_triton_repository(artefact, read(artefact), models, TritonOptions("seg"), **options).model

    assert add() == models / "seg" / "1" / "model.onnx"
    first = read(models / "seg" / "1" / "model.onnx").file.sha256
    artefact = write(tmp_path / "seg.onnx", "segmentation raw")
    assert add() == models / "seg" / "2" / "model.onnx"
    assert read(models / "seg" / "1" / "model.onnx").file.sha256 == first
    assert add(version=7) == models / "seg" / "7" / "model.onnx"
    before = files(models)
    for version, words in (
        (7, r"is there; .*version 8.*--overwrite"),
        (3, "would go on serving; give 8"),
        (0, "at least 1"),
    ):
        with pytest.raises(InputError, match=words):
            add(version=version)
    assert files(models) == before
    artefact = write(tmp_path / "seg.onnx", "segmentation deploy")
    (models / "seg" / "7" / "left over").write_text("")
    assert add(version=7, overwrite=True) == models / "seg" / "7" / "model.onnx"
    assert sorted(path.name for path in (models / "seg" / "7").iterdir()) == ["model.onnx", "model.onnx.json"]


def test_a_configuration_that_somebody_changed_stays(tmp_path):
    artefact, models = write(tmp_path / "seg.onnx", "segmentation deploy"), tmp_path / "models"
    config = write_triton_repository(artefact, read(artefact), models, TritonOptions("seg")).config
    config.write_text(config.read_text().replace("KIND_AUTO", "KIND_CPU"))
    before = files(models)
    with pytest.raises(InputError, match=r"config\.pbtxt: .*changed since.*--overwrite"):
        write_triton_repository(artefact, read(artefact), models, TritonOptions("seg"))
    assert files(models) == before
    write_triton_repository(artefact, read(artefact), models, TritonOptions("seg"), overwrite=True)
    assert "KIND_AUTO" in config.read_text()


def test_a_file_that_changes_on_the_way_leaves_nothing(tmp_path):
    artefact = write(tmp_path / "seg.onnx", "segmentation deploy")
    manifest = read(artefact)
    artefact.write_bytes(b"another")
    with pytest.raises(CheckError, match="was changed or replaced"):
        write_triton_repository(artefact, manifest, tmp_path / "models", TritonOptions("seg"))
    assert not (tmp_path / "models" / "seg").exists()


@pytest.mark.parametrize(
    ("batch", "changes", "options", "words"),
    [
        (1, {}, {"name": "a/b"}, "--name 'a/b'"),
        (1, {}, {"name": ".."}, "--name"),
        (1, {}, {"max_batch": 4}, r"--max-batch 4: .*batches of 1 only.*--batch 1,4,8"),
        (1, {}, {"instances": 0}, "--instances 0"),
        ("batch", {}, {}, "give --max-batch N"),
        ("batch", {}, {"max_batch": 0}, "--max-batch 0: give at least 1"),
        ("batch", {"engine": engine(profile=PROFILE)}, {"max_batch": 17}, "built for 16 at most"),
        ("batch", {"engine": engine(profile={**PROFILE, "minimum": 2})}, {}, r"2 to 16.*--batch 1,4,16"),
        (1, {"engine": engine()}, {"device": "cpu"}, "--device cpu: .*needs a GPU"),
    ],
)
def test_what_does_not_fit(tmp_path, batch, changes, options, words):
    manifest = read(write(tmp_path / "seg.onnx", "segmentation deploy", batch, **changes))
    with pytest.raises(InputError, match=words):
        triton_config(manifest, TritonOptions(**{"name": "seg", **options}), has_labels=False)


def test_states_are_not_batched(tmp_path):
    manifest = read(write(tmp_path / "lm.onnx", "language_modelling deploy", "batch"))
    with pytest.raises(InputError, match="forms no batches for lm"):
        triton_config(manifest, TritonOptions("lm", max_batch=4), has_labels=False)


@pytest.mark.parametrize("text", ["", 'a "b" \\c', "Straße\n\t\r\0\x7f1", "\u6f22 \U0001f600", "\\n0012"])
def test_texts_come_back_through_protocol_buffers(messages, text):
    found = messages.text_format.Parse(as_text({"name": text, "parameters": [{"key": text}]}), messages.ModelConfig())
    assert found.name == text
    assert list(found.parameters) == [text]


def test_the_writer_knows_what_it_cannot_write():
    assert (
        as_text({"a": True, "b": [1, 2], "c": [], "d": {}, "e": Symbol("X")})
        == "a: true\nb: [1, 2]\nc: []\nd { }\ne: X\n"
    )
    with pytest.raises(ValueError, match="cannot be written"):
        as_text({"a": 1.5})  # type: ignore[dict-item]


def test_the_command(command, tmp_path):
    artefact = write(tmp_path / "seg.onnx", "segmentation deploy")
    summary = tmp_path / "summary.json"
    arguments = ("--engine", artefact, "--format", "triton", "--out", tmp_path / "models")
    outcome = command(main, *arguments, "--json", summary)
    assert outcome.code == 0
    assert f"tritonserver --model-repository={tmp_path / 'models'}" in outcome.out
    written = json.loads(summary.read_text())
    assert [Path(file).relative_to(tmp_path / "models" / "seg").as_posix() for file in written["files"]] == [
        "1/model.onnx",
        "1/model.onnx.json",
        "config.pbtxt",
        "labels.txt",
    ]
    assert (written["format"], written["sha256"]) == ("triton", sha256_of(artefact))
    assert command(main, *arguments, "--version", 1).code == 2
    assert command(main, *arguments, "--json", artefact).last_line.endswith("choose another name")


def test_what_the_command_refuses(command, tmp_path):
    arguments = ("--format", "triton", "--out", tmp_path / "models", "--engine")
    artefact = write(
        tmp_path / "seg.onnx", "segmentation deploy", weights={"source": "", "sha256": None, "random": True}
    )
    refused = command(main, *arguments, artefact)
    assert (refused.code, refused.out) == (2, "")
    assert "--allow-random-weights" in refused.last_line
    allowed = command(main, *arguments, artefact, "--allow-random-weights")
    assert allowed.code == 0
    assert "RANDOM" in allowed.err
    assert "RANDOM" in (tmp_path / "models" / "seg" / "config.pbtxt").read_text()

    rtx = write(tmp_path / "seg.trt", "segmentation deploy", engine=engine("tensorrt-rtx"))
    refused = command(main, *arguments, rtx)
    assert refused.code == 2
    assert "package the ONNX file" in refused.last_line

    artefact = write(tmp_path / "odd.onnx", "segmentation deploy", name="../seg")
    refused = command(main, *arguments, artefact)
    assert refused.code == 2
    assert "--name" in refused.last_line
    artefact.write_bytes(b"tampered")
    assert command(main, *arguments, artefact).code == 4
    manifest_path(artefact).unlink()
    assert command(main, *arguments, artefact).code == 4
    assert command(main, *arguments, tmp_path / "none.onnx").code == 2


def test_names_from_a_file(command, tmp_path):
    artefact = write(tmp_path / "cls.onnx", "classification raw", classes=[])
    arguments = ("--engine", artefact, "--format", "triton", "--out", tmp_path / "models")
    assert "--labels FILE" in command(main, *arguments).err
    labels = tmp_path / "names.txt"
    labels.write_text("a\nb\nc\nd\ne\n")
    assert command(main, *arguments, "--labels", labels).code == 0
    assert (tmp_path / "models" / "cls" / "labels.txt").read_text() == labels.read_text()
    assert 'label_filename: "labels.txt"' in (tmp_path / "models" / "cls" / "config.pbtxt").read_text()
