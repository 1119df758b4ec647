"""BLOOM's tokenizer in figures: where text is cut, which ids are special, how large the vocabulary is.

Byte-level BPE without a normaliser. Text is cut into pieces, the bytes of a piece are written as 256 visible
characters (a space is `Ġ`, a line feed `Ċ`), and merges never reach across the edge of a piece.
"""

from __future__ import annotations

import functools

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors

# A piece is a run of non-separators with at most one U+0020 before it, or all that stands between two such
# runs. source: bigscience/bloom, tokenizer.json, as huggingface/transformers#41466 prints it
SPLIT = r" ?[^(\s|[.,!?…。，、।۔،])]+"

# What the pattern takes for separators: Unicode White_Space (25) and 14 marks, ! ( ) , . ? | U+060C U+06D4 U+0964
# U+2026 U+3001 U+3002 U+FF0C. Oniguruma reads the inner bracket as a class of its own, so `(`, `)` and `|` separate
# and `[`, `]` do not; Python's `re` refuses the pattern, and Python's `\s` holds U+001C to U+001F as well.
# source: tokenizers 0.23.3 on all 1,112,064 code points, which tests/tokenizer/test_spec.py repeats
SEPARATORS = tuple(
    sorted(
        [
            *map(ord, "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000!(),.?|،۔।…、。，"),
            *range(0x2000, 0x200B),
        ]
    )
)
WHITESPACE = tuple(point for point in SEPARATORS if chr(point).isspace())  # Unicode White_Space, 25

# source: huggingface/transformers, BloomTokenizationTest (known answers) and the hub's
# special_tokens_map.json
UNK, BOS, EOS, PAD = "<unk>", "<s>", "</s>", "<pad>"
SPECIALS = (UNK, BOS, EOS, PAD)  # a special's id is its place here: 0 1 2 3

ALPHABET_SIZE = 256  # Departure: BLOOM knows 242 bytes; with all 256 every text round-trips (ids 4 to 259)
VOCAB_SIZE = 250_680  # tokens; bigscience/bloom-3b model card, "Tokenization"
EMBEDDING_ROWS = 250_880  # bigscience tr11 scripts, --pad-vocab-size-to; card: 642,252,800 weights / 2,560
SEQUENCE_TOKENS = 2_048  # tokens of a training sequence; bigscience tr11 scripts, --seq-length


def build_tokenizer() -> tokenizers.Tokenizer:
    """An untrained tokenizer: no token yet, everything else as BLOOM has it.

    source  bigscience/bloom, tokenizer.json: Sequence[Split(isolated), ByteLevel], ByteLevel as decoder and
            post-processor, no normaliser
    """
    built = tokenizers.Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.Sequence([split(), byte_level()])
    built.decoder = decoders.ByteLevel()
    built.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False)
    return built


def split() -> pre_tokenizers.PreTokenizer:
    """Cuts text into pieces. The pattern goes in as a Regex: a plain string would be searched literally."""
    return pre_tokenizers.Split(tokenizers.Regex(SPLIT), behavior="isolated", invert=False)


def byte_level() -> pre_tokenizers.PreTokenizer:
    """Writes the bytes of each piece as visible characters."""
    return pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False)


@functools.cache
def bytes_of_characters() -> dict[str, int]:
    """The byte that each of the 256 visible characters stands for.

    Visible Latin-1 stands for itself, the other 68 bytes in order for U+0100 and up.
    source  openai/gpt-2, src/encoder.py, bytes_to_unicode
    """
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + n): byte for n, byte in enumerate(hidden)}


def token_bytes(token: str) -> bytes:
    """The bytes that a token of the vocabulary stands for; a special token is not one of these."""
    table = bytes_of_characters()
    return bytes(table[character] for character in token)
