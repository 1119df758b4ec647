"""The sample: ratios against the published ones, and a choice that rests on ids alone."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roots import catalogue
from tokenizer import sample

# Languages of which every source of the tokenizer's sample is in our catalogue with an exact size; the others had
# sources that were dropped later. The published ratios: data-preparation, tokenizer_dataset_ratios.json
WHOLE = ("indic-gu", "indic-ne", "indic-or", "indic-te")
SIZES = st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 10**12), min_size=1)


def published(language: str) -> dict[str, tuple[int, float]]:
    """Size and ratio of a language's sources."""
    return {
        source.name: (source.raw_bytes, source.tokenizer_ratio)
        for source in catalogue.load()
        if source.language == language and source.tokenizer_ratio is not None and source.raw_bytes
    }


@given(sizes=SIZES, total=st.integers(0, 10**13))
def test_water_filling_takes_the_small_whole_and_the_large_up_to_one_level(sizes, total):
    taken = sample.fill(sizes, total)
    assert math.isclose(sum(taken.values()), min(total, sum(sizes.values())), rel_tol=1e-9, abs_tol=1e-3)
    level = max(taken.values())
    assert all(math.isclose(taken[name], min(size, level), rel_tol=1e-9, abs_tol=1e-3) for name, size in sizes.items())


@pytest.mark.parametrize("language", WHOLE)
def test_inside_a_language_the_ratios_are_the_published_ones(language):
    sources = published(language)
    budget = sum(size * ratio for size, ratio in sources.values())
    taken = sample.fill({name: size for name, (size, _) in sources.items()}, budget)
    assert len(sources) >= 1
    for name, (size, ratio) in sources.items():
        assert taken[name] / size == pytest.approx(ratio, abs=2e-3), name


def test_languages_weigh_their_size_to_the_power_of_0_3():
    # Gujarati and Nepali, whose sources are all known: what the published ratios take of each
    taken, sizes = {}, {}
    for language in ("indic-gu", "indic-ne"):
        for name, (size, ratio) in published(language).items():
            sizes[name] = language, size
            taken[language] = taken.get(language, 0.0) + size * ratio
    shares = sample.shares(sizes, alpha=0.3, language_bytes_total=800e9, sample_bytes=sum(taken.values()))
    for language, want in taken.items():
        got = sum(share.ratio * share.bytes for share in shares.values() if share.language == language)
        assert got == pytest.approx(want, rel=2e-3)


def test_the_largest_languages_are_cut_before_they_are_weighed():
    # 60 + 30 + 10 cut to 50 in all: 20, 20, 10; weights 20^.5 20^.5 10^.5 of 50 bytes of sample
    sizes = {"a": ("en", 60), "b": ("fr", 30), "c": ("sw", 10)}
    shares = sample.shares(sizes, alpha=0.5, language_bytes_total=50, sample_bytes=20)
    weights = np.sqrt([20, 20, 10])
    want = 20 * weights / weights.sum() / [60, 30, 10]
    assert [share.ratio for share in shares.values()] == pytest.approx(want.tolist())


def test_a_source_without_bytes_and_a_corpus_without_any_are_taken_whole():
    shares = sample.shares({"a": ("en", 0)}, alpha=0.3, language_bytes_total=1, sample_bytes=1)
    assert shares["a"] == sample.Share(language="en", bytes=0, ratio=1.0)


def test_about_the_ratio_is_drawn_and_of_it_about_the_share_is_held_out():
    ids = pa.array([f"source/file:{n}" for n in range(20_000)])
    drawn, held_out = sample.chosen(ids, 0.25, 0.1, 42)
    assert abs(drawn.sum() - 5_000) < 4 * math.sqrt(20_000 * 0.25 * 0.75)
    assert abs(held_out.sum() - 500) < 4 * math.sqrt(5_000 * 0.1 * 0.9)
    assert not (held_out & ~drawn).any()
    more, _ = sample.chosen(ids, 0.5, 0.1, 42)
    assert (more & drawn).sum() == drawn.sum()  # a larger sample holds the smaller


def test_the_choice_rests_on_ids_and_seed_alone():
    ids = pa.array([f"{n}" for n in range(1_000)])
    whole = sample.chosen(ids, 0.5, 0.2, 1)
    parts = [sample.chosen(ids[a : a + 100], 0.5, 0.2, 1) for a in range(0, 1_000, 100)]
    for k in range(2):
        assert np.concatenate([part[k] for part in parts]).tolist() == whole[k].tolist()
    assert sample.chosen(ids, 0.5, 0.2, 2)[0].tolist() != whole[0].tolist()
    assert sample.chosen(ids, 1.0, 0.0, 1)[0].all()
    assert not sample.chosen(ids, 0.0, 0.5, 1)[0].any()
