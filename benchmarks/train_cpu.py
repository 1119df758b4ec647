"""The trainer on a CPU, beside `transformers`, and the samples' index and reading speed.

    python -m benchmarks.train_cpu step            a step of the demo's model, ours and transformers', in turn
    python -m benchmarks.train_cpu reading FOLDER  batches from shards beside batches from memory
    python -m benchmarks.train_cpu index [TOKENS]  the index of so many tokens (350e9), its time and memory

CPU seconds are user + system of the process; several rounds alternate, as the machine may be shared.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from model import batches, bloom, config, export, loss, optimizer

BATCH, SEQUENCE, STEPS, ROUNDS = 8, 128, 5, 3  # the demo's, and how often
STEP_MS_MAX = 200
DOCUMENT_TOKENS = 700  # about ROOTS': 350 billion tokens in half a billion documents


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["step", "reading", "index"])
    parser.add_argument("value", nargs="?")
    given = parser.parse_args()
    if given.what == "step":
        return steps()
    if given.what == "reading":
        return reading(Path(given.value))
    return index(int(float(given.value or 350e9)))


def steps() -> int:
    """Milliseconds of a step of `micro` (forward, backward, clip, AdamW), ours and transformers', same weights."""
    import transformers

    shape = config.SIZES["micro"]
    ours = bloom.Bloom(shape, loss=loss.in_place).initialise(torch.Generator().manual_seed(0))
    theirs = transformers.BloomForCausalLM(
        transformers.BloomConfig(
            vocab_size=shape.vocabulary, hidden_size=shape.hidden, n_layer=shape.layers, n_head=shape.heads
        )
    )
    theirs.load_state_dict({export.PREFIX + n: v for n, v in ours.state_dict().items()}, strict=False)
    theirs.tie_weights()
    ids = torch.randint(4, shape.vocabulary, (BATCH, SEQUENCE + 1))

    def our_loss() -> torch.Tensor:
        return ours(ids[:, :-1], ids[:, 1:]) / (BATCH * SEQUENCE)

    def their_loss() -> torch.Tensor:
        return torch.nn.functional.cross_entropy(theirs(ids[:, :-1]).logits.flatten(0, 1), ids[:, 1:].flatten())

    found: dict[str, list[tuple[float, float]]] = {"ours": [], "transformers": []}
    adamws = {"ours": optimizer.adamw(ours, 1e-3), "transformers": optimizer.adamw(theirs, 1e-3)}
    for _ in range(ROUNDS):
        for name, made in (("ours", our_loss), ("transformers", their_loss)):
            model = ours if name == "ours" else theirs
            found[name].append(timed(lambda made=made, model=model, adamw=adamws[name]: step(made, model, adamw)))
    best = {name: min(wall for wall, _ in rows) for name, rows in found.items()}
    for name, rows in found.items():
        cpu = statistics.median(cpu for _, cpu in rows)
        print(f"{name:13} {best[name]:7.1f} ms a step at best, {cpu:7.1f} ms of CPU (median)")
    ratio = statistics.median(b[1] / a[1] for a, b in zip(found["ours"], found["transformers"], strict=True))
    print(f"transformers takes {ratio:.2f} times our CPU; {torch.get_num_threads()} threads, torch {torch.__version__}")
    return int(best["ours"] > STEP_MS_MAX)


def step(made: Callable[[], torch.Tensor], model: torch.nn.Module, adamw: torch.optim.AdamW) -> None:
    adamw.zero_grad()
    made().backward()
    optimizer.clip(model)
    adamw.step()


def timed(work: Callable[[], object], times: int = STEPS) -> tuple[float, float]:
    """Milliseconds of wall and of CPU per call."""
    work()
    wall, cpu = time.monotonic(), time.process_time()
    for _ in range(times):
        work()
    return (time.monotonic() - wall) / times * 1e3, (time.process_time() - cpu) / times * 1e3


def reading(folder: Path) -> int:
    """CPU milliseconds of a batch of 32 sequences of 2,048 tokens: from shards, and the same from an array."""
    division = batches.divide(folder, 0.05)
    mixture = batches.Mixture(division.train, 20_000, 2048, 1, 250_680)
    in_memory = np.random.default_rng(0).integers(0, 32_000, (512, 2049), dtype=np.int64)
    random = np.random.default_rng(1)

    def from_memory() -> np.ndarray:
        return np.stack([in_memory[i] for i in random.integers(0, 512, 32)])

    place = iter(range(0, 20_000 - 32, 32))
    rows = [(timed(lambda: mixture.batch(next(place), 32), 30)[1], timed(from_memory, 30)[1]) for _ in range(ROUNDS)]
    shards_ms, memory_ms = (statistics.median(column) for column in zip(*rows, strict=True))
    step_ms = 32 * 2048 / 130_000 * 1e3
    print(f"a batch of 32 x 2,048: {shards_ms:.2f} ms of CPU from shards, {memory_ms:.2f} from memory")
    print(
        f"a 560M step on an H200 takes {step_ms:.0f} ms: reading in the step's own thread would cost "
        f"{(shards_ms - memory_ms) / step_ms:.2%}, and it is read ahead in another one"
    )
    return int((shards_ms - memory_ms) / step_ms > 0.01)


def index(tokens: int) -> int:
    """Time and peak memory of the index of one part of so many tokens, sequences of 2,048, one epoch."""
    documents = tokens // DOCUMENT_TOKENS
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        folder = Path(name)
        lengths = np.lib.format.open_memmap(folder / "lengths.npy", "w+", np.int32, (documents,))
        random = np.random.default_rng(0)
        for first in range(0, documents, batches.PIECE):
            part = lengths[first : first + batches.PIECE]
            part[:] = random.exponential(DOCUMENT_TOKENS, len(part)).astype(np.int32) + 1
        lengths.flush()
        del lengths
        lengths = np.load(folder / "lengths.npy", mmap_mode="r")
        total = (int(lengths.sum(dtype=np.int64)) - 1) // 2048
        before, cpu, wall = memory_kib(), time.process_time(), time.monotonic()
        kept = batches._Kept(folder, ["benchmark"])
        shuffled = np.random.RandomState(1)
        order = kept.array("documents", lambda: batches.document_order(range(documents), 1, False, shuffled))
        marks = [("documents", time.process_time() - cpu)]
        kept.filled("starts", (total + 1, 2), lambda into: batches.sample_starts(lengths, order, 2048, into))
        marks.append(("starts", time.process_time() - cpu))
        kept.array("samples", lambda: batches.sample_order(total, total, shuffled))
        marks.append(("samples", time.process_time() - cpu))
        kept.filled("blend", (total, 2), lambda into: batches.blend(np.full(28, 1 / 28), total, into))
        marks.append(("blend of 28 parts", time.process_time() - cpu))
        print(f"{tokens / 1e9:g} billion tokens, {documents / 1e6:g} million documents, {total / 1e6:.1f} M samples")
        print(
            f"  {marks[-1][1]:.0f} s of CPU, {time.monotonic() - wall:.0f} s; until: "
            + ", ".join(f"{name} {spent:.0f}" for name, spent in marks)
        )
        print(
            f"  private memory at most {(peak_private_kib() - before) / 2**20:.2f} GiB above the start's "
            f"{before / 2**20:.2f}; files {sum(p.stat().st_size for p in folder.iterdir()) / 1e9:.1f} GB"
        )
    return 0


def memory_kib() -> int:
    return _status("RssAnon")


def peak_private_kib() -> int:
    """The largest resident size; mapped files count in it as far as they were resident."""
    return max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - _status("RssFile"), memory_kib())


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


if __name__ == "__main__":
    sys.exit(main())
