"""An independent judge of what is sent: its own reading of the bytes, its own count, its own rules.

Nothing here comes from `gateway`. Bytes are read with the standard library only; tokens are counted with tiktoken as a
provider would, or by a count handed in where tokenising is not the point.
"""

import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

CountText = Callable[[str], int]
Body = Mapping[str, Any]


def quarter(text: str) -> int:
    """Count a text fast: four characters are a token. Never more than its bytes, as with a real encoding."""
    return (len(text) + 3) // 4


@lru_cache(maxsize=1)
def _encoding() -> Any:
    spec = find_spec("litellm")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "litellm_core_utils" / "tokenizers"
    os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(folder))
    import tiktoken

    return tiktoken.get_encoding("o200k_base")


@lru_cache(maxsize=200_000)
def tokens(text: str) -> int:
    """Count a text with o200k_base."""
    return len(_encoding().encode_ordinary(text))


# ---------------------------------------------------------------- reading bytes

_DECODER = json.JSONDecoder(strict=False)
_SPACE = " \t\r\n"


@dataclass(frozen=True, slots=True)
class Raw:
    """A request body cut by hand: where the value of each top-level member stands, in characters."""

    text: str
    spans: Mapping[str, tuple[int, int]]

    @classmethod
    def of(cls, body: bytes) -> "Raw":
        text = body.decode()
        return cls(text, dict(_members(text, 0)))

    def member(self, key: str) -> str:
        start, end = self.spans[key]
        return self.text[start:end]

    def messages(self) -> list[str]:
        """Give each message as it is written."""
        return self.elements("messages")

    def elements(self, key: str) -> list[str]:
        """Give each element of a list as it is written."""
        return list(_elements(self.text, self.spans[key][0]))

    def around_messages(self) -> tuple[str, str]:
        start, end = self.spans["messages"]
        return self.text[:start], self.text[end:]

    def replaced(self, key: str, written: str) -> "Raw":
        start, end = self.spans[key]
        return Raw.of((self.text[:start] + written + self.text[end:]).encode())


def _skip(text: str, at: int) -> int:
    while text[at] in _SPACE:
        at += 1
    return at


def _members(text: str, at: int) -> Iterator[tuple[str, tuple[int, int]]]:
    at = _skip(text, at)
    assert text[at] == "{"
    at = _skip(text, at + 1)
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        start = _skip(text, _skip(text, at) + 1)
        _, end = _DECODER.raw_decode(text, start)
        yield key, (start, end)
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)


def _elements(text: str, at: int) -> Iterator[str]:
    at = _skip(text, at + 1)
    while text[at] != "]":
        _, end = _DECODER.raw_decode(text, at)
        yield text[at:end]
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)


def exactly(raw: str) -> Any:
    """Read JSON with every number as it is written, so that `1.10` is not `1.1`."""
    return json.loads(raw, parse_int=_Lexical, parse_float=_Lexical)


class _Lexical(str):
    """A number as written; never equal to the text of the same characters."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Lexical) and str.__eq__(self, other)

    def __hash__(self) -> int:
        return hash(("number", str(self)))


# ---------------------------------------------------------------- counting


def content_text(message: Body) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(part.get("text") or "" for part in content if isinstance(part, dict))
    return ""


def calls(message: Body) -> list[tuple[str, str, str]]:
    """Id, name and arguments of each call, the older `function_call` among them."""
    found = [
        (c["id"], c["function"]["name"], c["function"].get("arguments") or "") for c in message.get("tool_calls") or ()
    ]
    legacy = message.get("function_call")
    return [*found, ("", legacy["name"], legacy.get("arguments") or "")] if legacy else found


def message_tokens(message: Body, count: CountText) -> int:
    total = 4 + count(content_text(message))
    for _, name, arguments in calls(message):
        total += 8 + count(name) + count(arguments)
    if message.get("name"):
        total += 1 + count(message["name"])
    return total


def tools_tokens(body: Body, count: CountText) -> int:
    shown = [body[key] for key in ("tools", "functions") if body.get(key)]
    if (body.get("response_format") or {}).get("type") == "json_schema":
        shown.append(body["response_format"]["json_schema"])
    return sum(count(json.dumps(one, ensure_ascii=False, separators=(",", ":"))) for one in shown)


def prompt_tokens(body: Body, count: CountText) -> int:
    return 3 + tools_tokens(body, count) + sum(message_tokens(m, count) for m in body["messages"])


# ---------------------------------------------------------------- what may not be touched


def head(messages: Sequence[Body]) -> int:
    """How many system and developer messages stand before any other."""
    return sum(1 for _ in itertools.takewhile(lambda m: m["role"] in {"system", "developer"}, messages))


def newest(messages: Sequence[Body]) -> int:
    """Index of the newest message, or of the call whose results end the list."""
    at = len(messages) - 1
    while at and messages[at]["role"] in {"tool", "function"}:
        at -= 1
    return at if at == len(messages) - 1 or calls(messages[at]) else len(messages) - 1


def last_user(messages: Sequence[Body]) -> int | None:
    return max((i for i, m in enumerate(messages) if m["role"] == "user"), default=None)


def untouchable(messages: Sequence[Body]) -> set[int]:
    """Leading system text, the last user message, the newest unit."""
    asked = last_user(messages)
    return {*range(head(messages)), *range(newest(messages), len(messages)), *([] if asked is None else [asked])}


def unanswered(messages: Sequence[Body]) -> set[int]:
    """Results that nobody has spoken to yet: they end the list, or one user message does, right behind them."""
    end = len(messages)
    if end and messages[-1]["role"] == "user":
        end -= 1
    at = end
    while at and messages[at - 1]["role"] in {"tool", "function"}:
        at -= 1
    return set(range(at - 1, end)) if 0 < at < end and calls(messages[at - 1]) else set()


def untouchable_tokens(body: Body, count: CountText) -> int:
    messages = body["messages"]
    return 3 + tools_tokens(body, count) + sum(message_tokens(messages[i], count) for i in untouchable(messages))


def room(body: Body, budget: int, count: CountText) -> int:
    """Give the budget less tools and leading system text."""
    messages = body["messages"]
    fixed = 3 + tools_tokens(body, count) + sum(message_tokens(m, count) for m in messages[: head(messages)])
    return max(0, budget - fixed)


# ---------------------------------------------------------------- rules of the format


def violations(messages: Sequence[Body]) -> Counter[str]:
    """Broken rules of chat completions, told so that the same fault reads the same wherever it stands."""
    bad: Counter[str] = Counter()
    open_calls: list[str] = []
    for message in messages:
        role = message.get("role")
        if role == "tool":
            call_id = message.get("tool_call_id")
            if call_id in open_calls:
                open_calls.remove(call_id)
            else:
                bad[f"orphan result {call_id}"] += 1
        elif role != "function":
            bad.update(f"call {call_id} without result" for call_id in open_calls)
            open_calls = [call["id"] for call in message.get("tool_calls") or ()]
            bad.update(_contents(message))
    bad.update(f"call {call_id} without result" for call_id in open_calls)
    return bad


def _contents(message: Body) -> Iterator[str]:
    role = message.get("role")
    if role not in {"system", "developer", "user", "assistant"}:
        yield f"role {role!r}"
    if message.get("tool_calls") == []:
        yield "empty tool_calls"
    speaks = any(message.get(key) for key in ("refusal", "audio", "reasoning_content", "reasoning_details"))
    if message.get("content") is None and not (calls(message) or speaks):
        yield f"{role} without content"


def provider_violations(messages: Sequence[Body], provider: str) -> Counter[str]:
    """Broken rules of a provider beyond those of chat completions, as far as they are about order and emptiness."""
    bad: Counter[str] = Counter()
    spoken = [m for m in messages if m["role"] not in {"system", "developer"}]
    match provider:
        case "Anthropic":
            bad["user first"] += bool(spoken) and spoken[0]["role"] == "assistant"
            ids = Counter(call_id for m in messages for call_id, _, _ in calls(m) if call_id)
            bad.update({f"repeated call {call_id}": times - 1 for call_id, times in ids.items() if times > 1})
            bad["blank user message"] += sum(
                m["role"] == "user" and isinstance(m["content"], str) and not m["content"].strip() for m in messages
            )
        case "Gemini":
            before_user = itertools.takewhile(lambda m: m["role"] == "assistant", spoken)
            bad["calls open"] += sum(bool(calls(m)) for m in before_user)
        case "Mistral":
            turns = [m["role"] for m in messages if m["role"] == "user" or (m["role"] == "assistant" and not calls(m))]
            bad["alternation"] += sum(a == b for a, b in itertools.pairwise(["assistant", *turns]))
    return +bad


def head_tokens(body: Body, count: CountText) -> int:
    messages = body["messages"]
    return sum(message_tokens(m, count) for m in messages[: head(messages)])


def is_result(message: Body) -> bool:
    return message["role"] in {"tool", "function"}


def is_example(message: Body) -> bool:
    text = content_text(message).strip()
    return str(message.get("name") or "").startswith("example_") or (
        text.startswith(("<example>", "<example ")) and text.endswith("</example>")
    )


def irreducible_tokens(body: Body, ladder: Any, count: CountText) -> int:
    """Tokens of what may not be dropped by this ladder; results that it can only shorten count as they are."""
    messages = body["messages"]
    kept = untouchable(messages)
    total = 3 + tools_tokens(body, count)
    for index, message in enumerate(messages):
        remedy = ladder.examples if is_example(message) else ladder.history
        if index in kept or not remedy:
            total += message_tokens(message, count)
    return total


# ---------------------------------------------------------------- reasoning that is bound to what stands before it


def signatures(message: Body) -> list[str]:
    """Signatures of the reasoning that a message carries."""
    return [str(block["signature"]) for block in message.get("thinking_blocks") or ()]


def unbound(served: Sequence[tuple[Sequence[Body], str]]) -> list[str]:
    """List reasoning that came back behind other messages than it was given after.

    For each request in turn: its messages as they were sent, and the signature of the reasoning that answered them.
    """
    given: dict[str, Sequence[Body]] = {}
    bad: list[str] = []
    for messages, answered in served:
        for at, message in enumerate(messages):
            bad += [
                f"{signature} behind {at} messages, given behind {len(given[signature])}"
                for signature in signatures(message)
                if signature in given and list(given[signature]) != list(messages[:at])
            ]
        given[answered] = messages
    return bad


def reasoning_lost(came: Sequence[Body], went: Sequence[Body]) -> list[str]:
    """List reasoning of the newest tool loop that came and did not leave: the model wants all of it back."""
    asked = last_user(came)
    loop = came if asked is None else came[asked + 1 :]
    left = {signature for message in went for signature in signatures(message)}
    return [signature for message in loop for signature in signatures(message) if signature not in left]
