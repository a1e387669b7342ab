"""The settlement of an answered request: the miss and the saving, by the usage that the provider reported.

Tokens are counted after the answer, never before a request is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from gateway.budget.components import CountMedia, texts
from gateway.budget.tokens import LONG_BODY, Counter
from gateway.money.row import CacheSettlement
from gateway.prompt_cache.lookup import CacheLookup, is_shorter
from gateway.prompt_cache.misses import Miss, TokenReport, cause_of_miss, readable_tokens
from gateway.prompt_cache.prefixes import without_markers
from gateway.prompt_cache.sizes import PrefixSizes, inserted_texts, original_usage, prefix_sizes
from gateway.wire.usage import Usage

Cost = Callable[[Usage], int | None]
"""Returns the cost of a usage at this deployment now, in nano-USD; None if it has no price."""


async def settle(
    lookup: CacheLookup, usage: Usage, cost: Cost, counter: Counter, count_media: CountMedia, *, exact: bool
) -> CacheSettlement:
    """Compare the reported usage with the expected one, and the cost with that of the original request.

    `exact`: True if `counter` counts as the provider does. Then only the prefix that was read is counted.
    """
    markers = sum(point.ours for point in lookup.sent.breakpoints)
    if usage.estimated:
        return CacheSettlement(markers=markers, saved_nanousd=0 if lookup.is_billed_as_original else None)
    expected, is_same = _expected_tokens(lookup), lookup.is_billed_as_original or lookup.is_original_uncached
    if expected is not None and is_same:
        return _settlement(lookup, usage, cost, expected, PrefixSizes.of_whole(usage.prompt), markers)
    conversation = lookup.request.conversation
    if exact and is_same:
        conversation = replace(conversation, messages=conversation.messages[: lookup.sent.match.read])
    missing = [*texts(conversation, counter.messages), *map(without_markers, conversation.definitions)]
    await counter.learn([*missing, *inserted_texts(lookup.changes)])

    def weigh() -> tuple[PrefixSizes, PrefixSizes]:
        measure = None if exact and is_same else usage
        return prefix_sizes(conversation, lookup.changes, measure, counter, count_media)

    if len(lookup.request.body) < LONG_BODY:
        sizes = weigh()
    else:
        sizes = await asyncio.get_running_loop().run_in_executor(None, weigh)
    if expected is None:
        expected = sizes[0].up_to(lookup.sent.match.read or 0)
    original = PrefixSizes.of_whole(usage.prompt) if exact and is_same else sizes[1]
    return _settlement(lookup, usage, cost, expected, original, markers)


def _expected_tokens(lookup: CacheLookup) -> int | None:
    """Return the tokens that should have been read, if they are known without counting; 0 if none should."""
    read, _, tokens = lookup.sent.match
    if read is None or tokens:
        return tokens
    return 0 if lookup.changes is None and is_shorter(lookup.request, read, lookup.facts.least) else None


def _settlement(
    lookup: CacheLookup, usage: Usage, cost: Cost, expected: int, original: PrefixSizes, markers: int
) -> CacheSettlement:
    """Put the figures together.

    `expected`: tokens that should have been read. `original`: the sizes of the original request.
    """
    facts, paid = lookup.facts, cost(usage)
    figures = TokenReport(usage.prompt, usage.cached, readable_tokens(expected, facts))
    miss = cause_of_miss(figures, lookup.sent, lookup.identity, lookup.previous, facts, lookup.deployment, lookup.now)
    saved: int | None = 0
    if not lookup.is_billed_as_original:
        instead = cost(original_usage(usage, original, lookup.original.breakpoints, lookup.original.match, facts))
        saved = None if instead is None or paid is None else instead - paid
    return CacheSettlement(
        expected=figures.expected,
        miss=None if miss is None else miss.cause,
        lost=0 if miss is None else miss.tokens,
        lost_nanousd=_lost(miss, usage, cost, paid),
        saved_nanousd=saved,
        markers=markers,
    )


def _lost(miss: Miss | None, usage: Usage, cost: Cost, paid: int | None) -> int | None:
    """Return the price of a miss: the cost that was paid less the cost with the missed tokens read."""
    if miss is None or not miss.tokens or paid is None:
        return 0
    tokens = min(miss.tokens, usage.prompt - usage.cached)
    written = max(0, usage.cache_write - tokens)
    read = replace(
        usage,
        cached=usage.cached + tokens,
        cache_write=written,
        cache_write_1h=min(usage.cache_write_1h, written),
    )
    instead = cost(read)
    return None if instead is None else paid - instead
