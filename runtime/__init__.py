"""How an artefact runs and how long it takes: manifest, runners, bench."""

from .bench import BenchSettings, bench
from .manifest import Manifest, load_manifest
from .runner import Runner, RunnerInfo, open_runner
from .trt_runner import TrtRunner
from .work import Work

__all__ = [
    "BenchSettings",
    "Manifest",
    "Runner",
    "RunnerInfo",
    "TrtRunner",
    "Work",
    "bench",
    "load_manifest",
    "open_runner",
]
