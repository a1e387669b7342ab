"""What this provider charges: typed by hand, in whole nano-dollars per token. Pure: no clock, no file.

Source: openai.com/api/pricing, standard tier, and claude.com/pricing. `house-model` is on no public list: a gateway
knows it from its config.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Price:
    """Nano-dollars per token; `prompt` is for what the prompt cache did not hold."""

    prompt: int
    cached: int
    completion: int

    def cost(self, prompt: int, cached: int, completion: int) -> int:
        """Charge one answer; prompt tokens include the cached ones, completion tokens the reasoning."""
        return (prompt - cached) * self.prompt + cached * self.cached + completion * self.completion


PRICES = {
    "gpt-5": Price(prompt=1250, cached=125, completion=10_000),
    "gpt-5-mini": Price(prompt=250, cached=25, completion=2_000),
    "gpt-4o": Price(prompt=2500, cached=1250, completion=10_000),
    "gpt-4.1-mini": Price(prompt=400, cached=100, completion=1_600),
    "gpt-3.5-turbo-instruct": Price(prompt=1500, cached=1500, completion=2000),
    "text-embedding-3-small": Price(prompt=20, cached=20, completion=0),
    "omni-moderation-latest": Price(prompt=0, cached=0, completion=0),
    "bge-reranker": Price(prompt=50, cached=50, completion=0),
    "claude-sonnet-4-5": Price(prompt=3000, cached=300, completion=15_000),
    "claude-haiku-4-5": Price(prompt=1000, cached=100, completion=5_000),
    "house-model": Price(prompt=30, cached=7, completion=90),
}
