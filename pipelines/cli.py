"""The command `roots`. It only parses: each command imports what it needs when it is called."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model import cli as model_cli
from pipelines import pulse

if TYPE_CHECKING:
    from pipelines import stage

app = typer.Typer(
    name="roots",
    help="The ROOTS corpus pipeline, the BLOOM tokenizer and trainer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
sources_app = typer.Typer(help="The catalogue of the 498 ROOTS sources.", no_args_is_help=True)
crawl_app = typer.Typer(help="Web pages: Common Crawl, and a crawl parted by language.", no_args_is_help=True)
quality_app = typer.Typer(help="The quality measures of a run.", no_args_is_help=True)
langid_app = typer.Typer(help="Language identification on plain files.", no_args_is_help=True)
tokenizer_app = typer.Typer(help="The byte-level BPE tokenizer on plain files.", no_args_is_help=True)
shards_app = typer.Typer(help="Binary token shards (.bin/.idx).", no_args_is_help=True)
app.add_typer(sources_app, name="sources")
app.add_typer(crawl_app, name="crawl")
app.add_typer(quality_app, name="quality")
app.add_typer(langid_app, name="langid")
app.add_typer(tokenizer_app, name="tokenizer")
app.add_typer(shards_app, name="shards")
app.add_typer(model_cli.app, name="model", help="Train, evaluate and export a BLOOM model (extra: model).")

RecipeArgument = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped one.")]
OutputOption = Annotated[str, typer.Option("--output", help="Folder of the run: a path, gs://... or s3://....")]
FolderOption = Annotated[Path, typer.Option("--output", help="Folder to write into.")]
RunArgument = Annotated[str, typer.Argument(metavar="DIR", help="The output folder of a run.")]
FilesArgument = Annotated[
    list[Path], typer.Argument(metavar="FILES", help="Documents: jsonl, parquet, csv, tsv, txt (.gz, .zst).")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a value of the recipe.")
]
UntilOption = Annotated[
    str,
    typer.Option(help="Last stage: ingest, clean, annotate, dedup, redact, cards, tokenizer or shards."),
]
WorkersOption = Annotated[int, typer.Option(min=1, help="Worker processes; 1 works in this process.")]
HangOption = Annotated[
    float,
    typer.Option(min=0, help="Seconds without progress, then a worker is ended, its task tried again; 0 never."),
]
BatchOption = Annotated[int, typer.Option(min=1, help="Documents in a batch; changes no result.")]
IdOption = Annotated[str, typer.Option("--id", help="Field of the id; records without it are numbered.")]
TextOption = Annotated[str, typer.Option("--text", help="Field of the text.")]


def main() -> None:
    """Entry point: exit 0 done, 1 a stage failed, 2 the user's fault."""
    # the driver and its workers each use one core; a tokenizer's own threads would fight over them
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Beam logs each failure with its stack; the command tells it once, in a line
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    # so do its threads that lose a worker
    threading.excepthook = lambda failed: logging.getLogger("apache_beam").error(failed.exc_value)
    logging.getLogger().setLevel(logging.ERROR)
    app()


@contextmanager
def _faults() -> Iterator[None]:
    """Errors as one line: 2 for what the user can put right in the call or recipe, 1 for a failed stage."""
    from pipelines import lease, manifest, stage

    try:
        yield
    except (stage.StageFailed, lease.Busy, manifest.DamagedFile) as error:
        typer.echo(f"roots: {error}", err=True)
        sys.stderr.flush()
        os._exit(1)  # Beam's threads may be waiting for a worker that is gone
    except (ValueError, FileNotFoundError, FileExistsError, NotADirectoryError, PermissionError) as error:
        typer.echo(f"roots: {error}", err=True)
        raise typer.Exit(2) from error
    except OSError as error:  # a disk that is full or broken, a network that is down
        typer.echo(f"roots: {error}. What is finished is kept: run the same command again when it is mended", err=True)
        raise typer.Exit(1) from error


def _context(recipe_path: Path, output: str, overrides: list[str] | None, batch_docs: int) -> stage.Context:
    from pipelines import recipe, stage, storage

    return stage.Context(storage.at(output), recipe.load(recipe_path, overrides or ()), batch_docs)


def _check_until(until: str) -> None:
    from pipelines import path

    if until not in path.GROUPS:
        raise ValueError(f"--until {until}: no such stage; the stages are {', '.join(path.GROUPS)}")


@app.command("run", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run_command(
    context: typer.Context,
    recipe_path: RecipeArgument,
    output: OutputOption,
    until: UntilOption = "shards",
    workers: WorkersOption = 1,
    hang_seconds: HangOption = pulse.SILENT_SECONDS_MAX,
    overrides: SetOption = None,
    batch_docs: BatchOption = 1024,
) -> None:
    """Run a recipe; the same command again resumes. Unknown options go to Beam (--runner and its own)."""
    with _faults():
        from pipelines import progress, run, runner, sources

        _check_until(until)
        engine = runner.Engine(workers=workers, hang_seconds=hang_seconds, beam_options=tuple(context.args))
        standing = _context(recipe_path, output, overrides, batch_docs)
        for line in sources.passed_over(standing.recipe):
            typer.echo(line, err=True)
        with progress.shown() as watch:
            run.run(standing, until, engine, watch)


@app.command()
def plan(
    recipe_path: RecipeArgument,
    output: OutputOption,
    until: UntilOption = "shards",
    workers: WorkersOption = 1,
    overrides: SetOption = None,
) -> None:
    """Show the stages: tasks, bytes, estimated time, memory and disk, what is done and why not."""
    with _faults():
        from pipelines import estimate

        _check_until(until)
        for line in estimate.table(_context(recipe_path, output, overrides, 1024), until, workers):
            typer.echo(line)


@app.command()
def verify(output: RunArgument) -> None:
    """Check every file of a run against its digest, and every stage's account; exit 1 if anything is wrong."""
    with _faults():
        from pipelines import storage
        from pipelines import verify as verification

        count = 0
        for problem in verification.problems(storage.at(output)):
            typer.echo(problem)
            count += 1
        if count:
            typer.echo(f"roots: {count} problems in {output}", err=True)
            raise typer.Exit(1)
        typer.echo(f"{output}: every file is what its manifest says, and every document is accounted for")


@app.command()
def inspect(
    output: RunArgument,
    stage_name: Annotated[str, typer.Option("--stage", help="Only this stage.")] = "",
    reason: Annotated[str, typer.Option(help="Only this reason.")] = "",
    source: Annotated[str, typer.Option(help="Only this source.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="Documents shown for each stage, source and reason.")] = 3,
) -> None:
    """Show what was removed and rejected: counts by stage and reason, and a sample of each."""
    with _faults():
        from pipelines import inspection, storage

        for line in inspection.report(storage.at(output), stage_name, reason, source, limit):
            typer.echo(line)


@app.command()
def cards(
    output: RunArgument,
    into: Annotated[Path, typer.Option(help="Folder that the cards are written into.")],
    every: Annotated[bool, typer.Option("--all", help="Also cards for the catalogue's sources without a run.")] = False,
) -> None:
    """Write the data cards of a run again, from its manifests."""
    with _faults():
        from pipelines import cards as cards_stage
        from pipelines import runner, storage
        from roots import card, catalogue

        runs = cards_stage.source_runs(runner.load_context(storage.at(output), 1024))
        sources = cards_stage.known(runs)
        if every:
            sources += [source for source in catalogue.load() if source.name not in runs]
        card.write_all(into, runs, sources)
        typer.echo(f"{len(sources)} cards in {into}")


@app.command("dedup")
def dedup_command(
    files: FilesArgument,
    output: FolderOption,
    id_field: IdOption = "id",
    text_field: TextOption = "text",
    overrides: SetOption = None,
    workers: WorkersOption = 1,
) -> None:
    """Find duplicates in plain files: duplicates.parquet (id, kept_id, witness_id, kind, similarity), spans.parquet."""
    with _faults():
        from pipelines import tools

        typer.echo(tools.dedup(files, output, id_field, text_field, overrides or [], workers))


@app.command("pii")
def pii_command(
    files: FilesArgument,
    output: FolderOption,
    id_field: IdOption = "id",
    text_field: TextOption = "text",
    overrides: SetOption = None,
    key_file: Annotated[
        Path | None,
        typer.Option(help="16 to 64 random bytes that key the digests; by default drawn, in the output's redact.key."),
    ] = None,
) -> None:
    """Redact personal data in plain files: writes the documents and spans.parquet (id, start, end, type, digest)."""
    with _faults():
        from pipelines import tools

        typer.echo(tools.pii(files, output, id_field, text_field, overrides or [], key_file))


@sources_app.command("list")
def sources_list(
    language: Annotated[list[str] | None, typer.Option(help="ROOTS or short code, e.g. sw, indic-hi.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="catalogue, pseudo_crawl, oscar or github_code.")] = None,
    licence: Annotated[list[str] | None, typer.Option(help="Licence as stated; `unknown` where none is.")] = None,
) -> None:
    """List sources: name, language, kind, bytes before cleaning, licence as stated."""
    with _faults():
        from pipelines import listing

        for line in listing.sources(language or [], kind or [], licence or []):
            typer.echo(line)


@sources_app.command("show")
def sources_show(name: Annotated[str, typer.Argument(help="Name of a source.")]) -> None:
    """Show what is known of a source, and who says so."""
    with _faults():
        from pipelines import listing

        for line in listing.source(name):
            typer.echo(line)


@sources_app.command("steps")
def sources_steps() -> None:
    """List the cleaning steps that sources name, how many name each, and which are implemented."""
    with _faults():
        from pipelines import listing

        for line in listing.steps():
            typer.echo(line)


@crawl_app.command("lookup")
def crawl_lookup(
    url: Annotated[str, typer.Argument(help="Address, or how it begins: example.org/news/")],
    crawl: Annotated[list[str], typer.Option(help="Crawl to look in, e.g. CC-MAIN-2021-04; may be repeated.")],
    output: Annotated[Path, typer.Option(help="File to write: a capture a line, JSON.")],
    match: Annotated[str, typer.Option(help="prefix, exact, host or domain.")] = "prefix",
    index: Annotated[str, typer.Option(help="Address of the index server.")] = "https://index.commoncrawl.org",
) -> None:
    """Ask Common Crawl's index for the latest capture of each address; writes where their records lie."""
    with _faults():
        from pipelines import commoncrawl

        found = commoncrawl.lookup(url, crawl, index, match=match)
        commoncrawl.write_captures(output, found)
        typer.echo(f"{len(found):,} addresses, {sum(each.length for each in found):,} bytes to fetch, in {output}")


@crawl_app.command("fetch")
def crawl_fetch(
    captures: Annotated[Path, typer.Argument(help="File that `roots crawl lookup` wrote.")],
    output: Annotated[Path, typer.Option(help="Folder for the .warc.gz files; the same call again resumes.")],
    connections: Annotated[int, typer.Option(min=1, help="Files fetched side by side.")] = 2,
    data: Annotated[str, typer.Option(help="Address of the data server.")] = "https://data.commoncrawl.org",
) -> None:
    """Fetch the records of captures by byte range, each checked, into .warc.gz files; exit 1 if none was to be had."""
    with _faults():
        from pipelines import commoncrawl

        wanted = commoncrawl.read_captures(captures)
        got = commoncrawl.fetch(wanted, output, data, connections=connections)
        for reason, count in sorted(got.failed.items()):
            typer.echo(f"roots: {count:,} records failed: {reason}", err=True)
        failed = got.failed.total()
        typer.echo(f"{got.records:,} records fetched, {failed:,} failed, {got.kept_files:,} files were there already")


@crawl_app.command("split")
def crawl_split(output: RunArgument, workers: WorkersOption = 1) -> None:
    """Part the cleaned pages of a run by language, into a folder of sources DIR/split."""
    with _faults():
        from pipelines import progress, run, runner, split, storage

        with progress.shown() as watch:
            run.run_one(
                runner.load_context(storage.at(output), 1024), split.STAGE, runner.Engine(workers=workers), watch
            )


@quality_app.command("tune")
def quality_tune(
    output: RunArgument,
    language: Annotated[str, typer.Option(help="ROOTS or short code, e.g. sw, indic-hi.")],
    into: Annotated[Path, typer.Option(help="Folder that the page and its plots are written into.")],
    overrides: SetOption = None,
) -> None:
    """Show what limits remove of a language's documents, how each measure is spread, and documents at the border."""
    with _faults():
        from pipelines import storage, tune

        for line in tune.tune(storage.at(output), language, into, overrides or []):
            typer.echo(line)


@langid_app.command("train")
def langid_train(
    files: Annotated[list[Path], typer.Argument(help="Labelled lines: language<TAB>text (.gz).")],
    output: Annotated[Path, typer.Option(help="Model file to write: .bin, or .ftz for a quantized one.")],
    dim: Annotated[int, typer.Option(min=1, help="Width of the vectors.")] = 32,
    epoch: Annotated[int, typer.Option(min=1, help="Passes over the lines.")] = 8,
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 42,
) -> None:
    """Train a fastText model on labelled lines."""
    with _faults():
        from pipelines import tools

        typer.echo(tools.langid_train(files, output, dim, epoch, seed))


@langid_app.command("predict")
def langid_predict(
    files: FilesArgument,
    output: Annotated[Path, typer.Option(help="File to write: .parquet or .tsv (id, language, score).")],
    model: Annotated[str, typer.Option(help="Model file; the shipped one by default.")] = "",
    sha256: Annotated[str, typer.Option(help="Digest of the model file, for one of your own.")] = "",
    id_field: IdOption = "id",
    text_field: TextOption = "text",
) -> None:
    """Write the language of each document of plain files."""
    with _faults():
        from pipelines import tools

        typer.echo(tools.langid_predict(files, output, model, sha256, id_field, text_field))


@langid_app.command("evaluate")
def langid_evaluate(
    files: Annotated[list[Path], typer.Argument(help="Labelled lines: language<TAB>text (.gz).")],
    model: Annotated[str, typer.Option(help="Model file; the shipped one by default.")] = "",
    sha256: Annotated[str, typer.Option(help="Digest of the model file, for one of your own.")] = "",
) -> None:
    """Score a model on labelled lines: precision, recall and F1 of each language."""
    with _faults():
        from pipelines import tools

        for line in tools.langid_evaluate(files, model, sha256):
            typer.echo(line)


@tokenizer_app.command("train")
def tokenizer_train(
    files: FilesArgument,
    output: Annotated[Path, typer.Option(help="Folder to write tokenizer.json and its companions into.")],
    vocab_size: Annotated[int, typer.Option(min=260, help="Entries, specials included.")],
    text_field: TextOption = "text",
) -> None:
    """Train a tokenizer on plain files."""
    with _faults():
        from pipelines import tools

        typer.echo(tools.tokenizer_train(files, output, vocab_size, text_field))


@tokenizer_app.command("encode")
def tokenizer_encode(
    files: FilesArgument,
    tokenizer: Annotated[Path, typer.Option(help="Folder of the tokenizer, or its tokenizer.json.")],
    output: Annotated[Path, typer.Option(help="Prefix of the .bin/.idx pair to write.")],
    text_field: TextOption = "text",
) -> None:
    """Encode plain files into one shard."""
    with _faults():
        from pipelines import tools

        typer.echo(tools.tokenizer_encode(files, tokenizer, output, text_field))


@tokenizer_app.command("report")
def tokenizer_report(
    files: FilesArgument,
    tokenizer: Annotated[Path, typer.Option(help="Folder of the tokenizer, or its tokenizer.json.")],
    text_field: TextOption = "text",
    output: Annotated[Path | None, typer.Option(help="Folder for Markdown, HTML, CSV and the plot; none.")] = None,
) -> None:
    """Tokens per word, words kept whole and more on plain files, each a row, beside a tokenizer of its own."""
    with _faults():
        from pipelines import tools

        typer.echo(tools.tokenizer_report(files, tokenizer, text_field, output))


@shards_app.command("show")
def shards_show(
    prefix: Annotated[Path, typer.Argument(help="Prefix of a .bin/.idx pair.")],
    document: Annotated[int, typer.Option(min=-1, help="Show the ids of this document; -1 none.")] = -1,
    token: Annotated[int, typer.Option(min=-1, help="Show the document that holds this token; -1 none.")] = -1,
    tokenizer: Annotated[Path | None, typer.Option(help="Folder of the tokenizer, to show the text too.")] = None,
) -> None:
    """Show what a shard holds."""
    with _faults():
        from pipelines import tools

        for line in tools.shard_show(prefix, document, token, tokenizer):
            typer.echo(line)


@shards_app.command("verify")
def shards_verify(
    prefixes: Annotated[list[Path], typer.Argument(help="Prefixes of .bin/.idx pairs.")],
    vocab_size: Annotated[int, typer.Option(min=1, help="Every id must be below this.")],
) -> None:
    """Read every id of shards and check it; the index, the digests and the lineage against the files."""
    with _faults():
        from pipelines import tools

        for line in tools.shards_verify(prefixes, vocab_size):
            typer.echo(line)
