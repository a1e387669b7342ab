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
    """Choose OpenAI's usual model where the caller has it, else the first that is there to moderate, or can. Raises
    GatewayError (400).
    """
    names = [USUAL, *models] if USUAL in models else list(models)
    able = [n for n in names if not is_pattern(n) and caller.may_use(n) and models[n].serving("moderations")]
    meant = [name for name in able if name == USUAL or any(o.operation == "moderations" for o in models[name].declared)]
    if able:
        return replace(request, model=(meant or able)[0])
    told = "`model` is missing, and no model of this key moderates: name one, or have the operator add one with "
    raise invalid_request(f"{told}`mode: moderation` in its `model_info`.", "model")
