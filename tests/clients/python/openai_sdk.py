"""OpenAI's SDK: chat completions and Responses."""

import json

import openai
from checks import KEY, MODEL, QUESTION, ROOT, TOOL_QUESTION, check, looked_up, main, task

client = openai.OpenAI(base_url=f"{ROOT}/v1", api_key=KEY, max_retries=0)
SCHEMA = {"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]}
CHAT_TOOL = {"type": "function", "function": {"name": "look_up", "parameters": SCHEMA}}
TOOL = {"type": "function", "name": "look_up", "parameters": SCHEMA, "strict": False}


@check
def chat_plain():
    answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": QUESTION}])
    assert "Paris" in answer.choices[0].message.content
    assert answer.usage.prompt_tokens > 0


@check
def chat_stream():
    events = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": QUESTION}], stream=True)
    assert "Paris" in "".join(one.choices[0].delta.content or "" for one in events if one.choices)


@check
def chat_tools():
    messages = [{"role": "user", "content": TOOL_QUESTION}]
    answer = client.chat.completions.create(model=MODEL, messages=messages, tools=[CHAT_TOOL])
    assert json.loads(answer.choices[0].message.tool_calls[0].function.arguments) == {"number": 1}


@check
def chat_error():
    try:
        client.chat.completions.create(model="no-such-model", messages=[{"role": "user", "content": QUESTION}])
    except openai.NotFoundError as error:
        return error.code
    raise AssertionError("no error")


@check
def chat_loop():
    messages = [{"role": "user", "content": task("chat")}]
    for _ in range(30):
        said = client.chat.completions.create(model=MODEL, messages=messages, tools=[CHAT_TOOL]).choices[0].message
        messages.append(said.model_dump(exclude_none=True))
        if not said.tool_calls:
            assert "heron" in said.content
            return f"{len(messages)} messages"
        for call in said.tool_calls:
            number = json.loads(call.function.arguments)["number"]
            messages.append({"role": "tool", "tool_call_id": call.id, "content": looked_up(number)})
    raise AssertionError("no end")


@check
def responses_plain():
    answer = client.responses.create(model=MODEL, input=QUESTION)
    assert "Paris" in answer.output_text
    assert answer.usage.input_tokens > 0


@check
def responses_stream():
    with client.responses.stream(model=MODEL, input=QUESTION) as events:
        text = "".join(one.delta for one in events if one.type == "response.output_text.delta")
        assert "Paris" in text
        assert events.get_final_response().output_text == text


@check
def responses_tools():
    answer = client.responses.create(model=MODEL, input=TOOL_QUESTION, tools=[TOOL])
    assert [json.loads(one.arguments) for one in answer.output if one.type == "function_call"] == [{"number": 1}]


@check
def responses_error():
    try:
        client.responses.create(model="no-such-model", input=QUESTION)
    except openai.NotFoundError as error:
        return error.code
    raise AssertionError("no error")


@check
def responses_loop():
    items = [{"role": "user", "content": task("responses")}]
    for _ in range(30):
        answer = client.responses.create(model=MODEL, input=items, tools=[TOOL], store=False)
        items += [one.model_dump(exclude_none=True) for one in answer.output]
        calls = [one for one in answer.output if one.type == "function_call"]
        if not calls:
            assert "heron" in answer.output_text
            return f"{len(items)} items"
        for call in calls:
            output = looked_up(json.loads(call.arguments)["number"])
            items.append({"type": "function_call_output", "call_id": call.call_id, "output": output})
    raise AssertionError("no end")


main()
