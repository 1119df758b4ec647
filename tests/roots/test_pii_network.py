"""Addresses of mail and machines, user names, and passwords in addresses: what is one and what is none."""

import pyarrow as pa
import pytest

from roots import pii


def found(text, tag):
    """The texts of the spans of a tag, where nothing else is looked for."""
    array, data = pa.array([text], pa.string()), text.encode()
    spans = pii.find(array, [tag])
    return [data[start:end].decode() for start, end in zip(spans.start.tolist(), spans.end.tolist(), strict=True)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to jane.doe+news@mail.example.co.uk.", ["jane.doe+news@mail.example.co.uk"]),
        ("<a@b.org>,'c@d.org';\"e@f.org\"", ["a@b.org", "c@d.org", "e@f.org"]),
        ("mailto:x_y@example.com?subject=z", ["x_y@example.com"]),
        ("请联系foo@bar.com谢谢", ["foo@bar.com"]),
        ("ติดต่อfoo@bar.comนะ", ["foo@bar.com"]),
        ("راسل foo@bar.com، أو", ["foo@bar.com"]),
        ("jürgen@müller.de", ["jürgen@müller.de"]),
        ("साइट foo@bar.comपर", ["foo@bar.com"]),
        ("foo@gmail.com-era bidali", ["foo@gmail.com"]),
        ("३४@example.in", ["३४@example.in"]),
        ("...foo@bar.com...", ["foo@bar.com"]),
        ("a@xn--bcher-kva.xn--p1ai", ["a@xn--bcher-kva.xn--p1ai"]),
        ("foo@bar.com.2020", ["foo@bar.com"]),
        ("x@y.z", []),
        ("foo@localhost", []),
        ("foo.@bar.com", []),
        ("icon@2x.png and lodash@4.17.21", []),
        ("foo@bar.com2", []),
        ("foo@-bar", []),
        ("a" * 64 + "@b.org", ["a" * 64 + "@b.org"]),
        ("a" * 65 + "@b.org", []),
        ("a@" + "b" * 63 + ".org", ["a@" + "b" * 63 + ".org"]),
        ("a@" + "b" * 64 + ".org", []),
        ("a@" + "b." * 126 + "org", []),
        ("a@" + "bcd." * 63 + "org", []),
        ("npm i left@1.3.0-rc.alpha", []),
        ("git@github.com:owner/name.git", []),
        ("git@example.org is an address", ["git@example.org"]),
        ("a..b@c.org", ["b@c.org"]),
        ("a@b.org,c@d.org;e@f.org", ["a@b.org", "c@d.org", "e@f.org"]),
    ],
)
def test_an_email_address(text, expected):
    assert found(text, "EMAIL") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1 10.0.0.2 10.0.0.3", ["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
        ("http://192.168.1.50:5273/x", ["192.168.1.50"]),
        ("10.0.0.0/8, 10.0.0.1-10.0.0.9.", ["10.0.0.0", "10.0.0.1", "10.0.0.9"]),
        ("地址10.0.0.1。", ["10.0.0.1"]),
        ("١٩٢.١٦٨.١.١", ["١٩٢.١٦٨.١.١"]),
        ("version 1.2.3.4, release 1.2.3.4, section 1.2.3.4, \u7248\u672c1.2.3.4", []),
        ("version of the host 1.2.3.4", ["1.2.3.4"]),
        ("[2001:db8::8a2e:370:7334]:443", ["2001:db8::8a2e:370:7334"]),
        ("ip:2001:db8::1: up", ["2001:db8::1"]),
        ("::ffff:10.0.0.1", ["::ffff:10.0.0.1"]),
        ("fe80::1%eth0", ["fe80::1"]),
        ("1:2:3:4:5:6:7:8", ["1:2:3:4:5:6:7:8"]),
        ("256.1.1.1 1.2.3 1.2.3.04", []),
        ("1.2.3.4.5", []),
        ("v1.2.3.4 lib-1.2.3.4.tgz so.1.2.3.4 1.2.3.4-rc 1.2.3.4.so", []),
        ("10.02.2020, 12:34:56, 12:34:56:78", []),
        ("std::cout a::b abc::def x[1::2] ::1 :: ::-1 2019::", []),
        ("1:2:3:4:5:6:7:8:9 1::2::300 12345::1", []),
        ("xfe80::1 fe80::1x", []),
    ],
)
def test_an_ip_address(text, expected):
    assert found(text, "IP_ADDRESS") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hi @bob and @alice_w, @a", ["@bob", "@alice_w"]),
        ("twitter.com/@bob.", ["@bob"]),
        ("(@AurélieASZ)", ["@AurélieASZ"]),
        ("关注@bob123，谢谢", ["@bob123"]),
        ("@" + "a" * 30, ["@" + "a" * 30]),
        ("@" + "a" * 31, []),
        ("@123 @2x", []),
        ("@param @Override @media", []),
        ("@scope/pkg @app(x) @article{x", []),
        ("x = 1\n@agent.tool\ndef", []),
        ("as @agent.tool said", ["@agent.tool"]),
        ("foo@bar $@args `@code` x.@y", []),
    ],
)
def test_a_user_name(text, expected):
    assert found(text, "USER") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see https://bob:s3cr3t!@example.com/x", ["bob:s3cr3t!"]),
        ("postgres://app:hunter2@10.0.0.1:5432/db", ["app:hunter2"]),
        ("amqp://guest:guest@localhost", ["guest:guest"]),
        ("https://user:password@example.com https://u:****@h.org https://u:%s@h.org", []),
        ("https://user:${TOKEN}@example.com http://{user}:{pass}@host", []),
        ("https://example.com/a:b@c http://host:80/@x mailto:a:b@c.org", []),
    ],
)
def test_a_password_in_an_address(text, expected):
    assert found(text, "CREDENTIALS") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("00:1B:44:11:3A:B7, 00-1b-44-11-3a-b7.", ["00:1B:44:11:3A:B7", "00-1b-44-11-3a-b7"]),
        ("ether 52:54:00:12:34:56 txqueuelen", ["52:54:00:12:34:56"]),
        ("ff:ff:ff:ff:ff:ff 00:00:00:00:00:00", []),
        ("00:1B-44:11:3A:B7 00:1B:44:11:3A 00:1B:44:11:3A:B7:99 x00:1B:44:11:3A:B7", []),
        ("12:34:56 10:11:12:13", []),
    ],
)
def test_a_mac_address(text, expected):
    assert found(text, "MAC") == expected
