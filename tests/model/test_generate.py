from __future__ import annotations

import pytest
import torch

from model import bloom, config, generate


@pytest.fixture(scope="module")
def model() -> bloom.Bloom:
    shape = config.BloomConfig(layers=2, hidden=24, heads=3, vocabulary=50, init_std=0.3)
    return bloom.Bloom(shape).initialise(torch.Generator().manual_seed(3)).eval()


def test_greedy_takes_the_likeliest_id_of_the_whole_text_each_time(model):
    ids = [2, 7, 9]
    for _ in range(12):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))  # no cache: reads everything anew
    assert generate.generate(model, [2, 7, 9], 12) == ids[3:]


def test_the_same_seed_draws_the_same_text_and_another_one_another(model):
    drawn = [generate.generate(model, [2], 20, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_end_token_stops_and_is_not_written(model):
    greedy = generate.generate(model, [2, 7, 9], 12)
    end = greedy[4]
    assert generate.generate(model, [2, 7, 9], 12, stop=end) == greedy[: greedy.index(end)]


def test_top_1_is_greedy(model):
    assert generate.generate(model, [5], 15, temperature=2.0, top_k=1) == generate.generate(model, [5], 15)


def test_top_k_never_draws_a_less_likely_id():
    logits = torch.tensor([0.0, 3.0, 1.0, 2.0])
    generator = torch.Generator().manual_seed(0)
    drawn = [generate.pick(logits, 5.0, 2, generator) for _ in range(300)]
    assert set(drawn) == {1, 3}


def test_draws_follow_the_probabilities_at_the_temperature():
    logits = torch.log(torch.tensor([0.1, 0.9]))
    generator = torch.Generator().manual_seed(0)
    shares = [sum(generate.pick(logits, t, 0, generator) for _ in range(4000)) / 4000 for t in (1.0, 0.5)]
    assert shares == [pytest.approx(0.9, abs=0.03), pytest.approx(0.81 / 0.82, abs=0.02)]


def test_an_empty_prompt_is_refused(model):
    with pytest.raises(ValueError, match="the prompt is empty; give at least the end-of-document token"):
        generate.generate(model, [], 3)


@pytest.mark.parametrize(("temperature", "top_k"), [(-1.0, 0), (1.0, -2)])
def test_a_negative_temperature_or_top_k_is_refused(model, temperature, top_k):
    with pytest.raises(ValueError, match="must not be negative"):
        generate.generate(model, [2], 3, temperature=temperature, top_k=top_k)
