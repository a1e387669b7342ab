"""State in a Redis server that several machines share. Each atomic step is one Lua script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha1
from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.state import Change, StateUnavailable

PREFIX: Final = "gateway:"
"""Before every key: the server may be others' too."""

_CONNECT_SECONDS: Final = 1.0
_ANSWER_SECONDS: Final = 2.0
_MOST_TRIES: Final = 1000
"""Each try that is lost is one that somebody else won, so this many means that something is wrong."""

# Put a value in the place of the one that was read, if that is still there. '' and nothing are not the same, hence the
# flags: was there one, which; shall there be one, which; and for how many milliseconds, 0 = as long as it has. Returns
# whether it was done. What is there and is no value at all, a list say, counts as nothing.
_REPLACE: Final = """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'string' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end
local held = redis.call('GET', KEYS[1])
if ARGV[1] == '1' then
    if held ~= ARGV[2] then return 0 end
elseif held then
    return 0
end
if ARGV[3] == '1' then
    if ARGV[5] == '0' then
        redis.call('SET', KEYS[1], ARGV[4], 'KEEPTTL')
    else
        redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5])
    end
else
    redis.call('DEL', KEYS[1])
end
return 1
"""

# Put each value where there is none, up to the first key that holds another; return what stands. ARGV[1] is how many
# milliseconds it is kept.
_PUT_FIRST: Final = """
local stand = {}
for at, key in ipairs(KEYS) do
    local kind = redis.call('TYPE', key).ok
    local held = kind == 'string' and redis.call('GET', key)
    if held then
        redis.call('PEXPIRE', key, ARGV[1])
    else
        redis.call('SET', key, ARGV[at + 1], 'PX', ARGV[1])
    end
    stand[at] = held or ARGV[at + 1]
    if held and held ~= ARGV[at + 1] then break end
end
return stand
"""


class RedisState:
    """State in a Redis server, 6.0 or later. Connects when it is first used."""

    def __init__(self, url: str) -> None:
        with _known_failures():
            # Nothing is tried again by itself: a step whose answer was lost may have been done.
            self._client = redis.Redis.from_url(
                url,
                socket_connect_timeout=_CONNECT_SECONDS,
                socket_timeout=_ANSWER_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )
            self._replace = self._client.register_script(_REPLACE)

    def get(self, key: str) -> bytes | None:
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Read values. MGET says of what is no value that there is none, where GET would fail."""
        with _known_failures():
            found = self._client.mget([PREFIX + key for key in keys]) if keys else []
            return [_bytes(one) for one in found]

    def put(self, key: str, value: bytes, expires_seconds: float | None = None) -> None:
        milliseconds = None if expires_seconds is None else _milliseconds(expires_seconds)
        with _known_failures():
            self._client.set(PREFIX + key, value, px=milliseconds)

    def put_first(self, values: Sequence[tuple[str, bytes]], expires_seconds: float) -> list[bytes]:
        keys, raws = [PREFIX + key for key, _ in values], [raw for _, raw in values]
        with _known_failures():
            # Sent whole each time: it is short, and who sends its digest alone may have to ask twice.
            found = self._client.eval(_PUT_FIRST, len(keys), *keys, _milliseconds(expires_seconds), *raws)
            return [_bytes(one) or b"" for one in found]

    def update(self, key: str, change: Change, expires_seconds: float | None = None) -> bytes | None:
        for _ in range(_MOST_TRIES):
            before = self.get(key)
            after = change(before)
            arguments: list[int | bytes] = [
                int(before is not None),
                before or b"",
                int(after is not None),
                after or b"",
                0 if expires_seconds is None else _milliseconds(expires_seconds),
            ]
            with _known_failures():
                if self._replace(keys=[PREFIX + key], args=arguments):
                    return after
        raise StateUnavailable(f"the state in Redis: {key} changes faster than it can be updated")

    def close(self) -> None:
        with _known_failures():
            self._client.connection_pool.disconnect(inuse_connections=False)  # others' threads may be in the others


class Script:
    """A Lua script on a Redis server, run for many steps in one exchange."""

    def __init__(self, url: str, text: str, answer_seconds: float = _ANSWER_SECONDS) -> None:
        with _known_failures("the counters in Redis"):
            self._client = redis.Redis.from_url(
                url,
                socket_connect_timeout=min(_CONNECT_SECONDS, answer_seconds),
                socket_timeout=answer_seconds,
                retry=Retry(NoBackoff(), 0),
            )
        self._text, self._digest = text, sha1(text.encode(), usedforsecurity=False).hexdigest()

    def run(self, key: str, calls: Sequence[Sequence[str | int | float]]) -> list[list[bytes]]:
        """Run the script once for each list of arguments, in their order, and return its answers."""
        with _known_failures("the counters in Redis"):
            try:
                return self._run(key, calls)
            except redis.exceptions.NoScriptError:  # none of them ran: it is there for all or for none
                self._client.script_load(self._text)
                return self._run(key, calls)

    def _run(self, key: str, calls: Sequence[Sequence[str | int | float]]) -> list[list[bytes]]:
        if len(calls) == 1:
            answers = [self._client.evalsha(self._digest, 1, key, *map(str, calls[0]))]
        else:
            pipeline = self._client.pipeline(transaction=False)
            for arguments in calls:
                pipeline.evalsha(self._digest, 1, key, *map(str, arguments))
            answers = pipeline.execute()
        return [[_bytes(word) or b"" for word in answer] for answer in answers]

    def close(self) -> None:
        with _known_failures("the counters in Redis"):
            self._client.connection_pool.disconnect()


@contextmanager
def _known_failures(name: str = "the state in Redis") -> Iterator[None]:
    try:
        yield
    except (redis.RedisError, OSError, ValueError) as error:
        raise StateUnavailable(f"{name}: {error}") from error


def _bytes(found: object) -> bytes | None:
    if found is not None and not isinstance(found, bytes):
        raise ValueError("it answers with text; leave decode_responses out of the address")
    return found


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
