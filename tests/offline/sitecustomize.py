"""Refuses every address but this machine's own, in each Python that has this folder on its path.

Python imports a module of this name when it starts. The hook lies below the sockets: whoever opens
one, it raises, and no packet leaves.
"""

from __future__ import annotations

import ipaddress
import sys
from typing import Any

LOOKED_UP = {"socket.getaddrinfo", "socket.gethostbyname"}
SENT = {"socket.connect", "socket.sendto", "socket.sendmsg"}


def is_here(host: object) -> bool:
    """Whether a host, by name or address, is this machine."""
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(str(name).partition("%")[0])
    except ValueError:
        import socket

        return name == socket.gethostname()
    return address.is_loopback or address.is_unspecified


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """RuntimeError, which nobody takes for a network that is down, for an address elsewhere."""
    if event in LOOKED_UP:
        host = arguments[0]
    elif event in SENT and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if not is_here(host):
        raise RuntimeError(f"a test reaches for {host!r}: tests run without a network")


sys.addaudithook(refuse)
