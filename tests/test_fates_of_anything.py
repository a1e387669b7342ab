"""Whatever a list holds: it becomes deployments, or every reason why not is told; and it can be taken over."""

from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import ConfigErrors, load
from gateway.config.litellm_keys import DEFAULTS, INSTEAD, OURS, WITHOUT_EFFECT
from gateway.config.yaml import parse_yaml, written
from gateway.money.prices.table import PriceBook
from gateway.packaged_data import price_table
from gateway.routing.catalogue import catalogue, known_providers, without_effect
from gateway.routing.catalogue.importing import imported
from gateway.routing.deployment import Unservable
from tests.conftest import examples

BOOK, KNOWN = PriceBook.read(price_table()), known_providers()
PARAMS = sorted(OURS | DEFAULTS | WITHOUT_EFFECT.keys() | INSTEAD.keys() | {"aws_region_name", "input_cost_per_token"})
INFO = [
    "mode",
    "base_model",
    "max_input_tokens",
    "input_cost_per_token",
    "output_cost_per_token",
    "pricing",
    "order",
    "id",
]
MODELS = [
    "openai/gpt-4o",
    "gpt-4o",
    "anthropic/*",
    "*",
    "azure/x",
    "demo/demo",
    "zhipu/x",
    "openai/",
    "",
    "bedrock/a:b",
]
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(10**39), 10**39)
    | st.sampled_from(
        [0, 1, 1e-6, 1e300, float("inf"), "none", "os.environ/NOBODY", "${KEY}", "x\ny", "é", "http://a/v1"]
    )
    | st.text(max_size=5)
)
ANYTHING = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([*PARAMS, "m", "a"]), inner, max_size=2)
    ),
    max_leaves=4,
)
ENTRY = st.fixed_dictionaries(
    {
        "model_name": st.sampled_from(["m", "n", "*", "openai/*"]),
        "litellm_params": st.dictionaries(st.sampled_from(PARAMS), ANYTHING, max_size=3).flatmap(
            lambda said: st.sampled_from(MODELS).map(lambda model: {**said, "model": model})
        ),
    },
    optional={"model_info": st.dictionaries(st.sampled_from(INFO), ANYTHING, max_size=2)},
)
SETTINGS = st.dictionaries(
    st.sampled_from(
        ["fallbacks", "default_fallbacks", "model_group_alias", "master_key", "request_timeout", "redis_host"]
    ),
    ANYTHING,
    max_size=3,
)
ENVIRONMENT = {"KEY": "k", "OPENAI_API_KEY": "sk"}


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(ENTRY, min_size=1, max_size=2))
def test_a_list_becomes_deployments_or_every_reason_is_told(tmp_path_factory: Any, entries: list[Any]):
    file = tmp_path_factory.mktemp("any") / "config.yaml"
    file.write_text(yaml.safe_dump({"model_list": entries, "unpriced": "allow"}))
    try:
        config = load(file, ENVIRONMENT)
        found = catalogue(config)
    except ConfigErrors as error:
        told = [problem.message for problem in error.problems]
    except Unservable as error:
        told = [message for _, _, message in error.complaints]
    else:
        told = ["served", *without_effect(config.models)]
        found.under("openai/gpt-4o")
    assert told
    assert all(told)


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(ENTRY | ANYTHING, max_size=2),
    st.dictionaries(st.sampled_from(["litellm_settings", "router_settings", "general_settings"]), SETTINGS | ANYTHING),
    ANYTHING,
)
def test_whatever_a_file_says_it_is_taken_over_and_reads_back(entries: list[Any], sections: dict[str, Any], other: Any):
    text = yaml.safe_dump({"model_list": entries, **sections, "credential_list": other, "environment_variables": other})
    found = imported(parse_yaml(text, Path("any.yaml")), BOOK, KNOWN, ENVIRONMENT)
    assert parse_yaml(written(found.config), Path("config.yaml")).data == found.config
    assert all(one.message for one in found.told)
