"""The shape of a BLOOM: the six published sizes, and five small ones for one GPU, a laptop and tests."""

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

    def token_flops(self, sequence: int) -> float:
        """Floating-point operations that the model needs per token of training: 6 N + 12 L h s.

        Attention is counted over whole sequences, as nanoGPT, PaLM and llm-foundry count: the "MFU" of most
        reports. A pass that is done again is not counted.
        """
        return 6 * self.parameters() + 12 * self.layers * self.hidden * sequence

    def hardware_flops(self, sequence: int, recomputed: float = 0.0) -> float:
        """Operations per token as BLOOM's logs count them: 24 k L h^2 (1 + s / 6 h + V / 16 L h), k = 3 to 4.

        recomputed  share of the blocks whose forward pass is done twice (all = k 4)
        source      Narayanan et al. 2021 (arXiv 2104.04473), equation 3; bigscience math/README.md
        """
        h = self.hidden
        share = 1 + sequence / (6 * h) + self.vocabulary / (16 * self.layers * h)
        return 24 * (3 + recomputed) * self.layers * h * h * share


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """The figures that a size was, or is best, trained with.

    rate, rate_min  peak and final learning rate
    batch           sequences in a step once the ramp is over
    ramp            sequences of the first step, increment, samples over which the batch grows; null = none
    tokens          that the size is worth training on: what the published ones saw, 20 a parameter for ours
                    (Hoffmann et al. 2022, arXiv 2203.15556)
    """

    rate: float
    rate_min: float
    batch: int
    ramp: tuple[int, int, int] | None
    tokens: int


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
    "midi": BloomConfig(layers=8, hidden=512, heads=8, vocabulary=32_000, init_std=SMALL_INIT_STD),  # 42 M, a GPU
    "maxi": BloomConfig(layers=12, hidden=768, heads=12, vocabulary=32_000, init_std=SMALL_INIT_STD),  # 110 M, a GPU
}

SIZES = PUBLISHED | SMALL

# bigscience tr11 scripts, all sizes: --rampup-batch-size, --train-samples, --lr-decay-samples, --lr-warmup-samples
_RAMP_SAMPLES = 9_765_625  # 20 billion tokens
SAMPLES, DECAY_SAMPLES, WARMUP_SAMPLES = 220_000_000, 200_000_000, 183_105
_TOKENS = SAMPLES * spec.SEQUENCE_TOKENS  # 450 billion planned; 366 billion were reached with the 176B

TRAINING = {
    "560M": Training(rate=3e-4, rate_min=1e-5, batch=256, ramp=(192, 32, _RAMP_SAMPLES), tokens=_TOKENS),
    "1.1B": Training(rate=2.5e-4, rate_min=1e-5, batch=256, ramp=(192, 16, _RAMP_SAMPLES), tokens=_TOKENS),
    "1.7B": Training(rate=2e-4, rate_min=1e-5, batch=512, ramp=(192, 16, _RAMP_SAMPLES), tokens=_TOKENS),
    "3B": Training(rate=1.6e-4, rate_min=1e-5, batch=512, ramp=(192, 32, _RAMP_SAMPLES), tokens=_TOKENS),
    "7.1B": Training(rate=1.2e-4, rate_min=1e-5, batch=512, ramp=(192, 32, _RAMP_SAMPLES), tokens=_TOKENS),
    "176B": Training(rate=6e-5, rate_min=6e-6, batch=2048, ramp=(192, 16, _RAMP_SAMPLES), tokens=_TOKENS),
    "nano": Training(rate=3e-3, rate_min=3e-4, batch=8, ramp=None, tokens=5_000_000),
    "micro": Training(rate=3e-3, rate_min=3e-4, batch=8, ramp=None, tokens=30_000_000),
    "mini": Training(rate=1e-3, rate_min=1e-4, batch=8, ramp=None, tokens=100_000_000),
    "midi": Training(rate=1e-3, rate_min=1e-4, batch=128, ramp=None, tokens=800_000_000),
    "maxi": Training(rate=6e-4, rate_min=6e-5, batch=256, ramp=None, tokens=2_200_000_000),
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
