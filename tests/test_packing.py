"""Packed request bodies: unpacked in pieces, bounded as they were before they were packed."""

import gzip
import random
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.serving.client import HTTPClient
from gateway.wire.errors import GatewayError
from gateway.wire.packing import MOST_MEMBERS, PIECE_BYTES, READ, BadPacking, Zipped, unpacked

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
}
TEXT = b"to be packed, " * 20_000


def whole(encoding: str, body: bytes) -> bytes:
    return b"".join(unpacked(encoding, body))


@pytest.mark.parametrize("encoding", PACKERS)
@pytest.mark.parametrize("body", [b"", b"{}", TEXT, random.Random(1).randbytes(300_000)], ids=len)
def test_a_body_is_what_it_was(encoding: str, body: bytes):
    packed = PACKERS[encoding](body)
    pieces = list(unpacked(encoding, packed))
    assert b"".join(pieces) == body
    assert all(len(piece) <= PIECE_BYTES for piece in pieces)


def test_several_files_in_a_row_are_one_body():
    assert whole("gzip", gzip.compress(TEXT) + gzip.compress(b"more")) == TEXT + b"more"
    with pytest.raises(BadPacking, match="parts"):
        whole("gzip", gzip.compress(b"") * (MOST_MEMBERS + 1))


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_an_end_that_is_missing_is_told(encoding: str):
    with pytest.raises(BadPacking):
        whole(encoding, PACKERS[encoding](TEXT)[:-3])


@given(st.sampled_from(sorted(PACKERS)), st.binary(max_size=200), st.integers(0, 200), st.binary(max_size=3))
def test_any_bytes_are_unpacked_or_refused_in_one_way(encoding: str, body: bytes, at: int, wrong: bytes):
    packed = PACKERS[encoding](body)
    for damaged in (body, packed[:at] + wrong + packed[at:]):
        try:
            whole(encoding, damaged)
        except BadPacking:
            continue


def test_what_comes_in_parts_is_unpacked_in_parts():
    zipped, packed = Zipped("gzip"), gzip.compress(TEXT)
    assert b"".join(piece for at in range(len(packed)) for piece in zipped.feed(packed[at : at + 1])) == TEXT
    zipped.finish()


# ---------------------------------------------------------------- a client's


async def read(body: bytes, encoding: str, most: int = 1_000_000) -> bytes:
    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(_message: Any) -> None:
        return None

    return await HTTPClient({"headers": [(b"content-encoding", encoding.encode())]}, receive, send).body(most)


@pytest.mark.parametrize("encoding", ["gzip", "GZIP ", "x-gzip", "deflate"])
async def test_a_packed_body_is_read(encoding: str):
    assert await read(PACKERS[encoding.strip().lower()](TEXT), encoding) == TEXT


@pytest.mark.parametrize("encoding", ["", "identity", "Identity"])
async def test_a_body_that_is_not_packed_is_taken_as_it_is(encoding: str):
    assert await read(b"{}", encoding) == b"{}"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_body_is_bounded_by_what_it_becomes(encoding: str):
    with pytest.raises(GatewayError) as caught:
        await read(PACKERS[encoding](b"\0" * 50_000_000), encoding)
    assert (caught.value.status, caught.value.code) == (413, "request_too_large")


async def test_a_body_that_is_not_what_it_is_said_to_be_is_the_requests_fault():
    with pytest.raises(GatewayError) as caught:
        await read(b'{"model": "m"}', "gzip")
    assert (caught.value.status, caught.value.param) == (400, "content-encoding")


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "x" * 5_000, "\x1b[31m"])
async def test_a_packing_that_nobody_reads_here_is_refused_with_those_that_are_read(encoding: str):
    with pytest.raises(GatewayError) as caught:
        await read(b"", encoding)
    assert (caught.value.status, caught.value.code) == (415, "unknown_encoding")
    assert all(known in caught.value.message for known in READ)
    assert "\x1b" not in caught.value.message
    assert len(caught.value.message) < 1_000
