"""Errors that say that a request is too long, as servers word them, and errors that are about something else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.too_long import KEPT_SECONDS, Stated, TooLong, Windows, too_long

SENTENCES: dict[str, tuple[str, TooLong]] = {
    # platform.openai.com; litellm's exception_mapping_utils.py
    "openai": (("This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (8000 in the "
               "messages, 1000 in the completion). Please reduce the length of the messages or completion."),
               TooLong(8000, 8192)),
    "openai, older": (("This model's maximum context length is 4097 tokens, however you requested 4116 tokens (3860 in "
                      "your prompt; 256 for the completion). Please reduce your prompt; or completion length."),
                      TooLong(3860, 4097)),
    "openai, messages": (("This model's maximum context length is 16385 tokens. However, your messages resulted in "
                         "20,000 tokens. Please reduce the length of the messages."), TooLong(20_000, 16_385)),
    "openai, responses": (("Your input exceeds the context window of this model. Please adjust your input and try "
                          "again."), TooLong(None, None)),
    # docs.claude.com/en/api/errors; github.com/stackblitz/bolt.new/issues/7414
    "anthropic": ("prompt is too long: 210000 tokens > 200000 maximum", TooLong(210_000, 200_000)),
    "anthropic, with its answer": (("input length and `max_tokens` exceed context limit: 190000 + 21333 > 200000, "
                                   "decrease input length or `max_tokens` and try again"), TooLong(190_000, 200_000)),
    # ai.google.dev; cloud.google.com/vertex-ai
    "gemini": ("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
               TooLong(1_200_000, 1_048_576)),
    "vertex": (("Unable to submit request because the input token count is 2000000 but model only supports up to "
               "1048576. Reduce the input token count and try again."), TooLong(2_000_000, 1_048_576)),
    # docs.aws.amazon.com/bedrock; github.com/entropy-research/Devon/issues/88
    "bedrock": ("Input is too long for requested model.", TooLong(None, None)),
    "bedrock, claude": ("The model returned the following errors: prompt is too long: 209353 tokens > 199999 maximum",
                        TooLong(209_353, 199_999)),
    "bedrock, titan": (("400 Bad Request: Too many input tokens. Max input tokens: 8192, request input token count: "
                       "9000 "), TooLong(9000, 8192)),
    "bedrock, nova": (("Input Tokens Exceeded: Number of input tokens exceeds maximum length. Please update the input "
                      "to try again."), TooLong(None, None)),
    # github.com/ggml-org/llama.cpp, tools/server
    "llama.cpp, by its words": (("request (5000 tokens) exceeds the available context size (4096 tokens), try "
                                "increasing it"), TooLong(5000, 4096)),
    "llama.cpp, older": (("the request exceeds the available context size. try increasing the context size or enable "
                         "context shift"), TooLong(None, None)),
    "llama-cpp-python": ("Requested tokens (516) exceed context window of 512", TooLong(516, 512)),
    # github.com/vllm-project/vllm, entrypoints; github.com/earendil-works/pi/pull/5929
    "vllm": (("This model's maximum context length is 4096 tokens. However, your request has 5000 input tokens. Please "
             "reduce the length of the input messages."), TooLong(5000, 4096)),
    "vllm, with its answer": (("This model's maximum context length is 262144 tokens. However, you requested 0 output "
                              "tokens and your prompt contains at least 262145 input tokens, for a total of at least "
                              "262145 tokens. Please reduce the length of the input prompt or the number of requested "
                              "output tokens. (parameter=input_tokens, value=262145)"), TooLong(262_145, 262_144)),
    "vllm, passed": (("You passed 5000 input tokens and requested 100 output tokens. However, the model's context "
                     "length is only 4096 tokens, resulting in a maximum input length of 3996 tokens."),
                     TooLong(5000, 4096)),
    "vllm, decoder": (("The decoder prompt (length 5000) is longer than the maximum model length of 4096. Make sure "
                      "that `max_model_len` is no smaller than the number of text tokens."), TooLong(5000, 4096)),
    "vllm, engine": ("The engine prompt length 5000 exceeds the max_model_len 4096. Please reduce prompt.",
                     TooLong(5000, 4096)),
    "vllm, the answer limit": (("'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum "
                               "context length is 4096 tokens and your request has 100 input tokens (5000 > 4096 - "
                               "100)."), TooLong(100, 4096)),
    # github.com/sgl-project/sglang, managers/tokenizer_manager.py
    "sglang": ("The input (5000 tokens) is longer than the model's context length (4096 tokens).",
               TooLong(5000, 4096)),
    "sglang, with its answer": (("Requested token count exceeds the model's maximum context length of 4096 tokens. You "
                                "requested a total of 5100 tokens: 5000 tokens from the input messages and 100 tokens "
                                "for the completion. Please reduce the number of tokens in the input messages or the "
                                "completion to fit within the limit."), TooLong(5000, 4096)),
    "sglang, truncated": (("Input length (5000 tokens) exceeds the maximum allowed length (4096 tokens). Use a shorter "
                          "input or enable --allow-auto-truncate."), TooLong(5000, 4096)),
    # github.com/ollama/ollama, runner and server
    "ollama": ("prompt too long; exceeded max context length by 812 tokens", TooLong(None, None, 812)),
    "ollama, embedding": ("the input length exceeds the context length", TooLong(None, None)),
    # github.com/huggingface/text-generation-inference, router/src/validation.rs
    "tgi": (("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 3474 `inputs` tokens "
            "and 60 `max_new_tokens`"), TooLong(3474, 2048)),
    "tgi, alone": ("Input validation error: `inputs` must have less than 1000 tokens. Given: 3474",
                   TooLong(3474, 1000)),
    # each as reported in the issues of agents: opencode, pi, cline
    "mistral": (("Prompt contains 65673 tokens and 0 draft tokens, too large for model with 32768 maximum context "
                "length"), TooLong(65_673, 32_768)),
    "xai": ("This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
            TooLong(537_812, 131_072)),
    "fireworks": ("The prompt is too long: 40000, model maximum context length: 32767", TooLong(40_000, 32_767)),
    "moonshot": ("Invalid request: Your request exceeded model token limit: 131072 (requested: 140000)",
                 TooLong(140_000, 131_072)),
    "cerebras": ("Please reduce the length of the messages or completion. Current length is 10000 while limit is 8192",
                 TooLong(10_000, 8192)),
    "cohere": (("too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5000. Try using a "
               "shorter prompt"), TooLong(5000, 4081)),
    "cohere, by how much": ("too many tokens: size limit exceeded by 11326 tokens. Try using shorter or fewer inputs",
                            TooLong(None, None, 11_326)),
    "openrouter": (("This endpoint's maximum context length is 128000 tokens. However, you requested about 130000 "
                   "tokens (129000 of text input, 1000 in the output)."), TooLong(129_000, 128_000)),
    "poolside": ("Input length 131393 exceeds the maximum allowed input length of 131040 tokens.",
                 TooLong(131_393, 131_040)),
    "copilot": ("prompt token count of 128601 exceeds the limit of 128000", TooLong(128_601, 128_000)),
    "dashscope": ("Range of input length should be [1, 30720]", TooLong(None, 30_720)),
    "lm studio": (("Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with "
                  "context length of only 4096 tokens, which is not enough."), TooLong(5000, 4096)),
    "minimax": ("invalid params, context window exceeds limit (2013)", TooLong(None, None)),
    "atlas": ("Prompt too long: 5152 tokens exceeds max_seq_len 2048 (leave room for output tokens)",
              TooLong(5152, 2048)),
}  # fmt: skip

OTHERS = [
    "max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas you gave 100000.",
    "max_tokens: 100000 > 64000, which is the maximum allowed number of output tokens for claude-sonnet-4-5",
    ("Invalid 'messages[0].content': string too long. Expected a string with maximum length 1048576, but got a string "
    "with length 1048577 instead."),
    "Invalid 'messages': array too long. Expected an array with maximum length 2048, but got one with length 3000.",
    "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 40000. The input must be reduced.",
    "messages.0.content.1.image.source.base64: image exceeds 5 MB maximum: 6000000 bytes > 5242880 bytes",
    "Too many tokens, please wait before trying again.",
    "image too large",
    "Unknown parameter: 'max_tokens'.",
    "The prompt was flagged by our moderation.",
    "",
]  # fmt: skip


def shapes(message: str) -> dict[str, Any]:
    """Give the shapes in which servers put a message."""
    return {
        "openai": {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}},
        "anthropic": {"type": "error", "error": {"type": "invalid_request_error", "message": message}},
        "vllm": {"object": "error", "message": message, "type": "BadRequestError", "code": 400},
        "a string": {"error": message, "error_type": "validation"},
        "bedrock": {"message": message},
        "fastapi": {"detail": message},
        "google": [{"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}],
        "openrouter": {"error": {"message": "Provider returned error", "code": 400,
                                 "metadata": {"raw": json.dumps({"error": {"message": message}})}}},
    }  # fmt: skip


@pytest.mark.parametrize(("message", "found"), SENTENCES.values(), ids=SENTENCES)
def test_the_numbers_of_every_server_that_states_them_are_read(message: str, found: TooLong) -> None:
    for status in (400, 413, 422):
        assert too_long(status, json.dumps({"error": {"message": message}}).encode()) == found
    assert too_long(400, message.encode()) == found
    assert too_long(500, message.encode()) is None


@pytest.mark.parametrize("shape", shapes(""))
def test_it_is_read_in_every_shape(shape: str) -> None:
    message, found = SENTENCES["vllm"]
    assert too_long(400, json.dumps(shapes(message)[shape]).encode()) == found


@pytest.mark.parametrize("message", OTHERS)
def test_what_is_about_something_else_is_not_too_long(message: str) -> None:
    for body in shapes(message).values():
        assert too_long(400, json.dumps(body).encode()) is None
    assert too_long(400, message.encode()) is None


@pytest.mark.parametrize("status", [400, 500])
def test_numbers_in_members_of_their_own_count_whatever_the_words(status: int) -> None:
    error = {
        "code": status,
        "message": "no",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 14429,
        "n_ctx": 8192,
    }
    assert too_long(status, json.dumps({"error": error}).encode()) == TooLong(14_429, 8192)


def test_a_code_says_it_without_words() -> None:
    body = json.dumps({"error": {"message": "Please shorten.", "code": "context_length_exceeded"}}).encode()
    assert too_long(400, body) == TooLong(None, None)


@given(st.binary() | st.text().map(str.encode) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
).map(lambda body: json.dumps(body).encode()))  # fmt: skip
def test_no_body_is_raised_over(body: bytes) -> None:
    too_long(400, body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":' * 600 + b"1" + b"}" * 600,
        json.dumps({"error": {"message": "prompt exceeds the context limit of " + "9" * 100_000 + " tokens"}}).encode(),
        json.dumps({"error": {"type": "exceed_context_size_error", "n_prompt_tokens": -1, "n_ctx": 10**30}}).encode(),
        json.dumps({"error": {"message": "context length exceeds " * 20_000}}).encode(),
        json.dumps({"error": ["maximum context length is 1 tokens"] * 100_000}).encode(),
    ],
)
def test_what_is_made_to_be_hard_is_bounded(body: bytes) -> None:
    found = too_long(400, body)
    assert found is None or (found.limit or 0) < 10**15


# ---------------------------------------------------------------- what was learned


def test_what_leaves_least_room_of_what_was_stated_is_remembered_for_a_while() -> None:
    windows = Windows()
    assert windows.of(["a", "b"], 0.0) is None
    assert windows.learn("a", Stated(4096, 1.1), 10.0)
    assert not windows.learn("a", Stated(4096, 1.2), 11.0)
    assert windows.learn("b", Stated(8192, 1.5), 12.0)
    assert windows.of(["a", "b"], 20.0) == Stated(4096, 1.5)
    assert windows.of(["b", "c"], 20.0) == Stated(8192, 1.5)
    assert windows.of(["c"], 20.0) is None
    assert windows.of(["a"], 11.0 + KEPT_SECONDS) is None
    assert windows.learn("a", Stated(4096), 11.0 + KEPT_SECONDS)
