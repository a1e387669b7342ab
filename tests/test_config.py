"""What configuration files mean, and what is said of wrong ones. The cases are files in tests/cases/config."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # comes with litellm; only read by tests
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import config
from gateway.budget.calibration import Calibration
from gateway.config import Config, ConfigErrors
from gateway.config.startup import startup_problems
from gateway.config.yaml import parse_yaml
from gateway.reports import check
from tests.conftest import examples

ROOT = Path(__file__).parent.parent
CASES = sorted((ROOT / "tests/cases/config").glob("*.txt"))
ENVIRONMENT = {"OPENAI_API_KEY": "sk-1", "ANTHROPIC_API_KEY": "sk-2"}
SMALL = "model_list: [{model_name: m, litellm_params: {model: demo/demo}}]\n"
SHIPPED = "chat, coding-agent, default, rag, support"
DEPLOYMENTS = (
    check.DeploymentFacts("big", window=272_000, shared=False),
    check.DeploymentFacts("small", window=16_385, calibration=Calibration(1, 1.0, 0.05)),
    check.DeploymentFacts("new", window=None),
)


def written(folder: Path, text: str, **policies: str) -> Path:
    file = folder / "config.yaml"
    file.write_text(text)
    (folder / "policies").mkdir(exist_ok=True)
    for name, policy in policies.items():
        (folder / f"policies/{name}.yaml").write_text(policy)
    return file


def loaded(folder: Path, text: str = SMALL, environ: dict[str, str] | None = None, **policies: str) -> Config:
    return config.load(written(folder, text, **policies), environ or {})


def problems(folder: Path, text: str = SMALL, environ: dict[str, str] | None = None, **policies: str) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        loaded(folder, text, environ, **policies)
    return [str(problem).removeprefix(f"{folder}/") for problem in caught.value.problems]


def sections(text: str) -> dict[str, str]:
    parts = re.split(r"^-- (.+) --\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_a_case_gives_what_its_file_says(case, tmp_path):
    parts = sections(case.read_text())
    for name, text in parts.items():
        if name.endswith(".yaml"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
    environ = dict(line.split("=", 1) for line in parts.get("environment", "").splitlines())
    try:
        got = check.render(config.load(tmp_path / "config.yaml", environ).policies_in_use(), DEPLOYMENTS)
        kind = "check"
    except ConfigErrors as error:
        got, kind = str(error).replace(f"{tmp_path}/", "").replace(str(tmp_path), ".") + "\n", "problems"
    if os.environ.get("GOLDEN") == "write":
        case.write_text(case.read_text().split(f"-- {kind} --\n")[0] + f"-- {kind} --\n" + got)
    assert got == parts.get(kind), f"answered with {kind}"


# What is there


def test_a_list_of_models_is_all_that_is_needed(tmp_path):
    plain = loaded(tmp_path)
    assert plain.server == config.Server("127.0.0.1", 8080, 1, 32_000_000)
    assert [(model.model_name, model.params) for model in plain.models] == [("m", {"model": "demo/demo"})]
    assert plain.default_policy == "default"
    assert plain.policies["default"].mode == "enforce"
    assert plain.state.dir == tmp_path / "var/state"
    assert plain.ledger.dir == tmp_path / "var/ledger"
    assert plain.unpriced == "refuse"
    assert (plain.keys, plain.teams, plain.fallbacks) == ((), {}, {})


def test_the_example_loads_and_uses_every_key_there_is():
    example = config.load(ROOT / "config.example.yaml", ENVIRONMENT)
    assert example.policy_for(None, "support").name == "support"
    text = (ROOT / "config.example.yaml").read_text()
    absent = {"keys_file"}  # its file has to be there
    assert yaml.safe_load(text).keys() == config.check_schema("config")["properties"].keys() - absent
    assert all(f"\n# {name}: " in text for name in absent)


def test_a_section_is_made_again_of_its_own_values(tmp_path):
    example = config.load(ROOT / "config.example.yaml", ENVIRONMENT)
    text = (
        f"ledger: {{mode: 0640}}\nkeys: [{{name: k, sha256: {'A' * 64}, models: [m], expires: 2030-01-01}}]\n"
        "server: {trusted_proxies: [10.0.0.0/8], hosts: ['[::1]'], max_body: 2MB, keep_alive: 5s}\nstate: {timeout: 2s}"
    )
    for sound in (example, loaded(tmp_path, SMALL + text)):
        for section in (sound.server, sound.state, sound.ledger, *sound.keys, *sound.teams.values()):
            assert replace(section) == section  # type: ignore[type-var]


def test_paths_are_relative_to_the_file(tmp_path):
    sound = loaded(tmp_path, SMALL + "ledger: {dir: books}\nstate: {dir: /elsewhere}")
    assert sound.ledger.dir == tmp_path / "books"
    assert sound.state.dir == Path("/elsewhere")


def test_state_is_a_folder_or_redis(tmp_path):
    sound = loaded(tmp_path, SMALL + "state: {redis: os.environ/REDIS_URL}", {"REDIS_URL": "redis://:pw@127.0.0.1"})
    assert (sound.state.redis, sound.state.dir) == ("redis://:pw@127.0.0.1", None)
    assert sound.state.timeout == 0.05
    assert loaded(tmp_path, SMALL + "state: {timeout: 20ms}").state.timeout == 0.02


def test_the_policy_is_the_keys_else_the_teams_else_the_default(tmp_path):
    sound = loaded(
        tmp_path,
        SMALL + "teams: {red: {policy: b}, blue: {}}\ndefault_policy: a",
        a="name: a",
        b="name: b",
        c="name: c",
    )
    assert sound.policy_for("c", "red").name == "c"
    assert sound.policy_for(None, "red").name == "b"
    assert sound.policy_for(None, "blue").name == "a"
    assert sound.policy_for(None, "never declared").name == "a"


def test_expiry_always_has_an_offset(tmp_path):
    digests = [f"{n:064x}" for n in range(4)]
    moments = ["2030-12-31", "2030-12-31T18:00:00", "2030-12-31T18:00:00+02:00", '"2030-12-31 18:00Z"']
    keys = "".join(
        f"  - {{name: k{digest[-1]}, sha256: '{digest}', expires: {moment}}}\n"
        for digest, moment in zip(digests, moments, strict=True)
    )
    sound = loaded(tmp_path, f"{SMALL}keys:\n{keys}")
    assert [key.expires for key in sound.keys] == [
        datetime(2030, 12, 31, tzinfo=UTC),
        datetime(2030, 12, 31, 18, tzinfo=UTC),
        datetime(2030, 12, 31, 18, tzinfo=timezone(timedelta(hours=2))),
        datetime(2030, 12, 31, 18, tzinfo=UTC),
    ]
    assert [key.team for key in sound.keys] == ["default"] * 4


@pytest.mark.parametrize(
    ("written_as", "size"),
    [("32MB", 32_000_000), ("1 MiB", 1 << 20), ("512kB", 512_000), ("4096", 4096), ("1.5GB", 1_500_000_000)],
)
def test_sizes_have_units(tmp_path, written_as, size):
    assert loaded(tmp_path, f"{SMALL}server: {{max_body: {written_as}}}").server.max_body == size


def test_the_words_of_yaml_are_those_of_1_2(tmp_path):
    text = (
        "model_list: [{model_name: m, litellm_params: {model: demo/demo, region: no, when: 12:30, version: 2025-03-01,"
        " price: 1e-6, octal: 010, flag: true, nothing: ~, text: '5'}}]"
    )
    params = loaded(tmp_path, text).models[0].params
    assert params == {
        "model": "demo/demo", "region": "no", "when": "12:30", "version": "2025-03-01", "price": 1e-6, "octal": 10,
        "flag": True, "text": "5",
    }  # fmt: skip


def test_credentials_are_printed_nowhere(tmp_path):
    secret = "sk-do-not-print"
    text = SMALL.replace("demo/demo", "openai/x, api_key: os.environ/KEY") + "state: {redis: os.environ/URL}"
    sound = loaded(tmp_path, text, {"KEY": secret, "URL": f"redis://:{secret}@127.0.0.1"})
    assert sound.models[0].params["api_key"] == secret
    assert secret not in repr(sound)
    said = problems(tmp_path, text.replace("api_key", "timeout"), {"KEY": secret, "URL": secret})
    assert len(said) == 2
    assert secret not in str(said)


# What is wrong


def test_every_missing_variable_is_named_with_its_line(tmp_path):
    text = "model_list:\n  - model_name: os.environ/A\n    litellm_params:\n      model: os.environ/B\n"
    text += "ledger: {dir: os.environ/C}"
    assert problems(tmp_path, text, {"B": ""}) == [
        "config.yaml:2: model_list[0].model_name: environment variable A is not set",
        "config.yaml:4: model_list[0].litellm_params.model: environment variable B is empty",
        "config.yaml:5: ledger.dir: environment variable C is not set",
    ]


def test_both_files_are_judged_at_once(tmp_path):
    known = config.check_schema("config")["properties"]
    assert problems(tmp_path, SMALL + "prot: 3", a="name: a\nmod: off", b="nam: b") == [
        f"config.yaml:2: prot: unknown key 'prot'; known here: {', '.join(known)}",
        "policies/a.yaml:2: mod: unknown key 'mod'; did you mean 'mode'?",
        "policies/b.yaml:1: nam: unknown key 'nam'; did you mean 'name'?",
    ]


def test_a_mistake_elsewhere_does_not_hide_a_wrong_name(tmp_path):
    text = SMALL + "server: {port: 70000}\nteams: {red: {policy: supprt}}\nfallbacks: [{n: [m]}]"
    assert problems(tmp_path, text, support="name: support") == [
        "config.yaml:2: server.port: must be less than or equal to 65535, not 70000",
        f"config.yaml:3: teams.red.policy: there is no policy 'supprt'; there are {SHIPPED}; did you mean 'support'?",
        "config.yaml:4: fallbacks[0].n: there is no model 'n'",
    ]


def test_a_reference_to_a_broken_policy_is_no_second_mistake(tmp_path):
    said = problems(tmp_path, SMALL + "default_policy: a", a="name: a\nmode: of")
    assert said == ["policies/a.yaml:2: mode: 'of' is not one of off, observe, enforce; did you mean 'off'?"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "config.yaml:1: model_list: 'model_list' is missing"),
        ("model_list: []", "config.yaml:1: model_list: must not be empty"),
        ("- a", "config.yaml:1: must be a mapping, not a list"),
        ("a: [", "config.yaml:2: not valid YAML: a value is missing, or a bracket is not closed"),
        ("a: 1\n---\nb: 2", "config.yaml:2: not valid YAML: but found another document"),
        ("a: &x [*x]", "config.yaml:1: an alias that contains itself"),
        ("? [a]\n: 3", "config.yaml:1: a key must be a word"),
        ("a: 1\n\tb: 2", "config.yaml:2: not valid YAML: a tab where only spaces may indent"),
        ("a:\n\t- b", "config.yaml:2: not valid YAML: a tab where only spaces may indent"),
        (
            "a:\n   b: 1\n  c: 2",
            "config.yaml:3: not valid YAML: a line is indented further or less than its neighbours",
        ),
        ("a: 1\n  b: 2", "config.yaml:2: not valid YAML: a second `:` on a line, or a line indented too far"),
        ("a: \0", "config.yaml: not valid YAML"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path, text, said):
    assert any(line.startswith(said) for line in problems(tmp_path, text)), problems(tmp_path, text)


def test_a_folder_of_policies_that_is_named_and_not_there_is_told(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(SMALL + "policies: polices\nteams: {red: {policy: support}}")
    with pytest.raises(ConfigErrors, match=r"config\.yaml:2: policies: there is no folder .*polices; make it"):
        config.load(file, {})
    file.write_text(SMALL + "teams: {red: {policy: support}}")
    assert config.load(file, {}).policy_for(None, "red").context_window == 32_000


def test_what_is_not_served_needs_no_environment(tmp_path):
    text = SMALL.replace(
        "demo/demo", "openai/x, api_base: os.environ/BASE, api_key: os.environ/KEY, timeout: os.environ/T"
    )
    text += "keys: [{name: k, sha256: os.environ/DIGEST}]\nstate: {redis: os.environ/REDIS}"
    sound = config.load(written(tmp_path, text), {}, to_serve=False)
    assert "api_key" not in sound.models[0].params
    with pytest.raises(ConfigErrors, match="unknown key 'prot'"):
        config.load(written(tmp_path, text + "\nprot: 3"), {}, to_serve=False)


def test_where_the_ledger_is_can_be_read_of_a_file_that_cannot_be_served(tmp_path):
    broken = "model_list: os.environ/NOBODY\ndefault_policy: nowhere\n"
    assert config.ledger_dir(written(tmp_path, broken), {}) == tmp_path / "var/ledger"
    assert config.ledger_dir(written(tmp_path, broken + "ledger: {dir: /books}"), {}) == Path("/books")
    assert config.ledger_dir(written(tmp_path, "ledger: {dir: os.environ/D}"), {"D": "b"}) == tmp_path / "b"
    for text, told in (("ledger: {dir: os.environ/D}", "D is not set"), ("ledger: 3", "no folder"), ("- a", "mapping")):
        with pytest.raises(ConfigErrors, match=told):
            config.ledger_dir(written(tmp_path, text), {})


def test_where_the_state_is_can_be_read_of_a_file_that_cannot_be_served(tmp_path):
    broken = "model_list: os.environ/NOBODY\ndefault_policy: nowhere\n"
    assert config.state_place(written(tmp_path, broken), {}).dir == tmp_path / "var/state"
    assert config.state_place(written(tmp_path, broken + "state: {dir: /kept}"), {}).dir == Path("/kept")
    far = "state: {redis: os.environ/REDIS_URL}"
    assert config.state_place(written(tmp_path, far), {"REDIS_URL": "redis://far"}).redis == "redis://far"
    for text, told in ((far, "REDIS_URL is not set"), ("state: {dri: a}", "neither a folder"), ("- a", "mapping")):
        with pytest.raises(ConfigErrors, match=told):
            config.state_place(written(tmp_path, text), {})


def test_the_hint_for_a_remedy_is_always_one_of_its_component(tmp_path):
    said = problems(tmp_path, a="name: a\nladder: {tool_results: [crash], history: [sumarize], documents: [crash]}")
    assert [line.partition("is no remedy here; ")[2] for line in said] == [
        "there are dedupe, extract, arrange",
        "there are summarize, drop_oldest; did you mean 'summarize'?",
        "there are minify, dedupe, crush, stub; did you mean 'crush'?",
    ]


def test_who_writes_summaries_is_a_model_of_the_list(tmp_path):
    said = "name: a\nprofiles: {p: {summarize: {enabled: true, model: n}}}"
    assert problems(tmp_path, a=said) == [
        "policies/a.yaml:2: profiles.p.summarize.model: there is no model 'n'; name one of model_list, or same"
    ]
    summarize = loaded(tmp_path, a=said.replace("model: n", "model: m")).policies["a"].with_profile("p").summarize
    assert summarize.model == "m"


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigErrors, match=r"absent\.yaml: there is no such file"):
        config.load(tmp_path / "absent.yaml", {})
    with pytest.raises(ConfigErrors, match="cannot be read"):
        config.load(tmp_path, {})
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff")
    with pytest.raises(ConfigErrors, match="not UTF-8"):
        config.load(tmp_path / "latin.yaml", {})


def test_aliases_that_multiply_are_refused(tmp_path):
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
    assert "unfolds to more than 100,000 values" in problems(tmp_path, bomb)[0]


@pytest.mark.parametrize("levels", [101, 5_000, 100_000])
@pytest.mark.parametrize("step", ["[", "{a: ", "- ", "by lines"])
def test_a_file_nested_without_end_is_an_error_message(tmp_path, levels, step):
    text = "a:\n " + step * levels
    if step == "by lines":
        text = "".join(" " * level + "a:\n" for level in range(min(levels, 3_000)))
    (said,) = problems(tmp_path, text)
    assert "more than 100 levels" in said
    (tmp_path / "policies").mkdir(exist_ok=True)
    (tmp_path / "policies" / "deep.yaml").write_text(text)
    (said,) = problems(tmp_path, SMALL)
    assert "deep.yaml:" in said
    assert "more than 100 levels" in said


def test_aliases_in_each_other_are_no_way_around(tmp_path):
    chain = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 2_000))
    assert "more than 100 levels" in problems(tmp_path, chain)[0]
    merged = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: *a{n - 1}}}\n" for n in range(1, 2_000))
    assert "more than 100 levels" in problems(tmp_path, merged)[0]


def test_a_key_one_letter_off_is_caught_even_where_any_key_may_stand(tmp_path):
    text = SMALL.replace("demo/demo", "demo/demo, api_bases: http://127.0.0.1, organization: us, tpm: 5")
    assert problems(tmp_path, text) == [
        "config.yaml:1: model_list[0].litellm_params.api_bases: unknown key 'api_bases'; did you mean 'api_base'?"
    ]


# Before serving


def test_nothing_stands_in_the_way_of_a_sound_configuration(tmp_path):
    assert startup_problems(loaded(tmp_path)) == ()
    assert (tmp_path / "var/ledger").is_dir()


def test_folders_that_cannot_be_written_are_named_with_their_lines(tmp_path):
    (tmp_path / "file").write_text("in the way")
    sound = loaded(tmp_path, SMALL + "ledger:\n  dir: file/ledger\nstate: {dir: file}")
    assert [str(problem).removeprefix(f"{tmp_path}/") for problem in startup_problems(sound)] == [
        f"config.yaml:3: ledger.dir: cannot write to the ledger folder {tmp_path}/file/ledger: Not a directory",
        f"config.yaml:4: state.dir: cannot write to the state folder {tmp_path}/file: File exists",
    ]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "gateway.example"])
def test_without_keys_only_a_loopback_address_is_served(tmp_path, host):
    open_door = loaded(tmp_path, SMALL + f"server: {{host: '{host}'}}")
    assert "without keys only a loopback address" in str(startup_problems(open_door)[0])
    locked = loaded(tmp_path, SMALL + f"server: {{host: '{host}'}}\nkeys: [{{name: k, sha256: '{'0' * 64}'}}]")
    assert startup_problems(locked) == ()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_a_loopback_address_needs_no_keys(tmp_path, host):
    assert startup_problems(loaded(tmp_path, SMALL + f"server: {{host: '{host}'}}")) == ()


# The schemas


@pytest.mark.parametrize("kind", ["policy", "config"])
def test_the_schema_describes_every_key_and_gives_its_default(kind):
    schema = config.check_schema(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    objects = {kind: schema, **schema["$defs"]}
    for name, described in objects.items():
        assert described["description"], name
        for key, value in described["properties"].items():
            of_object = schema["$defs"].get(value.get("$ref", "").rsplit("/", 1)[-1], {})
            assert value.get("description") or of_object.get("description"), f"{name}.{key}"
            assert "default" in value or key in described["required"], f"{name}.{key}"


def as_json(text: str) -> Any:
    """What an editor makes of YAML 1.2: dates and `off` are text."""
    return parse_yaml(text, Path("editor")).data


def test_what_loads_is_valid_by_the_schema(tmp_path):
    validator = jsonschema.Draft202012Validator(config.check_schema("policy"))
    for file in sorted((ROOT / "policies").glob("*.yaml")):
        assert not list(validator.iter_errors(as_json(file.read_text()))), file
    for name in ("fit_without_loss", "off_values_are_accepted"):
        (policy,) = (
            text
            for file, text in sections((ROOT / f"tests/cases/config/{name}.txt").read_text()).items()
            if file.startswith("policies/")
        )
        assert not list(validator.iter_errors(as_json(policy))), name
    example = as_json((ROOT / "config.example.yaml").read_text())
    assert not list(jsonschema.Draft202012Validator(config.check_schema("config")).iter_errors(example))


@pytest.mark.parametrize(
    "policy",
    [
        "nme: a",
        "name: a\nmode: loud",
        "name: a\ncontext_window: 3x",
        "name: a\nladder: {system: [stub]}",
        "name: 'a b'",
        "name: a\nladder: automatic",
        "name: a\nladder: [minify]",
        "name: a\nladder: {history: auto}",
        "name: a\nladder: {tool_result: [minify]}",
        "name: a\ndocuments: {order: ranked}",
        f"name: a\npreserve: [{'x' * 501}]",
        f"name: a\npreserve: [{', '.join('x' * 51)}]",
    ],
)
def test_what_does_not_load_is_not_valid_by_the_schema(policy, tmp_path):
    assert problems(tmp_path, a=policy)
    assert list(jsonschema.Draft202012Validator(config.check_schema("policy")).iter_errors(as_json(policy)))


# Always


KEYS = [
    *config.check_schema("config")["properties"],
    *config.check_schema("policy")["properties"],
    *("model", "model_name", "litellm_params", "model_info", "sha256", "dir", "history", "output", "when", "<<"),
]
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 100_000)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["10%", "4k", "off", "tools > 3", "demo/demo"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=examples(200), deadline=None)
@given(ANYTHING, ANYTHING)
def test_whatever_is_written_a_file_loads_or_every_problem_has_a_message(tmp_path_factory, main, policy):
    folder = tmp_path_factory.mktemp("any")
    (folder / "policies").mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(main))
    (folder / "policies/p.yaml").write_text(yaml.safe_dump(policy))
    try:
        told = [model.model_name for model in config.load(folder / "config.yaml", {}).models]
    except ConfigErrors as error:
        told = [problem.message for problem in error.problems]
    assert told
    assert all(told)


@settings(max_examples=examples(500), deadline=None)
@given(st.text(max_size=60) | st.text(alphabet="a:-[]{}&*!|>'\"#? \n", max_size=60))
def test_whatever_text_there_is_reading_it_does_not_crash(tmp_path_factory, text):
    document = parse_yaml(text, Path("any.yaml"))
    assert document.problems or document.lines


def test_a_worker_may_be_told_how_much_to_remember(tmp_path):
    assert loaded(tmp_path, f"{SMALL}memory: 64MB\n").memory == 64_000_000
    with pytest.raises(ConfigErrors, match="16MB or more"):
        loaded(tmp_path, f"{SMALL}memory: 1MB\n")
