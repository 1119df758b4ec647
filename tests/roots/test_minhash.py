import csv
import gzip
import json
from pathlib import Path

import datasketch
import numpy as np
import pyarrow as pa
import pytest

from roots import clusters, minhash, shingles

CASES = Path(__file__).parents[2] / "../shared/cases/neardup"
TEXTS = {
    "en": "The well at the end of the village never ran dry, not even in the year of the long drought.",
    "fr": "Le puits au bout du village ne s'est jamais tari, même l'année de la grande sécheresse.",
    "ar": "لم تجف البئر في آخر القرية قط، حتى في سنة الجفاف الطويل.",
    "zhs": "村子尽头的那口井从来没有干过，连大旱那一年也没有。",
    "th": "บ่อน้ำท้ายหมู่บ้านไม่เคยแห้งเลย แม้ในปีที่แล้งยาวนาน",
    "indic-hi": "गाँव के छोर का कुआँ कभी नहीं सूखा, लंबे अकाल के साल में भी नहीं।",
    "sw": "Kisima cha mwisho wa kijiji hakikukauka kamwe, hata mwaka wa ukame mrefu.",
    "code": "for i in range(10):\n    total[i % 3] += weights[i] * weights[i - 1]\n",
    "two words": "only two",
    "repeats": "on and on and on and on and on and on and on and on and on",
    "long": " ".join(f"word{k * k % 4001}" for k in range(3000)),
}


def by_datasketch(text, num_perm, seed, ngram):
    values, _ = shingles.hashes(pa.array([text]), ngram)
    sketch = datasketch.MinHash(num_perm=num_perm, seed=seed, hashfunc=int, scheme="affine32")
    sketch.update_batch((values & np.uint64(0xFFFFFFFF)).tolist())
    return sketch


@pytest.mark.parametrize(("num_perm", "seed", "ngram"), [(128, 1, 5), (100, 42, 1), (3, 7, 13)])
def test_signatures_equal_those_of_datasketch(num_perm, seed, ngram):
    signatures = minhash.signatures(pa.array(TEXTS.values()), num_perm=num_perm, seed=seed, ngram=ngram)
    assert signatures.dtype == np.uint32
    for row, text in zip(signatures, TEXTS.values(), strict=True):
        assert row.tolist() == by_datasketch(text, num_perm, seed, ngram).hashvalues.tolist()


def test_datasketch_reads_our_signatures():
    [row] = minhash.signatures(pa.array([TEXTS["en"]]), num_perm=64, seed=9, ngram=2)
    ours = datasketch.MinHash(hashvalues=row, seed=9, scheme="affine32")
    assert ours.jaccard(by_datasketch(TEXTS["en"], 64, 9, 2)) == 1.0


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 511, 512, 513, 1025])
def test_any_number_of_shingles_lowers_the_signature_as_in_datasketch(count):
    text = " ".join(f"w{k}" for k in range(count))
    [row] = minhash.signatures(pa.array([text]), num_perm=16, seed=1, ngram=1)
    assert row.tolist() == by_datasketch(text, 16, 1, 1).hashvalues.tolist()


def test_slices_and_other_batches_give_the_same_signatures():
    texts = ["", *TEXTS.values(), "..."]
    options = {"num_perm": 32, "seed": 1, "ngram": 5}
    whole = minhash.signatures(pa.array(texts), **options)
    array = pa.array(["unrelated", *texts, "unrelated"])
    assert (minhash.signatures(array[1:-1], **options) == whole).all()
    singles = [minhash.signatures(array[k : k + 1], **options)[0] for k in range(1, len(texts) + 1)]
    assert (np.stack(singles) == whole).all()
    assert minhash.signatures(array[:0], **options).shape == (0, 32)


def test_a_document_without_shingles_matches_nobody_not_even_its_like():
    signatures = minhash.signatures(pa.array(["", " \n…", "a", "A!"]), num_perm=12, seed=1, ngram=5)
    assert (signatures[:2] == minhash.MAX_VALUE).all()
    keys = minhash.band_keys(signatures, 4, 3)
    assert (keys[:2] == minhash.NO_BAND).all()
    pairs = clusters.candidate_pairs(keys.ravel(), np.repeat(np.arange(4), 4), 10)
    assert pairs.tolist() == [[2, 3]]
    assert minhash.estimate(signatures[[0, 0, 2]], signatures[[1, 2, 3]]).tolist() == [0.0, 0.0, 1.0]


def test_a_band_key_depends_on_its_rows_and_its_place_alone():
    signatures = np.array([[1, 2, 1, 2, 9], [1, 2, 2, 1, 8], [5, 6, 1, 2, 7]], np.uint32)
    keys = minhash.band_keys(signatures, 2, 2)
    assert keys[0, 0] == keys[1, 0] and keys[0, 1] == keys[2, 1]
    assert len(set(keys.ravel().tolist())) == 4  # equal rows in another band, or in another order, differ


def similar_pairs(count):
    """Pairs of texts that share from none to all of their eight-word sentences, none of them repeated."""
    a, b = [], []
    for k in range(count):
        words = [f"{k}x{n}" for n in range(1600)]
        sentences = [" ".join(words[n : n + 8]) for n in range(0, 1600, 8)]
        shared = round(100 * k / (count - 1))
        a.append(". ".join(sentences[:100]))
        b.append(". ".join(sentences[100 - shared : 200 - shared]))
    return a, b


def test_the_estimate_is_unbiased_and_as_exact_as_theory_says():
    a, b = similar_pairs(1001)
    values, offsets = shingles.sets(pa.array(a + b), 5)
    exact = shingles.pair_jaccard(values, offsets, np.arange(2002).reshape(2, -1).T)
    assert exact.min() == 0.0 and exact.max() == 1.0
    signatures = minhash.signatures(pa.array(a + b), num_perm=128, seed=1, ngram=5)
    error = minhash.estimate(signatures[:1001], signatures[1001:]) - exact
    # mean absolute deviation of a binomial share: sqrt(2 / pi) of its standard deviation
    theory = 0.8 * np.sqrt(exact * (1 - exact) / 128)
    assert abs(error.mean()) < 0.005
    assert abs(np.abs(error).mean() / theory.mean() - 1) < 0.1


def test_bands_find_pairs_as_often_as_theory_says():
    bands, rows = 16, 8
    a, b = similar_pairs(1001)
    values, offsets = shingles.sets(pa.array(a + b), 5)
    exact = shingles.pair_jaccard(values, offsets, np.arange(2002).reshape(2, -1).T)
    keys = minhash.band_keys(minhash.signatures(pa.array(a + b), num_perm=128, seed=3, ngram=5), bands, rows)
    found = (keys[:1001] == keys[1001:]).any(axis=1)
    theory = minhash.theory(exact, bands, rows)
    deviation = np.sqrt((theory * (1 - theory)).sum())
    assert abs(found.sum() - theory.sum()) < 4 * deviation


@pytest.mark.parametrize(
    ("num_perm", "threshold", "recall_min", "split"),
    [
        (128, 0.8, 0.99, (21, 6)),  # 1 - (1 - 0.8^6)^21 = 0.9983; with 7 rows 18 bands, 0.9855
        (128, 0.8, 0.98, (18, 7)),
        (100, 1.0, 1.0, (1, 100)),
        (4, 0.5, 0.93, (4, 1)),  # 1 - 0.5^4 = 0.9375; with 2 rows 1 - 0.75^2 = 0.4375
    ],
)
def test_the_longest_rows_that_reach_the_recall_are_chosen(num_perm, threshold, recall_min, split):
    assert minhash.bands_and_rows(num_perm, threshold, recall_min) == split


def test_a_recall_out_of_reach_is_refused():
    with pytest.raises(ValueError, match=r"4 permutations cannot find a pair of Jaccard 0.5 with probability 0.95"):
        minhash.bands_and_rows(4, 0.5, 0.95)


@pytest.mark.parametrize(("threshold", "recall_min"), [(0.0, 0.9), (1.1, 0.9), (0.8, 0.0), (0.8, 1.1)])
def test_shares_outside_0_to_1_are_refused(threshold, recall_min):
    with pytest.raises(ValueError, match=rf"must lie in \(0, 1\], got {threshold} and {recall_min}"):
        minhash.bands_and_rows(128, threshold, recall_min)


def test_sizes_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"num_perm, the values in a signature, must be at least 1, got 0"):
        minhash.signatures(pa.array(["a"]), num_perm=0, seed=1, ngram=5)
    with pytest.raises(ValueError, match=r"ngram, the tokens in a shingle, must be at least 1, got 0"):
        minhash.signatures(pa.array(["a"]), num_perm=8, seed=1, ngram=0)
    with pytest.raises(ValueError, match=r"3 bands of 3 rows need 9 values, a signature here has 8"):
        minhash.band_keys(np.zeros((1, 8), np.uint32), 3, 3)


@pytest.mark.skipif(not CASES.exists(), reason="shared/cases/neardup is not beside this checkout")
@pytest.mark.parametrize("case", ["computed_tldr_es_dev", "code_versions_dev"])
def test_near_duplicates_computed_elsewhere_are_found_with_their_similarity(case):
    with gzip.open(CASES / f"{case}.docs.jsonl.gz", "rt") as file:
        documents = [json.loads(line) for line in file]
    row = {document["id"]: k for k, document in enumerate(documents)}
    with (CASES / f"{case}.pairs.tsv").open() as file:
        cases = list(csv.DictReader(file, delimiter="\t"))
    labelled = np.array([sorted((row[c["id_a"]], row[c["id_b"]])) for c in cases])
    stated = np.array([float(c["jaccard_word5"]) for c in cases])
    text = pa.array([document["text"] for document in documents])

    values, offsets = shingles.sets(text, 5)
    assert np.abs(shingles.pair_jaccard(values, offsets, labelled) - stated).max() < 0.0001  # four decimals
    bands, rows = minhash.bands_and_rows(128, 0.8, 0.99)
    keys = minhash.band_keys(minhash.signatures(text, num_perm=128, seed=1, ngram=5), bands, rows)
    pairs = clusters.candidate_pairs(keys.ravel(), np.repeat(np.arange(len(text)), bands), 1000)
    near = pairs[shingles.pair_jaccard(values, offsets, pairs) >= 0.8]
    expected = {tuple(p) for p in labelled[stated >= 0.8].tolist()}
    assert len(expected) > 20
    assert {tuple(p) for p in near.tolist()} == expected  # recall and precision of 1
