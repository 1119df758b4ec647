"""BLOOM: a pre-LayerNorm decoder with ALiBi, a LayerNorm after the embedding and a tied output.

    B batch   T time (queries)   K time (keys, T or more)   H heads   D head width   C channels = H D
    V vocabulary

Parameter names and layouts are those of `transformers`, without its prefix `transformer.`, so that weights
travel both ways unchanged. Weights are float32; on a GPU the caller wraps the model in bfloat16 autocast.
source  pipeline of bigscience-workshop/Megatron-DeepSpeed, megatron/model/; bigscience
        train/tr11-176B-ml/README.md
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from model import config as configs

IGNORE = -100  # a target that is not scored; torch's own default in cross_entropy


def alibi_slopes(heads: int) -> Tensor:
    """One slope per head, float32 [H], in the order of the heads.

    For a power of two n: s, s^2 .. s^n with s = 2^(-8/n). Otherwise those of the next lower power c, then
    every second one of 2c until there are enough; they are not sorted.
    source  Press et al. 2022 (arXiv 2108.12409); Megatron-DeepSpeed megatron/model/transformer.py,
            _build_alibi_tensor
    """
    lower = 2 ** math.floor(math.log2(heads))
    base = 2.0 ** (-8 / lower)
    slopes = [base**i for i in range(1, lower + 1)]
    slopes += [math.sqrt(base) ** i for i in range(1, 2 * (heads - lower), 2)]
    return torch.tensor(slopes)  # [H]


def alibi_bias(slopes: Tensor, queries: int, keys: int, dtype: torch.dtype) -> Tensor:
    """What is added to the scores: slope * (key - query), and minus infinity for keys after the query.

    The queries are the last of the keys. Computed in float32 and relative to the query: the original's
    key-absolute bias (slope * key, up to 1,447) loses a fifth of the gradient to rounding in bfloat16; in
    float32 both are the same under softmax.
    returns [H, T, K] of `dtype`
    """
    key = torch.arange(keys, device=slopes.device)
    distance = key - key[keys - queries :, None]  # [T, K], 0 on the diagonal, negative before it
    bias = slopes[:, None, None] * distance  # [H, T, K]
    return bias.masked_fill(distance > 0, float("-inf")).to(dtype)


class Attention(NamedTuple):
    """One way to compute causal attention with ALiBi; a GPU kernel is another pair of functions.

    prepare  (slopes [H], queries, keys, dtype) -> anything; once per forward pass
    attend   (query [B, H, T, D], key [B, H, K, D], value [B, H, K, D], prepared) -> [B, H, T, D]; once per
             block
    """

    prepare: Callable[[Tensor, int, int, torch.dtype], Any]
    attend: Callable[[Tensor, Tensor, Tensor, Any], Tensor]


def _attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)  # [B, H, T, D]


SDPA = Attention(alibi_bias, _attend)


def cross_entropy(hidden: Tensor, embedding: Tensor, targets: Tensor) -> Tensor:
    """Sum of -log p over the targets that are not IGNORE, in nats, float32; the seam for a fused loss.

    hidden [B, T, C], embedding [V, C], targets int64 [B, T]. Padded rows of the vocabulary stay in the
    softmax, as in the original.
    """
    logits = functional.linear(hidden, embedding)  # [B, T, V]
    return functional.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORE, reduction="sum"
    )


class SelfAttention(nn.Module):
    def __init__(self, config: configs.BloomConfig, attention: Attention) -> None:
        super().__init__()
        self.heads, self.attention = config.heads, attention
        self.query_key_value = nn.Linear(config.hidden, 3 * config.hidden)
        self.dense = nn.Linear(config.hidden, config.hidden)

    def forward(self, x: Tensor, prepared: Any, past: Cache | None, block: int) -> Tensor:
        qkv = self.query_key_value(x).unflatten(-1, (self.heads, 3, -1))  # [B, T, H, 3, D]: per head, not per kind
        query, key, value = qkv.transpose(1, 2).unbind(3)  # [B, H, T, D] each
        if past is not None:
            key, value = past.append(block, key, value)  # [B, H, K, D] each
        out = self.attention.attend(query, key, value, prepared)  # [B, H, T, D]
        return self.dense(out.transpose(1, 2).flatten(2))  # [B, T, C]


class MLP(nn.Module):
    def __init__(self, config: configs.BloomConfig) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config.hidden, 4 * config.hidden)
        self.dense_4h_to_h = nn.Linear(4 * config.hidden, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        # the tanh form: the README says torch's gelu, but the fused kernel that trained BLOOM was this one
        return self.dense_4h_to_h(functional.gelu(self.dense_h_to_4h(x), approximate="tanh"))  # [B, T, C]


class Block(nn.Module):
    def __init__(self, config: configs.BloomConfig, attention: Attention) -> None:
        super().__init__()
        self.input_layernorm = nn.LayerNorm(config.hidden, config.layer_norm_epsilon)
        self.self_attention = SelfAttention(config, attention)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden, config.layer_norm_epsilon)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, prepared: Any, past: Cache | None, block: int) -> Tensor:
        x = x + self.self_attention(self.input_layernorm(x), prepared, past, block)  # [B, T, C]
        return x + self.mlp(self.post_attention_layernorm(x))  # [B, T, C]


class Bloom(nn.Module):
    """The whole model: ids to logits, or with targets to the summed loss.

    attention  how the blocks attend
    loss       (hidden [B, T, C], embedding [V, C], targets [B, T]) -> summed nats
    """

    slopes: Tensor

    def __init__(
        self,
        config: configs.BloomConfig,
        attention: Attention = SDPA,
        loss: Callable[[Tensor, Tensor, Tensor], Tensor] = cross_entropy,
    ) -> None:
        super().__init__()
        self.config, self.attention, self.loss = config, attention, loss
        self.word_embeddings = nn.Embedding(config.vocabulary, config.hidden)
        self.word_embeddings_layernorm = nn.LayerNorm(config.hidden, config.layer_norm_epsilon)
        self.h = nn.ModuleList(Block(config, attention) for _ in range(config.layers))
        self.ln_f = nn.LayerNorm(config.hidden, config.layer_norm_epsilon)
        self.register_buffer("slopes", alibi_slopes(config.heads), persistent=False)

    def initialise(self, generator: torch.Generator) -> Bloom:
        """Draw the weights anew: N(0, std), the two projections into the residual stream std / sqrt(2
        layers), biases and LayerNorms 0 and 1.

        source  Megatron-DeepSpeed megatron/model/utils.py, init_method_normal and scaled_init_method_normal
        """
        std = self.config.init_std
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                residual = name.endswith(("self_attention.dense.weight", "dense_4h_to_h.weight"))
                scale = std / math.sqrt(2 * self.config.layers) if residual else std
                nn.init.normal_(parameter, 0.0, scale, generator=generator)
            else:
                nn.init.constant_(parameter, float(name.endswith("weight")))
        return self

    def forward(self, ids: Tensor, targets: Tensor | None = None, past: Cache | None = None) -> Tensor:
        """Logits [B, T, V] of the next token, or the summed loss (scalar) where targets [B, T] are given.

        ids   int64 [B, T]
        past  keys and values of the tokens before `ids`; those of `ids` are appended
        """
        x = self.word_embeddings_layernorm(self.word_embeddings(ids))  # [B, T, C]
        queries = ids.shape[1]
        keys = queries + (past.length if past is not None else 0)
        prepared = self.attention.prepare(self.slopes, queries, keys, _compute_dtype(x))
        for i, block in enumerate(self.h):
            x = block(x, prepared, past, i)  # [B, T, C]
        x = self.ln_f(x)  # [B, T, C]
        if targets is not None:
            return self.loss(x, self.word_embeddings.weight, targets)  # []
        return functional.linear(x, self.word_embeddings.weight)  # [B, T, V]


class Cache:
    """Keys and values of the tokens read so far, one pair [B, H, K, D] per block."""

    def __init__(self) -> None:
        self.pairs: list[tuple[Tensor, Tensor]] = []

    @property
    def length(self) -> int:
        return self.pairs[0][0].shape[2] if self.pairs else 0

    def append(self, block: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        if block == len(self.pairs):
            self.pairs.append((key, value))
        else:
            before = self.pairs[block]
            self.pairs[block] = (torch.cat((before[0], key), 2), torch.cat((before[1], value), 2))
        return self.pairs[block]


def _compute_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which the blocks' matrix products run: autocast's where it is on."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
