"""Data cards: what is known of a source, and of a run over it, as a Hugging Face data set card.

A card states facts with their authority, and marks what is inferred; it never shows the text of a document.
Equal input gives equal bytes: no date, no path, no host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from roots import catalogue, corpus_card, facts, hub, languages, markdown, statements

AnySource = statements.AnySource

SECTIONS = ("Provenance", "Licence", "Language", "How to make this card again")


def render(source: AnySource, run: facts.SourceRun | None = None) -> str:
    """The card of a source: front matter valid for the hub, then Markdown.

    run     what a run of this project found, None where none has processed the source; the card says which
    raises  ValueError for a run of another source
    """
    if run is not None and run.source != source.name:
        raise ValueError(f"card of {source.name}: the run is of {run.source}")
    known = source if isinstance(source, catalogue.Source) else None
    language = _language(source, run)
    steps = catalogue.steps()
    return markdown.fill(
        "card.md.j2",
        front_matter=hub.dump(_front_matter(source, run, language)),
        heading=heading(source),
        kind_sentence=statements.kind(known) if known else "",
        source=source,
        run=run,
        language=language,
        provenance=list(statements.provenance(source)),
        licence=list(statements.licence(source)),
        language_sentences=list(statements.language(language)),
        source_steps=[steps[name] for name in known.steps] if known else [],
        original=list(statements.original(known)) if known else [],
        run_steps=run.steps if run else (),
        steps_left_out=[name for name in known.steps if name not in run.steps] if known and run else [],
        reasons=list(statements.reasons(run.stages)) if run else [],
        labels=list(statements.labels(run.corpus)) if run else [],
        plot=f"plots/{markdown.url(source.name)}.svg",
        facts_from=list(statements.facts_from(known)) if known else [],
    )


def heading(source: AnySource) -> str:
    """The published name of a catalogue source, the name of another."""
    return source.published_name if isinstance(source, catalogue.Source) else source.name


def index(entries: Iterable[tuple[AnySource, facts.SourceRun | None]]) -> str:
    """The README of a folder of cards: a table per language, sources by name."""
    rows = sorted(entries, key=lambda entry: entry[0].name)
    by_language: dict[str, list[dict[str, Any]]] = {}
    for source, run in rows:
        language = _language(source, run)
        by_language.setdefault(language.english_name if language else "Language not stated", []).append(
            {
                "name": source.name,
                "heading": heading(source),
                "kind": _kind(source),
                "licence": _stated_licence(source),
                "raw_bytes": _raw_bytes(source),
                "processed": f"{run.corpus.documents:,} documents" if run else "",
            }
        )
    return markdown.fill(
        "index.md.j2",
        entries=rows,
        processed=sum(run is not None for _, run in rows),
        languages=sorted(by_language.items()),
    )


def write_all(
    folder: Path, runs: Mapping[str, facts.SourceRun], sources: Iterable[AnySource] | None = None
) -> list[Path]:
    """Write a card for each source, the plots and counts of those with a run, the index and the corpus page.

    folder   made where missing; files of other names stay as they are
    runs     name of a source -> its run; one that `sources` lacks gets a card with what the run tells
    sources  None for the whole catalogue
    returns  the files written, by path
    """
    known = {source.name: source for source in (catalogue.load() if sources is None else sources)}
    for name, run in runs.items():
        known.setdefault(name, catalogue.FolderSource(name=name, language=run.language))
    entries = [(known[name], runs.get(name)) for name in sorted(known)]
    files = {"README.md": index(entries)}
    for source, found in entries:
        files[f"{source.name}.md"] = render(source, found)
        if found is not None:
            files |= _run_files(source.name, found)
    if runs:
        whole = facts.total(run.corpus for run in runs.values())
        files |= {"corpus.md": corpus_card.render(list(runs.values())), **_plot("corpus", whole)}
    return [_write(folder / name, files[name]) for name in sorted(files)]


def validate(card: str) -> list[str]:
    """What is wrong with a card of a source, a sentence each; empty where nothing is. Works offline.

    Checked: the front matter as the hub would, the sections, that tag and text name the same licence, that
    every step listed is a step, and that in = kept + removed + rejected in each row of the table of stages.
    """
    try:
        front_matter, body = hub.split(card)
    except ValueError as error:
        return [str(error)]
    found = hub.problems(front_matter)
    titles = re.findall(r"^# (.+)$", body, re.MULTILINE)
    if len(titles) != 1:
        found.append(f"body has {len(titles)} titles, expected one")
    sections = dict(re.findall(r"^## (.+)\n\n((?:(?!## ).*\n?)*)", body, re.MULTILINE))
    found += [f"section '{name}' is missing" for name in SECTIONS if not sections.get(name, "").strip()]
    tags = front_matter.get("license", [])
    for tag in tags if isinstance(tags, list) else [tags]:
        if f"`{tag}`" not in sections.get("Licence", ""):
            found.append(f"licence tag '{tag}' is not named in the section Licence")
    steps = re.findall(r"^\| \d+ \| `(.*?)` \|", sections.get("Processing by the original project", ""), re.MULTILINE)
    found += [f"'{step}' is listed as a step, but is none" for step in steps if step not in catalogue.steps()]
    for row in re.findall(r"^\| (\S+) \|((?: [\d,]+ \|){6})$", body, re.MULTILINE):
        entered, kept, removed, rejected = (int(cell.replace(",", "")) for cell in row[1].split("|")[:4])
        if entered != kept + removed + rejected:
            found.append(f"stage {row[0]}: {entered} in is not {kept} kept + {removed} removed + {rejected} rejected")
    return found


def _front_matter(
    source: AnySource, run: facts.SourceRun | None, language: languages.Language | None
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if language is not None:
        found["language"] = [language.bcp47.partition("-")[0] if language.bcp47 else language.code]
        if language.bcp47 and "-" in language.bcp47:
            found["language_bcp47"] = [language.bcp47]
    tags, name = statements.licence_tags(source)
    found["license"] = tags if len(tags) > 1 else tags[0]
    if name:
        found["license_name"] = name
    found["pretty_name"] = f"{_label(source)}, {language.english_name}" if language else _label(source)
    documents = _documents(source, run)
    if documents is not None:
        found["size_categories"] = [hub.size_category(documents)]
    found["task_categories"] = ["text-generation"]
    kinds = [source.kind, source.sub_kind] if isinstance(source, catalogue.Source) else ["folder"]
    found["tags"] = ["roots", *(kind.replace("_", "-") for kind in kinds if kind)]
    return found


def _documents(source: AnySource, run: facts.SourceRun | None) -> int | None:
    """Of the run, else final as published, else before cleaning; None where no count is known."""
    if run is not None:
        return run.corpus.documents
    if isinstance(source, catalogue.Source):
        return source.raw_documents if source.final_documents_rounded is None else source.final_documents_rounded
    return None


def _language(source: AnySource, run: facts.SourceRun | None) -> languages.Language | None:
    code = source.language or (run.language if run else None)
    return languages.find(code) if code else None


def _kind(source: AnySource) -> str:
    return source.kind if isinstance(source, catalogue.Source) else "folder"


def _label(source: AnySource) -> str:
    """The title, with the host where there is one and it says more; without a title what the name says."""
    host = re.sub(r"^https?://(www\.)?|/.*", "", source.homepage)
    if source.title:
        return f"{source.title} ({host})" if host and host.lower() != source.title.lower() else source.title
    match = catalogue.FOLDER_NAME.fullmatch(source.name)
    origin = (match["origin"] if match else source.name).removesuffix("_filtered").replace("_", " ").strip()
    name = host if origin.startswith("pseudocrawl") and host else origin
    return name[:1].upper() + name[1:]


def _stated_licence(source: AnySource) -> str:
    if not isinstance(source, catalogue.Source):
        return source.licence
    return "" if statements.disagreeing(source) else ", ".join(source.licence.split())


def _raw_bytes(source: AnySource) -> str:
    if not isinstance(source, catalogue.Source) or source.raw_bytes is None:
        return ""
    return f"{source.raw_bytes:,}" if source.raw_bytes_accuracy == "exact" else f"about {source.raw_bytes:,}"


def _run_files(name: str, run: facts.SourceRun) -> dict[str, str]:
    return {f"facts/{name}.json": facts.dump(run), **_plot(name, run.corpus)}


def _plot(name: str, corpus: facts.Facts) -> dict[str, str]:
    if not corpus.documents:
        return {}
    from roots import plots  # matplotlib, which only a card with a plot needs

    return {f"plots/{name}.svg": plots.lengths(corpus.lengths)}


def _write(path: Path, content: str) -> Path:
    """Under a temporary name first, so that a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content.encode())
    return temporary.replace(path)
