"""Kinds of values that files hold. Each reads what YAML gave, and describes itself in the JSON Schema.

A class of keys is declared once: it is the value that the gateway works with, the schema of its part of a file, and
that part's documentation. A default is spelled as in a file, for the schema shows it. `dataclasses.replace` validates
anew, so each kind takes its own values too: the tuple of a range, the float of a share, None for the word auto.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, Any, Final, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)

from gateway.config import quantities
from gateway.config.patterns import why_slow

STRICT: Final = ConfigDict(extra="forbid", validate_default=True, defer_build=True)
"""Every key is known. Validators are built at their first use: a process that reads no configuration needs none."""

FROM_FILE: Final[dict[str, bool]] = {"from_file": True}
"""The context in which a file is read. Some values of ours, such as None for the word auto, no file may hold."""

T = TypeVar("T")


class Strict(BaseModel):
    """A mapping in which every key is known."""

    model_config = STRICT | ConfigDict(frozen=True)


def key(default: Any, description: str, **more: Any) -> Any:
    """Describe a key that may be left out; its default is spelled as in a file."""
    return Field(default, description=description, **more)


def named_key(default: Any, description: str, **more: Any) -> Any:
    """Describe a key of a class that inherits or is inherited from, which is made by keyword alone.

    Pydantic does not see the `kw_only` of a class, and puts keys without their own before the inherited ones.
    """
    return key(default, description, kw_only=True, **more)


def is_from_file(info: ValidationInfo) -> bool:
    """Say whether a value was written in a file, and not by our own code."""
    return info.context is FROM_FILE


COUNT_SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": quantities.TOKENS_PATTERN}]
}
SHARE_SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string", "pattern": quantities.SHARE_PATTERN}]
}


def _name(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
        raise ValueError(
            f"{value!r} is not a name: letters, digits, dot, dash and underscore, at most 64, not beginning with a sign"
        )
    return value


LONGEST_PATTERN: Final = 500
MOST_PATTERNS: Final = 50


@lru_cache(maxsize=1024)
def _pattern(value: str) -> str:
    """Take a pattern that is run over every text that is folded: it must stay fast whatever the text is."""
    if len(value) > LONGEST_PATTERN:
        raise ValueError(f"a pattern of {len(value)} characters; at most {LONGEST_PATTERN}: make several of it")
    try:
        re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"not a regular expression: {error}") from error
    if slow := why_slow(value):
        raise ValueError(f"can take minutes on an unlucky text: {slow}")
    return value


def _not_too_many(patterns: tuple[str, ...]) -> tuple[str, ...]:
    if len(patterns) > MOST_PATTERNS:
        raise ValueError(f"has {len(patterns)} patterns; at most {MOST_PATTERNS}")
    return patterns


def _each_once(values: tuple[T, ...]) -> tuple[T, ...]:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"names {value!r} twice")
    return values


def _span(value: Any) -> tuple[float, float]:
    return value if isinstance(value, tuple) else quantities.span(value)


Word = Annotated[str, Field(min_length=1)]
Name = Annotated[
    str, PlainValidator(_name), WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"})
]
Tokens = Annotated[int, PlainValidator(quantities.tokens), WithJsonSchema(COUNT_SCHEMA)]
Share = Annotated[float, PlainValidator(quantities.share), WithJsonSchema(SHARE_SCHEMA)]
ShareOrTokens = Annotated[
    float | int,
    PlainValidator(quantities.share_or_tokens),
    WithJsonSchema({"anyOf": [*SHARE_SCHEMA["anyOf"], *COUNT_SCHEMA["anyOf"]]}),
]
Span = Annotated[
    tuple[float, float],
    PlainValidator(_span),
    WithJsonSchema({"type": "string", "pattern": quantities.SPAN_PATTERN}),
]
Seconds = Annotated[
    float,
    PlainValidator(quantities.seconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d|w)$"},
            ]
        }
    ),
]
Pattern = Annotated[
    str,
    Field(max_length=LONGEST_PATTERN * 100, json_schema_extra={"format": "regex", "maxLength": LONGEST_PATTERN}),
    AfterValidator(_pattern),
]
SomePatterns = AfterValidator(_not_too_many)
"""Bounds a list of patterns."""
EachOnce = AfterValidator(_each_once)
"""Refuses a list that names something twice."""
