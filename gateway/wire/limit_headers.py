"""Headers by which clients are told what is left of a minute's requests and tokens, as their SDKs look for them. Pure.

OpenAI's: platform.openai.com/docs/guides/rate-limits; Anthropic's: docs.anthropic.com/en/api/rate-limits.
"""

from __future__ import annotations

from datetime import UTC, datetime


def limit_headers(shape: str, kind: str, limit: int, remaining: int, now: float, ends: int) -> dict[str, str]:
    """Return the headers of one limit, in the words of whom the client speaks to; `shape` is the request's."""
    if shape == "messages":
        begin, reset = f"anthropic-ratelimit-{kind}", datetime.fromtimestamp(ends, UTC)
        told = {"limit": str(limit), "remaining": str(remaining), "reset": f"{reset:%Y-%m-%dT%H:%M:%SZ}"}
        return {f"{begin}-{name}": value for name, value in told.items()}
    told = {"limit": str(limit), "remaining": str(remaining), "reset": f"{max(0, int(ends - now) + 1)}s"}
    return {f"x-ratelimit-{name}-{kind}": value for name, value in told.items()}
