"""Which network addresses are nobody's but our own: what a caller's URL must never make us connect to."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

__all__ = ["is_internal"]

_NAT64: Final = IPv6Network("64:ff9b::/96")
_COMPATIBLE: Final = IPv6Network("::/96")
_INTERNAL: Final[tuple[IPv4Network | IPv6Network, ...]] = tuple(
    ip_network(text)
    for text in (
        # What Python 3.11's `is_global` leaves out.
        "192.0.0.0/24",  # protocol assignments; a cloud has its metadata service in there
        "192.88.99.0/24",
        "168.63.129.16/32",  # a cloud's own services, at a public address
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
        "5f00::/16",
        "fec0::/10",
    )
)


def is_internal(address: str) -> bool:
    """Whether an address is not a public host's: loopback, private, link-local, shared, multicast, reserved.

    IPv6 addresses that lead to an IPv4 one (mapped, compatible, NAT64, 6to4) are judged by that one. What is not an
    address is internal.
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return True
    if isinstance(ip, IPv6Address):
        inner = _ipv4_within(ip)
        if inner is not None:
            ip = inner
    if not ip.is_global or ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_loopback or ip.is_link_local:
        return True
    return any(ip.version == network.version and ip in network for network in _INTERNAL)


def _ipv4_within(ip: IPv6Address) -> IPv4Address | None:
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    if ip.sixtofour is not None:
        return ip.sixtofour
    if ip in _NAT64 or ip in _COMPATIBLE:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return None
