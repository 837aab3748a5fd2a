"""Which client a request comes from: the address at the other end of the connection."""

import ipaddress
from typing import Any

HOME_NETWORK = 64  # prefix bits of an IPv6 address that identify a customer, who can change the others


def client_of(scope: Any) -> str:
    """The client of an ASGI scope (or of a request, which is a mapping over one); "" if unknown.

    X-Forwarded-For is not trusted, because anyone can send it.

    >>> client_of({"client": ("2001:db8:1:2:3:4:5:6", 50000)})
    '2001:db8:1:2::/64'
    """
    client = scope.get("client")
    return network_of(client[0]) if client else ""


def network_of(address: str) -> str:
    """`address` for IPv4; for IPv6, the network of addresses that belong to one customer."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((address.partition("%")[0], HOME_NETWORK), strict=False))
