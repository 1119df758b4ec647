from __future__ import annotations

import pytest
import torch

from model import bloom, config

# BLOOM model cards, "Model Architecture and Objective": parameters, of which embedding
PUBLISHED = {
    "560M": (559_214_592, 256_901_120),
    "1.1B": (1_065_314_304, 385_351_680),
    "1.7B": (1_722_408_960, 513_802_240),
    "3B": (3_002_557_440, 642_252_800),
    "7.1B": (7_069_016_064, 1_027_604_480),
    "176B": (176_247_271_424, 3_596_615_680),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_size_has_the_parameters_of_its_card(name):
    with torch.device("meta"):
        model = bloom.Bloom(config.size(name))
    counted = sum(p.numel() for p in model.parameters())
    assert (counted, model.word_embeddings.weight.numel()) == PUBLISHED[name]
    assert config.size(name).parameters() == counted


def test_the_reference_figures_are_the_same(golden):
    for case in golden["parameter_counts"]["cases"]:
        shape = config.PUBLISHED[case["name"]]
        assert (shape.layers, shape.hidden, shape.heads) == (case["layers"], case["hidden"], case["heads"])
        assert shape.parameters() == case["params"]


@pytest.mark.parametrize("name", config.SMALL)
def test_the_formula_counts_a_small_size_too(name):
    model = bloom.Bloom(config.size(name, 1000))
    assert sum(p.numel() for p in model.parameters()) == config.size(name, 1000).parameters()


def test_the_log_lines_teraflops_come_from_the_formula():
    """104.70 s for 2,048 x 2,048 tokens on 384 GPUs are 149.77 TFLOP/s each; tr11-176B-ml/README.md."""
    flops = config.size("176B").hardware_flops(2048, recomputed=1.0) * 2048 * 2048
    assert flops / 104.70 / 384 / 1e12 == pytest.approx(149.77, abs=0.01)


def test_every_size_has_its_training_figures():
    assert list(config.TRAINING) == list(config.SIZES)


def test_a_small_size_takes_the_padded_vocabulary_of_the_tokenizer():
    assert config.size("nano", 1000).vocabulary == 1024
    assert config.size("nano", 1024).vocabulary == 1024


def test_a_published_size_keeps_its_vocabulary():
    assert config.size("560M", 250_680).vocabulary == 250_880


def test_a_tokenizer_larger_than_a_published_vocabulary_is_refused():
    with pytest.raises(ValueError, match="the tokenizer has 250,881 ids, size 3B has 250,880 rows"):
        config.size("3B", 250_881)


def test_an_unknown_size_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="unknown size 'macro'; did you mean 'micro'"):
        config.size("macro")


def test_a_width_that_the_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="hidden 10 is not a multiple of heads 3"):
        config.BloomConfig(layers=1, hidden=10, heads=3)


def test_a_model_without_layers_is_refused():
    with pytest.raises(ValueError, match="layers is 0; expected at least 1"):
        config.BloomConfig(layers=0, hidden=8, heads=2)
