"""What one provider's answers leave in a conversation, as the next one takes it."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.anthropic import TOOL_USE_IDS
from gateway.providers.families import reception
from gateway.providers.mistral import NINE
from gateway.providers.openai import IDS
from gateway.wire.chat.read import parse
from gateway.wire.chat.write import sent
from gateway.wire.foreign import CHAT, IdForm, call_id
from gateway.wire.memo import Memo
from gateway.wire.outgoing import Additions

GEMINI_ID = "call_0123456789abcdef0123456789ab__thought__" + "CpsGAR/+=" * 200
VLLM_ID = "chatcmpl-tool-0123456789abcdef0123456789abcdef"
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmVk"}


def talk(call: str, **said: Any) -> dict[str, Any]:
    calls = [{"id": call, "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    return {
        "model": "m",
        "messages": [
            {"role": "user", "content": "do"},
            {"role": "assistant", "content": None, "tool_calls": calls, **said},
            {"role": "tool", "tool_call_id": call, "content": "done"},
        ],
    }


def leaves(body: dict[str, Any], provider: str, model: str = "m") -> dict[str, Any]:
    raw = json.dumps(body).encode()
    out = sent(parse(raw, Memo()), "m", additions=Additions(takes=reception(provider, model)))
    left: dict[str, Any] = json.loads(out)
    return left


def ids(body: dict[str, Any]) -> tuple[str, str]:
    _, said, result = body["messages"]
    return said["tool_calls"][0]["id"], result["tool_call_id"]


@pytest.mark.parametrize(
    ("provider", "model", "legal"),
    [
        ("openai", "gpt-5", r".{1,40}"),
        ("azure", "mine", r".{1,40}"),
        ("openrouter", "openai/gpt-5", r".{1,40}"),
        ("groq", "llama", r".{1,64}"),
        ("anthropic", "claude-sonnet-4-5", r"[a-zA-Z0-9_-]+"),
        ("bedrock", "amazon.nova-pro-v1:0", r"[a-zA-Z0-9_-]{1,64}"),
        ("bedrock", "eu.anthropic.claude-sonnet-4-5", r"[a-zA-Z0-9_-]{1,64}"),
        ("vertex_ai", "claude-sonnet-4-5", r"[a-zA-Z0-9_-]{1,64}"),
        ("mistral", "mistral-large-latest", r"[a-zA-Z0-9]{9}"),
        ("openrouter", "mistralai/devstral", r"[a-zA-Z0-9]{9}"),
        ("vllm", "Mixtral-8x7B", r"[a-zA-Z0-9]{9}"),
    ],
)
@pytest.mark.parametrize("call", [GEMINI_ID, VLLM_ID, "a:b/c d", "é" * 70, "call_1", "toolu_01ABC"])
def test_calls_and_results_go_by_an_id_that_the_provider_takes(provider: str, model: str, legal: str, call: str):
    before, after = ids(leaves(talk(call), provider, model))
    assert before == after
    assert re.fullmatch(legal, before)
    assert "__thought__" not in before


@pytest.mark.parametrize(
    ("call", "provider", "model"),
    [
        ("call_abc", "openai", "gpt-5"),
        (VLLM_ID, "vllm", "qwen3"),
        ("toolu_01ABC", "anthropic", "claude-x"),
        ("a1B2c3D4e", "mistral", "mistral-small"),
        (GEMINI_ID, "gemini", "gemini-2.5-flash"),
        (GEMINI_ID, "vertex_ai", "gemini-2.5-flash"),
        (GEMINI_ID, "litellm_proxy", "anything"),
    ],
)
def test_an_id_that_is_legal_there_is_not_touched_nor_any_other_byte(call: str, provider: str, model: str):
    raw = json.dumps(talk(call), indent=1).encode()
    assert sent(parse(raw, Memo()), "m", additions=Additions(takes=reception(provider, model))) == raw


def test_only_the_id_changes():
    raw = (
        b'{"model":"m", "messages":[{"role":"user","content":"x"},\n {"tool_calls" : [{"x":1.10,"id": "a/b"}],'
        b'"role":"assistant"} ,{"role":"tool","content":[],"tool_call_id":"a/b"}]}'
    )
    out = sent(parse(raw, Memo()), "m", additions=Additions(takes=reception("anthropic", "claude-x")))
    new = call_id("a/b", TOOL_USE_IDS).encode()
    assert out == raw.replace(b"a/b", new)


@given(st.text(min_size=1), st.sampled_from([IDS, CHAT, TOOL_USE_IDS, NINE]))
def test_an_id_in_a_form_stays_what_it_is_in_that_form(given_id: str, form: IdForm):
    once = call_id(given_id, form)
    assert form.legal.match(once)
    assert call_id(once, form) == once == call_id(given_id, form)


@given(st.sets(st.text(min_size=1, max_size=80).filter(lambda one: "__thought__" not in one), min_size=2))
def test_different_calls_keep_different_ids(given_ids: set[str]):
    for form in (IDS, CHAT, TOOL_USE_IDS, NINE):
        assert len({call_id(one, form) for one in given_ids}) == len(given_ids)


def with_fields() -> dict[str, Any]:
    body = talk("call_1", provider_specific_fields={"citations": None}, reasoning_content="Hm.")
    call = body["messages"][1]["tool_calls"][0]
    call["provider_specific_fields"] = {"thought_signature": "x"}
    call["function"]["provider_specific_fields"] = {"thought_signature": "x"}
    return body


@pytest.mark.parametrize("provider", ["openai", "azure", "groq", "mistral", "cohere"])
def test_fields_that_litellm_adds_stay_behind(provider: str):
    said = leaves(with_fields(), provider)["messages"][1]
    assert "provider_specific_fields" not in json.dumps(said)
    assert (said["reasoning_content"], said["tool_calls"][0]["function"]["name"]) == ("Hm.", "f")


@pytest.mark.parametrize(("provider", "model"), [("gemini", "gemini-2.5-pro"), ("litellm_proxy", "m")])
def test_fields_go_to_those_who_read_them(provider: str, model: str):
    assert leaves(with_fields(), provider, model) == with_fields()


@pytest.mark.parametrize("provider", ["openai", "fireworks_ai", "mistral", "snowflake"])
def test_thinking_of_claude_stays_behind_where_it_is_refused(provider: str):
    parts = [THOUGHT, {"type": "text", "text": "Yes."}]
    said = {"role": "assistant", "content": parts, "thinking_blocks": [THOUGHT]}
    user = {"role": "user", "content": "x"}
    body = {"model": "m", "messages": [user, said, user]}
    said = leaves(body, provider)["messages"][1]
    assert said == {"role": "assistant", "content": [{"type": "text", "text": "Yes."}]}


def test_a_message_of_thinking_alone_says_nothing_but_is_not_null():
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": [THOUGHT]}]}
    assert leaves(body, "openai")["messages"][1]["content"] == ""


def test_thinking_of_claude_goes_back_to_claude_as_it_came():
    body = talk("toolu_1", thinking_blocks=[THOUGHT, {"type": "redacted_thinking", "data": "x"}])
    for provider, model in (("anthropic", "claude-x"), ("bedrock", "anthropic.claude-x"), ("vertex_ai", "claude-x")):
        assert leaves(body, provider, model) == body


@pytest.mark.parametrize(
    ("call", "thoughts", "more"),
    [
        ("call_1", [{"type": "thinking", "thinking": "Hm."}], {}),
        ("call_1", [{"type": "thinking", "thinking": "Hm.", "signature": "mistral"}], {}),
        (GEMINI_ID, [THOUGHT], {}),
        ("call_1", [THOUGHT], {"provider_specific_fields": {"thought_signatures": ["x"]}}),
    ],
)
def test_thinking_that_claude_did_not_sign_does_not_go_to_claude(call: str, thoughts: Any, more: dict[str, Any]):
    said = leaves(talk(call, thinking_blocks=thoughts, **more), "anthropic", "claude-x")["messages"][1]
    assert "thinking_blocks" not in said


def test_what_users_and_tools_say_of_thinking_is_theirs():
    body = talk("a/b")
    body["messages"][0]["content"] = [{"type": "text", "text": "thinking_blocks?"}]
    assert leaves(body, "openai")["messages"][0] == body["messages"][0]
    strange = {"model": "m", "messages": [{"role": "user", "content": [], "thinking_blocks": 1, "x": "thinking"}]}
    assert leaves(strange, "openai") == strange


@pytest.mark.parametrize(
    "call", [1, None, {}, {"id": None}, {"id": 7}, {"id": ""}, {"id": "a/b", "function": 1}, {"function": {}}]
)
def test_calls_of_no_known_shape_are_left_to_the_provider_to_judge(call: Any):
    body = talk("a b")
    body["messages"][1]["tool_calls"].append(call)
    body["messages"][1]["thinking_blocks"] = "?"
    assert ids(leaves(body, "anthropic", "claude-x"))[0] == call_id("a b", TOOL_USE_IDS)
