"""litellm's SDK as a client of the gateway: `openai/<model>` with our base URL."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.running import KEYS, Gateway, Upstream
from tests.upstream.script import mark

NewId = Callable[[], str]
pytestmark = pytest.mark.filterwarnings("ignore")  # litellm warns of its own ways on import and at exit


@pytest.fixture(scope="module")
def litellm() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        import litellm

        litellm.telemetry = False
        litellm.suppress_debug_info = True
        yield litellm


def asking(gateway: Gateway, id: str, model: str = "gpt-5", **instruction: Any) -> dict[str, Any]:
    return {
        "model": f"openai/{model}",
        "api_base": gateway.url,
        "api_key": KEYS["main"],
        "messages": [{"role": "user", "content": f"Hello {mark(id=id, **instruction)}"}],
        "user": id,
        "num_retries": 0,
        "max_retries": 0,
    }


def test_completion_answers_with_usage(litellm: Any, gateway: Gateway, upstream: Upstream, new_id: NewId) -> None:
    id = new_id()
    answer = litellm.completion(**asking(gateway, id, text="Good day."))
    assert answer.choices[0].message.content == "Good day."
    assert answer.usage.prompt_tokens == upstream.calls(id)[0]["prompt_tokens"]
    assert gateway.settled(id)["cost_nanousd"] == upstream.calls(id)[0]["cost_nanousd"]


def test_a_stream_is_read_to_its_end(litellm: Any, gateway: Gateway, new_id: NewId) -> None:
    chunks = list(litellm.completion(stream=True, **asking(gateway, new_id(), text="a b c d e", chunks=4)))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "a b c d e"


async def test_the_async_side_answers(litellm: Any, gateway: Gateway, new_id: NewId) -> None:
    answer = await litellm.acompletion(**asking(gateway, new_id(), text="async"))
    assert answer.choices[0].message.content == "async"


def test_tool_calls_arrive(litellm: Any, gateway: Gateway, new_id: NewId) -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]
    asked = asking(gateway, new_id(), calls=[["look", '{"at": "sky"}']])
    # Without the last one, tools make the SDK import a package that its wheel does not depend on.
    answer = litellm.completion(tools=tools, **asked, _skip_mcp_handler=True)
    call = answer.choices[0].message.tool_calls[0].function
    assert (call.name, call.arguments) == ("look", '{"at": "sky"}')


@pytest.mark.parametrize(
    ("instruction", "kind"),
    [
        ({"status": 429}, "RateLimitError"),
        ({"status": 400}, "BadRequestError"),
        ({"status": 500}, "InternalServerError"),
    ],
)
def test_errors_become_litellms_own(
    litellm: Any, gateway: Gateway, new_id: NewId, instruction: dict[str, Any], kind: str
) -> None:
    with pytest.raises(getattr(litellm, kind)):
        litellm.completion(**asking(gateway, new_id(), **instruction))


def test_a_request_too_long_is_recognised_as_such(litellm: Any, gateway: Gateway, new_id: NewId) -> None:
    wanted = asking(gateway, new_id()) | {"api_key": KEYS["tight"]}
    wanted["messages"] = [{"role": "user", "content": "lorem ipsum " * 3000}]
    with pytest.raises(litellm.ContextWindowExceededError):
        litellm.completion(**wanted)
