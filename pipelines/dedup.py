"""Duplicates over all sources: exact copies and near ones. Verdicts only; no document is moved.

    keys, match, groups      who may be a duplicate of whom (pipelines/candidates.py)
    sets     shard       ids, lengths and shingle sets of the members of groups              -> partitions to verify
    near     partition   true similarity of each pair, survivors, witnesses; checked             -> verdicts by shard
    dedup    shard       the verdicts, with ids; guarded                                          -> duplicates

Which of a set of duplicates stays is the recipe's `dedup.survivor`. A near duplicate is removed only where a document
that stays is its witness (docs/decisions/0002).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines import candidates, exchange, manifest, recipe, stage
from roots import clusters, utf8

LEADERS_MAX = 16  # survivors of a large cluster that its other documents are compared with
NUMBER, NUMBER_DIGITS = re.compile(r"[0-9]+"), 20  # in an id; padded, so that record 9 comes before record 10

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
HEAD = np.dtype([("doc", "<u8"), ("features", "<i8"), ("text_bytes", "<i8"), ("id_bytes", "<i8")])  # of a member
DUPLICATE = np.dtype([("doc", "<u8"), ("similarity", "<f8"), ("copy", "<i8"), ("id_bytes", "<i8", 3)])  # of three ids


# what is compared


def _facts(context: stage.Context) -> dict[str, int]:
    return context.manifests("work/dedup-groups")[0].facts


def _plan_sets(context: stage.Context) -> list[stage.Task]:
    """A task for each shard that has members."""
    members = context.folder("work/dedup-groups") / "members.seg"
    options = {"depends": manifest.file_digest(members), "partitions": _facts(context)["partitions"]}
    wanted = exchange.sizes(members)
    return [
        candidates.shard_task(context, part, **options, shard=shard)
        for shard, part in enumerate(candidates.shards(context))
        if wanted[shard]
    ]


def _sets(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    """Of each member HEAD, id and, if it is compared, features; by partition."""
    members = exchange.read(
        context.folder("work/dedup-groups") / "members.seg", task.options["shard"], candidates.MEMBER
    )
    compared = candidates.comparison(context.recipe.dedup, task.language)
    heads = np.zeros(len(members), HEAD)
    heads["doc"] = members["doc"]
    ids, values = [], [np.empty(0, np.uint64)]
    for first, docs in candidates.rows_of(task, context, exchange.row_of(members["doc"]), ["id", "text"]):
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
    ranks = candidates.ranks(context)
    found = _facts(context)
    options = {
        "depends": [candidates.success(context, "work/dedup-groups"), candidates.success(context, "work/dedup-sets")],
        "ranks": np.unique([ranks[part.source] for part in candidates.shards(context)], return_index=True)[1].tolist(),
        "shards": len(candidates.shards(context)),
        "files": found["files"],
    }
    count = found["partitions"]
    return [
        stage.Task(name=f"part-{index:05d}-of-{count:05d}", options={**options, "partition": index})
        for index in range(count)
    ]


def _near(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    """Keep the pairs that are as near as they looked, and let the first of each set of neighbours stay."""
    partition, sets = task.options["partition"], "work/dedup-sets"
    heads = exchange.gather(candidates.outputs(context, sets, ".heads.seg"), partition, HEAD)
    data = exchange.gather(candidates.outputs(context, sets, ".ids.seg"), partition, np.dtype("u1"))
    ids = _strings(data, heads["id_bytes"])
    docs = heads["doc"]  # sorted: shards in order, rows in order
    copies, *files = exchange.paths(context.folder("work/dedup-groups"), task.options["files"])
    equal = np.searchsorted(docs, candidates.ends(exchange.read(copies, partition, exchange.PAIR)))
    pairs = np.searchsorted(docs, candidates.ends(exchange.gather(files, partition, exchange.PAIR)))
    folder.mkdir(parents=True, exist_ok=True)
    values = exchange.gathered_on_disk(
        candidates.outputs(context, sets), partition, np.dtype("<u8"), folder / "scratch"
    )
    order = _order(context.recipe.dedup.survivor, docs, heads["text_bytes"], ids, task.options["ranks"])
    found = _judged(context.recipe.dedup, order, equal, pairs, values, heads["features"])
    gone = np.flatnonzero(found.removed)
    records = np.empty(len(gone), DUPLICATE)
    records["doc"], records["similarity"], records["copy"] = docs[gone], found.similarity[gone], found.copy[gone]
    named = ids.take(pa.array(np.stack([gone, found.kept[gone], found.witness[gone]], axis=1).ravel()))
    shard, count = exchange.shard_of(records["doc"]), task.options["shards"]
    lengths = _write_strings(folder / f"{task.name}.ids.seg", named, np.repeat(shard, 3), count)
    records["id_bytes"] = lengths.reshape(-1, 3)
    exchange.by_shard(folder / f"{task.name}.seg", records, count)
    return stage.Result(facts={"candidates": len(pairs), "removed": len(gone)})


def _judged(
    plan_of: recipe.Dedup,
    order: np.ndarray,
    equal: np.ndarray,
    pairs: np.ndarray,
    values: np.ndarray,
    sizes: np.ndarray,
) -> clusters.Verdicts:
    """What becomes of the documents of a partition, checked.

    order  int64 [docs];  equal, pairs  int64 [n, 2], copies and candidates
    values uint64, the features of all documents end to end;  sizes int64 [docs], how many each has
    """
    compared = candidates.comparison(plan_of, "")
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    first = clusters.components(equal, len(order))  # of copies it is the first that has features
    edges, similarity = np.empty((0, 2), np.int64), np.empty(0)
    settled = sizes[first] == 0  # only a copy of others: there is nothing to compare
    for place in range(LEADERS_MAX + 1):
        alike = compared.similarity(values, bounds, first[pairs])
        near = alike >= compared.similarity_min
        edges, similarity = np.concatenate([edges, pairs[near]]), np.concatenate([similarity, alike[near]])
        found = clusters.verdicts(order, equal, edges, similarity)
        settled[pairs[near, 1]] |= place > 0  # at first the pairs are those of the bands
        cluster = clusters.components(np.concatenate([equal, edges]), len(order))
        pairs = clusters.led(order, cluster, found.removed, settled, place, plan_of.bucket_max + 1)
        if not len(pairs):
            break
    clusters.check(found, compared.similarity_min)
    return found


def _order(
    survivor: tuple[str, ...], docs: np.ndarray, text_bytes: np.ndarray, ids: pa.StringArray, ranks: list[int]
) -> np.ndarray:
    """The documents from the one to keep first to the last; int64 [docs]. Numbers in ids count as numbers."""
    padded = [NUMBER.sub(lambda found: found[0].zfill(NUMBER_DIGITS), identity) for identity in ids.to_pylist()]
    by_id = np.empty(len(docs), np.int64)
    by_id[pc.sort_indices(pa.array(padded, pa.string())).to_numpy()] = np.arange(len(docs))
    by = {
        "priority": np.searchsorted(ranks, exchange.shard_of(docs), side="right"),
        "length": -text_bytes,
    }
    return np.lexsort([by_id, *(by[name] for name in reversed(survivor))])


# verdicts with ids


def _plan_dedup(context: stage.Context) -> list[stage.Task]:
    depends = candidates.success(context, "work/dedup-near")
    return [
        candidates.shard_task(context, part, shard=shard, depends=depends)
        for shard, part in enumerate(candidates.shards(context))
    ]


def _dedup(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    """The shard's duplicates, in order."""
    shard = task.options["shard"]
    found = exchange.gather(candidates.outputs(context, "work/dedup-near", ".seg"), shard, DUPLICATE)
    data = exchange.gather(candidates.outputs(context, "work/dedup-near", ".ids.seg"), shard, np.dtype("u1"))
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


STAGES = [
    *candidates.STAGES,
    candidates.step("work/dedup-sets", _plan_sets, _sets),
    candidates.step("work/dedup-near", _plan_near, _near),
    candidates.step("dedup", _plan_dedup, _dedup, check=_guard),
]
