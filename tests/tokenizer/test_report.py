"""The report: figures counted by hand, every code point tried, and pages that no token can break."""

import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenizer import count, encode, learn, report, report_page, sample


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> encode.Encoder:
    """The bytes and one merge, `ab`: tokens can be counted by hand."""
    folder = tmp_path_factory.mktemp("plain")
    learn.save(learn.learn(count.of([pa.array(["abab"])]), 261).tokenizer(), folder)
    return encode.Encoder(folder)


def counted(*texts: str) -> tuple[count.Counts, report.Text]:
    text = pa.array(texts, pa.string())
    return count.of([text]), report.Text.of(text)


def test_a_row_counts_tokens_words_and_what_is_whole(plain):
    # ab | Ġab | Ġcd | . | ab : 1, 2, 3, 1, 1 tokens; words ab Ġab Ġcd ab, three of them distinct, one in one token
    row, used = report.measure("xx", counted("zz zz"), counted("ab ab cd.", "ab"), plain, 260)
    assert row == report.Row(
        language="xx",
        held_out=True,
        text=report.Text(documents=2, bytes=11, code_points=11, words=4),
        tokens=8,
        words=4,
        continued=2,
        types=3,
        whole=1,
        baseline=11,  # the bytes alone
        baseline_size=260,
    )
    assert row.fertility == 8 / 4
    assert row.bytes_per_token == row.code_points_per_token == 11 / 8
    assert (row.continued_ratio, row.whole_ratio) == (0.5, 1 / 3)
    assert row.excess == 8 / 11 - 1
    assert math.isnan(row.parity)
    assert used.sum() == 8 + 5
    assert used[260] == 3  # ab


def test_a_language_without_held_out_text_is_judged_on_what_it_gave(plain):
    row, used = report.measure("xx", counted("ab ab"), counted(), plain, 300)
    assert (row.held_out, row.tokens, row.text.documents, used.sum()) == (False, 3, 1, 3)
    assert row.baseline_size == 262  # ab, Ġab
    assert row.excess == 3 / 2 - 1


def test_a_tokenizer_that_the_library_encodes_is_measured_too(plain, tmp_path):
    found = json.loads(plain.path.read_text(encoding="utf-8"))
    found["normalizer"] = {"type": "Lowercase"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(found), encoding="utf-8")
    row, _ = report.measure("xx", counted("zz"), counted("AB ab"), encode.Encoder(tmp_path), 260)
    assert row.tokens == 3


@given(documents=st.lists(st.text(), max_size=5))
def test_words_and_code_points_are_those_of_python_and_parts_add_up(documents):
    text = pa.array(documents, pa.string())
    found = report.Text.of(text)
    separate = "".join(chr(c) for c in range(0x1C, 0x20))  # str.split takes these too, White_Space does not
    words = sum(len(d.translate({ord(c): "x" for c in separate}).split()) for d in documents)
    assert (found.code_points, found.words) == (sum(map(len, documents)), words)
    assert found == sum((report.Text.of(text[i : i + 1]) for i in range(len(text))), report.Text.zero())
    assert report.Text.from_json(found.to_json()) == found


def test_the_sum_of_rows_adds_counts_and_sizes(plain):
    a, _ = report.measure("a", counted("ab"), counted("ab ab"), plain, 260)
    b, _ = report.measure("b", counted("ab"), counted("cd"), plain, 260)
    both = report.total([a, b])
    assert (both.language, both.tokens, both.words, both.text.documents) == ("all", 3 + 2, 3, 2)
    assert report.Row.from_json(both.to_json()) == both


def test_every_code_point_comes_back_and_none_is_special(plain):
    facts = report.vocabulary(plain, np.zeros(261, np.int64))
    assert (facts.lost_points, facts.special_in_text, facts.unused, facts.size) == (0, 0, 257, 261)
    assert facts.partial == 128  # the bytes above ASCII, which are no characters by themselves


def test_code_points_that_do_not_come_back_are_counted(plain, tmp_path):
    found = json.loads(plain.path.read_text(encoding="utf-8"))
    found["normalizer"] = {"type": "Replace", "pattern": {"String": "é"}, "content": "e"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(found), encoding="utf-8")
    assert report.vocabulary(encode.Encoder(tmp_path), np.zeros(261, np.int64)).lost_points == 1


def test_special_ids_in_text_are_counted(plain):
    used = np.zeros(261, np.int64)
    used[2] = 7
    assert report.vocabulary(plain, used).special_in_text == 7


def test_addresses_and_long_tokens_are_found(tmp_path):
    text = "https://a " * 50 + "\n" + "=" * 70 + " wwwx"
    learn.save(learn.learn(count.of([pa.array([text, "=" * 70])]), 400).tokenizer(), tmp_path)
    encoder = encode.Encoder(tmp_path)
    facts = report.vocabulary(encoder, np.zeros(encoder.vocab_size, np.int64))
    assert b"https://a" in facts.url_like
    assert all(b"http" in token or b"://" in token or b"www" in token for token in facts.url_like)
    assert facts.long == (b"=" * 70,)


def pages(plain) -> dict[str, str]:
    rows = [report.measure("sw", counted("ab"), counted("ab cd"), plain, 300)[0]]
    rows.append(report.total(rows))
    facts = report.vocabulary(plain, np.zeros(261, np.int64))
    svg = report_page.plot(rows)
    about = report_page.About(
        name="test", sha256="f" * 64, slow_because="", notes=["a note"], counts_digest="e" * 64, pieces=3, settings={}
    )
    shares = {"lm_sw_a": sample.Share(language="sw", bytes=10, ratio=0.5)}
    return {
        "report.md": report_page.markdown(rows, facts, "report.svg"),
        "report.html": report_page.page(rows, facts, svg),
        "report.csv": report_page.table_csv(rows),
        "report.svg": svg,
        "README.md": report_page.card(about, rows, facts, shares),
        "sample.csv": report_page.sample_csv(shares),
    }


def test_the_pages_hold_the_same_figures(plain):
    found = pages(plain)
    line = "| sw | held out | 1 | 0.000 | 4 | 2.00 | 1.25 | 1.25 | 50.0% | 50.0% | 261 | 0.0% | – |"
    assert line in found["report.md"]
    assert "<tr><td>sw</td><td>held out</td><td>1</td><td>0.000</td><td>4</td><td>2.00</td>" in found["report.html"]
    assert "<svg" in found["report.html"]
    assert found["report.csv"].splitlines()[1] == (
        "sw,true,1,5,5,2,4,2,1,2,1,4,261,0,0,2.000000,1.250000,1.250000,0.500000,0.500000,0.000000,nan"
    )
    assert "| of all 1,112,064 code points, lost on the way to ids and back | 0 |" in found["report.md"]
    assert "- a note" in found["README.md"]
    assert "no language" in found["README.md"]
    assert found["sample.csv"] == "source,language,bytes,ratio\nlm_sw_a,sw,10,0.500000\n"
    assert pages(plain) == found


def test_a_plot_of_no_language_is_refused():
    with pytest.raises(ValueError, match=r"plots\.bars: no names; a plot needs at least one"):
        report_page.plot([])


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (b"a|b`c", "a\\u007cb\\u0060c"),
        (b"\n\xff", "\\u000a\\xff"),
        ("今天".encode(), "今天"),
        (b"x" * 61, "x" * 60 + "…"),
    ],
)
def test_a_token_never_breaks_the_table(token, shown):
    assert report_page.shown(token) == shown
