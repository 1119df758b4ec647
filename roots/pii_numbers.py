"""Numbers that name somebody: telephones, payment cards, bank accounts, crypto addresses, national identifiers.

Each finder takes a window and yields places in its text, start and end. A number is taken on evidence: a check digit
over a shape, a shape that is used for nothing else, or a word before it that says what it is. Dates, versions, ISBNs,
prices, coordinates and numbers of papers have none of these.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from roots import pii_checks, pii_rules
from roots.pii_scan import Window

NATIONAL_DIGITS = (7, 12)  # least and most of a telephone number written without its country
DATE = re.compile(
    r"(?:1[0-9]|20)\d\d([\-/. ])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12]\d|3[01])(?!\d)"
    r"|(?:0?[1-9]|[12]\d|3[01])([\-/. ])(?:0?[1-9]|[12]\d|3[01])\2(?:1[0-9]|20)\d\d(?!\d)"
    r"|(?:0?[1-9]|[12]\d|3[01])([\-/.])(?:0?[1-9]|[12]\d|3[01])\3\d\d(?!\d|\3)"
    r"|(?:1[0-9]|20)\d\d[\-/ ](?:1[0-9]|20)\d\d(?!\d)"
)
# What stands before numbers of other kinds, whatever their shape.
OTHER_NUMBER = re.compile(
    r"(?:isbn(?:-1[03])?|issn|ean|upc|doi|arxiv|pmid|isrc|sku|rfc|cve|oid|version|build|coordinates|lat|lon|latitude"
    r"|longitude|https?://\S*)[:=#]? ?\(?\Z",
    re.IGNORECASE,
)


class Words:
    """Words that say what a number is: a Latin one of up to four letters must stand alone, a longer one may go on."""

    def __init__(self, words: Iterable[str]):
        self._words = sorted({word.lower() for word in words})
        self._pairs = {(word[0], word[1]) for word in self._words}
        word = pii_rules.word()
        whole = [re.escape(w) for w in self._words if len(w) <= 4 and w < "\u0250"]
        begun = [re.escape(w) for w in self._words if not (len(w) <= 4 and w < "\u0250")]
        either = [rf"(?:{'|'.join(whole)})(?![{word}])"] * bool(whole) + begun
        self._pattern = re.compile(rf"(?<![{word}])(?:{'|'.join(either)})")

    def stand_in(self, text: str) -> bool:
        text = text.lower()
        # Most text holds none of them in any form, and numbers hold no two letters of them: told much sooner.
        if self._pairs.isdisjoint(itertools.pairwise(text)) or not any(word in text for word in self._words):
            return False
        return self._pattern.search(text) is not None


# Payment cards

CARD = re.compile(
    pii_rules.beginning(r"\d", r"\w$€£") + r"(?<!\d[./\-]\d)"
    r"(?:\d{12,18}|\d{3}([ \-])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|\d{3}([ \-])\d{6}\2\d{4,5})"
    r"(?!\w)(?![./\-]\d)",
    re.ASCII,
)
# First digits and lengths of the card networks; ISO/IEC 7812-1 and the networks' published ranges
ISSUED = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    r"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|(?:6011|64[4-9]\d|65\d\d)\d{12}(?:\d{3})?"  # Discover
    r"|(?:30[0-5]\d{11}|3[689]\d{12})"  # Diners Club
    r"|(?:352[89]|35[3-8]\d)\d{12}|(?:2131|1800)\d{11}"  # JCB
    r"|62\d{14,17}"  # UnionPay
    r"|(?:50[0-9]{2}|5[6-8][0-9]{2}|6[0137][0-9]{2})\d{9,15}"  # Maestro
    r"|220[0-4]\d{12}|(?:60|81|82)\d{14}"  # Mir; RuPay
)


def credit_cards(window: Window) -> Iterator[tuple[int, int]]:
    """A number of a network's length and first digits that passes Luhn's check, in one piece or in its usual groups."""
    for found in CARD.finditer(window.text):
        digits = re.sub(r"\D", "", found[0])
        if ISSUED.fullmatch(digits) and pii_checks.luhn(digits) and len(set(digits)) > 1:
            yield found.span()


# Bank accounts

IBAN = re.compile(pii_rules.beginning("A-Za-z", r"\w") + r"[A-Za-z]\d{2}(?=[ \-]?[A-Za-z0-9])", re.ASCII)


def ibans(window: Window) -> Iterator[tuple[int, int]]:
    """As many letters and digits as the country's accounts have, perhaps in groups, with the check of ISO 7064."""
    for found in IBAN.finditer(window.text):
        size = _iban_lengths().get(found[0][:2].upper())
        if size is None:
            continue
        rest = re.compile(rf"(?:[ \-]?[A-Za-z0-9]){{{size - 4}}}(?!\w)", re.ASCII).match(window.text, found.end())
        if rest and pii_checks.mod97(re.sub(r"[ \-]", "", window.text[found.start() : rest.end()]).upper()):
            yield found.start(), rest.end()


@functools.cache
def _iban_lengths() -> dict[str, int]:
    return {row["country"]: int(row["characters"]) for row in pii_rules.table("iban_lengths.csv")}


# Crypto addresses

CRYPTO = re.compile(r"[0-9A-Za-z]{26,90}(?!\w)", re.ASCII)
BASE58 = re.compile(r"[13LMDT][1-9A-HJ-NP-Za-km-z]{25,34}")
BASE58_VERSIONS = frozenset((0, 5, 30, 48, 50, 65))  # Bitcoin (two), Dogecoin, Litecoin (two), Tron: their chainparams
BECH32 = re.compile(r"(?:bc1|ltc1)[02-9ac-hj-np-z]{11,87}")
ETHEREUM = re.compile(r"0x[0-9A-Fa-f]{40}")


def crypto_addresses(window: Window) -> Iterator[tuple[int, int]]:
    """Base58 and bech32 addresses with their checksums; Ethereum's by its length alone."""
    for found in CRYPTO.finditer(window.text):
        if _is_crypto(found[0]) and not re.match(r"\w", window.text[found.start() - 1 : found.start()]):
            yield found.span()


def _is_crypto(text: str) -> bool:
    if BASE58.fullmatch(text):
        payload = pii_checks.base58check(text)
        return payload is not None and payload[0] in BASE58_VERSIONS
    lower = text.lower()
    if BECH32.fullmatch(lower):
        return text in (lower, text.upper()) and pii_checks.bech32(lower)
    return bool(ETHEREUM.fullmatch(text)) and len(set(lower[2:])) > 4


# National identifiers


@dataclass(frozen=True, slots=True)
class Identifier:
    """A country's number of a person: its check, and the shapes that suffice or that need a word before them."""

    name: str
    alone: re.Pattern[str] | None
    with_word: re.Pattern[str] | None
    words: Words | None


@functools.cache
def identifiers() -> tuple[Identifier, ...]:
    """The rows of tables/national_ids.csv."""

    def shape(text: str) -> re.Pattern[str] | None:
        return re.compile(rf"(?:{text})(?!\w)(?![.,/\-]\w)", re.ASCII) if text else None

    return tuple(
        Identifier(
            name=row["name"],
            alone=shape(row["alone"]),
            with_word=shape(row["with_word"]),
            words=Words(row["words"].split("|")) if row["words"] else None,
        )
        for row in pii_rules.table("national_ids.csv")
    )


@functools.cache
def _any_identifier() -> tuple[re.Pattern[str], re.Pattern[str], Words]:
    """Any of the shapes that suffice, any of those that need a word, any of the words."""
    rows = pii_rules.table("national_ids.csv")

    def shapes(column: str) -> re.Pattern[str]:
        first = pii_rules.beginning("0-9A-Zxyz", r"\w@#$€£/")
        either = "|".join(sorted({row[column] for row in rows if row[column]}))
        return re.compile(rf"(?={first})(?<![\dA-Z][.,\-/])(?:{either})(?!\w)", re.ASCII)

    words = Words(word for row in rows if row["words"] for word in row["words"].split("|"))
    return shapes("alone"), shapes("with_word"), words


BEGINNING = re.compile(r"[0-9]+|[A-Z]{1,5}(?=[0-9 \-])|[xyz](?=[0-9\-])")


def national_ids(window: Window) -> Iterator[tuple[int, int]]:
    """Numbers of persons: the shapes of tables/national_ids.csv with their checks; a word where those are weak."""
    alone, with_word, words = _any_identifier()
    for begin in BEGINNING.finditer(window.text):
        start = begin.start()
        told = with_word.match(window.text, start) and words.stand_in(window.before(start))
        if not told and not alone.match(window.text, start):
            continue
        ends = (_identified(window, start, kind) for kind in identifiers())
        if end := next(filter(None, ends), 0):
            yield start, end


def _identified(window: Window, start: int, kind: Identifier) -> int:
    """The end of the identifier of that kind at `start`, 0 if there is none."""
    found = kind.alone.match(window.text, start) if kind.alone else None
    if not found and kind.with_word and kind.words:
        found = kind.with_word.match(window.text, start)
        if found and not kind.words.stand_in(window.before(start)):
            return 0
    if not found:
        return 0
    check = pii_checks.NATIONAL.get(kind.name)
    plain = re.sub(r"[^0-9A-Z]", "", found[0].upper())
    return found.end() if check is None or check(plain) else 0


TOKEN = re.compile(
    pii_rules.beginning("0-9A-Za-z", r"\w@#$€£/") + r"[0-9A-Za-z.\-/]{5,22}(?<=[0-9A-Za-z])(?!\w)", re.ASCII
)


def library_ids(modules: Sequence[str]) -> Callable[[Window], Iterator[tuple[int, int]]]:
    """A finder of what python-stdnum (LGPL, the extra `stdnum`) accepts as one of its `modules`, after a word for one.

    raises  ValueError where the library or a module of that name is not there
    """
    checks = []
    for name in modules:
        try:
            checks.append(importlib.import_module(f"stdnum.{name}").is_valid)
        except ModuleNotFoundError:
            raise ValueError(
                f"python-stdnum has no module {name!r} here; pip install 'bloom-roots[stdnum]', or correct the name"
            ) from None
    words = Words([*pii_rules.words("identifier"), *(name.rpartition(".")[2] for name in modules)])

    def find(window: Window) -> Iterator[tuple[int, int]]:
        for found in TOKEN.finditer(window.text):
            told = sum(map(str.isdigit, found[0])) >= 4 and words.stand_in(window.before(found.start()))
            if told and any(check(found[0]) for check in checks):
                yield found.span()

    return find


# Telephones

PHONE = re.compile(
    pii_rules.beginning(r"+(\d", r"\w@#$€£¥%\\+(") + r"(?<![\d)][.,:/\-].)(?:(?<=\+) ?\(?\d|(?<=\()\+?\d|(?<=\d))"
    r"(?:(?:[ .\-/(]|\)[ .\-/]?|[ \-]\(|\) ?\(| - )?\d){5,17}"
    r"(?P<extension> ?(?:x|ext\.?) ?\d{1,5})?(?![\w%$€£])(?![.,:/\-]\d)",
    re.ASCII | re.IGNORECASE,
)
PHONE_SHAPE = re.compile(
    r"(?:1[ .\-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[.\-])[2-9]\d\d[.\-]\d{4}"  # North America; NANPA: no 0 or 1 first
    r"|\(0?[1-9]\d{0,2}\) ?\d{3,5}(?:[ \-]\d{3,4}){1,2}"  # an area code in brackets
    r"|\(0\d{2,4}\) ?\d{5,8}"
    r"|0[1-9]\d{0,3}(?:[ \-/.]\d{2,4}){2,4}"  # a trunk 0, an area code, groups
    r"|0[1-9]\d{1,3}[\-/]\d{5,8}"
)
TRUNK_DIGITS = (9, 11)  # least and most of a number with its trunk 0


def phones(window: Window) -> Iterator[tuple[int, int]]:
    """Numbers after '+' with a country's code and length; of a shape used for telephones alone; or after a word."""
    for found in PHONE.finditer(window.text):
        start = found.start()
        body = found[0].removesuffix(found["extension"] or "")
        if _is_phone(body, start, found.end(), window):
            yield found.span()
            continue
        # what follows after a space may be a number of its own
        for space in reversed([place for place, c in enumerate(body) if c == " "]):
            if body[space - 1].isdigit() and _is_phone(body[:space], start, start + space, window):
                yield start, start + space
                break


def _is_phone(text: str, start: int, end: int, window: Window) -> bool:
    digits = re.sub(r"\D", "", text)
    if len(digits) < NATIONAL_DIGITS[0] or text.count("(") != text.count(")") or len(set(digits)) < 3:
        return False
    if re.fullmatch(r"\+?\d+\.\d+", text) or OTHER_NUMBER.search(window.before(start, 24)):
        return False
    if "+" in text:
        return _international(digits, "(0)" in text)
    if pii_checks.isbn(digits) and (len(digits) == 13 or re.fullmatch(r"(?:\d+[ -]){3}\d", text)):
        return False
    if DATE.match(text) or re.search(r"(?:\A|\D)\d\D\d(?:\D|\Z)", text) or ("." in text and "-" in text):
        return False
    groups = [int(group) for group in re.findall(r"\d+", text)]
    if len(groups) > 3 and all(b - a == 1 for a, b in itertools.pairwise(groups)):
        return False  # counting: 05 06 07 08
    low, high = TRUNK_DIGITS if text[0] == "0" else NATIONAL_DIGITS
    if PHONE_SHAPE.fullmatch(text) and low <= len(digits) <= high:
        return True
    abroad = re.match("00|011", digits)
    if abroad and len(text) > len(digits) and _international(digits[abroad.end() :], "(0)" in text):
        return True
    if len(digits) > NATIONAL_DIGITS[1] and not abroad:
        return False
    if not _phone_words().stand_in(f"{window.before(start)} {window.after(end)}"):
        return False
    return len(digits) <= NATIONAL_DIGITS[1] or _international(digits[2:] if abroad else digits, "(0)" in text)


def _international(digits: str, trunk: bool) -> bool:
    """Whether digits are a country's code and a number of a length that the country has."""
    for size in (1, 2, 3):
        if digits[:size] in _calling_codes():
            national = digits[size + trunk :]
            return len(national) in _calling_codes()[digits[:size]] and len(digits) >= 8
    return False


@functools.cache
def _calling_codes() -> dict[str, frozenset[int]]:
    return {
        row["code"]: frozenset(map(int, row["national_digits"].split())) for row in pii_rules.table("calling_codes.csv")
    }


@functools.cache
def _phone_words() -> Words:
    return Words(pii_rules.words("phone"))
