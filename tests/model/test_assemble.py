from __future__ import annotations

import pytest
import torch

from model import assemble, bloom, config, loss, parallel

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SHAPE = config.SIZES["nano"]
WHERE = parallel.World(rank=0, size=1, device=CPU)


def test_a_cpu_gets_sdpa_in_float32_and_the_loss_in_place():
    model, module = assemble.build(SHAPE, WHERE, seed=1)
    assert module is model
    assert (model.attention, model.loss, model.dtype, model.compiled) == (
        bloom.SDPA,
        loss.in_place,
        torch.float32,
        False,
    )


def test_a_gpu_without_cudnns_front_end_or_with_112_heads_gets_flex():
    assert assemble.attention("auto", config.SIZES["176B"], CUDA) is bloom.FLEX


@pytest.mark.parametrize(
    ("name", "device", "message"),
    [
        ("flash", CPU, "--attention is 'flash'; expected auto, sdpa, flex, cudnn, legacy"),
        ("flex", CPU, "--attention flex: torch has no backward pass of it on a CPU; use sdpa"),
        ("cudnn", CPU, "--attention cudnn: torch has no backward pass of it on a CPU; use sdpa"),
    ],
)
def test_an_attention_that_cannot_be_is_refused(name, device, message):
    with pytest.raises(ValueError, match=message):
        assemble.attention(name, SHAPE, device)


def test_cudnn_that_is_not_installed_is_told(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"--attention cudnn: not installed; `pip install 'bloom-roots\[cudnn\]'`"):
        assemble.attention("cudnn", SHAPE, CUDA)
    assert assemble.loss_of("auto", CUDA) is loss.compiled


def test_a_loss_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="--loss is 'focal'; expected auto, plain, in-place, compiled"):
        assemble.loss_of("focal", CPU)


def test_the_same_seed_draws_the_same_weights_and_another_one_others():
    found = [assemble.build(SHAPE, WHERE, seed=seed)[0].word_embeddings.weight for seed in (1, 1, 2)]
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
