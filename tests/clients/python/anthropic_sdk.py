"""Anthropic's SDK: Messages."""

import anthropic
from checks import CLAUDE, KEY, QUESTION, ROOT, TOOL_QUESTION, check, looked_up, main, task

client = anthropic.Anthropic(base_url=ROOT, api_key=KEY, max_retries=0)
SCHEMA = {"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]}
TOOL = {"name": "look_up", "description": "Look a number up.", "input_schema": SCHEMA}


@check
def messages_plain():
    answer = client.messages.create(model=CLAUDE, max_tokens=500, messages=[{"role": "user", "content": QUESTION}])
    assert "Paris" in answer.content[0].text
    assert answer.usage.input_tokens > 0


@check
def messages_stream():
    asked = {"model": CLAUDE, "max_tokens": 500, "messages": [{"role": "user", "content": QUESTION}]}
    with client.messages.stream(**asked) as events:
        text = "".join(events.text_stream)
        assert "Paris" in text
        assert events.get_final_message().content[0].text == text


@check
def messages_tools():
    messages = [{"role": "user", "content": TOOL_QUESTION}]
    answer = client.messages.create(model=CLAUDE, max_tokens=500, messages=messages, tools=[TOOL])
    assert [one.input for one in answer.content if one.type == "tool_use"] == [{"number": 1}]
    assert answer.stop_reason == "tool_use"


@check
def messages_error():
    try:
        client.messages.create(model="no-such-model", max_tokens=5, messages=[{"role": "user", "content": QUESTION}])
    except anthropic.NotFoundError as error:
        return error.body["error"]["type"]
    raise AssertionError("no error")


@check
def count_tokens():
    counted = client.messages.count_tokens(model=CLAUDE, messages=[{"role": "user", "content": QUESTION}])
    assert counted.input_tokens > 5


@check
def messages_loop():
    messages = [{"role": "user", "content": task("messages")}]
    for _ in range(30):
        answer = client.messages.create(model=CLAUDE, max_tokens=500, messages=messages, tools=[TOOL])
        messages.append({"role": "assistant", "content": [one.model_dump(exclude_none=True) for one in answer.content]})
        calls = [one for one in answer.content if one.type == "tool_use"]
        if not calls:
            assert "heron" in answer.content[0].text
            return f"{len(messages)} messages"
        results = [
            {"type": "tool_result", "tool_use_id": one.id, "content": looked_up(one.input["number"])} for one in calls
        ]
        messages.append({"role": "user", "content": results})
    raise AssertionError("no end")


main()
