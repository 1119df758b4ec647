"""BLOOM: a pre-LayerNorm decoder with ALiBi, a LayerNorm after the embedding and a tied output.

    B batch   T time (queries)   K time (keys, T or more)   H heads   D head width   C channels = H D
    V vocabulary

Parameter names and layouts are those of `transformers`, without its prefix `transformer.`, so that weights
travel both ways unchanged. Weights are float32 masters; each is cast to the model's compute type where it is
used, so gradients and their sums over micro-batches are float32 too.
source  bigscience-workshop/Megatron-DeepSpeed, megatron/model/; bigscience train/tr11-176B-ml/README.md
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn import functional
from torch.nn.attention import flex_attention as flex
from torch.utils.checkpoint import checkpoint

from model import config as configs
from model import loss as losses

IGNORE = losses.IGNORE


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


# --- attention: one exact function, three ways to compute it, and the original's rounding -------------------


class Attention(NamedTuple):
    """One way to compute causal attention with ALiBi over whole sequences.

    prepare  (slopes [H], queries, keys, dtype, segments [B, T] or null) -> anything; once per forward pass.
             Tokens see only their own segment
    attend   (packed query, key and value [B, T, H, 3, D], prepared) -> [B, T, H, D]; once per block
    """

    prepare: Callable[[Tensor, int, int, torch.dtype, Tensor | None], Any]
    attend: Callable[[Tensor, Any], Tensor]


Core = Callable[[Tensor, Tensor, Tensor, Any], Tensor]  # query [B, H, T, D], key and value [B, H, K, D], prepared


def alibi_bias(slopes: Tensor, queries: int, keys: int, dtype: torch.dtype, segments: Tensor | None = None) -> Tensor:
    """What is added to the scores: slope * (key - query), and minus infinity for keys not to be seen.

    The queries are the last of the keys. Computed in float32 and relative to the query: the original's
    key-absolute bias (slope * key, up to 1,447) loses a fifth of the gradient to rounding in bfloat16; in
    float32 both are the same under softmax.
    returns [H, T, K] of `dtype`, [B, H, T, T] with segments
    """
    distance = _distance(queries, keys, slopes.device)
    bias = slopes[:, None, None] * distance  # [H, T, K]
    bias = bias.masked_fill(distance > 0, float("-inf"))
    if segments is not None:
        bias = bias.masked_fill((segments[:, :, None] != segments[:, None, :])[:, None], float("-inf"))
    return bias.to(dtype)


def _distance(queries: int, keys: int, device: torch.device) -> Tensor:
    """key - query, int64 [T, K]: 0 on the diagonal, negative before it."""
    key = torch.arange(keys, device=device)
    return key - key[keys - queries :, None]


def _scaled(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)  # [B, H, T, D]


def _flex_mask(slopes: Tensor, queries: int, keys: int, dtype: torch.dtype, segments: Tensor | None) -> Any:
    def visible(b, h, q, k):
        return (q >= k) if segments is None else (q >= k) & (segments[b, q] == segments[b, k])

    batch = None if segments is None else len(segments)
    return slopes, flex.create_block_mask(visible, batch, None, queries, keys, slopes.device)


def _flex_attend(qkv: Tensor, prepared: Any) -> Tensor:
    if not torch.compiler.is_compiling():  # eager, it would be forty times slower and say nothing
        raise ValueError("FlexAttention outside a compiled block; call Bloom.compile_blocks first, or use SDPA")
    slopes, mask = prepared

    def alibi(score, b, h, q, k):
        return score + slopes[h] * (k - q)

    query, key, value = qkv.transpose(1, 2).unbind(3)  # [B, H, T, D] each
    return flex.flex_attention(query, key, value, score_mod=alibi, block_mask=mask).transpose(1, 2)


def _legacy_alibi(slopes: Tensor, queries: int, keys: int, dtype: torch.dtype, segments: Tensor | None) -> Any:
    if segments is not None:
        raise ValueError("legacy_alibi is for comparison with released models, which know no segments; use SDPA")
    alibi = slopes[:, None, None] * torch.arange(keys, device=slopes.device)  # [H, 1, K], key-absolute
    return alibi.to(dtype), _distance(queries, keys, slopes.device) > 0


def _legacy(query: Tensor, key: Tensor, value: Tensor, prepared: Any) -> Tensor:
    """As the released weights were trained: scores and bias rounded to the compute type, softmax in float32.

    source  Megatron-DeepSpeed megatron/model/transformer.py, CoreAttention; transformers' BloomAttention
    """
    alibi, future = prepared
    batch, heads, queries, width = query.shape
    scores = torch.baddbmm(
        alibi.repeat(batch, 1, 1),
        query.flatten(0, 1),
        key.flatten(0, 1).transpose(1, 2),
        alpha=1 / math.sqrt(width),
    ).view(batch, heads, queries, -1)
    scores = scores.masked_fill(future, torch.finfo(scores.dtype).min)
    return scores.softmax(-1, torch.float32).to(query.dtype) @ value


def _unpacked(core: Core) -> Callable[[Tensor, Any], Tensor]:
    def attend(qkv: Tensor, prepared: Any) -> Tensor:
        query, key, value = qkv.transpose(1, 2).unbind(3)  # [B, H, T, D] each
        return core(query, key, value, prepared).transpose(1, 2)  # [B, T, H, D]

    return attend


SDPA = Attention(alibi_bias, _unpacked(_scaled))  # any device; a bias of H T^2 numbers
FLEX = Attention(_flex_mask, _flex_attend)  # CUDA, compiled; torch has no backward of it on the CPU
LEGACY = Attention(_legacy_alibi, _unpacked(_legacy))


class Cache:
    """Keys and values of the tokens read so far, [B, H, K, D] per block; reading on is never compiled."""

    def __init__(self, legacy_alibi: bool = False) -> None:
        self.prepare: Callable[..., Any] = _legacy_alibi if legacy_alibi else alibi_bias
        self.core: Core = _legacy if legacy_alibi else _scaled
        self.pairs: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def length(self) -> int:
        return self.pairs[0][0].shape[2] if self.pairs else 0

    def attend(self, block: int, qkv: Tensor, prepared: Any) -> Tensor:
        """As Attention.attend, over the earlier tokens too; those of `qkv` [B, T, H, 3, D] are appended."""
        query, key, value = qkv.transpose(1, 2).unbind(3)
        if block in self.pairs:
            before = self.pairs[block]
            key, value = torch.cat((before[0], key), 2), torch.cat((before[1], value), 2)
        self.pairs[block] = key, value
        return self.core(query, key, value, prepared).transpose(1, 2)


# --- the model ----------------------------------------------------------------------------------------------


class Linear(nn.Linear):
    """A linear layer that computes in the type of its input, whatever the type of its weights."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight.to(x.dtype), self.bias.to(x.dtype))


class LayerNorm(nn.LayerNorm):
    """The same for a LayerNorm; its sums are float32 inside."""

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        return functional.layer_norm(x, self.normalized_shape, weight, bias, self.eps)


class SelfAttention(nn.Module):
    def __init__(self, config: configs.BloomConfig, attention: Attention) -> None:
        super().__init__()
        self.head_width, self.attention = config.head_width, attention
        self.query_key_value = Linear(config.hidden, 3 * config.hidden)
        self.dense = Linear(config.hidden, config.hidden)

    def forward(self, x: Tensor, prepared: Any, past: tuple[Cache, int] | None) -> Tensor:
        qkv = self.query_key_value(x).unflatten(-1, (-1, 3, self.head_width))  # [B, T, H, 3, D]: per head, not per kind
        if past is None:
            out = self.attention.attend(qkv, prepared)  # [B, T, H, D]
        else:
            cache, block = past
            out = cache.attend(block, qkv, prepared)  # [B, T, H, D]
        return self.dense(out.flatten(2))  # [B, T, C]


class MLP(nn.Module):
    def __init__(self, config: configs.BloomConfig) -> None:
        super().__init__()
        self.dense_h_to_4h = Linear(config.hidden, 4 * config.hidden)
        self.dense_4h_to_h = Linear(4 * config.hidden, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        # the tanh form: the README says torch's gelu, but the fused kernel that trained BLOOM was this one
        return self.dense_4h_to_h(functional.gelu(self.dense_h_to_4h(x), approximate="tanh"))  # [B, T, C]


class Block(nn.Module):
    def __init__(self, config: configs.BloomConfig, attention: Attention) -> None:
        super().__init__()
        self.input_layernorm = LayerNorm(config.hidden, config.layer_norm_epsilon)
        self.self_attention = SelfAttention(config, attention)
        self.post_attention_layernorm = LayerNorm(config.hidden, config.layer_norm_epsilon)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, prepared: Any, past: tuple[Cache, int] | None = None) -> Tensor:
        x = x + self.self_attention(self.input_layernorm(x), prepared, past)  # [B, T, C]
        return x + self.mlp(self.post_attention_layernorm(x))  # [B, T, C]


class Bloom(nn.Module):
    """The whole model: ids to logits, or with targets to the summed loss.

    attention  how the blocks attend
    loss       (hidden [B, T, C], embedding [V, C], targets [B, T]) -> summed nats
    dtype      in which the blocks compute; bfloat16 on a GPU
    recompute  blocks, from the first, of which nothing but the input is kept for the backward pass
    """

    slopes: Tensor

    def __init__(
        self,
        config: configs.BloomConfig,
        attention: Attention = SDPA,
        loss: Callable[[Tensor, Tensor, Tensor], Tensor] = losses.plain,
        dtype: torch.dtype = torch.float32,
        recompute: int = 0,
    ) -> None:
        super().__init__()
        self.config, self.attention, self.loss = config, attention, loss
        self.dtype, self.recompute, self.compiled = dtype, recompute, False
        self.word_embeddings = nn.Embedding(config.vocabulary, config.hidden)
        self.word_embeddings_layernorm = LayerNorm(config.hidden, config.layer_norm_epsilon)
        self.h = nn.ModuleList(Block(config, attention) for _ in range(config.layers))
        self.ln_f = LayerNorm(config.hidden, config.layer_norm_epsilon)
        self.register_buffer("slopes", alibi_slopes(config.heads), persistent=False)

    def initialise(self, generator: torch.Generator) -> Bloom:
        """Draw the weights anew: N(0, std), the two projections into the residual stream std / sqrt(2
        layers), biases and LayerNorms 0 and 1. Tensors are drawn on the generator's device.

        source  Megatron-DeepSpeed megatron/model/utils.py, init_method_normal and scaled_init_method_normal
        """
        std = self.config.init_std
        for name, parameter in self.named_parameters():
            whole = torch.empty(parameter.shape, device=generator.device)
            if parameter.ndim == 2:
                residual = name.endswith(("self_attention.dense.weight", "dense_4h_to_h.weight"))
                whole.normal_(0.0, std / math.sqrt(2 * self.config.layers) if residual else std, generator=generator)
            else:
                whole.fill_(float(name.endswith("weight")))
            _put(parameter, whole)
        return self

    def compile_blocks(self, backend: str = "inductor") -> Bloom:
        """Compile the block once for all layers and one shape; passing the recompile limit raises.

        Hooks (FSDP, activation recomputation) stay outside what is compiled.
        """
        torch._dynamo.config.fail_on_recompile_limit_hit = True
        self.compiled = True
        for block in self.h:
            block.forward = torch.compile(block.forward, fullgraph=True, dynamic=False, backend=backend)
        return self

    def forward(
        self,
        ids: Tensor,
        targets: Tensor | None = None,
        past: Cache | None = None,
        segments: Tensor | None = None,
    ) -> Tensor:
        """Logits [B, T, V] of the next token, or the summed loss (scalar) where targets [B, T] are given.

        ids       int64 [B, T]
        past      keys and values of the tokens before `ids`; those of `ids` are appended
        segments  int [B, T]: a token sees only the tokens of its own segment; null = the whole sequence
        """
        x = self.states(ids, past, segments)  # [B, T, C]
        if targets is not None:
            return self.loss(x, self.word_embeddings.weight, targets)  # []
        return functional.linear(x, self.word_embeddings.weight.to(x.dtype))  # [B, T, V]

    def states(self, ids: Tensor, past: Cache | None = None, segments: Tensor | None = None) -> Tensor:
        """The last block's states after the final LayerNorm, [B, T, C]."""
        x = self.embed(ids)  # [B, T, C]
        prepared = self.prepare(ids.shape[1], past, segments)
        for i, block in enumerate(self.h):
            if i < self.recompute and torch.is_grad_enabled():
                x = checkpoint(block, x, prepared, use_reentrant=False, preserve_rng_state=False)
            else:
                x = block(x, prepared, (past, i) if past is not None else None)  # [B, T, C]
        return self.ln_f(x)

    def embed(self, ids: Tensor) -> Tensor:
        return self.word_embeddings_layernorm(self.word_embeddings(ids).to(self.dtype))  # [B, T, C]

    def prepare(self, queries: int, past: Cache | None = None, segments: Tensor | None = None) -> Any:
        """What the blocks' attention needs beside the states, once per forward pass."""
        keys = queries + (past.length if past is not None else 0)
        prepare = self.attention.prepare if past is None else past.prepare
        return prepare(self.slopes, queries, keys, self.dtype, segments)


@torch.no_grad()
def _put(parameter: Tensor, whole: Tensor) -> None:
    """Copy a whole tensor into a parameter, or this process' share of it into a sharded one."""
    if isinstance(parameter, DTensor):
        whole = distribute_tensor(whole, parameter.device_mesh, parameter.placements, src_data_rank=None)
    parameter.copy_(whole)
