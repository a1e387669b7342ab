"""What a client is bounded by before anybody knows it: bytes, clocks, places. Real sockets on both sides."""

import ipaddress
import json
import select
import socket
import time
from collections.abc import Iterator

import pytest
import structlog

from gateway.config import Server
from tests.served import Client, Served, serving

QUICK = Server(header_timeout=0.4, body_timeout=0.4, keep_alive=0.8, write_timeout=0.4)
GET = b"GET /%b HTTP/1.1\r\nhost: a\r\n%b\r\n"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(Server()) as one:
        yield one


@pytest.fixture(scope="module")
def quick() -> Iterator[Served]:
    with serving(QUICK) as one:
        yield one


def post(path: str, body: bytes, more: bytes = b"") -> bytes:
    return b"POST %b HTTP/1.1\r\nhost: a\r\n%bcontent-length: %d\r\n\r\n%b" % (path.encode(), more, len(body), body)


def flood(client: Client, first: bytes, again: bytes, most: int) -> tuple[int, bytes]:
    """Send without end until the other side answers or cuts; returns how many bytes went out, and what came."""
    sent, sock = 0, client.sock
    try:
        client.send(first)
        while sent < most:
            readable, writable, _ = select.select([sock], [sock], [], 10)
            if readable:
                return sent, sock.recv(1 << 16)
            if writable:
                sent += sock.send(again)
    except ConnectionError:
        pass
    return sent, b""


# --- bytes


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b"GET / HTTP/1.1\r\nx: ", b"a" * 8192),
        (b"GET / HTTP/1.1\r\n", b"a: b\r\n" * 1365),
        (b"GET /", b"a" * 8192),
        (b"", b"A" * 8192),
    ],
    ids=["a value", "a count", "an URL", "a method"],
)
def test_a_head_without_end_is_cut(served: Served, first: bytes, again: bytes) -> None:
    with served.open() as client:
        sent, told = flood(client, first, again, 50_000_000)
    assert sent < 8_000_000  # what both kernels buffer; the gateway reads 128 kB of it
    assert told.startswith(b"HTTP/1.1 431 ") or not told


def test_a_head_of_less_than_64_kilobytes_is_served_and_one_of_more_is_a_431(served: Served) -> None:
    assert served.ask(GET % (b"x", b"a: %b\r\n" % (b"b" * 65_000))).status == 200
    reply = served.ask(GET % (b"x", b"a: %b\r\n" % (b"b" * 65_536)))
    assert reply.status == 431
    error = json.loads(reply.body)["error"]
    assert error["code"] == "headers_too_large"
    assert reply.header("x-request-id") in error["message"]
    assert reply.header("connection") == "close"


def test_more_lines_than_any_client_sends_are_a_431(served: Served) -> None:
    assert served.ask(GET % (b"x", b"a: b\r\n" * 900)).status == 200
    assert served.ask(GET % (b"x", b"a: b\r\n" * 1100)).status == 431


@pytest.mark.parametrize("size", [1, 7])
def test_a_head_may_come_in_pieces(served: Served, size: int) -> None:
    sent = post("/a", b"hello")
    with served.open() as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(sent), size):
            client.send(sent[at : at + size])
        assert client.reply().body == b"hello"


def test_trailers_without_end_are_cut(served: Served) -> None:
    with served.open() as client:
        head = b"POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: "
        sent, _ = flood(client, head, b"a" * 8192, 50_000_000)
    assert sent < 8_000_000


def test_a_body_of_next_to_nothing_but_chunk_sizes_is_refused(served: Served) -> None:
    with served.open() as client:
        head = b"POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        sent, told = flood(client, head, b"1\r\na\r\n" * 2000, 50_000_000)
    assert sent < 12_000_000
    assert told.startswith(b"HTTP/1.1 400 ") or not told


def test_the_body_of_a_request_that_was_refused_unread_is_not_read_on(served: Served) -> None:
    with served.open() as client:
        client.send(b"POST /refused HTTP/1.1\r\nhost: a\r\ncontent-length: 900000000\r\n\r\n")
        reply = client.reply()
        assert (reply.status, reply.header("connection")) == (401, "close")
        sent, _ = flood(client, b"", b"a" * 65_536, 100_000_000)
    assert sent < 20_000_000


def test_a_short_body_of_a_refused_request_is_read_away(served: Served) -> None:
    with served.open() as client:
        for _ in range(3):
            client.send(b"POST /refused HTTP/1.1\r\nhost: a\r\ncontent-length: 3000\r\n\r\n")
            assert client.reply().status == 401
            client.send(b"a" * 3000)
        client.send(GET % (b"x", b""))
        assert client.reply().body == b"/x"


# --- what is a request


@pytest.mark.parametrize("name", ["host", "Authorization", "x-api-key"])
def test_a_header_that_says_who_asks_may_not_stand_twice(served: Served, name: str) -> None:
    lines = (f"{name}: a\r\n" * (1 if name == "host" else 2)).encode()
    reply = served.ask(GET % (b"x", lines))
    assert reply.status == 400
    assert json.loads(reply.body)["error"]["code"] == "repeated_header"


def test_other_headers_may_stand_twice(served: Served) -> None:
    assert served.ask(GET % (b"x", b"accept: a\r\naccept: b\r\n")).status == 200


@pytest.mark.parametrize(
    "asked", ["/v1//a/b", "//v1/a/b", "/v1/a/b/", "/v1/a/b//?q=//", "http://host/v1/a/b", "/v1/%61/b"]
)
def test_slashes_too_many_find_the_path(served: Served, asked: str) -> None:
    assert served.ask(b"GET %b HTTP/1.1\r\nhost: a\r\n\r\n" % asked.encode()).body == b"/v1/a/b"


def test_the_root_and_the_query_stay(served: Served) -> None:
    assert served.ask(GET % (b"?a=//b/", b"")).body == b"/"
    assert served.scopes[-1]["query_string"] == b"a=//b/"


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\n\n",
        b"GET / HTTP/1.1\nhost: a\n\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_not_http_is_a_400(served: Served, sent: bytes) -> None:
    reply = served.ask(sent)
    assert reply.status == 400
    assert json.loads(reply.body)["error"]["code"] == "malformed_http"


def test_another_version_of_http_is_a_505(served: Served) -> None:
    assert served.ask(b"GET / HTTP/2.0\r\nhost: a\r\n\r\n").status == 505


def test_http_1_0_is_not_answered_in_chunks(served: Served) -> None:
    with served.open() as client:
        client.send(b"GET /stream HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
        reply = client.reply()
    assert (reply.header("transfer-encoding"), reply.header("connection")) == (None, "close")
    assert reply.body == b"onetwo"


def test_http_1_1_is(served: Served) -> None:
    reply = served.ask(GET % (b"stream", b""))
    assert (reply.header("transfer-encoding"), reply.body) == ("chunked", b"onetwo")


def test_a_head_request_gets_no_body(served: Served) -> None:
    with served.open() as client:
        client.send(b"HEAD /x HTTP/1.1\r\nhost: a\r\n\r\n")
        client.send(b"HEAD /stream HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        read = b""
        while data := client.sock.recv(1 << 16):
            read += data
    assert read.count(b"HTTP/1.1 200 OK") == 2
    assert read.endswith(b"\r\n\r\n")


def test_requests_that_come_early_are_answered_in_turn(served: Served) -> None:
    with served.open() as client:
        client.send(post("/a", b"one") + GET % (b"b", b"") + post("/c", b"two" * 30_000) + GET % (b"d", b""))
        assert [client.reply().body for _ in range(4)] == [b"one", b"/b", b"two" * 30_000, b"/d"]


CHUNKED = b"POST /%b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
IN_A_CHUNK = b"0\r\n\r\nGET /never HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize("end", [b"0\r\n\r\n", b"000;a=b\r\n\r\n", b"0\r\nx: y\r\nz: 1\r\n\r\n"])
@pytest.mark.parametrize("size", [1, 2, 7, 100_000])
def test_one_that_comes_early_behind_chunks_is_answered_too(served: Served, end: bytes, size: int) -> None:
    body = b"%x;a=b\r\n%b\r\n%X\r\n%b\r\n" % (len(IN_A_CHUNK), IN_A_CHUNK, 26, b"a" * 26) + end
    sent = CHUNKED % b"a" + body + CHUNKED % b"b" + b"3\r\ntwo\r\n" + end + GET % (b"c", b"")
    with served.open() as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(sent), size):
            client.send(sent[at : at + size])
        assert [client.reply().body for _ in range(3)] == [IN_A_CHUNK + b"a" * 26, b"two", b"/c"]


def test_one_that_comes_behind_a_body_that_is_read_away_is_answered(served: Served) -> None:
    piece = b"%x\r\n%b\r\n" % (50_000, b"a" * 50_000)
    with served.open() as client:
        client.send(CHUNKED % b"too-large" + piece)
        assert client.reply().status == 413
        client.send(piece * 5 + b"0\r\n\r\n" + GET % (b"x", b""))
        assert client.reply().body == b"/x"


def test_a_client_that_asks_whether_to_go_on_is_told(served: Served) -> None:
    with served.open() as client:
        client.send(b"POST /a HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
        assert client.reply().status == 100
        client.send(b"hello")
        assert client.reply().body == b"hello"


def test_one_that_is_refused_is_not_told_to_go_on(served: Served) -> None:
    sent = b"POST /refused HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n"
    reply = served.ask(sent)
    assert (reply.status, reply.header("connection")) == (401, "close")


def test_an_upgrade_is_declined_by_answering(served: Served) -> None:
    upgrade = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
    with served.open() as client:
        client.send(post("/a", b"hello", upgrade))
        assert client.reply().body == b"hello"
        client.send(GET % (b"x", upgrade))
        assert client.reply().body == b"/x"
        client.send(GET % (b"y", b""))
        assert client.reply().body == b"/y"


def test_a_large_body_arrives_whole(served: Served) -> None:
    body = bytes(range(256)) * 20_000
    assert served.ask(post("/a", body)).body == body
    pieces = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:70_000], body[70_000:]))
    head = b"POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    with served.open() as client:
        client.send(head + pieces + b"0\r\nx: y\r\n\r\n")
        assert client.reply().body == body
        client.send(GET % (b"x", b""))
        assert client.reply().body == b"/x"


def test_a_large_part_of_a_stream_arrives_whole(served: Served) -> None:
    body = bytes(range(256)) * 8_000
    assert served.ask(post("/stream", body)).body == b"onetwo" + body


def test_a_client_that_says_it_will_close_is_closed(served: Served) -> None:
    with served.open() as client:
        client.send(GET % (b"x", b"connection: close\r\n"))
        assert client.reply().header("connection") == "close"
        assert client.is_closed(1)


def test_a_client_that_goes_is_told_to_the_application(served: Served) -> None:
    with served.open() as client:
        client.send(GET % (b"wait", b""))
        time.sleep(0.1)
    deadline = time.monotonic() + 5
    while "/wait" not in served.left and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "/wait" in served.left


# --- clocks


def cut_after(client: Client) -> float:
    began = time.monotonic()
    assert client.is_closed()
    return time.monotonic() - began


def test_a_silent_client_is_cut(quick: Served) -> None:
    with quick.open() as client:
        assert 0.2 < cut_after(client) < 1.5


def test_half_a_head_is_a_408_however_it_drips(quick: Served) -> None:
    with quick.open() as client:
        client.sock.settimeout(0.1)
        began, told = time.monotonic(), b""
        for letter in b"GET / HTTP/1.1\r\nx: " + b"a" * 40:
            try:
                client.send(bytes([letter]))
                told = client.sock.recv(1 << 16)
                break
            except TimeoutError:
                continue
        assert told.startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - began < 2
        assert client.is_closed()


def test_a_body_without_progress_is_a_408(quick: Served) -> None:
    with quick.open() as client:
        client.send(b"POST /half HTTP/1.1\r\nhost: a\r\ncontent-length: 50\r\n\r\n")
        for _ in range(4):  # progress, for longer than the clock
            time.sleep(0.2)
            client.send(b"hello")
        reply = client.reply()
        assert reply.status == 408
        assert json.loads(reply.body)["error"]["code"] == "request_timeout"
        assert client.is_closed()
    by = time.monotonic() + 5
    while "/half" not in quick.left and time.monotonic() < by:  # the application hears of it a moment later
        time.sleep(0.01)
    assert "/half" in quick.left


def test_a_request_is_not_cut_while_it_is_answered(quick: Served) -> None:
    assert quick.ask(post("/slow", b"x")).body == b"x"


def test_a_connection_without_a_request_is_closed(quick: Served) -> None:
    with quick.open() as client:
        client.send(GET % (b"x", b""))
        assert client.reply().status == 200
        time.sleep(0.5)  # longer than a head may take
        client.send(GET % (b"y", b""))
        assert client.reply().status == 200
        assert 0.5 < cut_after(client) < 2


def test_a_client_that_takes_nothing_is_cut(quick: Served) -> None:
    with quick.open(receive_buffer=4096) as client:
        client.send(GET % (b"large", b""))
        time.sleep(2)
        client.sock.settimeout(5)
        assert client.is_closed()


def test_a_slow_client_is_not(quick: Served) -> None:
    with quick.open(receive_buffer=65_536) as client:
        client.send(GET % (b"large", b""))
        read, began = 0, time.monotonic()
        while time.monotonic() - began < 2:
            read += len(client.sock.recv(16_384))
            time.sleep(0.05)
        client.sock.settimeout(5)
        while read < 20_000_000:
            data = client.sock.recv(1 << 20)
            assert data, read
            read += len(data)


# --- places


def test_who_waits_longest_gives_way_and_who_is_served_stays() -> None:
    with serving(Server(), descriptors=6) as few:
        clients = [few.open() for _ in range(3)]
        clients[0].send(GET % (b"wait", b""))
        time.sleep(0.2)
        with few.open() as newcomer:
            newcomer.send(GET % (b"x", b""))
            assert newcomer.reply().status == 200
            assert clients[1].is_closed()
            assert not clients[0].is_closed(0.1)
            assert not clients[2].is_closed(0.1)
        for client in clients:
            client.sock.close()


def test_that_clients_have_all_they_may_is_told_once() -> None:
    with structlog.testing.capture_logs() as logged, serving(Server(), descriptors=5) as few:
        for _ in range(3):
            clients = [few.open() for _ in range(6)]
            time.sleep(0.05)
            for client in clients:
                client.sock.close()
    told = [line for line in logged if "connections" in line]
    assert [(line["log_level"], line["connections"]) for line in told] == [("warning", 4)]
    assert "ulimit -n" in told[0]["event"]


def test_where_all_are_at_work_a_newcomer_is_told_to_come_again() -> None:
    with serving(Server(), descriptors=5) as few:
        clients = [few.open() for _ in range(2)]
        for client in clients:
            client.send(GET % (b"wait", b""))
        time.sleep(0.2)
        reply = few.ask(b"")
        assert (reply.status, reply.header("retry-after")) == (503, "1")
        for client in clients:
            client.sock.close()
        time.sleep(0.2)
        assert few.ask(GET % (b"x", b"")).status == 200


def test_an_address_has_as_many_connections_as_it_may() -> None:
    with serving(Server(connections_per_address=2)) as few:
        with few.open() as one, few.open():
            one.send(GET % (b"x", b""))
            assert one.reply().status == 200
            reply = few.ask(b"")
            assert (reply.status, reply.header("retry-after")) == (429, "1")
            assert json.loads(reply.body)["error"]["code"] == "too_many_connections"
        time.sleep(0.2)
        assert few.ask(GET % (b"x", b"")).status == 200


LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


def test_behind_a_trusted_proxy_requests_are_counted_under_whom_it_names() -> None:
    with serving(Server(connections_per_address=1, trusted_proxies=LOOPBACK)) as few:
        with few.open() as one, few.open() as two, few.open() as three:
            one.send(GET % (b"wait", b"x-forwarded-for: 6.6.6.6, 9.9.9.9\r\n"))
            time.sleep(0.2)
            two.send(GET % (b"x", b"x-forwarded-for: 9.9.9.9\r\n"))
            assert two.reply().status == 429
            for _ in range(2):
                three.send(GET % (b"x", b"x-forwarded-for: 8.8.8.8\r\n"))
                assert three.reply().status == 200
        assert few.scopes[0]["client"] == ("9.9.9.9", 0)


def test_nobody_elses_x_forwarded_for_counts(served: Served) -> None:
    served.ask(GET % (b"x", b"x-forwarded-for: 9.9.9.9\r\n"))
    assert served.scopes[-1]["client"][0] == "127.0.0.1"
