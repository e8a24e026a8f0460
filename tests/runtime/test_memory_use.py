"""Memory of a line, measured in a real process of its own; only the GPU is imitated."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from espnet_edge.errors import InputError
from espnet_edge.power.meter import NoMeterError
from espnet_edge.runtime import memory_use
from espnet_edge.runtime.gpu_memory import GpuMemoryWatch
from espnet_edge.runtime.memory_use import MemoryRequest, measured_memory
from fake_pynvml import Script, fake_pynvml

MIB = 1 << 20
PID = 4711
# An ONNX Runtime that says it has CUDA, and computes on the CPU.
CLAIMS_CUDA = """
import onnxruntime
class Session(onnxruntime.InferenceSession):
    def __init__(self, path, options, providers):
        super().__init__(path, options, providers=["CPUExecutionProvider"])
    def get_providers(self):
        return ["CUDAExecutionProvider"]
onnxruntime.InferenceSession = Session
onnxruntime.get_available_providers = lambda: ["CUDAExecutionProvider"]
"""


def request(path, **changes):
    return MemoryRequest(**{"name": "line", "artefact": str(path), "runtime": "onnxruntime", "device": "cpu"} | changes)


@pytest.fixture
def python_path(tmp_path, monkeypatch):
    """python_path(name, text): a module that the process of its own finds before all others."""

    def write(name, text):
        folder = tmp_path / "python_path"
        folder.mkdir()
        (folder / f"{name}.py").write_text(text)
        places = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))

    return write


@pytest.fixture
def nvml(monkeypatch):
    script = Script()
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(script))
    yield script
    assert script.open == 0


def test_memory_grows_with_the_library_and_with_the_batch(conv_artefact):
    path = conv_artefact("batch")
    small, large = (measured_memory(request(path, threads=1, batch=batch, inferences=2)) for batch in (1, 8192))
    for found in (small, large):
        assert found.unavailable is None
        assert found.inferences == 2
        assert 5 * MIB < found.before_rss_bytes < found.loaded_rss_bytes <= found.peak_rss_bytes < 2048 * MIB
        assert (found.gpu_bytes, found.gpu_note) == (None, None)
        # The library's own code alone.
        assert found.loaded_rss_bytes - found.before_rss_bytes > 10 * MIB
    # Pixels and logits are 384 and 2,048 bytes of an image.
    assert large.peak_rss_bytes - small.peak_rss_bytes > 8192 * (384 + 2048)


def test_what_the_runner_refuses_is_the_reason(conv_artefact, tmp_path):
    missing = measured_memory(request(tmp_path / "none.onnx"))
    assert missing.unavailable.endswith("none.onnx: no such file; make one with espnet-export, or check the path")
    assert (missing.name, missing.peak_rss_bytes, missing.inferences) == ("line", None, 0)
    fixed = measured_memory(request(conv_artefact(1), batch=4))
    assert "has the fixed batch 1" in fixed.unavailable
    assert "\n" not in fixed.unavailable


def test_a_file_that_is_not_vouched_for(conv_artefact):
    path = conv_artefact(1)
    path.with_name("conv.onnx.json").unlink()
    assert "no manifest" in measured_memory(request(path)).unavailable
    assert measured_memory(request(path, trust=True, inferences=1)).unavailable is None


def test_numbers_that_make_no_sense(conv_artefact):
    with pytest.raises(InputError, match="inferences 0: give at least 1"):
        measured_memory(request(conv_artefact(1), inferences=0))


@pytest.mark.parametrize(
    ("library", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "was ended by SIGSEGV: "),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "SIGKILL (the system may have run out of memory): ",
        ),
        ("raise MemoryError('no room')", "the process that measures memory failed: MemoryError: no room"),
        ("print('{}'); raise ImportError('libfoo.so.1')", "onnxruntime is installed but does not load: libfoo.so.1;"),
    ],
    ids=["crashes", "is killed", "fails", "does not load"],
)
def test_a_process_that_fails_is_the_reason(conv_artefact, python_path, library, reason):
    python_path("onnxruntime", library)
    found = measured_memory(request(conv_artefact(1)))
    assert reason in found.unavailable
    assert "\n" not in found.unavailable


def test_a_process_that_hangs_is_ended(conv_artefact, python_path):
    python_path("onnxruntime", "import time; time.sleep(1000)")
    found = measured_memory(request(conv_artefact(1)), limit_s=0.5)
    assert found.unavailable.endswith("did not come to an end in 0.5 s, and was ended")


def test_the_current_folder_is_no_place_to_import_from(conv_artefact, tmp_path, monkeypatch):
    path = conv_artefact(1)
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('the wrong one')")
    monkeypatch.chdir(tmp_path)
    assert measured_memory(request(path, inferences=1)).unavailable is None


def test_without_a_proc_file_system_the_peak_alone_is_known(tmp_path, monkeypatch):
    # The file as other systems have it: not at all, or without the field.
    monkeypatch.setattr(memory_use, "_STATUS", tmp_path / "status")
    assert memory_use._resident_bytes() is None
    assert 5 * MIB < memory_use._peak_bytes() < 16384 * MIB
    (tmp_path / "status").write_text("Name:\tpython\nVmRSS:\t     123 kB\n")
    assert memory_use._resident_bytes() == 123 * 1024
    with pytest.raises(memory_use.UnavailableError, match="has no VmHWM"):
        memory_use._peak_bytes()


# -- the GPU's memory


def test_a_line_on_the_gpu_is_looked_at_while_it_holds_its_memory(conv_artefact, python_path, nvml, monkeypatch):
    python_path("sitecustomize", CLAIMS_CUDA)
    seen = []

    def look(self, pid):
        seen.append(os.path.exists(f"/proc/{pid}"))  # noqa: PTH110
        nvml.processes = [{pid: 300 * MIB, 1: 7 * MIB}]
        original(self, pid)
        nvml.processes = [{}]

    original = GpuMemoryWatch.look
    monkeypatch.setattr(GpuMemoryWatch, "look", look)
    found = measured_memory(request(conv_artefact(1), device="cuda", inferences=1))
    assert found.unavailable is None
    assert (found.gpu_bytes, found.gpu_note) == (300 * MIB, "NVML, of the process")
    assert seen == [sys.platform == "linux"]


def test_without_nvml_the_rest_is_known(conv_artefact, python_path, monkeypatch):
    python_path("sitecustomize", CLAIMS_CUDA)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    found = measured_memory(request(conv_artefact(1), device="cuda", inferences=1))
    assert found.peak_rss_bytes > 0
    assert found.gpu_bytes is None
    assert "nvidia-ml-py cannot be imported" in found.gpu_note


def test_an_interruption_leaves_no_process_behind(conv_artefact, python_path, monkeypatch):
    python_path("onnxruntime", "import time; time.sleep(1000)")
    children, start = [], subprocess.Popen

    def started(*arguments, **options):
        children.append(start(*arguments, **options))
        main_thread = threading.main_thread().ident
        threading.Timer(0.3, signal.pthread_kill, [main_thread, signal.SIGINT]).start()
        return children[0]

    monkeypatch.setattr(subprocess, "Popen", started)
    with pytest.raises(KeyboardInterrupt):
        measured_memory(request(conv_artefact(1)))
    assert children[0].wait(timeout=60) == -signal.SIGKILL


def test_a_process_that_ends_before_it_is_asked(conv_artefact, python_path, monkeypatch):
    python_path("sitecustomize", "import os; os._exit(3)")
    start = subprocess.Popen

    def ended(*arguments, **options):
        child = start(*arguments, **options)
        child.wait()
        return child

    monkeypatch.setattr(subprocess, "Popen", ended)
    found = measured_memory(request(conv_artefact(1)))
    assert found.unavailable == "the process that measures memory failed: it said nothing"


def watched(nvml, *, during, after, processes=None, before=None, ends=True):
    nvml.used = before or [100 * MIB]
    nvml.processes = [{} for _ in nvml.used]
    watch = GpuMemoryWatch()
    nvml.used, nvml.processes = during, processes or nvml.processes
    watch.look(PID)
    nvml.used, nvml.processes = after, [{} for _ in nvml.used] if ends else nvml.processes
    figure = watch.figure()
    watch.close()
    return figure


def test_nvml_knows_the_process_also_on_the_second_gpu(nvml):
    processes = [{1: 5 * MIB}, {PID: 70 * MIB, 2: MIB}]
    used = [0, 80 * MIB]
    assert watched(nvml, before=[0, 0], during=used, after=[0, 0], processes=processes)[0] == 70 * MIB


def test_an_old_driver_lists_processes_under_an_old_name(nvml, monkeypatch):
    nvml.names = ("_v2",)
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(nvml))
    assert watched(nvml, during=[0], after=[0], processes=[{PID: 70 * MIB}])[0] == 70 * MIB


@pytest.mark.parametrize("processes", [[{}], [{PID: None}]], ids=["not listed", "listed without memory"])
def test_without_a_figure_of_the_process_that_of_the_gpu_counts(nvml, processes):
    found, note = watched(nvml, during=[420 * MIB], after=[101 * MIB], processes=processes)
    assert (found, note) == (320 * MIB, "NVML, all that is in use with the process less without it")


def test_it_counts_on_whichever_gpu_it_is(nvml):
    assert watched(nvml, before=[MIB, 5 * MIB], during=[MIB, 95 * MIB], after=[MIB, 5 * MIB])[0] == 90 * MIB


def test_a_process_of_the_same_number_outside_of_the_container_is_another(nvml):
    processes = [{PID: 70 * MIB}]
    found, note = watched(nvml, during=[420 * MIB], after=[100 * MIB], processes=processes, ends=False)
    assert found == 320 * MIB
    assert "all that is in use" in note


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"during": [420 * MIB], "after": [150 * MIB]}, "100 MiB before and 150 MiB after; end them and measure again"),
        ({"during": [100 * MIB], "after": [100 * MIB]}, "no more memory in use with the process than without it"),
        ({"before": [None], "during": [None], "after": [None]}, r"tells no memory (Not Supported); on a Jetson"),
    ],
    ids=["others", "nothing", "a Jetson"],
)
def test_a_figure_that_is_not_known_has_its_reason(nvml, change, reason):
    found, note = watched(nvml, **change)
    assert found is None
    assert reason in note


def test_nvml_without_a_gpu_is_given_back(nvml):
    nvml.used = []
    with pytest.raises(NoMeterError, match="NVML starts and opens no GPU"):
        GpuMemoryWatch()
