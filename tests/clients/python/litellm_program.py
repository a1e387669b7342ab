"""LiteLLM's SDK."""

import json

import litellm
from checks import CLAUDE, KEY, MODEL, QUESTION, ROOT, TOOL_QUESTION, check, looked_up, main, task

SCHEMA = {"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]}
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": SCHEMA}}
WAYS = {
    "openai": {"model": f"openai/{MODEL}", "api_base": f"{ROOT}/v1"},
    "anthropic": {"model": f"anthropic/{CLAUDE}", "api_base": ROOT},
}


def checks_of(name, way):
    asked = {**way, "api_key": KEY, "max_retries": 0, "num_retries": 0}

    def ask(content, **more):
        return litellm.completion(**{**asked, **more}, messages=[{"role": "user", "content": content}])

    def plain():
        assert "Paris" in ask(QUESTION).choices[0].message.content

    def stream():
        assert "Paris" in "".join(one.choices[0].delta.content or "" for one in ask(QUESTION, stream=True))

    def tools():
        called = ask(TOOL_QUESTION, tools=[TOOL]).choices[0].message.tool_calls[0]
        assert json.loads(called.function.arguments) == {"number": 1}

    def error():
        try:
            ask(QUESTION, model=f"{name}/no-such-model")
        except litellm.NotFoundError as error:
            return type(error).__name__
        raise AssertionError("no error")

    def loop():
        messages = [{"role": "user", "content": task(f"litellm{name}")}]
        for _ in range(30):
            said = litellm.completion(**asked, messages=messages, tools=[TOOL]).choices[0].message
            messages.append(said.model_dump(exclude_none=True))
            if not said.tool_calls:
                assert "heron" in said.content
                return f"{len(messages)} messages"
            for call in said.tool_calls:
                number = json.loads(call.function.arguments)["number"]
                messages.append({"role": "tool", "tool_call_id": call.id, "content": looked_up(number)})
        raise AssertionError("no end")

    for one in (plain, stream, tools, error, loop):
        one.__name__ = f"{name}_{one.__name__}"
        check(one)


for provider, settings in WAYS.items():
    checks_of(provider, settings)


@check
def responses_plain():
    asked = {**WAYS["openai"], "api_key": KEY, "input": QUESTION}
    assert "Paris" in litellm.responses(**asked).output_text


main()
