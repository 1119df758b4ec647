"""The same first steps with `transformers` as referee: same weights, samples, schedule and optimizer, its own model.

    python -m benchmarks.train_referee RUN --steps 200

RUN is the output of a training run of ours. The referee computes in float32 (products in TF32 on a GPU); it prints both
losses and how far they are apart, beside the noise of a batch's loss (the spread of neighbouring steps).
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import statistics
import tempfile
from pathlib import Path

import torch
import transformers

from model import choices, export, journal, optimizer, parallel, train

MICRO = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    given = parser.parse_args()
    stated = json.loads((given.run / "options.json").read_text("utf-8"))
    stated.pop("data")
    for name in ("shards", "tokenizer", "output", "mix"):
        stated[name] = Path(stated[name]) if stated[name] else None
    stated["ramp"] = tuple(stated["ramp"]) if stated["ramp"] else None
    ours = [float(row["loss"]) for row in journal.rows(given.run / "log.csv")][: given.steps]
    theirs = referee(choices.Options(**stated), len(ours))
    apart = [abs(a - b) for a, b in zip(ours, theirs, strict=True)]
    late = ours[len(ours) // 2 :]
    noise = statistics.stdev(b - a for a, b in itertools.pairwise(late)) / 2**0.5
    for step in sorted({1, 2, 5, 10, 20, 50, 100, 150, len(ours)}):
        if step <= len(ours):
            print(f"step {step}: ours {ours[step - 1]:.4f}, transformers {theirs[step - 1]:.4f}")
    print(f"{len(ours)} steps: apart mean {statistics.mean(apart):.5f}, most {max(apart):.5f}; noise {noise:.5f} nats")


def referee(options: choices.Options, steps: int) -> list[float]:
    """Losses of `transformers` on the run's samples."""
    with tempfile.TemporaryDirectory() as folder, parallel.world(options.device) as where:
        run = train._start(dataclasses.replace(options, output=Path(folder)), where)
        shape = run.model.config
        model = transformers.BloomForCausalLM(
            transformers.BloomConfig(
                vocab_size=shape.vocabulary, hidden_size=shape.hidden, n_layer=shape.layers, n_head=shape.heads
            )
        )
        weights = {export.PREFIX + name: value.cpu() for name, value in run.model.state_dict().items()}
        model.load_state_dict(weights, strict=False)
        model.tie_weights()
        model.to(where.device)
        torch.set_float32_matmul_precision("high")
        if where.device.type == "cuda":
            model.compile()
        adamw = optimizer.adamw(model, options.rate)
        return [_step(run, model, adamw) for _ in range(steps)]


def _step(run: train.Run, model: torch.nn.Module, adamw: torch.optim.AdamW) -> float:
    options, batch = run.options, run.batch(run.samples)
    ids = torch.from_numpy(run.samples_ahead.batch(run.samples, batch)).to(run.where.device)
    total = 0.0
    adamw.zero_grad()
    for part in ids.split(MICRO):
        logits = model(part[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum")
        (loss / (batch * options.sequence)).backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), optimizer.CLIP)
    for group in adamw.param_groups:
        group["lr"] = run.rate
    adamw.step()
    run.step, run.samples = run.step + 1, run.samples + batch
    return total / (batch * options.sequence)


if __name__ == "__main__":
    main()
