"""Ladders: the remedies that a policy file names by component, and those that apply. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    GetCoreSchemaHandler,
    PlainValidator,
    Tag,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic.dataclasses import dataclass as declared

from gateway.config.fields import STRICT, EachOnce, key
from gateway.config.problems import closest

CUT: Final = ("tool_results", "documents", "examples", "history", "input")
"""The components that a ladder may name remedies for, in the order in which `gateway check` lists them."""

_AUTO_IS_WHOLE: Final = "auto is for the whole ladder: write `ladder: auto`, or name the remedies of this component"


def _not_auto(value: Any) -> Any:
    if value == "auto":
        raise ValueError(_AUTO_IS_WHOLE)
    return value


def _one_of(*known: str) -> PlainValidator:
    """Take a remedy of this component."""

    def check(value: Any) -> str:
        if value in known:
            return str(value)
        if value == "auto":
            raise ValueError(_AUTO_IS_WHOLE)
        meant = closest(value, known) if isinstance(value, str) else None
        offer = f"there are {', '.join(known)}" if len(known) > 1 else f"there is {known[0]}"
        hint = f"; did you mean {meant!r}?" if meant else ""
        raise ValueError(f"{value!r} is no remedy here; {offer}{hint}")

    return PlainValidator(check)


def _words(*known: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "enum": list(known)})


def _no_remedy(value: Any) -> tuple[str, ...]:
    if value != []:
        raise ValueError("this component has no remedy: it is never cut, so the ladder cannot name one")
    return ()


T = TypeVar("T")
Ordered = Annotated[tuple[T, ...], BeforeValidator(_not_auto), EachOnce]
_RESULTS: Final = ("minify", "dedupe", "crush", "stub")
_DOCUMENTS: Final = ("dedupe", "extract", "arrange")
_HISTORY: Final = ("summarize", "drop_oldest")
OfResults = Annotated[str, _one_of(*_RESULTS), _words(*_RESULTS)]
OfDocuments = Annotated[str, _one_of(*_DOCUMENTS), _words(*_DOCUMENTS)]
OfExamples = Annotated[str, _one_of("drop_oldest"), _words("drop_oldest")]
OfHistory = Annotated[str, _one_of(*_HISTORY), _words(*_HISTORY)]
OfInput = Annotated[str, _one_of("crush"), _words("crush")]
NoRemedy = Annotated[tuple[str, ...], PlainValidator(_no_remedy), WithJsonSchema({"type": "array", "maxItems": 0})]


def _or_the_word(schema: dict[str, Any]) -> None:
    """Say in the schema that the word auto stands for a whole ladder."""
    del schema["type"]
    schema["anyOf"] = [{"const": "auto"}, {"type": "object"}]


@declared(config=STRICT | ConfigDict(json_schema_extra=_or_the_word), frozen=True, slots=True)
class Remedies:
    """Remedies by component, lightest first, until the component fits. A component left out has no remedy."""

    tool_results: Ordered[OfResults] = key(
        [],
        description="Tool results inside history, treated before history. minify: whitespace of JSON goes. dedupe: of "
        "identical results the newest stays. crush: tables, logs and JSON are written shorter, nothing is lost. "
        "stub: one line instead of the result.",
    )
    documents: Ordered[OfDocuments] = key(
        [],
        description="dedupe: of documents that say the same one stays. extract: what the question is about stays. "
        "arrange: they are put in the order that documents.order says.",
    )
    examples: Ordered[OfExamples] = key([], description="drop_oldest: the oldest examples go, in whole pairs.")
    history: Ordered[OfHistory] = key(
        [],
        description="drop_oldest: old units go, whole; a note stays that quotes from them. "
        "summarize: a model's summary stands beside that list; wants summarize.enabled.",
    )
    input: Ordered[OfInput] = key(
        [],
        description="crush: newest results that alone do not fit are shortened to the room there is. Never the user's "
        "own words.",
    )
    system: NoRemedy = key([], description="Always empty: system text is never cut.")
    tools: NoRemedy = key([], description="Always empty: tool definitions are never cut.")


def _auto(value: Any) -> Any:
    if value != "auto":
        raise ValueError(f"{value!r} is no ladder; write auto, or the remedies of each component")
    return value


def _form(value: Any) -> str:
    return "word" if isinstance(value, str) else "remedies"


Auto = Annotated[Literal["auto"], PlainValidator(_auto), WithJsonSchema({"const": "auto"})]
AutoOrRemedies = Annotated[Annotated[Auto, Tag("word")] | Annotated[Remedies, Tag("remedies")], Discriminator(_form)]
"""The forms of `ladder` in a file."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """The value of `ladder`: remedies by component, lightest first. An empty one means: never cut.

    The gateway's own choice depends on a second key: `with_summaries` is for policies that have `summarize.enabled`.
    """

    tool_results: tuple[str, ...] = ("minify", "dedupe", "crush")
    """Results inside history; they are treated before `history`."""
    documents: tuple[str, ...] = ("dedupe", "extract")
    examples: tuple[str, ...] = ("drop_oldest",)
    history: tuple[str, ...] = ("drop_oldest",)
    input: tuple[str, ...] = ("crush",)
    auto: bool = True
    """True if the gateway chose these; a ladder that a policy gives is taken as it stands."""

    @classmethod
    def of(cls, written: Literal["auto"] | Remedies) -> Ladder:
        """Return the remedies that a file names; a component that it leaves out has none."""
        if written == "auto":
            return cls()
        return cls(**{component: getattr(written, component) for component in CUT}, auto=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, handler: GetCoreSchemaHandler) -> Any:
        """Read the word or the mapping of a file; a value of our own stays as it is."""

        def read(value: Any, written: ValidatorFunctionWrapHandler) -> Ladder:
            return value if isinstance(value, Ladder) else cls.of(written(value))

        return handler.generate_schema(Annotated[AutoOrRemedies, WrapValidator(read)])

    def with_summaries(self) -> Ladder:
        """Return the ladder with summaries before anything else of history, where the gateway chose it."""
        return replace(self, history=("summarize", *self.history)) if self.auto else self
