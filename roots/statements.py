"""What a data card says of a source, sentence by sentence, in Markdown: each fact with its authority."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Sequence

from roots import catalogue, facts, hub, languages, markdown

AnySource = catalogue.Source | catalogue.FolderSource

HUB = "https://huggingface.co/datasets"
LABELS_MAX = 10  # rows of the language mix; the rest is one row
CONFLICT = "conflicting-statements"  # license_name where public records disagree: a card takes no side
SAFE_IN_URL = ":/?#[]@!$&'()*+,;=%~"  # reserved characters keep their meaning; the rest is quoted
KINDS = {
    "wikimedia": "A Wikimedia project{language}",
    "nigercongo_aggregated": "Several collections of text{language}, aggregated into one source",
    "indo4b_component": "A component of the Indo4B collection{language}",
    "the_pile_component": "A component of The Pile{language}",
    "stackexchange": "Posts of Stack Exchange{language}",
    "s2orc": "Scientific papers of the S2ORC collection{language}",
    "catalogue": "A source{language} that the original project catalogued by hand",
    "pseudo_crawl": "Pages{language} of one web site, taken from Common Crawl",
    "oscar": "The part of OSCAR 21.09{language}",
    "github_code": "Source files of public GitHub repositories",
}
ACCURACY = {
    "exact": "exact, text and metadata together",
    "rounded": "approximate in the public record",
    "estimated": "estimated from a sampling ratio",
}
# What came before the listed steps; data-preparation, sourcing/cc_pseudo_crawl and sourcing/code_dataset
BEFORE = {
    "pseudo_crawl": "Before these steps: the latest capture of each page in the crawls of 2020 and 2021, "
    "text taken out of the HTML, lines that many pages of the site share dropped, pages split by language "
    "with lid.176.",
    "github_code": "Before these steps: files with one of 25 extensions and below 1 MiB, exact duplicates "
    "dropped, limits on the length of files and lines and on the share of word characters, and a test of the "
    "licence. The name says that GPL is left out; the public code keeps files under GPL licences only, an "
    "error that its README admits.",
}
PII = {
    "listed": "The original's scripts list this source for the redaction of personal data.",
    "unclear": "The original's script for the redaction of personal data names this source outside the range "
    "that it runs; whether it was redacted is not established.",
    "none_seen": "No redaction of personal data was seen in the original's scripts for this source.",
}


def kind(source: catalogue.Source) -> str:
    """What sort of source it is and in which language, as the start of a sentence."""
    spoken = "" if source.language == "code" else f" in {languages.find(source.language).english_name}"
    return KINDS[source.sub_kind or source.kind].format(language=spoken)


def provenance(source: AnySource) -> Iterator[tuple[str, str]]:
    """Fact and value: names, kind, where it is, how large it was before and after the original's cleaning."""
    if isinstance(source, catalogue.Source):
        yield "Name", markdown.code(source.name)
        yield "Published as", _published(source)
        yield "Kind", ", ".join(filter(None, [source.kind, source.sub_kind])).replace("_", " ")
        if source.hub_dataset:
            yield "Data set that the original read", markdown.code(source.hub_dataset)
    else:
        yield "Name", markdown.code(source.name)
        yield "Kind", "folder"
    if source.title:
        yield "Title", markdown.text(source.title)
    if source.homepage:
        yield "Homepage", f"<{urllib.parse.quote(source.homepage, safe=SAFE_IN_URL)}>"
    if isinstance(source, catalogue.Source):
        yield from _sizes(source)


def _published(source: catalogue.Source) -> str:
    if source.published_name_status == "seen":
        return _hub_card(source)
    return f"{markdown.code(source.published_name)}, by the naming rule; not seen on the hub"


def _hub_card(source: catalogue.Source) -> str:
    return f"[{source.published_name}]({HUB}/bigscience-data/{source.published_name})"


def _sizes(source: catalogue.Source) -> Iterator[tuple[str, str]]:
    if source.seed_id is not None:
        yield "Crawl seed", str(source.seed_id)
    if source.raw_bytes is None:
        yield "Size before cleaning", "not known"
    else:
        yield "Size before cleaning", f"{source.raw_bytes:,} bytes ({ACCURACY[source.raw_bytes_accuracy]})"
    if source.raw_documents is not None:
        yield "Documents before cleaning", f"{source.raw_documents:,}"
    final = source.final_documents_rounded
    after = "not published" if final is None else f"about {final:,} (rounded by the hub)"
    yield "Documents after cleaning", after


def licence(source: AnySource) -> Iterator[str]:
    """What is stated, by whom, in which words; what is inferred, as such; the tag that follows."""
    stated = ", ".join(markdown.code(part) for part in source.licence.split())
    if not stated:
        yield "No licence statement was found."
    elif isinstance(source, catalogue.FolderSource):
        by = markdown.text(source.licence_authority) or "the recipe, which names no authority"
        yield f"{markdown.code(source.licence)}, stated by {by}."
    elif source.licence_disagreeing:
        yield (
            f"Public records disagree: {_authority(source, source.licence_authority)} states {stated}, "
            f"{_authority(source, source.licence_disagreeing_authority)} states "
            f"{markdown.code(source.licence_disagreeing)}. This card takes neither side."
        )
    else:
        yield f"{stated}, stated by {_authority(source, source.licence_authority)}."
    if source.licence_words:
        yield f"The record's own words: “{markdown.text(source.licence_words)}”."
    if isinstance(source, catalogue.Source) and source.licence_inferred:
        yield (
            f"Inference, not a statement: it may be {markdown.code(source.licence_inferred)}, "
            f"because {source.licence_inferred_because}."
        )
    tags, name = licence_tags(source)
    named = f", named {markdown.code(name)}" if name else ""
    yield f"Licence tag of this card: {', '.join(map(markdown.code, tags))}{named}."


def _authority(source: catalogue.Source, authority: str) -> str:
    files = catalogue.fact_sources()
    return {
        "hub_tag": f"the licence tag of the hub's card of {_hub_card(source)}",
        "hub_text": f"the text of the hub's card of {_hub_card(source)}",
        "metadata_analysis": f"the metadata that the original project collected ({_link(files['metadata_analysis'])})",
        "source_sheet": f"the original project's source sheet ({_link(files['source_sheet'])}), "
        f"entry {markdown.code(source.sheet_entry)}",
    }[authority]


def _link(file: catalogue.FactSource) -> str:
    """A link to a file at the commit that was read: `[data-preparation, meta.jsonl](https://...)`."""
    return f"[{file.repository.rpartition('/')[2]}, {file.path.rpartition('/')[2]}]({file.url})"


def language(language: languages.Language | None) -> Iterator[str]:
    """The language, its published size, and whether the usual model can label it."""
    if language is None:
        yield "The source does not state its language."
        return
    share = markdown.percent(language.published_bytes, languages.PUBLISHED_BYTES)
    held = f"ROOTS as published holds {language.published_bytes:,} bytes of it, {share} of all"
    if language.code == "code":
        yield f"Source code and text about it, code `code`. {held}."
        return
    native = f" ({language.native_name})" if language.native_name != language.english_name else ""
    yield (
        f"{language.english_name}{native}, code `{language.code}`: {language.genus}, {language.family}; "
        f"script {language.script}."
    )
    yield f"{held}, in {language.published_sources} source{'s' * (language.published_sources != 1)}."
    if not language.lid176_covers:
        yield (
            "fastText's lid.176 does not know the language: with that model its documents pass on "
            "provenance, not on a label."
        )
    elif language.lid176_label == "zh":
        yield "fastText's lid.176 has one label, `zh`, for Simplified and Traditional Chinese."


def original(source: catalogue.Source) -> Iterator[str]:
    """What the original project did with the source beside cleaning it."""
    if source.kind in BEFORE:
        yield BEFORE[source.kind]
    yield PII[source.pii_redaction]
    if source.tokenizer_ratio is not None:
        share = "All" if source.tokenizer_ratio == 1 else f"A share of {_ratio(source.tokenizer_ratio)}"
        yield f"{share} of the source was set to go into the text that the tokenizer was trained on."
    if source.training_sampling_ratio == 1:
        yield "For training, all documents that were left were exported."
    else:
        share = _ratio(source.training_sampling_ratio)
        yield f"For training, {share} of the documents that were left were exported, drawn at random."


def _ratio(ratio: float) -> str:
    """A share as a percentage; twelve decimals are more than any ratio needs."""
    return markdown.percent(round(ratio * 10**12), 10**12)


def reasons(stages: Sequence[facts.StageCounts]) -> Iterator[tuple[str, str, str, int]]:
    """Stage, verdict, reason, documents: stages in order, in each the most frequent reason first."""
    for stage in stages:
        for verdict, counts in (("removed", stage.removed), ("rejected", stage.rejected)):
            for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
                yield stage.name, verdict, reason, count


def labels(corpus: facts.Facts) -> Iterator[tuple[str, int]]:
    """The language labels, most frequent first; those beyond the tenth in one row."""
    ranked = sorted(corpus.lang_labels.items(), key=lambda item: (-item[1], item[0]))
    for label, count in ranked[:LABELS_MAX]:
        yield _label_name(label), count
    rest = ranked[LABELS_MAX:]
    if rest:
        yield f"{len(rest)} more labels", sum(count for _, count in rest)


def _label_name(label: str) -> str:
    known = {language.short_code: language.english_name for language in languages.load()}
    names = known | {"other": "a language outside the corpus", facts.NOT_ASKED: "no model was asked"}
    return f"{names[label]} ({markdown.code(label)})" if label in names else markdown.code(label)


def facts_from(source: catalogue.Source) -> Iterator[str]:
    """A line for each public file or page that states something of the source."""
    files = catalogue.fact_sources()
    for key in source.fact_sources:
        if key == "hub_card":
            yield f"The hub's card of {_hub_card(source)}"
        else:
            file = files[key]
            yield f"{file.what[0].upper()}{file.what[1:]}: {_link(file)}"


def licence_tags(source: AnySource) -> tuple[list[str], str | None]:
    """The hub's identifiers for the card, and a name where the identifier is `other`."""
    return (["other"], CONFLICT) if disagreeing(source) else hub.licence_tags(source.licence)


def disagreeing(source: AnySource) -> bool:
    """Whether public records state different licences for the source."""
    return isinstance(source, catalogue.Source) and bool(source.licence_disagreeing)
