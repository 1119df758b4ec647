from __future__ import annotations

import pytest
import torch

from model import meter

CPU = torch.device("cpu")


def test_blooms_carbon_is_its_energy_times_the_grids():
    """433,196 kWh at 57 g are 24.7 t; Luccioni et al. 2022, table 3."""
    assert meter.carbon_grams(433_196 * 3.6e6, meter.BLOOM_CARBON) == pytest.approx(24.69e6, rel=1e-3)


def test_a_cpu_has_no_counter_and_no_peak():
    assert meter.Meter(CPU).since() is None
    assert meter.peak_tflops(CPU) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_at_work_draws_energy():
    device = torch.device("cuda", 0)
    counter = meter.Meter(device)
    one = torch.randn(4096, 4096, device=device)
    for _ in range(200):
        one @ one
    torch.cuda.synchronize()
    drawn = counter.since()
    assert drawn is None or drawn > 1
    assert meter.peak_tflops(device) is None or meter.peak_tflops(device) > 100
