"""The model card of a run: the sections of BLOOM's own card, every figure from the run's own files.

source  model card of bigscience/bloom on the hub: the order of the sections
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from model import checkpoint, choices, config, journal, meter, optimizer
from roots import whole_file

_USES = """\
## Uses

**Intended.** Research on language models and on the corpus: how the loss falls, what a mixture of languages teaches,
how a cleaning step or a tokenizer shows in the model. A start for models trained further on a task.

**Out of scope.** Anything that decides about a person (credit, work, health, law, policing), any use where a wrong
sentence does harm, and any claim that a text of the model is a fact. It is a model of text; it was not taught to
follow instructions, to refuse, or to be right.

**Misuse.** To deceive or to impersonate, to make spam or propaganda, to harass, to watch people, to reveal personal
data, or to pass its text off as written by a human.

**Affected.** Those who use it, those who read what it wrote, and those whom the training texts speak of or leave out:
speakers of languages with little data are served worst.
"""

_RISKS = """\
## Risks and Limitations

It repeats what it read: errors, views and prejudices of the sources, with more weight for those with more text; some
sentences word for word. What was redacted in the corpus by rules (e-mail addresses, numbers) may still stand in
places that the rules do not know. It writes fluent falsehoods. A text longer than the sequences below is beyond what
it was trained on, although ALiBi lets it read on. The fewer documents of a language it was trained on, the less any
of its figures for that language say.
"""


def write(output: Path, shape: config.BloomConfig, options: choices.Options, data: dict[str, Any]) -> Path:
    """Write OUTPUT/README.md, and the plot in it, from the log, the evaluation and the last checkpoint of a finished
    run."""
    steps = journal.rows(output / "log.csv")
    scores = [row for row in journal.rows(output / "evaluation.csv") if int(row["step"]) == options.steps]
    machine = checkpoint.manifest(checkpoint.found(output / "checkpoints")[-1])["machine"]
    sections = [
        _details(shape, options, steps, machine),
        _impact(steps, options, machine),
        _USES,
        _training_data(options, data, scores, steps),
        _RISKS,
        _evaluation(scores, options),
        _recommendations(),
        _glossary(shape, options),
        _more(options),
    ]
    whole_file.write(output / "loss.svg", loss_curve(steps, options.sequence).encode())
    path = output / "README.md"
    whole_file.write(path, "\n".join(sections).encode())
    return path


def loss_curve(steps: list[dict[str, str]], sequence: int) -> str:
    """The training loss over the tokens seen, as SVG."""
    from roots import plots  # matplotlib: half a second, once a run

    tokens = np.array([int(row["samples"]) * sequence for row in steps], float)
    losses = np.array([float(row["loss"]) for row in steps])
    return plots.curve(tokens, losses, "tokens", "nats a token")


def _details(
    shape: config.BloomConfig, options: choices.Options, steps: list[dict[str, str]], machine: dict[str, Any]
) -> str:
    tokens = int(steps[-1]["samples"]) * options.sequence
    return f"""\
# BLOOM {options.size}, trained with bloom-roots

## Model Details

**Basics.** A decoder-only language model of the BLOOM architecture, trained from new weights by `roots model train`.
Its licence is for those to state who publish it.

**Technical Specifications.**

| | |
| --- | --- |
| parameters | {shape.parameters():,}, of which embedding {shape.vocabulary * shape.hidden:,} |
| layers, width, heads | {shape.layers}, {shape.hidden:,}, {shape.heads} |
| vocabulary | {shape.vocabulary:,} rows |
| positions | ALiBi; sequences of {options.sequence:,} tokens |
| trained on | {tokens:,} tokens in {len(steps):,} steps ({_budget(options.size, tokens)}) |
| batch | {options.batch:,} sequences{_ramp(options)} |
| learning rate | {options.rate:g} to {options.rate_min:g}, cosine; warm-up over {options.warmup:,} sequences |
| optimizer | AdamW, betas {optimizer.BETAS[0]} and {optimizer.BETAS[1]}, decay {optimizer.WEIGHT_DECAY}, \
gradient norm at most {optimizer.CLIP} |
| seed | {options.seed} |
| loss of the first and of the last step | {float(steps[0]["loss"]):.4f}, {float(steps[-1]["loss"]):.4f} nats a token |
| speed, median | {_median(steps, "tokens_per_second"):,.0f} tokens/s; a device {_median(steps, "model_tflops"):.3g} \
TFLOP/s of the model, {_median(steps, "hardware_tflops"):.3g} as BLOOM counted |
| machine | {machine["processes"]} x {machine["device"]}, torch {machine["torch"]} |

![Training loss over the tokens seen](loss.svg)
"""


def _impact(steps: list[dict[str, str]], options: choices.Options, machine: dict[str, Any]) -> str:
    hours = sum(float(row["seconds"]) for row in steps) / 3600
    if any(row["joules"] == "" for row in steps):
        energy = "The energy was not measured: no counter of it on this machine."
    else:
        joules = sum(float(row["joules"]) for row in steps)
        grams = meter.carbon_grams(joules, options.carbon)
        energy = (
            f"The GPUs drew {joules / meter.JOULES_PER_KWH:.4f} kWh (their own counters; hosts, cooling and the making "
            f"of the machines not counted). At {options.carbon:g} g of CO2eq a kWh that is {grams:.2f} g."
        )
    return f"""\
**Environmental Impact.** {hours:.3f} hours of steps on {machine["processes"]} devices, \
{hours * machine["processes"]:.3f} device hours, evaluation and checkpoints apart. {energy}
"""


def _training_data(
    options: choices.Options, data: dict[str, Any], scores: list[dict[str, str]], steps: list[dict[str, str]]
) -> str:
    shards = [name for name in data if name.endswith(".bin")]
    languages = sorted({name.partition("/")[0] for name in shards if "/" in name})
    consumed = int(steps[-1]["samples"])
    held = (
        f"the last {options.eval_share:.1%} of each shard's documents were not trained on"
        if options.mix is None
        else "the mix file says which documents were not trained on"
    )
    return f"""\
## Training Data

{len(shards)} token shards{f" in {len(languages)} languages ({', '.join(languages)})" if languages else ""}, drawn \
{"by their share of tokens" if options.mix is None else "by the weights of a mix file"}: {consumed:,} sequences of
{options.sequence:,} tokens; {held}. Tokenizer sha256 `{data["tokenizer"]}`. The digest of every file is in
`options.json`; the corpus has its own data cards.
"""


def _evaluation(scores: list[dict[str, str]], options: choices.Options) -> str:
    lines = [
        f"| {row['language']} | {int(row['documents']):,} | {int(row['bytes']):,} "
        f"| {float(row['bits_per_byte']):.4f} | {2 ** float(row['bits_per_byte']):.4f} |"
        for row in scores
    ]
    table = "\n".join(
        ["| language | documents | bytes | bits per byte | byte perplexity |", "| --- " * 5 + "|", *lines]
    )
    return f"""\
## Evaluation

**Factors.** Language. **Metrics.** Bits per byte of documents that the model did not see (at most
{options.eval_documents} a language), each scored by itself after the end-of-document token. **Results**, after the
last step:

{table if scores else "No documents were held out."}
"""


def _recommendations() -> str:
    return """\
## Recommendations

Say that a text is the model's where you show it. Measure it on your own task and languages before you rely on it.
Keep a way to correct what it does. Cite the corpus' sources, and keep to their licences.
"""


def _glossary(shape: config.BloomConfig, options: choices.Options) -> str:
    return f"""\
## Glossary and Calculations

- Bits per byte: -log2 of the probability of a text, over its UTF-8 bytes. Byte perplexity: 2 to that power.
- TFLOP/s of the model: 6 N + 12 L h s = {shape.token_flops(options.sequence):.4g} operations a token; as BLOOM
  counted: 24 k L h^2 (1 + s / 6 h + V / 16 L h) = {shape.hardware_flops(options.sequence):.4g} with k = 3
  (Narayanan et al. 2021).
- Carbon: kWh x {options.carbon:g} g ({meter.BLOOM_CARBON:g} g is the French grid's of BLOOM; Luccioni et al. 2022).
"""


def _more(options: choices.Options) -> str:
    return """\
## More Information

`log.csv` has every step, `evaluation.csv` every evaluation, `options.json` what the run was started with.

## Authors

Of the architecture and its figures: BigScience. Of this run: whoever started it.
"""


def _budget(size: str, tokens: int) -> str:
    budget = config.TRAINING[size].tokens
    return f"{tokens / budget:.2%} of the {budget:,} that this size is worth"


def _ramp(options: choices.Options) -> str:
    if options.ramp is None:
        return ""
    first, increment, samples = options.ramp
    return f", from {first} by {increment} over {samples:,}"


def _median(steps: list[dict[str, str]], column: str) -> float:
    values = sorted(float(row[column]) for row in steps)
    return values[math.floor(len(values) / 2)]
