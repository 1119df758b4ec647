"""Labelled texts for personal data: templates of pii_templates.tsv, filled from seeded values.

Valid numbers are drawn until python-stdnum accepts them (our own check where it has none), so that a mistake of ours
in a check shows as a miss. `{lower_case}` places are hard negatives: dates, prices, versions, ISBNs, order numbers,
coordinates, hashes, and numbers with a wrong check digit. In languages that have digits of their own half of all
texts are written with them.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib
import random
import re
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from roots import pii_checks

HERE = Path(__file__).parent
ZEROS = {"ar": "٠", "indic-ur": "۰", "indic-hi": "०", "indic-mr": "०", "indic-ne": "०", "indic-bn": "০"} | {
    "indic-gu": "૦", "indic-pa": "੦", "indic-te": "౦", "indic-kn": "೦", "zhs": "０"
}  # fmt: skip
STDNUM = {"us.ssn", "fr.nir", "es.dni", "br.cpf", "cn.ric", "in.aadhaar", "za.id"}  # the names that differ below
STDNUM_NAME = {"in.aadhaar": "in_.aadhaar", "za.id": "za.idnr"}
NAMES = ["maria", "j.smith", "anna_k", "li.wei", "ahmed99", "o.nwosu", "tran-an", "pedro.garcia", "ruth", "sita.devi"]
HOSTS = ["example.org", "mail.example.com", "uni-test.de", "correo.es", "post.co.za", "example.com.br", "school.edu.vn"]


@dataclass(frozen=True, slots=True)
class Case:
    """A text, its language, and the personal data in it: start, end in code points, type."""

    language: str
    text: str
    spans: tuple[tuple[int, int, str], ...]


def cases(draws: int, seed: int = 4) -> Iterator[Case]:
    """`draws` texts of each template."""
    shapes = _shapes()
    for number, (language, template) in enumerate(_rows("pii_templates.tsv")):
        pick = random.Random(f"{seed} {number}")
        for draw in range(draws):
            yield _filled(language, template, shapes, pick, native=draw % 2 == 1)


def _filled(language: str, template: str, shapes: dict, pick: random.Random, native: bool) -> Case:
    text, spans = "", []
    for part in re.split(r"(\{\w+\})", template):
        name = part[1:-1] if part.startswith("{") else ""
        value = _value(name, language, shapes, pick) if name else part
        if native and language in ZEROS and (name in ("PHONE", "NATIONAL_ID", "CREDIT_CARD") or name.islower()):
            value = value.translate({48 + i: ord(ZEROS[language]) + i for i in range(10)})
        if name.isupper():
            start = len(text) + (value.index("//") + 2 if name == "CREDENTIALS" else 0)
            end = len(text) + (value.rindex("@") if name == "CREDENTIALS" else len(value))
            spans.append((start, end, name))
        text += value
    return Case(language, text, tuple(spans))


def _value(name: str, language: str, shapes: dict, pick: random.Random) -> str:
    if name == "PHONE":
        return _digits(pick.choice(shapes[language, "PHONE"]), pick)
    if name in ("NATIONAL_ID", "bad_id"):
        kind, *forms = shapes[language, "NATIONAL_ID"]
        return _identifier(kind, pick.choice(forms), pick, valid=name == "NATIONAL_ID")
    return VALUES[name](pick)


def _digits(shape: str, pick: random.Random) -> str:
    """# any digit, A any capital, K a digit or X; anything else itself."""
    kinds = {"#": string.digits, "A": string.ascii_uppercase, "K": string.digits + "X"}
    return "".join(pick.choice(kinds.get(c, c)) for c in shape)


def _identifier(kind: str, shape: str, pick: random.Random, valid: bool) -> str:
    """A number of the shape that passes, or not, its check; where no check is published any is valid."""
    check = _oracle(kind)
    while True:
        text = _digits(shape, pick)
        if check(re.sub(r"[^0-9A-Z]", "", text)) == valid:
            return text


def _oracle(kind: str) -> Callable[[str], bool]:
    if kind in STDNUM:
        return importlib.import_module(f"stdnum.{STDNUM_NAME.get(kind, kind)}").is_valid
    ours = pii_checks.NATIONAL.get(kind)
    return ours or (lambda text: True)  # none is published


def _card(pick: random.Random, right: bool = True) -> str:
    start, size = pick.choice([("4", 16), ("51", 16), ("37", 15), ("6011", 16), ("3530", 16), ("2221", 16)])
    stem = start + "".join(pick.choices(string.digits, k=size - 1 - len(start)))
    ends = {pii_checks.luhn(stem + d): d for d in pick.sample(string.digits, 10)}
    number = stem + ends[right]
    if size == 16 and pick.random() < 0.5:
        return pick.choice(" -").join(number[i : i + 4] for i in range(0, 16, 4))
    return number


def _iban(pick: random.Random, right: bool = True) -> str:
    country, rest = pick.choice(
        [
            ("DE", "#" * 18),
            ("FR", "#" * 10 + "A" * 4 + "#" * 9),
            ("ES", "#" * 20),
            ("GB", "AAAA" + "#" * 14),
            ("SA", "#" * 20),
        ]
    )
    body = _digits(rest, pick)
    valid = next(f"{n:02}" for n in range(2, 99) if pii_checks.mod97(f"{country}{n:02}{body}"))
    number = country + (valid if right else f"{(int(valid) + 1) % 97 + 2:02}") + body
    return " ".join(re.findall(".{1,4}", number)) if pick.random() < 0.5 else number


def _crypto(pick: random.Random) -> str:
    payload = bytes([pick.choice([0, 5])]) + pick.randbytes(20)
    check = hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4]
    number, text = int.from_bytes(payload + check, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = pii_checks.BASE58[digit] + text
    return "1" * (len(payload) - len(payload.lstrip(b"\0"))) + text


def _price(pick: random.Random) -> str:
    number = pick.randrange(10_000, 99_999_999)
    return pick.choice(
        [f"{number:,} EUR", f"${number / 100:,.2f}", f"₹{number:,}", f"{number:,}".replace(",", ".") + ",00 €"]
    )


def _date(pick: random.Random) -> str:
    year, month, day = pick.randrange(1900, 2030), pick.randrange(1, 13), pick.randrange(1, 29)
    return pick.choice(
        [
            f"{year}-{month:02}-{day:02}",
            f"{day:02}.{month:02}.{year}",
            f"{day:02}/{month:02}/{year}",
            f"{year}/{month}/{day}",
        ]
    )


def _isbn(pick: random.Random) -> str:
    stem = "978" + "".join(pick.choices(string.digits, k=9))
    number = next(stem + d for d in string.digits if pii_checks.isbn(stem + d))
    return pick.choice([number, f"ISBN {number[:3]}-{number[3]}-{number[4:8]}-{number[8:12]}-{number[12]}"])


VALUES: dict[str, Callable[[random.Random], str]] = {
    "EMAIL": lambda pick: f"{pick.choice(NAMES)}{pick.choice(['', '+news', '.2'])}@{pick.choice(HOSTS)}",
    "USER": lambda pick: "@" + pick.choice(NAMES).replace("-", "_"),
    "IP_ADDRESS": lambda pick: pick.choice(
        [
            ".".join(str(pick.randrange(1, 255)) for _ in range(4)),
            f"2001:db8:{pick.randrange(4096):x}::{pick.randrange(1, 999)}",
        ]
    ),
    "MAC": lambda pick: pick.choice(":-").join(f"{pick.randrange(256):02x}" for _ in range(6)),
    "CREDIT_CARD": _card,
    "bad_card": lambda pick: _card(pick, right=False),
    "IBAN": _iban,
    "bad_iban": lambda pick: _iban(pick, right=False),
    "CRYPTO": _crypto,
    "KEY": lambda pick: pick.choice(
        [
            "AKIA" + "".join(pick.choices(string.ascii_uppercase + string.digits, k=16)),
            "".join(pick.choices(string.ascii_letters + string.digits, k=40)),
            pick.randbytes(16).hex(),
            "ghp_" + "".join(pick.choices(string.ascii_letters + string.digits, k=36)),
        ]
    ),
    "CREDENTIALS": lambda pick: f"https://deploy:{_digits('AA##a!##', pick)}@git.example.org/x",
    "date": _date,
    "price": _price,
    "isbn": _isbn,
    "version": lambda pick: ".".join(str(pick.randrange(20)) for _ in range(pick.choice([3, 4]))),
    "order": lambda pick: _digits(pick.choice(["2021#######", "A##########", "2021-######", "no. ########"]), pick),
    "coordinates": lambda pick: f"{pick.uniform(-90, 90):.6f}, {pick.uniform(-180, 180):.6f}",
    "arxiv": lambda pick: f"arXiv:{pick.randrange(1000, 2400):04}.{pick.randrange(100_000):05}",
    "hash": lambda pick: pick.choice(
        [pick.randbytes(20).hex(), "sha256-" + base64.b64encode(pick.randbytes(32)).decode()]
    ),
}  # fmt: skip


def _shapes() -> dict[tuple[str, str], list[str]]:
    return {(language, kind): forms for language, kind, *forms in _rows("pii_shapes.tsv")}


def _rows(name: str) -> list[list[str]]:
    with (HERE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
