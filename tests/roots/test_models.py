"""What the language model's recipe takes from texts and packages, on small made-up ones."""

import random
import struct
from pathlib import Path

import pytest

pytest.importorskip("stopwordsiso")

from roots.models import build, further


def catalogue(path: Path, messages: dict[str, str]) -> None:
    """A compiled gettext catalogue: two tables of lengths and places, then the strings, sorted, each with a zero."""
    pairs = sorted((k.encode(), v.encode()) for k, v in messages.items())
    places, texts = [[], []], b""
    start = 28 + 16 * len(pairs)
    for side in (0, 1):
        for pair in pairs:
            places[side] += [len(pair[side]), start + len(texts)]
            texts += pair[side] + b"\0"
    head = struct.pack("<7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0)
    path.parent.mkdir(parents=True)
    path.write_bytes(head + struct.pack(f"<{4 * len(pairs)}I", *places[0], *places[1]) + texts)


def test_a_declaration_gives_its_paragraphs_under_our_codes(tmp_path):
    for name, code in (("aka_fante", "ak"), ("ssw", "ss"), ("por_BR", "pt-BR"), ("007", "xx")):
        page = f'<html data-code="x" lang="{code}"><title>no</title><h1>A &amp; B</h1><p>one\n <b>two</b></p><p> </p>'
        (tmp_path / f"{name}.html").write_text(page, encoding="utf-8")
    expected = [(label, text) for label in ("ak", "pt", "ss") for text in ("A & B", "one two")]
    assert list(further.declarations(tmp_path)) == expected


def test_an_interface_gives_what_is_translated_and_has_no_mark_up(tmp_path):
    folder = tmp_path / "usr/lib/libreoffice/program/resource/nr/LC_MESSAGES"
    catalogue(folder / "sw.mo", {
        "": "Content-Type: text/plain; charset=UTF-8\n", "a\x04~Open file": "~Vula ifayela",
        "b\x04Same text": "Same text", "c\x04%1 pages": "%1 amakhasi", "d\x04No": "Awa",
    })  # fmt: skip
    assert list(further.interfaces(tmp_path)) == [("nr", "Vula ifayela")]


def test_few_lines_are_cut_again_and_again_and_many_are_drawn_once():
    rng = random.Random(1)
    assert len(build.pieces(["one two three"], 7, rng)) == 7 and build.pieces([], 7, rng) == []
    many = [f"line{i}" for i in range(50)]
    assert len(set(build.pieces(many, 50, rng))) == 50


def test_a_cut_is_a_run_of_words_or_of_letters_where_there_are_no_spaces():
    rng = random.Random(2)
    words = [f"w{i}" for i in range(100)]
    for _ in range(50):
        piece = build.cut(" ".join(words), rng).split()
        assert piece == words[words.index(piece[0]) :][: len(piece)] and len(piece) in (3, 10, 30)
        assert len(build.cut("漢字" * 200, rng)) in (15, 40, 120)


def test_one_line_in_forty_is_kept_for_scoring():
    lines = [f"line {i}" for i in range(100)]
    kept, apart = build.parted(lines)
    assert apart == ["line 0", "line 40", "line 80"] and sorted(kept + apart) == sorted(lines)


def test_scoring_paragraphs_are_neighbouring_lines_of_enough_bytes():
    lines = ["x" * 150] * 7
    assert build.paragraphs(lines, random.Random(3)) == [" ".join(lines[:3])] * 2  # 452 bytes each; one is left over


@pytest.mark.parametrize(
    ("text", "code", "another"),
    [
        ("This explains that the verb and the noun are with you", "ki", True),
        ("This explains that the verb and the noun are with you", "en", False),
        ("nĩ ndĩrathooma ibuku rĩakwa", "ki", False),
        ("a ka kɛ a ye i n'a fɔ", "bm", False),  # short words of Bambara that English has too
        ("an explanation in a comment", "code", True),
        ("return sum(a[i])", "code", False),
    ],
)
def test_english_in_other_languages_and_prose_in_code_are_left_out(text, code, another):
    assert build.is_another(text, code) == another


def test_held_sentences_are_found_within_lines():
    held = {"The end.", "All of it"}
    assert build.is_held("It began. The end. Or not.", held) and build.is_held("All of it", held)
    assert not build.is_held("All of it is new.", held)


def test_nyanja_is_spelt_the_other_way_too_and_accents_are_dropped_now_and_then():
    rng = random.Random(4)
    nyanja = {build.varied("Chifukwa dziko", "ny", rng) for _ in range(100)}
    assert nyanja == {"Chifukwa dziko", "Cifukwa ziko"}
    assert {build.varied("Ọmọ", "yo", rng) for _ in range(200)} == {"Ọmọ", "Omo"}
    assert {build.varied("किताब", "hi", rng) for _ in range(200)} == {"किताब"}
