"""The folders of data files in litellm's wheel: the price table and the encodings.

litellm itself is never imported here (that costs seconds and a hundred megabytes); its folder is looked up, nothing
in it runs.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

_PRICE_TABLE = "model_prices_and_context_window_backup.json"
_BETAS = "anthropic_beta_headers_config.json"
_OPENAI_LIKE = Path("llms") / "openai_like" / "providers.json"


def package_dir() -> Path:
    """Return the folder litellm is installed in. Raises `FileNotFoundError` where it is not installed."""
    spec = find_spec("litellm")  # a top-level name: found, not executed
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            "litellm is not installed: its price table and encodings are needed (pip install litellm)"
        )
    return Path(spec.submodule_search_locations[0])


def tokenizers_dir() -> Path:
    """Return the folder with tiktoken's encodings, laid out as `TIKTOKEN_CACHE_DIR` wants them."""
    return _present(package_dir() / "litellm_core_utils" / "tokenizers")


def price_table() -> bytes:
    """Read the price table: one JSON object, model key → entry, 3 MB."""
    return _present(package_dir() / _PRICE_TABLE).read_bytes()


@cache
def key_variables() -> dict[str, str]:
    """Return where the keys of providers that litellm only lists are looked for: provider → environment variable."""
    listed = orjson.loads(_present(package_dir() / _OPENAI_LIKE).read_bytes())
    return {name: one["api_key_env"] for name, one in listed.items() if one.get("api_key_env")}


def anthropic_betas(provider: str) -> frozenset[str]:
    """Return the values of `anthropic-beta` that a provider of Claude takes. Bedrock refuses all others."""
    return frozenset(name for name, own_name in _betas().get(provider, {}).items() if own_name)


@cache
def _betas() -> dict[str, Any]:
    table: dict[str, Any] = orjson.loads(_present(package_dir() / _BETAS).read_bytes())
    return table


def _present(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing: this litellm keeps its data files elsewhere; install the pinned version"
        )
    return path
