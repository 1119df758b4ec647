"""The published log line of the 176B run: iteration 85376/115311, 158692272 samples, learning rate 1.150E-05
(bigscience train/tr11-176B-ml/README.md)."""

from __future__ import annotations

import pytest
import torch

from model import bloom, config, optimizer

LARGEST = config.TRAINING["176B"]
SAMPLES = 220_000_000  # --train-samples of every size; bigscience tr11 scripts
RATE = {"peak": 6e-5, "minimum": 6e-6, "warmup": 183_105, "decay": 200_000_000}


def test_the_log_lines_samples_come_from_the_batch_ramp():
    assert optimizer.samples_after(85_376, LARGEST.batch, LARGEST.ramp) == 158_692_272


def test_the_log_lines_number_of_iterations_comes_from_the_batch_ramp():
    """All whole steps that the samples allow; megatron/training.py, update_train_iters."""
    assert optimizer.samples_after(115_311, LARGEST.batch, LARGEST.ramp) <= SAMPLES
    assert optimizer.samples_after(115_312, LARGEST.batch, LARGEST.ramp) > SAMPLES


def test_the_log_lines_learning_rate_comes_from_the_samples(golden):
    rate = optimizer.learning_rate(158_692_272, **RATE)
    assert f"{rate:.3E}" == "1.150E-05"
    assert rate == pytest.approx(golden["lr_schedule"]["value"], rel=1e-12)


@pytest.mark.parametrize(
    ("samples", "rate"),
    [(0, 0.0), (50, 0.5), (100, 1.0), (600, 0.55), (1100, 0.1), (5000, 0.1)],
)
def test_the_rate_rises_straight_and_falls_by_half_a_cosine(samples, rate):
    got = optimizer.learning_rate(samples, peak=1.0, minimum=0.1, warmup=100, decay=1100)
    assert got == pytest.approx(rate)


def test_without_warm_up_the_first_step_has_the_peak_rate():
    assert optimizer.learning_rate(0, peak=1.0, minimum=0.1, warmup=0, decay=100) == 1.0


@pytest.mark.parametrize("name", config.TRAINING)
def test_every_sizes_ramp_reaches_its_batch(name):
    figures = config.TRAINING[name]
    assert optimizer.batch_size(10**9, figures.batch, figures.ramp) == figures.batch
    if figures.ramp is not None:
        assert optimizer.batch_size(0, figures.batch, figures.ramp) == 192
        assert optimizer.batch_size(figures.ramp[2], figures.batch, figures.ramp) == figures.batch


def test_the_batch_grows_at_equal_distances():
    sizes = [optimizer.batch_size(s, 8, (2, 2, 90)) for s in (0, 29, 30, 59, 60, 89, 90, 91)]
    assert sizes == [2, 2, 4, 4, 6, 6, 8, 8]


def test_the_sum_of_the_batches_is_what_is_consumed():
    ramp, samples = (2, 2, 90), 0
    for step in range(40):
        assert optimizer.samples_after(step, 8, ramp) == samples
        samples += optimizer.batch_size(samples, 8, ramp)


def test_a_ramp_that_misses_the_batch_is_refused():
    with pytest.raises(ValueError, match="192 plus steps of 30 does not reach 256; change the increment"):
        optimizer.batch_size(0, 256, (192, 30, 1000))


def test_matrices_and_the_embedding_decay_and_vectors_do_not():
    model = bloom.Bloom(config.size("nano"))
    names = {id(p): name for name, p in model.named_parameters()}
    decayed, plain = optimizer.adamw(model, 1e-3).param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert {names[id(p)].removeprefix("h.0.").removeprefix("h.1.") for p in decayed["params"]} == {
        "word_embeddings.weight",
        "self_attention.query_key_value.weight",
        "self_attention.dense.weight",
        "mlp.dense_h_to_4h.weight",
        "mlp.dense_4h_to_h.weight",
    }
    assert len(decayed["params"]) + len(plain["params"]) == len(names)


def test_a_step_is_adamw_by_hand():
    layer = torch.nn.Linear(1, 1, bias=True)
    torch.nn.init.constant_(layer.weight, 2.0)
    torch.nn.init.constant_(layer.bias, 2.0)
    adamw = optimizer.adamw(layer, 0.1)
    layer.weight.grad, layer.bias.grad = torch.full((1, 1), 3.0), torch.full((1,), 3.0)
    adamw.step()
    # first step: the corrected moments give a direction of 1; the weight alone decays by rate * 0.1 of itself
    assert layer.weight.item() == pytest.approx(2.0 * (1 - 0.1 * 0.1) - 0.1, rel=1e-6)
    assert layer.bias.item() == pytest.approx(2.0 - 0.1, rel=1e-6)
