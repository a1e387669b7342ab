"""Whether a provider accepts a list of messages, by the rules that it refuses requests by.

Pure. The check is of all that a rewrite could break: the order and pairing of messages, that they say something, and
that a word stands among them which the form of the answer demands. The rest of a request (schemas, ids that are too
long, unknown parts) is the provider's to judge. Rules are told in terms of chat completions, whatever the provider's
own shape: translating a conversation is `routing/upstreams/translated.py`'s matter. The rules of each family of models
stand in its file in `providers/`; those of chat completions stand here.

Beyond what is checked, three rules bind every remedy: inside a unit only the text of results may change, never ids,
order, names, arguments or signatures; units go whole; and see `Rules.binds_reasoning`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gateway.conversation import SYSTEM_ROLES, Conversation, Message, last_unit, last_user, leading_system
from gateway.wire.errors import printable


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that a message breaks."""

    index: int
    rule: str
    message: str
    """The breach and its remedy, for the client."""
    subject: str = field(default="", compare=False)
    """The subject of the breach, apart from its place: a call's id, or a role."""


@dataclass(frozen=True, slots=True)
class Rules:
    """A provider's rules beyond the pairing of calls and results, which all providers want."""

    name: str
    user_first: bool = False
    """Whether the first message after the system text must be the user's."""
    calls_open: bool = True
    """Whether the conversation may open with an assistant's calls."""
    empty_text: bool = True
    """Whether a message may say nothing."""
    unique_calls: bool = False
    """Whether a call's id may stand only once in the whole request."""
    alternates: bool = False
    """Whether user and assistant must take turns, calls and results apart."""
    wants_word: bool = False
    """Whether an answer as a JSON object must be asked for in words too (`Conversation.required_word`)."""
    binds_reasoning: bool = False
    """Whether reasoning is only taken back behind the very messages it was given after: by model, see
    `providers/anthropic.yaml`. The messages before reasoning that is still open do not change then."""

    @property
    def takes_asides(self) -> bool:
        """Whether a user message of ours may stand before any unit, and before another one in the next request: not
        where roles take turns, nor where reasoning is bound to what stood before it.
        """
        return not (self.alternates or self.binds_reasoning)


CHAT = Rules("chat completions", wants_word=True)
"""OpenAI and everything that speaks like it.

- "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'"
  (github.com/BerriAI/litellm/issues/10083), at once: any other message between ends the run of results.
- "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'"
  (github.com/miurla/morphic/issues/136).
- "Invalid 'messages[2].tool_calls': empty array. Expected an array with minimum length 1"
  (github.com/home-assistant/core/pull/118577).
- `content` is null only beside calls, a refusal or audio
  (platform.openai.com/docs/api-reference/chat/create, assistant message).
- "Prompt must contain the word 'json' in some form to use 'response_format' of type 'json_object'"
  (github.com/yubing744/trading-gpt/issues/75, DeepSeek; OpenAI's guide to JSON mode says the same,
  platform.openai.com/docs/guides/structured-outputs#json-mode). Nobody says whether names and arguments of calls
  count: what leaves must have it in a text.
- The older `function_call` and its `function` message carry no id and are not held to each other.
"""


def violations(messages: Sequence[Message], rules: Rules = CHAT) -> tuple[Violation, ...]:
    """List what the provider would refuse in the messages by themselves, in their order; nothing where they are legal.

    `lacks_word` judges what the form of the answer demands of them.
    """
    found = [*_pairing(messages), *_contents(messages, rules)]
    if rules.user_first or not rules.calls_open:
        found.extend(_opening(messages, rules))
    if rules.unique_calls:
        found.extend(_repeated_calls(messages))
    if rules.alternates:
        found.extend(_turns(messages))
    found.sort(key=lambda violation: violation.index)
    return tuple(found)


def introduced(before: Sequence[Message], after: Sequence[Message], rules: Rules = CHAT) -> tuple[Violation, ...]:
    """List what is wrong with `after` and was not wrong with `before`, wherever it stood there."""
    found = violations(after, rules)
    if not found:
        return ()
    old = Counter((violation.rule, violation.subject) for violation in violations(before, rules))
    new = []
    for violation in found:
        key = (violation.rule, violation.subject)
        if old[key]:
            old[key] -= 1
        else:
            new.append(violation)
    return tuple(new)


# ---------------------------------------------------------------- a word that must stand somewhere


def wanted_word(conversation: Conversation, legal: Sequence[Rules]) -> str | None:
    """Name the word that a message of ours must say, since nothing that is sure to stay says it; None for none.

    The leading system text is sure to stay. Judged by that alone, the same request says the same for as long as its
    conversation lasts, whatever is said later and whatever is left out.
    """
    word, messages = conversation.required_word, conversation.messages
    if word is None or not any(rules.wants_word for rules in legal):
        return None
    return None if says(messages[: leading_system(messages)], word) else word


def lacks_word(conversation: Conversation, after: Sequence[Message], legal: Sequence[Rules]) -> bool:
    """Whether a rewrite took away the word that the form of the answer demands."""
    word = conversation.required_word
    if word is None or not any(rules.wants_word for rules in legal):
        return False
    came = conversation.messages
    had = says(came, word) or any(_stands(word, call.arguments) for message in came for call in message.calls)
    return had and not says(after, word)


def says(messages: Sequence[Message], word: str) -> bool:
    """Whether a word stands in the text of a message, in any case, as a part of others too."""
    return any(_stands(word, message.text) for message in messages)


def _stands(word: str, text: str) -> bool:
    return re.search(re.escape(word), text, re.IGNORECASE) is not None


# ---------------------------------------------------------------- what may go


def droppable(messages: Sequence[Message], found: Sequence[Violation]) -> frozenset[int] | None:
    """List the messages that may be left out so that the rest is legal; None where that takes what may not go.

    `found` is what is wrong with them (`violations`). Useless to any provider are a result without its call, and a call
    without all its results together with those that are there. Never the last unit, nor what a user or the system said.
    """
    head, asked = leading_system(messages), last_user(messages)
    last = last_unit(messages, head)
    stays = {*range(head), *(last or ()), *(() if asked is None else (asked,))}
    gone: set[int] = set()
    for violation in found:
        gone.add(violation.index)
        if violation.rule == "missing_result":
            gone.update(_own_results(messages, violation.index))
    spoken = {index for index in gone if messages[index].text and messages[index].role in ("user", *SYSTEM_ROLES)}
    if gone & stays or spoken:
        return None
    rest = [message for index, message in enumerate(messages) if index not in gone]
    return None if violations(rest) else frozenset(gone)


def _own_results(messages: Sequence[Message], caller: int) -> Iterator[int]:
    """Yield the results that stand right behind a message with calls, and what is joined to it."""
    for index in range(caller + 1, len(messages)):
        if not (messages[index].is_result or messages[index].joined):
            return
        yield index


# ---------------------------------------------------------------- the rules, one by one


def _pairing(messages: Sequence[Message]) -> Iterator[Violation]:
    waiting: list[str] = []  # ids of the calls whose results have not come yet
    caller = 0
    for index, message in enumerate(messages):
        if message.role == "tool":
            if message.call_id in waiting:
                waiting.remove(message.call_id)
            else:
                yield _orphan(index, message)
            continue
        if message.role == "function":
            continue
        own = [call.id for call in message.calls if call.id]
        if message.joined:
            waiting += own
            continue
        if waiting:
            yield _unanswered(caller, waiting)
        waiting, caller = own, index
    if waiting:
        yield _unanswered(caller, waiting)


def _orphan(index: int, message: Message) -> Violation:
    call_id = message.call_id or ""
    text = (
        f"messages[{index}] is the result of a tool call `{printable(call_id)}` that is not open: it must follow the "
        "assistant message with that call at once, and only once. Send the two together, or leave the result out."
    )
    return Violation(index, "orphan_result", text, call_id)


def _unanswered(index: int, waiting: Sequence[str]) -> Violation:
    named = ", ".join(f"`{printable(call_id)}`" for call_id in waiting[:3]) + (", …" if len(waiting) > 3 else "")
    text = (
        f"messages[{index}] calls tools whose results do not follow at once ({named}). Send one tool message for "
        "each call right after it, or leave the call out."
    )
    return Violation(index, "missing_result", text, "\n".join(waiting))


def _contents(messages: Sequence[Message], rules: Rules) -> Iterator[Violation]:
    last = len(messages) - 1
    for index, message in enumerate(messages):
        if message.empty_calls:
            text = f"messages[{index}] has an empty `tool_calls`; leave the key out."
            yield Violation(index, "empty_calls", text, message.role)
        if message.content in ("null", "missing"):
            if not (message.calls or message.speaks_otherwise or message.role == "function"):
                text = f"messages[{index}] has no `content`, which only a message with tool calls may leave out."
                yield Violation(index, "no_content", text, message.role)
        elif not rules.empty_text and message.content == "text" and not message.text.strip():
            # Results may be empty; an assistant that calls needs no words, and the last one may be a blank to fill in.
            spoken = message.role == "user" or (message.role == "assistant" and not message.calls and index < last)
            if spoken and not message.speaks_otherwise:
                text = f"messages[{index}] is empty, which {rules.name} refuses; leave it out."
                yield Violation(index, "empty_text", text, message.role)


def _opening(messages: Sequence[Message], rules: Rules) -> Iterator[Violation]:
    """Judge the assistant messages that stand before anybody else has spoken."""
    first = True
    for index, message in enumerate(messages):
        if message.role in SYSTEM_ROLES:
            continue
        if message.role != "assistant":
            return
        if first and rules.user_first:
            text = f"messages[{index}] is the assistant's; {rules.name} wants the user to speak first."
            yield Violation(index, "user_first", text, message.role)
        if message.calls and not rules.calls_open:
            text = f"messages[{index}] calls tools before the user has spoken, which {rules.name} refuses."
            yield Violation(index, "calls_open", text, message.calls[0].id)
        first = False


def _repeated_calls(messages: Sequence[Message]) -> Iterator[Violation]:
    seen: set[str] = set()
    for index, message in enumerate(messages):
        for call in message.calls:
            if call.id and call.id in seen:
                text = f"messages[{index}] uses the id `{printable(call.id)}` of an earlier call; ids must be unique."
                yield Violation(index, "repeated_call", text, call.id)
            seen.add(call.id)


def _turns(messages: Sequence[Message]) -> Iterator[Violation]:
    previous = "assistant"
    for index, message in enumerate(messages):
        if message.role == "user" or (message.role == "assistant" and not message.calls):
            if message.role == previous:
                text = f"messages[{index}]: user and assistant must take turns for this model; join the two messages."
                yield Violation(index, "alternation", text, message.role)
            previous = message.role
