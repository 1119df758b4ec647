"""The options of a training run, and the promise that a resumed run has the same ones."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from model import meter, optimizer
from roots import whole_file


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """A training run. Counts are of sequences ("samples") where nothing else is said.

    mix               mixing file; null = all shards, weighted by their tokens
    batch, micro      sequences per step, and at once on the device (0 = the whole batch)
    ramp              first batch, increment and samples of a growing batch; null = none
    sequence          tokens per sample
    warmup, decay     samples until the peak rate, and until the least one (0 = the run's)
    eval_share        share of each shard's documents, the last ones, that is held out (no mix file)
    eval_every        steps between evaluations, 0 = only at the end;   eval_documents  at most, per language
    threads           of the CPU, 0 = as torch chooses; another number may round differently
    attention, loss   auto, or a name of `assemble`;   recompute  blocks, -1 = as few as the GPU's memory asks for
    parallel          auto, none, ddp or fsdp;   carbon  grams of CO2eq per kWh of the place's current
    raises            ValueError for a value out of range
    """

    shards: Path
    tokenizer: Path
    output: Path
    mix: Path | None
    size: str
    steps: int
    batch: int
    micro: int
    ramp: tuple[int, int, int] | None
    sequence: int
    rate: float
    rate_min: float
    warmup: int
    eval_share: float
    eval_every: int
    eval_documents: int
    checkpoint_every: int
    keep: int
    seed: int
    device: str
    threads: int
    tensorboard: bool
    decay: int = 0
    attention: str = "auto"
    loss: str = "auto"
    recompute: int = 0
    parallel: str = "auto"
    carbon: float = meter.BLOOM_CARBON

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "sequence", "eval_documents", "checkpoint_every", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"{flag(name)} is {getattr(self, name)}; expected at least 1")
        for name in ("micro", "warmup", "decay", "eval_every", "threads", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{flag(name)} is {getattr(self, name)}; expected at least 0")
        if not 0 <= self.eval_share < 1:
            raise ValueError(f"--eval-share is {self.eval_share}; expected a share from 0 to below 1")
        if not 0 <= self.rate_min <= self.rate:
            raise ValueError(f"--lr-min is {self.rate_min}; expected 0 to --lr ({self.rate})")
        if self.warmup > self.samples:
            raise ValueError(f"--warmup is {self.warmup} sequences, the whole run has {self.samples}; warm up for less")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"--device is '{self.device}'; expected auto, cpu or cuda")

    @property
    def samples(self) -> int:
        """Sequences of the whole run."""
        return optimizer.samples_after(self.steps, self.batch, self.ramp)

    def plain(self) -> dict[str, Any]:
        """As JSON reads it back: paths as text, tuples as lists."""
        return json.loads(json.dumps(dataclasses.asdict(self), default=str))


# Places, and what does not change a number; everything else must be as the run was started
_FREE = {"shards", "tokenizer", "output", "mix", "keep", "device", "threads", "tensorboard", "carbon"}
_FREE |= {"micro", "attention", "loss", "recompute", "parallel"}  # another machine: same samples, other last bits
_FLAGS = {"rate": "--lr", "rate_min": "--lr-min", "micro": "--micro-batch", "ramp": "--batch-ramp"}


def flag(name: str) -> str:
    return _FLAGS.get(name, "--" + name.replace("_", "-"))


def agree(options: Options, data: dict[str, Any]) -> None:
    """Note the options and the data in the output folder, or refuse those that differ from the ones there.

    data  digests by what they are of
    """
    path = options.output / "options.json"
    stated = {"data": data, **options.plain()}
    if not path.exists():
        whole_file.write(path, json.dumps(stated, indent=1, sort_keys=True).encode() + b"\n")
        return
    before = json.loads(path.read_text("utf-8"))
    for name in sorted(stated.keys() - _FREE - {"data"}):
        if before.get(name) != stated[name]:
            raise ValueError(
                f"{options.output}: {flag(name)} is {stated[name]}, the run here has {before.get(name)}; "
                "repeat its options, or name another --output"
            )
    for name in sorted(data.keys() | before["data"].keys()):
        if before["data"].get(name) != data.get(name):
            raise ValueError(
                f"{options.output}: {name} is {data.get(name)} (sha256), the run here has {before['data'].get(name)}; "
                "bring back the data it was started with, or name another --output"
            )
