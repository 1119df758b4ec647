"""HTML to text: resiliparse (ours) beside trafilatura on the same pages: speed, size, and how far they agree.

    python -m benchmarks.html [../shared/corpus/pseudo_crawl_w3c_international/pages.warc.gz]

Agreement: words of the one's text that are in the other's (as multisets). `boilerplate`: how many lines of an extractor
stand on more than 10 pages and more than 1 % of them, which the next step deletes.
"""

from __future__ import annotations

import gzip
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import trafilatura

from pipelines import warc
from roots import html


def pages(path: Path) -> list[str]:
    with gzip.open(path) as file:
        responses = [
            warc.response(record.block or b"", 10**8)
            for record in warc.records(file, 10**8)  # type: ignore[arg-type]
            if record.kind == "response"
        ]
    found = [html.decoded(each.body, each.headers.get("content-type", "")) for each in responses]
    return [page for page in found if page is not None]


def frequent_lines(texts: list[str]) -> int:
    counts = Counter(line for text in texts for line in {line.strip() for line in text.split("\n")} if line)
    least = max(11, len(texts) // 100 + 1)
    return sum(count for count in counts.values() if count >= least)


def main(path: Path) -> None:
    given = pages(path)
    size = sum(len(page.encode()) for page in given)
    extractors: dict[str, Callable[[str], str]] = {
        "resiliparse": lambda page: html.texts(pa.array([page]))[0].as_py(),
        "trafilatura": lambda page: trafilatura.extract(page, include_comments=True) or "",
        "trafilatura fast": lambda page: trafilatura.extract(page, include_comments=True, fast=True) or "",
    }
    words: dict[str, Counter[tuple[int, str]]] = {}
    print(f"{len(given)} pages, {size / 1e6:.1f} MB")
    seconds = {}
    for name, extract in extractors.items():
        extract(given[0])
        started = time.process_time()
        texts = [extract(page) for page in given]
        seconds[name] = time.process_time() - started
        words[name] = Counter((i, word) for i, text in enumerate(texts) for word in text.split())
        print(
            f"{name:<17} {seconds[name]:6.2f} CPU s {size / 1e6 / seconds[name]:6.1f} MB/s   "
            f"{sum(len(text) for text in texts):>10,} characters   empty {sum(not text for text in texts):>3}   "
            f"boilerplate {frequent_lines(texts):,} lines"
        )
    print(f"resiliparse is {seconds['trafilatura'] / seconds['resiliparse']:.0f} times as fast")
    for one, other in (("resiliparse", "trafilatura"), ("trafilatura", "resiliparse")):
        share = (words[one] & words[other]).total() / words[one].total()
        print(f"{share:.1%} of the words of {one} are in {other}'s text of the page")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/corpus/pseudo_crawl_w3c_international/pages.warc.gz"))
