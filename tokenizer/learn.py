"""Learning the merges from text, and writing a tokenizer so that `transformers` loads it.

The learner is the BPE trainer of Hugging Face `tokenizers`: the pair with the highest count is merged first,
of equal pairs the one with the smaller ids, so the result depends on the multiset of pieces alone, not on
order or threads.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import tokenizers
from tokenizers import pre_tokenizers, trainers

from tokenizer import spec

TOKENIZER = "tokenizer.json"
Collisions = Literal["refuse", "allow"]

# The trainer counts pairs in 32-bit integers and wraps silently (huggingface/tokenizers#2058). No pair can
# come more often than there are bytes, so up to here no count can be wrong.
TEXT_BYTES_MAX = 2**31 - 1


def train(
    texts: Iterator[list[str]],
    vocab_size: int,
    *,
    special_collisions: Collisions = "refuse",
    pair_count_min: int = 1,
    token_bytes_max: int | None = None,
    text_bytes_max: int = TEXT_BYTES_MAX,
) -> tokenizers.Tokenizer:
    """Learn a vocabulary: the 4 special tokens, the 256 bytes, then merges.

    texts               lists of documents, in any order; a document is never joined to the next
    vocab_size          tokens wanted, special ones included. Text with too few pairs gives fewer, and a
                        UserWarning says how many; `get_vocab_size()` of the result is the truth
    special_collisions  "refuse": no merge may spell a special token, so text that holds `</s>` can never
                        become id 2. "allow": as Hugging Face does it, where such a merge takes the special
                        token's id
    pair_count_min      pairs seen less often are not merged; 1 = no limit
    token_bytes_max     no token longer than this; None = no limit
    text_bytes_max      a guard, see TEXT_BYTES_MAX
    raises  ValueError for a vocabulary without room for the bytes, or more text than the trainer can count
    """
    smallest = len(spec.SPECIALS) + spec.ALPHABET_SIZE
    if vocab_size < smallest:
        raise ValueError(
            f"learn.train: vocab_size is {vocab_size}, but {len(spec.SPECIALS)} special tokens and "
            f"{spec.ALPHABET_SIZE} bytes take {smallest}; ask for at least that"
        )
    learned = spec.build_tokenizer()
    final = learned.pre_tokenizer
    if special_collisions == "refuse":
        learned.pre_tokenizer = pre_tokenizers.Sequence([spec.split(), _cut_specials(), spec.byte_level()])
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=pair_count_min,
        max_token_length=token_bytes_max,
        special_tokens=list(spec.SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learned.train_from_iterator(_counted(texts, text_bytes_max), trainer)
    learned.pre_tokenizer = final
    size = learned.get_vocab_size()
    if size < vocab_size:
        warnings.warn(
            f"learn.train: asked for a vocabulary of {vocab_size}, the text gave {size}: no further pair "
            f"comes {pair_count_min} times; give more text or ask for less",
            stacklevel=2,
        )
    return learned


def collisions(model_json: str) -> list[str]:
    """The special tokens that a merge of this tokenizer.json spells; such text can become a special id."""
    merges = json.loads(model_json)["model"]["merges"]
    # older files write a merge as "left right", newer ones as [left, right]
    spelled = {"".join(merge.split(" ") if isinstance(merge, str) else merge) for merge in merges}
    return [token for token in spec.SPECIALS if token in spelled]


def save(learned: tokenizers.Tokenizer, folder: Path) -> dict[str, str]:
    """Write the files that `transformers.AutoTokenizer` loads as a fast tokenizer; sha256 (hex) by file name.

    Each file is whole or absent, and tokenizer.json comes last. The same tokenizer gives the same bytes.
    """
    names = {"bos_token": spec.BOS, "eos_token": spec.EOS, "pad_token": spec.PAD, "unk_token": spec.UNK}
    config = {
        **names,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": spec.SEQUENCE_TOKENS,
        "padding_side": "left",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    files = {
        "special_tokens_map.json": _json(names),
        "tokenizer_config.json": _json(config),
        TOKENIZER: learned.to_str(pretty=True).encode() + b"\n",
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        _write(folder / name, data)
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def _cut_specials() -> pre_tokenizers.PreTokenizer:
    """Cuts a special token's text after its first character: what is never in one piece is never merged."""
    cuts = "|".join(f"{re.escape(token[0])}(?={re.escape(token[1:])})" for token in spec.SPECIALS)
    return pre_tokenizers.Split(tokenizers.Regex(cuts), behavior="merged_with_previous", invert=False)


def _counted(texts: Iterator[list[str]], text_bytes_max: int) -> Iterator[list[str]]:
    total = 0
    for batch in texts:
        total += sum(len(text.encode()) for text in batch)
        if total > text_bytes_max:
            raise ValueError(
                f"learn.train: more than {text_bytes_max} bytes of text, where the trainer's 32-bit counts "
                "may wrap unnoticed; sample fewer documents"
            )
        yield batch


def _json(value: dict[str, object] | dict[str, str]) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True).encode() + b"\n"


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
