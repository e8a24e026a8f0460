"""What an inference costs: power traces, sensors, energy with its uncertainty."""

from .analysis import analyse
from .campaign import Settings, measure
from .energy import counter_energy, energy_j
from .figures import EnergyReport, Unavailable
from .meter import Meter, MeterInfo, Reading
from .meters import open_meter
from .recording_file import read_recording
from .samples import Sampler, running
from .trace import CounterTrace, PowerTrace, SensorFacts
from .uncertainty import Estimate

__all__ = [
    "CounterTrace",
    "EnergyReport",
    "Estimate",
    "Meter",
    "MeterInfo",
    "PowerTrace",
    "Reading",
    "Sampler",
    "SensorFacts",
    "Settings",
    "Unavailable",
    "analyse",
    "counter_energy",
    "energy_j",
    "measure",
    "open_meter",
    "read_recording",
    "running",
]
