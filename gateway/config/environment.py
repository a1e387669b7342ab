"""Variables of the environment: those that a configuration names, and providers' keys under their usual names.

Pure: the environment is an argument. Values lose the white space around them: a secret that was read from a file ends
in a newline, and no header takes one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from gateway import packaged_data
from gateway.config.problems import KeyPath, Problem
from gateway.config.yaml import YamlDocument

ENVIRONMENT: Final = "os.environ/"
"""Before a name: the whole value is that variable's."""

_BRACES: Final = re.compile(r"\$?\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\}")
"""`${NAME}` and `${NAME:-otherwise}` anywhere in a text; `$${NAME}` is the text `${NAME}`."""

USUAL_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "anyscale": ("ANYSCALE_API_KEY",),
    "azure": ("AZURE_OPENAI_API_KEY", "AZURE_API_KEY"),
    "azure_text": ("AZURE_OPENAI_API_KEY", "AZURE_API_KEY"),
    "cohere": ("COHERE_API_KEY", "CO_API_KEY"),
    "cohere_chat": ("COHERE_API_KEY", "CO_API_KEY"),
    "custom_openai": ("OPENAI_API_KEY",),
    "databricks": ("DATABRICKS_API_KEY", "DATABRICKS_TOKEN"),
    "fireworks_ai": ("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY", "FIREWORKSAI_API_KEY", "FIREWORKS_AI_TOKEN"),
    "friendliai": ("FRIENDLIAI_API_KEY", "FRIENDLI_TOKEN"),
    "gemini": ("GOOGLE_API_KEY", "GEMINI_API_KEY"),
    "github": ("GITHUB_API_KEY",),
    "huggingface": ("HF_TOKEN", "HUGGINGFACE_API_KEY"),
    "lambda_ai": ("LAMBDA_API_KEY",),
    "meta_llama": ("LLAMA_API_KEY",),
    "ollama_chat": ("OLLAMA_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY", "OR_API_KEY"),
    "perplexity": ("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
    "replicate": ("REPLICATE_API_KEY", "REPLICATE_API_TOKEN"),
    "text-completion-openai": ("OPENAI_API_KEY",),
    "together_ai": ("TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHERAI_API_KEY", "TOGETHER_AI_TOKEN"),
    "volcengine": ("ARK_API_KEY", "VOLCENGINE_API_KEY"),
    "watsonx": ("WATSONX_API_KEY", "WX_API_KEY"),
    # Signed with other credentials, or none is asked for.
    **dict.fromkeys(("bedrock", "bedrock_converse", "sagemaker", "sagemaker_chat", "vertex_ai", "oci", "demo"), ()),
}
"""Variables in which LiteLLM looks for a provider's key, in its order (its `main.py` and `get_llm_provider_logic.py`).
That of any other provider is its name with `_API_KEY` after it."""


def usual_variables(provider: str) -> tuple[str, ...]:
    """Name the variables that may hold a provider's key, the first before the others."""
    known = USUAL_KEYS.get(provider)
    if known is not None:
        return known
    listed = packaged_data.key_variables().get(provider)
    return (listed,) if listed else (f"{re.sub(r'[^A-Za-z0-9]', '_', provider).upper()}_API_KEY",)


def usual_keys(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return every variable that may be a provider's key, with its value."""
    ends = ("_KEY", "_TOKEN")
    return {name: stripped for name, value in environ.items() if name.endswith(ends) and (stripped := value.strip())}


def read_in(
    value: Any, path: KeyPath, document: YamlDocument, environ: Mapping[str, str], missing: list[Problem]
) -> Any:
    """Return `value` with everything read that it takes from the environment; what is not there goes to `missing`."""
    if isinstance(value, dict):
        return {key: read_in(item, (*path, key), document, environ, missing) for key, item in value.items()}
    if isinstance(value, list):
        return [read_in(item, (*path, i), document, environ, missing) for i, item in enumerate(value)]
    if not isinstance(value, str):
        return value
    if value.startswith(ENVIRONMENT):
        name = value.removeprefix(ENVIRONMENT).strip()
        found = environ.get(name, "").strip()
        if not found:
            missing.append(_missing(name, path, document, environ))
        return found or value
    return _with_braces(value, path, document, environ, missing) if "${" in value else value


def is_read_in(value: str) -> bool:
    """Say whether a text takes anything from the environment, so that its value is not written in the file."""
    return value.startswith(ENVIRONMENT) or any(not match[0].startswith("$$") for match in _BRACES.finditer(value))


def _with_braces(
    text: str, path: KeyPath, document: YamlDocument, environ: Mapping[str, str], missing: list[Problem]
) -> str:
    gone = []

    def found(match: re.Match[str]) -> str:
        if match[0].startswith("$$"):
            return match[0][1:]
        value = environ.get(match[1], "").strip() or match[2]
        if value is None:
            gone.append(_missing(match[1], path, document, environ))
        return match[0] if value is None else value

    out = _BRACES.sub(found, text)
    missing += gone
    return out


def _missing(name: str, path: KeyPath, document: YamlDocument, environ: Mapping[str, str]) -> Problem:
    state = "empty" if name in environ else "not set"
    return document.problem(path, f"environment variable {name} is {state}")
