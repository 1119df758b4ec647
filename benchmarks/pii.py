"""Personal data: speed, scores and linear time, beside Presidio's pattern recognisers on the same texts in one run.

    python -m benchmarks.pii speed FOLDER [--megabytes 8] [--peer PYTHON]     # FOLDER of sources in JSON Lines
    python -m benchmarks.pii score [--cases FOLDER] [--peer PYTHON]           # tables in Markdown, as in docs/pii.md
    python -m benchmarks.pii linear                                           # seconds as hostile texts double

PYTHON is an interpreter with presidio-analyzer, in an environment of its own (it brings spaCy). MB are megabytes of
UTF-8 text, per CPU second of one thread.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import zstandard

from benchmarks import pii_cases
from roots import pii

PEER_BYTES = 100_000  # of each source for Presidio, which is slow
PRESIDIO = {  # its names for our types
    "EMAIL_ADDRESS": "EMAIL",
    "IP_ADDRESS": "IP_ADDRESS",
    "IBAN_CODE": "IBAN",
    "CREDIT_CARD": "CREDIT_CARD",
    "PHONE_NUMBER": "PHONE",
    "CRYPTO": "CRYPTO",
    "MAC_ADDRESS": "MAC",
}
THRESHOLDS = (0.0, 0.35, 0.5, 0.9)  # of Presidio's score; the best for it is taken, type by type
DRAWS = 20  # texts of each template
HOSTILE = {  # a piece that each pattern begins to match again and again
    "CREDENTIALS": "://a:b",
    "EMAIL": "a.b@c.",
    "IBAN": "DE89 3704 ",
    "CREDIT_CARD": "4111 1111 ",
    "CRYPTO": "1A1zP1eP5QGefi2DMPTf",
    "NATIONAL_ID": "123-45-",
    "MAC": "00:1B:",
    "IP_ADDRESS": "1.1.1.1.",
    "PHONE": "tel +49 30 ",
    "KEY": "a1B2c3D4e5F6+",
    "USER": "@@a",
}

Found = set[tuple[int, int, int, str]]  # text, start, end in code points, type


def documents(folder: Path, size: int) -> Iterator[str]:
    """Texts of a source, at least `size` bytes if it has them."""
    for path in sorted(p for p in folder.iterdir() if ".jsonl" in p.name):
        for line in _lines(path):
            text = orjson.loads(line)["text"]
            size -= len(text.encode())
            yield text
            if size <= 0:
                return


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        if path.suffix == ".zst":
            yield from io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(file))
        elif path.suffix == ".gz":
            with gzip.open(file) as plain:
                yield from plain
        else:
            yield from file


def _seconds(texts: list[str], tags: Iterable[str], preset: str) -> tuple[float, Counter[str]]:
    """CPU seconds to find and redact, in batches as a stage has them; and what was found."""
    spent, tally = 0.0, Counter[str]()
    for start in range(0, len(texts), 1024):
        array = pa.array(texts[start : start + 1024], pa.string())
        began = time.process_time()
        spans = pii.find(array, tuple(tags), preset)
        pii.redact(array, spans)
        spent += time.process_time() - began
        tally.update(pii.tag_counts(spans))
    return spent, tally


def speed(folder: Path, megabytes: float, peer: str) -> None:
    _seconds(["@bob a@b.org 10.0.0.1 +49 30 901820 fe80::1 4111 1111 1111 1111 " + "a1B2" * 8], pii.TAGS, "default")
    total, spent, spent_code, code, sample, tally = 0.0, 0.0, 0.0, 0.0, [], Counter[str]()
    for source in sorted(path for path in folder.iterdir() if path.name.startswith("lm_")):
        texts = list(documents(source, int(megabytes * 1e6)))
        size = sum(len(text.encode()) for text in texts) / 1e6
        preset = pii.PRESETS["default"]
        is_code = source.name.startswith("lm_code_")
        seconds, counts = _seconds(texts, preset.code_tags if is_code else preset.tags, "default")
        total, spent, tally = total + size, spent + seconds, tally + counts
        code, spent_code = code + size * is_code, spent_code + seconds * is_code
        if peer and size > 1:
            sample += documents(source, PEER_BYTES)
    print(f"{total:.0f} MB, {sum(tally.values())} spans: {total / spent:.0f} MB/s", end="")
    print(
        f" (code {code / max(spent_code, 1e-9):.0f}, other {(total - code) / (spent - spent_code):.0f}); {dict(tally)}"
    )
    if peer:
        size = sum(len(text.encode()) for text in sample) / 1e6
        ours, _ = _seconds(sample, pii.TAGS, "default")
        theirs = _presidio(sample, peer)["seconds"]
        print(
            f"{size:.1f} MB: ours {size / ours:.0f} MB/s, Presidio {size / theirs:.2f} MB/s, ratio {theirs / ours:.0f}"
        )


def _presidio(texts: list[str], peer: str) -> dict:
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        file.write("".join(json.dumps(text) + "\n" for text in texts))
        file.flush()
        run = [peer, str(Path(__file__).parent / "pii_presidio.py"), file.name]
        return json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout)


def _ours(texts: list[str]) -> Found:
    array = pa.array(texts, pa.string())
    rows = pii.code_point_spans(array, pii.find(array)).to_pylist()
    return {(row["row"], row["start"], row["end"], row["type"]) for row in rows}


def _theirs(answer: dict, gold: Found) -> Found:
    """Presidio's spans, of each type those above the threshold that is best for its F1."""
    every = [
        (score, (row, start, end, PRESIDIO.get(kind, "NATIONAL_ID")))
        for row, spans in enumerate(answer["found"])
        for start, end, kind, score in spans
        if kind in PRESIDIO
        or kind.partition("_")[0] in ("US", "UK", "ES", "IN", "SG", "AU", "KR", "TH", "IT", "PL", "FI")
    ]
    chosen: Found = set()
    for tag in {span[3] for _, span in every}:
        wanted = {span for span in gold if span[3] == tag}
        sets = [{span for score, span in every if span[3] == tag and score >= low} for low in THRESHOLDS]
        chosen |= max(sets, key=lambda found: _f1(found, wanted))
    return chosen


def _f1(found: Found, gold: Found) -> float:
    return 2 * len(found & gold) / max(len(found) + len(gold), 1)


def _row(name: str, gold: Found, *systems: Found | None) -> str:
    cells = [name, str(len(gold))]
    for found in systems:
        if found is None:
            cells += ["", "", ""]
            continue
        right = len(found & gold)
        precision = f"{right / len(found):.3f}" if found else "–"
        recall = f"{right / len(gold):.3f}" if gold else "–"
        cells += [precision, recall, f"{_f1(found, gold):.3f}" if gold else "–"]
    return "| " + " | ".join(cells) + " |"


def score(cases: Path | None, peer: str) -> None:
    if cases:
        rows = [
            json.loads(line) for file in sorted(cases.glob("*.jsonl")) for line in file.read_text("utf-8").splitlines()
        ]
        names = PRESIDIO | {"US_SSN": "NATIONAL_ID"}
        gold = {
            (i, s["start"], s["end"], names[s["type"]])
            for i, row in enumerate(rows)
            for s in row["spans"]
            if s["type"] in names
        }
        print(f"\n## presidio-research's synthetic English, {len(rows)} texts\n")
        _by_type([row["text"] for row in rows], gold, peer)
    made = list(pii_cases.cases(DRAWS))
    texts, gold = [case.text for case in made], {(i, *span) for i, case in enumerate(made) for span in case.spans}
    languages = sorted({case.language for case in made})
    print(f"\n## Generated, {len(made)} texts in {len(languages)} languages\n")
    found = _by_type(texts, gold, peer)
    print("\n| language | spans | precision | recall | F1 | missed |")
    print("|---|---:|---:|---:|---:|---|")
    for language in languages:
        inside = {i for i, case in enumerate(made) if case.language == language}
        here, wanted = {s for s in found if s[0] in inside}, {s for s in gold if s[0] in inside}
        missed = ", ".join(f"{tag} {n}" for tag, n in sorted(Counter(s[3] for s in wanted - here).items()))
        print(f"{_row(language, wanted, here)} {missed} |")


def _by_type(texts: list[str], gold: Found, peer: str) -> Found:
    ours, theirs = _ours(texts), _theirs(_presidio(texts, peer), gold) if peer else None
    print("| type | spans | precision | recall | F1 |" + (" Presidio: precision | recall | F1 |" if peer else ""))
    print("|---|---:|---:|---:|---:|" + ("---:|---:|---:|" if peer else ""))
    for tag in pii.TAGS:
        wanted, mine = ({span for span in every if span[3] == tag} for every in (gold, ours))
        if wanted or mine:
            print(_row(tag, wanted, mine, *([{s for s in theirs if s[3] == tag}] if theirs is not None else [])))
    return ours


def linear() -> None:
    print(f"{'':12}" + "".join(f"{2**n * 64:>9} kB" for n in range(4)) + "   CPU seconds; the last to the one before")
    for tag, piece in HOSTILE.items():
        times = []
        for doublings in range(4):
            text = piece * (2**doublings * 64_000 // len(piece))
            times.append(min(_seconds([text], [tag], "default")[0] for _ in range(2)))
        print(f"{tag:12}" + "".join(f"{t:12.3f}" for t in times) + f"   {times[-1] / times[-2]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "score", "linear"])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--megabytes", type=float, default=8.0, help="of each source")
    parser.add_argument("--cases", type=Path, help="folder of labelled JSON Lines: text, spans")
    parser.add_argument("--peer", default="", help="interpreter that has presidio-analyzer")
    options = parser.parse_args()
    if options.what == "speed":
        if options.folder is None:
            parser.error("speed wants a FOLDER of sources")
        speed(options.folder, options.megabytes, options.peer)
    elif options.what == "score":
        score(options.cases, options.peer)
    else:
        linear()


if __name__ == "__main__":
    main()
