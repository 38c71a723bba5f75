"""A client that sends garbage to every port on which some processes listen, for tests."""

import contextlib
import ipaddress
import math
import os
import random
import re
import socket
import struct
import threading
import time
from pathlib import Path

LISTENING = "0A"  # state of a socket in /proc/net/tcp
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # how gRPC begins
FLOOD_BYTES = 20_000_000
MOST_SILENT = 30  # connections to a port


def ports(pid):
    """`(host, port)` of all that a process listens on."""
    inodes = set()
    with contextlib.suppress(OSError):  # it has ended
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                inodes.update(re.findall(r"^socket:\[(\d+)\]$", os.readlink(descriptor)))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING and fields[9] in inodes:
                found.add(_address(fields[1]))
    return found


def _address(text):
    """Of `0100007F:1F90`, whose words of 4 bytes are in the order of this machine."""
    host, port = text.split(":")
    words = [int(host[i : i + 8], 16) for i in range(0, len(host), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    address = ipaddress.ip_address(packed)
    if address.is_unspecified:
        address = ipaddress.ip_address("::1" if address.version == 6 else "127.0.0.1")
    return str(address), int(port, 16)


def _frames(generator):
    """HTTP/2 frames of every kind with random contents."""
    frames = []
    for kind in range(10):
        length = generator.randrange(100)
        head = struct.pack(">I", length)[1:] + bytes([kind, generator.randrange(256)])
        frames.append(
            head + struct.pack(">I", generator.randrange(4)) + generator.randbytes(length)
        )
    return HTTP2 + b"".join(frames)


def _flood(connection):
    for _ in range(FLOOD_BYTES // 100_000):
        connection.sendall(b"x" * 100_000)


def _garbage(connection, generator):
    """One of the things that strangers send."""
    choice = generator.randrange(7)
    if choice == 0:
        connection.sendall(generator.randbytes(generator.randrange(1, 100_000)))
    elif choice == 1:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    elif choice == 2:
        connection.sendall(_frames(generator))
    elif choice == 3:
        _flood(connection)
    elif choice == 4:
        connection.sendall(b'["here", 1, 2, ""]\n["gather", 1, 2]\n' + b"[" * 100_000 + b"\n")
    elif choice == 5:  # numbers of 8 bytes, as gloo's
        connection.sendall(struct.pack("<Q", generator.randrange(100)) * 8)
    else:  # ends in a reset
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _bother(address, seed, ended):
    generator, silent = random.Random(seed), []
    while not ended.is_set():
        with contextlib.suppress(OSError):  # sent away
            connection = socket.create_connection(address, timeout=1)
            if len(silent) < MOST_SILENT and generator.random() < 0.3:
                silent.append(connection)
                continue
            with connection:
                _garbage(connection, generator)
        ended.wait(0.02)
    for connection in silent:
        connection.close()


def bother(started, port, seconds):
    """Sends garbage to all ports of the processes, also to those that they open meanwhile.

    Args:
        started: `Popen`s of the processes.
        port: JAX's, which is open once the processes have met.
        seconds: from then on, after which it stops; before, if all have ended.

    Returns:
        The addresses it went to.
    """
    ended, threads, ends = threading.Event(), {}, math.inf
    while time.monotonic() < ends and any(process.poll() is None for process in started):
        for address in {address for process in started for address in ports(process.pid)}:
            if address not in threads:
                arguments = (address, len(threads), ended)
                threads[address] = threading.Thread(target=_bother, args=arguments)
                threads[address].start()
                if address[1] == port:
                    ends = time.monotonic() + seconds
        time.sleep(0.05)
    ended.set()
    for thread in threads.values():
        thread.join()
    return set(threads)
