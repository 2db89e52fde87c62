"""The recording server."""

from __future__ import annotations

import contextlib
import socket
import struct

from harness.polling import eventually
from torture.recording import Recording


def test_a_call_is_noted_before_it_is_answered_and_though_its_caller_dies():
    with contextlib.closing(Recording()) as recording:
        address = "127.0.0.1", recording.port
        with socket.create_connection(address) as caller, caller.makefile("rwb") as file:
            for number in (1, 2):
                file.write(b"key-%d\n" % number)
                file.flush()
                assert file.readline() == b"\n"
                assert recording.keys == ["key-1", "key-2"][:number]
        with socket.create_connection(address) as dying:
            dying.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            dying.sendall(b"key-3\n")
            eventually(lambda: len(recording.keys) == 3)
        with socket.create_connection(address) as caller:
            caller.sendall(b"key-4\n")
            assert caller.recv(9) == b"\n"
    assert recording.keys == ["key-1", "key-2", "key-3", "key-4"]
