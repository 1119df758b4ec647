"""Learning the merges from counted pieces, and writing a tokenizer so that `transformers` loads it.

The result is that of the BPE trainer of Hugging Face `tokenizers`, bit for bit: the pair with the highest count is
merged first, of equal pairs the one with the smaller ids. It depends on the pieces and their counts alone. Departure:
that trainer counts pairs in 32 bits and wraps silently (huggingface/tokenizers#2058); counts here have 64.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tokenizers
from tokenizers import models

from roots import whole_file
from tokenizer import bpe, count, learn_kernels, learn_run, spec

TOKENIZER = "tokenizer.json"
Collisions = Literal["refuse", "allow"]
CHECKPOINT_SECONDS = 60.0

Progress = Callable[[int, int, int], None]  # merges made, merges wanted, count of the last one (0: none is made yet)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What came of the counts.

    merges  int32 [merges, 3]: left, right, new id, in order of rank
    counts  int64 [merges], how often each pair came when it was merged, not rising
    wanted  the vocabulary that was asked for; a text with too few pairs gives less
    """

    merges: np.ndarray
    counts: np.ndarray
    wanted: int

    @property
    def vocab_size(self) -> int:
        """Tokens, special ones included."""
        return max(learn_run.BASE, int(self.merges[:, 2].max(initial=0)) + 1)

    def notes(self) -> list[str]:
        """What a user should know of this result; [] if there is nothing."""
        said = []
        if self.vocab_size < self.wanted:
            said.append(
                f"asked for a vocabulary of {self.wanted:,}, the text gave {self.vocab_size:,}: no further pair comes "
                "often enough; give more text or ask for less"
            )
        if wide := int((self.counts > 2**31 - 1).sum()):
            said.append(
                f"{wide:,} pairs come more than 2,147,483,647 times; the Hugging Face trainer, which counts in 32 "
                "bits, would have given other merges"
            )
        return said

    def lookup(self) -> bpe.Merges:
        """The merges, to encode with."""
        return bpe.merges(learn_run.byte_ids(), self.merges)

    def tokenizer(self) -> tokenizers.Tokenizer:
        """The tokenizer as Hugging Face's trainer would have made it."""
        letters = sorted(spec.bytes_of_characters())
        names = [*spec.SPECIALS, *letters, *[""] * (self.vocab_size - learn_run.BASE)]
        pairs = []
        for left, right, new in self.merges.tolist():
            names[new] = names[left] + names[right]
            pairs.append((names[left], names[right]))
        built = spec.build_tokenizer()
        built.model = models.BPE({name: n for n, name in enumerate(names)}, pairs)
        built.add_special_tokens(list(spec.SPECIALS))
        return built


def learn(
    counts: count.Counts,
    vocab_size: int,
    *,
    special_collisions: Collisions = "refuse",
    pair_count_min: int = 1,
    token_bytes_max: int | None = None,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> Learned:
    """Learn a vocabulary: the 4 special tokens, the 256 bytes, then merges.

    vocab_size          tokens wanted, special ones included
    special_collisions  "refuse": no merge may spell a special token, so text that holds `</s>` can never become id 2.
                        "allow": as Hugging Face does it, where such a merge takes the special token's id
    pair_count_min      pairs seen less often are not merged; 1 = no limit (min_frequency)
    token_bytes_max     as max_token_length: a new token of more than two bytes is shorter than this; None = no limit
    progress            is told how far it is, at first and then after every few thousand merges
    checkpoint          a file that the merges are put into once a minute; one that is there already is gone on from
    raises  ValueError for a vocabulary without room for the bytes, more text than 2^32 bytes of distinct pieces, or a
            checkpoint of other counts or other settings
    """
    if vocab_size < learn_run.BASE:
        raise ValueError(
            f"learn.learn: vocab_size is {vocab_size}, but {len(spec.SPECIALS)} special tokens and "
            f"{spec.ALPHABET_SIZE} bytes take {learn_run.BASE}; ask for at least that"
        )
    key = f"{counts.digest()} {special_collisions} {pair_count_min} {token_bytes_max}" if checkpoint else ""
    before = _read_checkpoint(checkpoint, key) if checkpoint and checkpoint.exists() else None
    run = learn_run.Run(
        counts, vocab_size, special_collisions == "refuse", max(1, pair_count_min), token_bytes_max, before
    )
    tell = progress or (lambda made, wanted, last: None)
    tell(run.made, vocab_size - learn_run.BASE, run.last)
    saved = time.monotonic()
    while run.phase():
        while run.merge() == learn_kernels.PAUSE:
            tell(run.made, vocab_size - learn_run.BASE, run.last)
            if checkpoint and time.monotonic() - saved > CHECKPOINT_SECONDS:
                _write_checkpoint(checkpoint, key, run)
                saved = time.monotonic()
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    return Learned(merges=run.merges[: run.made].copy(), counts=run.counts[: run.made].copy(), wanted=vocab_size)


def _write_checkpoint(path: Path, key: str, run: learn_run.Run) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        np.savez(file, key=np.array(key), merges=run.merges[: run.made], counts=run.counts[: run.made])
    temporary.replace(path)


def _read_checkpoint(path: Path, key: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(path) as found:
            stated, merges, counts = str(found["key"]), found["merges"], found["counts"]
    except (ValueError, OSError, KeyError, EOFError) as error:
        raise ValueError(f"{path}: no checkpoint of the learner ({error}); remove it and learn again") from error
    if stated != key:
        raise ValueError(f"{path}: a checkpoint of other counts or settings; remove it, or learn as before")
    return merges, counts


def collisions(found: dict[str, Any], specials: Sequence[str] = spec.SPECIALS) -> list[str]:
    """The special tokens that a merge of this tokenizer.json (parsed) spells; such text can become a special id."""
    # older files write a merge as "left right", newer ones as [left, right]
    spelled = {
        merge.replace(" ", "", 1) if isinstance(merge, str) else merge[0] + merge[1]
        for merge in found["model"].get("merges", [])
    }
    return [token for token in specials if token in spelled]


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
    for name, data in files.items():
        whole_file.write(folder / name, data)
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True).encode() + b"\n"
