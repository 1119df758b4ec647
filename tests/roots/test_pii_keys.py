"""Secrets are found, hashes and names and data are left alone."""

import random
import string

import pyarrow as pa
import pytest

from roots import pii, pii_keys, pii_rules


def found(text):
    array, data = pa.array([text], pa.string()), text.encode()
    spans = pii.find(array, ["KEY"])
    return [data[start:end].decode() for start, end in zip(spans.start.tolist(), spans.end.tolist(), strict=True)]


HASH = "d41d8cd98f00b204e9800998ecf8427e"


@pytest.mark.parametrize(
    "text",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzZZ8KEY2q",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
        "nw47kx81rt05hb62vq93jd18",
    ],
)
def test_a_secret_is_a_key(text):
    assert found(f"token={text};") == [text]
    assert found(f"it is {text}.") == [text]
    assert found(f"密钥{text}。") == [text]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"api_key = '{HASH}'", [HASH]),
        (f'"client_secret": "{HASH}"', [HASH]),
        (f"commit {HASH}", []),
        (f"/images/{HASH}.png", []),
        ("sha512-Zb5Vd7Q0cX9nT1kLw8RfYs3GjH2mAp6E", []),
        ("integrity: Zb5Vd7Q0cX9nT1kLw8RfYs3GjH2mAp6E", []),
        ("api_key = 550e8400-e29b-41d4-a716-446655440000", []),
    ],
)
def test_a_hash_is_a_key_only_where_something_secret_is_set_to_it(text, expected):
    assert found(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('password = "hunter2abc"', ["hunter2abc"]),
        ("'db_password' => 'Tr0ub4dor&3'", ["Tr0ub4dor&3"]),
        ('const apiKey = "abc123def456";', ["abc123def456"]),
        ('auth_token: "x1y2z3w4"', ["x1y2z3w4"]),
        ('password = "short1"', []),
        ('password = "nodigitshere"', []),
        ('password = "${DB_PASSWORD1}" token = "your-token-123" secret = "<secret-123>"', []),
        ('tokenizer = "bert2base" keyword = "abc123def456"', []),
    ],
)
def test_what_code_assigns_to_a_password_is_a_key(text, expected):
    assert found(text) == expected


def test_a_private_key_is_replaced_whole_and_a_certificate_is_not():
    body = "\n".join("".join(random.Random(i).choices(string.ascii_letters + string.digits, k=64)) for i in range(6))
    private = f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----"
    assert found(f"key:\n{private}\nend") == [private]
    public = private.replace("RSA PRIVATE KEY", "CERTIFICATE")
    assert found(public) == []


def test_lines_of_data_are_no_keys():
    lines = ["".join(random.Random(i).choices(string.ascii_letters + string.digits, k=64)) for i in range(8)]
    assert found("\n".join(f'    "{line}",' for line in lines)) == []
    assert found("data:image/png;base64," + "".join(lines)) == []


@pytest.mark.parametrize(
    "text",
    [
        "2020-01-02 2019 2020 2021, 02/03/2021, 20200102T030405Z",
        "1,234,567.89 EUR $1299.00",
        "ISBN 978-3-16-148410-0, 9783161484100, 0-306-40615-2",
        "version 1.2.3-rc4+build20201231, v2.10.0",
        "+49 30 901820, 5213591727586604, 123456789012345678901234",
        "550e8400-e29b-41d4-a716-446655440000",
        "00:1B:44:11:3A:B7 00-1B-44-11-3A-B7",
        "/2019/03/some-article-title-123/page2/section_4_of_10",
        "x86_64-unknown-linux-gnu2019 MapFixed64Fixed64FieldNumber sha256WithRSAEncryption1024Bits",
        "antidisestablishmentarianism Donaudampfschifffahrtsgesellschaft2",
        "a1a1a1a1a1a1a1a1a1a1a1a1a1a1",
        "１２３４５６７８９ १२३४५६७८९०१२३४५६७८९०१२३",
    ],
)
def test_an_ordinary_number_or_name_is_no_key(text):
    assert found(text) == []


def test_most_random_tokens_of_32_characters_are_keys():
    pick = random.Random(2)
    tokens = ["".join(pick.choices(string.ascii_letters + string.digits, k=32)) for _ in range(1_000)]
    assert len(pii.find(pa.array(tokens), ["KEY"])) >= 900


@pytest.mark.parametrize(
    "start",
    [
        "AKIA",
        "ASIA",
        "AIza",
        "dop_v1_",
        "ghp_",
        "github_pat_",
        "glpat-",
        "hf_",
        "npm_",
        "pk_live_",
        "rk_live_",
        "sk-",
        "sk_test_",
        "xoxb-",
        "eyJ",
    ],
)
def test_a_known_beginning_makes_a_key_of_what_does_not_look_random(start):
    key = start + "AB1C" * 20
    assert start[:2] in pii_rules.KEY_STARTS.split()
    assert not pii_keys._looks_random("AB1C" * 20)
    assert found(f"x {key} y") == [key]


def test_what_is_almost_a_name_is_told_at_once():
    # each run of small letters could be parted in 21 ways: a pattern that tried them all would not end
    assert pii_keys.NAME.fullmatch("abcdefgh1" * 50)
    assert not pii_keys.NAME.fullmatch("abcdefgh1" * 50 + "Q")
