"""The number of the provider cache that a request reads. Pure.

Two requests read the same cache if their numbers are equal. The number covers the account of the deployment and the
members of the request by which the provider keeps requests apart.
"""

from __future__ import annotations

from hashlib import blake2b

from gateway.prompt_cache.rules import CacheFacts, CachingDeployment
from gateway.request import Request
from gateway.wire.shape import shape_of


class CacheNumbers:
    """The numbers of the deployments' caches. Each is computed once."""

    def __init__(self) -> None:
        self._by_name: dict[str, int] = {}

    def of(self, deployment: CachingDeployment) -> int:
        """Return the number of the cache that a deployment reads: one for each model under one credential."""
        number = self._by_name.get(deployment.name) if deployment.pattern is None else None
        if number is None:
            account = deployment.name if deployment.kind == "demo" else ""  # each an account of its own
            parts = (deployment.provider, deployment.model, deployment.api_base, deployment.api_key, account)
            number = self._by_name[deployment.name] = cache_number("\n".join([part or "" for part in parts]))
        return number


def cache_number(text: str) -> int:
    """Return a number for a text that distinguishes caches."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 4


def separated_by(request: Request, facts: CacheFacts) -> int:
    """Return the hash of the setting that keeps a request apart in the cache; 0 if it has none.

    OpenAI keeps requests apart by a cache key from GPT-5.6 on, vLLM by a salt.
    """
    return shape_of(request).setting(request, "cache_key" if facts.marks_itself else "salt")


def message_settings(request: Request, facts: CacheFacts) -> int:
    """Return the hash of settings that Anthropic compares too: "What invalidates the cache", prompt-caching guide."""
    if not facts.takes_anthropic_markers:
        return 0
    pictures = any(part.kind == "image" for message in request.conversation.messages for part in message.media)
    return shape_of(request).setting(request, "answer") + pictures
