import socket
import struct

import pytest
from waitress.channel import ClientDisconnected

from harness.site import HOST, connect
from web.pages import static_version
from web.server.connections import Channel

# The offset of tcpi_data_segs_in, the segments with data that were received, in Linux's tcp_info.
SEGMENTS = 152


def received(connection):
    """Return all that the server sends until it closes the connection, and in how many segments."""
    data = b""
    while piece := connection.recv(1 << 16):
        data += piece
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, SEGMENTS + 4)
    return data, struct.unpack_from("I", info, SEGMENTS)[0]


@pytest.mark.parametrize(
    ("asked", "status", "end"),
    [
        (b"GET /api/health HTTP/1.1", b"200", b"}"),
        (b"GET /api/batches/7 HTTP/1.1", b"404", b"}"),
        (b"HEAD /api/health HTTP/1.1", b"200", b"\r\n\r\n"),
        (b"GET nothing", b"400", b"</html>\n"),
    ],
)
def test_an_answer_is_sent_in_one_piece(site, asked, status, end):
    with connect(site, asked + b"\r\nConnection: close\r\n" + HOST + b"\r\n") as connection:
        data, segments = received(connection)
    assert data[9:12] == status
    assert data.endswith(end)
    assert segments == 1


def test_a_static_file_comes_after_its_head(site):
    asked = f"GET /static/{static_version()}/icon.svg HTTP/1.1\r\nConnection: close\r\n"
    with connect(site, asked.encode() + HOST + b"\r\n") as connection:
        head, _, body = received(connection)[0].partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"Content-Length: %d" % len(body) in head


def test_a_client_that_goes_once_it_has_its_answer_is_no_error():
    channel = Channel.__new__(Channel)
    channel.connected = False
    channel.send_head()  # would raise ClientDisconnected for a head that is unsent
    channel.head = b"HTTP/1.1 204 No Content\r\n\r\n"
    with pytest.raises(ClientDisconnected):
        channel.send_head()
