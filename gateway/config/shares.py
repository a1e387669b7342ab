"""Shares of the prompt's budget: six keys of a policy file, and the ratios that come of them together. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import GetCoreSchemaHandler, ValidatorFunctionWrapHandler, WrapValidator
from pydantic.dataclasses import dataclass as declared

from gateway.config.fields import STRICT, ShareOrTokens, key

COMPONENTS: Final = ("system", "tools", "examples", "documents", "history", "input")


@declared(config=STRICT, frozen=True, slots=True)
class Allocation:
    """Shares of the prompt's budget, or tokens. Tokens are taken off first; shares are ratios of what they leave."""

    system: ShareOrTokens = key("10%", description="Leading system and developer text.")
    tools: ShareOrTokens = key("10%", description="Tool definitions and the response schema.")
    examples: ShareOrTokens = key("5%", description="Example exchanges, see `examples`.")
    documents: ShareOrTokens = key("25%", description="Retrieved text, see `documents`.")
    history: ShareOrTokens = key(
        "40%", description="Everything before the input, agent steps and tool results included."
    )
    input: ShareOrTokens = key("10%", description="The last user message and the newest tool results.")


@dataclass(frozen=True, slots=True)
class Shares:
    """The value of `allocation`, computed of all its keys: ratios that sum to 1, and amounts in tokens."""

    system: float = 0.10
    tools: float = 0.10
    examples: float = 0.05
    documents: float = 0.25
    history: float = 0.40
    input: float = 0.10
    tokens: tuple[tuple[str, int], ...] = ()
    """Components with an amount in place of a share, each with its tokens; their ratio is 0."""

    @classmethod
    def of(cls, allocation: Allocation) -> Shares:
        """Scale the ratios to sum to 1; ints are tokens."""
        written = {name: getattr(allocation, name) for name in COMPONENTS}
        tokens = tuple((name, share) for name, share in written.items() if isinstance(share, int))
        whole = sum(share for share in written.values() if isinstance(share, float)) or 1.0
        ratios = {
            name: round((share if isinstance(share, float) else 0.0) / whole, 12) for name, share in written.items()
        }
        return cls(**ratios, tokens=tokens)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, handler: GetCoreSchemaHandler) -> Any:
        """Read what a file says as an Allocation; a value of our own stays as it is."""

        def read(value: Any, allocation: ValidatorFunctionWrapHandler) -> Shares:
            return value if isinstance(value, Shares) else cls.of(allocation(value))

        return handler.generate_schema(Annotated[Allocation, WrapValidator(read)])

    def by_component(self) -> dict[str, float]:
        """Return the ratios alone."""
        return {name: getattr(self, name) for name in COMPONENTS}

    def in_words(self, component: str) -> str:
        """Say what a component may have of the whole budget: `25% of that`, `12,000 tokens`."""
        tokens = dict(self.tokens).get(component)
        if tokens is not None:
            return f"{tokens:,} tokens"
        rest = f"what {sum(tokens for _, tokens in self.tokens):,} tokens leave of that" if self.tokens else "that"
        return f"{100 * getattr(self, component, 0.0):.3g}% of {rest}"

    def rooms(self, budget: int, among: Collection[str] = COMPONENTS, /) -> dict[str, int]:
        """Divide `budget` among these components, in whole tokens; the sum is never more than the budget.

        Amounts in tokens are taken off first, scaled down where together they are more than there is; the ratios of
        the others are scaled to the rest.
        """
        fixed = {name: tokens for name, tokens in self.tokens if name in among}
        asked = sum(fixed.values())
        budget = max(0, budget)
        if asked > budget:
            fixed = {name: tokens * budget // asked for name, tokens in fixed.items()}
        ratios = {name: getattr(self, name) for name in COMPONENTS if name in among and name not in fixed}
        rest, whole = budget - sum(fixed.values()), sum(ratios.values()) or 1.0
        shared = {name: int(rest * (ratio / whole)) for name, ratio in ratios.items()}
        return {name: fixed[name] if name in fixed else shared[name] for name in COMPONENTS if name in among}
