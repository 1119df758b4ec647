"""The catalogue as lines for a terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from roots import catalogue, clean, step_kinds


def sources(languages: list[str], kinds: list[str], licences: list[str]) -> Iterator[str]:
    """A line for each source that fits, then the count."""
    found = catalogue.select(names=(), languages=languages, kinds=kinds, licences=licences)
    yield f"{'name':<60} {'language':<15} {'kind':<13} {'raw bytes':>16}  licence as stated"
    for source in found:
        size = f"{source.raw_bytes:,}" if source.raw_bytes is not None else "not known"
        yield f"{source.name:<60} {source.language:<15} {source.kind:<13} {size:>16}  {' '.join(source.licences)}"
    yield f"{len(found)} of {len(catalogue.load())} sources"


def source(name: str) -> Iterator[str]:
    """A line for each thing that is known of a source."""
    found = catalogue.find(name)
    for field in dataclasses.fields(found):
        value = getattr(found, field.name)
        if value in (None, "", ()):
            continue
        if field.name == "steps":
            yield "steps:"
            yield from (f"    {step:<45} {_state(step)}" for step in value)
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, tuple) else value
            note = "  (inference, not a statement)" if field.name.startswith("licence_inferred") else ""
            yield f"{field.name}: {shown}{note}"


def steps() -> Iterator[str]:
    """A line for each cleaning step: how many sources name it, whether it is implemented, what it does."""
    counts: dict[str, int] = {}
    for each in catalogue.load():
        for step in each.steps:
            counts[step] = counts.get(step, 0) + 1
    for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        known = catalogue.steps().get(name)
        yield f"{name:<75} {count:>4} sources  {_state(name):<16} {known.effect if known else ''}"
    missing = sorted(name for name in counts if name not in clean.STEPS)
    yield f"{len(counts)} steps, {len(missing)} missing{': ' * bool(missing)}{', '.join(missing)}"


def _state(step: str) -> str:
    known = clean.STEPS.get(step)
    if isinstance(known, step_kinds.Later):
        return f"in stage {known.stage}"
    return "implemented" if known else "missing"
