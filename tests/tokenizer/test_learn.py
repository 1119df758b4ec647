"""Training: the same bytes for the same text, room for every byte, no merge that spells a special token."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from tokenizers import pre_tokenizers, trainers

from tokenizer import encode, learn, spec

STRIKES = "a<s>b</s> c<pad>d<unk> <s></s> " * 200
WORDS = " ".join(["low"] * 5 + ["lower"] * 2 + ["newest"] * 6 + ["widest"] * 3)


def merges(learned) -> list[str]:
    return ["+".join(pair) for pair in json.loads(learned.to_str())["model"]["merges"]]


def by_the_library(texts: list[str], vocab_size: int) -> str:
    """The tokenizer.json of the plain Hugging Face trainer under the same settings."""
    learned = spec.build_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<unk>", "<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learned.train_from_iterator(iter(texts), trainer)
    return learned.to_str()


def test_merges_go_by_count_then_by_the_smaller_ids():
    # counted by hand: es 9, est 9, lo 7, low 7, then 6 each in the order of the left id, Ġ after all letters
    want = ["e+s", "es+t", "l+o", "lo+w", "e+w", "n+ew", "Ġ+low", "Ġ+new", "Ġnew+est"]
    assert merges(learn.train(iter([[WORDS]]), 260 + 9)) == want


def test_the_first_ids_are_the_specials_and_then_the_256_bytes():
    learned = learn.train(iter([[WORDS]]), 261)
    names = [learned.id_to_token(n) for n in range(261)]
    assert names[:4] == ["<unk>", "<s>", "</s>", "<pad>"]
    assert names[4] == "!"  # as in BLOOM
    assert sorted(spec.token_bytes(name)[0] for name in names[4:260]) == list(range(256))
    assert names[260] == "es"


def test_training_again_in_another_order_and_other_batches_gives_the_same_bytes(texts, folder, tmp_path):
    again = learn.train(iter([[text] for text in reversed(texts)]), 420)
    digests = learn.save(again, tmp_path)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert files == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {name: hashlib.sha256(data).hexdigest() for name, data in files.items()} == digests


def test_threads_and_hash_seed_do_not_change_the_bytes(folder):
    program = (
        "import sys, hashlib; sys.path.insert(0, sys.argv[1])\n"
        "import conftest; from tokenizer import learn\n"
        "learned = learn.train(iter([conftest.TEXTS]), 420)\n"
        "print(hashlib.sha256(learned.to_str(pretty=True).encode() + b'\\n').hexdigest())"
    )
    here = str(Path(__file__).parent)
    got = {
        subprocess.run(
            [sys.executable, "-c", program, here],
            env={**os.environ, "PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed, threads in (("1", "1"), ("2", "2"))
    }
    assert got == {hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()}


def test_text_without_special_tokens_gives_what_the_library_gives(texts):
    plain = [text for text in texts if "<s>" not in text]
    assert learn.train(iter([plain]), 400).to_str() == by_the_library(plain, 400)


def test_no_merge_spells_a_special_token(tmp_path):
    with pytest.warns(UserWarning, match="asked for a vocabulary of 400, the text gave"):
        learned = learn.train(iter([[STRIKES]]), 400)
    assert learn.collisions(learned.to_str()) == []
    learn.save(learned, tmp_path)
    encoder = encode.Encoder(tmp_path)
    ids, _ = encoder.encode(pa.array([STRIKES]))
    assert ids.min() >= 4
    assert encoder.decode(ids) == STRIKES


def test_collisions_can_be_allowed_and_are_then_those_of_the_library():
    with pytest.warns(UserWarning, match="asked for a vocabulary of 400"):
        learned = learn.train(iter([[STRIKES]]), 400, special_collisions="allow")
    assert learned.to_str() == by_the_library([STRIKES], 400)
    assert {"<s>", "</s>"} <= set(learn.collisions(learned.to_str()))
    # what the refusal is for: here the text itself becomes the end-of-document id
    learned.encode_special_tokens = True
    assert 2 in learned.encode("b</s>", add_special_tokens=False).ids


def test_collisions_are_found_in_the_older_way_of_writing_merges():
    assert learn.collisions(json.dumps({"model": {"merges": ["a b", "</ s>"]}})) == ["</s>"]


def test_fewer_pairs_than_asked_for_are_reported():
    with pytest.warns(UserWarning, match=r"asked for a vocabulary of 1000, the text gave 261: no further pair"):
        learned = learn.train(iter([["abc abc"]]), 1000, token_bytes_max=2)
    assert learned.get_vocab_size() == 261  # ab; abc and Ġab are too long


def test_rare_pairs_are_left_alone_when_asked():
    with pytest.warns(UserWarning, match="no further pair comes 9 times"):
        learned = learn.train(iter([[WORDS]]), 1000, pair_count_min=9)
    assert merges(learned) == ["e+s", "es+t"]


def test_no_text_gives_the_bytes_alone():
    with pytest.warns(UserWarning, match="the text gave 260"):
        assert merges(learn.train(iter([]), 300)) == []


def test_a_vocabulary_without_room_for_the_bytes_is_refused():
    with pytest.raises(ValueError, match=r"vocab_size is 259, but 4 special tokens and 256 bytes take 260"):
        learn.train(iter([]), 259)


def test_more_text_than_the_trainer_can_count_is_refused():
    with pytest.raises(ValueError, match=r"more than 5 bytes of text, where the trainer's 32-bit counts"):
        learn.train(iter([["été"], ["a"]]), 300, text_bytes_max=5)


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
