"""Variables of the environment in which a provider's key is looked for. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from gateway import packaged_data
from gateway.providers.table import provider_of

_OF_REFUSED: Final[Mapping[str, tuple[str, ...]]] = {
    "anyscale": ("ANYSCALE_API_KEY",),
    "azure_text": ("AZURE_OPENAI_API_KEY", "AZURE_API_KEY"),
    "replicate": ("REPLICATE_API_KEY", "REPLICATE_API_TOKEN"),
    "text-completion-openai": ("OPENAI_API_KEY",),
    "watsonx": ("WATSONX_API_KEY", "WX_API_KEY"),
    # Signed with other credentials.
    **dict.fromkeys(("bedrock_converse", "sagemaker", "sagemaker_chat", "oci"), ()),
}
"""Of providers that a list may name and that are not served: what is made of such a list says them."""


def usual_variables(provider: str) -> tuple[str, ...]:
    """Name the variables that may hold a provider's key, the first before the others.

    They are those in which LiteLLM looks, in its order (its `main.py` and `get_llm_provider_logic.py`). Where it lists
    none, the provider's name with `_API_KEY` after it is looked for.
    """
    known = provider_of(provider).key_variables
    known = _OF_REFUSED.get(provider) if known is None else known
    if known is not None:
        return known
    listed = packaged_data.key_variables().get(provider)
    return (listed,) if listed else (f"{re.sub(r'[^A-Za-z0-9]', '_', provider).upper()}_API_KEY",)
