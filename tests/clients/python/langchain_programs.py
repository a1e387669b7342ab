"""LangChain with its two providers."""

import anthropic
import openai
from checks import CLAUDE, KEY, MODEL, QUESTION, ROOT, TOOL_QUESTION, check, looked_up, main, task
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

MODELS = {
    "openai": lambda name=MODEL: ChatOpenAI(model=name, base_url=f"{ROOT}/v1", api_key=KEY, max_retries=0),
    "openai_responses": lambda name=MODEL: ChatOpenAI(
        model=name, base_url=f"{ROOT}/v1", api_key=KEY, max_retries=0, use_responses_api=True
    ),
    "anthropic": lambda name=CLAUDE: ChatAnthropic(
        model=name, base_url=ROOT, api_key=KEY, max_retries=0, max_tokens=500
    ),
}


@tool
def look_up(number: int) -> str:
    """Look a number up."""
    return looked_up(number)


def checks_of(name, make):
    def plain():
        assert "Paris" in make().invoke(QUESTION).text

    def stream():
        assert "Paris" in "".join(one.text for one in make().stream(QUESTION))

    def tools():
        calls = make().bind_tools([look_up]).invoke(TOOL_QUESTION).tool_calls
        assert [one["args"] for one in calls] == [{"number": 1}]

    def error():
        try:
            make("no-such-model").invoke(QUESTION)
        except (openai.NotFoundError, anthropic.NotFoundError) as error:
            return type(error).__name__
        raise AssertionError("no error")

    def loop():
        asked = {"messages": [{"role": "user", "content": task(f"langchain{name}")}]}
        said = create_agent(make(), [look_up]).invoke(asked, {"recursion_limit": 100})
        assert "heron" in said["messages"][-1].text
        return f"{len(said['messages'])} messages"

    for one in (plain, stream, tools, error, loop):
        one.__name__ = f"{name}_{one.__name__}"
        check(one)


for provider, build in MODELS.items():
    checks_of(provider, build)
main()
