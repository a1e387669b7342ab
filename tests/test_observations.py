"""The habits that a process observes: counted once, whether their exchange succeeds or fails."""

from gateway.prompt_cache.observations import Observation, Observations
from gateway.prompt_cache.usage_patterns import NEW, NOTHING_KNOWN, PreviousRequest, turn_stage

FIRST = Observation("team/p/m", NEW, 1000.0, None, 2000)
SECOND = Observation("team/p/m", turn_stage(2), 1010.0, PreviousRequest(NEW, 10.0, 2000), 2100)


def test_an_observation_that_decides_counts_before_the_exchange():
    observations = Observations()
    observations.add(FIRST, decides=False)
    assert observations.habits("team/p/m") == NOTHING_KNOWN
    observations.add(SECOND, decides=True)
    assert observations.habits("team/p/m") == SECOND.delta()
    assert list(observations.take_news()) == [FIRST, SECOND]


def test_observations_count_once_before_during_and_after_an_exchange():
    observations = Observations()
    observations.add(FIRST, decides=True)
    news = observations.take_news()
    assert observations.habits("team/p/m") == FIRST.delta()
    observations.adopt({"team/p/m": sum([one.delta() for one in news], NOTHING_KNOWN)})
    assert observations.habits("team/p/m") == FIRST.delta()
    assert not observations.take_news()


def test_observations_that_could_not_be_exchanged_are_exchanged_later():
    observations = Observations()
    observations.add(FIRST, decides=True)
    observations.give_back(observations.take_news())
    observations.add(SECOND, decides=True)
    assert observations.habits("team/p/m") == FIRST.delta() + SECOND.delta()
    assert list(observations.take_news()) == [FIRST, SECOND]
