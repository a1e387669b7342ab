"""What a configuration takes from the environment."""

from pathlib import Path
from typing import Any

import pytest

from gateway.config.environment import is_read_in, read_in, usual_keys
from gateway.config.problems import Problem
from gateway.config.yaml import parse_yaml
from gateway.providers.key_variables import usual_variables

SET = {"KEY": "sk-1", "LINED": "sk-1\r\n", "HOST": " eu.example ", "EMPTY": "", "BLANK": " \n"}


def read(value: Any) -> tuple[Any, list[str]]:
    missing: list[Problem] = []
    got = read_in(value, (), parse_yaml("a: 1", Path("c.yaml")), SET, missing)
    return got, [one.message for one in missing]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("os.environ/KEY", "sk-1"),
        ("os.environ/ KEY ", "sk-1"),
        ("os.environ/LINED", "sk-1"),
        ("${KEY}", "sk-1"),
        ("${LINED}", "sk-1"),
        ("https://${HOST}/v1?key=${KEY}", "https://eu.example/v1?key=sk-1"),
        ("${NOBODY:-otherwise}", "otherwise"),
        ("${NOBODY:-}", ""),
        ("${EMPTY:-otherwise}", "otherwise"),
        ("${KEY:-otherwise}", "sk-1"),
        ("$${KEY}", "${KEY}"),
        ("$KEY", "$KEY"),
        ("${not a name}", "${not a name}"),
        ("costs $5 {", "costs $5 {"),
        (["${KEY}", {"a": "os.environ/KEY"}, 5], ["sk-1", {"a": "sk-1"}, 5]),
    ],
)
def test_text_is_read_in_from_the_environment(written: Any, meant: Any):
    assert read(written) == (meant, [])


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("os.environ/NOBODY", ["environment variable NOBODY is not set"]),
        ("os.environ/EMPTY", ["environment variable EMPTY is empty"]),
        ("os.environ/BLANK", ["environment variable BLANK is empty"]),
        ("${NOBODY}/${EMPTY}", ["environment variable NOBODY is not set", "environment variable EMPTY is empty"]),
    ],
)
def test_what_is_not_there_is_told_and_stays_as_it_was_written(written: str, told: list[str]):
    assert read(written) == (written, told)


def test_a_text_says_whether_it_takes_anything_from_the_environment():
    assert [is_read_in(text) for text in ("os.environ/A", "x${A}", "$${A}", "$A", "plain")] == [
        True, True, False, False, False
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("provider", "names"),
    [
        ("openai", ("OPENAI_API_KEY",)),
        ("hosted_vllm", ("HOSTED_VLLM_API_KEY",)),
        ("gemini", ("GOOGLE_API_KEY", "GEMINI_API_KEY")),
        ("scaleway", ("SCW_SECRET_KEY",)),
        ("text-completion-openai", ("OPENAI_API_KEY",)),
        ("bedrock", ()),
        ("vertex_ai", ()),
        ("demo", ()),
    ],
)
def test_a_providers_key_has_its_usual_variable(provider: str, names: tuple[str, ...]):
    assert usual_variables(provider) == names


def test_only_what_may_be_a_key_is_kept_of_the_environment_and_trimmed():
    environ = {"OPENAI_API_KEY": " sk-1\n", "HF_TOKEN": "hf", "HOME": "/x", "XAI_API_KEY": " "}
    assert usual_keys(environ) == {"OPENAI_API_KEY": "sk-1", "HF_TOKEN": "hf"}
