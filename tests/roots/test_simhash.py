import hashlib
import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roots import clusters, simhash

VECTORS = Path(__file__).parents[2] / "../shared/reference/golden_vectors.json"


def by_definition(text, unit):
    """The module's docstring in plain Python, with hashlib's MD5."""
    plain = simhash.PUNCTUATION.sub("", text.lower())
    units = plain.split(" ") if unit == "space" else list(plain)
    joined = " " if unit == "space" else ""
    votes = [0] * 64
    for first in range(len(units) - 6):
        digest = hashlib.md5(joined.join(units[first : first + 6]).encode()).digest()
        number = int.from_bytes(digest[:8], "big")
        votes = [vote + (1 if number >> bit & 1 else -1) for bit, vote in enumerate(votes)]
    return sum(1 << bit for bit, vote in enumerate(votes) if vote > 0)


@pytest.mark.skipif(not VECTORS.exists(), reason="shared/reference is not beside this checkout")
def test_fingerprints_are_those_of_the_original() -> None:
    for case in json.loads(VECTORS.read_text())["simhash"]["cases"]:
        [found] = simhash.fingerprints(pa.array([case["text"]]), case["tokenization"])
        assert found == int(case["fingerprint"]), case["text"]


@settings(max_examples=80)
@given(st.lists(st.text(st.sampled_from("ab C,. é我\u0301x"), max_size=90), max_size=4), st.sampled_from(simhash.UNITS))
def test_fingerprints_follow_the_definition(texts, unit):
    found = simhash.fingerprints(pa.array(texts, pa.string()), unit)
    assert found.tolist() == [by_definition(text, unit) for text in texts]


@pytest.mark.parametrize("size", [54, 55, 56, 57, 63, 64, 65, 119, 120, 200])
def test_shingles_of_any_length_are_digested(size):
    text = " ".join("abcdefg"[k] * (size - k) for k in range(7))
    assert simhash.fingerprints(pa.array([text]), "space").tolist() == [by_definition(text, "space")]


def test_documents_within_the_distance_share_a_key_and_short_ones_none():
    random = np.random.default_rng(5)
    flips = [sum(1 << int(bit) for bit in random.choice(64, 4, replace=False)) for _ in range(300)]
    base = random.integers(1, 2**63, 300, dtype=np.uint64)
    keys = simhash.block_keys(np.concatenate([base, base ^ np.array(flips, np.uint64)]), 6, 4)
    assert keys.shape == (600, 15)
    assert (keys[:300] == keys[300:]).any(axis=1).all()
    assert len(set(keys[0].tolist())) == 15
    assert (simhash.block_keys(np.zeros(2, np.uint64), 6, 4) == clusters.NO_KEY).all()


def test_a_fault_at_every_block_is_found_by_the_others():
    starts = itertools.accumulate([11, 11, 11, 11, 10], initial=0)
    near = [sum(1 << bit for bit in four) for four in itertools.combinations(starts, 4)]
    keys = simhash.block_keys(np.array([2**63, *(2**63 ^ n for n in near)], np.uint64), 6, 4)
    assert (keys[1:] == keys[0]).sum(axis=1).tolist() == [1] * len(near)


def test_similarity_is_the_share_of_equal_bits():
    compared = simhash.Comparison(unit="character", distance_max=4, blocks=6)
    assert (compared.bands, compared.similarity_min) == (15, 60 / 64)
    values, bounds = compared.features(
        pa.array(["a text long enough", "short", "a text long enough", "Another one here"])
    )
    assert bounds.tolist() == [0, 1, 1, 2, 3]
    expected = 1 - int(values[0] ^ values[2]).bit_count() / 64
    assert compared.similarity(values, bounds, np.array([[0, 2], [0, 3]])).tolist() == [1.0, expected]


def test_a_search_that_could_miss_is_refused():
    with pytest.raises(ValueError, match=r"distance_max must be below the number of blocks, at most 64; got 6 and 6"):
        simhash.block_keys(np.ones(1, np.uint64), 6, 6)
    with pytest.raises(ValueError, match=r"unit must be one of character, space, got 'word'"):
        simhash.fingerprints(pa.array(["a"]), "word")
