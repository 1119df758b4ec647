"""cuDNN's own ALiBi attention (extra `cudnn`): 3 to 4 % of a step faster than FlexAttention, backward deterministic.

    B batch   T time   H heads   D head width

It reads the packed projection [B, T, H, 3, D] and writes its gradient packed: nothing is copied. It knows no
segments, and its slopes are those of a power of two of heads: other head counts are refused here.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import cudnn
import torch
from torch import Tensor

from model import bloom


def _prepare(slopes: Tensor, queries: int, keys: int, dtype: torch.dtype, segments: Tensor | None) -> None:
    heads = len(slopes)
    if heads & (heads - 1):
        raise ValueError(f"cuDNN's ALiBi: {heads} heads are no power of two; use --attention flex")
    if segments is not None:
        raise ValueError("cuDNN's ALiBi knows no segments; use --attention flex")
    if dtype != torch.bfloat16:
        raise ValueError(f"cuDNN's ALiBi computes in bfloat16, the model in {dtype}; use --attention flex")


def _attend(qkv: Tensor, prepared: None) -> Tensor:
    return torch.ops.bloom.alibi_attention(qkv)[0]


ALIBI = bloom.Attention(_prepare, _attend)


@torch.library.custom_op("bloom::alibi_attention", mutates_args=())
def alibi_attention(qkv: Tensor) -> tuple[Tensor, Tensor]:
    """Output [B, T, H, D] and the softmax's log-sums [B, H, T, 1], float32."""
    batch, time, heads, _, width = qkv.shape
    out = qkv.new_empty(batch, time, heads, width)
    sums = qkv.new_empty(batch, heads, time, 1, dtype=torch.float32)
    query, key, value = _views(qkv)
    _run(_forward_graph, qkv, (query, key, value, out.transpose(1, 2), sums))
    return out, sums


@alibi_attention.register_fake
def _(qkv: Tensor) -> tuple[Tensor, Tensor]:
    batch, time, heads, _, width = qkv.shape
    sums = qkv.new_empty(batch, heads, time, 1, dtype=torch.float32)
    return qkv.new_empty(batch, time, heads, width), sums


@torch.library.custom_op("bloom::alibi_attention_backward", mutates_args=())
def alibi_attention_backward(by_out: Tensor, qkv: Tensor, out: Tensor, sums: Tensor) -> Tensor:
    """Gradient of the packed projection, [B, T, H, 3, D]."""
    by_qkv = torch.empty_like(qkv, memory_format=torch.contiguous_format)
    states = (by_out.contiguous().transpose(1, 2), out.transpose(1, 2))
    _run(_backward_graph, qkv, (*_views(qkv), *states, sums, *_views(by_qkv)))
    return by_qkv


@alibi_attention_backward.register_fake
def _(by_out: Tensor, qkv: Tensor, out: Tensor, sums: Tensor) -> Tensor:
    return torch.empty_like(qkv, memory_format=torch.contiguous_format)


def _save(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, *output)


def _backward(ctx: Any, by_out: Tensor, by_sums: Tensor | None) -> Tensor:
    return torch.ops.bloom.alibi_attention_backward(by_out, *ctx.saved_tensors)


alibi_attention.register_autograd(_backward, setup_context=_save)


def _views(qkv: Tensor) -> tuple[Tensor, ...]:
    """Query, key and value as [B, H, T, D], in place."""
    return qkv.transpose(1, 2).unbind(3)


def _run(build: Any, qkv: Tensor, tensors: tuple[Tensor, ...]) -> None:
    batch, time, heads, _, width = qkv.shape
    graph, places, bytes_needed = build(qkv.device.index, batch, time, heads, width)
    handle = _handle(qkv.device.index)
    cudnn.set_stream(handle=handle, stream=torch.cuda.current_stream(qkv.device).cuda_stream)
    workspace = torch.empty(bytes_needed, dtype=torch.uint8, device=qkv.device)
    graph.execute(dict(zip(places, tensors, strict=True)), workspace, handle=handle)


@functools.cache
def _handle(device: int) -> Any:
    return cudnn.create_handle()


@functools.cache
def _forward_graph(device: int, batch: int, time: int, heads: int, width: int) -> tuple[Any, list[Any], int]:
    """A graph for one shape, its tensors in the order of `alibi_attention`, the bytes of its workspace."""
    graph = _empty_graph(device)
    query, key, value, out = _places(graph, batch, time, heads, width)
    result, sums = graph.sdpa(
        q=query,
        k=key,
        v=value,
        generate_stats=True,
        attn_scale=1 / math.sqrt(width),
        use_alibi_mask=True,
        use_causal_mask=True,
    )
    result.set_output(True).set_dim(out.get_dim()).set_stride(out.get_stride())
    sums.set_output(True).set_data_type(cudnn.data_type.FLOAT)
    return graph, [query, key, value, result, sums], _built(graph)


@functools.cache
def _backward_graph(device: int, batch: int, time: int, heads: int, width: int) -> tuple[Any, list[Any], int]:
    graph = _empty_graph(device)
    query, key, value, out = _places(graph, batch, time, heads, width)
    by_out = graph.tensor(dim=out.get_dim(), stride=out.get_stride(), data_type=cudnn.data_type.BFLOAT16)
    shape, strides = [batch, heads, time, 1], [heads * time, time, 1, 1]
    sums = graph.tensor(dim=shape, stride=strides, data_type=cudnn.data_type.FLOAT)
    gradients = graph.sdpa_backward(
        q=query,
        k=key,
        v=value,
        o=out,
        dO=by_out,
        stats=sums,
        attn_scale=1 / math.sqrt(width),
        use_alibi_mask=True,
        use_causal_mask=True,
        use_deterministic_algorithm=True,
    )
    for gradient in gradients:
        gradient.set_output(True).set_dim(query.get_dim()).set_stride(query.get_stride())
    return graph, [query, key, value, by_out, out, sums, *gradients], _built(graph)


def _empty_graph(device: int) -> Any:
    return cudnn.pygraph(
        io_data_type=cudnn.data_type.BFLOAT16,
        intermediate_data_type=cudnn.data_type.FLOAT,
        compute_data_type=cudnn.data_type.FLOAT,
        handle=_handle(device),
    )


def _places(graph: Any, batch: int, time: int, heads: int, width: int) -> list[Any]:
    """Query, key and value inside the packed projection, and the output [B, T, H, D], as [B, H, T, D] each."""
    shape = [batch, heads, time, width]
    packed = [time * heads * 3 * width, 3 * width, heads * 3 * width, 1]
    plain = [time * heads * width, width, heads * width, 1]
    kind = cudnn.data_type.BFLOAT16
    return [graph.tensor(dim=shape, stride=stride, data_type=kind) for stride in (packed, packed, packed, plain)]


def _built(graph: Any) -> int:
    """Compile the graph for this GPU; the bytes of workspace that it needs."""
    graph.validate()
    graph.build_operation_graph()
    graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
    graph.check_support()
    graph.build_plans()
    return max(graph.get_workspace_size(), 1)
