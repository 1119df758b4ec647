"""The tokenizer's report as Markdown, HTML, CSV and a plot, and its card."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from roots import plots
from tokenizer import report, sample, spec

DASH = "–"
HEAD = (
    "language", "text", "documents", "MB", "tokens", "tokens/word", "bytes/token", "characters/token",
    "continued words", "words kept whole", "own tokenizer", "over own", "over English",
)  # fmt: skip
NOTES = (
    "text: held out of learning, or seen by it where a language has too few documents; such figures flatter.",
    "tokens/word: words between White_Space; for scripts without spaces (zh) look at characters/token instead.",
    "continued words: of all words, those of two tokens or more; kept whole: of the distinct words, those of one.",
    "own tokenizer: size of a vocabulary learned from this language alone; over own: how many more tokens the shared "
    f"one takes. Criterion: at most {report.EXCESS_MAX:.0%}. A small own vocabulary means little text.",
    "over English: tokens for one English token on documents that are translations of each other.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What the card says of how a tokenizer came about."""

    name: str
    sha256: str
    slow_because: str
    notes: Sequence[str]
    counts_digest: str
    pieces: int
    settings: Mapping[str, object]


def markdown(rows: Sequence[report.Row], facts: report.Vocabulary, plot: str) -> str:
    """The report as a page; `plot` is the name of its figure's file."""
    return "\n".join(
        [
            "# Tokenizer report",
            "",
            *_table(HEAD, _cells(rows)),
            "",
            *(f"- {note}" for note in NOTES),
            "",
            f"![Tokens per word and over the own tokenizer, by language]({plot})",
            "",
            "## Vocabulary",
            "",
            *_table(("fact", "value"), _facts(facts)),
            "",
            *_tokens("Longest tokens", facts.long),
            *_tokens("Tokens like an address", facts.url_like),
        ]
    )


def page(rows: Sequence[report.Row], facts: report.Vocabulary, svg: str) -> str:
    """The same as one HTML file, figure included."""
    style = (
        "body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#222}"
        "table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.2rem .6rem;text-align:right;"
        "border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}code{background:#f4f4f4}"
    )
    figure = svg[svg.index("<svg") :]
    long, addresses = (", ".join(f"<code>{html.escape(shown(t))}</code>" for t in found[: report.SHOWN_TOKENS])
                       for found in (facts.long, facts.url_like))  # fmt: skip
    return "\n".join(
        [
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Tokenizer report</title><style>{style}',
            "</style>",
            "<h1>Tokenizer report</h1>",
            _html_table(HEAD, _cells(rows)),
            "<ul>",
            *(f"<li>{html.escape(note)}</li>" for note in NOTES),
            "</ul>",
            figure,
            "<h2>Vocabulary</h2>",
            _html_table(("fact", "value"), _facts(facts)),
            f"<p>Longest tokens: {long or DASH}</p>",
            f"<p>Tokens like an address: {addresses or DASH}</p>",
            "</html>\n",
        ]
    )


def table_csv(rows: Sequence[report.Row]) -> str:
    """Every count and ratio of the rows."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    counts = ["tokens", "words", "continued", "types", "whole", "baseline", "baseline_size", "parallel", "english"]
    ratios = [
        "fertility", "bytes_per_token", "code_points_per_token", "continued_ratio", "whole_ratio", "excess", "parity",
    ]  # fmt: skip
    sizes = ["documents", "bytes", "code_points"]
    writer.writerow(["language", "held_out", *sizes, "text_words", *counts, *ratios])
    for row in rows:
        text = [*(getattr(row.text, name) for name in sizes), row.text.words]
        figures = [getattr(row, name) for name in counts] + [f"{getattr(row, name):.6f}" for name in ratios]
        writer.writerow([row.language, str(row.held_out).lower(), *text, *figures])
    return out.getvalue()


def sample_csv(shares: Mapping[str, sample.Share]) -> str:
    """What was taken of each source."""
    lines = [f"{name},{share.language},{share.bytes},{share.ratio:.6f}" for name, share in shares.items()]
    return "\n".join(["source,language,bytes,ratio", *lines, ""])


def plot(rows: Sequence[report.Row]) -> str:
    """Two bars of each language as SVG: tokens per word, and tokens over those of its own tokenizer in percent."""
    names = [row.language for row in rows]
    return plots.bars(
        names,
        {
            "tokens per word": [row.fertility for row in rows],
            "tokens over own tokenizer, %": [100 * row.excess for row in rows],
        },
    )


def card(about: About, rows: Sequence[report.Row], facts: report.Vocabulary, shares: Mapping[str, sample.Share]) -> str:
    """What the tokenizer is, how it was made, how it does."""
    every = rows[-1]
    worse = [row.language for row in rows[:-1] if row.excess > report.EXCESS_MAX]
    taken = sum(share.ratio * share.bytes for share in shares.values())
    return "\n".join(
        [
            f"# Tokenizer of {about.name}",
            "",
            "Byte-level BPE with BLOOM's split, without a normaliser: every text comes back byte for byte.",
            "`transformers.AutoTokenizer.from_pretrained` loads the folder; so does `tokenizers`.",
            "",
            *_table(
                ("fact", "value"),
                [
                    ("tokens", f"{facts.size:,}"),
                    ("special tokens", " ".join(f"`{token}` {n}" for n, token in enumerate(spec.SPECIALS))),
                    ("sha256 of tokenizer.json", f"`{about.sha256}`"),
                    ("learned from", f"{about.pieces:,} distinct pieces, digest `{about.counts_digest[:16]}`"),
                    ("sample", f"{taken / 1e6:,.1f} MB of {len(shares):,} sources in {len(rows) - 1} languages"),
                    *((name.replace("_", " "), str(value)) for name, value in about.settings.items()),
                    ("encoded by", (about.slow_because and f"the library: {about.slow_because}") or "our kernels"),
                ],
            ),
            "",
            *(f"- {note}" for note in about.notes),
            f"- {every.bytes_per_token:.2f} bytes a token and {every.fertility:.2f} tokens a word over all languages.",
            f"- More than {report.EXCESS_MAX:.0%} over their own tokenizer: {', '.join(worse) or 'no language'}.",
            "- A special token's name in a text stays text when `roots` encodes it; `transformers` makes it the token.",
            "- What each source gave stands in sample.csv, all figures in report.csv.",
            "",
        ]
    )


def shown(token: bytes) -> str:
    """A token for a page: escapes for what is not visible or would end a table cell, cut after 60 characters."""
    text = token.decode("utf-8", "backslashreplace")
    visible = "".join(c if c.isprintable() and c not in "`|" else f"\\u{ord(c):04x}" for c in text)
    return f"{visible[:60]}{'…' if len(visible) > 60 else ''}"


def _cells(rows: Sequence[report.Row]) -> Iterable[Sequence[str]]:
    for row in rows:
        yield (
            row.language,
            "held out" if row.held_out else "seen",
            f"{row.text.documents:,}",
            f"{row.text.bytes / 1e6:,.3f}",
            f"{row.tokens:,}",
            _number(row.fertility),
            _number(row.bytes_per_token),
            _number(row.code_points_per_token),
            _percent(row.continued_ratio),
            _percent(row.whole_ratio),
            f"{row.baseline_size:,}" if row.language != "all" else DASH,
            _percent(row.excess),
            _number(row.parity),
        )


def _facts(facts: report.Vocabulary) -> Iterable[Sequence[str]]:
    yield "tokens", f"{facts.size:,}"
    yield "not used by the text learned from and judged on", f"{facts.unused:,}"
    yield "not whole characters", f"{facts.partial:,}"
    yield "like an address", f"{len(facts.url_like):,}"
    yield f"longer than {report.LONG_BYTES} bytes", f"{len(facts.long):,}"
    yield "special ids that text was encoded to", f"{facts.special_in_text:,}"
    yield "of all 1,112,064 code points, lost on the way to ids and back", f"{facts.lost_points:,}"


def _tokens(title: str, found: Sequence[bytes]) -> list[str]:
    if not found:
        return []
    lines = [f"| `{shown(token)}` | {len(token):,} |" for token in found[: report.SHOWN_TOKENS]]
    return [f"## {title}", "", "| token | bytes |", "| --- | ---: |", *lines, ""]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    marks = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (head, marks, *rows)]


def _html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    lines = ["".join(f"<td>{html.escape(cell)}</td>" for cell in cells) for cells in rows]
    return f"<table><tr>{top}</tr>\n" + "\n".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _number(value: float) -> str:
    return DASH if value != value else f"{value:.2f}"


def _percent(value: float) -> str:
    return DASH if value != value else f"{value:.1%}"
