"""Which addresses belong to the internet at large: a server that asks for URLs must not reach into its own network."""

import ipaddress
from typing import Final

# https://www.iana.org/assignments/iana-ipv6-special-registry and .../ipv6-address-space: of all IPv6 addresses only
# 2000::/3 is given out to the internet. Of it, some wrap an IPv4 address (6to4, Teredo) and some are for examples.
UNICAST: Final = ipaddress.IPv6Network("2000::/3")
NOT_PUBLIC: Final = tuple(map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")  # a public IPv4 address behind a translator (RFC 6052)
RELAYS: Final = ipaddress.IPv4Network("192.88.99.0/24")  # into 6to4 (RFC 7526)


def is_public(address: str) -> bool:
    """Whether `address` belongs to the internet at large: no loopback, private, link-local or multicast one."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv4Address):
        return parsed.is_global and not parsed.is_multicast and parsed not in RELAYS
    if parsed.ipv4_mapped is not None:
        return is_public(str(parsed.ipv4_mapped))
    if parsed in TRANSLATED:
        return is_public(str(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)))
    return parsed in UNICAST and parsed.is_global and not any(parsed in network for network in NOT_PUBLIC)
