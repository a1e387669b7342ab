"""A part of the matrix of providers, over real sockets; all of it: `python -m tests.load.provider_matrix`."""

from pathlib import Path

import pytest

from tests.matrix import sdk_types
from tests.matrix.asking import SHAPES
from tests.matrix.driver import Judge, cells, has_openssl, of_forms, outcomes, setting
from tests.matrix.page import PAGE, TABLE
from tests.matrix.places import MORE, ROWS

PART = ("openai-responses", "azure", "anthropic")
"""Those whose SDKs are here: one translated to Responses, one asked directly, one translated to Messages."""


def test_the_scripts_answer_as_the_sdks_that_are_here_read_it():
    with Judge() as judge:
        assert list(of_forms(judge)) == []


def test_what_an_sdk_would_not_write_is_a_fault():
    bad = {"role": "user", "content": [{"type": "text", "txt": "x"}]}
    request = {"model": "m", "messages": [bad, {"role": "assistant", "reasoning_content": "x"}], "n": "1"}
    assert sdk_types.faults("chat", "request", request) == [
        ".messages[0].content[0]: ChatCompletionContentPartTextParam wants text",
        ".messages[0].content[0].txt: ChatCompletionContentPartTextParam has no such member",
        ".messages[1].reasoning_content: ChatCompletionAssistantMessageParam has no such member",
        ".n: '1' is no int",
    ]
    taken = {"ChatCompletionAssistantMessageParam": ["reasoning_content"]}
    assert len(sdk_types.faults("chat", "request", request, taken)) == 3
    assert sdk_types.faults("messages", "event", {"type": "content_block_stop"}) == ["index: Field required"]
    assert sdk_types.faults("responses", "event", {"type": "response.unheard"}) != []


@pytest.mark.long
@pytest.mark.skipif(not has_openssl(), reason="makes a certificate with openssl")
async def test_requests_are_documented_ones_and_answers_come_whole_in_every_shape(tmp_path: Path):
    part = [row for row in ROWS if row.slug in PART]
    more = [row for row in MORE if row.slug in ("azure-claude", "bedrock-nova")]
    async with setting(tmp_path, [*part, *more]) as at:
        wanted = cells(part, features=("tools", "reasoning"))
        found = await outcomes(at, wanted + cells([*part, *more], ("chat",), ("structured",)))
    faults = [(one.cell.row.slug, one.cell.shape, one.cell.feature, *one.faults) for one in found if one.faults]
    assert faults == []


def test_the_table_of_the_page_has_a_line_for_each_shape_at_each_provider():
    table = TABLE.search(PAGE.read_text(encoding="utf-8"))
    assert table is not None
    lines = [line.split(" | ")[:2] for line in table[0].splitlines() if line.startswith("| ")]
    asked = [[f"| {row.name}", shape] for row in ROWS for shape in SHAPES]
    entered = [[f"| {row.name}", f"`{row.params['model']}`"] for row in ROWS]
    assert [line for line in lines if line[0] != "| provider"] == [*asked, *entered]
