"""Which IP addresses lie inside: what webhooks must not reach unless the operator allows it.

Knows no names and opens no connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Self

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Beyond what `ipaddress` calls not global: a cloud's own servers behind a public address, addresses
# that lead through a relay to any IPv4 address (6to4, Teredo), what is no longer given out.
_INSIDE: tuple[Network, ...] = tuple(
    map(
        ip_network,
        (
            "168.63.129.16/32",  # Azure's platform
            "192.0.0.0/24",  # of protocols; Oracle's metadata
            "192.88.99.0/24",  # relays of 6to4
            "2001::/32",
            "2002::/16",
            "64:ff9b:1::/48",  # NAT64 of one's own network
            "fec0::/10",
            "3ffe::/16",
            "3fff::/20",  # documentation; Pythons before 3.13 call it global
        ),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")


def _stands_for(address: Address) -> IPv4Address | None:
    """The IPv4 address that packets to an IPv6 address arrive at, where it has one inside."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped


def is_inside(address: Address) -> bool:
    """Loopback, private, link-local, shared (CGNAT), multicast, reserved, unspecified, a cloud's
    metadata; in IPv6 also whatever leads to such an IPv4 address.
    """
    end = _stands_for(address) or address
    return (
        not end.is_global
        or end.is_multicast
        or end.is_reserved
        or any(end in network for network in _INSIDE)
    )


@dataclass(frozen=True, slots=True)
class Allowed:
    """What webhooks may reach although it lies inside: networks, and hosts by name."""

    networks: tuple[Network, ...] = ()
    names: frozenset[str] = frozenset()

    @classmethod
    def read(cls, text: str) -> Self:
        """From a comma-separated list of CIDR networks, addresses and names.

        Raises:
            ValueError: an entry is none of them.
        """
        networks: list[Network] = []
        names: set[str] = set()
        for entry in filter(None, map(str.strip, text.split(","))):
            if "/" in entry or ":" in entry or entry.replace(".", "").isdecimal():
                networks.append(_network(entry))
            else:
                names.add(_name(entry))
        return cls(tuple(networks), frozenset(names))

    def has_address(self, address: Address) -> bool:
        """Whether it, or what it stands for, is in one of the networks."""
        seen = {address, _stands_for(address) or address}
        return any(one in network for one in seen for network in self.networks)


def _network(entry: str) -> Network:
    try:
        return ip_network(entry)
    except ValueError:
        raise ValueError(
            f"{entry!r} is no network or address, such as 10.1.0.0/16 or 10.1.2.3"
        ) from None


def _name(entry: str) -> str:
    if not entry.isascii() or not entry.replace(".", "").replace("-", "").isalnum():
        raise ValueError(f"{entry!r} is no name of a host, such as hooks.internal")
    return entry.lower()


def literal(host: str) -> Address | None:
    """The address that a host is when it is no name; brackets are off."""
    try:
        return ip_address(host)
    except ValueError:
        return None
