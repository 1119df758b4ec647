"""Who may be a duplicate of whom: the first half of de-duplication, from the texts to groups that hang together.

    keys     shard       key of each text; keys of its bands (of copies in a shard the first) -> partitions of keys
    match    partition   documents with the same key: copies; those that share a band: candidates    -> pairs
    groups   once        what hangs together, by a spanning forest, goes to one partition            -> members, pairs

A document's number is its shard and row in the order of the sources (`dedup.priority`, then by name).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines import exchange, manifest, recipe, stage, storage
from roots import clusters, exact, minhash, simhash

MEMBERS_MAX = 50_000  # documents that one task verifies, about; a larger component has a task of its own
PAIRS_MAX = 2**21  # pairs held at a time while components are found: 32 MB, and about ten times that to sort them
MEMBER = np.dtype([("doc", "<u8"), ("partition", "<u4"), ("compared", "<u4")])  # compared: in a candidate pair


def shards(context: stage.Context) -> list[manifest.Manifest]:
    """The shards to compare: by rank of their source in `dedup.priority`, then by its name, then in order."""
    places = ranks(context)
    parts = enumerate(context.manifests(context.recipe.dedup.after))
    return [part for _, part in sorted(parts, key=lambda p: (places[p[1].source], p[1].source, p[0]))]


def ranks(context: stage.Context) -> dict[str, int]:
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


def step(name: str, plan: object, work: object, **more: object) -> stage.Stage:
    """A stage of the group dedup."""
    return stage.Stage(name=name, group="dedup", plan=plan, work=work, settings=_settings, **more)  # type: ignore[arg-type]


GUARD = ("removed_share_max", "guarded_documents_min")  # looked at when all is found: raising them redoes nothing


def _settings(plan_of: recipe.Recipe) -> object:
    return {key: value for key, value in recipe.settings(plan_of.dedup).items() if key not in (*GUARD, "substring")}


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
        found = clusters.candidate_pairs(
            records["key"], records["doc"].astype(np.int64), bucket_max=context.recipe.dedup.bucket_max
        )
        pairs = _pairs(found[:, 0], found[:, 1])
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
    docs, joined = np.unique(forest, return_inverse=True)
    partition = _packed(clusters.components(joined.reshape(-1, 2), len(docs)))
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
    copies = ends(exchange.gather(files, 0, exchange.PAIR))
    return copies[np.argsort(copies[:, 1], kind="stable")]


def ends(pairs: np.ndarray) -> np.ndarray:
    """PAIR records as uint64 [n, 2]."""
    return np.stack([pairs["a"], pairs["b"]], axis=1)


def _candidates(context: stage.Context, copies: np.ndarray) -> Iterator[np.ndarray]:
    """Candidate pairs, about PAIRS_MAX at a time, each copy replaced by the first with its text: uint64 [n, 2]."""
    held: list[np.ndarray] = []
    for path in outputs(context, "work/dedup-match", ".seg"):
        if path.name.startswith("bands-"):
            held.append(_as_first(ends(exchange.read(path, 0, exchange.PAIR)), copies))
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


STAGES = [
    step("work/dedup-keys", _plan_keys, _keys),
    step("work/dedup-match", _plan_match, _match),
    step("work/dedup-groups", _plan_groups, _groups),
]
