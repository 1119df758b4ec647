"""What limits do to measured documents, on tables small enough to count by hand."""

import numpy as np
import pyarrow as pa
import pytest

from roots import quality, schema, tuning


def table(**columns) -> pa.Table:
    rows = max(map(len, columns.values()))
    ids = [f"d{i}" for i in range(rows)]
    return pa.table(
        {"id": ids} | {f.name: pa.array(columns.get(f.name, [None] * rows), f.type) for f in schema.MEASURES}
    )


def test_a_spread_counts_every_measured_document_once():
    ratios, words = tuning.spreads(table(char_repetition_ratio=[0.0, 0.5, 1.0, None], word_count=[0, 1, 100, 7]))[::-1]
    assert (ratios.name, ratios.measured, ratios.documents.sum()) == ("char_repetition_ratio", 3, 3)
    assert ratios.documents[0] == 1 and ratios.documents[30] == 1 and ratios.documents[-1] == 1
    assert (words.name, words.measured, words.documents.sum()) == ("word_count", 4, 4)
    assert words.documents[0] == 1 and words.documents[1] == 1 and words.documents[-1] == 1


def test_a_measure_that_no_document_has_has_no_spread():
    assert [spread.name for spread in tuning.spreads(table(word_count=[3]))] == ["word_count"]


def test_quantiles_are_values_that_documents_have():
    (spread,) = tuning.spreads(table(word_count=list(range(1001))))
    assert spread.quantiles.tolist() == [1, 10, 50, 250, 500, 750, 950, 990, 999]


def test_a_limit_removes_alone_and_after_the_earlier_ones():
    measures = table(word_count=[1, 2, 50, 60, 70], special_char_ratio=[0.9, 0.1, 0.9, 0.41, 0.4])
    limits = quality.Limits(word_count_min=10, special_char_ratio_max=0.4)
    words, special = tuning.cuts(measures, limits, 5)
    assert (words.limit, words.value, words.removed, words.first) == ("word_count_min", 10, 2, 2)
    assert (special.limit, special.removed, special.first) == ("special_char_ratio_max", 3, 2)
    assert special.border == ((3, 0, 2), (4, 1)) and words.border == ((1, 0), (2, 3, 4))


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0]])
def test_of_documents_equally_near_a_border_the_lower_id_is_shown(order):
    measures = table(word_count=[9, 9, 9, 12]).take(pa.array(order))
    (cut,) = tuning.cuts(measures, quality.Limits(word_count_min=10), 2)
    assert [measures["id"][row].as_py() for row in cut.border[0]] == ["d0", "d1"]


def test_a_document_without_the_measure_stands_on_neither_side():
    (cut,) = tuning.cuts(table(stopword_ratio=[None, 0.1, 0.5]), quality.Limits(stopword_ratio_min=0.2), 5)
    assert cut.removed == 1 and cut.border == ((1,), (2,))
    assert tuning.cuts(table(word_count=[1]), quality.Limits(), 5) == []
    assert np.isfinite(tuning.spreads(table(word_count=[0]))[0].edges).all()
