"""langchain-openai, pointed at the gateway by its base URL alone."""

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from tests.contract.running import KEYS, Gateway, Upstream
from tests.upstream.script import mark

NewId = Callable[[], str]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"grey in {city}"


def chat(gateway: Gateway, **more: Any) -> ChatOpenAI:
    return ChatOpenAI(model="gpt-5", base_url=gateway.url, api_key=KEYS["main"], max_retries=0, timeout=20, **more)  # type: ignore[arg-type]


def test_invoke_answers_with_usage(gateway: Gateway, upstream: Upstream, new_id: NewId) -> None:
    id = new_id()
    answer = chat(gateway).invoke(f"Hello {mark(id=id, text='Good day.', cached=5)}")
    assert isinstance(answer, AIMessage)
    assert answer.content == "Good day."
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["input_tokens"] == upstream.calls(id)[0]["prompt_tokens"]
    assert answer.usage_metadata["input_token_details"]["cache_read"] == 5


@pytest.mark.parametrize("usage", [False, True])
def test_stream_yields_the_pieces_and_usage_when_asked(gateway: Gateway, new_id: NewId, usage: bool) -> None:
    pieces = list(chat(gateway, stream_usage=usage).stream(f"Hello {mark(id=new_id(), text='a b c d', chunks=4)}"))
    assert "".join(str(piece.content) for piece in pieces) == "a b c d"
    assert any(piece.usage_metadata for piece in pieces) is usage


async def test_ainvoke_and_astream_answer(gateway: Gateway, new_id: NewId) -> None:
    model = chat(gateway)
    assert (await model.ainvoke(f"Hello {mark(id=new_id(), text='async')}")).content == "async"
    pieces = [str(piece.content) async for piece in model.astream(f"Hello {mark(id=new_id(), text='as stream')}")]
    assert "".join(pieces) == "as stream"


@pytest.mark.parametrize("streamed", [False, True])
def test_an_agents_tool_loop_goes_round(gateway: Gateway, upstream: Upstream, new_id: NewId, streamed: bool) -> None:
    id, again = new_id(), new_id()
    model = chat(gateway, streaming=streamed).bind_tools([weather])
    question = HumanMessage("Weather? " + mark(id=id, calls=[["weather", '{"city": "Köln"}']]))
    asked = model.invoke([question])
    assert [(call["name"], call["args"]) for call in asked.tool_calls] == [("weather", {"city": "Köln"})]
    result = weather.invoke(asked.tool_calls[0])
    assert isinstance(result, ToolMessage)
    last = HumanMessage(f"So? {mark(id=again, text='Grey.')}")
    assert model.invoke([question, asked, result, last]).content == "Grey."
    assert b"grey in K" in upstream.received(again)
