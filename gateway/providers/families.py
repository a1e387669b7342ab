"""The families of models, and which one a deployment's model belongs to: asked by every room. Pure.

A name decides before the provider, in any case of its letters: a router or a cloud serves a model as its maker made it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from gateway.providers.anthropic import CLAUDE
from gateway.providers.family import OTHER, Family, bare
from gateway.providers.gemini import GEMINI
from gateway.providers.mistral import MISTRAL
from gateway.providers.openai import GPT, MAKER, TAKES
from gateway.providers.table import provider_of
from gateway.wire.foreign import CHAT as CHAT_IDS
from gateway.wire.foreign import REFUSES_ALL, Reception
from gateway.wire.legality import Rules

FAMILIES: Final[tuple[Family, ...]] = (GPT, CLAUDE, GEMINI, MISTRAL)
"""The first that owns a name counts."""

_SPEAKS_CHAT: Final = Reception(CHAT_IDS, REFUSES_ALL)


@lru_cache(maxsize=1024)
def family_of(provider: str, model: str) -> Family:
    """Return the family of a deployment's model: by its name, else by the path before it, else the provider's own."""
    name, path = bare(model), model.lower()
    by_name = next((family for family in FAMILIES if family.owns(name)), None)
    if by_name is not None:
        return by_name
    by_path = next((family for family in FAMILIES if family.is_named_in(path)), None)
    return by_path or provider_of(provider).family or OTHER


def rules_of(provider: str, model: str) -> Rules:
    """Return the rules by which a deployment's requests are refused: its API's, else its model's."""
    return provider_of(provider).legality or family_of(provider, model).legality


def reception(provider: str, model: str) -> Reception:
    """Return the traces of others' answers that a deployment takes: as its API says, else as its model's family."""
    facts, family = provider_of(provider), family_of(provider, model)
    if facts.takes is not None:
        return facts.takes
    of_others = facts.takes_otherwise or (TAKES if model.lower().startswith(MAKER) else _SPEAKS_CHAT)
    return family.takes_at.get(provider, family.takes) or of_others
