"""Which IP addresses a webhook may reach: plainly public ones, and the networks that an operator listed.

The tables hold every entry of the IANA special-purpose registries
(https://www.iana.org/assignments/iana-ipv4-special-registry and …/iana-ipv6-special-registry), also those marked
globally reachable, because each means "not an ordinary host". `ipaddress.is_global` follows the reachable mark and so
lets relays, translators and anycast services through.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network

_SPECIAL_V4 = tuple(
    (IPv4Network(network), why)
    for network, why in (
        ("0.0.0.0/8", "this network"),  # RFC 791
        ("10.0.0.0/8", "private"),  # RFC 1918
        ("100.64.0.0/10", "carrier-grade NAT"),  # RFC 6598
        ("127.0.0.0/8", "loopback"),  # RFC 1122
        ("169.254.0.0/16", "link-local"),  # RFC 3927; cloud metadata services live here
        ("172.16.0.0/12", "private"),  # RFC 1918
        ("192.0.0.0/24", "protocol assignments"),  # RFC 6890
        ("192.0.2.0/24", "documentation"),  # RFC 5737
        ("192.31.196.0/24", "AS112"),  # RFC 7535
        ("192.52.193.0/24", "multicast tunnelling"),  # RFC 7450
        ("192.88.99.0/24", "6to4 relay"),  # RFC 7526
        ("192.168.0.0/16", "private"),  # RFC 1918
        ("192.175.48.0/24", "AS112"),  # RFC 7534
        ("198.18.0.0/15", "benchmarking"),  # RFC 2544
        ("198.51.100.0/24", "documentation"),  # RFC 5737
        ("203.0.113.0/24", "documentation"),  # RFC 5737
        ("224.0.0.0/4", "multicast"),  # RFC 5771
        ("240.0.0.0/4", "reserved or broadcast"),  # RFC 1112, RFC 8190
    )
)
_SPECIAL_V6 = tuple(
    (IPv6Network(network), why)
    for network, why in (
        ("2001::/23", "protocol assignments"),  # RFC 2928: Teredo, benchmarking, ORCHID, AMT, AS112 and more
        ("2001:db8::/32", "documentation"),  # RFC 3849
        ("2002::/16", "6to4"),  # RFC 3056
        ("2620:4f:8000::/48", "AS112"),  # RFC 7534
        ("3fff::/20", "documentation"),  # RFC 9637
    )
)
# All that IANA has given out for ordinary hosts. Outside it: loopback, unique local, link-local and site-local,
# multicast, discard-only, NAT64, SRv6 and everything unassigned.
_GLOBAL_UNICAST = IPv6Network("2000::/3")

# An IPv6 address that stands for an IPv4 one. Never reachable, also where listed: an allowed network must not turn
# into a second name for an address that it was not meant to open (::ffff:169.254.169.254).
_EMBEDDING = tuple(
    (IPv6Network(network), why)
    for network, why in (
        ("::ffff:0:0/96", "IPv4-mapped"),  # RFC 4291
        ("::ffff:0:0:0/96", "IPv4-translated"),  # RFC 2765
        ("64:ff9b::/96", "NAT64"),  # RFC 6052
        ("64:ff9b:1::/48", "NAT64"),  # RFC 8215
        ("2001::/32", "Teredo"),  # RFC 4380
        ("2002::/16", "6to4"),  # RFC 3056
    )
)
_IPV4_COMPATIBLE = IPv6Network("::/96")  # RFC 4291; holds loopback and unspecified too, which are no embeddings


def is_public(ip: str | IPv4Address | IPv6Address) -> bool:
    """Whether the address is an ordinary host on the public Internet. Text that is no IP address is not."""
    return check_address(ip, ()) is None


def check_address(ip: str | IPv4Address | IPv6Address, allowed_networks: Iterable[Network]) -> str | None:
    """None where the address may be reached, else the reason why not (never the address itself).

    A listed network opens itself and nothing else; scoped and IPv4-embedding IPv6 addresses are always refused.
    """
    address = _parse(ip)
    if isinstance(address, str):
        return address
    if _listed(address, allowed_networks):
        return None
    return _special(address)


def is_listed(ip: str | IPv4Address | IPv6Address, networks: Iterable[Network]) -> bool:
    """Whether the address lies in one of `networks` under its one plain name (no scope, no embedding)."""
    address = _parse(ip)
    return not isinstance(address, str) and _listed(address, networks)


def _parse(ip: str | IPv4Address | IPv6Address) -> IPv4Address | IPv6Address | str:
    """The address, or the reason why no list can make it reachable."""
    try:
        address = ip_address(ip)
    except ValueError:
        return "not an IP address"
    if isinstance(address, IPv4Address):
        return address
    if address.scope_id is not None:
        return "scoped"
    for network, why in _EMBEDDING:
        if address in network:
            return why
    if address in _IPV4_COMPATIBLE and int(address) > 1:
        return "IPv4-compatible"
    return address


def _listed(address: IPv4Address | IPv6Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _special(address: IPv4Address | IPv6Address) -> str | None:
    if isinstance(address, IPv4Address):
        return next((why for network, why in _SPECIAL_V4 if address in network), None)
    if address.is_loopback:
        return "loopback"
    if address not in _GLOBAL_UNICAST:
        return "not global unicast"
    return next((why for network, why in _SPECIAL_V6 if address in network), None)
