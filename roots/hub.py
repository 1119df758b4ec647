"""What the Hugging Face hub accepts in the front matter of a data set card, checked without a network.

Rules: the docstring of `huggingface_hub.DatasetCardData` and the hub's documentation on licences.
"""

from __future__ import annotations

import functools
import re
from importlib import resources
from typing import Any

import yaml  # type: ignore[import-untyped]

SPECIAL_LANGUAGES = ("code", "multilingual")
SIZE_STEPS = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
TASKS = ("text-generation",)  # what a card of ours may claim; the hub knows more
REQUIRED = ("license", "pretty_name", "task_categories", "tags")
KEYS = (*REQUIRED, "language", "language_bcp47", "license_name", "license_link", "size_categories")


@functools.cache
def licences() -> frozenset[str]:
    """The licence identifiers of tables/hub_licences.csv."""
    table = (resources.files("roots.tables") / "hub_licences.csv").read_text(encoding="utf-8")
    return frozenset(table.split()[1:])


def licence_tags(stated: str) -> tuple[list[str], str | None]:
    """The hub's identifiers for a stated licence, and a name where the only one that fits is `other`.

    stated  identifiers separated by a space, or words such as "CC BY 4.0"; "" where nothing is stated
    """
    whole = re.sub(r"[^a-z0-9.+]+", "-", stated.lower()).strip("-")
    parts = stated.lower().split()
    if not parts:
        return ["unknown"], None
    if whole in licences() - {"other"}:
        return [whole], None
    if set(parts) <= licences() - {"other", "unknown"}:
        return parts, None
    return ["other"], whole or "unnamed"


def size_category(documents: int) -> str:
    """`1K<n<10K` for 1,000 to 9,999 documents; `n<1K` below, `n>1T` above."""
    step = min(max(len(str(documents)) - 3, 0), len(SIZE_STEPS))
    if step == 0:
        return f"n<{SIZE_STEPS[0]}"
    if step == len(SIZE_STEPS):
        return f"n>{SIZE_STEPS[-1]}"
    return f"{SIZE_STEPS[step - 1]}<n<{SIZE_STEPS[step]}"


@functools.cache
def size_categories() -> frozenset[str]:
    return frozenset(size_category(10**power) for power in range(14))


def dump(front_matter: dict[str, Any]) -> str:
    """Front matter as YAML, in the order given; what YAML would read as another type is quoted."""
    text: str = yaml.safe_dump(front_matter, sort_keys=False, allow_unicode=True, width=10**6)
    return text


def split(card: str) -> tuple[dict[str, Any], str]:
    """The front matter and the body of a card.

    raises  ValueError where the card does not begin with a YAML mapping between two lines `---`
    """
    match = re.match(r"---\n(.*?\n)---\n", card, re.DOTALL)
    if match is None:
        raise ValueError("card: no front matter; it stands between two lines '---' at the start")
    try:
        front_matter = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        raise ValueError(f"card: front matter is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(front_matter, dict):
        raise ValueError(f"card: front matter is a {type(front_matter).__name__}, expected a mapping")
    return front_matter, card[match.end() :]


def problems(front_matter: dict[str, Any]) -> list[str]:
    """What the hub would refuse or not understand, a sentence each; empty where all is well."""
    found = [f"key '{key}' is missing" for key in REQUIRED if not front_matter.get(key)]
    found += [f"key '{key}' is unknown" for key in front_matter if key not in KEYS]
    for key, is_valid in (
        ("language", _is_language),
        ("language_bcp47", re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?").fullmatch),
        ("license", licences().__contains__),
        ("license_name", re.compile(r"[a-z0-9][a-z0-9.+-]*").fullmatch),
        ("size_categories", size_categories().__contains__),
        ("task_categories", TASKS.__contains__),
        ("tags", re.compile(r"\S(.*\S)?").fullmatch),
        ("pretty_name", re.compile(r"\S(.*\S)?").fullmatch),
    ):
        values = front_matter.get(key, [])
        values = values if isinstance(values, list) else [values]
        found += [
            f"{key} {value!r} is not accepted" for value in values if not isinstance(value, str) or not is_valid(value)
        ]
        if len(set(map(str, values))) < len(values):
            found.append(f"{key} lists a value twice")
    if front_matter.get("license") == "other" and "license_name" not in front_matter:
        found.append("license is 'other', so license_name must name it")
    return found


def _is_language(code: str) -> bool:
    """ISO 639-1 (two letters), 639-2 or 639-3 (three), or a special value of the hub."""
    return code in SPECIAL_LANGUAGES or re.fullmatch(r"[a-z]{2,3}", code) is not None
