"""Duplicates over all sources: exact copies and near ones. Verdicts only; no document is moved.

    keys     shard       key of each text; keys of its bands (of copies in a shard the first) -> partitions of keys
    match    partition   documents with the same key: copies; those that share a band: candidates    -> pairs
    groups   once        what hangs together, by a spanning forest, goes to one partition            -> members, pairs
    sets     shard       ids, lengths and shingle sets of the members                        -> partitions to verify
    near     partition   true similarity of each pair, survivors, witnesses; checked             -> verdicts by shard
    dedup    shard       the verdicts, with ids; guarded                                          -> duplicates

A document's number is its shard and row in the order of the sources (`dedup.priority`, then by name). Which of a set
of duplicates stays is the recipe's `dedup.survivor`. A near duplicate is removed only where a document that stays is
its witness (docs/decisions/0002).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines import exchange, manifest, recipe, stage, storage
from roots import clusters, exact, minhash, simhash, utf8

MEMBERS_MAX = 50_000  # documents that one task verifies, about; a larger component has a task of its own
NUMBER, NUMBER_DIGITS = re.compile(r"[0-9]+"), 20  # in an id; padded, so that record 9 comes before record 10
LEADERS_MAX = 16  # survivors of a large cluster that its other documents are compared with
PAIRS_MAX = 2**23  # pairs held at a time while components are found: 128 MB

DUPLICATES = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),  # in the shard of the stage before
        pa.field("kept_id", pa.string(), nullable=False),  # of its cluster, the document that stays before all others
        pa.field("kept_source", pa.string(), nullable=False),
        pa.field("witness_id", pa.string(), nullable=False),  # of those that stay, the one it is most like
        pa.field("kind", pa.string(), nullable=False),  # exact | near
        pa.field("similarity", pa.float64(), nullable=False),  # with the witness
    ]
)
MEMBER = np.dtype([("doc", "<u8"), ("partition", "<u4"), ("compared", "<u4")])  # compared: in a candidate pair
HEAD = np.dtype([("doc", "<u8"), ("features", "<i8"), ("text_bytes", "<i8"), ("id_bytes", "<i8")])
DUPLICATE = np.dtype([("doc", "<u8"), ("similarity", "<f8"), ("copy", "<i8"), ("id_bytes", "<i8", 3)])  # own, kept,
# witness


def shards(context: stage.Context) -> list[manifest.Manifest]:
    """The shards to compare: by rank of their source in `dedup.priority`, then by its name, then in order."""
    ranks = _ranks(context)
    parts = enumerate(context.manifests(context.recipe.dedup.after))
    return [part for _, part in sorted(parts, key=lambda p: (ranks[p[1].source], p[1].source, p[0]))]


def _ranks(context: stage.Context) -> dict[str, int]:
    """The place of each source in `dedup.priority`; sources that stand not there share the last."""
    patterns = context.recipe.dedup.priority
    places = {pattern: place for place, pattern in enumerate(patterns)}
    found = {
        part.source: recipe.matching(places, part.source) for part in context.manifests(context.recipe.dedup.after)
    }
    return {source: len(patterns) if place is None else place for source, place in found.items()}


def comparison(plan_of: recipe.Dedup, language: str) -> minhash.Comparison | simhash.Comparison:
    """How the documents of a language are compared."""
    if plan_of.method == "simhash":
        unit = "space" if language == "en" else "character"  # conf/*.yaml of the original
        return simhash.Comparison(unit=unit, distance_max=plan_of.simhash.distance_max, blocks=plan_of.simhash.blocks)
    shingles = plan_of.shingles.get(language, plan_of)
    bands, rows = minhash.bands_and_rows(plan_of.num_perm, plan_of.threshold, plan_of.recall_min)
    return minhash.Comparison(
        num_perm=plan_of.num_perm,
        seed=plan_of.seed,
        unit=shingles.unit,
        ngram=shingles.ngram,
        bands=bands,
        rows=rows,
        similarity_min=plan_of.threshold,
    )


def _settings(plan_of: recipe.Recipe) -> object:
    return plan_of.dedup


def success(context: stage.Context, name: str) -> str:
    """Digest of a finished stage, which a task depends on as a whole."""
    return manifest.file_digest(context.folder(name) / manifest.SUCCESS)


def outputs(context: stage.Context, name: str, ending: str = ".seg") -> list[storage.Place]:
    """The files with this ending of a stage's tasks, in order."""
    return exchange.paths(context.folder(name), [part.name for part in context.manifests(name)], ending)


def shard_task(context: stage.Context, part: manifest.Manifest, **options: object) -> stage.Task:
    return stage.Task(
        name=part.name,
        source=part.source,
        language=part.language,
        slices=tuple(context.shards(context.recipe.dedup.after, part)),
        options=options,
    )


# keys


def _partitions(context: stage.Context) -> tuple[int, int]:
    """Partitions of the keys of texts, and of the keys of bands."""
    plan_of = context.recipe.dedup
    documents = sum(part.counts.kept for part in context.manifests(context.recipe.dedup.after))
    bands = comparison(plan_of, "").bands
    texts = exchange.partitions(documents, exchange.KEY) if plan_of.exact else 0
    return texts, exchange.partitions(documents * bands, exchange.BAND) if plan_of.near else 0


def _plan_keys(context: stage.Context) -> list[stage.Task]:
    texts, bands = _partitions(context)
    return [
        shard_task(context, part, shard=shard, texts=texts, bands=bands) for shard, part in enumerate(shards(context))
    ]


def _keys(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    texts, bands = task.options["texts"], task.options["bands"]
    compared = comparison(context.recipe.dedup, task.language)
    of_text, of_bands = [np.empty((0, 2), np.uint64)], [np.empty((0, compared.bands), np.uint64)]
    for part in task.slices:
        for batch in context.read(part, ["text"]):
            if texts:
                of_text.append(exact.text_keys(batch.column(0)))
            if bands:
                of_bands.append(compared.keys(batch.column(0)))
    stem = f"{folder / task.name}"
    if texts:
        keys = np.concatenate(of_text)
        docs = exchange.number(task.options["shard"], np.arange(len(keys)))
        records = exchange.keys(keys, docs)
        exchange.write(Path(f"{stem}.texts.seg"), records, exchange.partition_of(records["high"], texts), texts)
    if bands:
        found = np.concatenate(of_bands)
        first = _first(records) if texts else np.ones(len(found), bool)
        docs = exchange.number(task.options["shard"], np.flatnonzero(first & (found[:, 0] != clusters.NO_KEY)))
        in_bands = np.empty(len(docs) * compared.bands, exchange.BAND)
        in_bands["key"] = found[exchange.row_of(docs)].ravel()
        in_bands["doc"] = np.repeat(docs, compared.bands)
        exchange.write(Path(f"{stem}.bands.seg"), in_bands, exchange.partition_of(in_bands["key"], bands), bands)
    return stage.Result()


def _first(records: np.ndarray) -> np.ndarray:
    """bool [docs]: whether the document is the first of the shard with its text."""
    first = np.ones(len(records), bool)
    first[exchange.row_of(exchange.first_kept(records)["doc"])] = False
    return first


# pairs


def _plan_match(context: stage.Context) -> list[stage.Task]:
    texts, bands = _partitions(context)
    options = {"depends": success(context, "work/dedup-keys")}
    return [
        stage.Task(name=f"{kind}-{index:05d}-of-{count:05d}", options={**options, "kind": kind, "partition": index})
        for kind, count in (("texts", texts), ("bands", bands))
        for index in range(count)
    ]


def _match(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    kind, partition = task.options["kind"], task.options["partition"]
    files = outputs(context, "work/dedup-keys", f".{kind}.seg")
    if kind == "texts":
        found = exchange.first_kept(exchange.gather(files, partition, exchange.KEY))
        pairs = _pairs(found["witness"], found["doc"])
    else:
        records = exchange.gather(files, partition, exchange.BAND)
        ends = clusters.candidate_pairs(
            records["key"], records["doc"].astype(np.int64), bucket_max=context.recipe.dedup.bucket_max
        )
        pairs = _pairs(ends[:, 0], ends[:, 1])
    exchange.write(folder / f"{task.name}.seg", pairs, np.zeros(len(pairs), np.int64), 1)
    return stage.Result()


def _pairs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    pairs = np.empty(len(a), exchange.PAIR)
    pairs["a"], pairs["b"] = a, b
    return pairs


# groups


def _plan_groups(context: stage.Context) -> list[stage.Task]:
    options = {
        "depends": success(context, "work/dedup-match"),
        "shards": len(context.manifests(context.recipe.dedup.after)),
    }
    return [stage.Task(name="groups", options=options)]


def _groups(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    """Documents that hang together go to one partition: there the clusters are whole."""
    copies = _copies(context)
    forest, compared = copies, np.empty(0, np.uint64)
    for pairs in _candidates(context, copies):
        forest = clusters.forest(np.concatenate([forest, pairs]))
        compared = np.union1d(compared, pairs)
    docs, ends = np.unique(forest, return_inverse=True)
    partition = _packed(clusters.components(ends.reshape(-1, 2), len(docs)))
    count = int(partition.max()) + 1 if len(docs) else 0
    members = np.empty(len(docs), MEMBER)
    members["doc"], members["partition"], members["compared"] = docs, partition, np.isin(docs, compared)
    exchange.by_shard(folder / "members.seg", members, task.options["shards"])
    names = ["copies"]
    _write_pairs(folder / "copies.seg", copies, docs, partition, count)
    for index, pairs in enumerate(_candidates(context, copies)):
        names.append(f"pairs-{index:05d}")
        _write_pairs(folder / f"{names[-1]}.seg", pairs, docs, partition, count)
    return stage.Result(facts={"partitions": count, "members": len(docs), "copies": len(copies), "files": names})


def _copies(context: stage.Context) -> np.ndarray:
    """(first, copy) of every copy, in order of the copies: uint64 [n, 2]."""
    files = [path for path in outputs(context, "work/dedup-match", ".seg") if path.name.startswith("texts-")]
    copies = _ends(exchange.gather(files, 0, exchange.PAIR))
    return copies[np.argsort(copies[:, 1], kind="stable")]


def _ends(pairs: np.ndarray) -> np.ndarray:
    return np.stack([pairs["a"], pairs["b"]], axis=1)


def _candidates(context: stage.Context, copies: np.ndarray) -> Iterator[np.ndarray]:
    """Candidate pairs, about PAIRS_MAX at a time, each copy replaced by the first with its text: uint64 [n, 2]."""
    held: list[np.ndarray] = []
    for path in outputs(context, "work/dedup-match", ".seg"):
        if path.name.startswith("bands-"):
            held.append(_as_first(_ends(exchange.read(path, 0, exchange.PAIR)), copies))
            if sum(map(len, held)) >= PAIRS_MAX:
                yield np.concatenate(held)
                held = []
    if held:
        yield np.concatenate(held)


def _as_first(pairs: np.ndarray, copies: np.ndarray) -> np.ndarray:
    if not len(copies):
        return pairs
    place = np.minimum(np.searchsorted(copies[:, 1], pairs), len(copies) - 1)
    pairs = np.where(copies[place, 1] == pairs, copies[place, 0], pairs)
    return np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)


def _packed(labels: np.ndarray) -> np.ndarray:
    """A partition for each node: components in order, about MEMBERS_MAX nodes together; int64 [nodes]."""
    sizes = np.bincount(labels, minlength=len(labels))
    before = np.cumsum(sizes) - sizes
    _, partition = np.unique(before[labels] // MEMBERS_MAX, return_inverse=True)
    return partition.astype(np.int64)


def _write_pairs(path: Path, pairs: np.ndarray, docs: np.ndarray, partition: np.ndarray, count: int) -> None:
    """Pairs by the partition of their documents, each once."""
    ranks = np.searchsorted(docs, pairs).astype(np.uint64)
    packed = np.unique(ranks[:, 0] << np.uint64(32) | ranks[:, 1])
    a, b = packed >> np.uint64(32), packed & np.uint64(0xFFFFFFFF)
    exchange.write(path, _pairs(docs[a], docs[b]), partition[a], count)


# what is compared


def _facts(context: stage.Context) -> dict[str, int]:
    return context.manifests("work/dedup-groups")[0].facts


def _plan_sets(context: stage.Context) -> list[stage.Task]:
    """A task for each shard that has members."""
    members = context.folder("work/dedup-groups") / "members.seg"
    options = {"depends": manifest.file_digest(members), "partitions": _facts(context)["partitions"]}
    wanted = exchange.sizes(members)
    return [
        shard_task(context, part, **options, shard=shard) for shard, part in enumerate(shards(context)) if wanted[shard]
    ]


def _sets(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    """Of each member HEAD, id and, if it is compared, features; by partition."""
    members = exchange.read(context.folder("work/dedup-groups") / "members.seg", task.options["shard"], MEMBER)
    compared = comparison(context.recipe.dedup, task.language)
    heads = np.zeros(len(members), HEAD)
    heads["doc"] = members["doc"]
    ids, values = [], [np.empty(0, np.uint64)]
    for first, docs in rows_of(task, context, exchange.row_of(members["doc"]), ["id", "text"]):
        inside = slice(first, first + docs.num_rows)
        ids.append(docs.column("id"))
        heads["text_bytes"][inside] = np.diff(utf8.view(docs.column("text"))[1])
        wanted = members["compared"][inside] == 1
        found, bounds = compared.features(docs.column("text").filter(pa.array(wanted)))
        heads["features"][inside][wanted] = np.diff(bounds)
        values.append(found)
    partition, count = members["partition"].astype(np.int64), task.options["partitions"]
    stem = f"{folder / task.name}"
    heads["id_bytes"] = _write_strings(Path(f"{stem}.ids.seg"), pa.concat_arrays(ids), partition, count)
    exchange.write(Path(f"{stem}.heads.seg"), heads, partition, count)
    exchange.write(Path(f"{stem}.seg"), np.concatenate(values), np.repeat(partition, heads["features"]), count)
    return stage.Result()


def rows_of(
    task: stage.Task, context: stage.Context, rows: np.ndarray, columns: list[str]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(number of the first, documents) of the shard's rows wanted, ascending; other row groups are not read."""
    for part, later in zip(task.slices, [*task.slices[1:], None], strict=True):
        row, last = part.first, later.first if later else int(rows[-1]) + 1
        if np.searchsorted(rows, row) == np.searchsorted(rows, last):
            continue
        for batch in context.read(part, columns):
            first, stop = np.searchsorted(rows, [row, row + batch.num_rows])
            if first < stop:
                yield int(first), batch.take(pa.array(rows[first:stop] - row))
            row += batch.num_rows


def _write_strings(path: Path, strings: pa.StringArray, segment: np.ndarray, count: int) -> np.ndarray:
    """Write the strings' bytes by segment; returns the length of each, int64, which must be kept elsewhere."""
    data, offsets = utf8.view(strings)
    lengths = np.diff(offsets).astype(np.int64)
    exchange.write(path, data[offsets[0] : offsets[-1]], np.repeat(segment, lengths), count)
    return lengths


def _strings(data: np.ndarray, lengths: np.ndarray) -> pa.StringArray:
    return utf8.strings(data, np.concatenate([[0], np.cumsum(lengths.ravel())]).astype(np.int32))


# verdicts


def _plan_near(context: stage.Context) -> list[stage.Task]:
    ranks = _ranks(context)
    found = _facts(context)
    options = {
        "depends": [success(context, "work/dedup-groups"), success(context, "work/dedup-sets")],
        "ranks": np.unique([ranks[part.source] for part in shards(context)], return_index=True)[1].tolist(),
        "shards": len(shards(context)),
        "files": found["files"],
    }
    count = found["partitions"]
    return [
        stage.Task(name=f"part-{index:05d}-of-{count:05d}", options={**options, "partition": index})
        for index in range(count)
    ]


def _near(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    """Keep the pairs that are as near as they looked, and let the first of each set of neighbours stay."""
    partition, plan_of = task.options["partition"], context.recipe.dedup
    heads = exchange.gather(outputs(context, "work/dedup-sets", ".heads.seg"), partition, HEAD)
    ids = _strings(
        exchange.gather(outputs(context, "work/dedup-sets", ".ids.seg"), partition, np.dtype("u1")), heads["id_bytes"]
    )
    docs = heads["doc"]  # sorted: shards in order, rows in order
    copies, *candidates = exchange.paths(context.folder("work/dedup-groups"), task.options["files"])
    equal = np.searchsorted(docs, _ends(exchange.read(copies, partition, exchange.PAIR)))
    pairs = np.searchsorted(docs, _ends(exchange.gather(candidates, partition, exchange.PAIR)))
    pairs = np.unique(pairs, axis=0) if len(candidates) > 1 else pairs
    folder.mkdir(parents=True, exist_ok=True)
    values = exchange.gathered_on_disk(
        outputs(context, "work/dedup-sets", ".seg"), partition, np.dtype("<u8"), folder / "scratch"
    )
    bounds = np.concatenate([[0], np.cumsum(heads["features"])])
    compared = comparison(plan_of, "")
    order = _order(plan_of.survivor, docs, heads["text_bytes"], ids, task.options["ranks"])
    first = clusters.components(equal, len(docs))  # of copies it is the first that has features
    edges, similarity = np.empty((0, 2), np.int64), np.empty(0)
    settled = np.zeros(len(docs), bool)
    for place in range(LEADERS_MAX + 1):
        alike = compared.similarity(values, bounds, first[pairs])
        near = alike >= compared.similarity_min
        edges, similarity = np.concatenate([edges, pairs[near]]), np.concatenate([similarity, alike[near]])
        found = clusters.verdicts(order, equal, edges, similarity)
        cluster = clusters.components(np.concatenate([equal, edges]), len(docs))
        settled[pairs[near, 1]] |= place > 0  # at first the pairs are those of the bands
        pairs = clusters.led(order, cluster, found.removed, settled, place, plan_of.bucket_max + 1)
        if not len(pairs):
            break
    clusters.check(found, compared.similarity_min)
    gone = np.flatnonzero(found.removed)
    records = np.empty(len(gone), DUPLICATE)
    records["doc"], records["similarity"], records["copy"] = docs[gone], found.similarity[gone], found.copy[gone]
    named = ids.take(pa.array(np.stack([gone, found.kept[gone], found.witness[gone]], axis=1).ravel()))
    shard, count = exchange.shard_of(records["doc"]), task.options["shards"]
    lengths = _write_strings(folder / f"{task.name}.ids.seg", named, np.repeat(shard, 3), count)
    records["id_bytes"] = lengths.reshape(-1, 3)
    exchange.by_shard(folder / f"{task.name}.seg", records, count)
    return stage.Result(facts={"verified": len(edges), "removed": len(gone)})


def _order(
    survivor: tuple[str, ...], docs: np.ndarray, text_bytes: np.ndarray, ids: pa.StringArray, ranks: list[int]
) -> np.ndarray:
    """The documents from the one to keep first to the last; int64 [docs]. Numbers in ids count as numbers."""
    padded = pa.array([NUMBER.sub(lambda found: found[0].zfill(NUMBER_DIGITS), of) for of in ids.to_pylist()])
    by_id = np.empty(len(docs), np.int64)
    by_id[pc.sort_indices(padded).to_numpy()] = np.arange(len(docs))
    by = {
        "priority": np.searchsorted(ranks, exchange.shard_of(docs), side="right"),
        "length": -text_bytes,
    }
    return np.lexsort([by_id, *(by[name] for name in reversed(survivor))])


# verdicts with ids


def _plan_dedup(context: stage.Context) -> list[stage.Task]:
    depends = success(context, "work/dedup-near")
    return [shard_task(context, part, shard=shard, depends=depends) for shard, part in enumerate(shards(context))]


def _dedup(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    """The shard's duplicates, in order."""
    shard = task.options["shard"]
    found = exchange.gather(outputs(context, "work/dedup-near", ".seg"), shard, DUPLICATE)
    data = exchange.gather(outputs(context, "work/dedup-near", ".ids.seg"), shard, np.dtype("u1"))
    order = np.argsort(found["doc"], kind="stable")
    own, kept, witness = (_strings(data, found["id_bytes"]).take(pa.array(3 * order + k)) for k in range(3))
    table = pa.table(
        {
            "id": own,
            "row": exchange.row_of(found["doc"][order]),
            "kept_id": kept,
            "kept_source": pa.array([identity.partition("/")[0] for identity in kept.to_pylist()], pa.string()),
            "witness_id": witness,
            "kind": np.where(found["copy"][order] == 1, "exact", "near").tolist(),
            "similarity": found["similarity"][order],
        },
        DUPLICATES,
    )
    path = folder / f"{task.name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)
    copies = int(found["copy"].sum())
    return stage.Result(facts={"exact": copies, "near": len(found) - copies})


def _guard(context: stage.Context, parts: list[manifest.Manifest]) -> None:
    """Stop where most of a source would vanish: more often a defect of the source than its nature."""
    plan_of = context.recipe.dedup
    documents: dict[str, int] = {}
    removed: dict[str, int] = {}
    for part in context.manifests(context.recipe.dedup.after):
        documents[part.source] = documents.get(part.source, 0) + part.counts.kept
    for part in parts:
        removed[part.source] = removed.get(part.source, 0) + sum(part.facts.values())
    for source, of in documents.items():
        share = removed[source] / max(of, 1)
        if of >= plan_of.guarded_documents_min and share > plan_of.removed_share_max:
            raise stage.StageFailed(
                f"stage dedup: source {source}: {removed[source]:,} of {of:,} documents ({share:.0%}) are duplicates, "
                f"more than dedup.removed_share_max = {plan_of.removed_share_max}; look at "
                f"{context.folder('dedup') / source}, then mend the source, or raise the limit"
            )


def _step(name: str, plan: object, work: object, **more: object) -> stage.Stage:
    return stage.Stage(name=name, group="dedup", plan=plan, work=work, settings=_settings, **more)  # type: ignore[arg-type]


STAGES = [
    _step("work/dedup-keys", _plan_keys, _keys),
    _step("work/dedup-match", _plan_match, _match),
    _step("work/dedup-groups", _plan_groups, _groups),
    _step("work/dedup-sets", _plan_sets, _sets),
    _step("work/dedup-near", _plan_near, _near),
    _step("dedup", _plan_dedup, _dedup, check=_guard),
]
