"""OpenAI's agents SDK as it comes (Responses), and with chat completions."""

import openai
from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from checks import KEY, MODEL, QUESTION, ROOT, TOOL_QUESTION, check, looked_up, main, task

set_tracing_disabled(True)


def client():
    return openai.AsyncOpenAI(base_url=f"{ROOT}/v1", api_key=KEY, max_retries=0)


MODELS = {
    "default": lambda name=MODEL: OpenAIResponsesModel(name, client()),
    "chat": lambda name=MODEL: OpenAIChatCompletionsModel(name, client()),
}


def checks_of(name, make):
    def agent(seen, model=None):
        @function_tool
        def look_up(number: int) -> str:
            """Look a number up."""
            seen.append(number)
            return looked_up(number)

        return Agent(name="clerk", instructions="You look numbers up.", tools=[look_up], model=model or make())

    async def plain():
        said = await Runner.run(Agent(name="a", model=make()), QUESTION)
        assert "Paris" in said.final_output

    async def stream():
        streamed = Runner.run_streamed(Agent(name="a", model=make()), QUESTION)
        async for _ in streamed.stream_events():
            pass
        assert "Paris" in streamed.final_output

    async def tools():
        seen = []
        await Runner.run(agent(seen), TOOL_QUESTION)
        assert seen == [1]

    async def error():
        try:
            await Runner.run(Agent(name="a", model=make("no-such-model")), QUESTION)
        except openai.NotFoundError as error:
            return error.code
        raise AssertionError("no error")

    async def loop():
        seen = []
        said = await Runner.run(agent(seen), task(f"agents{name}"), max_turns=60)
        assert "heron" in said.final_output
        assert seen == list(range(1, 21)), seen

    for one in (plain, stream, tools, error, loop):
        one.__name__ = f"{name}_{one.__name__}"
        check(one)


for shape, build in MODELS.items():
    checks_of(shape, build)
main()
