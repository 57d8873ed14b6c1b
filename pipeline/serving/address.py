"""Where a server listens, and who may use it. Nothing heavy is imported here: a port that is in use is said at once.

In: a host, a port, and a token if the user has one. Out: a socket that listens.
"""

import errno
import ipaddress
import secrets
import socket
from dataclasses import dataclass

from cache.errors import UsageError

BACKLOG = 512
PORT_PROBLEMS = {errno.EADDRINUSE: "is in use", errno.EACCES: "may not be used by you"}
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Address:
    """A socket, and what clients must know and send."""

    listener: socket.socket
    url: str
    token: str | None = None  # that clients must send; None for none
    is_token_new: bool = False  # made here, and known to nobody yet
    hosts: frozenset[str] = frozenset()  # names under which the server may be reached; empty for any


def listen(address: str, port: int, family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    """Begin to listen, with connections that send at once; an OSError if the address can't be had."""
    listener = socket.create_server((address, port), family=family, backlog=BACKLOG)
    # Connections inherit it. Else an answer's body waits up to 40 ms for the client to confirm the head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def open_address(host: str, port: int, token: str | None) -> Address:
    """Begin to listen; where other machines can come in, there is always a token.

    Args:
        host: a name or address of this machine.
        port: 0 for any free one.
        token: None to make one where it is needed.

    Raises:
        UsageError: the address can't be listened on.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = listen(str(address[0]), port, family)
    except OSError as error:
        if error.errno in PORT_PROBLEMS:
            why = PORT_PROBLEMS[error.errno]
            raise UsageError(
                f"port {port} of {host} {why}; choose another with --port, or 0 for any free one"
            ) from None
        raise UsageError(f"--host {host}: {error.strerror or error}") from None
    url = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}/"
    if token:
        return Address(listener, url, token)
    if ipaddress.ip_address(str(address[0])).is_loopback:
        return Address(listener, url, hosts=LOCAL_NAMES | {host})
    return Address(listener, url, secrets.token_urlsafe(24), is_token_new=True)
