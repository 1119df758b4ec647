"""Check digits, as plain functions of text: what tells a number that names somebody from any other number."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Mapping
from itertools import cycle
from types import MappingProxyType

ALPHANUMERIC = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"  # BIP 173
BECH32_CONSTANTS = (1, 0x2BC830A3)  # BIP 173; BIP 350 (bech32m)
SPAIN = "TRWAGMYFPDXBNJZSQVHLCKE"  # Spanish interior ministry, letter of the DNI
IRELAND = "WABCDEFGHIJKLMNOPQRSTUV"  # revenue.ie, PPS number


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    doubled = sum(sum(divmod(2 * int(d), 10)) for d in digits[-2::-2])
    return (doubled + sum(map(int, digits[::-2]))) % 10 == 0


def mod97(text: str) -> bool:
    """ISO/IEC 7064, MOD 97-10, of letters and digits as for IBANs: the first four characters count last."""
    return int("".join(str(ALPHANUMERIC.index(c)) for c in text[4:] + text[:4])) % 97 == 1


# The dihedral group D5 and its permutation; J. Verhoeff, Error Detecting Decimal Codes, 1969
_PRODUCT = [[(a + b) % 5 if a < 5 and b < 5 else 5 + (a + b) % 5 if a < 5 else 5 + (a - b) % 5 if b < 5 else (a - b) % 5
             for b in range(10)] for a in range(10)]  # fmt: skip
_PERMUTATION = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def verhoeff(digits: str) -> bool:
    check = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit)
        for _ in range(place % 8):
            value = _PERMUTATION[value]
        check = _PRODUCT[check][value]
    return check == 0


def weighted(digits: str, weights: str) -> int:
    """Sum of digits times weights (each a digit), the weights again from the start where there are fewer."""
    return sum(int(digit) * int(weight) for digit, weight in zip(digits, cycle(weights), strict=False))


def base58check(text: str) -> bytes | None:
    """The payload, its version byte first, of Bitcoin's base58 with four bytes of double SHA-256; None if wrong."""
    number = 0
    for character in text:
        number = 58 * number + BASE58.index(character)
    raw = number.to_bytes(25, "big") if number < 1 << 200 else b""
    payload, check = raw[:-4], raw[-4:]
    right = hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4]
    leading = len(text) - len(text.lstrip("1"))
    return payload if check == right and raw[:leading] == bytes(leading) else None


def bech32(text: str) -> bool:
    """BIP 173 and BIP 350: the checksum of a lower-case address, its prefix parted by the last '1'."""
    prefix, _, data = text.rpartition("1")
    values = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix] + [BECH32.index(c) for c in data]
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> bit & 1 else 0
    return check in BECH32_CONSTANTS


def date(year: str, month: str, day: str) -> bool:
    """Whether the day exists; two digits of a year are of any century."""
    try:
        datetime.date(int(year) if len(year) == 4 else 2000 + int(year), int(month), int(day))
    except ValueError:
        return False
    return True


def isbn(digits: str) -> bool:
    """ISBN-10 or ISBN-13 (ISO 2108), and EAN-13 of a book: no personal data."""
    if len(digits) == 10:
        return sum((10 - i) * (10 if d == "X" else int(d)) for i, d in enumerate(digits)) % 11 == 0
    return len(digits) == 13 and digits[:3] in ("978", "979") and weighted(digits, "13") % 10 == 0


# National identifiers: a function of letters and digits alone, capitals, already of the shape that the table gives


def _ar_cuit(n: str) -> bool:
    return "012345678990"[11 - weighted(n[:10], "5432765432") % 11] == n[10]


def _au_medicare(n: str) -> bool:
    return weighted(n[:8], "13791379") % 10 == int(n[8])


def _au_tfn(n: str) -> bool:
    return sum(int(d) * w for d, w in zip(n, (1, 4, 3, 7, 5, 8, 6, 9, 10), strict=True)) % 11 == 0


def _be_nn(n: str) -> bool:
    right = any(97 - int(century + n[:9]) % 97 == int(n[9:]) for century in ("", "2"))
    return right and int(n[2:4]) <= 12 and int(n[4:6]) <= 31


def _br_cpf(n: str) -> bool:
    for size in (9, 10):
        check = sum(int(d) * (size + 1 - i) for i, d in enumerate(n[:size])) * 10 % 11 % 10
        if check != int(n[size]):
            return False
    return len(set(n)) > 1


def _ch_ahv(n: str) -> bool:
    return weighted(n, "13") % 10 == 0


def _cl_rut(n: str) -> bool:
    return "0123456789K"[(11 - weighted(n[-2::-1], "234567") % 11) % 11] == n[-1]


def _cn_ric(n: str) -> bool:
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    check = sum(int(d) * w for d, w in zip(n, weights, strict=False)) % 11
    return "10X98765432"[check] == n[17] and date(n[6:10], n[10:12], n[12:14])


def _ec_ci(n: str) -> bool:
    return (1 <= int(n[:2]) <= 24 or n[:2] in ("30", "50")) and n[2] <= "6" and luhn(n)


def _es_dni(n: str) -> bool:
    number = n[:-1].replace("X", "0", 1).replace("Y", "1", 1).replace("Z", "2", 1)
    return SPAIN[int(number) % 23] == n[-1]


def _fr_nir(n: str) -> bool:
    number = n[:13].replace("2A", "19").replace("2B", "18")
    return 97 - int(number) % 97 == int(n[13:])


def _gb_nhs(n: str) -> bool:
    check = 11 - sum(int(d) * (10 - i) for i, d in enumerate(n[:9])) % 11
    return check % 11 == int(n[9]) and len(set(n)) > 1


def _gb_nino(n: str) -> bool:
    return n[:2] not in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ")


def _hk_id(n: str) -> bool:
    body = n[:-1].rjust(8)
    values = [36 if c == " " else ALPHANUMERIC.index(c) for c in body]
    total = sum(value * weight for value, weight in zip(values, range(9, 1, -1), strict=True))
    return "0123456789A"[-total % 11] == n[-1]


def _id_nik(n: str) -> bool:
    day = int(n[6:8])
    return n[12:] != "0000" and date(n[10:12], n[8:10], str(day - 40 if day > 40 else day))


def _ie_pps(n: str) -> bool:
    extra = 9 * ("W" + ALPHANUMERIC[10:]).index(n[8]) if len(n) == 9 and n[8] != "W" else 0
    return IRELAND[(weighted(n[:7], "8765432") + extra) % 23] == n[7]


def _in_aadhaar(n: str) -> bool:
    return verhoeff(n) and n != n[::-1]


def _kw_civil(n: str) -> bool:
    check = 11 - sum(int(d) * w for d, w in zip(n, (2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2), strict=False)) % 11
    return check == int(n[11]) and date(n[1:3], n[3:5], n[5:7])


def _lu_matricule(n: str) -> bool:
    return date(n[:4], n[4:6], n[6:8]) and luhn(n[:12]) and verhoeff(n[:11] + n[12])


def _mx_curp(n: str) -> bool:
    letters = "0123456789ABCDEFGHIJKLMN&OPQRSTUVWXYZ"
    total = sum(letters.index(c) * (18 - i) for i, c in enumerate(n[:17]))
    return -total % 10 == int(n[17]) and date(n[4:6], n[6:8], n[8:10])


def _nz_ird(n: str) -> bool:
    n = n.rjust(9, "0")
    check = -weighted(n[:8], "32765432") % 11
    if check == 10:
        check = -weighted(n[:8], "74325276") % 11
    return check == int(n[8])


def _pe_ruc(n: str) -> bool:
    return (11 - weighted(n[:10], "5432765432") % 11) % 10 == int(n[10])


def _pt_nif(n: str) -> bool:
    return (11 - sum(int(d) * (9 - i) for i, d in enumerate(n[:8])) % 11) % 11 % 10 == int(n[8])


def _sg_nric(n: str) -> bool:
    offset = {"S": 0, "T": 4, "F": 0, "G": 4}[n[0]]
    letters = "JZIHGFEDCBA" if n[0] in "ST" else "XWUTRQPNMLK"
    return letters[(weighted(n[1:8], "2765432") + offset) % 11] == n[8]


def _tw_id(n: str) -> bool:
    city = "ABCDEFGHJKLMNPQRSTUVXYWZIO".index(n[0]) + 10  # ministry of the interior, letter of the household's place
    return (city // 10 + city % 10 * 9 + weighted(n[1:9], "87654321") + int(n[9])) % 10 == 0


def _us_ssn(n: str) -> bool:
    return n[:3] not in ("000", "666") and n[0] != "9" and n[3:5] != "00" and n[5:] != "0000"


def _uy_ci(n: str) -> bool:
    return -weighted(n[:-1].rjust(7, "0"), "2987634") % 10 == int(n[-1])


def _vn_cccd(n: str) -> bool:
    return 1 <= int(n[:3]) <= 96


def _za_id(n: str) -> bool:
    return luhn(n) and n[10] in "01" and date(n[:2], n[2:4], n[4:6])


NATIONAL: Mapping[str, Callable[[str], bool]] = MappingProxyType(
    {
        "ae.eid": luhn,
        "ar.cuit": _ar_cuit,
        "au.medicare": _au_medicare,
        "au.tfn": _au_tfn,
        "be.nn": _be_nn,
        "br.cpf": _br_cpf,
        "ca.sin": luhn,
        "ch.ahv": _ch_ahv,
        "cl.rut": _cl_rut,
        "cn.ric": _cn_ric,
        "do.cedula": luhn,
        "ec.ci": _ec_ci,
        "es.dni": _es_dni,
        "fr.nir": _fr_nir,
        "gb.nhs": _gb_nhs,
        "gb.nino": _gb_nino,
        "hk.id": _hk_id,
        "id.nik": _id_nik,
        "ie.pps": _ie_pps,
        "in.aadhaar": _in_aadhaar,
        "kw.civil": _kw_civil,
        "lu.matricule": _lu_matricule,
        "mx.curp": _mx_curp,
        "nz.ird": _nz_ird,
        "pe.ruc": _pe_ruc,
        "pt.nif": _pt_nif,
        "sa.id": luhn,
        "sg.nric": _sg_nric,
        "tw.id": _tw_id,
        "us.ssn": _us_ssn,
        "uy.ci": _uy_ci,
        "vn.cccd": _vn_cccd,
        "za.id": _za_id,
    }
)
