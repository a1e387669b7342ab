"""Counts of tokens: the tiktoken door. Works offline; never uses the network.

Counts are memoised by content. A long text is read in slices, cut only where the encoding's own pre-tokenizer
cuts anyway, so the sum is the exact count (see `_CUT`). `learn` reads slice by slice in a small thread pool:
tiktoken releases the interpreter lock while it works, no list of tokens is ever made (turning 100,000 tokens
into Python ints would hold the lock for milliseconds), one long text cannot keep the others waiting, and a
request that is cancelled stops after its current slice.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import tiktoken

from gateway.budget.bounds import LONGEST_RUN, at_least, has_endless_run, weights_by_byte
from gateway.budget.kinds import EVEN, Kinds, Weights, kinds_of, weighed
from gateway.conversation import Message
from gateway.memory import USUAL, Memory
from gateway.packaged_data import tokenizers_dir
from gateway.providers.families import family_of
from gateway.providers.family import Encoding
from gateway.providers.table import provider_of

# The file that tiktoken looks for (the SHA-1 of its address) and the SHA-256 that it must have. Checked here first,
# because tiktoken answers a missing or damaged file with a download.
_FILES = {
    "o200k_base": (
        "fb374d419588a4632f3f557e76b4b70aebbca790",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    ),
    "cl100k_base": (
        "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    ),
}
ENCODINGS = tuple(_FILES)

# A text up to this size is read where it stands: 16 KiB takes .6 ms of prose, 7 ms of the worst kind.
_INLINE_BYTES = 16 * 1024
_SLICE_CHARS = 64 * 1024
_CUT_SEARCH_CHARS = 4 * 1024
# tiktoken's regex engine gives up on a run of white space between 600,000 and 1,000,000 characters long.
_UNREADABLE_PIECE_CHARS = 128 * 1024

# Where both pre-tokenizers cut whatever stands before and after (`tiktoken_ext/openai_public.py`, `pat_str`):
# - between an ASCII letter and a space: no alternative holds a letter followed by a space, and none that ends in a
#   letter looks at what comes next beyond "not a letter, not an apostrophe";
# - between a line feed and a visible ASCII character other than `/`: a match that holds a line feed goes on with
#   white space or (o200k) `/` only. White space before the cut ends in that line feed, so `\s*[\r\n]+` takes all
#   of it, as it (or cl100k's `\s++$`) does at the end of a text.
_CUT = re.compile(r"(?<=[A-Za-z])(?= )|(?<=\n)(?=[!-.0-~])")

_MEMO_ENTRY_BYTES = 128  # two ints (68) and their place in a dict that has just grown (60); 100 on average
_LENGTH = (1 << 32) - 1
_MOST_WEIGHTS = 8  # weights move rarely: a few models that share an encoding, and the ones before
_NO_SPECIAL_TOKENS: frozenset[str] = frozenset()

LONG_BODY = 256 * 1024
"""Bytes from which on a request is read and planned in a thread: below, that takes a few milliseconds at most."""


class EncodingUnavailable(Exception):
    """An encoding's file is missing from the installed litellm, or is not the one we know."""


class Counter:
    """Counts tokens of text in one encoding. Safe to use from several threads."""

    def __init__(
        self,
        encoding: str = "o200k_base",
        most_bytes: int = USUAL.bytes_for("token counts"),
        threads: ThreadPoolExecutor | None = None,
    ) -> None:
        if encoding not in _FILES:
            raise ValueError(f"unknown encoding {encoding!r}; known: {', '.join(ENCODINGS)}")
        self.name = encoding
        self._core: Any = None
        self._lock = threading.Lock()
        self._threads = threads or _threads()
        memo_bytes = self._memo_bytes = 8 * most_bytes // 17
        self._memo = _Memo(memo_bytes)
        self.messages: Memory[Message, int] = Memory(memo_bytes // 2)
        """Tokens of whole messages without media (components.py): read once, a message is one value for long."""
        self.kinds: Memory[Message, Kinds] = Memory(memo_bytes // 8)
        """The same by kind of text, of those that were asked for."""
        self._weighed: dict[Weights, Weighed] = {}

    def __repr__(self) -> str:
        return f"<Counter {self.name} loaded={self.loaded} remembered={len(self._memo)}>"

    @property
    def loaded(self) -> bool:
        return self._core is not None

    @property
    def held_bytes(self) -> int:
        """What it remembers, about."""
        weighed = sum(one.messages.held_bytes + one.memo.held_bytes for one in self._weighed.values())
        return self.messages.held_bytes + self.kinds.held_bytes + self._memo.held_bytes + weighed

    def load(self) -> None:
        """Read the encoding's file and build it, half a second of work: call it in a thread at start."""
        with self._lock:
            if self._core is None:
                self._core = _load(self.name)

    def count(self, text: str) -> int:
        """Return the tokens of `text`, special tokens taken as plain text. A text that is not remembered is read
        now.
        """
        known = self._memo.get(text)
        return self._read(text) if known is None else known

    def at_least(self, text: str) -> int:
        """Return a number of tokens that a text has at least, from its bytes (bounds.py)."""
        try:
            data = text.encode()
        except UnicodeEncodeError:
            data = _without_lone_surrogates(text).encode()
        return at_least(data, byte_weights(self.name))

    def is_bounded(self, text: str) -> bool:
        """Tell whether the count of a text is only an upper bound: it holds a run that takes too long to be read."""
        return len(text) > LONGEST_RUN and any(_is_endless(piece) for piece in _slices(text))

    def weighed(self, weights: Weights) -> Counter | Weighed:
        """Return what counts each kind of text for what it weighs."""
        if weights == EVEN:
            return self
        found = self._weighed.get(weights)
        if found is None:
            if len(self._weighed) >= _MOST_WEIGHTS:
                self._weighed.clear()
            found = self._weighed[weights] = Weighed(self, weights, self._memo_bytes // 4)
        return found

    def counts(self, texts: Sequence[str]) -> list[int]:
        count = self.count
        return [count(text) for text in texts]

    def remember(self, texts: Sequence[str], tokens: Sequence[int]) -> None:
        """Remember what another process counted."""
        for text, number in zip(texts, tokens, strict=True):
            self._memo.put(text, number)

    async def learn(self, texts: Sequence[str]) -> None:
        """Read what is unknown of `texts`, long ones off the event loop, so that `count` answers at once."""
        get = self._memo.get
        unknown = [text for text in texts if get(text) is None]
        if not unknown:
            return
        if self.loaded and sum(map(_size, unknown)) <= _INLINE_BYTES:
            self.counts(unknown)
            return
        await self._learn_in_threads(list(dict.fromkeys(unknown)))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _learn_in_threads(self, texts: list[str]) -> None:
        run = asyncio.get_running_loop().run_in_executor
        if not self.loaded:
            await run(self._threads, self.load)
        batch: list[str] = []
        size = 0
        for text in texts:
            if len(text) > _SLICE_CHARS:
                total = 0
                for piece in _slices(text):
                    total += await run(self._threads, self._tokens, piece)
                self._memo.put(text, total)
                continue
            batch.append(text)
            size += len(text)
            if size >= _SLICE_CHARS:
                await run(self._threads, self.counts, batch)
                batch, size = [], 0
        if batch:
            await run(self._threads, self.counts, batch)

    def _read(self, text: str) -> int:
        if len(text) <= _SLICE_CHARS:
            tokens = self._tokens(text)
        else:
            tokens = sum(map(self._tokens, _slices(text)))
        self._memo.put(text, tokens)
        return tokens

    def _tokens(self, text: str) -> int:
        if _is_endless(text):
            return _size(text)  # no token is empty: bounds.py
        if self._core is None:
            self.load()
        try:
            # The buffer holds 32-bit ranks; its length is the count, without one Python object per token.
            return memoryview(self._core.encode_to_tiktoken_buffer(text, _NO_SPECIAL_TOKENS)).nbytes // 4
        except UnicodeEncodeError:
            return self._tokens(_without_lone_surrogates(text))
        except ValueError:
            # A run of white space that the regex engine cannot take. No independent count of it exists;
            # ours is that of its pieces, at most a token or two per seam away from the whole.
            if len(text) <= _UNREADABLE_PIECE_CHARS:
                raise
            step = _UNREADABLE_PIECE_CHARS
            return sum(self._tokens(text[start : start + step]) for start in range(0, len(text), step))


class Weighed:
    """Counts as a counter does, each kind of text for what it weighs at a provider (budget/calibration.py)."""

    def __init__(self, counter: Counter, weights: Weights, memo_bytes: int) -> None:
        self.plain, self._weights = counter, weights
        self.memo = _Memo(memo_bytes)
        self.messages: Memory[Message, int] = Memory(memo_bytes)
        """Tokens of whole messages without media."""

    def count(self, text: str) -> int:
        """Return what the tokens of `text` weigh."""
        known = self.memo.get(text)
        if known is None:
            known = weighed(kinds_of(text, self.plain.count(text)), self._weights)
            self.memo.put(text, known)
        return known

    def remember(self, texts: Sequence[str], weights: Sequence[int]) -> None:
        """Remember what texts were found to weigh by another process."""
        for text, weight in zip(texts, weights, strict=True):
            self.memo.put(text, weight)

    def at_least(self, text: str) -> int:
        """Return what a text weighs at least, from its bytes: no token weighs less than the lightest kind."""
        return self.plain.at_least(text) * min(100, *self._weights) // 100

    def is_bounded(self, text: str) -> bool:
        """Tell whether the count of a text is only an upper bound."""
        return self.plain.is_bounded(text)

    async def learn(self, texts: Sequence[str]) -> None:
        """Read what is unknown of `texts`, long ones off the event loop."""
        await self.plain.learn(texts)


class Counters:
    """The counters of a process, one for each encoding, made when first asked for and sharing two threads."""

    def __init__(self, most_bytes: int = USUAL.bytes_for("token counts")) -> None:
        self._most_bytes = most_bytes
        self._threads = _threads()
        self._counters: dict[str, Counter] = {}

    def for_encoding(self, name: str) -> Counter:
        counter = self._counters.get(name)
        if counter is None:
            counter = self._counters[name] = Counter(name, self._most_bytes, self._threads)
        return counter

    @property
    def held_bytes(self) -> int:
        """What all of them remember, about."""
        return sum(counter.held_bytes for counter in self._counters.values())

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Memo:
    """Text → count, in two generations: when the young one is full it becomes the old one, and the old one is gone.

    Keyed by the interpreter's own 64-bit SipHash (keyed at random in each process) and checked by the length. It
    needs no encoding to bytes, is kept by the string itself and is four times as fast as a BLAKE2 of the bytes.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = max(1, limit_bytes // _MEMO_ENTRY_BYTES // 2)
        self._young: dict[int, int] = {}
        self._old: dict[int, int] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    @property
    def held_bytes(self) -> int:
        return len(self) * _MEMO_ENTRY_BYTES

    def get(self, text: str) -> int | None:
        key = hash(text)
        entry = self._young.get(key)
        if entry is None:
            entry = self._old.get(key)
            if entry is None:
                return None
            self._set(key, entry)
        return entry >> 32 if entry & _LENGTH == len(text) else None

    def put(self, text: str, tokens: int) -> None:
        self._set(hash(text), tokens << 32 | len(text))

    def _set(self, key: int, entry: int) -> None:
        with self._lock:
            if len(self._young) >= self._limit:
                self._young, self._old = {}, self._young
            self._young[key] = entry


def encoding_for(provider: str, model: str) -> tuple[Encoding, bool]:
    """Return the encoding to count `model` with, and whether it is the model's own; else the count is an estimate.

    The name decides, as in `tiktoken/model.py`: the same model at OpenAI, Azure or a router counts the same.
    """
    own = family_of(provider, model).encoding(model)
    return own or "o200k_base", own is not None or provider_of(provider).counts_as_we_do


def _threads() -> ThreadPoolExecutor:
    # Two: one pathological megabyte (half a second) must not hold up everybody's long texts.
    return ThreadPoolExecutor(2, thread_name_prefix="tokens")


def _load(name: str) -> Any:
    file = verified_file(name, tokenizers_dir())
    os.environ["TIKTOKEN_CACHE_DIR"] = str(file.parent)  # the same folder that litellm sets
    encoding = tiktoken.get_encoding(name)  # tiktoken's registry shares it with litellm
    # The core has its own copy of the vocabulary; Python's is 15 to 28 MB that encoding and decoding never read.
    encoding._mergeable_ranks = {}
    return encoding._core_bpe  # `encode_to_tiktoken_buffer` is public only by way of numpy


def verified_file(name: str, folder: Path) -> Path:
    """Return the encoding's file in `folder`. Raises `EncodingUnavailable` where tiktoken would go and fetch it."""
    file, sha256 = _FILES[name]
    path = folder / file
    if not path.is_file():
        raise EncodingUnavailable(f"{name}: {path} is missing; reinstall litellm, whose wheel carries it")
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise EncodingUnavailable(f"{name}: {path} is damaged (its SHA-256 differs); reinstall litellm")
    return path


@lru_cache(maxsize=len(_FILES))
def byte_weights(name: str) -> bytes:
    """Return what the bytes of an encoding weigh (bounds.py)."""
    lines = verified_file(name, tokenizers_dir()).read_bytes().splitlines()
    return weights_by_byte(base64.b64decode(line.split()[0]) for line in lines)


def _is_endless(text: str) -> bool:
    return len(text) > LONGEST_RUN and has_endless_run(text)


def _slices(text: str) -> Iterator[str]:
    """`text` in pieces of about `_SLICE_CHARS`, longer where there is no safe place to cut."""
    start, end = 0, len(text)
    goal = start + _SLICE_CHARS
    while goal < end:
        cut = _CUT.search(text, goal, min(goal + _CUT_SEARCH_CHARS, end))
        if cut is None:
            goal += _SLICE_CHARS
            continue
        yield text[start : cut.start()]
        start = cut.start()
        goal = start + _SLICE_CHARS
    yield text[start:]


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _without_lone_surrogates(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
