"""The command `gateway`, as somebody at a shell meets it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.demo import settings
from gateway.money.keys import digest_of

CHECKOUT = Path(__file__).resolve().parent.parent
COMMANDS = ("serve", "reload", "demo", "check", "explain", "simulate", "report", "audit", "keys", "import")
EXPORT = re.compile(r"^export OPENAI_BASE_URL=(http://127\.0\.0\.1:\d+)/v1$", re.MULTILINE)
SECONDS = 30

CONFIG = """\
model_list:
  - model_name: small
    litellm_params: {model: demo/gpt-5, api_key: os.environ/SOME_KEY_FOR_TESTS}
teams: {support: {policy: short}}
keys:
  - {name: bot, sha256: SHA, team: support}
ledger: {dir: var/ledger}
"""
POLICY = "name: short\ncontext_window: 8k\nreserve: {output: 1k, margin: 0}\n"


def gateway(*words: str | Path, text: str | None = None, **environment: str) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], input=text, env=environment, catch_exceptions=False)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sound configuration with one policy, one key (`sk-gw-test`) and the demo provider."""
    monkeypatch.setenv("SOME_KEY_FOR_TESTS", "unused")
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "short.yaml").write_text(POLICY)
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.replace("SHA", digest_of("sk-gw-test")))
    return path


@contextmanager
def serving(config: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The program itself, up on a free port; gives the process and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve", "--config", str(config), "--port", "0", *words],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        found = EXPORT.search(process.stdout.readline())
        assert found is not None, process.communicate(timeout=SECONDS)
        yield process, found[1]
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=SECONDS)


def ask(address: str) -> openai.types.chat.ChatCompletion:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="sk-gw-test", max_retries=0) as client:
        return client.chat.completions.create(
            model="small", messages=[{"role": "user", "content": "Hello"}], user="ines"
        )


# help


@pytest.mark.parametrize("words", [(), *((command,) for command in COMMANDS), ("keys", "new")])
def test_help_of_every_command_shows_an_example(words: tuple[str, ...]) -> None:
    shown = gateway(*words, "--help")
    assert shown.exit_code == 0
    assert "Example:\n" in shown.output
    assert f"  gateway {' '.join(words)}".rstrip() in shown.output.partition("Example:")[2]


def test_help_names_every_command() -> None:
    listed = re.findall(r"^  (\w+)  ", gateway("--help").output.partition("Commands:")[2], re.MULTILINE)
    assert sorted(listed) == sorted(COMMANDS)


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, gateway.cli; print(*sorted(m for m in sys.modules if '.' not in m))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    heavy = {"rich", "duckdb", "litellm", "openai", "tiktoken", "pydantic", "uvicorn", "starlette", "aiohttp", "yaml"}
    assert heavy & set(loaded.stdout.split()) == set()


# check


def test_check_prints_each_policy_in_absolute_tokens(config: Path) -> None:
    shown = gateway("check", "--config", config)
    assert shown.exit_code == 0, shown.output
    assert re.search(r"small#0:demo/gpt-5\s+8,000 +0 +7,000 ", shown.output)
    assert "also there, used by nobody: chat, coding-agent, rag, support" in shown.output


def test_check_prints_all_mistakes_of_both_files_at_once_and_exits_with_2(config: Path) -> None:
    config.write_text(config.read_text().replace("model: demo", "modle: demo").replace("unused", "unused"))
    (config.parent / "policies" / "short.yaml").write_text("name: short\nmode: enfroce\ncontext_window: many\n")
    shown = gateway("check", "--config", config)
    assert shown.exit_code == 2
    assert "did you mean 'model'?" in shown.output
    assert "did you mean 'enforce'?" in shown.output
    assert f"{config}:3: model_list[0].litellm_params" in shown.output
    assert "short.yaml:3: context_window" in shown.output


def test_check_names_a_missing_environment_variable(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_KEY_FOR_TESTS")
    shown = gateway("check", "--config", config)
    assert shown.exit_code == 2
    assert "SOME_KEY_FOR_TESTS" in shown.output


def test_check_of_a_file_that_is_not_there_exits_with_2(tmp_path: Path) -> None:
    shown = gateway("check", "--config", tmp_path / "nowhere.yaml")
    assert shown.exit_code == 2
    assert "nowhere.yaml" in shown.output


def test_check_lists_a_deployment_that_cannot_be_served_with_its_line(config: Path) -> None:
    config.write_text(config.read_text().replace("model: demo/gpt-5", "model: hosted_vllm/some-model"))
    shown = gateway("check", "--config", config)
    assert shown.exit_code == 2
    assert re.search(r"config\.yaml:[23]: model_list\[0\]\.litellm_params\.api_base: ", shown.output), shown.output


def test_check_warns_of_a_model_without_a_price(config: Path) -> None:
    params = "{model: openai/no-such-model, api_key: x}"
    config.write_text(config.read_text().replace("{model: demo/gpt-5, api_key: os.environ/SOME_KEY_FOR_TESTS}", params))
    shown = gateway("check", "--config", config)
    assert shown.exit_code == 0
    assert "small#0:openai/no-such-model has no price" in shown.stderr


def test_check_says_what_an_inference_profile_needs(config: Path) -> None:
    params = "{model: 'bedrock/converse/arn:aws:bedrock:us-east-1:1:application-inference-profile/a1', api_key: x}"
    config.write_text(config.read_text().replace("{model: demo/gpt-5, api_key: os.environ/SOME_KEY_FOR_TESTS}", params))
    shown = gateway("check", "--config", config)
    assert "its ARN does not say which model it is: name that in model_info.base_model" in shown.stderr


@pytest.mark.parametrize(
    ("params", "meant"),
    [
        ("{model: openai/gtp-5, api_key: x}", "openai/gpt-5"),
        ("{model: gtp-5, api_key: x}", "openai/gpt-5"),
        ("{model: anthropic/claude-opsu-4-6, api_key: x}", "anthropic/claude-opus-4-6"),
        ("{model: demo/gtp-5}", "demo/gpt-5"),
        ("{model: openai/gtp-5, api_base: 'http://10.0.0.5/v1'}", None),
        ("{model: openai/qqqqqqqq, api_key: x}", None),
    ],
)
def test_a_misspelt_model_is_told_with_the_one_that_was_probably_meant(
    config: Path, params: str, meant: str | None
) -> None:
    config.write_text(config.read_text().replace("{model: demo/gpt-5, api_key: os.environ/SOME_KEY_FOR_TESTS}", params))
    (warning,) = gateway("check", "--config", config).stderr.splitlines()
    assert "has no price" in warning
    assert warning.partition("; did you mean ")[2] == ("" if meant is None else f"{meant!r}?")


def test_check_and_serve_refuse_a_pattern_that_is_slow_on_a_long_text(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.cli.trying.CPU_SECONDS", 1)
    policy = config.parent / "policies" / "short.yaml"
    policy.write_text(POLICY + "preserve: ['\\bdeadline\\b', '^.*never.*$', 'a[ab]*b[ab]*!']\n")
    shown = gateway("check", "--config", config)
    assert shown.exit_code == 2
    assert "policy short: preserve: 'a[ab]*b[ab]*!' takes more than 1 seconds" in shown.output
    assert "never" not in shown.output
    served = gateway("serve", "--config", config, "--port", "0")
    assert served.exit_code == 2
    assert "'a[ab]*b[ab]*!' takes more than" in served.output
    policy.write_text(POLICY + "prompt_cache: {volatile: ['Current time: .*', '\\d+\\d+']}\n")
    shown = gateway("check", "--config", config)
    assert shown.exit_code == 2
    assert "side by side" in shown.output


@pytest.mark.parametrize("kind", ["policy", "config"])
def test_check_prints_a_schema_for_editors(kind: str) -> None:
    schema = json.loads(gateway("check", "--schema", kind).output)
    assert schema["type"] == "object"
    assert ("name" if kind == "policy" else "model_list") in schema["properties"]


@pytest.mark.parametrize(
    ("model", "said"), [("opnai/x", "there is no provider 'opnai'; did you mean 'openai'?"), ("qqqq/x", "api_base")]
)
def test_a_provider_that_nobody_knows_is_an_error(config: Path, model: str, said: str) -> None:
    config.write_text(config.read_text().replace("demo/gpt-5", model))
    shown = gateway("check", "--config", config)
    assert shown.exit_code == 2
    assert f"{config}:3: model_list[0].litellm_params.model: there is no provider" in shown.output
    assert said in shown.output


def test_check_warns_of_keys_that_have_expired(config: Path) -> None:
    config.write_text(config.read_text().replace("team: support}", "team: support, expires: 2020-01-31}"))
    shown = gateway("check", "--config", config)
    assert shown.exit_code == 0
    assert "key bot expired on 2020-01-31 00:00 UTC" in shown.stderr


# keys


@pytest.mark.parametrize("words", [("--name", "", "--team", "a"), ("--name", "a", "--team", " ")])
def test_keys_new_refuses_an_empty_name(words: tuple[str, ...]) -> None:
    shown = gateway("keys", "new", *words)
    assert shown.exit_code == 2
    assert "must not be empty" in shown.output


def test_keys_new_prints_the_key_once_and_a_line_with_only_its_digest() -> None:
    shown = gateway("keys", "new", "--name", "support-bot", "--team", "support").output
    (key,) = re.findall(r"sk-gw-\S+", shown)
    (line,) = re.findall(r"^ *- \{.*\}$", shown, re.MULTILINE)
    assert line == f'  - {{name: "support-bot", sha256: {digest_of(key)}, team: "support"}}'
    assert shown.count(key) == 1


# explain and report, without a request in the books


def test_explain_of_an_unknown_request_exits_with_1(tmp_path: Path) -> None:
    shown = gateway("explain", "gw_01J9ZC3V5T8Q4M7X2N6R0K1B9D", "--ledger", tmp_path)
    assert shown.exit_code == 1
    assert "gw_01J9ZC3V5T8Q4M7X2N6R0K1B9D" in shown.output


@pytest.mark.parametrize("words", [(), ("gw_1", "--request", "-"), ("gw_1", "--ledger", ".", "--config", "c.yaml")])
def test_explain_says_what_it_wants(words: tuple[str, ...]) -> None:
    assert gateway("explain", *words, text="{}").exit_code == 2


def test_report_of_an_empty_ledger_is_an_empty_report(tmp_path: Path) -> None:
    shown = json.loads(gateway("report", "--ledger", tmp_path, "--format", "json").output)
    assert shown["rows"] == []
    assert shown["total"]["requests"] == 0


def test_report_refuses_a_moment_that_is_none(tmp_path: Path) -> None:
    shown = gateway("report", "--ledger", tmp_path, "--since", "yesteryear")
    assert shown.exit_code == 2
    assert "yesteryear" in shown.output


def test_report_needs_a_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = gateway("report")
    assert shown.exit_code == 2
    assert "--ledger" in shown.output
    assert gateway("report", "--ledger", tmp_path / "nowhere").exit_code == 1


def test_report_and_explain_of_a_past_request_need_no_keys_of_providers(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOME_KEY_FOR_TESTS")
    (config.parent / "policies" / "short.yaml").write_text("name: short\nmode: wrong\n")
    (config.parent / "var" / "ledger").mkdir(parents=True)
    shown = gateway("report", "--config", config)
    assert shown.exit_code == 0, shown.output
    assert shown.output == "no requests between the beginning and now (UTC)\n"
    assert "no request gw_1 in" in gateway("explain", "gw_1", "--config", config).output


def test_report_refuses_an_end_before_its_beginning(tmp_path: Path) -> None:
    shown = gateway("report", "--ledger", tmp_path, "--since", "today", "--until", "2020-01-01")
    assert shown.exit_code == 2
    assert "nothing lies between" in shown.output
    assert "no requests between" in gateway("report", "--ledger", tmp_path, "--since", "yesterday").output


def test_what_breaks_prefixes_is_told_beside_a_broken_policy_too(config: Path) -> None:
    (config.parent / "policies" / "short.yaml").write_text("name: short\ncontext_widow: 8k\n")
    (config.parent / "var" / "ledger").mkdir(parents=True)
    asked = ("report", "--config", config, "--caching")
    shown = gateway(*asked)
    assert (shown.exit_code, shown.output) == (0, "no requests between the beginning and now (UTC)\n")
    config.write_text(config.read_text() + "state: {redis: os.environ/NO_SUCH_REDIS}\n")
    shown = gateway(*asked)
    assert shown.exit_code == 0
    assert re.search("What breaks prefixes is not known: .*NO_SUCH_REDIS is not set", shown.output)


def test_a_csv_of_several_tables_is_an_error_that_names_the_choice(tmp_path: Path) -> None:
    words = ("report", "--ledger", tmp_path, "--caching", "--saving", "--format")
    refused = gateway(*words, "csv")
    assert refused.exit_code == 2
    assert "a csv is one table: give one of --caching, --saving, or --format json for all" in refused.output
    assert {"caching", "saving"} <= json.loads(gateway(*words, "json").output).keys()


# explain --request


def dry_run(config: Path, request: str, *words: str) -> str:
    shown = gateway("explain", "--request", "-", "--config", config, *words, text=request)
    assert shown.exit_code == 0, shown.output
    return shown.output


def test_a_dry_run_needs_neither_keys_of_providers_nor_a_policy(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_KEY_FOR_TESTS")
    config.write_text(config.read_text() + "default_policy: short\n")
    assert "short@" in dry_run(config, long_request())


def test_a_dry_run_tells_a_refusal_in_one_line_and_joins_what_is_dropped_together(config: Path) -> None:
    big = json.dumps({"model": "small", "messages": [{"role": "user", "content": "word " * 9_000}]})
    shown = dry_run(config, big, "--policy", "short")
    assert re.search(r"refused +input needs 9,\d{3}, room \d,\d{3}, at messages\[0\]$", shown, re.MULTILINE), shown
    policy = "name: drop\ncontext_window: 8k\nladder: {history: [drop_oldest]}\n"
    (config.parent / "policies" / "drop.yaml").write_text(policy)
    shown = dry_run(config, long_request(), "--policy", "drop")
    assert re.search(r"messages\[\d+–\d+\] +drop_oldest", shown), shown


def test_a_dry_run_as_text_is_the_request_as_the_model_would_receive_it(config: Path) -> None:
    shown = dry_run(config, long_request(), "--policy", "short", "--format", "text")
    assert "── [0] system, " in shown
    assert "\nYou help.\n" in shown
    assert "put in by the gateway" in shown


def test_a_past_request_has_no_text(config: Path) -> None:
    shown = CliRunner().invoke(main, ["explain", "gw_1", "--config", str(config), "--format", "text"])
    assert shown.exit_code == 2
    assert "needs --request FILE" in shown.output


@pytest.mark.parametrize("mode", ["observe", "off"])
def test_a_dry_run_says_when_the_original_would_be_sent_all_the_same(config: Path, mode: str) -> None:
    (config.parent / "policies" / "short.yaml").write_text(f"{POLICY}mode: {mode}\n")
    shown = dry_run(config, long_request(), "--policy", "short")
    assert mode in shown
    assert "the original is sent" in shown


def long_request() -> str:
    messages: list[dict[str, object]] = [{"role": "system", "content": "You help."}]
    for number in range(60):
        call = {"id": f"c{number}", "type": "function", "function": {"name": "list_orders", "arguments": "{}"}}
        messages += [
            {"role": "user", "content": f"Question {number}"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {
                "role": "tool",
                "tool_call_id": f"c{number}",
                "content": json.dumps({"order": number, "text": " ".join(f"w{number}{n:02}" for n in range(70))}),
            },
            {"role": "assistant", "content": f"Answer {number}"},
        ]
    return json.dumps({"model": "small", "messages": [*messages, {"role": "user", "content": "And now?"}]})


def test_a_dry_run_shows_components_and_each_edit_with_its_reason(config: Path) -> None:
    words = ("explain", "--request", "-", "--policy", "short", "--config", config)
    shown = json.loads(gateway(*words, "--format", "json", text=long_request()).output)
    assert shown["policy"].startswith("short@")
    assert shown["budget"] == 7_000
    assert shown["refusal"] is None
    assert shown["plan"].startswith("rewritten; tokens=")
    assert sum(part["after"] for part in shown["components"].values()) <= 7_000
    assert shown["edits"]
    assert all(edit["reason"] for edit in shown["edits"])
    table = gateway(*words, text=long_request())
    assert table.exit_code == 0
    assert "drop_oldest" in table.output
    assert "history" in table.output


def test_a_dry_run_needs_no_configuration_when_window_and_policy_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "request.json").write_text(long_request())
    words = ("explain", "--request", "request.json", "--policy", "default", "--window", "12000", "--model", "gpt-5")
    shown = json.loads(gateway(*words, "--format", "json").output)
    assert shown["model"] == "gpt-5"
    assert shown["budget"] <= 12_000
    assert shown["plan"].startswith("rewritten")


def test_a_dry_run_of_what_is_no_request_says_what_and_exits_with_1(config: Path) -> None:
    shown = gateway("explain", "--request", "-", "--policy", "short", "--config", config, text='{"model": "small"}')
    assert shown.exit_code == 1
    assert "messages" in shown.output


def test_a_dry_run_under_an_unknown_policy_names_the_known_ones(config: Path) -> None:
    shown = gateway("explain", "--request", "-", "--policy", "shrot", "--config", config, text=long_request())
    assert shown.exit_code == 1
    assert "short" in shown.output


# simulate

TRAFFIC = CHECKOUT / "tests" / "cases" / "traffic"
WORKSHOP = ("--config", TRAFFIC / "config.yaml", "--requests", TRAFFIC / "conversations.jsonl")


def simulated(*words: str | Path, folder: Path = CHECKOUT, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command itself, its output no terminal."""
    return subprocess.run(
        [sys.executable, "-m", "gateway", "simulate", *map(str, words)], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), **environment}, timeout=SECONDS, check=False,
    )  # fmt: skip


def test_simulate_sets_policies_side_by_side_on_ones_own_traffic() -> None:
    shown = simulated(*WORKSHOP, "--policy", "roomy", "--policy", "tight")
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr == ""
    assert re.search(r"conversations\.jsonl: 51 requests of 3 conversations", shown.stdout)
    assert re.search(r"^roomy +\d+ +0 +230,438 +[\d,]+ +\d+ of \d+ *$", shown.stdout, re.MULTILINE)
    for rule in ("cached .1 write 1.25", "cached .1 write 1", "cached .5 write 1", "no cache"):
        assert re.search(rf"^{rule} +as it came +\d+% +[\d,]+ +1\.00", shown.stdout, re.MULTILINE)
    assert "Prompt tokens of each turn of workshop-3, 1 to 21" in shown.stdout
    assert "⣿" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80


def test_the_page_on_choosing_a_policy_shows_what_the_command_prints() -> None:
    """All that does not hang on how requests are rewritten, to the letter; of the rest, which lines there are."""
    page = (CHECKOUT / "docs" / "choosing-a-policy.md").read_text(encoding="utf-8").splitlines()
    (command,) = [line for line in page if line.startswith("gateway simulate --policy")]
    shown = [line.rstrip() for line in simulated(*command.split()[2:], folder=TRAFFIC).stdout.splitlines()]
    tables = shown[: shown.index("filled: as it leaves; the line: as it came")]
    steady = [line for line in tables if "as it came" in line or line.startswith((" ", "policy ", "prices "))]
    steady = [line for line in steady if not re.match(r" +(roomy|tight)", line)]
    assert len(steady) > 10
    assert [line for line in steady if re.sub(" +", " ", line) not in [re.sub(" +", " ", told) for told in page]] == []


def test_simulate_gives_all_of_it_as_json_under_the_prices_asked_for() -> None:
    words = ("--policy", "tight", "--format", "json", "--prices", "no cache", "--prices", "cached .1 write 1")
    shown = json.loads(simulated(*WORKSHOP, *words).stdout)
    assert (shown["requests"], shown["conversations"], shown["answers"]) == (51, 3, 51)
    assert list(shown["prices"]) == ["no cache", "cached .1 write 1"]
    (policy,) = shown["policies"]
    assert policy["policy"].startswith("tight@")
    assert policy["prices"]["no cache"]["relative"] == policy["tokens_after"] / policy["tokens_before"]
    assert policy["values"]["lost"] >= len(policy["values"]["examples"]) > 0
    assert policy["values"]["examples"][0].keys() == {
        "conversation", "value", "stood_at", "tool", "used_at", "used_by",
    }  # fmt: skip
    assert len(shown["turns"]["as_it_came"]) == len(shown["turns"]["policies"][policy["policy"]]) == 21


def test_simulate_draws_a_picture(tmp_path: Path) -> None:
    shown = simulated(*WORKSHOP, "--policy", "tight", "--picture", tmp_path / "day.png")
    assert shown.returncode == 0, shown.stderr
    assert (tmp_path / "day.png").read_bytes().startswith(b"\x89PNG")
    shown = simulated(*WORKSHOP, "--policy", "tight", "--picture", tmp_path / "day.jpg")
    assert shown.returncode == 2
    assert "name a .png in a folder that is there" in shown.stderr


def test_simulate_needs_no_configuration_where_a_shipped_policy_is_tried(tmp_path: Path) -> None:
    (tmp_path / "day.jsonl").write_text(long_request().replace('"small"', '"gpt-5"'))
    words = ("--policy", "chat", "--requests", "day.jsonl", "--window", "12000", "--format", "json")
    (policy,) = json.loads(simulated(*words, folder=tmp_path).stdout)["policies"]
    assert policy["touched"] == 1
    assert policy["tokens_after"] <= 10_000


def test_simulate_tells_each_line_that_it_cannot_use_and_uses_the_rest(tmp_path: Path) -> None:
    (tmp_path / "day.jsonl").write_text(f"{{\n{long_request()}\n{long_request().replace('small', 'smal')}\n")
    words = ("--policy", "default", "--requests", "day.jsonl", "--config", TRAFFIC / "config.yaml")
    shown = simulated(*words, folder=tmp_path)
    assert shown.returncode == 1
    assert "day.jsonl:1: is not a JSON object: " in shown.stderr
    assert "day.jsonl:2: there is no model 'small'; give --model" in shown.stderr
    shown = simulated(*words, "--model", "assistant", folder=tmp_path)
    assert shown.returncode == 0
    assert "2 requests of 2 conversations" in shown.stdout
    assert "day.jsonl:1: is not a JSON object: " in shown.stderr


def test_simulate_without_a_configuration_leaves_out_models_that_nobody_knows(tmp_path: Path) -> None:
    lines = [long_request().replace('"small"', f'"{name}"') for name in ("gpt-5", "nobodys/model")]
    (tmp_path / "day.jsonl").write_text("\n".join(lines))
    shown = simulated("--policy", "default", "--requests", "day.jsonl", folder=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "1 requests of 1 conversations" in shown.stdout
    assert shown.stderr.startswith("day.jsonl:2: there is no model 'nobodys/model'; give --model")


def test_simulate_counts_what_it_does_not_tell_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "day.jsonl").write_text("no\n" * 25)
    shown = simulated("--policy", "default", "--requests", tmp_path, folder=tmp_path)
    assert shown.returncode == 1
    assert "no request to simulate on:" in shown.stderr
    assert "and 15 more" in shown.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--policy", "tihgt"), 1, "no policy 'tihgt'; there is chat, "),
        (("--policy", "tight", "--prices", "free"), 1, "no price rule 'free'; there is cached .1 write 1, "),
        (("--policy", "tight", "--model", "other"), 1, "no model 'other'; there is assistant"),
        (("--policy", "tight", "--requests", "nowhere"), 2, "nowhere"),
        ((), 2, "--policy"),
    ],
)
def test_simulate_says_what_it_wants(words: tuple[str, ...], code: int, said: str) -> None:
    shown = gateway("simulate", *WORKSHOP, *words)
    assert shown.exit_code == code
    assert said in shown.output


# serve


def test_serve_answers_books_and_stops_gracefully(config: Path) -> None:
    with serving(config) as (process, address):
        assert httpx.get(f"{address}/health").json() == {"status": "ok"}
        assert ask(address).usage is not None
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    report = json.loads(gateway("report", "--config", config, "--by", "user", "--format", "json").output)
    assert [(row["user"], row["requests"]) for row in report["rows"]] == [("ines", 1)]
    assert report["total"]["cost_nanousd"] > 0
    assert report["total"]["unsettled"] == 0


def test_explain_tells_of_a_past_request(config: Path) -> None:
    with serving(config) as (_, address), openai.OpenAI(base_url=address, api_key="sk-gw-test") as client:
        raw = client.chat.completions.with_raw_response.create(
            model="small", messages=[{"role": "user", "content": "Hello"}], user="marco"
        )
        request_id = raw.headers["x-request-id"]
    as_json = json.loads(gateway("explain", request_id, "--config", config, "--format", "json").output)
    assert as_json["id"] == request_id
    assert as_json["user"] == "marco"
    as_table = gateway("explain", request_id, "--ledger", config.parent / "var" / "ledger").output
    assert request_id in as_table
    assert "support / bot / marco" in as_table


def test_several_workers_serve_one_port_and_their_entries_are_one_report(config: Path) -> None:
    config.write_text("server: {workers: 2}\n" + config.read_text())
    with serving(config) as (process, address):
        for _ in range(6):
            ask(address)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    report = json.loads(gateway("report", "--config", config, "--format", "json").output)
    assert report["total"]["requests"] == 6


def test_a_stop_lets_an_answer_under_way_finish(config: Path) -> None:
    with serving(config) as (process, address), openai.OpenAI(base_url=address, api_key="sk-gw-test") as client:
        stream = client.chat.completions.create(
            model="small", messages=[{"role": "user", "content": "Hello"}], stream=True
        )
        process.send_signal(signal.SIGTERM)
        assert [chunk.choices[0].finish_reason for chunk in stream if chunk.choices][-1] is not None
        assert process.wait(SECONDS) == 0


def test_a_taken_port_ends_with_2_and_says_which(config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        shown = gateway("serve", "--config", config, "--port", port)
    assert shown.exit_code == 2
    assert f"127.0.0.1:{port}" in shown.output


def test_a_ledger_folder_that_cannot_be_written_to_ends_with_2(config: Path) -> None:
    (config.parent / "var").write_text("a file where the folder should be")
    shown = gateway("serve", "--config", config, "--port", "0")
    assert shown.exit_code == 2
    assert "ledger" in shown.output


def test_a_deployment_that_cannot_be_served_ends_with_2(config: Path) -> None:
    config.write_text(config.read_text().replace("model: demo/gpt-5", "model: hosted_vllm/some-model"))
    shown = gateway("serve", "--config", config, "--port", "0")
    assert shown.exit_code == 2
    assert "api_base" in shown.output


def test_a_broken_configuration_ends_with_2_and_every_mistake(config: Path) -> None:
    config.write_text(config.read_text().replace("team: support}", "team: suport}") + "sever: {port: 1}\n")
    shown = gateway("serve", "--config", config)
    assert shown.exit_code == 2
    assert "suport" in shown.output
    assert "sever" in shown.output


def test_an_open_gateway_is_not_put_on_a_public_address(config: Path) -> None:
    config.write_text(re.sub(r"keys:\n.*\n", "", config.read_text()))
    shown = gateway("serve", "--config", config, "--host", "0.0.0.0", "--port", "0")
    assert shown.exit_code == 2
    assert "0.0.0.0" in shown.output


def test_the_log_is_json_away_from_a_terminal_and_silent_about_requests(config: Path) -> None:
    with serving(config) as (process, address):
        ask(address)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=SECONDS)
    events = [json.loads(line)["event"] for line in log.splitlines()]
    assert events == ["serving", "stopped"]


def test_the_first_request_is_answered_soon_after_the_start(config: Path) -> None:
    """The bound is loose, since tests share machines; what the program promises is 1.2 s."""
    began = time.monotonic()
    with serving(config) as (_, address):
        ask(address)
        assert time.monotonic() - began < 10


def test_the_demo_configuration_is_sound(tmp_path: Path) -> None:
    path = settings.write_config(tmp_path)
    assert gateway("check", "--config", path).exit_code == 0


def test_demo_serve_keeps_a_configuration_that_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "var" / "demo"
    settings.write_config(folder)
    (folder / "config.yaml").write_text("model_lits: []\n")
    shown = subprocess.run(
        [sys.executable, "-m", "gateway", "demo", "--serve"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert shown.returncode == 2
    assert "model_lits" in shown.stderr
