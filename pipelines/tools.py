"""Single tools on plain files: the stages of the path, without a corpus around them."""

from __future__ import annotations

import dataclasses
import secrets
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines import annotate, ingest, manifest, progress, recipe, redact, run, runner, stage, storage, substring
from roots import langid
from roots import pii as personal
from tokenizer import count as piece_count
from tokenizer import encode, learn, report, report_page, sample, shards

LANGUAGE = "en"  # the frame wants a language of each source; no tool here looks at it
CHECKPOINT = ".learner.npz"  # in the output of `tokenizer train`: what a killed learner goes on from
REPORT_HELD_OUT = 0.1  # of the documents of a file that a report judges
RUN = ".run"  # where a tool's stages work, below its output


def dedup(files: list[Path], output: Path, id_field: str, text_field: str, overrides: list[str], workers: int) -> str:
    """Write output/duplicates.parquet: id, kept_id, witness_id, kind (exact | near), similarity; one line about it.

    With dedup.substring.action "mark", spans.parquet besides.
    """
    plan_of = _recipe(files, id_field, text_field, overrides)
    context = stage.Context(output / RUN, plan_of)
    with progress.shown() as watch:
        run.run(context, "dedup", runner.Engine(workers=workers), watch)
    found = pa.concat_tables(
        pq.read_table(context.folder("dedup") / f"{part.name}.parquet") for part in context.manifests("dedup")
    )
    ids = {
        name: pa.array([_own_id(identity) for identity in found[name].to_pylist()], pa.string())
        for name in ("id", "kept_id", "witness_id")
    }
    table = pa.table({**ids, "kind": found["kind"], "similarity": found["similarity"]})
    _write_parquet(output / "duplicates.parquet", table)
    if plan_of.dedup.substring.action != substring.OFF:
        _write_parquet(output / "spans.parquet", _spans(context))
    documents = manifest.total(part.counts for part in context.manifests("documents"))
    shutil.rmtree(output / RUN)
    return f"{len(table):,} duplicates of {documents.kept:,} documents in {output / 'duplicates.parquet'}"


def _spans(context: stage.Context) -> pa.Table:
    """Repeated text: id, start, end (UTF-8 bytes), kept_id, kept_start."""
    found = pa.concat_tables(
        pq.read_table(context.folder("spans") / f"{part.name}.parquet") for part in context.manifests("spans")
    ).drop_columns("row")
    for name in ("id", "kept_id"):
        ids = pa.array([_own_id(identity) for identity in found[name].to_pylist()], pa.string())
        found = found.set_column(found.schema.get_field_index(name), name, ids)
    return found


def pii(
    files: list[Path], output: Path, id_field: str, text_field: str, overrides: list[str], key_file: Path | None
) -> str:
    """Write output/documents.parquet (redacted) and output/spans.parquet (id, start, end, type, keyed digest).

    Without a key of the user's one is drawn and kept at output/redact.key, where a second call finds it.
    """
    if not any(override.startswith("redact.key_file=") for override in overrides):
        overrides = [*overrides, f"redact.key_file={(key_file or output / 'redact.key').resolve()}"]
    plan_of = _recipe(files, id_field, text_field, overrides)
    settings_of = plan_of.redact
    output.mkdir(parents=True, exist_ok=True)
    if settings_of.key_file == str((output / "redact.key").resolve()):
        _draw_key(output / "redact.key")
    key = redact.secret(settings_of)
    tags: Counter[str] = Counter()
    documents, spans = [], []
    for batch in _documents(plan_of):
        text = batch.column("text")
        found = redact.find(text, settings_of.tags, settings_of)
        ids = pa.array([_own_id(identity) for identity in batch.column("id").to_pylist()], pa.string())
        spans.append(redact.span_rows(ids, text, found, key))
        text = personal.redact(text, found, key if settings_of.pseudonyms else b"")
        documents.append(pa.table({"id": ids, "text": text, "meta": batch.column("meta")}))
        tags.update(personal.tag_counts(found))
    _write_parquet(output / "documents.parquet", pa.concat_tables(documents))
    _write_parquet(output / "spans.parquet", pa.concat_tables(spans))
    counted = ", ".join(f"{tag} {count:,}" for tag, count in sorted(tags.items())) or "nothing found"
    return (
        f"{tags.total():,} spans ({counted}) in {sum(map(len, documents)):,} documents, written to {output}; "
        f"digests under {settings_of.key_file}: keep it apart from what you publish"
    )


def _draw_key(file: Path) -> None:
    """Write a new key that its owner alone can read, unless there is one."""
    if not file.exists():
        file.touch(mode=0o600)
        file.write_bytes(secrets.token_bytes(personal.KEY_MAX))


def langid_train(files: list[Path], output: Path, dim: int, epoch: int, seed: int) -> str:
    info = langid.train_file(files, output, langid.Options(dimensions=dim, epochs=epoch, seed=seed))
    return "\n".join(f"{name}: {value}" for name, value in info.items())


def langid_predict(files: list[Path], output: Path, model: str, sha256: str, id_field: str, text_field: str) -> str:
    """Write id, language (short code, "other", null where there is nothing to judge) and score of each document."""
    if output.suffix not in (".parquet", ".tsv"):
        raise ValueError(f"--output {output}: expected a name that ends in .parquet or .tsv")
    loaded = _model(model, sha256)
    tables = []
    for batch in _documents(_recipe(files, id_field, text_field, [])):
        labels, scores = langid.identify(batch.column("text"), loaded)
        ids = pa.array([_own_id(identity) for identity in batch.column("id").to_pylist()], pa.string())
        language = pc.fill_null(labels, langid.OTHER)
        tables.append(pa.table({"id": ids, "language": language, "score": pa.array(scores, pa.float32())}))
    table = pa.concat_tables(tables)
    if output.suffix == ".parquet":
        _write_parquet(output, table)
    else:
        rows = ["\t".join(map(str, row.values())) for row in table.to_pylist()]
        storage.write(output, "\n".join(["\t".join(table.column_names), *rows, ""]).encode())
    return f"{len(table):,} documents labelled in {output}"


def langid_evaluate(files: list[Path], model: str, sha256: str) -> Iterator[str]:
    """A line for each language, then the means over languages."""
    rows = langid.evaluate(_model(model, sha256), (pair for file in files for pair in langid.read_labelled(file)))
    yield f"{'language':<10} {'lines':>8} {'precision':>10} {'recall':>8} {'F1':>8}"
    for row in rows:
        yield f"{row.language:<10} {row.lines:>8,} {row.precision:>10.3f} {row.recall:>8.3f} {row.f1:>8.3f}"
    yield f"macro F1 {langid.macro_f1(rows):.4f} over {len(rows)} languages"


def tokenizer_train(files: list[Path], output: Path, vocab_size: int, text_field: str) -> str:
    plan_of = _recipe(files, "", text_field, [])
    output.mkdir(parents=True, exist_ok=True)
    learned = learn.learn(
        piece_count.of(batch.column("text") for batch in _documents(plan_of)),
        vocab_size,
        progress=_tell_merges if sys.stderr.isatty() else None,
        checkpoint=output / CHECKPOINT,
    )
    digests = learn.save(learned.tokenizer(), output)
    for note in learned.notes():
        sys.stderr.write(f"roots: {note}\n")
    return f"{learned.vocab_size:,} entries in {output} (tokenizer.json sha256 {digests['tokenizer.json']})"


def tokenizer_encode(files: list[Path], tokenizer: Path, output: Path, text_field: str) -> str:
    encoder = _encoder(tokenizer)
    output.parent.mkdir(parents=True, exist_ok=True)
    with shards.Writer(output, encoder.vocab_size, encoder.eod) as writer:
        for batch in _documents(_recipe(files, "", text_field, [])):
            writer.add(*encoder.encode(batch.column("text")))
        written = writer.close()
    return "\n".join(f"{name}: {value}" for name, value in dataclasses.asdict(written).items())


def tokenizer_report(files: list[Path], tokenizer: Path, text_field: str, output: Path | None) -> str:
    """The report on plain files, each a row; every tenth document is held out of the baseline and judged by."""
    encoder = _encoder(tokenizer)
    settings = recipe.load(Path("tools.toml")).tokenizer
    rows, used = [], np.zeros(encoder.vocab_size, np.int64)
    for file in files:
        tables, sizes = (piece_count.Table(), piece_count.Table()), [report.Text.zero(), report.Text.zero()]
        for batch in _documents(_recipe([file], "", text_field, [])):
            _, apart = sample.chosen(batch.column("id"), 1.0, REPORT_HELD_OUT, settings.seed)
            for number, part in enumerate((~apart, apart)):
                text = batch.column("text").filter(pa.array(part))
                tables[number].add(text)
                sizes[number] += report.Text.of(text)
        learned, held_out = ((table.counts(), size) for table, size in zip(tables, sizes, strict=True))
        row, came = report.measure(file.name, learned, held_out, encoder, settings.baseline_vocab_size)
        rows.append(row)
        used += came
    rows.append(report.total(rows))
    facts, svg = report.vocabulary(encoder, used), report_page.plot(rows)
    text = report_page.markdown(rows, facts, "report.svg")
    if output is not None:
        pages = {"report.md": text, "report.html": report_page.page(rows, facts, svg), "report.svg": svg}
        for name, content in {**pages, "report.csv": report_page.table_csv(rows)}.items():
            storage.write(output / name, content.encode())
    return text


def _tell_merges(made: int, wanted: int, last: int) -> None:
    sys.stderr.write(f"\r{made:,} of {wanted:,} merges, the last pair of {last:,}{'' if made < wanted else chr(10)}")


def _encoder(tokenizer: Path) -> encode.Encoder:
    """A tokenizer; tells on stderr where our kernels cannot encode with it."""
    found = encode.Encoder(tokenizer)
    if found.slow_because:
        sys.stderr.write(f"roots: {found.path} is encoded by the library, slowly: {found.slow_because}\n")
    return found


def shard_show(prefix: Path, document: int, token: int, tokenizer: Path | None) -> Iterator[str]:
    """Lines: what the index says, and a document if one is asked for, by its number or by a token in it."""
    found = shards.Shard(prefix)
    yield f"{prefix}: {len(found):,} documents, {len(found.tokens):,} tokens, ids as {found.dtype.name}"
    lengths = np.asarray(found.lengths)
    if len(lengths):
        yield f"tokens of a sequence: least {lengths.min():,}, mean {lengths.mean():,.1f}, most {lengths.max():,}"
    if token >= len(found.tokens):
        raise ValueError(f"--token {token}: the shard has {len(found.tokens)} tokens, numbered from 0")
    if token >= 0:
        document, place = shards.trace(found, token)
        yield f"token {token:,} is number {place:,} of document {document:,}"
    if document >= len(found):
        raise ValueError(f"--document {document}: the shard has {len(found)} documents, numbered from 0")
    if document >= 0:
        if (origin := shards.lineage(found)) is not None:
            yield f"document {origin['document'][document].as_py()}"
        ids = np.asarray(found.document(document))
        yield " ".join(map(str, ids))
        if tokenizer is not None:
            yield encode.Encoder(tokenizer).decode(ids)


def shards_verify(prefixes: list[Path], vocab_size: int) -> Iterator[str]:
    """A line for each shard that holds; raises ValueError at the first that does not."""
    for prefix in prefixes:
        plain = prefix.with_suffix("") if prefix.suffix in (".bin", ".idx") else prefix
        found = shards.Shard(plain)
        found.check(vocab_size)
        known = []
        sealed = plain.with_name(plain.name + manifest.MANIFEST)
        if sealed.is_file():
            facts = manifest.read_sealed(sealed)["facts"]
            for file, stated in (("bin", facts["bin_sha256"]), ("idx", facts["idx_sha256"])):
                path = plain.with_name(f"{plain.name}.{file}")
                if manifest.file_digest(path) != stated:
                    raise ValueError(f"{path}: its sha256 is not the one that its manifest states; write it again")
            known.append("digests as in its manifest")
        if (origin := shards.lineage(found)) is not None:
            known.append(f"{len(origin):,} documents traced")
        yield ", ".join([f"{plain}: {len(found):,} documents, {len(found.tokens):,} tokens", *known])


def _model(path: str, sha256: str) -> langid.Model:
    """The named model, or the shipped one."""
    if not path:
        chosen = recipe.load(Path("sample.toml")).language
    elif not sha256:
        digest = manifest.file_digest(Path(path))
        raise ValueError(
            f"--model {path}: give --sha256 too; a model is loaded only if its digest is the expected one "
            f"(this file's is {digest})"
        )
    else:
        chosen = recipe.Language(model=path, sha256=sha256)
    loaded = annotate.model(chosen)
    assert loaded is not None
    return loaded


def _recipe(files: list[Path], id_field: str, text_field: str, overrides: list[str]) -> recipe.Recipe:
    """The base recipe over files, each a source of its own, in the order given; nothing is cleaned or judged."""
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"{file}: no such file")
    base = recipe.load(Path("tools.toml"), overrides)
    options = {
        f"file-{index:05d}": recipe.SourceOptions(
            language=LANGUAGE, path=str(file.resolve()), text=text_field, id=id_field
        )
        for index, file in enumerate(files)
    }
    chosen = recipe.Sources(extra=tuple(options), options=options)
    return dataclasses.replace(base, sources=chosen)


def _documents(plan_of: recipe.Recipe) -> Iterator[pa.RecordBatch]:
    """The documents of a recipe's files; raises ValueError where nothing can be read as a document."""
    rejected: dict[str, int] = {}
    context = stage.Context(Path(), plan_of)
    count = 0
    for task in ingest.plan(context):
        rejects = stage.Rejects(task.source)
        for batch in ingest.documents(task, context, rejects):
            count += batch.num_rows
            yield batch
        for reason, number in rejects.counts.items():
            rejected[reason] = rejected.get(reason, 0) + number
    if rejected:
        _tell_rejects(rejected, count)
    if not count:
        raise ValueError(f"no documents in the files; rejected: {rejected or 'nothing'}")


def _tell_rejects(rejected: dict[str, int], kept: int) -> None:
    """Tell on stderr what was no document."""
    reasons = ", ".join(f"{reason} {number:,}" for reason, number in sorted(rejected.items()))
    sys.stderr.write(f"roots: {sum(rejected.values()):,} records rejected ({reasons}), {kept:,} documents read\n")


def _own_id(identity: str) -> str:
    """An id as the file has it: without the name of the tool's source."""
    return identity.partition("/")[2]


def _write_parquet(path: Path, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    storage.write(path, sink.getvalue().to_pybytes())
