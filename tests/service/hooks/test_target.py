from __future__ import annotations

import pytest

from service.hooks.addresses import Allowed
from service.hooks.target import Rules, Target, TargetRefusedError, read_ports

RULES = Rules(Allowed(), frozenset({80, 443, 8443}), allows_http=True)
# Ways in which a caller may write an address inside, or hide one. None may get past the words.
TRICKS = {
    "loopback": "https://127.0.0.1/",
    "any loopback": "https://127.8.9.1/",
    "private": "https://10.0.0.1/ https://192.168.0.1/ https://172.16.0.1/",
    "metadata": "http://169.254.169.254/latest/meta-data/ https://[fd00:ec2::254]/",
    "unspecified": "https://0.0.0.0/ https://[::]/ https://0/ https://0x0/",
    "shared": "https://100.64.0.1/",
    "multicast": "https://224.0.0.1/ https://[ff02::1]/",
    "broadcast": "https://255.255.255.255/",
    "decimal": "https://2130706433/ https://2852039166/",
    "octal": "https://0177.0.0.1/ https://017700000001/ https://00000177.1/",
    "hexadecimal": "https://0x7f000001/ https://0x7f.0x0.0x0.0x1/ https://0X7F.1/",
    "short": "https://127.1/ https://127.0.1/ https://10.1/",
    "out of range": "https://256.256.256.256/ https://127.0.0.256/",
    "five numbers": "https://1.127.0.0.1/",
    "leading zeros": "https://127.000.000.001/ https://010.0.0.1/",
    "IPv6 loopback": "https://[::1]/ https://[0:0:0:0:0:0:0:1]/ https://[::0001]/",
    "IPv4-mapped": "https://[::ffff:127.0.0.1]/ https://[::ffff:7f00:1]/ https://[::FFFF:a00:1]/",
    "IPv4-compatible": "https://[::127.0.0.1]/",
    "6to4": "https://[2002:7f00:1::]/",
    "NAT64": "https://[64:ff9b::7f00:1]/ https://[64:ff9b::169.254.169.254]/",
    "zone": "https://[fe80::1%25eth0]/ https://[::1%lo]/",
    "no IPv6": "https://[127.0.0.1]/ https://[::1/ https://::1]/ https://[]/ https://[:]/",
    "trailing dot": "https://127.0.0.1./ https://localhost./ https://2130706433./",
    "dots": "https://../ https://a..b/ https://.example/ https://example../ https://./",
    "names inside": "https://localhost/ https://LOCALHOST/ https://redis/ https://a.localhost/",
    "user": "https://me@hooks.example/ https://hooks.example@127.0.0.1/ https://a:b@c.example/",
    "empty user": "https://@127.0.0.1/ https://:@hooks.example/",
    "port of another service": "https://hooks.example:6379/ https://hooks.example:22/",
    "no port": "https://hooks.example:/ https://hooks.example:0/ https://hooks.example:99999/",
    "port in words": "https://hooks.example:443:80/ https://hooks.example:+443/ https://a.b:４４３/",
    "scheme": "ftp://hooks.example/ file:///etc/passwd gopher://127.0.0.1:6379/_INFO",
    "no scheme": "//hooks.example/ hooks.example /hook javascript:alert(1) https:/hooks.example",
    "scheme in capitals hides nothing": "HTTPS://127.0.0.1/",
    "backslash": "https://hooks.example\\@127.0.0.1/ https:\\\\127.0.0.1\\",
    "white space": "https://127.0.0.1%20/ https://%31%32%37.0.0.1/",
    "full-width digits": "https://１２７.0.0.1/ https://127。0。0。1/ https://ⓛocalhost/",
    "unicode": "https://hööks.example/ https://hooks.example/ö",
    "fragment": "https://hooks.example/#@127.0.0.1 https://hooks.example#",
    "braces": "https://hooks.example/{x} https://hooks.example/<x>",
    "nothing": "https:// https:/// https://:443/",
}
LETTERS = [
    "https://hooks.example/\r\nHost: x",
    "https://127.0.0.1\t/",
    " https://a.example/",
    "https://hooks.example/\0",
    "https://a.example /",
    "https://a.example/" + "a" * 2048,
]


@pytest.mark.parametrize("kind", TRICKS)
def test_no_trick_gets_past_the_words(kind: str) -> None:
    for url in TRICKS[kind].split():
        with pytest.raises(TargetRefusedError):
            Target.of(url, RULES)


@pytest.mark.parametrize("url", LETTERS)
def test_letters_that_no_address_has(url: str) -> None:
    with pytest.raises(TargetRefusedError):
        Target.of(url, RULES)


@pytest.mark.parametrize(
    ("url", "parts", "header"),
    [
        ("https://Hooks.Example", ("hooks.example", 443, "/"), "hooks.example"),
        ("https://hooks.example:8443/a/b?c=d&e=%20", ("hooks.example", 8443, "/a/b?c=d&e=%20"),
         "hooks.example:8443"),
        ("https://hooks.example.:443/?", ("hooks.example", 443, "/"), "hooks.example"),
        ("https://xn--hks-sna.example/@x", ("xn--hks-sna.example", 443, "/@x"),
         "xn--hks-sna.example"),
        ("http://1.1.1.1/x", ("1.1.1.1", 80, "/x"), "1.1.1.1"),
        ("https://[2606:4700::1111]:8443/", ("2606:4700::1111", 8443, "/"),
         "[2606:4700::1111]:8443"),
        ("https://4chan.example/127.0.0.1", ("4chan.example", 443, "/127.0.0.1"), "4chan.example"),
    ],
)  # fmt: skip
def test_plain_addresses_are_taken(url: str, parts: tuple[str, int, str], header: str) -> None:
    target = Target.of(url, RULES)
    assert (target.host, target.port, target.path) == parts
    assert target.host_header == header


def test_http_only_where_it_is_allowed() -> None:
    strict = Rules(Allowed(), frozenset({80, 443}))
    with pytest.raises(TargetRefusedError, match="https://"):
        Target.of("http://hooks.example/", strict)
    assert Target.of("https://hooks.example/", strict).scheme == "https"


def test_what_is_allowed_may_lie_inside() -> None:
    rules = Rules(Allowed.read("10.1.0.0/16,hooks,localhost"), frozenset({443}))
    for url in ("https://10.1.2.3/", "https://hooks/", "https://LocalHost./"):
        assert Target.of(url, rules)
    for url in ("https://10.2.0.1/", "https://other/", "https://127.0.0.1/", "https://10.65795/"):
        with pytest.raises(TargetRefusedError):
            Target.of(url, rules)


def test_ports_are_read_and_checked() -> None:
    assert read_ports("443, 8443") == {443, 8443}
    for wrong in ("", "0", "65536", "https", "443-500", "-1", "²"):
        with pytest.raises(ValueError, match="port"):
            read_ports(wrong)
