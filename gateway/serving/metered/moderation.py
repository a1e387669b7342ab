"""The model of a moderation that names none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from gateway.config.wildcards import is_pattern
from gateway.money.keys import Caller
from gateway.routing.models import Model
from gateway.wire.errors import invalid_request
from gateway.wire.metered.read import MeteredRequest

USUAL: Final = "omni-moderation-latest"
"""OpenAI's own (platform.openai.com/docs/api-reference/moderations/create, `model`)."""


def with_default_model(request: MeteredRequest, models: Mapping[str, Model], caller: Caller) -> MeteredRequest:
    """Choose OpenAI's usual model where the caller has it, else the first that moderates. Raises GatewayError (400)."""
    names = [USUAL, *models] if USUAL in models else list(models)
    for name in names:
        known = not is_pattern(name) and caller.may_use(name)
        if known and models[name].serving("moderations"):
            return replace(request, model=name)
    told = "`model` is missing, and no model of this key moderates: name one, or have the operator add one with "
    raise invalid_request(f"{told}`mode: moderation` in its `model_info`.", "model")
