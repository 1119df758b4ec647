"""HTML pages to text: which bytes mean which characters, and which part of a page is its content.

The content is found by resiliparse (extra `crawl`), which leaves out navigation, headers, footers, scripts and hidden
elements; docs/decisions/0005-main-text-by-resiliparse.md says why that one.

Departure: ROOTS dropped header, footer, form, script, style and iframe elements, and blocks of up to 64 characters,
headings and short list items with them (data-preparation, sourcing/cc_pseudo_crawl, extract_text/).
"""

from __future__ import annotations

import importlib
import re
from typing import Any

import pyarrow as pa

DEPTH_MAX = 512  # elements inside one another, where browsers stop; to look for the content is quadratic in depth
TAGS_MIN = 2000  # a page with fewer tags is never so deep that it matters
CHARSET = re.compile(rb"charset\s*=\s*[\"']?\s*([a-z0-9_:.-]{1,40})", re.IGNORECASE)
HEAD_BYTES = 1024  # where a page has to declare its encoding: HTML standard, "prescan a byte stream"
PAGE_TYPES = ("text/html", "application/xhtml+xml")


def texts(pages: pa.StringArray) -> pa.StringArray:
    """The content of each page as text, a block a line; of a page nested more than `DEPTH_MAX` deep, all its text.

    pages    [docs] utf8, no nulls; what is no HTML is taken for the text of a page
    raises   ValueError where resiliparse is not installed
    """
    extract_plain_text = _resiliparse("extract.html2text").extract_plain_text
    dom = _resiliparse("parse.html")

    def content(page: str) -> str:
        tree = dom.HTMLTree.parse(page)
        shallow = page.count("<") < TAGS_MIN or _depth(tree, dom.traverse_dom) <= DEPTH_MAX
        return extract_plain_text(
            tree,
            main_content=shallow,
            preserve_formatting=shallow,
            list_bullets=False,
            alt_texts=False,
            comments=True,
        )

    return pa.array([content(page) for page in pages.to_pylist()], pa.string())


def decoded(page: bytes, content_type: str) -> str | None:
    """A page's characters, None where no encoding fits.

    The encoding is that of the byte order mark, of the HTTP header, or what the page declares, in this order; a name
    that is none, or bytes that it does not allow, and it is guessed from the bytes. No byte is replaced.

    raises  ValueError where resiliparse is not installed
    """
    encoding = _resiliparse("parse.encoding")
    stated = CHARSET.search(content_type.encode("ascii", "replace")) or CHARSET.search(page, 0, HEAD_BYTES)
    names = ["utf-8-sig"] if page.startswith(b"\xef\xbb\xbf") else []
    if stated:
        names.append(encoding.map_encoding_to_html5(stated[1].decode("ascii"), False) or "")
    for name in (*names, "utf-8", encoding.detect_encoding(page) or ""):
        try:
            return page.decode(name)
        except (LookupError, UnicodeDecodeError):
            continue
    return None


def _depth(tree: Any, traverse: Any) -> int:
    """How many elements lie inside one another at most."""
    deepest = 0

    def enter(context: Any) -> None:
        nonlocal deepest
        deepest = max(deepest, context.depth)

    if tree.body is not None:
        traverse(tree.body, enter, elements_only=True)
    return deepest


def _resiliparse(module: str) -> Any:
    try:
        return importlib.import_module(f"resiliparse.{module}")
    except ModuleNotFoundError as error:
        raise ValueError("reading web pages needs `pip install 'bloom-roots[crawl]'`") from error
