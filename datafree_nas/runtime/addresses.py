"""Addresses of process 0: it listens where the other processes expect it, and nowhere else."""

import errno
import ipaddress
import os
import socket
from typing import Any

from datafree_nas.runtime.errors import UserError


def split(address: str) -> tuple[str, int] | None:
    """Splits `HOST:PORT` or `[IPV6]:PORT` into host and port; returns None for anything else."""
    host, _, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    bracketed = host == f"[{bare}]"
    if not bare or bracketed != (":" in bare) or not (port.isascii() and port.isdigit()):
        return None
    return (bare, int(port)) if int(port) < 1 << 16 else None


def join(host: str, port: int) -> str:
    """Joins host and port to `HOST:PORT`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def to_listen_on(host: str) -> str:
    """Finds the host on which process 0 has to listen so that the others reach it as `host`.

    Returns:
        `host` itself; or all interfaces, if `host` is a name for which this machine knows only a
        loopback address, as in Debian's /etc/hosts: the others know another address for it.

    Raises:
        UserError: the host is unknown.
    """
    found = [ipaddress.ip_address(info[4][0].partition("%")[0]) for info in _resolve(host, 0)]
    if host == "localhost" or _is_literal(host) or not all(each.is_loopback for each in found):
        return host
    return "::" if socket.has_dualstack_ipv6() else "0.0.0.0"


def listen(host: str, port: int) -> list[socket.socket]:
    """Listens on `port` of every address that `host` stands for.

    Raises:
        UserError: it cannot listen; the message says why.
    """
    servers: list[socket.socket] = []
    failure = OSError()
    for family, *_, address in _resolve(host, port):
        everything = address[0] == "::" and socket.has_dualstack_ipv6()
        try:
            servers.append(socket.create_server(address, family=family, dualstack_ipv6=everything))
        except OSError as error:  # `localhost` may have an IPv6 address that no interface has
            failure = error
            if error.errno != errno.EADDRNOTAVAIL:
                break
    if servers and failure.errno in (None, errno.EADDRNOTAVAIL):
        return servers
    for server in servers:
        server.close()
    where = join(host, port)
    if failure.errno == errno.EADDRNOTAVAIL:
        raise UserError(
            f"process 0 cannot listen on {where}, which is no address of this machine; start "
            "process 0 where --coordinator says, or give JAX_COORDINATOR_BIND_ADDRESS=HOST:PORT"
        )
    reason = os.strerror(failure.errno or 0)
    raise UserError(
        f"process 0 cannot listen on {where} ({reason}); choose another port for --coordinator: "
        "it uses that and the one 1000 below"
    )


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _resolve(host: str, port: int) -> list[tuple[Any, ...]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--coordinator: no host {host} is known here ({reason})") from None
    return list(dict.fromkeys(found))
