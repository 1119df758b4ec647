"""Numbers that name somebody, by their checks, their shapes and the words before them."""

import pyarrow as pa
import pytest

from roots import pii, pii_rules


def found(text, tag):
    array, data = pa.array([text], pa.string()), text.encode()
    spans = pii.find(array, [tag])
    return [data[start:end].decode() for start, end in zip(spans.start.tolist(), spans.end.tolist(), strict=True)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("card 4111 1111 1111 1111.", ["4111 1111 1111 1111"]),
        ("5500-0000-0000-0004 3782 822463 10005", ["5500-0000-0000-0004", "3782 822463 10005"]),
        ("６０１１１１１１１１１１１１１７", ["６０１１１１１１１１１１１１１７"]),
        ("४१११११११११११११११", ["४१११११११११११११११"]),
        ("4111,4111111111111111,2026", ["4111111111111111"]),
        ("4111 1111 1111 1112 9111111111111111", []),  # a digit changed; no network's number
        ("0.4111111111111111 x4111111111111111 4111111111111111111111", []),
        ("4111-1111 1111-1111", []),
    ],
)
def test_a_payment_card_has_a_networks_number_and_luhns_check(text, expected):
    assert found(text, "CREDIT_CARD") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("IBAN DE89 3704 0044 0532 0130 00 bitte", ["DE89 3704 0044 0532 0130 00"]),
        (
            "gb82west12345698765432, FR14 2004 1010 0505 0001 3M02 606",
            ["gb82west12345698765432", "FR14 2004 1010 0505 0001 3M02 606"],
        ),
        ("DE89370400440532013001 ZZ89370400440532013000 DE8937040044053201300", []),
        ("xDE89370400440532013000 DE893704004405320130001", []),
    ],
)
def test_an_iban_has_its_countrys_length_and_its_check(text, expected):
    assert found(text, "IBAN") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("to 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa.", ["1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"]),
        ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", ["bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"]),
        ("BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4", ["BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4"]),
        ("0xde0B295669a9FD93d5F28D9Ec85E40f4cb697BAe", ["0xde0B295669a9FD93d5F28D9Ec85E40f4cb697BAe"]),
        ("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5", []),
        ("0x0000000000000000000000000000000000000000 0xde0B295669a9FD93d5F28D9Ec85E40f4cb697BA", []),
    ],
)
def test_a_crypto_address_has_its_checksum_or_ethereums_shape(text, expected):
    assert found(text, "CRYPTO") == expected


IDENTIFIERS = [  # text around an identifier that is found; the examples are those of the checks
    ("es", "con DNI 12345678Z", "12345678Z"),
    ("ca", "el NIE X-1234567-L.", "X-1234567-L"),
    ("pt", "o CPF 529.982.247-25 dela", "529.982.247-25"),
    ("pt-word", "CPF: 52998224725", "52998224725"),
    ("fr", "sécu 2 85 05 78 006 084 41", "2 85 05 78 006 084 41"),
    ("be", "n° 85.07.30-033.28", "85.07.30-033.28"),
    ("zhs", "身份证号11010519491231002X。", "11010519491231002X"),
    ("zht", "身分證A123456789", "A123456789"),
    ("hk", "HKID A123456(3)", "A123456(3)"),
    ("hi", "आधार २३४१ २३४१ २३४६", "२३४१ २३४१ २३४६"),
    ("pan", "PAN ABCPE1234F", "ABCPE1234F"),
    ("ur", "شناختی 35202-1234567-1", "35202-1234567-1"),
    ("ar", "رقم الهوية 1058529940", "1058529940"),
    ("id", "NIK 3171011708450001", "3171011708450001"),
    ("vi", "CCCD 001099012345", "001099012345"),
    ("zu", "id 8001015009087", "8001015009087"),
    ("en", "SSN 123-45-6789", "123-45-6789"),
    ("en-word", "social security number is 123456789", "123456789"),
    ("cl", "RUT 12.345.678-5", "12.345.678-5"),
    ("mx", "CURP HEGG560427MVZRRL04", "HEGG560427MVZRRL04"),
    ("uy", "C.I. 1.234.567-2", "1.234.567-2"),
]


@pytest.mark.parametrize(("text", "expected"), [row[1:] for row in IDENTIFIERS], ids=[row[0] for row in IDENTIFIERS])
def test_a_national_identifier_is_found_by_shape_check_and_word(text, expected):
    assert found(text, "NATIONAL_ID") == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "12345678A 529.982.247-26 11010519491231002Y",  # wrong checks
        "number 52998224725 and 3171011708450001 and 2341 2341 2346",  # no word says what they are
        "000-12-3456 666-12-3456 912-34-5678",  # areas that are not given out
        "order A1234567890 file-12345678Z.txt /12345678Z/",
    ],
)
def test_a_wrong_check_or_a_weak_shape_without_a_word_is_no_identifier(text):
    assert found(text, "NATIONAL_ID") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "+49 (0)30 901820, +1-845-524-3000; +91 98765 43210",
            ["+49 (0)30 901820", "+1-845-524-3000", "+91 98765 43210"],
        ),
        ("(212) 555-0142 or 212-555-0142 or 1-800-555-1212", ["(212) 555-0142", "212-555-0142", "1-800-555-1212"]),
        ("01 42 68 53 00 / 0479 50 54 03", ["01 42 68 53 00", "0479 50 54 03"]),
        ("Tel: 9747 6578 x12", ["9747 6578 x12"]),
        ("电话：13812345678", ["13812345678"]),
        ("هاتف ٠٥٠١٢٣٤٥٦٧", ["٠٥٠١٢٣٤٥٦٧"]),
        ("फ़ोन ०२२-२७९८१२३४", ["०२२-२७९८१२३४"]),
        ("simu 0712 345 678", ["0712 345 678"]),
        ("25-62-29-72 office", ["25-62-29-72"]),
        ("00 44 20 7946 0958", ["00 44 20 7946 0958"]),
        ("+49 12", []),
        ("+999 123456789 +40.748817 +12.34567890", []),
        ("12345678 1234567890 2019 2020 2021", []),
        ("tel 2020-01-02, call 01.02.2021, phone 1999-2004", []),
        ("call ISBN 978-3-16-148410-0 or 0-306-40615-2", []),
        ("call f(1234567) at 3.1415926 for $1234567", []),
        ("(1998) 123-456", []),
    ],
)
def test_a_telephone_number(text, expected):
    assert found(text, "PHONE") == expected


def test_the_tables_are_whole():
    languages = {row["language"] for row in pii_rules.table("pii_words.csv") if row["kind"] == "phone"}
    assert len(languages) >= 30
    lengths = {row["country"]: int(row["characters"]) for row in pii_rules.table("iban_lengths.csv")}
    assert (lengths["NO"], lengths["DE"], lengths["RU"]) == (15, 22, 33)
    codes = {row["code"]: row["national_digits"].split() for row in pii_rules.table("calling_codes.csv")}
    assert codes["1"] == ["7", "10"]
    assert all(digits and all(5 <= int(n) <= 17 for n in digits) for digits in codes.values())


def test_python_stdnum_adds_identifiers_after_a_word_for_one():
    pytest.importorskip("stdnum")
    text = pa.array(["kimlik, identity 17291716060 and 17291716061", "17291716060", "tckimlik: 17291716060."])
    spans = pii.find(text, ["NATIONAL_ID"], stdnum=["tr.tckimlik"])
    assert list(zip(spans.row.tolist(), spans.start.tolist(), spans.end.tolist(), strict=True)) == [
        (0, 17, 28),
        (2, 10, 21),
    ]
    assert len(pii.find(text, ["NATIONAL_ID"])) == 0


def test_a_module_that_python_stdnum_does_not_have_is_refused():
    with pytest.raises(
        ValueError, match=r"python-stdnum has no module 'xx.none' here; pip install 'bloom-roots\[stdnum\]'"
    ):
        pii.find(pa.array(["x"]), stdnum=["xx.none"])
