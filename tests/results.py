"""Results of made-up measurements, for tests of what is made from a result."""

from espnet_edge.power.conditions import MachineConditions
from espnet_edge.runtime.bench import BenchSettings
from espnet_edge.runtime.environment import Environment
from espnet_edge.runtime.result import (
    EnergyFigures,
    EnergyResult,
    Figure,
    Latency,
    Line,
    LineEnergy,
    LineLatency,
    LineMemory,
    MeasuredFile,
    Power,
    Result,
    Snapshot,
)
from espnet_edge.runtime.stats import Ratio, summarise

MS = 1_000_000
ENVIRONMENT = Environment(
    board=None,
    cpu="AMD EPYC",
    machine="x86_64",
    cores=2,
    usable_cores=2,
    cpu_limit=None,
    governor=None,
    os="Linux 6.1",
    python="3.11.7",
    espnet_edge="0.0.0",
    libraries={"onnxruntime": "1.32.0"},
)


def snapshot(**conditions) -> Snapshot:
    return Snapshot(load_average=0.1, conditions=MachineConditions(**conditions))


def measured_file(network: str = "espnetv2_cls", **changes) -> MeasuredFile:
    fields = {
        "path": f"{network}.onnx",
        "sha256": "ab" * 32,
        "size_bytes": 14_000_000,
        "name": network,
        "task": "classification",
        "network": network,
        "width_mult": 2.0,
        "dataset": "imagenet",
        "precision": "fp32",
        "conv_macs": 284_810_000,
        "linear_macs": 1_280_000,
        "params": 3_498_136,
        "weights_random": True,
    }
    return MeasuredFile(**{**fields, **changes})


def line(name: str = "onnxruntime", file: str = "espnetv2_cls.onnx", **changes) -> Line:
    fields = {"runtime": "onnxruntime", "version": "1.32.0", "device": "cpu", "threads": 2, "batch": 1}
    return Line(name=name, file=file, inputs=("image uint8 (1,224,224,3)",), **{**fields, **changes})


def latency_of(name: str, rounds_ms: list[list[float]], *, first: bool = False, batch: int = 1) -> LineLatency:
    """A closed loop whose inferences took so long; the ratio is 1 of a made-up first line unless it is the first."""
    samples = tuple(tuple(round(ms * MS) for ms in block) for block in rounds_ms)
    elapsed = tuple(sum(block) for block in samples)
    starts = tuple(tuple(sum(block[:i]) for i in range(len(block))) for block in samples)
    every = [sample for block in samples for sample in block]
    return LineLatency(
        name=name,
        warmup_ns=(samples[0][0],) * 3,
        steady=True,
        discarded_ns=tuple(block[0] for block in samples),
        starts_ns=starts,
        samples_ns=samples,
        elapsed_ns=elapsed,
        summary=summarise(every),
        throughput_per_s=batch * len(every) / (sum(elapsed) / 1e9),
        ratio=None if first else Ratio(1.0, 0.9, 1.1, len(samples), 0.95, 1.05),
    )


def energy_of(name: str, gross_mj: float, half_width: float = 1.0, *, net_mj: float | None = None) -> LineEnergy:
    figures = EnergyFigures(
        label="nvml counter",
        gross_mj=Figure(value=gross_mj, half_width=half_width, n=9, dof=8.0),
        net_mj=Figure(value=gross_mj / 2 if net_mj is None else net_mj, half_width=half_width, n=9, dof=8.0),
        power_mw=Figure(value=gross_mj * 100, half_width=half_width * 100, n=9, dof=8.0),
        gain_error=0.05,
        offset_mj=None,
    )
    return LineEnergy(
        name=name,
        total=figures,
        other=None,
        difference=None,
        rails=(),
        ratio=None,
        inference_ms=10.0,
        window_s=12.0,
    )


def power_of(*loads: LineEnergy) -> Power:
    return Power(schema_version=1, result=EnergyResult(loads=loads, idle_before_mw=50e3, idle_after_mw=50e3, doubts=()))


def result_of(lines: dict[str, list[list[float]]] | None = None, **changes) -> Result:
    """Latencies of lines by name, all of one file in one runtime unless `changes` has other lines and files."""
    rounds = lines or {"onnxruntime": [[10.0, 10.1, 10.2, 9.9]] * 5, "openvino": [[12.0, 12.1, 11.9, 12.2]] * 5}
    names = list(rounds)
    fields = {
        "program": "espnet-bench",
        "started": "2026-11-25T09:00:00+00:00",
        "environment": ENVIRONMENT,
        "before": snapshot(),
        "after": snapshot(),
        "files": (measured_file(),),
        "lines": tuple(line(name, runtime=name.split(",")[0]) for name in names),
        "latency": Latency(
            settings=BenchSettings(3, 0.5, 4, 5, 0),
            order=tuple(tuple(names) for _ in range(5)),
            lines=tuple(latency_of(name, rounds[name], first=name == names[0]) for name in names),
        ),
        "memory": tuple(
            LineMemory(
                name=name, before_rss_bytes=30 << 20, loaded_rss_bytes=90 << 20, peak_rss_bytes=120 << 20, inferences=5
            )
            for name in names
        ),
        "definitions": ("latency: one inference",),
    }
    return Result(**{**fields, **changes})
