"""Repeated text within the documents that de-duplication keeps: `dedup.substring`, off unless the recipe says so.

    anchors  shard      the anchors of all windows, counted                                -> partitions of anchors
    shared   partition  anchors that are at two places or more                             -> anchors by shard
    windows  shard      keys of the windows with such an anchor, block by block            -> partitions of keys
    repeats  partition  all but the first window of a key, in order of source and place    -> repeats by shard
    spans    shard      what the repeats cover, with the id of what stood first            -> spans

A block is a row group: what a task holds of its text's windows at a time. `redact` cuts the spans where the recipe's
action is "cut"; "mark" only reports them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import candidates, exchange, recipe, stage, storage
from roots import exact, lines, shingles, substring

OFF, MARK, CUT = ACTIONS = ("off", "mark", "cut")
SPANS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),  # in the shard of the stage before
        pa.field("start", pa.int64(), nullable=False),  # UTF-8 bytes of the document
        pa.field("end", pa.int64(), nullable=False),
        pa.field("kept_id", pa.string(), nullable=False),  # where the first bytes_min of these bytes stand first
        pa.field("kept_start", pa.int64(), nullable=False),
    ]
)
ANCHOR = np.dtype([("anchor", "<u8"), ("shard", "<u4"), ("several", "<u4"), ("windows", "<i8")])
WINDOW = np.dtype([("high", "<u8"), ("low", "<u8"), ("doc", "<u8"), ("start", "<i8")])
REPEAT = np.dtype([("doc", "<u8"), ("start", "<i8"), ("kept", "<u8"), ("kept_start", "<i8")])


def without(text: pa.StringArray, spans: pa.Table, first: int) -> tuple[pa.StringArray, dict[int, str]]:
    """The texts without their spans, and of each text of which nothing is left, the id of what stood first.

    spans  of the shard, as SPANS;  first  row of the first text
    """
    rows = spans["row"].to_numpy()
    inside, behind = np.searchsorted(rows, [first, first + len(text)])
    here = spans.slice(inside, behind - inside)
    if not len(here):
        return text, {}
    row, start, end = (here[name].to_numpy() for name in ("row", "start", "end"))
    left = substring.cut(text, row - first, start, end)
    empty = set(np.flatnonzero(~lines.has_text(left)).tolist())
    kept = zip((row - first).tolist(), here["kept_id"].to_pylist(), strict=True)
    return left, {place: identity for place, identity in kept if place in empty}


def _settings(plan_of: recipe.Recipe) -> object:
    return [recipe.settings(plan_of.dedup.substring), plan_of.dedup.priority]


def _scope(source: str, plan_of: recipe.Substring) -> np.uint64:
    """What keys are mixed with, so that they meet in their source only; nothing where sources are compared."""
    return np.uint64(0) if plan_of.across_sources else exact.text_keys(pa.array([source]))[0, 0]


def _shard_tasks(context: stage.Context, **options: object) -> list[stage.Task]:
    """A task for each shard of a source that is looked at, with the digest of its duplicates."""
    held = dict.fromkeys(context.recipe.dedup.substring.sources, True)
    duplicates = {part.name: part for part in context.manifests("dedup")}
    parts = candidates.shards(context)
    return [
        candidates.shard_task(
            context,
            part,
            **options,
            shard=shard,
            shards=len(parts),
            duplicates=duplicates[part.name].files[f"{part.name}.parquet"]["sha256"],
        )
        for shard, part in enumerate(parts)
        if recipe.matching(held, part.source)
    ]


def _texts(task: stage.Task, context: stage.Context) -> Iterator[tuple[int, np.ndarray, pa.RecordBatch]]:
    """(block, rows, documents) of what de-duplication kept of the shard."""
    path = context.folder("dedup") / f"{task.name}.parquet"
    gone = pq.read_table(storage.source(path), columns=["row"], page_checksum_verification=True)["row"].to_numpy()
    for block, part in enumerate(task.slices):
        row = part.first
        for batch in context.read(part, ["id", "text"]):
            rows = np.arange(row, row + batch.num_rows)
            keep = ~np.isin(rows, gone, assume_unique=True)
            yield block, rows[keep], batch.filter(pa.array(keep))
            row += batch.num_rows


# anchors


def _plan_anchors(context: stage.Context) -> list[stage.Task]:
    text = sum(sum(part.text) for part in context.manifests(context.recipe.dedup.after))
    grams = context.recipe.dedup.substring.bytes_min - substring.GRAM + 1
    return _shard_tasks(context, partitions=exchange.partitions(2 * text // (grams + 1), ANCHOR))


def _anchors(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    plan_of = context.recipe.dedup.substring
    parts = [substring.runs(docs.column("text"), plan_of.bytes_min) for _, _, docs in _texts(task, context)]
    anchor, windows, several = (
        np.concatenate([getattr(part, name) for part in parts] or [np.empty(0, kind)])
        for name, kind in (("anchor", np.uint64), ("windows", np.int64), ("several", bool))
    )
    order = np.argsort(anchor, kind="stable")
    anchor, windows, several = anchor[order] ^ _scope(task.source, plan_of), windows[order], several[order]
    first = np.flatnonzero(np.concatenate([[True], anchor[1:] != anchor[:-1]])[: len(anchor)])
    records = np.empty(len(first), ANCHOR)
    records["anchor"], records["shard"] = anchor[first], task.options["shard"]
    if len(first):
        records["windows"] = np.add.reduceat(windows, first)
        places = np.diff(np.append(first, len(anchor)))
        records["several"] = np.logical_or.reduceat(several, first) | (places > 1)
    count = task.options["partitions"]
    exchange.write(folder / f"{task.name}.seg", records, _partition(records["anchor"], count), count)
    return stage.Result()


def _partition(anchor: np.ndarray, count: int) -> np.ndarray:
    return exchange.partition_of(shingles.mixed(anchor), count)  # anchors are least hashes: their top bits are nought


def _plan_shared(context: stage.Context) -> list[stage.Task]:
    return _partition_tasks("work/substring-anchors", _options(context, "work/substring-anchors"), context)


def _options(context: stage.Context, name: str) -> int:
    """How many partitions the tasks of a stage wrote."""
    tasks = stage.read_plan(name, context)
    return tasks[0][0].options["partitions"] if tasks else 0


def _partition_tasks(name: str, count: int, context: stage.Context) -> list[stage.Task]:
    options = {"depends": candidates.success(context, name), "shards": len(candidates.shards(context))}
    return [
        stage.Task(name=f"part-{index:05d}-of-{count:05d}", options={**options, "partition": index})
        for index in range(count)
    ]


def _shared(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    """The anchors of each shard that are elsewhere too."""
    records = exchange.gather(candidates.outputs(context, "work/substring-anchors"), task.options["partition"], ANCHOR)
    records = records[exact.shared(records["anchor"]) | (records["several"] == 1)]
    _, place, count = np.unique(records["anchor"], return_inverse=True, return_counts=True)
    records = records[(count[place] > 1) | (records["several"] == 1)]
    exchange.write(
        folder / f"{task.name}.seg", records["anchor"], records["shard"].astype(np.int64), task.options["shards"]
    )
    return stage.Result(facts={"windows": int(records["windows"].sum())})


# windows


def _plan_windows(context: stage.Context) -> list[stage.Task]:
    windows = sum(part.facts["windows"] for part in context.manifests("work/substring-shared"))
    depends = candidates.success(context, "work/substring-shared")
    return _shard_tasks(context, partitions=exchange.partitions(windows, WINDOW), depends=depends)


def _windows(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    plan_of, shard, count = context.recipe.dedup.substring, task.options["shard"], task.options["partitions"]
    scope = _scope(task.source, plan_of)
    files = candidates.outputs(context, "work/substring-shared")
    shared = np.sort(exchange.gather(files, shard, np.dtype("<u8")) ^ scope)
    blocks: dict[int, list[np.ndarray]] = {}
    for block, rows, docs in _texts(task, context) if len(shared) else ():
        runs = substring.runs(docs.column("text"), plan_of.bytes_min)
        place = np.minimum(np.searchsorted(shared, runs.anchor), len(shared) - 1)
        chosen = shared[place] == runs.anchor
        keys, row, start = substring.windows(
            docs.column("text"), substring.Runs(*(part[chosen] for part in runs)), plan_of.bytes_min
        )
        records = np.empty(len(keys), WINDOW)
        records["high"], records["low"], records["start"] = keys[:, 0] ^ scope, keys[:, 1], start
        records["doc"] = exchange.number(shard, rows[row])
        if block not in blocks:
            _write_blocks(blocks, folder, task.name, count)
        blocks.setdefault(block, []).append(records)
    _write_blocks(blocks, folder, task.name, count)
    return stage.Result()


def _write_blocks(blocks: dict[int, list[np.ndarray]], folder: Path, name: str, count: int) -> None:
    """Write what is held, a file a block, and hold it no longer."""
    for block, parts in blocks.items():
        records = np.concatenate(parts)
        path = folder / f"{name}.{block:05d}.seg"
        exchange.write(path, records, exchange.partition_of(records["high"], count), count)
    blocks.clear()


def _plan_repeats(context: stage.Context) -> list[stage.Task]:
    return _partition_tasks("work/substring-windows", _options(context, "work/substring-windows"), context)


def _repeats(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    root = context.folder("work/substring-windows")
    files = [root / name for part in context.manifests("work/substring-windows") for name in part.files]
    records = exchange.gather(files, task.options["partition"], WINDOW)
    records = records[exact.shared(records["high"])]
    # they came in order of doc and start, which a stable sort leaves within a key
    records = records[np.argsort(records["high"], kind="stable")]
    fresh = (records["high"][1:] != records["high"][:-1]) | (records["low"][1:] != records["low"][:-1])
    first = np.concatenate([[True], fresh])[: len(records)]
    kept = records[np.flatnonzero(first)[np.cumsum(first) - 1]] if len(records) else records
    found = np.empty(int((~first).sum()), REPEAT)
    found["doc"], found["start"] = records["doc"][~first], records["start"][~first]
    found["kept"], found["kept_start"] = kept["doc"][~first], kept["start"][~first]
    exchange.by_shard(folder / f"{task.name}.seg", found, task.options["shards"])
    return stage.Result()


# spans


def _plan_spans(context: stage.Context) -> list[stage.Task]:
    return _shard_tasks(context, depends=candidates.success(context, "work/substring-repeats"))


def _spans(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    files = candidates.outputs(context, "work/substring-repeats")
    found = exchange.gather(files, task.options["shard"], REPEAT)
    found = found[np.lexsort([found["start"], found["doc"]])]
    repeated = exchange.row_of(found["doc"])
    parts = [SPANS.empty_table()]
    for _, rows, docs in _texts(task, context) if len(found) else ():
        here = found[slice(*np.searchsorted(repeated, [rows[0], rows[-1] + 1]))] if len(rows) else found[:0]
        if not len(here):
            continue
        row = np.searchsorted(rows, exchange.row_of(here["doc"]))
        spans = substring.spans(
            docs.column("text"), row, here["start"].copy(), context.recipe.dedup.substring.bytes_min
        )
        first = here[spans.first]
        parts.append(
            pa.table(
                {
                    "id": docs.column("id").take(pa.array(spans.row)),
                    "row": rows[spans.row],
                    "start": spans.start,
                    "end": spans.end,
                    "kept_id": _ids(first["kept"], context),
                    "kept_start": first["kept_start"],
                },
                SPANS,
            )
        )
    table = pa.concat_tables(parts)
    path = folder / f"{task.name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)
    size = int((table["end"].to_numpy() - table["start"].to_numpy()).sum())
    return stage.Result(facts={"spans": len(table), "bytes": size})


def _ids(docs: np.ndarray, context: stage.Context) -> pa.StringArray:
    """The ids of documents by their numbers; of their shards only the row groups that hold them are read."""
    parts = candidates.shards(context)
    wanted, place = np.unique(docs, return_inverse=True)
    ids: list[str] = []
    for shard in np.unique(exchange.shard_of(wanted)):
        rows = exchange.row_of(wanted[exchange.shard_of(wanted) == shard])
        task = candidates.shard_task(context, parts[int(shard)])
        for _, found in candidates.rows_of(task, context, rows, ["id"]):
            ids += found.column("id").to_pylist()
    return pa.array(ids, pa.string()).take(pa.array(place))


def _step(name: str, plan: object, work: object) -> stage.Stage:
    return stage.Stage(name=name, group="dedup", plan=plan, work=work, settings=_settings)  # type: ignore[arg-type]


STAGES = [
    _step("work/substring-anchors", _plan_anchors, _anchors),
    _step("work/substring-shared", _plan_shared, _shared),
    _step("work/substring-windows", _plan_windows, _windows),
    _step("work/substring-repeats", _plan_repeats, _repeats),
    _step("spans", _plan_spans, _spans),
]
