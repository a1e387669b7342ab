"""Haystack's chat generator and agent."""

import openai
from checks import KEY, MODEL, QUESTION, ROOT, TOOL_QUESTION, check, looked_up, main, task
from haystack.components.agents import Agent
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import tool
from haystack.utils import Secret


def make(name=MODEL, **more):
    return OpenAIChatGenerator(
        api_key=Secret.from_token(KEY), model=name, api_base_url=f"{ROOT}/v1", max_retries=0, **more
    )


@tool
def look_up(number: int) -> str:
    """Look a number up."""
    return looked_up(number)


@check
def plain():
    assert "Paris" in make().run([ChatMessage.from_user(QUESTION)])["replies"][0].text


@check
def stream():
    parts = []
    make(streaming_callback=lambda one: parts.append(one.content or "")).run([ChatMessage.from_user(QUESTION)])
    assert "Paris" in "".join(parts)


@check
def tools():
    said = make().run([ChatMessage.from_user(TOOL_QUESTION)], tools=[look_up])["replies"][0]
    assert [one.arguments for one in said.tool_calls] == [{"number": 1}]


@check
def error():
    try:
        make("no-such-model").run([ChatMessage.from_user(QUESTION)])
    except openai.NotFoundError as error:
        return error.code
    raise AssertionError("no error")


@check
def loop():
    agent = Agent(chat_generator=make(), tools=[look_up], max_agent_steps=60)
    said = agent.run([ChatMessage.from_user(task("haystack"))])["messages"]
    assert "heron" in said[-1].text
    return f"{len(said)} messages"


main()
