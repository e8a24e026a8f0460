"""The recorded NVML traces beside the project: what nvidia-smi said, when the load ran, and what a meter measured.

From github.com/JimZeyuYang/GPU_Power_Benchmark (MIT, Copyright (c) 2023 Zeyu Yang), data of Yang et al.,
arXiv 2312.02741. All instants are of the recordings' Unix clock in ns.
"""

import csv
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np

from espnet_edge.power.trace import PowerTrace

BURSTS_3090, BURSTS_A100 = "5050/3090", "5050/A100"
STEP_3090, STEP_4090, STEP_A100, STEP_A5000 = (
    f"Transient_Response/{card}_TR" for card in ("3090", "4090", "A100", "A5000")
)
# The recordings' clock shows UTC + 1 h, their other files UTC.
_LOCAL = timezone(timedelta(hours=1))
_RECORD = np.dtype([("tick", "<u2"), ("words", "<u2", 8)])
_TICKS_PER_MS = 2_933.5
_VOLT, _AMPERE = 0.007568, 0.0488  # of the least significant bit
_FIRST_RECORD_EARLIER_NS = 50_000_000


@dataclass(frozen=True)
class Recording:
    """One folder. `columns`: a trace for each power column of nvidia-smi; `loads_ns`: start and end of each load."""

    columns: dict[str, PowerTrace]
    loads_ns: list[tuple[int, int]]
    meter: PowerTrace

    @property
    def common_ns(self) -> tuple[int, int]:
        """What both saw, less 1.5 s at its start and 0.5 s at its end."""
        smi = self.columns["power.draw"].time_ns
        start_ns, end_ns = max(smi[0], self.meter.time_ns[0]), min(smi[-1], self.meter.time_ns[-1])
        return int(start_ns) + 1_500_000_000, int(end_ns) - 500_000_000


def read_recording(shared: Path, name: str) -> Recording:
    folder = shared / "traces" / "nvml" / name
    return Recording(_smi(folder / "gpudata.csv"), _loads(folder / "timestamps.csv"), _meter(folder))


def _smi(path: Path) -> dict[str, PowerTrace]:
    with path.open() as file:
        rows = list(csv.DictReader(file, skipinitialspace=True))
    time_ns = [_unix_ns(row["timestamp"]) for row in rows]
    names = [name for name in rows[0] if name.startswith("power.draw")]
    return {
        name.removesuffix(" [W]"): _polled(time_ns, [float(row[name].removesuffix(" W")) * 1e3 for row in rows])
        for name in names
    }


def _unix_ns(text: str) -> int:
    moment = datetime.strptime(text, "%Y/%m/%d %H:%M:%S.%f").replace(tzinfo=_LOCAL)
    return round(moment.timestamp() * 1000) * 1_000_000


def _polled(time_ns: list[int], power_mw: list[float]) -> PowerTrace:
    """Rows of one and the same millisecond are one: the last of them."""
    last = np.append(np.diff(time_ns) > 0, True)
    return PowerTrace(np.array(time_ns)[last], np.array(power_mw)[last], source="nvidia-smi")


def _loads(path: Path) -> list[tuple[int, int]]:
    edges = sorted({int(line) * 1000 for line in path.read_text().split()[1:]})
    return list(zip(edges[::2], edges[1::2], strict=False))


def _meter(folder: Path) -> PowerTrace:
    records = np.frombuffer((folder / "PMD_data.bin").read_bytes(), _RECORD)
    ticks = np.concatenate([[0], np.cumsum(np.diff(records["tick"]).astype(np.int64))])
    start_ns = int((folder / "PMD_start_ts.txt").read_text()) * 1000 - _FIRST_RECORD_EARLIER_NS
    signed = (records["words"].astype(np.int64) >> 4) & 0xFFF
    counts = np.where(signed & 0x800, 0, signed)
    power_w = (counts[:, 0::2] * _VOLT * counts[:, 1::2] * _AMPERE).sum(axis=1)
    return PowerTrace(start_ns + np.round(ticks * 1e6 / _TICKS_PER_MS).astype(np.int64), power_w * 1e3, "meter")
