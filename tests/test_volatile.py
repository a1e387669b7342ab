"""Declared volatile text: what moves, what stays, where it stands then, and what the provider's cache makes of it."""

import json

import pytest

from gateway.budget.tokens import Counter
from gateway.config.prompt_cache_rules import shipped_rules
from gateway.conversation import Changes, sent_messages
from gateway.memory import Memory
from gateway.money.ledger import rows
from gateway.prompt_cache.breakpoints import callers
from gateway.prompt_cache.markers import markable, marks_of, place_markers
from gateway.prompt_cache.prefixes import Digests, chain_of
from gateway.prompt_cache.rules import CacheFacts, book_of, facts_for
from gateway.reports.explain import dry_run
from gateway.rewriting.volatile import LABEL, LONGEST_WHOLE, REMAINDER, SystemTextMemory, moved_from, without_matches
from gateway.routing.affinity import affinity_group
from gateway.routing.deployment import Deployment
from gateway.routing.upstreams.demo import Demo
from gateway.routing.upstreams.upstream import Reply
from gateway.serving.fit import fit
from gateway.wire.chat.read import parse
from gateway.wire.chat.write import message_bytes, sent
from gateway.wire.memo import Memo as Messages
from tests.passage import COUNTERS, NOW, Script, Setting, deployment, policy
from tests.talk import Wire, assistant, body, calls, request, result, system, user
from tests.test_fitting import model

CLOCK = ("Current time: .*",)
COUNTER: Counter = COUNTERS.for_encoding("o200k_base")


def left(text, *patterns):
    return without_matches(text, patterns or CLOCK, SystemTextMemory())


def moved(listed, *patterns):
    return moved_from(request(listed), patterns or CLOCK, SystemTextMemory())


def changes_of(asked) -> Changes:
    found = moved_from(asked, CLOCK, SystemTextMemory())
    assert found is not None
    return found.changes


# ---------------------------------------------------------------- what moves


def test_a_line_of_nothing_else_moves_as_a_line():
    assert left("You help.\n  Current time: 12:00  \nBe brief.") == ("You help.\nBe brief.", ["Current time: 12:00"])


def test_of_a_line_that_says_more_only_the_match_moves():
    assert left("It is 12:00 now.", r"\d\d:\d\d") == ("It is  now.", ["12:00"])


def test_all_matches_move_in_order_and_those_that_overlap_move_as_one():
    rest, said = left("a1b2\nkeep c3", r"\w\d", r"b2|1b")
    assert (rest, said) == ("keep ", ["a1b2", "c3"])


def test_a_text_that_would_go_as_a_whole_leaves_a_line_of_ours_which_moves_no_more():
    assert left("Current time: 12:00\n") == (REMAINDER, ["Current time: 12:00"])
    assert left(REMAINDER, ".*") == (REMAINDER, [])


def test_what_is_left_is_searched_again_until_nothing_matches():
    assert left("xaabby", "ab") == ("xy", ["ab", "ab"])
    assert left("x" + "a" * 50 + "b" * 50, "ab") == ("x" + "a" * 50 + "b" * 50, [])  # more rounds than there are


def test_a_pattern_that_matches_nothing_or_white_space_moves_nothing():
    assert left("a b", "x*", r"\s") == ("a b", [])


def test_a_long_line_is_searched_sentence_by_sentence():
    rules = "Be kind to everyone. " * 40
    assert len(rules) > LONGEST_WHOLE
    rest, said = left(f"{rules}Current time: 12:00 sharp. {rules}")
    assert (rest, said) == (rules + rules, ["Current time: 12:00 sharp."])
    assert left("Current time: " + "x" * LONGEST_WHOLE)[1] == []


def test_only_leading_system_messages_are_looked_at():
    said = "Current time: 12:00"
    assert moved([user(said), system(said), user("Hi")]) is None
    assert moved([system("You help."), {"role": "developer", "content": said}, user("Hi")]).said == {1: said}


def test_nothing_moves_where_nothing_follows_the_system_text():
    assert moved([system("You help.\nCurrent time: 12:00")]) is None


def test_it_stands_before_the_final_unit_calls_and_results_together():
    head = [system("You help.\nCurrent time: 12:00"), user("Do it.")]
    assert moved(head).before == 1
    assert moved([*head, calls("c1 a", "c2 b"), result("c1", "1"), result("c2", "2")]).before == 2
    assert moved([*head, calls("c1 a"), result("c1", "1"), user("And?")]).before == 4


def test_parts_keep_their_markers_and_everything_else_but_the_text_that_moved():
    parts: list[Wire] = [
        {"type": "text", "text": "You help.", "cache_control": {"type": "ephemeral"}},
        {"text": "Now\nCurrent time: 12:00", "x": 1, "type": "text"},
        {"type": "image_url", "image_url": {"url": "data:,"}},
    ]
    asked = request([{"role": "system", "content": parts, "name": "s"}, user("Hi")])
    changes = changes_of(asked)
    went = json.loads(sent(asked, "m", changes))["messages"]
    assert went == [
        {"role": "system", "content": [parts[0], {**parts[1], "text": "Now"}, parts[2]], "name": "s"},
        user(f"{LABEL}\nCurrent time: 12:00"),
        user("Hi"),
    ]
    applied = changes.applied(asked.conversation.messages)
    assert applied[0].text == parse(sent(asked, "m", changes), Messages()).conversation.messages[0].text


@pytest.mark.parametrize("member", ["cache_control", "prompt_cache_breakpoint"])
def test_a_marker_of_ours_goes_with_the_text_that_stays(member):
    asked = request([system("You help.\nCurrent time: 12:00"), user("Hi")])
    changes = changes_of(asked)
    facts = rules("anthropic" if member == "cache_control" else "openai-5.6")
    points = [one for one in placed(asked, changes, facts) if one.ours]
    went = json.loads(sent(asked, "m", changes, marks_of(points, facts)))["messages"]
    assert member in json.dumps(went[0])
    assert "12:00" not in json.dumps(went[0])
    assert member not in json.dumps(went[1:])


def test_what_stays_is_one_value_however_often_the_clock_ticks():
    memo, messages = SystemTextMemory(), Messages()
    asked = [parse(body([system(f"You help.\nCurrent time: {n}"), user("Hi")]), messages) for n in range(3)]
    found = [moved_from(one, CLOCK, memo) for one in asked]
    assert len({id(one.conversation.messages[0]) for one in found if one is not None}) == 1
    assert None not in found


def test_other_patterns_remember_apart():
    memo, asked = SystemTextMemory(), request([system("You help.\nCurrent time: 12:00"), user("Hi")])
    assert moved_from(asked, ("Weather: .*",), memo) is None
    assert moved_from(asked, CLOCK, memo) is not None


def test_what_is_remembered_is_bounded():
    memo = SystemTextMemory(most_bytes=20_000)
    for n in range(1000):
        moved_from(request([system(f"Rule {n}\nRule {n + 1}\nCurrent time: {n}"), user("Hi")]), CLOCK, memo)
    assert len(memo.plain(CLOCK)) < 100


# ---------------------------------------------------------------- in the plan


DECLARED = "name: p\nreserve: {output: 0, margin: 0}\nprompt_cache: {volatile: ['Current time: .*']}\n"
TALK = [system("You help.\nCurrent time: 12:00"), user("Hi"), assistant("Hello."), user("And now?")]
PUT_IN = user(f"{LABEL}\nCurrent time: 12:00")


async def fitted(listed, rules=DECLARED, **window):
    said, chosen = policy(rules), model(deployment(**window))
    return await fit(request(listed), said, chosen, COUNTER, chosen.bounds(said))


async def test_where_bytes_prove_that_it_fits_nothing_is_counted():
    found = await fitted(TALK)
    assert found.plan is None
    assert (found.changes.inserted[0].before, found.summary) == (3, "volatile=1")


async def test_the_message_that_is_put_in_counts_to_the_token():
    whole = (await fitted(TALK, window=70)).plan
    assert whole.tokens_before == sum(whole.before.values()) < whole.tokens_after  # it came without our label
    went = parse(sent(request(TALK), "asked", whole.changes), Messages())
    left = [json.loads(message_bytes(went, index)) for index in range(len(went.conversation.messages))]
    expected = await fitted([*TALK[:0], system("You help."), *TALK[1:3], PUT_IN, TALK[3]], window=70)
    assert (await fitted(left, window=70)).plan == expected.plan
    exact = whole.tokens_after
    assert (await fitted(TALK, window=exact)).summary == "volatile=1"
    assert "drop_oldest" in (await fitted(TALK, window=exact - 1)).summary


async def test_a_request_that_fits_only_with_the_text_in_place_keeps_it_there():
    alone = [TALK[0], user("Hi")]
    moves = (await fitted(alone, window=60)).plan.tokens_after
    assert (await fitted(alone, window=moves)).summary == "volatile=1"
    kept = await fitted(alone, window=moves - 1)
    assert (kept.summary, kept.changes) == ("volatile_left=1", None)


async def test_it_stays_where_roles_take_turns_and_says_so():
    found = await fitted(TALK, model="mistral/mistral-large", window=1000)
    assert (found.summary, found.changes) == ("volatile_left=1", None)


def test_affinity_sees_the_conversation_without_it():
    asked = [[system(f"You help.\nCurrent time: {n}"), user("Hi")] for n in range(2)]
    assert len({affinity_group(request(one).conversation, Memory(2**16)).key for one in asked}) == 2
    assert len({affinity_group(moved(one).conversation, Memory(2**16)).key for one in asked}) == 1


# ---------------------------------------------------------------- through the gateway


async def test_the_header_and_the_entry_say_what_moved(tmp_path):
    passed = await Setting(tmp_path, [policy(DECLARED)])(body(TALK))
    assert passed.received == [system("You help."), *TALK[1:3], PUT_IN, TALK[3]]
    assert passed.client.got["x-gateway-plan"] == "unchanged; volatile=1"
    assert passed.settled["plan"] == "unchanged"
    assert [edit[:3] for edit in passed.settled["edits"]] == [[0, None, "volatile"], [3, None, "volatile"]]


async def test_observing_says_what_would_move_and_sends_the_original(tmp_path):
    passed = await Setting(tmp_path, [policy(DECLARED + "mode: observe\n")])(body(TALK))
    assert passed.received == TALK
    assert passed.client.got["x-gateway-plan"] == "observed; volatile=1"
    assert "tokens_planned" not in passed.settled, "nobody counted"


async def test_a_policy_that_is_off_moves_nothing(tmp_path):
    passed = await Setting(tmp_path, [policy(DECLARED + "mode: off\n")])(body(TALK))
    assert passed.received == TALK
    assert passed.client.got["x-gateway-plan"] == "unchanged"


async def test_a_rewritten_request_has_it_behind_everything_else(tmp_path):
    long = [TALK[0], *(user("word " * 200) if n % 2 == 0 else assistant("So.") for n in range(8)), user("And now?")]
    passed = await Setting(tmp_path, [policy(DECLARED + "context_window: 600\n")])(body(long))
    assert passed.received[0] == system("You help.")
    assert passed.received[-2:] == [PUT_IN, user("And now?")]
    header = passed.client.got["x-gateway-plan"]
    assert header.startswith("rewritten; tokens=")
    assert "; volatile=1; " in header
    assert "first_changed=messages[0]" not in header


def test_explain_shows_both_places():
    told = dry_run(body(TALK), policy(DECLARED), model(), COUNTER)
    assert told["plan"] == "unchanged; volatile=1"
    shown = [(one["at"], one["leaves_at"], one["remedy"]) for one in told["conversation"]]
    assert shown == [(0, 0, "volatile"), (1, 1, None), (2, 2, None), (None, 3, "volatile"), (3, 4, None)]


# ---------------------------------------------------------------- what it is for

RULES = "\n".join(
    f"Rule {n}: of anything numbered {n}, say what it is, whose it is, and what it costs." for n in range(200)
)


def clocked(turn, history):
    head = system(f"You help.\nCurrent time: 2026-01-01 {turn // 60:02}:{turn % 60:02}:{7 * turn % 60:02}\n{RULES}")
    return [head, *history]


def grown(history, turn):
    """Add what a turn of an agent adds: a call with its result, or a new question."""
    if turn % 4 == 3:
        return [*history, assistant(f"That was step {turn}."), user(f"Go on with step {turn + 1}.")]
    return [*history, calls(f"c{turn} read {{}}"), result(f"c{turn}", f"Line {turn} of the file.")]


class Standing(Script):
    """The demo provider, which outlives the gateways of a test."""

    def __init__(self) -> None:
        super().__init__()
        self.demo = Demo(COUNTER.count, lambda: NOW)

    async def send(
        self, deployment: Deployment, body: bytes, *, stream: bool, request_id: str, headers: object = None
    ) -> Reply:
        return await self.demo.send(deployment, body, stream=stream, request_id=request_id)


@pytest.mark.parametrize(("volatile", "least", "most"), [("['Current time: .*']", 0.85, 1.0), ("[]", 0.0, 0.0)])
async def test_forty_turns_with_a_clock_in_the_system_text_are_read_from_the_cache(tmp_path, volatile, least, most):
    asked = deployment(model="demo/openai", kind="demo")
    said = policy(f"name: p\nprompt_cache: {{volatile: {volatile}}}\n")
    setting, demo = Setting(tmp_path, [said], [asked]), Standing()
    history = [user("Read the file.")]
    for turn in range(40):
        passed = await setting(body(clocked(turn, history)), demo)
        assert passed.client.status == 200
        history = grown(history, turn)
    settled = [row for row in rows(passed.gateway.config.ledger.dir) if row["event"] == "settled"]
    share = sum(row["cached_tokens"] for row in settled) / sum(row["prompt_tokens"] for row in settled)
    assert least <= share <= most


@pytest.mark.parametrize(("patterns", "least", "most"), [(CLOCK, 0.85, 1.0), ((), 0.0, 0.0)])
async def test_marked_requests_are_read_up_to_the_moved_text(patterns, least, most):
    """Where only marked text is read: the last marker stands before what moves, or the next request finds nothing."""
    facts, demo, memo = rules("anthropic"), Demo(COUNTER.count, lambda: NOW), SystemTextMemory()
    known: set[int] = set()
    history, read, whole = [user("Read the file.")], 0, 0
    for turn in range(40):
        asked = request(clocked(turn, history))
        found = moved_from(asked, patterns, memo)
        changes = None if found is None else found.changes
        points = placed(asked, changes, facts, known)
        chain = chain_of(asked, changes, Digests())
        known |= {chain.links[one.link] for one in points}
        sending = sent(asked, "anthropic", changes, marks_of(points, facts))
        reply = await demo.send(deployment(model="demo/anthropic", kind="demo"), sending, stream=False, request_id="r")
        usage = json.loads(await reply.read())["usage"]
        read += usage["prompt_tokens_details"]["cached_tokens"]
        whole += usage["prompt_tokens"]
        history = grown(history, turn)
    assert least <= read / whole <= most


def rules(name) -> CacheFacts:
    return facts_for("demo", name, book_of(shipped_rules()))


def placed(asked, changes, facts, known=frozenset()):
    chain = chain_of(asked, changes, Digests())
    messages = asked.conversation.messages
    links = [index for index, link in enumerate(chain.links) if link in known][::-1]
    may = markable(asked, facts, changes)
    order = sent_messages(changes, len(messages))
    until = next((at for at, one in enumerate(order) if one < 0 and changes.inserted[-1 - one].is_passing), None)
    return place_markers(chain, facts, callers(asked, facts, changes), 1, None, links, 300, may, until)
