"""Quality of near-duplicate detection by threshold, on labelled sets: a table and a plot beside this file.

    python -m benchmarks.neardup ../shared/cases/neardup

A folder holds NAME.docs.jsonl.gz (id, text) and NAME.pairs.tsv (id_a, id_b, label, jaccard_word5). Where the label is
`computed` (or exact), the list has every pair of a Jaccard similarity of 0.4 or more: found pairs are held against it,
and ours against a brute force over all pairs. Other sets are two releases of the same texts: a pair is right if it
joins the releases of one text, however much that has changed, so recall tells how many releases are that near. Bands
are chosen for each threshold, recall_min 0.99. Ends with status 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pyarrow as pa

from roots import clusters, minhash, shingles, simhash

THRESHOLDS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
BAR, RECALL_MIN = 0.8, 0.99  # at that threshold the complete sets are found to this share, and nothing else
DISTANCES = (2, 4, 6)  # bits, of SimHash
HERE = Path(__file__).parent
Pairs = set[tuple[int, int]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, default=HERE, help="where neardup.md and neardup.svg go")
    options = parser.parse_args()
    rows, reached = [], True
    for path in sorted(options.folder.glob("*.pairs.tsv")):
        name = path.name.removesuffix(".pairs.tsv")
        text, labelled, complete = read(options.folder, name)
        for method, found_at, limits in methods(text, name.startswith("code")):
            for limit in limits:
                found = found_at(limit)
                true = {pair for pair, (_, jaccard) in labelled.items() if not complete or jaccard >= limit}
                if method == "minhash, words" and complete:
                    exact = brute_force(text, limit)
                    assert exact == true, f"{name}: the list and a brute force differ at {limit}"
                recall, precision = len(found & true) / len(true), len(found & true) / max(1, len(found))
                rows.append((name, complete, method, limit, len(true), len(found), recall, precision))
                if complete and method == "minhash, words" and limit == BAR:
                    reached &= recall >= RECALL_MIN and precision == 1
    table = "\n".join(lines(rows)) + "\n"
    (options.output / "neardup.md").write_text(table, encoding="utf-8")
    plot(rows, options.output / "neardup.svg")
    print(table)
    print(f"{'reached' if reached else 'MISSED'}: recall {RECALL_MIN} and precision 1 at {BAR} on the complete sets")
    return 0 if reached else 1


def read(folder: Path, name: str) -> tuple[pa.StringArray, dict[tuple[int, int], tuple[str, float]], bool]:
    """The texts; (row, row) -> (label, Jaccard) of the listed pairs; whether the list is complete."""
    with gzip.open(folder / f"{name}.docs.jsonl.gz", "rt", encoding="utf-8") as file:
        documents = [json.loads(line) for line in file]
    row = {document["id"]: place for place, document in enumerate(documents)}
    labelled = {}
    with (folder / f"{name}.pairs.tsv").open(encoding="utf-8") as file:
        for pair in csv.DictReader(file, delimiter="\t"):
            a, b = sorted((row[pair["id_a"]], row[pair["id_b"]]))
            labelled[a, b] = (pair["label"], float(pair["jaccard_word5"]))
    complete = {label for label, _ in labelled.values()} <= {"computed", "exact"}
    return pa.array([document["text"] for document in documents]), labelled, complete


def methods(text: pa.StringArray, code: bool) -> Iterator[tuple[str, Callable[[float], Pairs], tuple[float, ...]]]:
    yield "minhash, words", lambda limit: found(text, compared(limit, 5, "words")), THRESHOLDS
    if code:
        yield "minhash, code", lambda limit: found(text, compared(limit, 7, "code")), THRESHOLDS
    simhashes = {1 - distance / simhash.BITS: distance for distance in DISTANCES}
    yield (
        "simhash",
        lambda limit: found(
            text, simhash.Comparison(unit="character", distance_max=simhashes[limit], blocks=simhashes[limit] + 2)
        ),
        tuple(simhashes),
    )


def compared(threshold: float, ngram: int, unit: str) -> minhash.Comparison:
    bands, rows = minhash.bands_and_rows(128, threshold, RECALL_MIN)
    return minhash.Comparison(
        num_perm=128, seed=1, ngram=ngram, unit=unit, bands=bands, rows=rows, similarity_min=threshold
    )


def found(text: pa.StringArray, by: minhash.Comparison | simhash.Comparison) -> Pairs:
    """The pairs that meet under a key and are near enough: what the pipeline verifies."""
    keys = by.keys(text)
    docs = np.repeat(np.arange(len(text)), keys.shape[1])
    pairs = clusters.candidate_pairs(keys.ravel(), docs, bucket_max=len(text))
    near = by.similarity(*by.features(text), pairs) >= by.similarity_min
    return {(int(a), int(b)) for a, b in pairs[near]}


def brute_force(text: pa.StringArray, threshold: float) -> Pairs:
    pairs = np.array(list(itertools.combinations(range(len(text)), 2)))
    near = np.round(shingles.pair_jaccard(*shingles.sets(text, 5), pairs), 4) >= threshold  # the list has four decimals
    return {(int(a), int(b)) for a, b in pairs[near]}


def lines(rows: list[tuple]) -> Iterator[str]:
    yield "# Near duplicates by threshold"
    yield ""
    yield "Written by `python -m benchmarks.neardup ../shared/cases/neardup`; its first lines say what the numbers are."
    yield "The threshold is a Jaccard similarity of shingles (words: 5; code: 7 tokens), or a share of equal bits."
    for name, group in itertools.groupby(rows, key=lambda row: row[0]):
        yield ""
        listed = list(group)
        what = "every pair at the threshold or above" if listed[0][1] else "two releases of the same texts"
        yield f"## {name}: {what}"
        yield ""
        yield "| method | threshold | true pairs | found | recall | precision |"
        yield "| --- | --- | --- | --- | --- | --- |"
        for _, _, method, limit, true, count, recall, precision in listed:
            yield f"| {method} | {limit:.3f} | {true} | {count} | {recall:.3f} | {precision:.3f} |"


def plot(rows: list[tuple], path: Path) -> None:
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "roots"
    from matplotlib import pyplot

    names = sorted({row[0] for row in rows})
    figure, axes = pyplot.subplots(1, len(names), figsize=(4 * len(names), 3.2), sharey=True)
    for axis, name in zip(np.atleast_1d(axes), names, strict=True):
        for method in ("minhash, words", "minhash, code"):
            of = [row for row in rows if row[0] == name and row[2] == method]
            if of:
                limits = [row[3] for row in of]
                [line] = axis.plot(limits, [row[6] for row in of], marker="o", label=f"recall, {method}")
                axis.plot(limits, [row[7] for row in of], "--", color=line.get_color(), label="precision")
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("threshold")
        axis.set_ylim(0, 1.05)
        axis.legend(fontsize=7, loc="lower left")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    sys.exit(main())
