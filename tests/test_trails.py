"""The previous request of a conversation is found by its messages, without an id."""

from gateway.prompt_cache.contents import Match, RequestAtCache
from gateway.prompt_cache.prefixes import Chain
from gateway.prompt_cache.trails import Trails
from tests.test_contents import chain


def turn_of(trails: Trails, hashes: Chain, scope: int = 1, head: int = 0, now: float = 0) -> int:
    request = RequestAtCache(1, hashes, (), Match(None, None, 0))
    return trails.note(scope, hashes.links, request, head, 1, now, trails.find_previous(scope, hashes, head)).turn


def test_the_next_request_of_a_conversation_is_found_by_what_its_last_messages_say():
    trails = Trails()
    turns = [turn_of(trails, chain(*range(1, upto))) for upto in (2, 4, 6, 8)]
    assert turns == [1, 2, 3, 4]


def test_another_conversation_and_another_user_are_not_it():
    trails = Trails()
    turn_of(trails, chain(1, 2, 3))
    assert trails.find_previous(1, chain(4, 5, 6), 0) is None
    assert trails.find_previous(2, chain(1, 2, 3, 4), 0) is None


def test_the_same_opening_under_another_system_text_is_another_conversation():
    trails = Trails()
    hashes = [(1,), (1, 2, 3), (1, 2, 3, 4, 5)]
    turns = [[turn_of(trails, chain(who, *words), head=1) for who in (100, 200)] for words in hashes]
    assert turns == [[1, 1], [2, 2], [3, 3]]


def test_both_branches_of_a_conversation_find_where_they_parted():
    trails = Trails()
    for hashes in ((1,), (1, 2, 3), (1, 2, 4)):
        turn_of(trails, chain(*hashes))
    nexts: list[tuple[tuple[int, ...], int]] = [((1, 2, 3, 5, 6), 3), ((1, 2, 4, 5, 6), 3), ((1, 7, 8), 2)]
    for asked, turn in nexts:
        previous = trails.find_previous(1, chain(*asked), 0)
        assert previous is not None
        assert previous.turn + 1 == turn


def test_a_conversation_is_found_after_its_tools_or_system_text_changed():
    trails = Trails()
    turn_of(trails, chain(100, 2, 3), head=1)
    other = chain(200, 2, 3, 4, 5)
    assert trails.find_previous(1, other, 1) is not None
