"""Perplexity of a document under a KenLM model of SentencePiece pieces, as ROOTS measured it (extra: perplexity).

source  BigScience data-preparation, 01b_oscar_cleaning_and_filtering, filtering.py (compute_perplexity_score) and
        normalization.py; models of Wikipedia for it: download_sentencepiece_kenlm_models.py
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from roots import web_text

# normalization.py, unicode_punctuation; U+FF11 is the full-width digit one, there mapped to a quotation mark, but
# digits have become 0 before.
PUNCTUATION = {
    "，": ",", "。": ".", "、": ",", "„": '"', "”": '"', "“": '"', "«": '"', "»": '"', "１": '"', "」": '"', "「": '"',
    "《": '"', "》": '"', "´": "'", "∶": ":", "：": ":", "？": "?", "！": "!", "（": "(", "）": ")", "；": ";",
    "–": "-", "—": " - ", "．": ". ", "～": "~", "’": "'", "…": "...", "━": "-", "〈": "<", "〉": ">", "【": "[",
    "】": "]", "％": "%", "►": "-",
}  # fmt: skip
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")  # the new lines too: lines are joined without a space
_SPACES = str.maketrans(dict.fromkeys(web_text.SPACES, " "))
_PUNCTUATION = str.maketrans(PUNCTUATION)


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A language model over pieces, and the model that makes the pieces."""

    kenlm: Any
    pieces: Any


def load(kenlm: Path | str, sentencepiece: Path | str) -> Model:
    """Reads the two models.

    raises  FileNotFoundError; ValueError for a file of another kind, or where the extra is not installed
    """
    for path in (kenlm, sentencepiece):
        if not Path(path).is_file():
            raise FileNotFoundError(f"perplexity model {path}: no such file; leave the table out to measure none")
    try:
        import kenlm as kenlm_library
        import sentencepiece as pieces_library
    except ImportError as error:
        raise ImportError(
            f"perplexity needs the package {error.name}: pip install 'bloom-roots[perplexity]'"
        ) from error
    try:
        return Model(
            kenlm_library.Model(str(kenlm)), pieces_library.SentencePieceProcessor(model_file=str(sentencepiece))
        )
    except (OSError, RuntimeError) as error:
        raise ValueError(f"perplexity models {kenlm}, {sentencepiece}: {error}") from error


def normalized(text: str) -> str:
    """A text as the models were trained on it: one line, digits as 0, plain punctuation, case kept."""
    plain = _CONTROL.sub("", text).strip().translate(_SPACES)
    return re.sub(r"\d", "0", plain).translate(_PUNCTUATION)


def perplexity(text: pa.StringArray, model: Model) -> pa.FloatArray:
    """float32 [docs], to one decimal: 10 to the power of minus the log10 score of the pieces and the end of the
    document, by their number.
    """
    values = []
    for pieces in model.pieces.encode([normalized(document) for document in text.to_pylist()], out_type=str):
        score = model.kenlm.score(" ".join(pieces))
        values.append(round(10.0 ** (-score / (len(pieces) + 1)), 1))
    return pa.array(np.array(values, np.float32))
