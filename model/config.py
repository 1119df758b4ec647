"""The shape of a BLOOM: the six published sizes, and three small ones for laptops and tests."""

from __future__ import annotations

import dataclasses
import difflib

from tokenizer import spec

INIT_STD = 0.0048  # of every published size, = sqrt(1 / (3 * 14336)), not rescaled; bigscience tr11 scripts
SMALL_INIT_STD = 0.02  # our small sizes: the published value is scaled for a width of 14,336


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BloomConfig:
    """What determines the weights' shapes and their initial values.

    vocabulary  rows of the embedding and of the tied output, at least the tokenizer's size
    hidden      width of the residual stream; a multiple of `heads`
    raises      ValueError for a size below 1 or a width that the heads do not divide
    """

    layers: int
    hidden: int
    heads: int
    vocabulary: int = spec.EMBEDDING_ROWS
    init_std: float = INIT_STD
    layer_norm_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("layers", "hidden", "heads", "vocabulary"):
            if getattr(self, name) < 1:
                raise ValueError(f"BloomConfig: {name} is {getattr(self, name)}; expected at least 1")
        if self.hidden % self.heads:
            raise ValueError(f"BloomConfig: hidden {self.hidden} is not a multiple of heads {self.heads}")

    @property
    def head_width(self) -> int:
        return self.hidden // self.heads

    def parameters(self) -> int:
        """Number of weights, the tied embedding once: V h + L (12 h^2 + 13 h) + 4 h.

        source  bigscience train/tr11-176B-ml/README.md
        """
        h = self.hidden
        return self.vocabulary * h + self.layers * (12 * h * h + 13 * h) + 4 * h

    def token_flops(self, sequence: int, recomputed: bool = False) -> float:
        """Floating-point operations per token of training: 24 k l h^2 (1 + s / 6 h + V / 16 l h).

        recomputed  the forward pass is done twice (k = 4, as in BLOOM's logs), else k = 3
        source      Narayanan et al. 2021 (arXiv 2104.04473), equation 3; bigscience math/README.md
        """
        h, factor = self.hidden, 4 if recomputed else 3
        share = 1 + sequence / (6 * h) + self.vocabulary / (16 * self.layers * h)
        return 24 * factor * self.layers * h * h * share


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """The figures that a size was, or is best, trained with.

    rate, rate_min  peak and final learning rate
    batch           sequences in a step once the ramp is over
    ramp            sequences of the first step, increment, samples over which the batch grows; null = none
    """

    rate: float
    rate_min: float
    batch: int
    ramp: tuple[int, int, int] | None


# source: bigscience train/tr11-176B-ml, scripts tr11e-350M tr11d-760M tr11b-1B3 tr11c-2B5 tr11f-6B3 tr11-176B
# (named after the older count without embeddings). tests/model/test_config.py holds the published parameter
# counts.
PUBLISHED = {
    "560M": BloomConfig(layers=24, hidden=1024, heads=16),
    "1.1B": BloomConfig(layers=24, hidden=1536, heads=16),
    "1.7B": BloomConfig(layers=24, hidden=2048, heads=16),
    "3B": BloomConfig(layers=30, hidden=2560, heads=32),
    "7.1B": BloomConfig(layers=30, hidden=4096, heads=32),
    "176B": BloomConfig(layers=70, hidden=14336, heads=112),
}

# Ours. The vocabulary is only an example: a run takes its tokenizer's.
SMALL = {
    "nano": BloomConfig(layers=2, hidden=64, heads=4, vocabulary=2048, init_std=SMALL_INIT_STD),  # 0.23 M, tests
    "micro": BloomConfig(layers=2, hidden=128, heads=4, vocabulary=8192, init_std=SMALL_INIT_STD),  # 1.4 M, demo
    "mini": BloomConfig(layers=4, hidden=256, heads=8, vocabulary=8192, init_std=SMALL_INIT_STD),  # 5.3 M, laptop
}

SIZES = PUBLISHED | SMALL

_RAMP_SAMPLES = 9_765_625  # all sizes: 20 billion tokens; bigscience tr11 scripts, --rampup-batch-size
TRAINING = {
    "560M": Training(rate=3e-4, rate_min=1e-5, batch=256, ramp=(192, 32, _RAMP_SAMPLES)),
    "1.1B": Training(rate=2.5e-4, rate_min=1e-5, batch=256, ramp=(192, 16, _RAMP_SAMPLES)),
    "1.7B": Training(rate=2e-4, rate_min=1e-5, batch=512, ramp=(192, 16, _RAMP_SAMPLES)),
    "3B": Training(rate=1.6e-4, rate_min=1e-5, batch=512, ramp=(192, 32, _RAMP_SAMPLES)),
    "7.1B": Training(rate=1.2e-4, rate_min=1e-5, batch=512, ramp=(192, 32, _RAMP_SAMPLES)),
    "176B": Training(rate=6e-5, rate_min=6e-6, batch=2048, ramp=(192, 16, _RAMP_SAMPLES)),
    "nano": Training(rate=3e-3, rate_min=3e-4, batch=8, ramp=None),
    "micro": Training(rate=3e-3, rate_min=3e-4, batch=8, ramp=None),
    "mini": Training(rate=1e-3, rate_min=1e-4, batch=8, ramp=None),
}


def size(name: str, tokens: int | None = None) -> BloomConfig:
    """The configuration of a named size, for a tokenizer of `tokens` ids.

    A small size takes the tokenizer's vocabulary, padded to a multiple of 128 (Megatron's default); a
    published one keeps its own.
    raises  ValueError for an unknown name, or a tokenizer larger than a published vocabulary
    """
    if name not in SIZES:
        near = difflib.get_close_matches(name, SIZES, 1, 0.0)[0]
        raise ValueError(f"unknown size '{name}'; did you mean '{near}'? Known: {', '.join(SIZES)}")
    config = SIZES[name]
    if tokens is None:
        return config
    if name in SMALL:
        return dataclasses.replace(config, vocabulary=-(-tokens // 128) * 128)
    if tokens > config.vocabulary:
        raise ValueError(f"the tokenizer has {tokens:,} ids, size {name} has {config.vocabulary:,} rows; too many")
    return config
