"""Reasons for which a name of a list of models is refused, in words."""

from __future__ import annotations

from typing import Final

TEXT: Final = (
    "speaks text completions alone; a server that speaks OpenAI's is reached as openai/MODEL with its api_base"
)
AGENT: Final = "runs agents, which are no models: they keep conversations of their own"
SIGN_IN: Final = "signs in through a browser, which a server cannot do"
GONE: Final = "no longer exists"
NO_CHAT: Final = "has no chat completions"
UNTRIED: Final = "has an API of its own that nobody has tried with the gateway yet"
PLAIN: Final = "is reached as openai/MODEL with api_base: "
