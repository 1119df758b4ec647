"""What names somebody on a network: e-mail and IP addresses, user names, MAC addresses, passwords in an address.

Each finder takes a window and yields places in its text, start and end. A pattern reads a bounded number of
characters from each place where it may begin, so that time is linear in the text.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterator

from roots import pii_rules, pii_scan
from roots.pii_scan import Window

LOCAL_MAX = 64  # code points before the '@'; RFC 5321, section 4.5.3.1.1 (there octets)
HOST_MAX = 253  # characters; RFC 1035, section 2.3.4: 255 octets on the wire
IPV6_MAX = 45  # characters of the longest textual IPv6 address (INET6_ADDRSTRLEN - 1)
HANDLE_MIN = 3  # characters of a user name after its '@'; the original's pattern

# Before four numbers with dots that are no address.
NUMBERED = re.compile(
    r"(?<![A-Za-z])(?:version|versión|versão|versi|versió|bertsioa?|phiên bản|toleo|ver|release|build|firmware|driver"
    r"|section|chapter|clause|article|rfc|oid|v|§|版本|版|संस्करण|إصدار|الإصدار)[.:]? ?\Z",
    re.IGNORECASE,
)


@functools.cache
def _local() -> re.Pattern[str]:
    return re.compile(rf"[{pii_rules.word()}.%+\-]{{1,{LOCAL_MAX + 1}}}")


@functools.cache
def _host() -> re.Pattern[str]:
    word, wide = pii_rules.word_members(), ~pii_rules.members("0-7F") & (pii_rules.digit_values() < 0)
    label = pii_rules.characters(word & ~pii_rules.members("", "_") | pii_rules.members("", "-"))
    letter = pii_rules.characters(word & wide)
    return re.compile(
        rf"(?:[{label}]{{1,63}}\.){{1,126}}"
        # an ending of one script: gmail.com-era, and what another script goes on with
        rf"(?P<ending>xn--[A-Za-z0-9\-]{{2,59}}|[A-Za-z]{{2,24}}(?![A-Za-z0-9_])|[{letter}]{{2,24}}(?![{pii_rules.word()}]))"
    )


def emails(window: Window) -> Iterator[tuple[int, int]]:
    """local@label.label...ending; an ending that is a file's, a version (lodash@4.17.rc) and git@host: are none."""
    text, at = window.text, window.text.find("@")
    while at >= 0:
        start, host = _local_start(text, at), _host().match(text, at + 1)
        if start < at and host and _is_host(host, text, start, at) and not PASSWORD.search(window.before(start)):
            yield start, host.end()
        at = text.find("@", at + 1)


PASSWORD = re.compile(r"://[^\s/?#@]*:\Z")  # before what stands between ':' and '@' in an address: no mailbox


def _local_start(text: str, at: int) -> int:
    """Where the name before the '@' begins, `at` if there is none: a letter or digit first, no dot last or doubled."""
    run = _local().match(text[max(0, at - LOCAL_MAX - 1) : at][::-1])
    name = run[0][::-1] if run else ""
    name = name[name.rfind("..") + 2 :] if ".." in name else name
    name = name.lstrip(".%+-")
    return at if name.endswith(".") or len(name) > LOCAL_MAX else at - len(name)


def _is_host(host: re.Match[str], text: str, start: int, at: int) -> bool:
    if (
        host["ending"].lower() in pii_rules.words("file_ending")
        or len(host[0]) > HOST_MAX
        or re.match(r"\d+\.\d+", host[0])
    ):
        return False
    return not (text[start:at] == "git" and text[host.end() : host.end() + 1] in (":", "/"))


@functools.cache
def _user() -> re.Pattern[str]:
    word = pii_rules.word()
    at = pii_rules.beginning("@", rf"{word}@.\-+`\\$%&=#^\[}}")
    return re.compile(rf"{at}(?P<name>[{word}.\-]{{3,30}}+)(?![{word}.\-])")


@functools.cache
def _a_letter() -> re.Pattern[str]:
    return re.compile(f"[{pii_rules.letter()}]")


def users(window: Window) -> Iterator[tuple[int, int]]:
    """'@' and 3 to 30 characters, one of them a letter; no annotation, package (@scope/name) or call (@app(x))."""
    for found in _user().finditer(window.text):
        name = found["name"].rstrip(".-")
        if len(name) < HANDLE_MIN or not _a_letter().search(name) or name.lower() in pii_rules.words("annotation"):
            continue
        if window.text[found.end() : found.end() + 1] in ("@", "/", "(", "{"):
            continue
        if "." in name and re.search(r"(?:\A|\n)[ \t]*\Z", window.before(found.start())):
            continue  # @module.decorator, on a line of its own
        yield found.start(), found.start() + 1 + len(name)


CREDENTIALS = re.compile(
    r"(?<![A-Za-z0-9+.\-])[A-Za-z][A-Za-z0-9+.\-]{1,20}://"
    r"(?P<both>[^\s/?#@:\"'<>(){}$]{1,64}:(?P<password>[^\s/?#@\"'<>(){}$]{1,128}))@[A-Za-z0-9\[]"
)


def credentials(window: Window) -> Iterator[tuple[int, int]]:
    """user:password in scheme://user:password@host, unless the password is an example's word."""
    for found in CREDENTIALS.finditer(window.text) if "://" in window.text else ():
        password = found["password"].lower()
        if password not in pii_rules.words("sample_password") and not re.fullmatch(r"[*x.%]+|%[a-z]|\[.*\]", password):
            yield found.span("both")


_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
QUAD = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")


@functools.cache
def _quad() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """The end of what may stand before an address, and an address with what may stand behind it.

    A range 10.0.0.1-10.0.0.9 and an ellipsis may, but not package-1.2.3.4, library.so.1.2.3.4, 1.2.3.4.5.
    """
    word, letter = pii_rules.word(), pii_rules.letter()
    return (
        re.compile(rf"(?:\A|[^{word}.\-]|[0-9]-|\.\.|--|(?:\A|[^{word}.\-])[.\-])\Z"),
        re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}(?![{word}])(?!\.[{word}])(?!-[{letter}_])"),
    )


def ip_addresses(window: Window) -> Iterator[tuple[int, int]]:
    """Dotted quads without leading zeros that are no version and no part of a longer name; IPv6 with evidence."""
    left, quad = _quad()
    for found in QUAD.finditer(window.text):
        start, end = found.span()
        stands = left.search(window.before(start, 2)) and quad.match(window.text, start)
        if stands and not NUMBERED.search(window.before(start, 16)):
            yield start, end
    if window.kinds & pii_scan.HEX:
        yield from ipv6(window.text, evident=True)


IPV6_RUN = re.compile(r"[0-9A-Fa-f:.]{3,}")


@functools.cache
def _word_character() -> re.Pattern[str]:
    return re.compile(f"[{pii_rules.word()}]")


def ipv6(text: str, evident: bool) -> Iterator[tuple[int, int]]:
    """IPv6 addresses of RFC 4291 with a digit.

    evident  ask for all eight groups, a dotted quad, or two groups of which one has three characters or more with a
             digit: neither ::1, nor x[1::2], nor a::b, nor 2019::
    """
    for found in IPV6_RUN.finditer(text):
        a, b = found.span()
        a += text[a] == "." or (text[a] == ":" and text[a + 1] != ":")
        while b - a > 1 and (text[b - 1] == "." or (text[b - 1] == ":" and text[b - 2] != ":")):
            b -= 1
        address = text[a:b]
        if b - a > IPV6_MAX or address.count(":") < 2 or not re.search(r"\d", address):
            continue
        if (a and _word_character().match(text[a - 1])) or _word_character().match(text[b : b + 1]):
            continue
        try:
            ipaddress.IPv6Address(address)
        except ValueError:
            continue
        groups = [group for group in address.split(":") if group]
        wide = any(len(group) >= 3 and re.search(r"\d", group) for group in groups)
        if not evident or len(groups) == 8 or "." in address or (wide and len(groups) > 1):
            yield a, b


MAC = re.compile(
    pii_rules.beginning("0-9A-Fa-f", r"\w:\-") + r"[0-9A-Fa-f]([:\-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}(?![\w:\-])",
    re.ASCII,
)


def mac_addresses(window: Window) -> Iterator[tuple[int, int]]:
    """Six pairs of hexadecimal digits between colons or dashes (IEEE 802), not all the same."""
    for found in MAC.finditer(window.text):
        if len(set(re.split("[:-]", found[0]))) > 1:
            yield found.span()
