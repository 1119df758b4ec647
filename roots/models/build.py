"""Makes models/langid.ftz: `python -m roots.models.build CORPUS CASES OUTPUT`.

CORPUS  a folder of sources with a MANIFEST.csv (source, language, kind, file, licence), documents as JSON
lines CASES   a folder with gatitos_phrases.tsv.gz, ud_yoruba.tsv and the sets that are kept for scoring

Run it once per model that the project adopts, never at run time. Needs the package stopwordsiso. The lines
that it trains on are the same each time, the model is not (see roots.langid.train).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import stopwordsiso
import zstandard

from roots import langid

SEED = 20
SCORING = ("shared_corpus_lines.tsv", "tatoeba_laser.tsv", "za_lid_dev.tsv")  # never trained on
# Prose, speech, stories, verse and sentences; not user interfaces, mark-up or raw pages.
KINDS = {
    "book", "code", "legal", "news", "news_sentences", "poetry", "religious", "sentence_list", "speech",
    "story", "treebank_text", "wikipedia",
}  # fmt: skip
INTERFACES_TOO = {"fon", "ig", "rn", "tum", "tw"}  # with so little other text that user interfaces help
# Manuals of one thing in many languages, some by machine: what they share, commands and code, then speaks for
# no language. Trained on in English only, they made every manual English; left out, Vietnamese or code.
MANUALS = {"web_docs", "web_docs_mt"}
# Sanskrit in Telugu script; Hindi verse in old dialects; books half of which are in English.
UNLIKE = {
    "lm_indic-te_wikisource", "lm_indic-hi_ltrc_classical", "lm_vi_d2l_book", "lm_es_electron_docs",
    "lm_fr_electron_docs", "lm_pt_electron_docs", "lm_id_python_docs",
}  # fmt: skip
PIECES = 9_000  # lines of a language at most
MANUAL_PIECES = 2_000  # lines of its manuals at most
PIECES_MIN = 5_000  # a language with less text is shown other cuts of the same
PHRASES, JOINED = 2_000, 2_500  # of a language of the phrase list: phrases, and lines of several phrases
STOPWORD_LINES = 4_000  # of a language that is known by its stop words only
# Stop words of Malay and Galician are mostly words of Indonesian and Portuguese; Cantonese is written much as
# zh is.
TOO_NEAR = {"ms", "gl", "yue"}


def main(corpus: Path, cases: Path, output: Path) -> None:
    rng = random.Random(SEED)
    lines = list(examples(corpus, cases, rng))
    rng.shuffle(lines)
    print(langid.train(lines, output, langid.Options()))


def examples(corpus: Path, cases: Path, rng: random.Random) -> Iterator[tuple[str, str]]:
    """The labelled lines: texts of the corpus, phrases, and stop words of further languages."""
    held = held_out(cases)
    phrases = defaultdict(list)
    for language, phrase in langid.read_labelled(cases / "gatitos_phrases.tsv.gz"):
        if squeezed(phrase) not in held:
            phrases[language].append(phrase)
    texts, manuals = documents(corpus, held)
    texts["yo"] += [text for _, text in langid.read_labelled(cases / "ud_yoruba.tsv")]
    for language in sorted((set(texts) | set(phrases)) - TOO_NEAR):
        own = pieces(texts[language], PIECES, rng) if language in texts else []
        own += pieces(manuals[language], MANUAL_PIECES, rng) if language in manuals else []
        yield from ((label(language), piece) for piece in own)
        words = phrases[language]
        yield from ((label(language), phrase) for phrase in rng.sample(words, min(len(words), PHRASES)))
        yield from ((label(language), joined(words, 10, rng)) for _ in range(JOINED if words else 0))
    for language in sorted(stopwordsiso.langs() - set(texts) - set(phrases) - TOO_NEAR - {"zh"}):
        words = sorted(stopwordsiso.stopwords(language))
        yield from ((language, joined(words, 16, rng)) for _ in range(STOPWORD_LINES))


def label(language: str) -> str:
    """One label for both Chinese ones: `langid.identify` tells them apart by their letters."""
    return "zh" if language in ("zhs", "zht") else language


def held_out(cases: Path) -> set[str]:
    return {squeezed(text) for name in SCORING for _, text in langid.read_labelled(cases / name)}


def squeezed(text: str) -> str:
    return " ".join(text.split())


def documents(corpus: Path, held: set[str]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The lines of texts, and of manuals, by short code; none held out, none for non-commercial use only."""
    texts: dict[str, list[str]] = defaultdict(list)
    manuals: dict[str, list[str]] = defaultdict(list)
    with (corpus / "MANIFEST.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            code = row["language"].split("-")[-1] if not row["language"].startswith("code") else "code"
            kind = "interface" if row["kind"] == "ui_messages" and code in INTERFACES_TOO else row["kind"]
            wanted = kind in KINDS | MANUALS | {"interface"}
            if wanted and row["source"] not in UNLIKE and not row["licence"].startswith("CC BY-NC"):
                lines = manuals[code] if kind in MANUALS else texts[code]
                lines += usable_lines(corpus / row["file"], held)
    return texts, manuals


def usable_lines(path: Path, held: set[str]) -> Iterator[str]:
    opener = gzip.open if path.suffix == ".gz" else zstandard.open
    with opener(path) as file, io.TextIOWrapper(file, "utf-8", newline="\n") as records:
        for record in map(json.loads, records):
            if "NC" in record["meta"].get("licence", ""):
                continue
            for line in record["text"].splitlines():
                text = squeezed(re.sub(r"^[#\s]+", "", line))
                if sum(c.isalpha() for c in text) >= 3 and not is_held(text, held):
                    yield text


def is_held(text: str, held: set[str]) -> bool:
    """Whether the line or one of its sentences is a scoring line."""
    return text in held or any(part.strip() in held for part in re.split(r"(?<=[.!?।。！？])", text))


def pieces(lines: list[str], count: int, rng: random.Random) -> list[str]:
    """Cuts of 1 to 30 words (5 to 120 letters where there are no spaces) from lines drawn evenly."""
    wanted = min(count, max(PIECES_MIN, len(lines)))  # few lines are drawn again and again, each time cut anew
    drawn = rng.sample(lines, wanted) if len(lines) >= wanted else rng.choices(lines, k=wanted)
    return [cut(line, rng) for line in drawn]


def cut(line: str, rng: random.Random) -> str:
    words, join = (line.split(" "), " ") if line.count(" ") * 12 > len(line) else (list(line), "")
    longest = 30 if join else 120
    length = rng.choice((longest // 8, longest // 3, longest, longest))  # short and long ones, as documents are
    start = rng.randrange(max(1, len(words) - length + 1))
    return join.join(words[start : start + length])


def joined(words: list[str], longest: int, rng: random.Random) -> str:
    return " ".join(rng.choices(words, k=rng.randint(3, longest)))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit("python -m roots.models.build CORPUS CASES OUTPUT")
    main(*(Path(argument) for argument in sys.argv[1:]))
