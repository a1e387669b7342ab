"""Results of one conversation that say the same, or answer the same call, as they came. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence

from gateway.rewriting.folds.outline import Outline
from gateway.rewriting.ladder import Results


class Twins:
    """An index of results by their text and by their call, read as far as it is asked for."""

    __slots__ = ("_by_call", "_by_text", "_outline", "_results", "_upto")

    def __init__(self, outline: Outline, results: Results) -> None:
        self._outline, self._results = outline, results
        self._by_text: defaultdict[str, list[int]] = defaultdict(list)
        self._by_call: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        self._upto = 0

    def newest_same(self, index: int, units: int) -> int:
        """Find the newest result in the first so many units that says the same as this one: itself at least."""
        self._read(units)
        return self._newest(self._by_text[self._results.minified(index)], units)

    def newest_answer(self, number: int, index: int, units: int) -> int:
        """Find the newest result in the first so many units that answers the same call as this one of unit `number`."""
        self._read(units)
        return self._newest(self._by_call[self._call(number, index)], units)

    def _newest(self, indexes: Sequence[int], units: int) -> int:
        end = self._outline.voiced.anatomy.units[units - 1].after
        return indexes[bisect_left(indexes, end) - 1]

    def _read(self, units: int) -> None:
        voiced = self._outline.voiced
        for number in range(self._upto, units):
            for index in voiced.results_of(number):
                self._by_text[self._results.minified(index)].append(index)
                self._by_call[self._call(number, index)].append(index)
        self._upto = max(self._upto, units)

    def _call(self, number: int, index: int) -> tuple[str, str]:
        """Name the call that a result answers by its tool and arguments."""
        anatomy = self._outline.voiced.anatomy
        messages, unit = anatomy.conversation.messages, anatomy.units[number]
        call_id = messages[index].call_id
        calls = [call for at in range(unit.first, index) for call in messages[at].calls]
        arguments = next((call.arguments for call in calls if call.id == call_id), call_id)
        return anatomy.tool_of.get(index, ""), f"messages[{index}]" if arguments is None else arguments
