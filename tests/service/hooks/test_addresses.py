from __future__ import annotations

from ipaddress import ip_address

import pytest

from service.hooks.addresses import Allowed, is_inside

INSIDE = {
    "loopback": "127.0.0.1 127.255.255.254 ::1",
    "private": "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 fc00::1 fd12:3456::1",
    "link-local": "169.254.0.1 169.254.169.254 fe80::1 fec0::1",
    "metadata": "169.254.169.254 100.100.100.200 168.63.129.16 192.0.0.192 fd00:ec2::254",
    "shared (CGNAT)": "100.64.0.1 100.127.255.255",
    "multicast": "224.0.0.1 239.255.255.250 ff02::1 ff0e::1",
    "unspecified": "0.0.0.0 0.1.2.3 ::",
    "broadcast, reserved": "255.255.255.255 240.0.0.1 192.0.2.1 198.51.100.1 198.18.0.1 100::1",
    "IPv4-mapped": "::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:0",
    "IPv4-compatible": "::127.0.0.1 ::10.0.0.1 ::8.8.8.8",
    "6to4": "2002:7f00:1:: 2002:a9fe:a9fe::1 2002:808:808::1",
    "NAT64": "64:ff9b::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b:1::808:808",
    "Teredo": "2001:0:53aa:64c:0:fbfe:80ff:fffe",
    "documentation": "2001:db8::1 3fff::1",
}
OUTSIDE = "1.1.1.1 8.8.8.8 172.32.0.1 100.128.0.1 2606:4700::1111 ::ffff:8.8.8.8 64:ff9b::8.8.8.8"


@pytest.mark.parametrize("kind", INSIDE)
def test_what_lies_inside(kind: str) -> None:
    assert all(is_inside(ip_address(text)) for text in INSIDE[kind].split())


def test_what_lies_outside() -> None:
    assert not any(is_inside(ip_address(text)) for text in OUTSIDE.split())


def test_networks_and_names_can_be_allowed() -> None:
    allowed = Allowed.read("10.1.0.0/16, 127.0.0.1,Hooks.Internal,fd00::/8")
    assert allowed.names == {"hooks.internal"}
    for text in ("10.1.2.3", "127.0.0.1", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd00::1"):
        assert allowed.has_address(ip_address(text))
    for text in ("10.2.0.1", "127.0.0.2", "::1", "::ffff:10.2.0.1"):
        assert not allowed.has_address(ip_address(text))
    assert not Allowed.read("").has_address(ip_address("127.0.0.1"))


@pytest.mark.parametrize("text", ["10.0.0.1/8", "300.1.1.1", "10.1", "a b", "häuser", "::g", "*"])
def test_what_is_no_network_and_no_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        Allowed.read(text)
