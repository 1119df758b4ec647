"""How much of a GPU's memory a training step takes, computed; and the micro-batch that fits.

    N parameters   L layers   C channels   V vocabulary   n tokens of a micro-batch

The figures are checked against a card in benchmarks/train_gpu.py, which prints computed and measured bytes.
"""

from __future__ import annotations

import dataclasses

from model import config, loss

GIB = 2**30
STATE_BYTES = 16  # a parameter: float32 weight, gradient and two moments
SHARE = 0.92  # of a card's memory that a plan may use: the allocator's gaps, CUDA's own context, cuBLAS
BLOCK_BYTES = 32  # a token and channel that a block keeps: its input and what its six products and attention read
MICRO_TOKENS = 8192  # below, the products slow down: recomputing some blocks costs less than a smaller micro-batch
CARDS = {"40": 39.5, "80": 79.2, "141": 139.8}  # GiB that CUDA offers on an A100-40, an A100-80 or H100, an H200


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Sequences of a micro-batch, blocks recomputed, whether FSDP2 keeps gathered weights for the backward pass, and
    the bytes that this takes on each GPU."""

    micro: int
    recompute: int
    bytes: int
    gathered: bool = False


def step_bytes(
    shape: config.BloomConfig,
    micro: int,
    sequence: int,
    recompute: int,
    processes: int = 1,
    way: str = "none",
    gathered: bool = False,
) -> int:
    """Peak bytes of a training step in bfloat16 on each of `processes` GPUs, spread in a way of `parallel.WAYS`;
    `gathered` as in `parallel.spread`."""
    tokens, width, vocabulary = micro * sequence, shape.hidden, shape.vocabulary
    block = 12 * width * width + 13 * width
    kept = shape.layers - recompute
    states = STATE_BYTES * shape.parameters()
    if way == "fsdp":  # a step's gradients are summed whole and sent with the last micro-batch
        states = states // processes + 4 * shape.parameters() * (processes - 1) // processes
    elif way == "ddp":  # the buckets in which gradients travel
        states += 4 * shape.parameters()
    # bfloat16 copies of the weights live from the forward to the backward pass; FSDP2 holds whole blocks instead, two
    # at a time, but all of them between two micro-batches, when there are no activations
    whole = min(kept + 1, shape.layers)
    if way == "fsdp":
        whole = shape.layers if gathered else 2
    copies = 2 * (vocabulary * width + whole * block)
    between = 2 * (shape.layers - whole) * block if way == "fsdp" else 0
    activations = tokens * width * (BLOCK_BYTES * kept + 2 * recompute + (BLOCK_BYTES if recompute else 0))
    logits = min(2 * vocabulary * tokens, loss.CHUNK_BYTES["cuda"])
    # at the loss: the embedding's float32 gradient of the head; at the end of the step that of the look-up as well,
    # but then the activations are gone
    head = 4 * vocabulary * width + logits + 4 * tokens * width
    return states + copies + max(activations + head, 2 * 4 * vocabulary * width, between)


def way(shape: config.BloomConfig, gib: float, batch: int, sequence: int) -> str:
    """ddp where the whole states leave room for a full micro-batch (it is faster), else fsdp."""
    micro = max(1, min(batch, MICRO_TOKENS // sequence))
    fits = step_bytes(shape, micro, sequence, 0, 1, "ddp") <= int(gib * GIB * SHARE)
    return "ddp" if fits else "fsdp"


def plan(
    shape: config.BloomConfig, gib: float, batch: int, sequence: int, processes: int = 1, way: str = "none"
) -> Plan:
    """The largest micro-batch, a power of two, that fits without recomputation; else as few recomputed blocks as
    a micro-batch of MICRO_TOKENS needs; else a smaller micro-batch. FSDP2 keeps gathered weights where they fit too.

    batch   sequences of a step on each GPU, the most that a micro-batch can be
    raises  ValueError where not even one sequence with all blocks recomputed fits
    """
    room = int(gib * GIB * SHARE)
    sizes = [2**i for i in range(batch.bit_length())][::-1]
    least = max(1, min(batch, MICRO_TOKENS // sequence))
    order = [(micro, 0) for micro in sizes if micro >= least]
    order += [(micro, blocks) for micro in sizes if micro <= least for blocks in range(1, shape.layers + 1)]
    for micro, recompute in order:
        for gathered in (True, False) if way == "fsdp" else (False,):
            needed = step_bytes(shape, micro, sequence, recompute, processes, way, gathered)
            if needed <= room:
                return Plan(micro=micro, recompute=recompute, bytes=needed, gathered=gathered)
    needed = step_bytes(shape, 1, sequence, shape.layers, processes, way)
    raise ValueError(
        f"a step of {shape.parameters():,} parameters takes {needed / GIB:.1f} GiB on each of {processes} GPUs, "
        f"{room / GIB:.1f} of {gib} are free to use; spread it with --parallel fsdp over more GPUs"
    )
