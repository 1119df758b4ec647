import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from roots import substring

SIZE = 18  # of a window in most tests: short, so that small texts have repeats
PIECES = st.sampled_from(
    [
        "the rain came late, ",
        "and the rain came hard; ",
        "aaaaaaaaaaaaaaaaaaaaaaaa",
        "ab" * 11,
        "我们没有去市场，",
        "é👍x",
        "\n",
    ]
)
TEXTS = st.lists(st.lists(PIECES, max_size=8).map("".join), max_size=5)


def repeated(texts, size):
    """(row, start) of each window that has occurred before, by a dictionary of all windows."""
    seen, found = set(), []
    for row, text in enumerate(texts):
        data = text.encode()
        for start in range(len(data) - size + 1):
            window = data[start : start + size]
            if window in seen:
                found.append((row, start))
            seen.add(window)
    return found


def covered(texts, windows, size):
    """Spans of whole code points that windows cover, byte by byte."""
    out = []
    for row, text in enumerate(texts):
        data = text.encode()
        marks = [False] * len(data)
        for of, start in windows:
            if of == row:
                marks[start : start + size] = [True] * size
        place, bounds = 0, [0]
        for character in text:  # a code point counts where all its bytes do
            place += len(character.encode())
            bounds.append(place)
        begin = None
        for a, b in [*itertools.pairwise(bounds), (place, place)]:
            inside = a < b and all(marks[a:b])
            if inside and begin is None:
                begin = a
            if not inside and begin is not None:
                out.append((row, begin, a))
                begin = None
    return out


def found_in(texts, size):
    """The kernels put together as the pipeline does, on documents in memory."""
    text = pa.array(texts, pa.string())
    runs = substring.runs(text, size)
    often = {a for a, n in zip(*np.unique(runs.anchor, return_counts=True), strict=True) if n > 1}
    often |= set(runs.anchor[runs.several].tolist())
    wanted = np.array([a in often for a in runs.anchor.tolist()], bool)
    keys, row, start = substring.windows(text, substring.Runs(*(part[wanted] for part in runs)), size)
    _, first = np.unique(keys, axis=0, return_index=True)
    again = np.ones(len(row), bool)
    again[first] = False
    return list(zip(row[again].tolist(), start[again].tolist(), strict=True))


@settings(max_examples=80)
@given(TEXTS)
@example(["x" * 60])
@example(["ab" * 9, "ab" * 9, "ba" * 9])
@example(["q" + "ab" * 12, "", "ab" * 12 + "q"])
def test_repeated_windows_are_those_of_a_dictionary_of_all(texts):
    assert found_in(texts, SIZE) == repeated(texts, SIZE)


@settings(max_examples=80)
@given(TEXTS)
def test_spans_are_the_whole_code_points_under_repeated_windows(texts):
    windows = np.array(repeated(texts, SIZE), np.int64).reshape(-1, 2)
    text = pa.array(texts, pa.string())
    found = substring.spans(text, windows[:, 0].copy(), windows[:, 1].copy(), SIZE)
    spans = [(r, s, e) for r, s, e, _ in zip(*(part.tolist() for part in found), strict=True) if s < e]
    assert sorted(spans) == sorted(joined(covered(texts, windows.tolist(), SIZE), spans))
    left = substring.cut(text, found.row, found.start, found.end).to_pylist()
    for row, document in enumerate(texts):
        data = document.encode()
        for _, start, end in reversed([span for span in spans if span[0] == row]):
            data = data[:start] + data[end:]
        assert left[row] == data.decode()


def joined(expected, spans):
    """Spans that only touch are one here and may be two there: compare the same way."""
    cuts = {(row, start) for row, start, _ in spans}
    out = []
    for row, start, end in expected:
        inner = sorted(s for r, s in cuts if r == row and start < s < end)
        out += [(row, a, b) for a, b in zip([start, *inner], [*inner, end], strict=True)]
    return out


def test_runs_hold_every_window_once_whatever_the_batch():
    texts = ["The well at the end of the village never ran dry. " * 3, "short", "", "é" * 40, "0123456789abcdefgh"]
    whole = substring.runs(pa.array(texts), SIZE)
    assert np.bincount(whole.row, whole.windows, len(texts)).tolist() == [
        max(0, len(text.encode()) - SIZE + 1) for text in texts
    ]
    sliced = substring.runs(pa.array(["unrelated", *texts])[1:], SIZE)
    assert all((a == b).all() for a, b in zip(whole, sliced, strict=True))


def test_the_default_threshold_is_sharp_to_the_byte():
    rest = ["".join(chr(97 + (k * k + n) % 26) for k in range(70)) for n in (0, 3)]
    shared = "shared text of fifty bytes, neither more nor less."
    assert len(shared) == 50
    assert found_in([rest[0] + shared, "!" + shared + rest[1]], 50) == [(1, 1)]
    assert found_in([rest[0] + shared[1:], "!" + shared[1:] + rest[1]], 50) == []


def test_a_window_below_an_anchor_is_refused():
    with pytest.raises(ValueError, match=r"bytes_min must be at least 16, got 15"):
        substring.runs(pa.array(["a"]), 15)
