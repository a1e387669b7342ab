"""A dry run: what would be done to a request, told in full. Decides with the same functions as the live path.

An account of a request in a file may hold its content; one of a past request comes from the ledger, which has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from gateway.budget.allocation import Window
from gateway.budget.components import dissect, message_tokens
from gateway.budget.tokens import Counter
from gateway.config.policy import Policy
from gateway.conversation import Changes, Conversation, Message
from gateway.memory import Memory
from gateway.request import Request, with_limit
from gateway.rewriting.plan import Edit, Plan, Refusal, recognition_of
from gateway.rewriting.retention import cut_of, spoken_values, texts_of, value_parts, values_in_order
from gateway.rewriting.tools import REMEDY as TOOLS_SELECTED
from gateway.routing.models import Model
from gateway.serving.admission import chosen_policy
from gateway.serving.fit import Fitted, decided, selected
from gateway.serving.refusals import does_not_fit
from gateway.wire.memo import Memo
from gateway.wire.shape import OWN

FIRST_WORDS_CHARS = 160
MOST_VALUES = 12
"""The number of a message's values that are named; the rest is counted."""


def dry_run(body: bytes, policy: Policy, model: Model, counter: Counter, *, as_sent: bool = False) -> dict[str, Any]:
    """Plan a request body under a policy.

    Returns {model, policy, window, budget, tokens, components: {name: {before, after, room, share, bound}}, plan,
    level, edits, refusal, values_removed, conversation}; the last as `conversation_of` tells it, empty where the
    request would be refused. `share` is what the policy gives a component, `bound` whether that decided: more was asked
    for than its room. With `as_sent` there is `sent` too: the request as the model would receive it, see `sent_of`.
    Raises GatewayError for a body that is not a request.
    """
    memo = Memo()
    request = with_limit(OWN.read(body, memo), model.answer_limit)
    policy = chosen_policy(policy, request, {})
    window = model.bounds(policy, answer_limit=request.answer_limit, thinking=request.thinking)
    chosen_tools = selected(request, policy, model, counter, window, memo)
    if chosen_tools is not None:
        request = chosen_tools.request
    found = decided(request, policy, model, window, counter)
    if chosen_tools is not None:
        found = chosen_tools.noted_in(found)
    told = {
        "model": model.name,
        "policy": str(policy),
        "mode": policy.mode,
        "window": {
            "policy": window.policy,
            "deployment": window.deployment,
            "reserve": window.kept_for(request.answer_limit or 0),
        },
        "budget": window.budget(request.answer_limit or 0),
    }
    if isinstance(found, Refusal):
        return {**told, **_refused(found, request, policy, model, window), **({"sent": []} if as_sent else {})}
    return {
        **told,
        "tokens": [found.tokens_before, found.tokens_after],
        "components": _sizes(policy, found.before, found.after, found.room),
        "plan": _plan(found, policy),
        "level": found.level,
        "edits": [
            {"at": e.at, "remedy": e.remedy, "tool": e.tool, "before": e.before, "after": e.after, "reason": e.reason}
            for e in found.edits
        ],
        "refusal": None,
        "values_removed": len(cut_of(request.conversation, found.changes).removed(Memory(0))) if found.changes else 0,
        "conversation": list(conversation_of(request, policy, model, counter, found)),
        **({"sent": sent_of(request, model, counter, found)} if as_sent else {}),
    }


def _refused(found: Refusal, request: Request, policy: Policy, model: Model, window: Window) -> dict[str, Any]:
    """Tell of a request that would be refused."""
    named = {"component": found.component, "tokens": found.tokens, "room": found.room, "at": found.at}
    error = does_not_fit(found, Fitted(model, found, window), request, policy)
    told = {**named, **(error.extra or {}), "illegal": found.illegal}
    rooms = {told["component"]: told["room"]} if found.illegal is None else {}
    return {
        "tokens": [found.prompt_tokens, None],
        "components": _sizes(policy, found.before, found.before, rooms),
        "plan": "refused",
        "level": None,
        "edits": [],
        "refusal": told,
        "values_removed": 0,
        "conversation": [],
    }


def _sizes(
    policy: Policy, before: Mapping[str, int], after: Mapping[str, int], rooms: Mapping[str, int]
) -> dict[str, Any]:
    """Tell the tokens of each component, what a policy gives it, and whether that decided anything; None where its
    room is not known.
    """
    out: dict[str, Any] = {}
    for name, asked in before.items():
        share, room = f"{100 * getattr(policy.allocation, name):.3g}%", rooms.get(name)
        bound = None if room is None else asked > room
        out[name] = {"before": asked, "after": after[name], "room": room, "share": share, "bound": bound}
    return out


def _plan(found: Plan, policy: Policy) -> str:
    """Say what would be done as the header would."""
    if policy.mode == "off" or not found.summary:
        return "unchanged"
    verb = "observed" if policy.mode == "observe" else "rewritten" if found.rewrites else "unchanged"
    return f"{verb}; {found.summary}"


# ---------------------------------------------------------------- the conversation as it would leave


def conversation_of(
    request: Request, policy: Policy, model: Model, counter: Counter, plan: Plan
) -> Iterator[dict[str, Any]]:
    """Tell of each message, as it came or put in by us, what becomes of it, in the order in which they would leave.

    {at, leaves_at: its index when it came and when it leaves, null for none; role, tool; before, after: tokens; remedy,
    reason: of its edit; words: how its text begins, as it leaves or else as it came; text: all of it, where it is not
    as it came; kept: how many of its values stand somewhere in what leaves; gone: how many stand nowhere any more, each
    told where it stood first; values_gone: some of those; stays: of a message that does not leave, the next of its
    role and component that does, null for none: what was held to be worth more}.
    """
    conversation = request.conversation
    anatomy = dissect(conversation, recognition_of(policy), counter.count, model.count_media)
    changes = plan.changes or Changes({})
    after = changes.applied(conversation.messages)
    stands, told = _standing(conversation, after), set[str]()
    edits: dict[int, list[Edit]] = {}
    for edit in plan.edits:
        if edit.before and edit.remedy != TOOLS_SELECTED:
            edits.setdefault(edit.at, []).append(edit)
    put_in = iter([edit for edit in plan.edits if not edit.before])
    pairs = list(lined_up(conversation.messages, after, changes))
    kinds = [(message.role, name) for message, name in zip(conversation.messages, anatomy.component, strict=True)]
    stays = _next_that_stay(pairs, kinds)
    for at, leaves_at in pairs:
        came = None if at is None else conversation.messages[at]
        left = None if leaves_at is None else after[leaves_at]
        message = came or left
        assert message is not None
        yield {
            "at": at,
            "leaves_at": leaves_at,
            "role": message.role,
            "tool": None if at is None else anatomy.tool_of.get(at),
            "before": None if at is None else anatomy.tokens[at],
            "after": 0 if left is None else message_tokens(left, counter.count, model.count_media),
            **_edit(list(islice(put_in, 1)) if at is None else edits.get(at, [])),
            "words": first_words(left or message),
            "text": None if left is None or left is came else left.text,
            **_values(message, stands, told),
            "stays": None if at is None else stays.get(at),
        }


def _next_that_stay(pairs: Sequence[tuple[int | None, int | None]], kinds: Sequence[tuple[str, str]]) -> dict[int, int]:
    """Find, for each message that does not leave, the next of its kind that does."""
    found: dict[int, int] = {}
    following: dict[tuple[str, str], int] = {}
    for at, leaves_at in reversed(pairs):
        if at is None:
            continue
        if leaves_at is not None:
            following[kinds[at]] = at
        elif kinds[at] in following:
            found[at] = following[kinds[at]]
    return found


def sent_of(request: Request, model: Model, counter: Counter, plan: Plan) -> list[dict[str, Any]]:
    """Give each message as the model would receive it, in order.

    {at: its index when it came, null for what is ours; role, name, text, answers: the id of the call that a result
    answers; calls: [{id, name, arguments}]; media: [what each part is]; tokens; changed: whether its text is not as it
    came}.
    """
    changes, messages = plan.changes or Changes({}), request.conversation.messages
    after = changes.applied(messages)
    came = {place: at for at, place in lined_up(messages, after, changes) if place is not None}
    return [
        {
            "at": came[place],
            "role": message.role,
            "name": message.name,
            "text": message.text,
            "answers": message.call_id,
            "calls": [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in message.calls],
            "media": [f"{part.kind}, {part.detail}" if part.detail else part.kind for part in message.media],
            "tokens": message_tokens(message, counter.count, model.count_media),
            "changed": (at := came[place]) is not None and messages[at] is not message,
        }
        for place, message in enumerate(after)
    ]


def lined_up(
    came: Sequence[Message], left: Sequence[Message], changes: Changes
) -> Iterator[tuple[int | None, int | None]]:
    """Pair the messages before and after, in the order in which they leave; None for what is not on the other side.

    An untouched message is the same object, a changed one says what `changes` makes of it. Any other message was put
    in, however many there are and whatever the reason.
    """
    next_left = 0
    for at, message in enumerate(came):
        if at in changes.dropped:
            yield at, None
            continue
        rest, wanted = range(next_left, len(left)), changes.left(at, message)
        found = next((place for place in rest if _became(message, left[place], wanted)), None)
        if found is None:
            yield at, None
            continue
        yield from ((None, place) for place in range(next_left, found))
        yield at, found
        next_left = found + 1
    yield from ((None, place) for place in range(next_left, len(left)))


def _became(came: Message, left: Message, wanted: Message) -> bool:
    """Whether a message leaves as this one; `wanted` is what it should say then."""
    return left is came if wanted is came else _says(left) == _says(wanted)


def _says(message: Message) -> tuple[object, ...]:
    return message.ours, message.role, message.call_id, message.calls, message.text, message.media, message.reasons


def _standing(conversation: Conversation, after: Sequence[Message]) -> set[str]:
    """Gather every value that stands somewhere in what leaves."""
    texts = [*conversation.definitions, *(text for message in after for text in texts_of(message))]
    texts += [message.name for message in after if message.name]
    found = {value for text in texts for value in spoken_values(text)}
    return found.union(part for value in found for part in value_parts(value))


def _edit(edits: Sequence[Edit]) -> dict[str, Any]:
    remedies, reasons = (dict.fromkeys(getattr(edit, name) for edit in edits) for name in ("remedy", "reason"))
    return {"remedy": ", ".join(remedies) or None, "reason": "; ".join(reasons) or None}


def first_words(message: Message) -> str:
    """Return how a message begins, on one line: its text, else the calls that it makes."""
    whole = message.text or "; ".join(f"{call.name}({call.arguments})" for call in message.calls)
    words = " ".join(whole[: 4 * FIRST_WORDS_CHARS].split())
    is_cut = len(words) > FIRST_WORDS_CHARS or len(whole) > 4 * FIRST_WORDS_CHARS
    return f"{words[: FIRST_WORDS_CHARS - 1]}…" if is_cut else words


def _values(message: Message, stands: set[str], told: set[str]) -> dict[str, Any]:
    """Count the values of a message; those that are gone are told once, and noted in `told`."""
    own = dict.fromkeys(value for text in texts_of(message) for value in values_in_order(text))
    gone = [value for value in own if value not in stands and value not in told]
    told.update(gone)
    return {"kept": len(stands.intersection(own)), "gone": len(gone), "values_gone": gone[:MOST_VALUES]}
