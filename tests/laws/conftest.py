from collections.abc import Callable, Iterable

import pytest

from tests.conftest import Conversations
from tests.laws import transcripts
from tests.laws.driving import Walk

Recorded = Callable[[int], Iterable[Walk]]


@pytest.fixture(scope="session")
def recorded(conversations: Conversations) -> Recorded:
    """The recorded conversations walked under a budget; a sample is walked once for all laws."""
    walked: dict[int, list[Walk]] = {}

    def walks(budget: int) -> Iterable[Walk]:
        if transcripts.ALL:
            return transcripts.walks(conversations, budget)
        if budget not in walked:
            walked[budget] = list(transcripts.walks(conversations, budget))
        return walked[budget]

    return walks
