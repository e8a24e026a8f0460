"""Results of made-up measurements, for tests of what is made from a result."""

from espnet_edge.power.conditions import ClockRange, MachineConditions
from espnet_edge.runtime.bench import BenchSettings
from espnet_edge.runtime.environment import Environment
from espnet_edge.runtime.result import (
    Breakdown,
    Claim,
    EnergyFigures,
    EnergyResult,
    Figure,
    Latency,
    Line,
    LineEnergy,
    LineLatency,
    LineMemory,
    MeasuredFile,
    OperatorShare,
    PaperComparison,
    Power,
    Result,
    SkippedLine,
    Snapshot,
    WorkTrace,
)
from espnet_edge.runtime.stats import Ratio, Summary, summarise

MS = 1_000_000
ENVIRONMENT = Environment(
    board=None,
    cpu="AMD EPYC",
    machine="x86_64",
    cores=2,
    usable_cores=2,
    cpu_limit=None,
    governor="performance",
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


def result_of(rounds_ms: dict[str, list[list[float]]] | None = None, /, **changes) -> Result:
    """Latencies of lines by name, all of one file in one runtime unless `changes` has other lines and files."""
    rounds = rounds_ms or {"onnxruntime": [[10.0, 10.1, 10.2, 9.9]] * 5, "openvino": [[12.0, 12.1, 11.9, 12.2]] * 5}
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
            settings=BenchSettings(rounds=5, iterations=4),
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


PAPER_NETWORKS = ("espnetv2_cls", "mobilenetv1", "mobilenetv2", "shufflenetv1", "shufflenetv2")
_PAPER_TOP1 = {
    "espnetv2_cls": 72.1,
    "mobilenetv1": 68.4,
    "mobilenetv2": 71.8,
    "shufflenetv1": 71.5,
    "shufflenetv2": 72.5,
}
_PAPER_BATCHES = (1, 4, 16)


def at_a_fixed_rate(latency: LineLatency) -> LineLatency:
    """With service times that are 0.7 of the latencies, and stages."""
    service = tuple(tuple(round(0.7 * ns) for ns in block) for block in latency.samples_ns)
    stages = {"preprocess": 0.2, "infer": 0.7, "postprocess": 0.1}
    parts = {name: tuple(tuple(round(share * ns) for ns in b) for b in service) for name, share in stages.items()}
    return latency.model_copy(
        update={
            "service_ns": service,
            "service_summary": _summary(service),
            "stages_ns": parts,
            "stages": {name: _summary(rounds) for name, rounds in parts.items()},
        }
    )


def full_result(**changes) -> Result:
    """A result of `espnet-bench` in which no part is missing."""
    rounds = {
        "onnxruntime": [[10.0 + 0.1 * i + 0.03 * j for j in range(25)] for i in range(5)],
        "openvino": [[8.0 + 0.05 * i + 0.02 * j * j / 10 for j in range(25)] for i in range(5)],
    }
    bench = result_of(rounds)
    assert bench.latency is not None
    lines = tuple(at_a_fixed_rate(each) for each in bench.latency.lines)
    clocks = (ClockRange("policy0", "schedutil", 800.0, 3600.0, 2200.0),)
    fields = {
        "command": ("--engine", "espnetv2_cls.onnx", "--measure", "latency,power,memory"),
        "before": snapshot(temperature_c=41.0, cpu_clocks=clocks, turbo=True),
        "after": snapshot(temperature_c=48.5, cpu_clocks=clocks, turbo=True),
        "latency": bench.latency.model_copy(update={"lines": lines}),
        "power": power_of(energy_of("onnxruntime", 120.0, 4.0), energy_of("openvino", 95.0, 3.0)),
        "skipped": (SkippedLine(file="espnetv2_cls.trt", runtime="tensorrt", reason="no GPU was found"),),
        "doubts": ("turbo is on: the clock depends on temperature and on what else runs; switch it off",),
        "partial": "interrupted in round 3 of 5",
    }
    return bench.model_copy(update={**fields, **changes})


def paper_result(**changes) -> Result:
    """A result of `espnet-paper` in which no part is missing: five networks, three batch sizes, one runtime."""
    rounds, files, lines, loads = {}, [], [], []
    for i, network in enumerate(PAPER_NETWORKS):
        files.append(measured_file(network, conv_macs=(284 + 8 * i) * 1_000_000, params=(23 + 3 * i) * 100_000))
        for batch in _PAPER_BATCHES:
            name = f"{network}, batch {batch}"
            ms = (9.0, 4.0, 5.0, 7.0, 4.5)[i] * batch * (0.6 + 0.4 / batch)
            rounds[name] = [[ms * (1 + 0.01 * j) for j in range(6)] for _ in range(5)]
            lines.append(line(name, f"{network}.onnx", batch=batch))
            loads.append(energy_of(name, 12 * ms, 0.4 * ms))
    bench = result_of(rounds)
    assert bench.latency is not None
    fields = {
        "program": "espnet-paper",
        "files": tuple(files),
        "lines": tuple(lines),
        "latency": bench.latency,
        "power": power_of(*loads),
        "paper": PaperComparison(
            networks=PAPER_NETWORKS,
            top1=_PAPER_TOP1,
            batches=_PAPER_BATCHES,
            claims=_claims(),
            traces=tuple(_trace(f"{network}, batch 1", i) for i, network in enumerate(PAPER_NETWORKS)),
        ),
        "breakdowns": tuple(_breakdown(f"{network}, batch 1", i) for i, network in enumerate(PAPER_NETWORKS)),
    }
    return bench.model_copy(update={**fields, **changes})


def _claims() -> tuple[Claim, ...]:
    peak = "ESPNetv2 has the lowest peak power"
    figures = {"source": "power figure, TX2", "paper": "2.86 W against 5.03 W or more", "ours": "39 W against 31 W"}
    return (
        Claim(statement=peak, verdict="does not hold", **figures),
        Claim(statement="ESPNetv2 draws the least energy", verdict="not told apart", **figures),
        Claim(statement="ESPNetv2 is as accurate as MobileNetv2", verdict="holds", **figures),
        Claim(statement="Idle power is the same", verdict="not measured", reason="no meter was found", **figures),
    )


def _trace(name: str, i: int) -> WorkTrace:
    work_s = 2.0 + 0.5 * i
    times = [round(0.1 * k - 1, 3) for k in range(70)]
    raw = [30.0 + (20 + 3 * i) * (0 <= s < work_s) + 0.7 * (k % 3) for k, s in enumerate(times)]
    filtered = [raw[0]]
    for watts in raw[1:]:
        filtered.append(0.75 * filtered[-1] + 0.25 * watts)
    return WorkTrace(
        line=name, images=1000, work_s=work_s, time_s=times, power_w=raw, filtered_time_s=times, filtered_w=filtered
    )


def _breakdown(name: str, i: int) -> Breakdown:
    kinds = ("Conv", "PRelu", "Concat", "Add", "AveragePool", "Gemm", "Relu")
    shares = [(7 - k + (k == 1) * 3 * i) / (28 + 3 * i) for k in range(7)]
    return Breakdown(
        line=name,
        operators={"Conv": 60 + i, "PRelu": 50, "Add": 12},
        kernels=90 + 5 * i,
        weights_bytes=14_000_000,
        activations_bytes=60_000_000 + 4_000_000 * i,
        shares=tuple(
            OperatorShare(operator=kind, count=10, time_ms=5 * share, share=share)
            for kind, share in zip(kinds, shares, strict=True)
        ),
        profiled_ms=5.0,
        source="onnxruntime 1.32.0 profiler, 20 inferences",
    )


def _summary(rounds: tuple[tuple[int, ...], ...]) -> Summary:
    return summarise([ns for block in rounds for ns in block])
