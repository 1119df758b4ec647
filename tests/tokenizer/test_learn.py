"""Learning: the merges of Hugging Face's trainer bit for bit, 64-bit counts, resumption, special tokens left alone."""

import json
import sysconfig
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers, trainers

from tokenizer import count, encode, learn, learn_run, spec

STRIKES = "a<s>b</s> c<pad>d<unk> <s></s> " * 200
WORDS = " ".join(["low"] * 5 + ["lower"] * 2 + ["newest"] * 6 + ["widest"] * 3)
SAMPLE = Path(__file__).parents[2] / "roots/sample/sources"


def learned(texts: list[str], vocab_size: int, **options) -> learn.Learned:
    return learn.learn(count.of([pa.array(texts, pa.string())]), vocab_size, **options)


def merges(found: learn.Learned) -> list[str]:
    return ["+".join(pair) for pair in json.loads(found.tokenizer().to_str())["model"]["merges"]]


def by_the_library(texts: list[str], vocab_size: int, **options) -> str:
    """The tokenizer.json of the Hugging Face trainer (tokenizers 0.23) under the same settings."""
    built = spec.build_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<unk>", "<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        **options,
    )
    built.train_from_iterator(iter(texts), trainer)
    return built.to_str()


@pytest.fixture(scope="module")
def volume() -> list[str]:
    """About 3 MB: the embedded sample in 28 languages, and the interpreter's own library."""
    library = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:90]
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in library]
    return texts + [path.read_text(encoding="utf-8", errors="replace") for path in sorted(SAMPLE.rglob("*.jsonl"))]


@pytest.mark.parametrize("vocab_size", [8_000, 32_000])
def test_the_tokenizer_is_the_librarys_byte_for_byte(volume, vocab_size):
    assert learned(volume, vocab_size, special_collisions="allow").tokenizer().to_str() == by_the_library(
        volume, vocab_size
    )


@settings(max_examples=40)
@given(
    texts=st.lists(st.text(st.sampled_from("aab cé今。<s>"), max_size=60), max_size=6),
    vocab_size=st.integers(260, 300),
    pair_count_min=st.integers(1, 4),
    token_bytes_max=st.sampled_from([None, 2, 3, 4, 7]),
)
def test_any_small_text_gives_what_the_library_gives(texts, vocab_size, pair_count_min, token_bytes_max):
    ours = learned(
        texts,
        vocab_size,
        special_collisions="allow",
        pair_count_min=pair_count_min,
        token_bytes_max=token_bytes_max,
    )
    theirs = by_the_library(texts, vocab_size, min_frequency=pair_count_min, max_token_length=token_bytes_max)
    assert ours.tokenizer().to_str() == theirs


def test_merges_go_by_count_then_by_the_smaller_ids():
    # counted by hand: es 9, est 9, lo 7, low 7, then 6 each in the order of the left id, Ġ after all letters
    found = learned([WORDS], 260 + 9)
    assert merges(found) == ["e+s", "es+t", "l+o", "lo+w", "e+w", "n+ew", "Ġ+low", "Ġ+new", "Ġnew+est"]
    assert found.counts.tolist() == [9, 9, 7, 7, 6, 6, 6, 6, 6]


def test_the_first_ids_are_the_specials_and_then_the_256_bytes():
    built = learned([WORDS], 261).tokenizer()
    names = [built.id_to_token(n) for n in range(261)]
    assert names[:4] == ["<unk>", "<s>", "</s>", "<pad>"]
    assert names[4] == "!"  # as in BLOOM
    assert sorted(spec.token_bytes(name)[0] for name in names[4:260]) == list(range(256))
    assert names[260] == "es"


def test_a_count_beyond_32_bits_is_right_and_told():
    # the library would count 2,197,800,000 as a negative number and merge c+d first
    pieces = pa.array([b"ab", b"cd"], pa.large_binary())
    found = learn.learn(count.Counts(pieces, np.array([2_197_800_000, 5])), 262)
    assert merges(found) == ["a+b", "c+d"]
    assert found.counts.tolist() == [2_197_800_000, 5]
    assert found.notes() == [
        "1 pairs come more than 2,147,483,647 times; the Hugging Face trainer, which counts in 32 bits, would have "
        "given other merges"
    ]


def test_no_merge_spells_a_special_token(tmp_path):
    found = learned([STRIKES], 400)
    built = found.tokenizer()
    assert learn.collisions(json.loads(built.to_str())) == []
    learn.save(built, tmp_path)
    encoder = encode.Encoder(tmp_path)
    ids, _ = encoder.encode(pa.array([STRIKES]))
    assert ids.min() >= 4
    assert encoder.decode(ids) == STRIKES


def test_collisions_can_be_allowed_and_are_then_those_of_the_library():
    built = learned([STRIKES], 400, special_collisions="allow").tokenizer()
    assert built.to_str() == by_the_library([STRIKES], 400)
    assert {"<s>", "</s>"} <= set(learn.collisions(json.loads(built.to_str())))
    # what the refusal is for: here the text itself becomes the end-of-document id
    built.encode_special_tokens = True
    assert 2 in built.encode("b</s>", add_special_tokens=False).ids


def test_collisions_are_found_in_the_older_way_of_writing_merges():
    assert learn.collisions({"model": {"merges": ["a b", "</ s>"]}}) == ["</s>"]


def test_fewer_pairs_than_asked_for_are_told():
    found = learned(["abc abc"], 1000)
    assert found.vocab_size == 263  # ab, abc, Ġabc
    assert found.notes() == [
        "asked for a vocabulary of 1,000, the text gave 263: no further pair comes often enough; give more text or "
        "ask for less"
    ]


def test_rare_pairs_are_left_alone_when_asked():
    assert merges(learned([WORDS], 1000, pair_count_min=9)) == ["e+s", "es+t"]


def test_a_rare_pair_is_found_below_frequent_ones_that_may_not_merge():
    # ab+c and ab+d would be of three bytes; more of them than merges wanted, and far more frequent than e+f
    found = learned(["abc," * 100 + "abd," * 100 + "ef,ef"], 262, token_bytes_max=3)
    assert merges(found) == ["a+b", "e+f"]
    assert found.counts.tolist() == [200, 2]


def test_no_text_gives_the_bytes_alone():
    found = learned([], 300)
    assert merges(found) == []
    assert (found.vocab_size, found.tokenizer().get_vocab_size()) == (260, 260)


def test_a_vocabulary_without_room_for_the_bytes_is_refused():
    with pytest.raises(ValueError, match=r"vocab_size is 259, but 4 special tokens and 256 bytes take 260"):
        learned([], 259)


def test_more_symbols_than_positions_can_name_are_refused(monkeypatch):
    monkeypatch.setattr(learn_run, "TEXT_MAX", 10)  # 2^32 would take 16 GB
    with pytest.raises(ValueError, match=r"2 distinct pieces of 11 symbols, and positions are kept in 32 bits"):
        learned(["abcd,efg"[:4] + " efg"], 300)


def test_a_megabyte_without_a_separator_is_learned_from():
    # no piece length is special: one run of 2^20 letters gives a, aa, aaaa, ... down to a pair that comes once
    found = learned(["a" * 2**20], 300)
    assert found.counts.tolist() == [2**20 - 1, *(2**n - 1 for n in range(19, 0, -1))]
    assert found.vocab_size == 280


class Killed(Exception):
    """Stands for the end of the process in the middle of learning."""


@pytest.mark.parametrize("collisions", ["refuse", "allow"])
def test_a_killed_learner_goes_on_to_the_same_merges(volume, tmp_path, monkeypatch, collisions):
    monkeypatch.setattr(learn, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(learn_run, "PAUSE_MERGES", 500)
    counts = count.of([pa.array([*volume, STRIKES])])
    path = tmp_path / "learner.npz"

    def kill(made: int, wanted: int, last: int) -> None:
        assert (wanted, last > 0) == (3_740, made > 0)
        if made > 2_000:
            raise Killed

    with pytest.raises(Killed):
        learn.learn(counts, 4_000, special_collisions=collisions, progress=kill, checkpoint=path)
    assert len(learn._read_checkpoint(path, np.load(path)["key"].item())[0]) >= 1_500
    resumed = learn.learn(counts, 4_000, special_collisions=collisions, checkpoint=path)
    whole = learn.learn(counts, 4_000, special_collisions=collisions)
    assert resumed.merges.tolist() == whole.merges.tolist()
    assert resumed.counts.tolist() == whole.counts.tolist()
    assert not path.exists()


def test_a_checkpoint_of_other_counts_and_a_file_that_is_none_are_refused(tmp_path):
    path = tmp_path / "learner.npz"
    np.savez(path, key=np.array("other"), merges=np.zeros((0, 3), np.int32), counts=np.zeros(0, np.int64))
    with pytest.raises(ValueError, match="a checkpoint of other counts or settings; remove it, or learn as before"):
        learned([WORDS], 300, checkpoint=path)
    path.write_bytes(b"cut short")
    with pytest.raises(ValueError, match=r"no checkpoint of the learner \(.*\); remove it and learn again"):
        learned([WORDS], 300, checkpoint=path)


def test_small_rooms_grow_without_changing_the_merges(volume, monkeypatch):
    want = learned(volume[:30], 2_000).merges.tolist()
    monkeypatch.setattr(learn_run, "SLOTS", 4)
    monkeypatch.setattr(learn_run, "ROOM", 1.0)
    assert learned(volume[:30], 2_000).merges.tolist() == want


def test_the_same_text_gives_the_same_files(texts, folder, tmp_path):
    digests = learn.save(learned(texts[::-1], 420).tokenizer(), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }
    assert sorted(digests) == ["special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]


def test_transformers_loads_it_as_a_fast_tokenizer(folder, encoder, texts):
    transformers = pytest.importorskip("transformers")
    loaded = transformers.AutoTokenizer.from_pretrained(folder)
    assert loaded.is_fast
    names = [loaded.unk_token, loaded.bos_token, loaded.eos_token, loaded.pad_token]
    assert names == ["<unk>", "<s>", "</s>", "<pad>"]
    ids = [loaded.unk_token_id, loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id]
    assert ids == [0, 1, 2, 3]
    assert (loaded.padding_side, loaded.model_max_length) == ("left", 2048)
    assert loaded.clean_up_tokenization_spaces is False
    assert len(loaded) == encoder.vocab_size

    plain = [text for text in texts if "<s>" not in text]
    ours, offsets = encoder.encode(pa.array(plain))
    for i, text in enumerate(plain):
        theirs = loaded(text)["input_ids"]
        assert theirs == ours[offsets[i] : offsets[i + 1]].tolist()
        assert loaded.decode(theirs) == text
    padded = loaded(["a", "a b c d"], padding=True)["input_ids"]
    assert padded[0][:-1] == [3] * (len(padded[1]) - 1)


def test_transformers_takes_a_special_token_in_text_for_one_and_our_encoder_does_not(folder, encoder):
    transformers = pytest.importorskip("transformers")
    loaded = transformers.AutoTokenizer.from_pretrained(folder)
    assert loaded("b</s>")["input_ids"][-1] == 2
    assert 2 not in encoder.encode(pa.array(["b</s>"]))[0]
