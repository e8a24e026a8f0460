"""Made-up results of the paper's comparison."""

from typing import Any

import numpy as np

from espnet_edge.runtime.bench import BenchSettings
from espnet_edge.runtime.paper.published import NETWORKS
from espnet_edge.runtime.result import Latency, LineEnergy, Result
from results import energy_of, latency_of, line, measured_file, power_of, result_of

# As the files of the real export have them.
CONV_MACS = {"espnetv2_cls": 284_810_000, "shufflenetv2": 294_740_000, "mobilenetv1": 324_630_000}
CONV_MACS |= {"shufflenetv1": 298_170_000, "mobilenetv2": 299_490_000}
ROUNDS = 8


def paper_result(
    ms: dict[str, float] | None = None,
    mj: dict[str, float] | None = None,
    *,
    batches: tuple[int, ...] = (1, 4),
    jitter: float = 0.002,
    runtime: str = "onnxruntime",
    **changes: Any,
) -> Result:
    """Each network takes `ms` and `mj` for an image, in rounds that differ by `jitter`; no energies without `mj`."""
    times = ms or {}
    lines, latencies, loads = [], [], []
    for number, network in enumerate(NETWORKS):
        for batch in batches:
            name = f"{network.model} {runtime}, batch {batch}"
            lines.append(line(name, f"{network.network}.onnx", batch=batch, runtime=runtime))
            each = [times.get(network.network, 10.0) * batch * (1 + jitter * off) for off in offsets(number)]
            latencies.append(latency_of(name, [[one] * 4 for one in each], first=not latencies, batch=batch))
            if mj:
                loads.append(windows_of(name, mj[network.network] * batch, each, number, jitter))
    files = tuple(measured_file(n.network, width_mult=n.width_mult, conv_macs=CONV_MACS[n.network]) for n in NETWORKS)
    settings = BenchSettings(rounds=ROUNDS, iterations=4)
    order = tuple(tuple(one.name for one in lines) for _ in range(ROUNDS))
    fields = {
        "files": files,
        "lines": tuple(lines),
        "latency": Latency(settings=settings, order=order, lines=tuple(latencies)),
        "power": power_of(*loads) if mj else None,
        "memory": None,
    }
    return made_of(**{**fields, **changes})


def made_of(**fields: Any) -> Result:
    """A made-up result with these parts in place of its own."""
    base = result_of()
    return Result(**{**{name: getattr(base, name) for name in Result.model_fields}, **fields})


def offsets(seed: int) -> list[float]:
    """How far each round is off, in an order of its own; in the mean 0."""
    evenly: list[float] = np.linspace(-1.5, 1.5, ROUNDS)[np.random.default_rng(seed).permutation(ROUNDS)].tolist()
    return evenly


def windows_of(name: str, gross_mj: float, each_ms: list[float], number: int, jitter: float) -> LineEnergy:
    """Energies with a window in each round, each inference as long as in the latency of that round."""
    windows = [
        {
            "round": i,
            "start_ns": 0,
            "end_ns": round(100 * ms * 1e6),
            "inferences": 100.0,
            "paused_ns": 0,
            "gross_mj": gross_mj * (1 + jitter * off),
        }
        for i, (ms, off) in enumerate(zip(each_ms, offsets(100 + number), strict=True))
    ]
    made = energy_of(name, gross_mj, gross_mj * jitter)
    return made.model_copy(update={"total": made.total.model_copy(update={"windows": tuple(windows)})})
