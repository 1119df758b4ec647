"""Check digits agree with python-stdnum, an independent implementation, and with published examples."""

import importlib
import random
import re
import string

import pytest

from roots import pii_checks, pii_numbers

# Identifiers that python-stdnum knows under these names; it also holds some to ranges that our shapes leave out.
STDNUM = {
    "ar.cuit": "ar.cuit",
    "au.tfn": "au.tfn",
    "br.cpf": "br.cpf",
    "ca.sin": "ca.sin",
    "ch.ahv": "ch.ssn",
    "cl.rut": "cl.rut",
    "do.cedula": "do.cedula",
    "ec.ci": "ec.ci",
    "es.dni": "es.dni",
    "fr.nir": "fr.nir",
    "gb.nhs": "gb.nhs",
    "ie.pps": "ie.pps",
    "in.aadhaar": "in_.aadhaar",
    "nz.ird": "nz.ird",
    "pe.ruc": "pe.ruc",
    "pt.nif": "pt.nif",
}
DRAWN = {
    "ar.cuit": "20999999999",
    "au.tfn": "999999999",
    "br.cpf": "99999999999",
    "ca.sin": "499999999",
    "ch.ahv": "7569999999999",
    "cl.rut": "99999999K",
    "do.cedula": "99999999999",
    "ec.ci": "1719999999",
    "es.dni": "99999999A",
    "fr.nir": "285059999999999",
    "gb.nhs": "9999999999",
    "ie.pps": "9999999A",
    "in.aadhaar": "299999999999",
    "nz.ird": "049999999",
    "pe.ruc": "10999999999",
    "pt.nif": "299999999",
}


def drawn(shape, pick):
    """9 any digit, A any letter, K a digit or K; anything else itself."""
    kinds = {"9": string.digits, "A": string.ascii_uppercase, "K": string.digits + "K"}
    return "".join(pick.choice(kinds.get(c, c)) for c in shape)


@pytest.mark.parametrize("name", sorted(STDNUM))
def test_a_check_says_what_python_stdnum_says(name):
    stdnum = pytest.importorskip("stdnum")
    oracle = importlib.import_module(f"{stdnum.__name__}.{STDNUM[name]}")
    pick = random.Random(name)
    numbers = [drawn(DRAWN[name], pick) for _ in range(2_000)]
    ours = {number: pii_checks.NATIONAL[name](number) for number in numbers}
    assert ours == {number: oracle.is_valid(number) for number in numbers}
    assert 10 < sum(ours.values()) < 1_000


@pytest.mark.parametrize(
    ("name", "valid", "invalid"),
    [
        # published examples: the authorities' own pages, or Wikipedia's article on the number
        ("ae.eid", "784196865703050", "784196865703051"),
        ("au.medicare", "2123456701", "2123456711"),
        ("be.nn", "85073003328", "85073003327"),
        ("cn.ric", "11010519491231002X", "110105194912310021"),
        ("gb.nino", "AA123456C", "GB123456C"),
        ("hk.id", "A1234563", "A1234564"),
        ("hk.id", "AB9876543", "AB9876544"),
        ("id.nik", "3171011708450001", "3171017208450001"),
        ("mx.curp", "HEGG560427MVZRRL04", "HEGG560427MVZRRL05"),
        ("sa.id", "1058529940", "1058529941"),
        ("sg.nric", "S1234567D", "S1234567A"),
        ("sg.nric", "F1234567N", "F1234567D"),
        ("tw.id", "A123456789", "A123456788"),
        ("us.ssn", "123456789", "666456789"),
        ("uy.ci", "12345672", "12345673"),
        ("vn.cccd", "001099012345", "099099012345"),
        ("za.id", "8001015009087", "8001015009088"),
    ],
)
def test_a_published_example_passes_and_its_neighbour_does_not(name, valid, invalid):
    assert pii_checks.NATIONAL[name](valid)
    assert not pii_checks.NATIONAL[name](invalid)


def test_a_kuwaiti_and_a_luxembourgish_number_are_held_to_their_dates_and_digits():
    stem = "29003150123"
    kuwaiti = [stem + digit for digit in string.digits if pii_checks.NATIONAL["kw.civil"](stem + digit)]
    assert len(kuwaiti) <= 1
    assert not any(pii_checks.NATIONAL["kw.civil"]("29013450123" + digit) for digit in string.digits)
    stem = "19800101123"
    ends = [f"{n:02}" for n in range(100) if pii_checks.NATIONAL["lu.matricule"](f"{stem}{n:02}")]
    assert len(ends) == 1
    assert not any(pii_checks.NATIONAL["lu.matricule"](f"19801301123{n:02}") for n in range(100))


def test_every_row_of_the_table_has_a_check_or_says_that_none_is_published():
    names = {kind.name for kind in pii_numbers.identifiers()}
    assert set(pii_checks.NATIONAL) <= names
    assert names - set(pii_checks.NATIONAL) == {"in.pan", "pk.cnic"}
    assert all(kind.alone or (kind.with_word and kind.words) for kind in pii_numbers.identifiers())
    assert all(re.fullmatch(r"[a-z]{2}\.[a-z]+", name) for name in names)


def test_luhn_and_verhoeff_find_every_change_of_one_digit():
    for check, number in [(pii_checks.luhn, "4111111111111111"), (pii_checks.verhoeff, "2363")]:
        assert check(number)
        changed = [
            number[:i] + d + number[i + 1 :] for i in range(len(number)) for d in string.digits if d != number[i]
        ]
        assert not any(map(check, changed))


def test_verhoeff_finds_every_swap_of_neighbours():
    valid = next(f"48271935{d}" for d in string.digits if pii_checks.verhoeff(f"48271935{d}"))
    assert not any(pii_checks.verhoeff(valid[:i] + valid[i + 1] + valid[i] + valid[i + 2 :]) for i in range(8))


def test_an_iban_is_held_to_its_check():
    assert pii_checks.mod97("GB82WEST12345698765432")  # Wikipedia, "International Bank Account Number"
    assert not pii_checks.mod97("GB82WEST12345698765433")


def test_addresses_of_the_bitcoin_wiki_and_of_bip_173_and_350_pass():
    assert pii_checks.base58check("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa")[0] == 0
    assert pii_checks.base58check("3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy")[0] == 5
    assert pii_checks.base58check("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb") is None
    assert pii_checks.bech32("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4")
    assert pii_checks.bech32("bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0")
    assert not pii_checks.bech32("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5")


def test_isbns_are_told_by_their_digits():
    assert pii_checks.isbn("0306406152")
    assert pii_checks.isbn("080442957X")
    assert pii_checks.isbn("9783161484100")
    assert not pii_checks.isbn("9783161484101")
    assert not pii_checks.isbn("1234567890123")
