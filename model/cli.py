"""`roots model`: train, evaluate, generate, export. Heavy imports stay inside the commands."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Train, evaluate, sample and export a BLOOM (needs the extra `model`).")

Shards = Annotated[Path, typer.Option(help="Folder of token shards, <language>/<source>-*.bin and .idx.")]
TokenizerFolder = Annotated[Path, typer.Option(help="Folder with the tokenizer.json that wrote the shards.")]
ModelFolder = Annotated[Path, typer.Argument(help="Output of a training run, or a model in the Hugging Face layout.")]
Sequence = Annotated[int, typer.Option(help="Tokens that the model reads at once.")]
Batch = Annotated[int, typer.Option(help="Sequences at once.")]


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    """Exit 2 for the user's fault, 1 for a failed run, with the message and without a traceback."""
    try:
        yield
    except (ValueError, FileNotFoundError, FileExistsError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    except (FloatingPointError, OSError) as error:
        typer.echo(f"failed: {error}", err=True)
        raise typer.Exit(1) from error


@app.command()
def train(
    shards: Shards,
    tokenizer: TokenizerFolder,
    output: Annotated[Path, typer.Option(help="Folder of the run; the same line again resumes it.")],
    mix: Annotated[
        Path | None, typer.Option(help="Mixing file; default: all shards, weighted by their tokens.")
    ] = None,
    size: Annotated[
        str, typer.Option(help="nano, micro, mini, midi, maxi, 560M, 1.1B, 1.7B, 3B, 7.1B or 176B.")
    ] = "micro",
    steps: Annotated[int, typer.Option(help="Optimizer steps.")] = 300,
    batch: Annotated[int | None, typer.Option(help="Sequences per step; default: the size's.")] = None,
    micro_batch: Annotated[int, typer.Option(help="Sequences at once, the rest accumulated; 0 = all that fit.")] = 0,
    batch_ramp: Annotated[
        str | None,
        typer.Option(help="FIRST,INCREMENT,SEQUENCES: the batch grows; 'published' = the size's; default: none."),
    ] = None,
    sequence: Annotated[int, typer.Option(help="Tokens per sequence.")] = 128,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate; default: the size's.")] = None,
    lr_min: Annotated[
        float | None, typer.Option(help="Learning rate of the last step; default: the size's, or lr / 10.")
    ] = None,
    warmup: Annotated[
        int | None, typer.Option(help="Sequences until the peak rate; default: a tenth of the run's.")
    ] = None,
    eval_share: Annotated[float, typer.Option(help="Share of each shard's documents held out, its last ones.")] = 0.05,
    eval_every: Annotated[int, typer.Option(help="Steps between evaluations; 0 = at the end only.")] = 0,
    eval_documents: Annotated[int, typer.Option(help="Held-out documents evaluated per language, at most.")] = 64,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 100,
    keep: Annotated[int, typer.Option(help="Checkpoints kept, the newest.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the initial weights and the order of samples.")] = 42,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 = all. Another number may change the last bits.")] = 0,
    tensorboard: Annotated[bool, typer.Option(help="Also write OUTPUT/tensorboard.")] = False,
    published: Annotated[
        bool, typer.Option(help="The size's published length, batch ramp, warm-up and decay, instead of --steps.")
    ] = False,
    parallel: Annotated[
        str, typer.Option(help="auto, none, ddp or fsdp; several processes come from torchrun.")
    ] = "auto",
    recompute: Annotated[int, typer.Option(help="Blocks to recompute; -1 = as the GPU's memory asks for.")] = -1,
    attention: Annotated[str, typer.Option(help="auto, sdpa, flex, cudnn or legacy.")] = "auto",
    loss: Annotated[str, typer.Option(help="auto, in-place, compiled or plain.")] = "auto",
    carbon: Annotated[float, typer.Option(help="Grams of CO2eq per kWh of the current that is used.")] = 57.0,
) -> None:
    """Train on token shards; a killed run goes on bit for bit when the same line is run again."""
    from model import choices, config
    from model import train as trainer

    with _faults():
        figures = _figures(size)
        batch = figures.batch if batch is None else batch
        peak = figures.rate if lr is None else lr
        default_min = figures.rate_min if lr is None else lr / 10
        ramp = figures.ramp if published or batch_ramp == "published" else _ramp(batch_ramp)
        if published:
            steps, warmup = _published(size, batch)
        options = choices.Options(
            shards=shards,
            tokenizer=tokenizer,
            output=output,
            mix=mix,
            size=size,
            steps=steps,
            batch=batch,
            micro=micro_batch,
            ramp=ramp,
            sequence=sequence,
            rate=peak,
            rate_min=default_min if lr_min is None else lr_min,
            warmup=warmup or 0,
            eval_share=eval_share,
            eval_every=eval_every,
            eval_documents=eval_documents,
            checkpoint_every=checkpoint_every,
            keep=keep,
            seed=seed,
            device=device,
            threads=threads,
            tensorboard=tensorboard,
            decay=config.DECAY_SAMPLES if published else 0,
            attention=attention,
            loss=loss,
            recompute=recompute,
            parallel=parallel,
            carbon=carbon,
        )
        if warmup is None:
            options = dataclasses.replace(options, warmup=options.samples // 10)
        trainer.train(options)


def _figures(size: str):
    from model import config

    config.size(size)  # an unknown name is refused with the nearest one
    return config.TRAINING[size]


def _published(size: str, batch: int) -> tuple[int, int]:
    """Whole steps that the published samples allow, and the samples of warm-up."""
    from model import config, optimizer

    ramp = config.TRAINING[size].ramp
    if ramp is None:
        raise ValueError(f"--published: '{size}' is our own size; it has no published length, give --steps")
    return optimizer.steps_within(config.SAMPLES, batch, ramp), config.WARMUP_SAMPLES


def _ramp(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    numbers = text.split(",")
    if len(numbers) != 3 or not all(n.strip().isdigit() for n in numbers):
        raise ValueError(f"--batch-ramp is '{text}'; expected FIRST,INCREMENT,SEQUENCES such as 192,16,9765625")
    first, increment, samples = map(int, numbers)
    return first, increment, samples


@app.command()
def evaluate(
    model: ModelFolder,
    tokenizer: TokenizerFolder,
    text: Annotated[Path | None, typer.Option(help="UTF-8 file of lines language<TAB>text.")] = None,
    shards: Annotated[Path | None, typer.Option(help="Token shards; their last documents are scored.")] = None,
    eval_share: Annotated[float, typer.Option(help="Share of each shard's documents that was held out.")] = 0.05,
    eval_documents: Annotated[int, typer.Option(help="Documents per language, at most (shards).")] = 64,
    sequence: Sequence = 128,
    batch: Batch = 8,
) -> None:
    """Bits per byte and byte perplexity per language, as tab-separated lines on stdout."""
    from model import batches, export
    from model import evaluate as evaluation
    from tokenizer import encode

    with _faults():
        if (text is None) == (shards is None):
            raise ValueError("evaluate: give either --text FILE or --shards DIR")
        loaded, pieces = export.load(model).eval(), encode.Encoder(tokenizer, special_collisions="allow")
        if text is not None:
            scores = evaluation.labelled(loaded, text, pieces, sequence, batch)
        else:
            groups = batches.divide(shards, eval_share).held_out  # type: ignore[arg-type]
            scores = evaluation.held_out(loaded, groups, pieces, sequence, batch, eval_documents)
        typer.echo("language\tdocuments\ttokens\tbytes\tbits_per_byte\tbyte_perplexity")
        for language, s in scores.items():
            typer.echo(
                f"{language}\t{s.documents}\t{s.tokens}\t{s.bytes}\t{s.bits_per_byte:.4f}\t{s.byte_perplexity:.4f}"
            )


@app.command()
def generate(
    model: ModelFolder,
    tokenizer: TokenizerFolder,
    prompt: Annotated[str, typer.Option(help="Text to continue; empty = a new document.")] = "",
    tokens: Annotated[int, typer.Option(help="Tokens to write, at most.")] = 64,
    temperature: Annotated[float, typer.Option(help="0 = greedy, 1 = as the model says.")] = 0.0,
    top_k: Annotated[int, typer.Option(help="Draw among the k likeliest tokens; 0 = all.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
) -> None:
    """Continue a text; the continuation goes to stdout."""
    import numpy as np
    import pyarrow as pa

    from model import export
    from model import generate as generation
    from tokenizer import encode

    with _faults():
        loaded, pieces = export.load(model).eval(), encode.Encoder(tokenizer, special_collisions="allow")
        ids, _ = pieces.encode(pa.array([prompt], pa.string()))
        written = generation.generate(
            loaded,
            ids.tolist() or [pieces.eod],
            tokens,
            temperature=temperature,
            top_k=top_k,
            seed=seed,
            stop=pieces.eod,
        )
        typer.echo(prompt + pieces.decode(np.array(written, np.int64)))


@app.command()
def export(
    model: ModelFolder,
    output: Annotated[Path, typer.Option(help="Folder to write; must not hold a model yet.")],
    tokenizer: Annotated[Path | None, typer.Option(help="Folder whose tokenizer files are copied along.")] = None,
    sequence: Annotated[int, typer.Option(help="Sequence length of the training, noted in config.json.")] = 2048,
) -> None:
    """Write a model for `transformers`: config.json, model.safetensors, the tokenizer's files."""
    from model import export as exporting

    with _faults():
        exporting.save(exporting.load(model), output, tokenizer, sequence)


@app.command()
def plan(
    size: Annotated[str, typer.Option(help="A size's name; published ones are planned with their own vocabulary.")],
    sequence: Sequence = 2048,
    processes: Annotated[int, typer.Option(help="GPUs that share the states by FSDP2.", min=1)] = 1,
) -> None:
    """Micro-batch, recomputed blocks and GiB that a training step takes on cards of 40, 80 and 141 GB."""
    from model import config, memory

    with _faults():
        shape, way = config.size(size), "fsdp" if processes > 1 else "none"
        typer.echo("card_gb\tmicro_batch\trecomputed_blocks\tgib")
        for card, gib in memory.CARDS.items():
            try:
                found = memory.plan(shape, gib, 32, sequence, processes, way)
            except ValueError as error:
                typer.echo(f"{card}: {error}", err=True)
                continue
            typer.echo(f"{card}\t{found.micro}\t{found.recompute}\t{found.bytes / memory.GIB:.1f}")


@app.command()
def tasks(
    model: ModelFolder,
    tokenizer: TokenizerFolder,
    names: Annotated[str, typer.Option(help="Tasks of lm-evaluation-harness, separated by commas.")],
    folder: Annotated[Path | None, typer.Option(help="Folder of task files (YAML) of your own.")] = None,
    sequence: Sequence = 2048,
    limit: Annotated[int | None, typer.Option(help="Documents per task, at most; default: all.")] = None,
) -> None:
    """Zero-shot results of lm-evaluation-harness as tab-separated lines (needs the extra `harness`)."""
    from model import export
    from tokenizer import encode

    with _faults():
        try:
            from model import harness
        except ImportError as error:
            raise ValueError("tasks: `pip install 'bloom-roots[harness]'` first") from error
        loaded, pieces = export.load(model), encode.Encoder(tokenizer, special_collisions="allow")
        found = harness.zero_shot(loaded, pieces, names.split(","), folder=folder, length=sequence, limit=limit)
        for task, results in found.items():
            for metric, value in results.items():
                if isinstance(value, float):
                    typer.echo(f"{task}\t{metric}\t{value:.6f}")


Pairs = Annotated[list[Path], typer.Argument(help="JSON Lines files with `inputs` and `targets`, plain or .gz.")]
Start = Annotated[
    Path, typer.Option("--model", help="Output of a training run, or a Hugging Face model, to start from.")
]


@app.command()
def finetune(
    files: Pairs,
    model: Start,
    tokenizer: TokenizerFolder,
    output: Annotated[Path, typer.Option(help="Folder of the run; the same line again resumes it.")],
    steps: Annotated[int, typer.Option(help="Optimizer steps; BLOOMZ took 3,100 of 2,048 sequences.")] = 100,
    batch: Annotated[int, typer.Option(help="Sequences per step; BLOOMZ: 2048, its two smallest 1024.")] = 32,
    micro_batch: Annotated[int, typer.Option(help="Sequences at once.")] = 4,
    sequence: Sequence = 2048,
    lr: Annotated[float, typer.Option(help="Learning rate, constant; BLOOMZ's.")] = 2e-5,
    held_out: Annotated[float, typer.Option(help="Share of the pairs, the last ones, that is only evaluated.")] = 0.05,
    seed: Annotated[int, typer.Option(help="Of the order of pairs.")] = 42,
) -> None:
    """Train on pairs of a prompt and its answer as BLOOMZ was: packed, masked, loss on answers only."""
    import numpy as np

    from model import assemble
    from model import finetune as tuning
    from model import parallel as worlds
    from tokenizer import encode

    with _faults(), worlds.world("auto") as where:
        pieces = encode.Encoder(tokenizer, special_collisions="allow")
        loaded = assemble.placed(_load(model), where)
        prefix = output / "pairs" / "all"
        count = tuning.write(tuning.pairs(files), pieces, prefix)
        kept = round(count * (1 - held_out))
        packed = tuning.Packed(prefix, sequence, seed, np.arange(kept))
        typer.echo(f"{kept:,} pairs in {len(packed):,} sequences, {packed.too_long} too long", err=True)
        options = tuning.Options(steps=steps, batch=batch, micro=micro_batch, rate=lr)
        tuning.train(loaded, packed, options, output, where, lambda line: typer.echo(line, err=True))
        if kept < count:
            unseen = tuning.Packed(prefix, sequence, seed, np.arange(kept, count))
            nats = tuning.answer_loss(loaded, unseen, micro_batch, len(unseen))
            typer.echo(f"held_out\t{count - kept}\tnats_per_answer_token\t{nats:.4f}")


@app.command()
def embed(
    files: Pairs,
    model: Start,
    tokenizer: TokenizerFolder,
    output: Annotated[Path, typer.Option(help="Folder to write the trained model to, in the Hugging Face layout.")],
    steps: Annotated[int, typer.Option(help="Optimizer steps.")] = 100,
    batch: Annotated[int, typer.Option(help="Pairs per step; each document is a negative for the other queries.")] = 32,
    lr: Annotated[float, typer.Option(help="Peak learning rate; SGPT's, for biases alone.")] = 4e-4,
    biases_only: Annotated[bool, typer.Option(help="Train the biases alone (BitFit), or --no-biases-only all.")] = True,
    held_out: Annotated[int, typer.Option(help="Pairs, the last ones, that retrieval is measured on.")] = 100,
) -> None:
    """Train a bi-encoder as SGPT-BLOOM was (inputs are queries, targets their documents), and measure retrieval."""
    from model import embed as embedding
    from model import export, finetune
    from tokenizer import encode

    with _faults():
        pieces = encode.Encoder(tokenizer, special_collisions="allow")
        loaded, found = _load(model), list(finetune.pairs(files))
        seen, unseen = found[: len(found) - held_out], found[len(found) - held_out :]
        before = embedding.retrieval(loaded, unseen, pieces)
        embedding.train(
            embedding.bitfit(loaded) if biases_only else loaded, seen, pieces, steps=steps, batch=batch, rate=lr
        )
        after = embedding.retrieval(loaded, unseen, pieces)
        export.save(loaded, output, tokenizer)
        typer.echo("when\tpairs\tnearest_ratio\tmean_reciprocal_rank")
        for when, (nearest, rank) in (("before", before), ("after", after)):
            typer.echo(f"{when}\t{len(unseen)}\t{nearest:.4f}\t{rank:.4f}")


def _load(folder: Path):
    from model import export

    return export.load(folder)
