"""What `gateway check` says of a sound configuration: what may not be meant, who may ask, and who can be reached."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main

CLEAN = dict.fromkeys(
    ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "MISTRAL_API_KEY", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
)


def checked(folder: Path, entries: str, more: str = "", *options: str, **environment: str) -> Result:
    (folder / "config.yaml").write_text(f"model_list:\n{entries}\n{more}\n")
    words = ["check", "--config", str(folder / "config.yaml"), *options]
    return CliRunner().invoke(main, words, env={**CLEAN, **environment}, catch_exceptions=False)


def told(done: Result) -> list[str]:
    assert done.exit_code == 0, done.output
    return [line.partition("config.yaml: ")[2] for line in done.stderr.splitlines()]


SAID = [
    ("model: openai/gpt-4o, api_key: k", {}, ""),
    ("model: openai/gpt-4o, api_key: none", {}, ""),
    ("model: openai/gpt-4o", {"OPENAI_API_KEY": "k"}, "OPENAI_API_KEY is sent to api.openai.com (m)"),
    (
        "model: openai/gpt-4o",
        {},
        "m#0:openai/gpt-4o is asked without a key: it has no api_key, and OPENAI_API_KEY is not set",
    ),
    (
        "model: anthropic/claude-sonnet-4-5",
        {"ANTHROPIC_API_KEY": "k"},
        "ANTHROPIC_API_KEY is sent to anthropic (m)",
    ),
    (
        "model: mistral/mistral-large-latest, api_base: 'https://api.mistral.ai/v1'",
        {"MISTRAL_API_KEY": "k"},
        "MISTRAL_API_KEY is sent to api.mistral.ai (m)",
    ),
    (
        "model: openai/gpt-4o, api_base: 'http://10.0.0.5:8000/v1'",
        {"OPENAI_API_KEY": "k"},
        "OPENAI_API_KEY is sent to 10.0.0.5:8000, which is not the provider's own (m): name the key",
    ),
    (
        "model: openai/gpt-4o, api_base: 'http://10.0.0.5:8000', api_key: k",
        {},
        "m#0:openai/gpt-4o is asked at http://10.0.0.5:8000/chat/completions: most servers answer under /v1",
    ),
    (
        "model: openai/x, api_key: k, input_cost_per_token: 1.25, output_cost_per_token: 10",
        {},
        "m#0:openai/x costs $10 a token: prices are for one token, as 1.25e-6, not for a million",
    ),
    (
        "model: openai/gpt-4o, api_key: k, itpm: 5",
        {},
        "litellm_params.itpm (line 2) is without effect: tokens are counted together: give tpm",
    ),
    (
        "model: openai/tts-1, api_key: k",
        {},
        "m#0:openai/tts-1 is for audio speech: it is not served",
    ),
    ("model: openai/text-embedding-3-small, api_key: k", {}, ""),
    (
        "model: snowflake/rerank, api_key: k, account_id: a, mode: rerank",
        {},
        "m#0:snowflake/rerank is for reranking, which is not translated to snowflake: it is not served",
    ),
]


@pytest.mark.parametrize(("entry", "environment", "said"), SAID)
def test_what_may_not_be_meant_is_said(tmp_path: Path, entry: str, environment: dict[str, str], said: str):
    lines = told(checked(tmp_path, f"  - {{model_name: m, litellm_params: {{{entry}}}}}", **environment))
    assert [line[: len(said)] for line in lines] == ([said] if said else [])


def test_a_fallback_with_a_smaller_window_is_said(tmp_path: Path):
    entries = (
        "  - {model_name: big, litellm_params: {model: openai/gpt-5, api_key: k}}\n"
        "  - {model_name: small, litellm_params: {model: openai/gpt-4o, api_key: k}}\n"
    )
    (line,) = told(checked(tmp_path, entries, "fallbacks: [{big: [small]}, {small: [big]}]"))
    assert line.startswith("big falls back to small, whose window is 128,000 tokens and not 272,000")


def test_a_section_of_litellms_points_to_where_it_is_understood(tmp_path: Path):
    for section in (
        "litellm_settings",
        "general_settings",
        "router_settings",
        "credential_list",
        "environment_variables",
    ):
        done = checked(tmp_path, "  - {model_name: m, litellm_params: {model: demo/demo}}", f"{section}: {{a: 1}}")
        assert done.exit_code == 2
        assert "`gateway import litellm config.yaml` writes this file in our form" in done.stderr
        assert "did you mean" not in done.stderr


def test_without_the_environment_nothing_of_it_is_needed_or_said(tmp_path: Path):
    entry = (
        "  - {model_name: m, litellm_params: {model: openai/gpt-4o, api_key: os.environ/NOBODY, api_base: '${NO}/v1'}}"
    )
    assert checked(tmp_path, entry).exit_code == 2
    assert told(checked(tmp_path, entry, "", "--no-environment", OPENAI_API_KEY="k")) == []


def test_who_may_ask_for_what_is_printed_by_team(tmp_path: Path):
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/mine.yaml").write_text("name: mine\n")
    digests = [f"{number:064x}" for number in range(3)]
    more = (
        "teams: {red: {policy: support}, blue: {policy: chat}}\n"
        "keys:\n"
        f"  - {{name: a, sha256: '{digests[0]}', team: red, models: [m], expires: 2090-01-01}}\n"
        f"  - {{name: b, sha256: '{digests[1]}', team: red, policy: mine}}\n"
        f"  - {{name: c, sha256: '{digests[2]}'}}\n"
    )
    entry = "  - {model_name: m, litellm_params: {model: demo/demo}}"
    assert checked(tmp_path, entry, more).stdout.endswith(
        "team red, policy support\n"
        "  key a: policy support; models m; until 2090-01-01 00:00 UTC\n"
        "  key b: policy mine, its own; every model\n"
        "team blue, policy chat: no key\n"
        "team default, policy default\n"
        "  key c: policy default; every model\n"
    )
    assert checked(tmp_path, entry).stdout.endswith("open to anybody who reaches it, under policy default\n")


@contextmanager
def answering(status: int) -> Iterator[tuple[str, list[str]]]:
    """A server that answers everybody with a status, and notes what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the library's name
            asked.append(f"{self.path} {self.headers.get('authorization')}")
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
            return None

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_everybody_who_is_named_is_tried_with_a_call_that_costs_nothing(tmp_path: Path):
    with answering(200) as (good, asked), answering(401) as (bad, _):
        entries = (
            f"  - {{model_name: a, litellm_params: {{model: openai/m, api_base: '{good}/v1?x=y', api_key: k}}}}\n"
            "  - {model_name: d, litellm_params: {model: demo/demo}}\n"
            "  - {model_name: e, litellm_params: {model: anthropic/claude-sonnet-4-5, api_key: k}}\n"
        )
        done = checked(tmp_path, entries, "unpriced: allow", "--connect")
        assert done.exit_code == 0, done.output
        assert asked == ["/v1/models?x=y Bearer k"]
        assert f"a#0:openai/m: reached at {good}/v1?… (200)\nd#0:demo/demo: built in\ne#0:" in done.stdout
        worse = (
            entries + f"  - {{model_name: b, litellm_params: {{model: openai/m, api_base: '{bad}/v1', api_key: k}}}}\n"
        )
        worse += (
            "  - {model_name: c, litellm_params: {model: openai/m, api_base: 'http://127.0.0.1:9/v1', api_key: k}}\n"
        )
        done = checked(tmp_path, worse, "unpriced: allow\nstate: {redis: 'redis://127.0.0.1:9'}", "--connect")
    assert done.exit_code == 2
    assert "and its key is refused (401)" in done.stdout
    assert "c#0:openai/m: not reached at http://127.0.0.1:9/v1 (connect)" in done.stdout
    assert "state.redis: not reached" in done.stdout
