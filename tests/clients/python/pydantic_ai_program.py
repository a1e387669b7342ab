"""pydantic-ai with its default (Responses), with chat completions, and with Anthropic."""

import anthropic
import openai
from checks import CLAUDE, KEY, MODEL, QUESTION, ROOT, TOOL_QUESTION, check, looked_up, main, task
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.usage import UsageLimits


def of_openai():
    return OpenAIProvider(openai_client=openai.AsyncOpenAI(base_url=f"{ROOT}/v1", api_key=KEY, max_retries=0))


def of_anthropic():
    return AnthropicProvider(anthropic_client=anthropic.AsyncAnthropic(base_url=ROOT, api_key=KEY, max_retries=0))


MODELS = {
    "default": lambda name=MODEL: OpenAIResponsesModel(name, provider=of_openai()),
    "chat": lambda name=MODEL: OpenAIChatModel(name, provider=of_openai()),
    "anthropic": lambda name=CLAUDE: AnthropicModel(name, provider=of_anthropic()),
}


def checks_of(name, make):
    def agent(seen, model=None):
        made = Agent(model or make())

        @made.tool_plain
        def look_up(number: int) -> str:
            """Look a number up."""
            seen.append(number)
            return looked_up(number)

        return made

    async def plain():
        assert "Paris" in (await Agent(make()).run(QUESTION)).output

    async def stream():
        async with Agent(make()).run_stream(QUESTION) as events:
            assert "Paris" in await events.get_output()

    async def tools():
        seen = []
        await agent(seen).run(TOOL_QUESTION)
        assert seen == [1]

    async def error():
        try:
            await Agent(make("no-such-model")).run(QUESTION)
        except ModelHTTPError as error:
            return f"{type(error).__name__} {error.status_code}"
        raise AssertionError("no error")

    async def loop():
        seen = []
        said = await agent(seen).run(task(f"pydantic{name}"), usage_limits=UsageLimits(request_limit=100))
        assert "heron" in said.output
        assert seen == list(range(1, 21)), seen

    for one in (plain, stream, tools, error, loop):
        one.__name__ = f"{name}_{one.__name__}"
        check(one)


for provider, build in MODELS.items():
    checks_of(provider, build)
main()
