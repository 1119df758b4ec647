"""Which sources a recipe names, and where their data are."""

from __future__ import annotations

import difflib
import re
import sysconfig
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines import readers, recipe, storage
from roots import catalogue, languages

NAME = re.compile(r"[^./\\\0][^/\\\0]*")  # of a source: one step below the output, never above it
PLACES = {"python:stdlib": lambda: Path(sysconfig.get_path("stdlib"))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One source of a run: its name and language, its files (or its data set), and what was passed over.

    folder   that labels are relative to
    ignored  files whose ending names no format
    """

    name: str
    language: str
    options: recipe.SourceOptions
    folder: storage.Place | None = None
    files: tuple[storage.Place, ...] = ()
    ignored: tuple[storage.Place, ...] = ()


def resolve(plan: recipe.Recipe) -> list[Input]:
    """The sources of a recipe, sorted by name.

    raises  ValueError or FileNotFoundError for a folder, name or language that does not exist
    """
    wanted = plan.sources
    found = _of_folder(wanted) if wanted.folder else _of_catalogue(wanted)
    found += [_extra(name, wanted) for name in wanted.extra]
    chosen = [source for source in found if _wanted(source, wanted)]
    if not chosen:
        raise ValueError(
            f"the recipe names no source: {len(found)} were found, and none has "
            f"a language of {list(wanted.languages) or 'any'} and a kind of {list(wanted.kinds) or 'any'}; "
            "`roots sources list` shows the catalogue"
        )
    for source in chosen:
        if not NAME.fullmatch(source.name):
            raise ValueError(
                f"source '{source.name}': its name becomes a folder of the output; it may hold no slash and not begin "
                "with a dot. Rename it"
            )
    return sorted(chosen, key=lambda source: source.name)


def _wanted(source: Input, wanted: recipe.Sources) -> bool:
    if wanted.languages and source.language not in {languages.find(code).code for code in wanted.languages}:
        return False
    return not wanted.kinds or kind(source.name) in wanted.kinds


def kind(name: str) -> str:
    """The catalogue's kind of a source; "folder" for one that the catalogue does not have."""
    known = catalogue.get(name)
    return known.kind if known else "folder"


def _options(name: str, wanted: recipe.Sources) -> recipe.SourceOptions:
    return recipe.matching(wanted.options, name) or recipe.SourceOptions()


def _of_folder(wanted: recipe.Sources) -> list[Input]:
    root = recipe.place(wanted.folder)
    if not root.is_dir():
        raise FileNotFoundError(f"sources.folder: {root} is not a folder; --set sources.folder=DIR names another")
    folders = {path.name: path for path in storage.folders(root) if _is_source(path.name, wanted)}
    if wanted.names:
        folders = {name: _folder_named(name, folders, root) for name in wanted.names}
    inputs = [_of_files(name, path, _options(name, wanted)) for name, path in folders.items()]
    with_files = [source for source in inputs if source.files]
    if not with_files:
        raise FileNotFoundError(
            f"sources.folder: {root} has no sub-folder with documents; every sub-folder is a source, named "
            f"lm_<language>_<name>, with files {', '.join(readers.FORMATS)} (.gz, .zst)"
        )
    return with_files


def _is_source(name: str, wanted: recipe.Sources) -> bool:
    """Whether a sub-folder's name says that it is a source: lm_..., a name of the catalogue, or one with options."""
    return (
        name.startswith("lm_") or catalogue.get(name) is not None or recipe.matching(wanted.options, name) is not None
    )


def passed_over(plan: recipe.Recipe) -> list[str]:
    """What lies in the recipe's folder and is not read, a line each."""
    root = recipe.place(plan.sources.folder) if plan.sources.folder else None
    if root is None or not root.is_dir():
        return []
    lines = [
        f"{path}: not read; it is not named lm_<language>_<name>"
        for path in storage.folders(root)
        if not _is_source(path.name, plan.sources)
    ]
    for source in resolve(plan):
        endings = sorted({path.suffix or path.name for path in source.ignored})
        if endings:
            lines.append(f"{source.folder}: {len(source.ignored)} files not read ({', '.join(endings)[:80]})")
    return lines


def _folder_named(name: str, folders: dict[str, storage.Place], root: storage.Place) -> storage.Place:
    known = catalogue.get(name)
    for folder in (name, *((known.name, known.published_name) if known else ())):
        if folder in folders:
            return folders[folder]
    near = difflib.get_close_matches(name, folders, 1)
    raise FileNotFoundError(
        f"sources.names: {root} has no sub-folder '{name}'" + (f"; did you mean '{near[0]}'?" if near else "")
    )


def _of_files(name: str, folder: storage.Place, options: recipe.SourceOptions) -> Input:
    if options.path:
        folder = PLACES[options.path]() if options.path in PLACES else recipe.place(options.path)
        if not folder.exists():
            raise FileNotFoundError(f"sources.options.{name}.path: {folder} does not exist")
    if folder.is_file():
        return Input(
            name=name,
            language=_language(name, options),
            options=options,
            folder=folder.parent,
            files=(folder,),
        )
    every = [path for path in storage.matching(folder, options.glob or "**/*") if _visible(path, folder)]
    known = [path for path in every if options.format or options.glob or readers.format_of(path.name)]
    return Input(
        name=name,
        language=_language(name, options) if known else "",
        options=options,
        folder=folder,
        files=tuple(known),
        ignored=tuple(path for path in every if path not in set(known)),
    )


def _visible(path: storage.Place, folder: storage.Place) -> bool:
    parts = storage.relative(path, folder).split("/")
    return not any(part.startswith(".") or part in ("site-packages", "__pycache__") for part in parts)


def _language(name: str, options: recipe.SourceOptions) -> str:
    if options.language == languages.SEVERAL:
        return languages.SEVERAL
    if options.language:
        return languages.find(options.language).code
    known = catalogue.get(name)
    stated = known.language if known else catalogue.from_folder_name(name)
    if stated is None:
        raise ValueError(
            f"source '{name}': its name does not state a language (lm_<language>_<name>); rename the folder, or set "
            f'[sources.options."{name}"] language = "CODE"'
        )
    return stated


def _of_catalogue(wanted: recipe.Sources) -> list[Input]:
    """Names of the catalogue resolve to data sets of the hub, as published."""
    if wanted.extra and not (wanted.names or wanted.languages or wanted.kinds):
        return []
    inputs = []
    for source in catalogue.select(names=wanted.names, languages=wanted.languages, kinds=wanted.kinds):
        options = _options(source.name, wanted)
        if options.path:
            inputs.append(_of_files(source.name, Path(), options))
        else:
            options = replace(options, dataset=options.dataset or source.published_dataset)
            inputs.append(Input(name=source.name, language=source.language, options=options))
    return inputs


def _extra(name: str, wanted: recipe.Sources) -> Input:
    options = wanted.options.get(name)
    if options is None or not (options.path or options.dataset or options.format == "pydoc"):
        raise ValueError(f"sources.extra: '{name}' needs [sources.options.\"{name}\"] with a path or a dataset")
    if options.format == "pydoc" or options.dataset:
        return Input(name=name, language=_language(name, options), options=options)
    return _of_files(name, Path(), options)
