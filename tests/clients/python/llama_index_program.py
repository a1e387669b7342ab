"""LlamaIndex with its default model."""

import openai
from checks import KEY, MODEL, QUESTION, ROOT, TOOL_QUESTION, check, looked_up, main, task
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai import OpenAI, OpenAIResponses


def look_up(number: int) -> str:
    """Look a number up."""
    return looked_up(number)


TOOL = FunctionTool.from_defaults(look_up)


def checks_of(name, kind):
    def make(model=MODEL):
        return kind(model=model, api_base=f"{ROOT}/v1", api_key=KEY, max_retries=0)

    def plain():
        assert "Paris" in make().complete(QUESTION).text

    def stream():
        assert "Paris" in "".join(one.delta or "" for one in make().stream_complete(QUESTION))

    def tools():
        model = make()
        answer = model.chat_with_tools([TOOL], user_msg=TOOL_QUESTION)
        assert [one.tool_kwargs for one in model.get_tool_calls_from_response(answer)] == [{"number": 1}]

    def error():
        try:
            kind(model="gpt-4-no-such", api_base=f"{ROOT}/v1", api_key=KEY, max_retries=0).complete(QUESTION)
        except (openai.NotFoundError, ValueError) as error:
            return type(error).__name__
        raise AssertionError("no error")

    async def loop():
        agent = FunctionAgent(tools=[TOOL], llm=make(), system_prompt="You look numbers up.", streaming=True)
        said = str(await agent.run(user_msg=task(f"llama{name}"), max_iterations=60))
        assert "heron" in said, said

    for one in (plain, stream, tools, error, loop):
        one.__name__ = f"{name}_{one.__name__}"
        check(one)


checks_of("chat", OpenAI)
checks_of("responses", OpenAIResponses)
main()
