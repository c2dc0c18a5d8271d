"""No test reaches another machine, nor does a process that it starts."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

# RFC 5737, 3849 and 6761: nobody has these addresses, and the name never resolves.
ATTEMPTS = {
    "socket.connect(('192.0.2.1', 9))": "192.0.2.1",
    "socket.connect_ex(('192.0.2.1', 9))": "192.0.2.1",
    "socket.sendto(b'', ('192.0.2.1', 9))": "192.0.2.1",
    "getaddrinfo('2001:db8::1', 9)": "2001:db8::1",
    "getaddrinfo('nobody.invalid', 9)": "nobody.invalid",
    "gethostbyname('nobody.invalid')": "nobody.invalid",
}
PROGRAM = """
from socket import SOCK_DGRAM, create_connection, getaddrinfo, gethostbyname, socket as new
with new(type=SOCK_DGRAM) as socket:
    {}
"""


def here(program: str) -> str:
    """How a program ends in this process."""
    with pytest.raises(RuntimeError) as refused:
        exec(program, {})
    return str(refused.value)


def in_a_process(program: str) -> str:
    """How it ends in a process of its own."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    return done.stderr


@pytest.mark.parametrize("end", [here, in_a_process])
@pytest.mark.parametrize(("attempt", "host"), ATTEMPTS.items())
def test_another_machine_is_out_of_reach(
    end: Callable[[str], str], attempt: str, host: str
) -> None:
    told = f"a test reaches for '{host}': tests run without a network"
    assert told in end(PROGRAM.format(attempt))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_within_reach(host: str) -> None:
    with socket.create_server((host, 0)) as server:
        address = (host, server.getsockname()[1])
        program = PROGRAM.format(f"create_connection({address}).close()")
        exec(program, {})
        subprocess.run([sys.executable, "-c", program], check=True)
