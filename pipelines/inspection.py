"""What a run removed and rejected, and a sample of each, for people to look at."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pipelines import manifest, path, storage

EXCERPT_CHARS = 160


def report(output: storage.Place, stage_name: str, reason: str, source: str, limit: int) -> Iterator[str]:
    """Lines: for each stage, source and reason a count, then up to `limit` documents or records.

    raises  FileNotFoundError where there is no run; ValueError for a stage, source or reason that is not there
    """
    if not (output / path.RUN).is_file():
        raise FileNotFoundError(f"{output}: no run here ({path.RUN} is missing); give the --output of a run")
    parts = [part for part in _manifests(output) if part.counts.removed or part.counts.rejected]
    chosen = [
        part
        for part in parts
        if stage_name in ("", part.stage, path.group_of(part.stage)) and source in ("", part.source)
    ]
    shown = 0
    for stage, name in sorted({(part.stage, part.source) for part in chosen}):
        here = [part for part in chosen if (part.stage, part.source) == (stage, name)]
        counts = manifest.total(part.counts for part in here)
        for why, count in sorted({**counts.removed, **counts.rejected}.items()):
            if reason in ("", why):
                shown += 1
                yield f"{stage}  {name}  {why}: {count:,} of {counts.documents_in:,}"
                yield from _sample(output, here, why, limit)
    if not shown:
        stages = sorted({part.stage for part in parts})
        reasons = sorted({why for part in parts for why in (*part.counts.removed, *part.counts.rejected)})
        yield f"nothing was removed there; stages that removed: {', '.join(stages)}; reasons: {', '.join(reasons)}"


def _manifests(output: storage.Place) -> Iterator[manifest.Manifest]:
    for file in (file for file in storage.files(output) if file.name == manifest.SUCCESS):
        for name in manifest.read_sealed(file)["order"]:
            yield manifest.Manifest.read(file.parent, name)


def _sample(output: storage.Place, parts: list[manifest.Manifest], reason: str, limit: int) -> Iterator[str]:
    lines = (line for part in parts for line in _lines(output, part) if line["reason"] == reason)
    for _, line in zip(range(limit), lines, strict=False):
        if "id" in line:
            witness = f"  [{line['witness']}]" if line["witness"] else ""
            yield f"    {line['id']}{witness}"
            yield f"        {_excerpt(line['text'])}"
        else:
            yield f"    {line['file']} record {line['record']} (byte {line['offset']})  {line['detail']}"
            yield f"        {_excerpt(line['raw'])}"


def _lines(output: storage.Place, part: manifest.Manifest) -> Iterator[dict]:
    for name in part.files:
        if name.endswith((".removed.jsonl", ".rejects.jsonl")):
            for line in (output / part.stage / name).read_bytes().splitlines():
                yield json.loads(line)


def _excerpt(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= EXCERPT_CHARS else flat[: EXCERPT_CHARS - 1] + "…"
