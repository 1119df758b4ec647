"""Pages to text: what stays of a page, its encoding, and pages that are none."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("resiliparse", reason="the extra `crawl` is not installed")

from roots import html

PAGE = """<!DOCTYPE html><html><head><title>T</title><style>p {}</style><script>var a = "no";</script></head><body>
<header><nav><a href="/">Home</a> <a href="/b">Blog</a></nav></header>
<main><article><h1>Title of it</h1><p>First paragraph with <b>bold</b> words.</p><p>Second one.<br>New line.</p>
<ol><li>one item of a list</li><li>another one</li></ol>
<p>What follows it.</p></article></main><footer>All rights reserved</footer></body></html>"""


def text(page: str) -> str:
    return html.texts(pa.array([page])).to_pylist()[0]


def test_the_content_stays_a_block_a_line_and_what_surrounds_it_goes() -> None:
    lines = [line.strip() for line in text(PAGE).split("\n") if line.strip()]
    assert lines == [
        "Title of it",
        "First paragraph with bold words.",
        "Second one.",
        "New line.",
        "one item of a list",
        "another one",
        "What follows it.",
    ]


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("", ""),
        ("just text", "just text"),
        ("<p>never closed <b>bold", "never closed bold"),
        ("</p></div>stray ends<p>ok</q>", "stray ends ok"),
        ("<p>a &amp; b &lt;c&gt; &#x4f60; &nosuch; &#99999999;</p>", "a & b <c> 你 &nosuch; \ufffd"),
        ("<p>a<!-- never closed", "a"),
        ("<p title='never closed>a</p>", ""),
        ("<p>a\x00b</p>", "ab"),
        ("<frameset><frame src=a></frameset>", ""),
        ("<table><tr><td>a<p>b</table>c", "a b c"),
    ],
)
def test_malformed_pages_give_what_a_browser_would_show(page: str, expected: str) -> None:
    assert " ".join(text(page).split()) == expected


def test_of_a_page_that_is_nested_without_end_all_text_stays() -> None:
    assert text("<div>" * 50_000 + "<header>deep</header> down") == "deep down"
    assert text("<div>" * 100 + "<nav>menu</nav>" + "<p>words here</p>" * 2000).count("menu") == 0


@pytest.mark.parametrize(
    ("page", "content_type", "expected"),
    [
        ("été".encode(), "text/html", "été"),
        ("été".encode("latin-1"), "text/html; charset=ISO-8859-1", "été"),
        ("“été”".encode("cp1252"), "text/html; charset=latin1", "“été”"),
        ('<meta charset="windows-1256">سلام'.encode("cp1256"), "text/html", '<meta charset="windows-1256">سلام'),
        (
            b"<meta charset=utf-8>" + "你好".encode("gb18030"),
            "text/html; charset=gbk",
            "<meta charset=utf-8>你好",
        ),
        ("你好".encode(), "text/html; charset=nonsense", "你好"),
        ("你好".encode(), 'text/html; charset="utf8"', "你好"),
        ("\ufeffbom".encode(), "text/html; charset=latin1", "bom"),
        ("été".encode(), "text/html; charset=\udce9", "été"),
    ],
)
def test_a_page_is_read_in_its_encoding(page: bytes, content_type: str, expected: str) -> None:
    assert html.decoded(page, content_type) == expected


def test_a_page_said_to_be_utf_8_that_is_not_is_guessed_without_loss() -> None:
    page = ("<p>" + "Être français, c'est aimer la crème brûlée et le café noir. " * 20).encode("cp1252")
    assert html.decoded(page, "text/html; charset=utf-8") == page.decode("cp1252")


def test_a_missing_library_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "resiliparse.extract.html2text", None)
    with pytest.raises(ValueError, match=r"reading web pages needs `pip install 'bloom-roots\[crawl\]'`"):
        html.texts(pa.array(["<p>a"]))


PIECES = st.sampled_from(
    ["<p>", "</p>", "<div", " class='a", ">", "</div>", "<table>", "<td>", "<script>", "<!--", "-->", "&#", "&amp", "a",
     "<![CDATA[", "<svg>", "<math>", "</svg>", "<template>", "<select>", "<b>", "<a href=", '"', "\x00", "\ufffd"]
)  # fmt: skip


@given(st.lists(PIECES | st.text(max_size=3), max_size=60))
def test_any_soup_of_tags_gives_a_text_and_the_same_one_each_time(pieces: list[str]) -> None:
    page = "".join(pieces)
    assert html.texts(pa.array([page, "<p>ok", page])).to_pylist() == [text(page), "ok", text(page)]
