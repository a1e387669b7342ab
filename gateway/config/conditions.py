"""The CEL door: a profile's `when`, compiled once at load and asked once per request.

The library is imported only when some policy has a `when`; it costs about 0.2 s of start-up otherwise wasted.
An unknown name fails in CEL only when it is reached, so compiling also runs the expression on sample facts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FACTS: Mapping[str, str] = {
    "tools": "how many tools the request declares (int)",
    "system": "length of the leading system text in characters (int)",
    "model": "the model name asked for (string)",
    "headers": "the request's headers, names in lower case, without credentials (map)",
    "metadata": "the request's metadata object (map)",
}
"""The facts that a `when` may ask for. Each is fixed at a conversation's start, so that its profile stays the same."""

_SAMPLES: tuple[dict[str, Any], ...] = tuple(
    {"tools": size, "system": size, "model": model, "headers": filled, "metadata": filled}
    for size in (0, 1_000_000)
    for model in ("", "gpt-5")
    for filled in ({}, {"x-sample": "1", "sample": "1"})
)
_MACROS = frozenset({"all", "exists", "exists_one", "map", "filter"})


class InvalidCondition(ValueError):
    """The expression cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled `when`. Equal to another with the same source."""

    source: str
    program: Any = field(repr=False, compare=False)

    def holds(self, context: Any) -> bool:
        """Say whether the facts fulfil the condition.

        One that asks for a header or a metadata key that is absent does not hold. `context` comes from `in_cel`.
        """
        try:
            return self.program.execute(context) is True
        except (LookupError, TypeError, ValueError, RuntimeError, ArithmeticError):
            # CEL has no exception type of its own. Names and types were tried at load, so what is left is an absent
            # key or a value of another type in the caller's metadata: not this profile.
            return False


def compile_condition(source: str) -> Condition:
    """Compile an expression and try it on samples; raises InvalidCondition."""
    import cel  # noqa: PLC0415 - only where a policy asks for it, see above

    try:
        program = cel.compile(source)
    except (ValueError, RuntimeError) as error:
        told = str(error).splitlines()[0].rsplit("ERROR: <input>:", 1)[-1].split(" expecting ")[0]
        raise InvalidCondition(f"cannot be parsed: {told}") from error
    references = program.references()
    unknown = sorted(set(references["variables"]) - FACTS.keys())
    if unknown and not _binds_names(source):
        raise InvalidCondition(f"unknown name {unknown[0]!r}; a condition may ask for {', '.join(FACTS)}")
    for facts in _SAMPLES:
        _try(program, facts)
    return Condition(source, program)


def _binds_names(source: str) -> bool:
    """Say whether the expression has a macro that binds names of its own; those cannot be told from unknown ones."""
    return any(f".{macro}(" in source.replace(" ", "") for macro in _MACROS)


def _try(program: Any, facts: dict[str, Any]) -> None:
    try:
        result = program.execute(facts)
    except LookupError:
        return  # an absent header or metadata key: the condition does not hold
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        told = str(error).splitlines()[0].split(". ")[0]
        raise InvalidCondition(f"fails when run: {told}") from error
    if not isinstance(result, bool):
        raise InvalidCondition(f"must say true or false, not {result!r}")


def in_cel(facts: Mapping[str, Any]) -> Any:
    """Return facts as CEL has them, for any number of conditions: handing them over costs 20 µs, a run .4 µs."""
    import cel  # noqa: PLC0415 - as above

    try:
        return cel.Context(variables=dict(facts))
    except (TypeError, ValueError, ArithmeticError):
        # Metadata that CEL has no values for, a number of 30 digits say, counts as none.
        return cel.Context(variables={**facts, "metadata": {}})


_CREDENTIALS = frozenset({"authorization", "x-api-key", "api-key", "cookie", "proxy-authorization"})


def request_facts(tools: int, system: int, model: str, headers: Mapping[str, str], metadata: Any) -> dict[str, Any]:
    """Return what a `when` may ask about a request, in the shape CEL takes; metadata that is no object is none."""
    return {
        "tools": tools,
        "system": system,
        "model": model,
        "headers": {name.lower(): value for name, value in headers.items() if name.lower() not in _CREDENTIALS},
        "metadata": dict(metadata) if isinstance(metadata, Mapping) else {},
    }
