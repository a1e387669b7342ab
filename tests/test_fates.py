"""What becomes of each key of a LiteLLM `model_list`."""

from pathlib import Path

import pytest

from gateway.config import load
from gateway.routing.catalogue import catalogue, fates, without_effect
from gateway.routing.deployment import Deployment, Kind, Unservable


def deployed(folder: Path, params: str, info: str = "{}", environ: dict[str, str] | None = None) -> Deployment:
    file = folder / "config.yaml"
    file.write_text(f"model_list:\n  - model_name: m\n    litellm_params: {params}\n    model_info: {info}\n")
    return catalogue(load(file, environ or {}))["m"][0]


def refused(folder: Path, params: str, info: str = "{}", environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(Unservable) as caught:
        deployed(folder, params, info, environ)
    return [f"{path[-1]}: {message}" for _, path, message in caught.value.complaints]


@pytest.mark.parametrize(
    ("name", "value", "kind", "fate"),
    [
        ("api_base", "x", "direct", "acted on"),
        ("temperature", 0, "direct", "acted on"),
        ("extra_body", {"a": 1}, "direct", "acted on"),
        ("input_cost_per_token", 0, "direct", "acted on"),
        ("output_cost_per_token_above_200k_tokens", 1e-6, "direct", "acted on"),
        ("order", 1, "direct", "acted on"),
        ("aws_region_name", "eu", "translated", "acted on"),
        ("vertex_credentials", "x", "translated", "acted on"),
        ("api_version", "2025", "translated", "acted on"),
        ("api_version", "2025", "direct", "without effect"),
        ("rpm", 5, "direct", "acted on"),
        ("itpm", 5, "direct", "without effect"),
        ("max_parallel_requests", 5, "direct", "acted on"),
        ("num_retries", 5, "translated", "without effect"),
        ("stream_timeout", 5, "direct", "without effect"),
        ("tags", ["free"], "direct", "without effect"),
        ("output_cost_per_image", 0.04, "direct", "without effect"),
        ("input_cost_per_second", 0.0, "direct", "without effect"),
        ("input_cost_per_second", 0.001, "direct", "refused"),
        ("output_cost_per_second", "0.001", "direct", "refused"),
        ("litellm_credential_name", "prod", "direct", "refused"),
        ("mock_response", "hi", "direct", "refused"),
        ("messages", [], "direct", "refused"),
        ("tools", [], "direct", "refused"),
        ("auto_router_config", "x", "direct", "refused"),
        ("ssl_verify", False, "direct", "refused"),
        ("ssl_verify", True, "direct", "without effect"),
        ("additional_drop_params", ["seed"], "direct", "acted on"),
        ("additional_drop_params", ["tools[*].x"], "direct", "refused"),
        ("additional_drop_params", ["tools[*].x"], "translated", "acted on"),
        ("temprature", 1, "direct", "refused"),
        ("something_new", 1, "direct", "refused"),
        ("something_new", None, "direct", "acted on"),
    ],
)
def test_every_key_of_the_parameters_has_one_fate(name: str, value: object, kind: Kind, fate: str):
    assert fates.of_param(name, value, kind).kind == fate


@pytest.mark.parametrize(
    ("name", "value", "fate"),
    [
        ("max_input_tokens", 1, "acted on"),
        ("input_cost_per_token", 1, "acted on"),
        ("mode", "chat", "acted on"),
        ("pricing", {}, "refused"),
        ("input_cost_per_second", 0.1, "refused"),
        ("search_context_cost_per_query", {}, "without effect"),
        ("supports_vision", True, "without effect"),
        ("id", "x", "without effect"),
        ("db_model", False, "without effect"),
        ("description", "ours", "without effect"),
    ],
)
def test_every_key_of_the_facts_has_one_fate(name: str, value: object, fate: str):
    assert fates.of_info(name, value).kind == fate


def test_what_is_without_effect_is_named_once_with_its_reason(tmp_path: Path):
    file = tmp_path / "config.yaml"
    file.write_text(
        "model_list:\n"
        "  - {model_name: a, litellm_params: {model: demo/demo, itpm: 5}, model_info: {id: x}}\n"
        "  - {model_name: b, litellm_params: {model: demo/demo, itpm: 6, otpm: 7}}\n"
    )
    assert list(without_effect(load(file, {}).models)) == [
        "litellm_params.itpm (line 2, 2 times) is without effect: tokens are counted together: give tpm",
        "model_info.id (line 2) is without effect: a note of LiteLLM's own",
        "litellm_params.otpm (line 3) is without effect: tokens are counted together: give tpm",
    ]


def test_every_mistake_of_a_list_is_told_at_once(tmp_path: Path):
    told = refused(
        tmp_path, "{model: openai/gpt-4o, temprature: 1, max_tokens: many, litellm_credential_name: p}", "{pricing: {}}"
    )
    assert [line.partition(":")[0] for line in told] == [
        "temprature", "litellm_credential_name", "pricing", "max_tokens"
    ]  # fmt: skip
    assert "did you mean 'temperature'?" in told[0]


# Defaults


def test_defaults_are_members_of_the_body_and_leave_the_parameters(tmp_path: Path):
    one = deployed(
        tmp_path,
        "{model: openai/m, api_base: 'http://127.0.0.1:1/v1', temperature: 0.2, max_tokens: '77',"
        " stop: [a], extra_body: {top_k: 5, chat_template_kwargs: {enable_thinking: false}}}",
    )
    assert dict(one.additions.defaults) == {
        "temperature": b"0.2", "max_tokens": b"77", "stop": b'["a"]', "top_k": b"5",
        "chat_template_kwargs": b'{"enable_thinking":false}',
    }  # fmt: skip
    assert one.params == {}
    assert one.answer_limit == 77


def test_openais_own_models_are_told_the_limit_under_the_name_that_all_of_them_know(tmp_path: Path):
    assert dict(deployed(tmp_path, "{model: openai/gpt-5, max_tokens: 77}").additions.defaults) == {
        "max_completion_tokens": b"77"
    }


def test_a_library_that_translates_gets_what_only_it_can_place(tmp_path: Path):
    one = deployed(tmp_path, "{model: anthropic/claude-sonnet-4-5, api_key: k, extra_body: {top_k: 5, beta: x}}")
    assert (dict(one.additions.defaults), one.params) == ({"top_k": b"5"}, {"extra_body": {"beta": "x"}})


def test_what_the_translation_has_no_field_for_stays_with_the_library(tmp_path: Path):
    one = deployed(tmp_path, "{model: cohere/m, api_key: k, min_p: 0.1, extra_body: {repetition_penalty: 1.1}}")
    assert (one.additions.defaults, one.params) == ((), {"min_p": 0.1, "extra_body": {"repetition_penalty": 1.1}})


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ("max_tokens: 0", "max_tokens: 0 is not a number of tokens"),
        ("max_tokens: -1", "max_tokens: -1 is not a number of tokens"),
        ("temperature: warm", "temperature: 'warm' is not a number"),
        ("extra_body: {messages: []}", "extra_body: messages is for the client, or the gateway, to say: leave it out"),
        ("extra_body: {stream: true}", "extra_body: stream is for the client, or the gateway, to say: leave it out"),
    ],
)
def test_a_default_that_no_request_can_have_is_refused(tmp_path: Path, params: str, told: str):
    assert refused(tmp_path, f"{{model: openai/gpt-4o, {params}}}") == [told]


# Prices


def test_prices_among_the_parameters_are_prices(tmp_path: Path):
    one = deployed(tmp_path, "{model: openai/x, input_cost_per_token: 1.0e-6, output_cost_per_token: '2e-6'}")
    assert one.price is not None
    assert (str(one.price.rates().input), str(one.price.rates().output)) == ("0.000001", "0.000002")


def test_what_stands_in_model_info_goes_before_it(tmp_path: Path):
    one = deployed(
        tmp_path,
        "{model: openai/gpt-4o, input_cost_per_token: 1.0e-6, output_cost_per_token: 1.0e-6}",
        "{input_cost_per_token: 3.0e-6}",
    )
    assert one.price is not None
    assert (str(one.price.rates().input), str(one.price.rates().output)) == ("0.000003", "0.000001")


def test_what_is_free_is_free_for_cached_tokens_and_long_prompts_too(tmp_path: Path):
    one = deployed(
        tmp_path, "{model: gemini/gemini-2.5-pro, api_key: k, input_cost_per_token: 0, output_cost_per_token: 0}"
    )
    assert one.price is not None
    assert {str(one.price.rates(prompt).cached) for prompt in (1, 300_000)} == {"0"}
    assert {str(one.price.rates(300_000, "priority").output)} == {"0"}


# Keys


def test_a_key_that_is_left_out_is_the_providers_usual_one(tmp_path: Path):
    one = deployed(tmp_path, "{model: openai/gpt-4o}", environ={"OPENAI_API_KEY": "sk-env\n"})
    assert (one.api_key, one.key_from) == ("sk-env", "OPENAI_API_KEY")
    named = deployed(tmp_path, "{model: openai/gpt-4o, api_key: sk-own}", environ={"OPENAI_API_KEY": "sk-env"})
    assert (named.api_key, named.key_from) == ("sk-own", None)
    none = deployed(tmp_path, "{model: openai/gpt-4o, api_key: none}", environ={"OPENAI_API_KEY": "sk-env"})
    assert (none.api_key, none.key_from) == (None, None)


def test_who_logs_in_otherwise_is_given_no_key(tmp_path: Path):
    one = deployed(
        tmp_path,
        "{model: azure/x, azure_ad_token: t, api_base: https://mine.openai.azure.com}",
        environ={"AZURE_API_KEY": "k"},
    )
    assert one.api_key is None


def test_no_key_is_refused_where_it_could_not_be_kept(tmp_path: Path):
    told = refused(tmp_path, "{model: anthropic/c, api_key: none}", environ={"ANTHROPIC_API_KEY": "k"})
    assert "reads ANTHROPIC_API_KEY by itself" in told[0]


def test_a_key_and_a_password_in_the_address_are_one_too_many(tmp_path: Path):
    params = "{model: openai/m, api_base: 'http://u:p@127.0.0.1:1/v1', api_key: k}"
    assert "name and password" in refused(tmp_path, params)[0]
    assert deployed(tmp_path, params.replace("api_key: k", "api_key: none")).api_key is None


def test_one_key_is_not_sent_to_whichever_provider_a_client_names(tmp_path: Path):
    file = tmp_path / "config.yaml"
    file.write_text("model_list: [{model_name: '*', litellm_params: {model: '*', api_key: k}}]\n")
    with pytest.raises(Unservable, match="one key for every provider"):
        catalogue(load(file, {}))


# Wildcards


def test_a_name_under_asterisks_becomes_a_deployment_with_the_label_of_its_entry(tmp_path: Path):
    file = tmp_path / "config.yaml"
    file.write_text(
        "model_list:\n"
        "  - {model_name: 'openai/*', litellm_params: {model: 'openai/*', api_key: k}}\n"
        "  - {model_name: '*', litellm_params: {model: '*'}}\n"
    )
    found = catalogue(load(file, {"GROQ_API_KEY": "g"}))
    under = found.under("openai/gpt-4o")
    assert under is not None
    pattern, (one,) = under
    assert (pattern, one.name, one.model_name, one.model) == (
        "openai/*", "openai/*#0:openai/*", "openai/gpt-4o", "gpt-4o"
    )  # fmt: skip
    assert one.price is not None
    assert one.facts.window == 128_000
    other = found.under("groq/llama-3.3-70b-versatile")
    assert other is not None
    assert (other[1][0].name, other[1][0].api_key) == ("*#0:*:groq", "g")
    assert found.under("nobody/x") is None
    assert found.under("hosted_vllm/x") is None, "it has no address"
    assert "openai/gpt-4o" in found.names_under("openai/*")
    assert found.names_under("*") == []


def test_asterisks_that_nothing_fills_are_refused(tmp_path: Path):
    assert "nothing says what it stands for" in refused(tmp_path, "{model: 'openai/*'}")[0]
