"""Names of providers that are refused, each with a reason or the name that was meant."""

import pytest

from gateway.providers import refusals
from gateway.providers.table import PROVIDERS, REFUSED


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_name_of_litellms_that_reaches_nobody_is_refused_with_the_reason(name: str):
    told = refusals.unknown(name)
    assert told is not None
    assert told.startswith(f"'{name}' ")
    assert len(told) > len(name) + 12


@pytest.mark.parametrize("name", [*PROVIDERS, "demo"])
def test_a_name_that_is_served_is_not(name: str):
    assert refusals.unknown(name) is None


def test_a_slip_of_the_pen_is_told_what_was_meant():
    assert refusals.unknown("opanai") == "there is no provider 'opanai'; did you mean 'openai'?"
    assert "openai/MODEL with its api_base" in (refusals.unknown("my-own-thing") or "")


def test_a_package_that_is_missing_is_named_with_the_line_that_installs_it():
    facts = PROVIDERS["vertex_ai"]
    assert refusals.not_installed("vertex_ai", facts, lambda module: True) is None
    assert (
        refusals.not_installed("vertex_ai", facts, lambda module: module != "google.auth")
        == "vertex_ai needs google-auth, which is not installed: pip install 'gateway-llm[vertex]'"
    )
