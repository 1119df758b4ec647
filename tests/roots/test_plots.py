"""roots/plots.py: plots that are the same bytes each time."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from roots import plots

COUNTS = {"7": 120, "8": 400, "9": 1300, "11": 9100}


def labels(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_a_plot_is_well_formed_and_labels_sizes_and_counts():
    svg = plots.lengths(COUNTS)
    assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert labels(svg)[:6] == ["64 B", "128 B", "256 B", "512 B", "1 KiB", "2 KiB"]
    assert {"size of a document", "documents", "0", "8,000"} <= set(labels(svg))


def test_equal_counts_give_equal_bytes_in_any_order():
    assert plots.lengths(COUNTS) == plots.lengths(dict(reversed(COUNTS.items())))


def test_a_plot_tells_no_date_and_no_program():
    svg = plots.lengths(COUNTS)
    assert "dc:date" not in svg and "matplotlib.org" not in svg and "Matplotlib" not in svg


def test_other_counts_give_another_plot():
    assert plots.lengths(COUNTS) != plots.lengths(COUNTS | {"9": 1301})


def test_one_document_is_enough_and_many_bins_do_not_crowd():
    assert "1 B" in labels(plots.lengths({"1": 1}))
    assert sum("B" in label for label in labels(plots.lengths({"0": 1, "31": 1}))) <= plots.LABELS_MAX


def test_a_plot_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"plots.lengths: no documents; a plot needs at least one"):
        plots.lengths({})


def test_a_spread_shows_its_limits_and_equal_counts_give_equal_bytes():
    edges, documents = np.linspace(0, 1, 5), np.array([3, 0, 2, 1])
    limits = {"stopword_ratio_min": 0.25, "special_char_ratio_max": 0.4}
    drawn = plots.spread(edges, documents, False, limits)
    assert "min 0.25" in drawn and "max 0.4" in drawn and drawn == plots.spread(edges, documents, False, limits)
    assert drawn != plots.spread(edges, documents[::-1], False, limits)


def test_a_long_curve_is_that_of_the_means_of_neighbours():
    """0, 2, 0, 2 .. has means of 1: a level line; as it is, it has two heights."""

    def heights(values: np.ndarray) -> int:
        svg = plots.curve(np.arange(len(values)), values, "tokens", "nats")
        line = re.findall(r'<path d="([^"]*)"[^>]*stroke: #4477aa', svg, re.DOTALL)[-1]
        return len({point.split()[-1] for point in line.strip().splitlines()})

    assert heights(np.tile([0.0, 2.0], plots.POINTS_MAX)) == 1
    assert heights(np.tile([0.0, 2.0], plots.POINTS_MAX // 2)) == 2
