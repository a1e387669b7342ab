"""What the bytes before a body say, and what any bytes at all do to a connection."""

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import Server
from gateway.server import head
from tests.conftest import examples
from tests.served import Client, Served, serving

TRUSTED = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("values", "address"),
    [
        ([b"9.9.9.9"], "9.9.9.9"),
        ([b"6.6.6.6, 9.9.9.9, 10.0.0.7"], "9.9.9.9"),
        ([b"6.6.6.6", b"9.9.9.9", b"fd00::1"], "9.9.9.9"),
        ([b"9.9.9.9:4711"], "9.9.9.9"),
        ([b"[2001:db8::1]:4711"], "2001:db8::1"),
        ([b"::ffff:9.9.9.9"], "9.9.9.9"),
        ([b"10.0.0.9, 10.0.0.8"], "10.0.0.9"),
        ([b"9.9.9.9, unknown, 10.0.0.8"], "10.0.0.8"),
        ([b"unknown"], None),
        ([b""], None),
        ([b"\xff\xfe"], None),
    ],
)
def test_a_request_is_of_the_last_address_that_no_trusted_proxy_has(values: list[bytes], address: str | None) -> None:
    assert head.forwarded_for(values, TRUSTED) == address


def test_a_list_of_forwarders_without_end_is_read_from_its_end() -> None:
    assert head.forwarded_for([b"9.9.9.9," * 10_000 + b"8.8.8.8"], TRUSTED) == "8.8.8.8"


def test_a_limit_counts_an_ipv6_client_under_its_network() -> None:
    assert head.household("2001:db8:1:2:3::4") == head.household("2001:db8:1:2:ffff::") == "2001:db8:1:2::/64"
    assert head.household("9.9.9.9") == "9.9.9.9"
    assert head.household("") == ""


@given(st.binary(max_size=60))
def test_any_target_has_a_path(url: bytes) -> None:
    path, raw, query = head.target(url)
    assert "//" not in path
    assert path == "/" or not path.endswith("/")
    assert len(raw) + len(query) <= len(url) + 1


@pytest.fixture(scope="module")
def served():
    with serving(Server(header_timeout=0.2, body_timeout=0.2)) as one:
        yield one


WHOLE = (
    b"POST /a?b HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"
    b"\r\nGET /b// HTTP/1.1\r\nhost: a\r\n\r\n"
    b"POST /c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
)


@settings(max_examples=examples(60))
@given(cuts=st.lists(st.integers(1, len(WHOLE)), max_size=5))
def test_where_the_bytes_are_cut_makes_no_difference(served: Served, cuts: list[int]) -> None:
    with served.open() as client:
        for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), len(WHOLE)], strict=True):
            client.send(WHOLE[start:stop])
        assert [client.reply().body for _ in range(3)] == [b"hello", b"/b", b"abcde"]


def read_to_the_end(client: Client) -> bytes:
    read = b""
    try:
        while data := client.sock.recv(1 << 16):
            read += data
    except ConnectionError:
        pass
    return read


PIECES = (
    *(b"GET / HTTP/1.1\r\n", b"POST /a HTTP/1.1\r\n", b"CONNECT a:1 HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    *(b"host: a\r\n", b"content-length: 3\r\n", b"transfer-encoding: chunked\r\n", b"expect: 100-continue\r\n"),
    *(b"upgrade: h2c\r\nconnection: upgrade\r\n", b"connection: close\r\n", b"\r\n", b"\n", b"\0", b"\xff"),
    *(b"abc", b"3\r\nabc\r\n", b"0\r\n\r\n"),
)


@settings(max_examples=examples(60))
@given(sent=st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=8)), min_size=1, max_size=8).map(b"".join))
def test_any_bytes_are_answered_or_cut_and_harm_nobody(served: Served, sent: bytes) -> None:
    with served.open() as client:
        client.send(sent)
        client.sock.shutdown(1)
        told = read_to_the_end(client)
    assert told == b"" or told.startswith(b"HTTP/1.1 "), told
    assert served.ask(b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n").body == b"/x"
