"""The cost of usage, to the nano-dollar.

Pure arithmetic: no clock, no network, no float. Prices are Decimals taken from the text of the table, because some are
fractions of a nano-dollar. A cost is summed in whole numbers of the smallest step that its rates share (so nothing is
lost however many tokens there are) and rounded once, half to even.

Every token is charged once. The prompt's are: cached, written to the cache, audio, image, or plain; the completion's:
reasoning, audio, image, or plain. Not charged, since usage does not carry them: searches and other tools that a
provider runs for the model and bills by the call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, tzinfo
from decimal import Decimal

from gateway.request import Usage


@dataclass(frozen=True, slots=True)
class Rates:
    """Dollars for one token of each class."""

    input: Decimal
    output: Decimal
    cached: Decimal
    cached_audio: Decimal
    cache_write: Decimal
    cache_write_1h: Decimal
    reasoning: Decimal
    audio_prompt: Decimal
    audio_completion: Decimal
    image_prompt: Decimal
    image_completion: Decimal


CLASSES = tuple(each.name for each in fields(Rates))


@dataclass(frozen=True, slots=True)
class Step:
    """The rates of every token of a request whose prompt has more than `above` tokens."""

    above: int
    rates: Rates
    digits: int = field(init=False, repr=False)
    """The weights are in units of 10**-digits dollars."""
    weights: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Turn the rates into whole numbers of one unit small enough for all of them."""
        values = [getattr(self.rates, name) for name in CLASSES]
        digits = max(9, *(-int(value.normalize().as_tuple().exponent) for value in values))
        object.__setattr__(self, "digits", digits)
        object.__setattr__(self, "weights", tuple(int(value.scaleb(digits)) for value in values))

    def amount(self, usage: Usage) -> int:
        """Return the cost in units of 10**-digits dollars.

        Parts that overlap (cached audio that is not itemised, say) are cut so that no token is charged twice.
        """
        text, out, cached, cached_sound, write, write_1h, thought, sound, sound_out, image, image_out = self.weights
        read = min(usage.cached, usage.prompt)
        read_sound = min(usage.cached_audio, read)
        written = min(usage.cache_write, usage.prompt - read)
        written_1h = min(usage.cache_write_1h, written)
        left = usage.prompt - read - written
        audio = min(max(usage.audio_prompt - read_sound, 0), left)
        images = min(usage.image_prompt, left - audio)
        said = min(usage.audio_completion, usage.completion)
        drawn = min(usage.image_completion, usage.completion - said)
        thoughts = min(usage.reasoning, usage.completion - said - drawn)
        return (
            (left - audio - images) * text
            + (read - read_sound) * cached
            + read_sound * cached_sound
            + (written - written_1h) * write
            + written_1h * write_1h
            + audio * sound
            + images * image
            + (usage.completion - said - drawn - thoughts) * out
            + thoughts * thought
            + said * sound_out
            + drawn * image_out
        )


@dataclass(frozen=True, slots=True)
class OffPeak:
    """Hours in which another step applies, whatever the size of the prompt."""

    step: Step
    windows: tuple[tuple[frozenset[int] | None, int, int], ...]
    """ISO weekdays (None = all), first minute, minute after the last; UTC. A window may pass midnight; first = last
    is the whole day."""
    weekdays_in: tzinfo = UTC

    def covers(self, at: float) -> bool:
        """Say whether the moment (Unix seconds) is off-peak."""
        moment = datetime.fromtimestamp(at, UTC)
        minute = moment.hour * 60 + moment.minute
        weekday = moment.astimezone(self.weekdays_in).isoweekday()
        return any(
            (days is None or weekday in days)
            and (first <= minute < last if first < last else minute >= first or minute < last)
            for days, first, last in self.windows
        )


SERVICE_TIERS = {
    "priority": "priority",
    "fast": "priority",
    "flex": "flex",
    "batch": "batches",
    "batches": "batches",
    "ultrafast": "ultrafast",
    "balanced": "balanced",
}
"""A provider's name of the tier it served → the table's name of its prices. Others (`default`, `standard`, `auto`,
`scale`) are plain."""


@dataclass(frozen=True, slots=True)
class Price:
    """The price of one billed model."""

    model: str
    """Its key in the price table: what the request's price was looked up under."""
    steps: Mapping[str, tuple[Step, ...]] = field(hash=False)
    """By service tier (`""` = the plain one), ascending by `above`."""
    reaches_at_threshold: bool = False
    """A prompt of exactly the threshold is above it (xAI)."""
    per_request: Decimal = Decimal(0)
    per_search: Decimal = Decimal(0)
    multiplier: Decimal = Decimal(1)
    """On everything: where the deployment runs."""
    modifiers: Mapping[str, Decimal] = field(default_factory=dict, hash=False)
    """On everything, by what the usage says it was."""
    off_peak: OffPeak | None = field(default=None, hash=False)
    is_for_holds: bool = False
    """It is what the model's maker takes, and good for an estimate: OpenRouter bills what it routes to, or nothing
    (`:free`), and says so with each answer."""

    def __repr__(self) -> str:
        base = self.steps[""][0].rates
        return f"Price({self.model}: input {base.input}, cached {base.cached}, output {base.output})"

    def rates(self, prompt: int = 0, service_tier: str | None = None, at: float | None = None) -> Rates:
        """Return the dollars per token for a request with that many prompt tokens."""
        return self._step(prompt, service_tier, at).rates

    def cost(self, usage: Usage, service_tier: str | None = None, at: float | None = None) -> int:
        """Return the nano-dollars for this usage, rounded once, half to even.

        `service_tier` is the one the provider says it served; `at` (Unix seconds) matters where prices depend on the
        hour, and without it the dearer hour is charged.
        """
        step = self._step(usage.prompt, service_tier, at)
        amount, digits = step.amount(usage), step.digits
        if self.per_request:
            amount += int(self.per_request.scaleb(digits))
        if self.per_search and usage.searches:
            amount += int(self.per_search.scaleb(digits)) * usage.searches
        for factor in self._factors(usage):
            numerator, decimals = _whole(factor)
            amount, digits = amount * numerator, digits + decimals
        return _rounded(amount, 10 ** (digits - 9))

    def _step(self, prompt: int, service_tier: str | None, at: float | None) -> Step:
        if self.off_peak is not None and at is not None and self.off_peak.covers(at):
            return self.off_peak.step
        tier = SERVICE_TIERS.get(service_tier, "") if service_tier else ""
        steps = self.steps.get(tier) or self.steps[""]
        chosen = steps[0]
        for step in steps[1:]:
            if prompt > step.above or (self.reaches_at_threshold and prompt == step.above):
                chosen = step
        return chosen

    def _factors(self, usage: Usage) -> Iterator[Decimal]:
        if self.multiplier != 1:
            yield self.multiplier
        for name in usage.modifiers:
            if name in self.modifiers:
                yield self.modifiers[name]


def _whole(value: Decimal) -> tuple[int, int]:
    """Return (n, d) with value = n / 10**d."""
    decimals = max(0, -int(value.normalize().as_tuple().exponent))
    return int(value.scaleb(decimals)), decimals


def _rounded(amount: int, unit: int) -> int:
    whole, rest = divmod(amount, unit)
    if rest * 2 > unit or (rest * 2 == unit and whole % 2):
        whole += 1
    return whole
