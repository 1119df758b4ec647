"""Which documents the tokenizer is learned from: small languages whole, large ones thinned, as ROOTS did it.

source  BigScience data-preparation, preprocessing/tokenizer: make_ratios_thomas.ipynb, aggregate_datasets.py
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from roots import exact

WHOLE = 2.0**64  # of a key's range


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What is taken of a source: bytes it has, and the ratio of its documents that come into the sample."""

    language: str
    bytes: int
    ratio: float


def fill(sizes: Mapping[str, float], total: float) -> dict[str, float]:
    """As much of each size as lies below one level, so that all together are `total`; all of it if that is too little.

    This is water filling: the small are taken whole, the large up to the level.
    """
    left, taken = float(total), {}
    for index, name in enumerate(sorted(sizes, key=lambda name: (sizes[name], name))):
        taken[name] = min(float(sizes[name]), left / (len(sizes) - index))
        left -= taken[name]
    return {name: taken[name] for name in sizes}


def shares(
    sizes: Mapping[str, tuple[str, int]], *, alpha: float, language_bytes_total: float, sample_bytes: float
) -> dict[str, Share]:
    """The ratio of each source, from its language and bytes.

    A language weighs (bytes / total) ** alpha, where the largest are first cut so that all languages together have no
    more than `language_bytes_total`; it gets its part of `sample_bytes`, filled from its sources, the smallest whole.
    """
    by_language: dict[str, dict[str, float]] = {}
    for name, (language, size) in sizes.items():
        by_language.setdefault(language, {})[name] = size
    capped = fill({language: sum(parts.values()) for language, parts in by_language.items()}, language_bytes_total)
    weights = {language: (size / language_bytes_total) ** alpha if size else 0.0 for language, size in capped.items()}
    every = sum(weights.values()) or 1.0
    taken: dict[str, float] = {}
    for language, parts in by_language.items():
        taken |= fill(parts, sample_bytes * weights[language] / every)
    return {
        name: Share(language=language, bytes=size, ratio=taken[name] / size if size else 1.0)
        for name, (language, size) in sizes.items()
    }


def chosen(ids: pa.StringArray, ratio: float, held_out_ratio: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which documents are in the sample, and which of those are held out of learning, to judge it by.

    ids     [docs] of documents; the choice rests on them and the seed alone, so no cutting into tasks changes it
    returns sampled bool [docs], held_out bool [docs] (a part of sampled)
    Departure: the original drew from each source by a child of SeedSequence(42), which needs the source in one place.
    """
    keys = exact.text_keys(pc.binary_join_element_wise(f"{seed} ", ids, ""))
    sampled = keys[:, 0].astype(np.float64) < ratio * WHOLE
    return sampled, sampled & (keys[:, 1].astype(np.float64) < held_out_ratio * WHOLE)
