"""A libnvidia-ml.so.1 without a GPU, made of power/fake_nvml.c, whose first lines say what it can be told.

It is loaded by processes of its own only: in this one it would stay for all tests that follow.
"""

import atexit
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

_SOURCE = Path(__file__).parent / "power" / "fake_nvml.c"
_LIBRARY = "libnvidia-ml.so.1"
_NEWEST = 9999

# What every program has: `fake`, virtual time, another configuration, and errors as numbers and text.
_PRELUDE = """
import ctypes, json, os, pathlib, sys
from espnet_edge.power.nvml import open_nvml

def load_fake():
    fake = ctypes.CDLL("libnvidia-ml.so.1")
    fake.fake_nvml_set_time_ns.argtypes = [ctypes.c_int64]
    fake.fake_nvml_time_ns.restype = ctypes.c_int64
    return fake

def at(seconds):
    load_fake().fake_nvml_set_time_ns(round(seconds * 1e9))

def clock():
    return load_fake().fake_nvml_time_ns()

def configure(text):
    at(0)
    pathlib.Path(os.environ["FAKE_NVML"]).write_text(text)

def attempt(action, *arguments, **options):
    try:
        return action(*arguments, **options)
    except Exception as error:
        return {"error": type(error).__name__, "text": str(error), "way_out": getattr(error, "way_out", None)}

def opened(text, uuid=None):
    configure(text)
    return open_nvml(uuid, clock=clock)

def answer(value):
    print("ANSWER" + json.dumps(value))
"""


@functools.cache
def library_folder(old_driver: int = _NEWEST) -> Path:
    """The folder with the library, compiled once in this process; skips the test where no compiler is.

    Args:
        old_driver: 520 or 375 for a library that lacks what came later.
    """
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        reason = "no C compiler to make an imitated libnvidia-ml.so.1 with: install gcc"
        # Where nothing may be skipped, this may not either.
        (pytest.fail if os.environ.get("ESPNET_EDGE_REQUIRE_SHARED") else pytest.skip)(reason)
    folder = Path(tempfile.mkdtemp(prefix="fake_nvml_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    options = ["-std=gnu11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"]
    command = [*options, f"-DOLD_DRIVER={old_driver}", f"-Wl,-soname,{_LIBRARY}", _SOURCE, "-o", folder / _LIBRARY]
    subprocess.run([compiler, *command, "-lm"], check=True)
    return folder


def environment(config: str, folder: Path, *, old_driver: int = _NEWEST) -> dict[str, str]:
    """The environment of a process that finds the imitated library, told `config`, which is written into `folder`.

    A command that runs in real time is told "clock = real", and "power = process 30 90" for a GPU that draws 30 W, and
    90 W more for each core that the command keeps busy.
    """
    path = folder / "fake_nvml.conf"
    path.write_text(config)
    places = [str(library_folder(old_driver)), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(places), "FAKE_NVML": str(path)}


def run(program: str, environ: dict[str, str]) -> Any:
    """What the Python program gives to `answer(...)`, which it calls once; see _PRELUDE for what else it has."""
    command = [sys.executable, "-W", "error", "-c", _PRELUDE + program]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    *_, last = done.stdout.splitlines()
    return json.loads(last.removeprefix("ANSWER"))
