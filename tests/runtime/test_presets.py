"""Presets: the defaults of trtexec as its sources have them, and engines run that way on the imitated GPU."""

import numpy as np
import pytest

from espnet_edge.errors import InputError
from espnet_edge.runtime import open_runner
from espnet_edge.runtime.presets import PRESETS, preset, preset_work
from espnet_edge.runtime.trt_runner import TrtRunner, load_engine
from espnet_edge.runtime.work import GPU_STAGES
from fake_tensorrt import Behaviour, fake_tensorrt


@pytest.fixture
def behaviour():
    return Behaviour()


@pytest.fixture
def opened(cuda, behaviour, conv_artefact):
    def make(batch=1, graphs=True):
        engine = load_engine(conv_artefact(batch), None, fake_tensorrt("10.3.0", cuda, behaviour), "Fake GPU")
        return TrtRunner(engine, cuda, graphs=graphs, clock=cuda.clock)

    return make


def test_the_two_differ_in_transfers_graphs_and_waiting():
    assert list(PRESETS) == ["trtexec-10", "trtexec-11"]
    ten, eleven = (preset(name) for name in PRESETS)
    assert (ten.transfers, ten.graph, ten.spin_wait) == (True, False, False)
    assert (eleven.transfers, eleven.graph, eleven.spin_wait) == (False, True, True)
    for chosen in (ten, eleven):
        assert (chosen.warmup_ms, chosen.duration_s, chosen.iterations, chosen.streams) == (200, 3, 10, 1)
        assert (chosen.averaged_runs, chosen.percentiles) == (10, (90, 95, 99))
        assert chosen.as_settings() == {
            "rounds": 1,
            "iterations": 10,
            "block_s": 3.0,
            "warmup_iterations": 0,
            "warmup_s": 0.2,
        }


def test_what_applies_and_what_differs_is_said():
    ten, eleven = (" | ".join(preset(name).definitions) for name in PRESETS)
    for text in (ten, eleven):
        assert "release/1" in text
        assert "at least 3 s and 10 inferences, 1 stream" in text
        assert "n - 1 - int((1 - p/100) * n)" in text
        assert "NumPy's 'linear'" in text
        assert "\n" not in text
    assert "with data transfers, without CUDA graph" in ten
    assert "h2d + compute + d2h" in ten
    assert "sleeps until the GPU wakes it" in ten
    assert "without data transfers, with CUDA graph" in eleven
    assert "compute alone" in eleven
    assert "pinned" not in eleven
    assert "spins until the GPU is done" in eleven


def test_an_unknown_preset():
    with pytest.raises(InputError, match="--as trtexec-9: no such preset; there are trtexec-10, trtexec-11"):
        preset("trtexec-9")


@pytest.mark.parametrize("graphs", [True, False])
def test_as_10_there_are_copies_and_no_graph(opened, cuda, pixels, behaviour, graphs):
    cuda.gpu_ms = {"h2d": 0.25, "compute": 3.5, "d2h": 0.125}
    cuda.host_ns = {"compute": 90_000, "launch_graph": 1_000_000}
    with opened("batch", graphs) as trt:
        work = preset_work(trt, {"image": pixels(3)}, preset("trtexec-10"))
        assert (work.images, len(work.calls)) == (3, 1)
        work.staged()
        cuda.log.clear()
        behaviour.fed.clear()
        work.call()
        assert cuda.log == ["h2d", "compute", "d2h", "d2h", "synchronise_stream"]
        assert np.array_equal(behaviour.fed[0]["image"], pixels(3))
        assert work.staged() == {"enqueue": 90_000, "h2d": 250_000, "compute": 3_500_000, "d2h": 250_000}
        assert (trt.info.graph, trt.info.graph_fallback_reason) == (False, "not wanted")


@pytest.mark.parametrize("graphs", [True, False])
def test_as_11_a_graph_computes_and_nothing_is_copied(opened, cuda, pixels, behaviour, graphs):
    cuda.gpu_ms = {"compute": 3.5}
    cuda.host_ns = {"launch_graph": 7_000, "compute": 90_000}
    with opened("batch", graphs) as trt:
        work = preset_work(trt, {"image": pixels(2, 5)}, preset("trtexec-11"))
        assert work.images == 2
        work.call()
        work.call()
        behaviour.fed.clear()
        cuda.log.clear()
        work.call()
        assert cuda.log == ["launch_graph", "compute", "synchronise_stream"]
        assert work.staged() == {"enqueue": 7_000, "compute": 3_500_000}
        assert set(work.staged()) < set(GPU_STAGES)
        assert all(np.array_equal(feeds["image"], pixels(2, 5)) for feeds in behaviour.fed)
        assert trt.info.graph is True


def test_as_11_without_a_graph_where_there_can_be_none(opened, cuda, pixels, behaviour):
    behaviour.capturable = None
    with opened() as trt:
        work = preset_work(trt, {"image": pixels()}, preset("trtexec-11"))
        cuda.log.clear()
        work.call()
        work.call()
        assert cuda.log == ["compute", "synchronise_stream"] * 2
        assert "the capture failed" in trt.info.graph_fallback_reason


def test_a_runner_goes_back_to_graphs_and_is_right_all_the_time(opened, cuda, pixels):
    with opened() as trt:
        expected = trt.infer({"image": pixels()})["logits"].copy()
        for name in ("trtexec-10", "trtexec-11", "trtexec-10"):
            work = preset_work(trt, {"image": pixels()}, preset(name))
            for _ in range(3):
                work.call()
            np.testing.assert_array_equal(trt.infer({"image": pixels()})["logits"], expected)
            assert trt.info.graph is preset(name).graph
        assert cuda.graphs == {}


def test_a_closed_runner(opened, pixels):
    with opened() as trt:
        work = preset_work(trt, {"image": pixels()}, preset("trtexec-11"))
    for call in (work.call, work.staged, lambda: trt.use_graphs(False)):
        with pytest.raises(RuntimeError, match="is closed"):
            call()


def test_only_engines(conv_artefact, pixels):
    with open_runner(conv_artefact(), "onnxruntime", threads=1) as runner:
        message = (
            r"--as trtexec-10: trtexec measures engines on a GPU, and this is onnxruntime .*; give an engine \(\.trt\)"
        )
        with pytest.raises(InputError, match=message):
            preset_work(runner, {"image": pixels()}, preset("trtexec-10"))


def test_inputs_that_do_not_fit(opened):
    with opened() as trt, pytest.raises(InputError, match="image: not given"):
        preset_work(trt, {}, preset("trtexec-11"))
