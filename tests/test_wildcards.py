"""Names with asterisks in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.wildcards import covering, filled, filling


@pytest.mark.parametrize(
    ("pattern", "name", "parts"),
    [
        ("*", "gpt-4o", ("gpt-4o",)),
        ("openai/*", "openai/gpt-4o", ("gpt-4o",)),
        ("openai/*", "openai/ft:gpt-4o:org::id", ("ft:gpt-4o:org::id",)),
        ("openrouter/*", "openrouter/meta-llama/llama-3", ("meta-llama/llama-3",)),
        ("*/gpt-*", "azure/gpt-4o", ("azure", "4o")),
        ("openai/*", "openai/", None),
        ("openai/*", "anthropic/x", None),
        ("openai/*", "OpenAI/gpt-4o", None),
        ("gpt-4o", "gpt-4o", None),
        ("gemini/*", "gemini/../../v1/files", None),
        ("gemini/*", "gemini/x?key=y", None),
        ("gemini/*", "gemini/x#y", None),
        ("gemini/*", "gemini//x", None),
        ("gemini/*", "gemini/a b", None),
        ("gemini/*", "gemini/a\n", None),
        ("*", "x" * 257, None),
    ],
)
def test_an_asterisk_stands_for_the_name_of_a_model_and_nothing_else(
    pattern: str, name: str, parts: tuple[str, ...] | None
):
    assert filling(pattern, name) == parts


def test_the_closest_pattern_covers_a_name():
    patterns = ["*", "openai/*", "openai/gpt-*", "*/gpt-4o"]
    assert covering(patterns, "openai/gpt-4o") == "openai/gpt-*"
    assert covering(patterns, "openai/o3") == "openai/*"
    assert covering(patterns, "groq/gpt-4o") == "*/gpt-4o"
    assert covering(patterns, "o3") == "*"
    assert covering(["gpt-4o"], "gpt-4o") is None


def test_what_the_asterisks_stand_for_is_put_in_one_after_the_other():
    assert filled("openai/*", ("gpt-4o",)) == "openai/gpt-4o"
    assert filled("*/*", ("azure", "gpt")) == "azure/gpt"
    assert filled("openai/gpt-4o", ("x",)) == "openai/gpt-4o"


@given(st.text(max_size=60))
def test_whatever_a_client_asks_for_no_path_leads_upwards(name: str):
    parts = filling("*", name)
    assert parts is None or (".." not in parts[0] and parts[0] == name and not set(name) & set("?#%\\ \n"))
