"""Addresses of upstreams."""

import pytest

from gateway.config.addresses import CHAT, parse_address
from gateway.providers.addresses import operation_endpoint
from gateway.wire.operations import Operation


@pytest.mark.parametrize(
    ("api_base", "asked"),
    [
        ("https://api.example/v1", "https://api.example/v1/chat/completions"),
        ("https://api.example/v1/", "https://api.example/v1/chat/completions"),
        ("https://api.example/v1//", "https://api.example/v1/chat/completions"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/chat/completions"),
        ("https://api.example/v1/chat/completions", "https://api.example/v1/chat/completions"),
        ("https://api.example/v1/chat/completions/", "https://api.example/v1/chat/completions"),
        ("https://a.example/openai/v1?api-version=x", "https://a.example/openai/v1/chat/completions?api-version=x"),
        ("https://a.example/openai/v1/?a=b&c=d", "https://a.example/openai/v1/chat/completions?a=b&c=d"),
        ("https://a.example/v1/chat/completions?a=b", "https://a.example/v1/chat/completions?a=b"),
        ("https://a.example?code=k", "https://a.example/chat/completions?code=k"),
        (" https://a.example/v1 ", "https://a.example/v1/chat/completions"),
        ("http://[::1]:9000/v1", "http://[::1]:9000/v1/chat/completions"),
    ],
)
def test_the_address_of_a_call_keeps_the_query_behind_the_path(api_base: str, asked: str):
    address = parse_address(api_base)
    assert address is not None
    assert address.of(CHAT) == asked


@pytest.mark.parametrize(
    "text", ["api.example/v1", "ftp://a.example", "https://", "https:///v1", "https://a.example/v1#x", "https://a b/v1"]
)
def test_what_cannot_be_asked_is_no_address(text: str):
    assert parse_address(text) is None


@pytest.mark.parametrize(
    ("api_base", "has"),
    [
        ("https://a.example/v1", True),
        ("https://a.example/openai/v1?x=y", True),
        ("https://a.example/api/paas/v4", True),
        ("https://a.example/v1beta/openai", True),
        ("https://a.example/v1/chat/completions", True),
        ("https://a.example", False),
        ("https://a.example/api", False),
        ("https://v1.example", False),
        ("https://a.example/vllm", False),
    ],
)
def test_a_path_says_whether_it_names_a_version(api_base: str, has: bool):
    address = parse_address(api_base)
    assert address is not None
    assert address.has_version is has


def test_a_login_is_no_part_of_what_is_shown():
    address = parse_address("https://user:pw@Proxy.Example:8443/v1")
    assert address is not None
    assert (address.host, address.place, address.has_login) == ("proxy.example", "Proxy.Example:8443", True)
    assert address.shown("/x") == "https://Proxy.Example:8443/v1/x"
    keyed = parse_address("https://a.example/v1?code=secret")
    assert keyed is not None
    assert keyed.shown() == "https://a.example/v1?…"
    bracketed = parse_address("http://[FE80::1]:80/v1")
    assert bracketed is not None
    assert bracketed.host == "fe80::1"


BESIDE_CHAT = [
    ("openai", "https://api.openai.com/v1", "embeddings", "https://api.openai.com/v1/embeddings"),
    ("openai", "http://127.0.0.1:8000/v1/", "rerank", "http://127.0.0.1:8000/v1/rerank"),
    ("openai", "http://127.0.0.1:8000/v1/chat/completions", "completions", "http://127.0.0.1:8000/v1/completions"),
    ("openai", "http://127.0.0.1:8000/v1/embeddings", "embeddings", "http://127.0.0.1:8000/v1/embeddings"),
    ("openai", "https://a.example/v1/embeddings?k=1", "embeddings", "https://a.example/v1/embeddings?k=1"),
    ("mistral", "https://api.mistral.ai/v1", "embeddings", "https://api.mistral.ai/v1/embeddings"),
    ("novita", "https://api.novita.ai/v3/openai", "embeddings", "https://api.novita.ai/v3/openai/embeddings"),
    ("huggingface", "https://router.huggingface.co/v1", "embeddings", "https://router.huggingface.co/v1/embeddings"),
    (
        "azure",
        "https://ours.openai.azure.com",
        "embeddings",
        "https://ours.openai.azure.com/openai/deployments/m/embeddings?api-version=1",
    ),
    (
        "azure",
        "https://ours.openai.azure.com/openai/deployments/x/embeddings",
        "embeddings",
        "https://ours.openai.azure.com/openai/deployments/x/embeddings?api-version=1",
    ),
    (
        "azure",
        "https://ours.openai.azure.com/openai/v1",
        "embeddings",
        "https://ours.openai.azure.com/openai/v1/embeddings",
    ),
]


@pytest.mark.parametrize(("provider", "base", "operation", "asked"), BESIDE_CHAT)
def test_what_is_no_chat_is_asked_for_beside_it(provider: str, base: str, operation: Operation, asked: str):
    assert operation_endpoint(provider, "m", base, "k", {"api_version": "1"}, operation).url == asked
