"""How an artefact runs and how long it takes: manifest, runners, bench."""

from .bench import bench
from .manifest import Manifest, load_manifest
from .runner import Runner, RunnerInfo, open_runner
from .trt_runner import TrtRunner

__all__ = ["Manifest", "Runner", "RunnerInfo", "TrtRunner", "bench", "load_manifest", "open_runner"]
