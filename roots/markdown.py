"""Fills the Markdown templates of the cards: numbers, shares, and text that must not be read as markup."""

from __future__ import annotations

import functools
import re
import urllib.parse
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import jinja2

from roots import facts


def fill(template: str, **values: Any) -> str:
    """A template of `roots/templates`, filled; a value that is missing raises `jinja2.UndefinedError`."""
    filled = _environment().get_template(template).render(**values)
    return re.sub(r"\n{3,}", "\n\n", filled).rstrip("\n") + "\n"


def whole(number: int) -> str:
    """1234567 -> `1,234,567`."""
    return f"{number:,}"


def percent(part: int, total: int) -> str:
    """A share with two decimals, or two digits where it is small: `30.04 %`, `0.000043 %`; a dash of none."""
    if total == 0:
        return "–"
    share = Decimal(100 * part) / Decimal(total)
    decimals = 2 if share == 0 else max(2, 1 - share.adjusted())
    return f"{share.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_EVEN):f} %"


def text(words: str) -> str:
    """Words as they are: white space becomes one space, no character starts markup or ends a table cell."""
    return re.sub(r"([\\`*|<>\[\]])", r"\\\1", " ".join(words.split()))


def code(words: str) -> str:
    """Words as a code span, which may stand in a table."""
    return "`" + " ".join(words.split()).replace("`", "'").replace("|", "\\|") + "`"


def url(name: str) -> str:
    """A file name as part of a relative address."""
    return urllib.parse.quote(name)


def median(lengths: Mapping[str, int]) -> str:
    """The bin that holds the median size: `between 1 KiB and 2 KiB`; of two middle documents the smaller."""
    half, seen = (sum(lengths.values()) + 1) // 2, 0
    for k in sorted(map(int, lengths)):
        seen += lengths[str(k)]
        if seen >= half:
            return "0 bytes" if k == 0 else f"between {facts.size(k)} and {facts.size(k + 1)}"
    return "–"


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("roots", "templates"),
        autoescape=False,  # Markdown, not HTML: `text` and `code` escape what comes from outside
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for function in (whole, percent, text, code, url, median):
        environment.filters[function.__name__] = function
    return environment
