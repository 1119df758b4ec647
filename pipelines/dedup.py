"""Duplicates over all sources: first exact copies, then near ones. Verdicts only; no document is moved.

    exact-keys    shard       128-bit key of each text                                -> partitions of keys
    exact         partition   all but the first document of a key are copies          -> verdicts by shard
    bands         shard       band keys of each signature, copies left out            -> partitions of keys
    pairs         partition   documents that share a band                             -> candidate pairs
    components    once        connected candidates, packed into partitions to verify  -> members by shard, pairs
    sets          shard       shingle sets of the candidates                          -> partitions to verify
    near          partition   true Jaccard of each pair, survivors, witnesses         -> verdicts by shard
    dedup         shard       verdicts with ids                                       -> duplicates

A document's number is its shard and row in the order of the sources (`dedup.priority`, then by name): the smallest
number of a set of copies stays. A near duplicate is removed only where a document that stays is its witness.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import exchange, manifest, recipe, stage
from roots import clusters, exact, minhash, shingles

EARLIER = "annotate"
MEMBERS_MAX = 50_000  # candidates that one task verifies, about; a larger component has a task of its own

DUPLICATES = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),  # in the shard of the stage before
        pa.field("kept_id", pa.string(), nullable=False),  # the copy that stays: also the witness
        pa.field("kept_source", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),  # exact | near
        pa.field("similarity", pa.float64(), nullable=False),  # Jaccard of the shingle sets; 1.0 for exact copies
    ]
)


def shards(context: stage.Context) -> list[manifest.Manifest]:
    """The shards to compare, in the order that decides which copy stays."""
    patterns = context.recipe.dedup.priority
    ranks = {pattern: rank for rank, pattern in enumerate(patterns)}

    def rank(part: manifest.Manifest) -> int:
        found = recipe.matching(ranks, part.source)
        return len(patterns) if found is None else found

    parts = enumerate(context.manifests(EARLIER))
    return [part for _, part in sorted(parts, key=lambda p: (rank(p[1]), p[1].source, p[0]))]


def _settings(plan_of: recipe.Recipe) -> object:
    return plan_of.dedup


def _shard_tasks(context: stage.Context, depends: str = "") -> list[stage.Task]:
    """A task for each shard, in order; its number is its place in the list."""
    parts = shards(context)
    documents = sum(part.counts.kept for part in parts)
    options = {"shards": len(parts), "documents": documents, "depends": _success(context, depends)}
    return [
        stage.Task(
            name=part.name,
            source=part.source,
            language=part.language,
            slices=tuple(context.shards(EARLIER, part)),
            options={**options, "shard": index},
        )
        for index, part in enumerate(parts)
    ]


def _success(context: stage.Context, name: str) -> str:
    """Digest of a finished stage, which a task depends on as a whole."""
    return manifest.file_digest(context.folder(name) / manifest.SUCCESS) if name else ""


def _names(context: stage.Context, name: str) -> list[Path]:
    """The `.seg` files of a stage's tasks, in order."""
    return exchange.paths(context.folder(name), [part.name for part in context.manifests(name)])


def _partition_tasks(count: int, context: stage.Context, depends: str, **options: object) -> list[stage.Task]:
    """A task for each partition."""
    given = {"depends": _success(context, depends), **options}
    return [
        stage.Task(name=f"part-{index:05d}-of-{count:05d}", options={**given, "partition": index})
        for index in range(count)
    ]


def _rows(task: stage.Task, context: stage.Context, column: str) -> Iterator[tuple[np.ndarray, pa.Array]]:
    """(rows in the shard, one column) of the shard's batches."""
    row = 0
    for part in task.slices:
        for batch in context.read(part, [column]):
            yield np.arange(row, row + batch.num_rows), batch.column(0)
            row += batch.num_rows


# exact copies


def _exact_keys(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    shard = task.options["shard"]
    parts = [
        exchange.keys(exact.text_keys(text), exchange.number(shard, rows))
        for rows, text in _rows(task, context, "text")
        if context.recipe.dedup.exact
    ]
    records = np.concatenate(parts) if parts else np.empty(0, exchange.KEY)
    count = exchange.partitions(task.options["documents"], exchange.KEY)
    exchange.write(folder / f"{task.name}.seg", records, exchange.partition_of(records["high"], count), count)
    return stage.Result()


def _plan_exact(context: stage.Context) -> list[stage.Task]:
    parts = shards(context)
    count = exchange.partitions(sum(part.counts.kept for part in parts), exchange.KEY)
    return _partition_tasks(count, context, "work/dedup-exact-keys", shards=len(parts))


def _exact(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    files = _names(context, "work/dedup-exact-keys")
    found = exchange.first_kept(exchange.gather(files, task.options["partition"], exchange.KEY))
    exchange.by_shard(folder / f"{task.name}.seg", found, task.options["shards"])
    return stage.Result()


# near duplicates


def _bands_and_rows(plan_of: recipe.Dedup) -> tuple[int, int]:
    return minhash.bands_and_rows(plan_of.num_perm, plan_of.threshold, plan_of.recall_min)


def _band_partitions(documents: int, plan_of: recipe.Dedup) -> int:
    return exchange.partitions(documents * _bands_and_rows(plan_of)[0], exchange.BAND)


def _bands(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    plan_of = context.recipe.dedup
    bands, rows_of_band = _bands_and_rows(plan_of)
    shard = task.options["shard"]
    copies = exchange.row_of(exchange.gather(_names(context, "work/dedup-exact"), shard, exchange.VERDICT)["doc"])
    parts = []
    for rows, text in _rows(task, context, "text"):
        first = ~np.isin(rows, copies, assume_unique=True)
        if not plan_of.near or not first.any():
            continue
        left = text.filter(pa.array(first))
        signatures = minhash.signatures(left, num_perm=plan_of.num_perm, seed=plan_of.seed, ngram=plan_of.ngram)
        keys = minhash.band_keys(signatures, bands, rows_of_band)
        shingled = keys[:, 0] != minhash.NO_BAND  # a document without shingles is nobody's duplicate
        records = np.empty(int(shingled.sum()) * bands, exchange.BAND)
        records["key"] = keys[shingled].ravel()
        records["doc"] = np.repeat(exchange.number(shard, rows[first][shingled]), bands)
        parts.append(records)
    records = np.concatenate(parts) if parts else np.empty(0, exchange.BAND)
    count = _band_partitions(task.options["documents"], plan_of)
    exchange.write(folder / f"{task.name}.seg", records, exchange.partition_of(records["key"], count), count)
    return stage.Result()


def _plan_pairs(context: stage.Context) -> list[stage.Task]:
    documents = sum(part.counts.kept for part in shards(context))
    return _partition_tasks(_band_partitions(documents, context.recipe.dedup), context, "work/dedup-bands")


def _pairs(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    records = exchange.gather(_names(context, "work/dedup-bands"), task.options["partition"], exchange.BAND)
    found = clusters.candidate_pairs(
        records["key"], records["doc"].astype(np.int64), bucket_max=context.recipe.dedup.bucket_max
    )
    pairs = np.empty(len(found), exchange.PAIR)
    pairs["a"], pairs["b"] = found[:, 0], found[:, 1]
    exchange.write(folder / f"{task.name}.seg", pairs, np.zeros(len(pairs), np.int64), 1)
    return stage.Result()


def _plan_components(context: stage.Context) -> list[stage.Task]:
    options = {"depends": _success(context, "work/dedup-pairs"), "shards": len(shards(context))}
    return [stage.Task(name="components", options=options)]


def _components(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    """Candidates that hang together go to one partition: there the clusters are whole."""
    pairs = np.unique(exchange.gather(_names(context, "work/dedup-pairs"), 0, exchange.PAIR))
    docs = np.unique(np.concatenate([pairs["a"], pairs["b"]]))
    edges = np.stack([np.searchsorted(docs, pairs["a"]), np.searchsorted(docs, pairs["b"])], axis=1)
    partition = _packed(clusters.components(edges.astype(np.int64), len(docs)))
    count = int(partition.max()) + 1 if len(docs) else 1
    members = np.zeros(len(docs), exchange.MEMBER)
    members["doc"], members["partition"] = docs, partition
    exchange.by_shard(folder / "members.seg", members, task.options["shards"])
    exchange.write(folder / "pairs.seg", pairs, partition[edges[:, 0]], count)
    return stage.Result(facts={"partitions": count, "candidates": len(docs), "pairs": len(pairs)})


def _packed(labels: np.ndarray) -> np.ndarray:
    """A partition for each node: components in order, about MEMBERS_MAX nodes together; int64 [nodes]."""
    sizes = np.bincount(labels, minlength=len(labels))
    before = np.cumsum(sizes) - sizes
    _, partition = np.unique(before[labels] // MEMBERS_MAX, return_inverse=True)
    return partition.astype(np.int64)


def _candidates(context: stage.Context) -> dict[str, int]:
    return context.manifests("work/dedup-components")[0].facts


def _sets(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    """Shingle sets of the shard's candidates: `.docs.seg` (doc, size) and `.seg` (values), by partition."""
    members = exchange.read(
        context.folder("work/dedup-components") / "members.seg", task.options["shard"], exchange.MEMBER
    )
    rows_wanted = exchange.row_of(members["doc"])
    values, sizes = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for rows, text in _rows(task, context, "text") if len(members) else ():
        wanted = np.isin(rows, rows_wanted, assume_unique=True)
        if wanted.any():
            found, bounds = shingles.sets(text.filter(pa.array(wanted)), context.recipe.dedup.ngram)
            values.append(found)
            sizes.append(np.diff(bounds))
    size = np.concatenate(sizes)
    heads = np.empty(len(members), exchange.PAIR)
    heads["a"], heads["b"] = members["doc"], size
    count = task.options["partitions"]
    partition = members["partition"].astype(np.int64)
    exchange.write(folder / f"{task.name}.docs.seg", heads, partition, count)
    exchange.write(folder / f"{task.name}.seg", np.concatenate(values), np.repeat(partition, size), count)
    return stage.Result()


def _plan_sets(context: stage.Context) -> list[stage.Task]:
    tasks = _shard_tasks(context, "work/dedup-components")
    count = _candidates(context)["partitions"]
    return [dataclasses.replace(task, options={**task.options, "partitions": count}) for task in tasks]


def _plan_near(context: stage.Context) -> list[stage.Task]:
    count = _candidates(context)["partitions"]
    return _partition_tasks(count, context, "work/dedup-sets", shards=len(shards(context)))


def _near(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    """Keep the pairs that are as near as they looked, and let the first of each set of neighbours stay."""
    partition = task.options["partition"]
    pairs = exchange.read(context.folder("work/dedup-components") / "pairs.seg", partition, exchange.PAIR)
    files = _names(context, "work/dedup-sets")
    heads = exchange.gather([f.with_suffix(".docs.seg") for f in files], partition, exchange.PAIR)
    values = exchange.gather(files, partition, np.dtype("<u8"))
    bounds = np.concatenate([[0], np.cumsum(heads["b"].astype(np.int64))])
    docs = heads["a"]  # sorted: shards in order, rows in order
    edges = np.stack([np.searchsorted(docs, pairs["a"]), np.searchsorted(docs, pairs["b"])], axis=1).astype(np.int64)
    similarity = shingles.pair_jaccard(values, bounds, edges)
    near = similarity >= context.recipe.dedup.threshold
    removed, witness, of_witness = clusters.survivors(np.arange(len(docs)), edges[near], similarity[near])
    found = exchange.verdicts(docs[removed], docs[witness[removed]], of_witness[removed])
    exchange.by_shard(folder / f"{task.name}.seg", found, task.options["shards"])
    return stage.Result(facts={"pairs": len(pairs), "verified": int(near.sum()), "removed": len(found)})


# verdicts with ids


def _plan_dedup(context: stage.Context) -> list[stage.Task]:
    depends = manifest.digest([_success(context, "work/dedup-exact"), _success(context, "work/dedup-near")])
    tasks = _shard_tasks(context)
    return [dataclasses.replace(task, options={**task.options, "depends": depends}) for task in tasks]


def _dedup(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    """The shard's duplicates with the ids of the documents that stay."""
    shard = task.options["shard"]
    copies = exchange.gather(_names(context, "work/dedup-exact"), shard, exchange.VERDICT)
    near = exchange.gather(_names(context, "work/dedup-near"), shard, exchange.VERDICT)
    copies = _surviving(copies, context)
    found = np.concatenate([copies, near])
    kind = np.repeat(["exact", "near"], [len(copies), len(near)])
    order = np.argsort(found["doc"], kind="stable")
    found, kind = found[order], kind[order]
    own = _ids(context, np.unique(found["doc"]))
    kept = _ids(context, np.unique(found["witness"]))
    witnesses = [kept[int(doc)] for doc in found["witness"]]
    table = pa.table(
        {
            "id": [own[int(doc)][0] for doc in found["doc"]],
            "row": exchange.row_of(found["doc"]),
            "kept_id": [identity for identity, _ in witnesses],
            "kept_source": [source for _, source in witnesses],
            "kind": kind.tolist(),
            "similarity": found["similarity"],
        },
        DUPLICATES,
    )
    path = folder / f"{task.name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)
    return stage.Result(facts={"exact": len(copies), "near": len(near)})


def _surviving(copies: np.ndarray, context: stage.Context) -> np.ndarray:
    """Exact copies of a document that a near duplicate removed: their witness is that one's witness."""
    if not len(copies):
        return copies
    wanted = np.unique(exchange.shard_of(copies["witness"]))
    files = _names(context, "work/dedup-near")
    near = np.concatenate([exchange.gather(files, int(shard), exchange.VERDICT) for shard in wanted])
    near = near[np.argsort(near["doc"], kind="stable")]
    if not len(near):
        return copies
    place = np.minimum(np.searchsorted(near["doc"], copies["witness"]), len(near) - 1)
    gone = near["doc"][place] == copies["witness"]
    copies = copies.copy()
    copies["similarity"][gone] = near["similarity"][place[gone]]
    copies["witness"][gone] = near["witness"][place[gone]]
    return copies


def _ids(context: stage.Context, docs: np.ndarray) -> dict[int, tuple[str, str]]:
    """(id, source) of documents by their numbers; only the id column of the row groups that hold them is read."""
    parts = shards(context) if len(docs) else []
    found: dict[int, tuple[str, str]] = {}
    for shard in np.unique(exchange.shard_of(docs)):
        part = parts[int(shard)]
        here = docs[exchange.shard_of(docs) == shard]
        for group in context.shards(EARLIER, part):
            rows = exchange.row_of(here) - group.first
            inside = (rows >= 0) & (rows < part.rows[group.start])
            if inside.any():
                table = pq.read_table(context.output / group.path, columns=["id"])["id"]
                for doc, row in zip(here[inside], exchange.row_of(here)[inside], strict=True):
                    found[int(doc)] = (table[int(row)].as_py(), part.source)
    return found


def _step(name: str, plan: object, work: object) -> stage.Stage:
    return stage.Stage(name=name, group="dedup", plan=plan, work=work, settings=_settings)  # type: ignore[arg-type]


STAGES = [
    _step("work/dedup-exact-keys", _shard_tasks, _exact_keys),
    _step("work/dedup-exact", _plan_exact, _exact),
    _step("work/dedup-bands", functools.partial(_shard_tasks, depends="work/dedup-exact"), _bands),
    _step("work/dedup-pairs", _plan_pairs, _pairs),
    _step("work/dedup-components", _plan_components, _components),
    _step("work/dedup-sets", _plan_sets, _sets),
    _step("work/dedup-near", _plan_near, _near),
    _step("dedup", _plan_dedup, _dedup),
]
