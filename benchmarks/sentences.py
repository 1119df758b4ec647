"""Sentences marked by people, put end to end: which boundaries do the rules find again, beside two libraries?

    PYTHONPATH=PEERS python -m benchmarks.sentences [../shared/corpus]

The lists of Common Voice, one sentence a line, in the languages that have one; lines that end in a mark count.
PEERS is a folder with blingfire and indic-nlp-library (`pip install --no-deps --target PEERS ...`); without it only we
run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pyarrow as pa

from pipelines import readers
from roots import segment

MARKS = ".!?।॥؟。！？…"
LINES_MAX = 4000  # of a language
PARAGRAPH = 10  # sentences put end to end
LANGUAGES = [
    "ar",
    "ca",
    "en",
    "es",
    "eu",
    "fr",
    "id",
    "pt",
    "vi",
    "zhs",
    "zht",
    "indic-bn",
    "indic-hi",
    "indic-ml",
    "indic-ta",
]


def sentence_lines(corpus: Path, language: str) -> Iterator[str]:
    for path in sorted((corpus / f"lm_{language}_common_voice_text").iterdir()):
        with readers.opened(path, path.name) as file:
            for record in file:
                yield from (line.strip() for line in orjson.loads(record)["text"].split("\n"))


def boundaries(sentences: list[str]) -> set[int]:
    """Where sentences end, counted in characters that are no white space."""
    places, end = set(), 0
    for sentence in sentences[:-1]:
        end += len("".join(sentence.split()))
        places.add(end)
    return places


def score(paragraphs: list[list[str]], split: Callable[[str], list[str]], joiner: str) -> tuple[float, float, float]:
    """Precision, recall, CPU seconds."""
    right = found = wanted = 0
    started = time.process_time()
    results = [split(joiner.join(paragraph)) for paragraph in paragraphs]
    seconds = time.process_time() - started
    for paragraph, result in zip(paragraphs, results, strict=True):
        gold, ours = boundaries(paragraph), boundaries(result)
        right, found, wanted = right + len(gold & ours), found + len(ours), wanted + len(gold)
    return right / max(1, found), right / max(1, wanted), seconds


def peers(language: str) -> dict[str, Callable[[str], list[str]]]:
    found: dict[str, Callable[[str], list[str]]] = {}
    try:
        import blingfire
        from indicnlp.tokenize import sentence_tokenize
    except ImportError:
        return found
    found["blingfire"] = lambda text: blingfire.text_to_sentences(text).split("\n")
    if language.startswith("indic-"):
        code = language.removeprefix("indic-")
        found["indic_nlp"] = lambda text: sentence_tokenize.sentence_split(text, lang=code)
    return found


def main(corpus: Path) -> None:
    print(f"{'language':<10} {'sentences':>9}  " + "  ".join(f"{name:^31}" for name in ("ours", "peers ...")))
    for language in LANGUAGES:
        lines = [line for line in sentence_lines(corpus, language) if line.rstrip('"”»’)」』').endswith(tuple(MARKS))]
        lines = lines[:: max(1, len(lines) // LINES_MAX)][:LINES_MAX]
        paragraphs = [lines[i : i + PARAGRAPH] for i in range(0, len(lines), PARAGRAPH)]
        joiner = "" if language.startswith("zh") else " "
        splitters = {
            "ours": lambda text, code=language: segment.sentences(pa.array([text]), code)[0].as_py().split("\n"),
            **peers(language),
        }
        segment.sentences(pa.array(["compile"]), language)
        cells = []
        for name, split in splitters.items():
            precision, recall, seconds = score(paragraphs, split, joiner)
            f1 = 2 * precision * recall / max(1e-9, precision + recall)
            cells.append(f"{name} P {precision:.3f} R {recall:.3f} F1 {f1:.3f} {seconds:6.2f} s")
        print(f"{language:<10} {len(lines):>9,}  " + "  ".join(cells), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/corpus"))
