"""The sample is what its tables say: each claim is recomputed in plain Python, without the code it tests."""

from __future__ import annotations

import csv
import functools
import gzip
import ipaddress
import itertools
import json
import math
import re
import string
import tomllib
import unicodedata
from collections import Counter, defaultdict
from importlib import resources
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import zstandard

from roots import languages, stopwords

SAMPLE = Path(str(resources.files("roots.sample")))
SOURCES = SAMPLE / "sources"
REASONS = {
    "ingest": {
        "invalid_json", "invalid_utf8", "missing_text", "null_text", "text_not_a_string", "blank_line",
        "lone_surrogate",
    },
    "clean": {
        "duplicate_url", "duplicate_document", "empty_text", "too_few_bytes", "wiki_user_page",
        "wiki_non_text",
    },
    "annotate": {
        "too_few_words", "repeated_characters", "repeated_words", "too_many_special_characters",
        "too_few_stopwords", "wrong_language",
    },
    "dedup": {"exact_duplicate", "near_duplicate"},
}  # fmt: skip
RESERVED = re.compile(r"(example\.(org|net|com)|[\w.-]+\.test)")  # RFC 2606
KEYS = ("nw47kx81rt05hb62vq93jd18", "Zk4Qm7Rp2Lx9Tv5Wb8Hn3Jc6")  # made up
DATA = re.compile(r"[\w.]+@example\.\w+|[\w.]+@\w+\.test|2001:db8::\w+|\d+(?:\.\d+){3}|@\w{3,}|" + "|".join(KEYS))
DOCUMENTATION = [  # RFC 5737 and 3849
    ipaddress.ip_network(n) for n in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
]


def table(name: str) -> list[dict[str, str]]:
    with (SAMPLE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@functools.cache
def expected() -> dict[str, dict[str, str]]:
    return {row["id"]: row for row in table("expected.tsv")}


@functools.cache
def records() -> dict[str, tuple[str | None, dict, bytes]]:
    """id -> text (None where a line is broken), metadata, raw line."""
    found = {}
    for path in sorted(SOURCES.rglob("*")):
        if path.is_file():
            for number, record in enumerate(read(path)):
                found[f"{path.parent.name}/{path.name}:{number}"] = record
    return found


def read(path: Path) -> list[tuple[str | None, dict, bytes]]:
    if path.suffix == ".parquet":
        return [(row["text"], {}, b"") for row in pq.read_table(path, page_checksum_verification=True).to_pylist()]
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return [(row["text"], {}, b"") for row in csv.DictReader(file)]
    if path.suffix == ".txt":
        return [(path.read_bytes().decode(), {}, b"")]
    raw = path.read_bytes()
    if path.suffix == ".gz":
        raw = gzip.decompress(raw)
    elif path.suffix == ".zst":
        raw = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True).read()
    assert raw.endswith(b"\n")
    return [parse(line) for line in raw.removeprefix(b"\xef\xbb\xbf")[:-1].split(b"\n")]


def parse(line: bytes) -> tuple[str | None, dict, bytes]:
    try:
        record = json.loads(line.decode())
        record["text"].encode()
    except (ValueError, KeyError, AttributeError):
        return None, {}, line
    return record["text"], record.get("meta", {}), line


@functools.cache
def final() -> dict[str, str]:
    """id -> the text as it must end, of kept documents."""
    lines = (SAMPLE / "expected_text.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    changed = {row["id"]: row["text"] for row in map(json.loads, lines)}
    kept = [identity for identity, row in expected().items() if row["outcome"] == "kept"]
    assert set(changed) <= set(kept)
    return {identity: changed.get(identity) or records()[identity][0] or "" for identity in kept}


@functools.cache
def cleaned() -> dict[str, tuple[str, str]]:
    """id -> (text after cleaning, reason of a removal or "") of every document."""
    found = {identity: (text, "") for identity, (text, *_) in records().items() if text is not None}
    for row in table("recipes.tsv"):
        for step in row["steps"].split():
            live = {i: t for i, (t, reason) in found.items() if source(i) == row["source"] and not reason}
            found |= apply(step, live)
    return found


def source(identity: str) -> str:
    return identity.split("/")[0]


def language(identity: str) -> str:
    return source(identity).split("_")[1]


# The cleaning steps, each on the live documents of one source


def apply(step: str, docs: dict[str, str]) -> dict[str, tuple[str, str]]:
    meta = {identity: records()[identity][1] for identity in docs}
    if step.startswith("filter_small_docs_bytes_"):
        size = int(step.rsplit("_", 1)[1])
        return {i: (t, "" if len(t.encode()) >= size else "too_few_bytes") for i, t in docs.items()}
    if step == "filter_remove_empty_docs":
        return {i: (t, "" if t.strip() else "empty_text") for i, t in docs.items()}
    if step == "filter_wiki_user_titles":
        return {i: (t, "wiki_user_page" if meta[i]["title"].startswith("User ") else "") for i, t in docs.items()}
    if step == "filter_wiki_non_text_type":
        return {i: (t, "" if meta[i]["type"] == "text" else "wiki_non_text") for i, t in docs.items()}
    if step == "dedup_document_on_url":
        return first_kept(docs, {i: m["url"].split("?")[0] for i, m in meta.items()}, "duplicate_url")
    if step == "dedup_document":
        return first_kept(docs, {i: text_key(t) for i, t in docs.items()}, "duplicate_document")
    if step in ("dedup_template_soft", "dedup_pseudocrawl_newspapers"):
        return rare_lines(docs, *((15, 10) if step == "dedup_template_soft" else (0, 2)))
    if step == "remove_lines_with_code":
        marks = ("{", "}", "[if", "<script")
        return {
            i: ("\n".join(s for s in t.split("\n") if not any(mark in s for mark in marks)), "")
            for i, t in docs.items()
        }
    assert step == "replace_newline_with_space"
    return {i: (t.replace("\n", " "), "") for i, t in docs.items()}


def text_key(text: str) -> str:
    return "".join(c for c in text if not c.isspace() and not c.isdecimal() and c not in string.punctuation)


def first_kept(docs: dict[str, str], keys: dict[str, str], reason: str) -> dict[str, tuple[str, str]]:
    seen: dict[str, str] = {}
    return {i: (t, "" if seen.setdefault(keys[i], i) == i else reason) for i, t in docs.items()}


def rare_lines(docs: dict[str, str], chars_min: int, count_min: int) -> dict[str, tuple[str, str]]:
    lines = {i: [line.strip() for line in t.split("\n")] for i, t in docs.items()}
    count = Counter(line for part in lines.values() for line in part if len(line) >= chars_min)
    return {i: ("\n".join(s for s in part if count[s] < count_min), "") for i, part in lines.items()}


# The measures that need no word list


def words(text: str) -> list[str]:
    special = "".join(stopwords.special_characters())
    return [w for w in (w.strip(special) for w in re.split("[ \n\t]", text)) if w]


def han(text: str) -> list[str]:
    return [c for c in text if "\u4e00" <= c <= "\u9fff"]


def verdict(identity: str, text: str) -> str:
    """The first of the four limits that a text fails, or ""."""
    limits = recipe()["limits"].get(language(identity))
    if limits is None:
        return ""
    measures = recipe()["measures"]
    ngrams = measures.get(language(identity), measures["default"])
    tokens = han(text) if language(identity) == "zhs" else words(text)
    if not limits["word_count_min"] <= len(tokens) <= limits["word_count_max"]:
        return "too_few_words"
    if character_repetition(text, ngrams["char_ngram"]) > limits["char_repetition_ratio_max"]:
        return "repeated_characters"
    if word_repetition(tokens, ngrams["word_ngram"]) > limits["word_repetition_ratio_max"]:
        return "repeated_words"
    special = sum(c in stopwords.special_characters() for c in text) / len(text)
    return "too_many_special_characters" if special > limits["special_char_ratio_max"] else ""


@functools.cache
def recipe() -> dict:
    path = resources.files("pipelines.recipes") / "base.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))["quality"]


def character_repetition(text: str, n: int) -> float:
    counts = sorted(Counter(text[i : i + n] for i in range(len(text) - n + 1)).values(), reverse=True)
    k = min(math.isqrt(len(counts)), len(counts) - counts.count(1))
    return sum(counts[:k]) / max(1, sum(counts))


def word_repetition(tokens: list[str], n: int) -> float:
    lower = [token.lower() for token in tokens]
    counts = Counter(tuple(lower[i : i + n]) for i in range(len(lower) - n + 1))
    return sum(c for c in counts.values() if c > 1) / max(1, sum(counts.values()))


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    """Runs of five tokens: words of letters, marks, numbers and connectors; a Chinese character is a word."""
    kept = ((f" {c} " if han(c) else c) if unicodedata.category(c)[0] in "LMN" or c == "_" else " " for c in text)
    tokens = "".join(kept).lower().split()
    return frozenset(zip(*(tokens[i:] for i in range(5)), strict=False))


def jaccard(a: frozenset, b: frozenset) -> float:
    return len(a & b) / len(a | b)


# The tables


def test_every_record_is_listed_once_and_in_order() -> None:
    rows = table("expected.tsv")
    assert [row["id"] for row in rows] == list(records())
    assert all(row["source"] == source(row["id"]) for row in rows)


def test_outcomes_stages_and_reasons_are_known_and_all_reasons_occur() -> None:
    found = defaultdict(set)
    for row in expected().values():
        outcome = {"": "kept", "ingest": "rejected"}.get(row["stage"], "removed")
        assert row["outcome"] == outcome
        assert bool(row["reason"]) == bool(row["stage"])
        assert bool(row["witness"]) == (row["stage"] == "dedup")
        found[row["stage"]].add(row["reason"])
    assert dict(found) == {"": {""}, **REASONS}


def test_at_least_24_languages_with_kept_documents_are_there() -> None:
    codes = {language(identity) for identity in final()}
    assert len(codes - {"code"}) == 28
    assert codes <= set(languages.codes())


# Ingest


@pytest.mark.parametrize(
    ("reason", "starts"),
    [
        ("invalid_json", [b"this line is", b'{"text": "the line']),
        ("invalid_utf8", [b'{"text": "not UTF-8: \xff']),
        ("missing_text", [b'{"txt"']),
        ("null_text", [b'{"text": null']),
        ("text_not_a_string", [b'{"text": 42', b'{"text": ["a"']),
        ("blank_line", [b"", b"  \t "]),
        ("lone_surrogate", [b'{"text": "half a pair: \\ud800']),
    ],
)
def test_a_rejected_line_is_broken_as_its_reason_says(reason: str, starts: list[bytes]) -> None:
    lines = [records()[i][2] for i, row in expected().items() if row["reason"] == reason]
    assert len(lines) == len(starts)
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True))


def test_only_listed_lines_are_broken() -> None:
    broken = {identity for identity, (text, *_) in records().items() if text is None}
    assert broken == {i for i, row in expected().items() if row["outcome"] == "rejected"}


def test_every_format_is_there() -> None:
    endings = {"".join(path.suffixes) for path in SOURCES.rglob("part-*")}
    assert endings == {".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet", ".csv", ".txt"}
    members = (SOURCES / "lm_en_small_essays/part-00000.jsonl.gz").read_bytes()
    assert members.count(b"\x1f\x8b\x08\x00\x00\x00\x00\x00") == 2  # two members, both of time 0
    assert (SOURCES / "lm_en_records_broken/part-00001.jsonl").read_bytes().startswith(b"\xef\xbb\xbf")
    assert sum("\u2028" in (text or "") for text, *_ in records().values()) == 1


# Clean


def test_the_cleaning_steps_remove_what_is_listed_and_nothing_else() -> None:
    listed = {i: row["reason"] for i, row in expected().items() if row["stage"] == "clean"}
    assert {i: reason for i, (_, reason) in cleaned().items() if reason} == listed


def test_cleaning_leaves_the_listed_texts() -> None:
    steps = {row["source"] for row in table("recipes.tsv")}
    found = {i: cleaned()[i][0] for i in final() if source(i) in steps and "PI:" not in final()[i]}
    assert found == {i: final()[i] for i in found}


# Annotate


def test_junk_fails_the_limit_that_is_named_and_none_before_it() -> None:
    rows = {i: row["reason"] for i, row in expected().items() if row["stage"] == "annotate"}
    later = {"too_few_stopwords", "wrong_language"}
    assert {i: verdict(i, cleaned()[i][0]) for i in rows} == {i: "" if r in later else r for i, r in rows.items()}


def test_documents_that_reach_dedup_are_within_the_limits() -> None:
    reach = [i for i, row in expected().items() if row["stage"] in ("", "dedup")]
    assert {i: verdict(i, cleaned()[i][0]) for i in reach} == dict.fromkeys(reach, "")


# Dedup


def test_exact_duplicates_have_the_bytes_of_their_witness_and_near_ones_do_not() -> None:
    for identity, row in expected().items():
        if row["stage"] == "dedup":
            same = cleaned()[identity][0] == cleaned()[row["witness"]][0]
            assert same == (row["reason"] == "exact_duplicate"), identity


def test_a_witness_is_kept_and_is_the_longest_and_of_copies_the_first() -> None:
    place = {identity: n for n, identity in enumerate(expected())}
    for identity, row in expected().items():
        if row["witness"]:
            assert expected()[row["witness"]]["outcome"] == "kept"
            length, first = (len(cleaned()[i][0].encode()) for i in (identity, row["witness"]))
            assert (-first, place[row["witness"]]) < (-length, place[identity])


def test_near_duplicates_are_clearly_near() -> None:
    near = {i: row["witness"] for i, row in expected().items() if row["reason"] == "near_duplicate"}
    similarity = {i: jaccard(shingles(cleaned()[i][0]), shingles(cleaned()[w][0])) for i, w in near.items()}
    assert min(similarity.values()) > 0.87
    assert max(similarity.values()) < 1


def test_kept_documents_are_clearly_distinct_and_only_decoys_share_passages() -> None:
    sets = {identity: shingles(cleaned()[identity][0]) for identity in final()}
    holders = defaultdict(list)
    for identity, found in sets.items():
        for shingle in found:
            holders[shingle].append(identity)
    pairs = {pair for ids in holders.values() for pair in itertools.combinations(ids, 2)}
    close = {(a, b): jaccard(sets[a], sets[b]) for a, b in pairs if jaccard(sets[a], sets[b]) > 0.1}
    assert all("decoy" in expected()[a]["note"] + expected()[b]["note"] for a, b in close)
    assert len(close) == 5
    assert max(close.values()) < 0.5


# Redact


def test_personal_data_is_invented() -> None:
    for text in (*(t for t, *_ in records().values() if t), *final().values()):
        for domain in re.findall(r"[\w.+-]+@([\w-]+(?:\.[\w-]+)+)", text):
            assert RESERVED.fullmatch(domain.rstrip(".")), domain
        for address in re.findall(r"\b\d{1,3}(?:\.\d{1,3}){3}\b|\b[0-9a-f]+(?::[0-9a-f]*){3,}", text):
            assert any(ipaddress.ip_address(address) in network for network in DOCUMENTATION), address


def test_redaction_replaces_the_listed_data_and_nothing_around_it() -> None:
    found = {i: DATA.sub(lambda m: f"PI:{tag(m.group())}", cleaned()[i][0]) for i, t in final().items() if "PI:" in t}
    assert found == {i: final()[i] for i in found}
    assert Counter(re.findall(r"PI:\w+", " ".join(final().values()))) == {
        "PI:EMAIL": 8,
        "PI:IP_ADDRESS": 5,
        "PI:KEY": 2,
        "PI:USER": 5,
    }


def tag(found: str) -> str:
    if found.startswith("@"):
        return "USER"
    if "@" in found:
        return "EMAIL"
    return "IP_ADDRESS" if re.search(r"[.:]", found) else "KEY"


def test_what_stays_looks_like_nothing_to_redact() -> None:
    for identity, text in final().items():
        assert not re.search(r"@\w{2,}|\d{9}|\d{3,} \d{3,} \d{3,}|\d+\.\d+\.\d+\.\d+", text), identity


def test_prose_has_no_addresses_and_no_irregular_spaces() -> None:
    marks = ("http", "www", ".com", "href", "//")
    for identity, text in final().items():
        if language(identity) != "code":
            assert not [mark for mark in marks if mark in text], identity
            assert not re.search(r"  |\t| \n|\n |^\s|\s$|[\u00a0\u2000-\u200b\u202f\u3000]", text), identity


# Language identification


def test_the_labelled_sentences_cover_the_languages_and_stand_in_no_source() -> None:
    lines = [line.split("\t") for line in (SAMPLE / "langid.tsv").read_text(encoding="utf-8").splitlines()]
    shorts = {languages.short(language(identity)) for identity in final()} - {"code"}
    assert Counter(code for code, _ in lines) == dict.fromkeys(shorts, 12)
    assert len({sentence for _, sentence in lines}) == len(lines)
    everything = "\n".join(text for text, *_ in records().values() if text)
    assert not [sentence for _, sentence in lines if sentence in everything]
