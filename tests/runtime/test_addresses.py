"""Which addresses process 0 listens on."""

import socket

import pytest

from datafree_nas.runtime import addresses
from datafree_nas.runtime.errors import UserError
from tests.runtime.peers import free_port


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("host:1234", ("host", 1234)),
        ("10.0.0.1:65535", ("10.0.0.1", 65535)),
        ("[::1]:1234", ("::1", 1234)),
        ("[fe80::1%eth0]:1", ("fe80::1%eth0", 1)),
        ("::1:1234", None),  # or is it port 1234 of ::1, or ::1:1234 without a port?
        ("[host]:1234", None),
        ("[::1:1234", None),
        ("[]:1234", None),
        ("host", None),
        (":1234", None),
        ("host:", None),
        ("host:-1", None),
        ("host:65536", None),
        ("host:²", None),
    ],
)
def test_split(text, found):
    assert addresses.split(text) == found
    if found:
        assert addresses.join(*found) == text


def _knows(monkeypatch, *known):
    """As where this machine resolves every name to `known`."""
    family = {True: socket.AF_INET6, False: socket.AF_INET}
    found = [(family[":" in a], socket.SOCK_STREAM, 6, "", (a, 0)) for a in known]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


@pytest.mark.parametrize(
    ("host", "known", "listens"),
    [
        ("node7", ["10.0.0.7"], "node7"),
        ("node7", ["127.0.1.1", "10.0.0.7"], "node7"),
        ("node7", ["127.0.1.1"], "everywhere"),  # Debian's /etc/hosts
        ("node7", ["127.0.0.1", "::1"], "everywhere"),
        ("localhost", ["127.0.0.1", "::1"], "localhost"),
        ("127.0.1.1", ["127.0.1.1"], "127.0.1.1"),
        ("::1", ["::1"], "::1"),
        ("fe80::1%eth0", ["fe80::1%eth0"], "fe80::1%eth0"),
    ],
)
def test_where_to_listen(monkeypatch, host, known, listens):
    _knows(monkeypatch, *known)
    everywhere = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"
    assert addresses.to_listen_on(host) == (everywhere if listens == "everywhere" else listens)


def test_it_listens_there_and_nowhere_else():
    port = free_port()
    (server,) = addresses.listen("127.0.0.1", port)
    with server, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=1)


def test_everywhere():
    port = free_port()
    (server,) = addresses.listen("::" if socket.has_dualstack_ipv6() else "0.0.0.0", port)
    with server:
        for host in ("127.0.0.1", "127.0.0.2"):
            socket.create_connection((host, port), timeout=1).close()


def test_a_name_listens_on_all_its_addresses_that_there_are(monkeypatch):
    _knows(monkeypatch, "203.0.113.7", "127.0.0.2", "127.0.0.3", "127.0.0.3")
    servers = addresses.listen("node7", 0)
    assert [server.getsockname()[0] for server in servers] == ["127.0.0.2", "127.0.0.3"]
    for server in servers:
        server.close()


def test_a_port_in_use_on_one_of_them(monkeypatch):
    with socket.create_server(("127.0.0.3", 0)) as other:
        port = other.getsockname()[1]
        found = [(socket.AF_INET, 1, 6, "", (f"127.0.0.{i}", port)) for i in (2, 3, 4)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        with pytest.raises(UserError, match=r"listen on node7:\d+ \(Address already in use\)"):
            addresses.listen("node7", port)
    socket.create_server(("127.0.0.2", port)).close()  # it was let go of


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a" * 70, "a..b"])
def test_an_unknown_host(host):
    with pytest.raises(UserError, match=f"--coordinator: no host {host} is known here"):
        addresses.to_listen_on(host)
