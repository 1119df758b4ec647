"""What a run costs: the GPUs' energy, its carbon, and the share of the machine's peak that it reaches."""

from __future__ import annotations

from typing import Any

import torch

BLOOM_CARBON = 57.0  # g CO2eq per kWh of the French grid; Luccioni et al. 2022 (arXiv 2211.02001)
JOULES_PER_KWH = 3.6e6

# Dense bfloat16 TFLOP/s by the maker's data sheets. The sustained rate is lower: an H200 at its power limit
# multiplies at about 660
PEAK_TFLOPS = {"A100": 312.0, "H100": 989.4, "H200": 989.4, "L40S": 362.0, "B200": 2250.0}


def peak_tflops(device: torch.device) -> float | None:
    """Of one GPU, or null where it is not in the table."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for model, peak in PEAK_TFLOPS.items() if model in name), None)


def carbon_grams(joules: float, grams_per_kwh: float) -> float:
    return joules / JOULES_PER_KWH * grams_per_kwh


class Meter:
    """The energy counter of one GPU; hosts, networks, cooling and the making of the machine are not in it."""

    def __init__(self, device: torch.device) -> None:
        self.library, self.handle = _counter(device)
        self.before = self.joules()

    def joules(self) -> float | None:
        """Since the driver was loaded, or null where nothing counts."""
        if self.library is None:
            return None
        return self.library.nvmlDeviceGetTotalEnergyConsumption(self.handle) / 1000  # it counts millijoules

    def since(self) -> float | None:
        """Joules since the last call, or since the beginning."""
        now = self.joules()
        drawn = None if now is None or self.before is None else now - self.before
        self.before = now
        return drawn


def _counter(device: torch.device) -> tuple[Any, Any]:
    """NVML and its handle of a GPU; two nulls on a CPU, without `nvidia-ml-py`, or for a GPU without a counter."""
    if device.type != "cuda":
        return None, None
    try:
        import pynvml
    except ImportError:
        return None, None
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError:
        return None, None
    return pynvml, handle
