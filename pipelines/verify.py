"""Believe nothing: every file of a run against its digest, every stage's account against the one before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipelines import manifest, path, stage, storage


def problems(output: storage.Place) -> Iterator[str]:
    """What is wrong with a run's folder, a line each; nothing for a run that is whole.

    raises  FileNotFoundError where the folder holds no run
    """
    if not (output / path.RUN).is_file():
        raise FileNotFoundError(f"{output}: no run here ({path.RUN} is missing); give the --output of a run")
    listed = {path.RUN, path.RECIPE, path.LOG, path.LOCK}
    every = storage.files(output)
    yield from _run(output)
    found = sorted(file.parent for file in every if file.name == manifest.SUCCESS)
    kept: dict[str, dict[str, int]] = {}
    came: dict[str, dict[str, int]] = {}
    for folder in found:
        name = storage.relative(folder, output)
        yield from _stage(folder, name, listed, output, kept, came)
    yield from _conserved(kept, came)
    for name in sorted(_planned(output, every) - {storage.relative(folder, output) for folder in found}):
        yield f"{output / name}: the stage is not finished; run the same command again"
    for file in every:
        if storage.relative(file, output) not in listed:
            yield f"{file}: no manifest lists it; remove it if it is not yours"


def _planned(output: storage.Place, every: list[Any]) -> set[str]:
    return {storage.relative(file.parent, output) for file in every if file.name == stage.PLAN}


def _run(output: storage.Place) -> Iterator[str]:
    try:
        stated = manifest.read_sealed(output / path.RUN)
    except manifest.DamagedFile as error:
        yield str(error)
        return
    recipe = output / path.RECIPE
    if not recipe.is_file() or manifest.file_digest(recipe) != stated["recipe_sha256"]:
        yield f"{recipe}: not the recipe that {path.RUN} states; run the same command again to write it"
    log = output / path.LOG
    for number, line in enumerate(log.read_bytes().splitlines(keepends=True) if log.is_file() else (), 1):
        try:
            manifest.unseal(line, f"{log} line {number}")
        except manifest.DamagedFile as error:
            yield str(error)


def _stage(
    folder: storage.Place,
    name: str,
    listed: set[str],
    output: storage.Place,
    kept: dict[str, dict[str, int]],
    came: dict[str, dict[str, int]],
) -> Iterator[str]:
    """Problems of one stage; adds what it lists, and its account by source."""
    listed |= {f"{name}/{manifest.SUCCESS}", f"{name}/{stage.PLAN}"}
    try:
        success = manifest.read_sealed(folder / manifest.SUCCESS)
        stated = list(zip(success["order"], success["manifests"], strict=True))
    except manifest.DamagedFile as error:
        yield str(error)
        return
    except KeyError as error:
        yield f"{folder / manifest.SUCCESS}: another version wrote it (no {error}); run the same command again"
        return
    plan = folder / stage.PLAN
    if not plan.is_file() or manifest.file_digest(plan) != success.get("plan"):
        yield f"{plan}: not the plan that {manifest.SUCCESS} states; run the same command again"
    for task, digest in stated:
        file = folder / (task + manifest.MANIFEST)
        listed.add(f"{name}/{task}{manifest.MANIFEST}")
        if not file.is_file() or manifest.file_digest(file) != digest:
            yield f"{file}: not the manifest that {manifest.SUCCESS} states; remove it and run again"
            continue
        try:
            part = manifest.Manifest.read(folder, task)
        except manifest.DamagedFile as error:
            yield str(error)
            continue
        listed |= {f"{name}/{file_name}" for file_name in part.files}
        yield from part.problems(folder)
        for account, count in ((kept, part.counts.kept), (came, part.counts.documents_in)):
            by_source = account.setdefault(name, {})
            by_source[part.source] = by_source.get(part.source, 0) + count


def _conserved(kept: dict[str, dict[str, int]], came: dict[str, dict[str, int]]) -> Iterator[str]:
    for earlier, later in (
        ("documents", "clean"),
        ("clean", "annotate"),
        ("annotate", "corpus"),
        ("corpus", "shards"),
    ):
        if earlier not in kept or later not in came:
            continue
        for source in sorted(kept[earlier].keys() | came[later].keys()):
            out, into = kept[earlier].get(source, 0), came[later].get(source, 0)
            if out != into:
                yield (
                    f"source {source}: {earlier} kept {out} documents, {later} took in {into}; "
                    f"remove the folder {later} and run again"
                )
