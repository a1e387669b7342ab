"""What a policy file means once it is a value: defaults, `extends`, profiles, digests; docs/policies.md is true."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import config
from gateway.config.conditions import FACTS, InvalidCondition, compile_condition, in_cel, request_facts
from gateway.config.ladder import Ladder
from gateway.config.merging import LONGEST_PROMPT, load_policies, resolve
from gateway.config.policy import Fold, Policy, PolicyBody, PromptCache, Reserve, Summarize, UnknownProfile
from gateway.config.shares import COMPONENTS, Shares
from gateway.config.yaml import parse_yaml
from gateway.reports.check import DeploymentFacts, policy_rows, render

ROOT = Path(__file__).parent.parent
DOCUMENTED = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "docs/policies.md").read_text(), re.MULTILINE | re.DOTALL)


def policies(*texts: str) -> dict[str, Policy]:
    found = resolve(parse_yaml(text, Path(f"{number}.yaml")) for number, text in enumerate(texts))
    assert not found.problems
    return dict(found.by_name)


def problems(text: str, file: Path = Path("it.yaml")) -> list[str]:
    found = resolve([parse_yaml(f"name: it\n{text}", file)])
    return [f"{problem.path}: {problem.message}" for problem in found.problems]


def policy(text: str) -> Policy:
    named = policies(f"name: it\n{text}")
    return named["it"]


def asked(tools: int = 0, system: int = 0, model: str = "gpt-5", headers: Any = None, metadata: Any = None) -> Any:
    return request_facts(tools, system, model, headers or {}, metadata)


# Presets and defaults


def test_every_preset_loads_and_says_first_for_whom_it_is():
    found = load_policies(ROOT / "policies")
    assert not found.problems
    assert set(found.by_name) == {"default", "support", "coding-agent", "rag", "chat"}
    for name in found.by_name:
        assert (ROOT / f"policies/{name}.yaml").read_text().startswith("# For ")


def test_the_shipped_default_spells_out_what_is_built_in():
    shipped = load_policies(ROOT / "policies").by_name["default"]
    said_nothing = policies("name: default")["default"]
    assert shipped == said_nothing == Policy("default")
    assert str(shipped) == str(Policy("default"))


def test_the_default_is_there_without_a_file():
    assert resolve([]).by_name == {"default": Policy("default")}
    assert policies("name: a\nextends: default")["a"] == Policy("a")


def test_the_shipped_policies_are_there_beside_a_folder_of_ones_own(tmp_path):
    (tmp_path / "mine.yaml").write_text("name: mine\nextends: support\n")
    (tmp_path / "rag.yaml").write_text("name: rag\ncontext_window: 9k\n")
    found = load_policies(tmp_path)
    assert not found.problems
    assert set(found.by_name) == {"default", "support", "coding-agent", "rag", "chat", "mine"}
    assert found.by_name["mine"].context_window == 32_000
    assert found.by_name["rag"] == Policy("rag", context_window=9_000)
    assert found.shipped == {"default", "support", "coding-agent", "chat"}
    assert load_policies(tmp_path / "nowhere").by_name == load_policies(ROOT / "policies").by_name


def test_a_profile_is_named_beside_its_policy():
    night = policy("profiles: {night: {strict: true}}").with_profile("night")
    assert str(night) == f"it/night@{night.digest}"
    assert [row.policy for row in policy_rows([policy("profiles: {night: {}}")], [DeploymentFacts("a", 9000)])] == [
        "it",
        "it/night",
    ]


def test_a_name_a_window_and_a_reserve_are_enough():
    assert policy("context_window: 32k\nreserve: {output: 4k}") == Policy(
        "it", context_window=32_000, reserve=Reserve(4000, None)
    )


def test_loading_the_presets_does_not_load_cel():
    code = "import sys; from pathlib import Path; from gateway.config.merging import load_policies; "
    code += "load_policies(Path('policies')); sys.exit('cel' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# What the keys mean


@pytest.mark.parametrize(
    ("said", "tokens"), [("32k", 32_000), ("2M", 2_000_000), ("1.5k", 1500), ("8000", 8000), ("'8000'", 8000)]
)
def test_tokens_have_suffixes(said, tokens):
    assert policy(f"context_window: {said}\nreserve: {{output: 0}}").context_window == tokens


def test_the_window_may_be_the_deployments_own():
    assert policy("context_window: deployment").context_window is None


@pytest.mark.parametrize(
    ("said", "margin"), [("auto", None), ("2%", 0.02), ("0.02", 0.02), ("0", 0), ("500", 500), ("1k", 1000)]
)
def test_a_margin_is_measured_a_share_or_tokens(said, margin):
    found = policy(f"reserve: {{margin: {said}}}").reserve.margin
    assert found == margin
    assert type(found) is type(margin)


@pytest.mark.parametrize("said", ["off", "observe", "enforce", "'off'"])
def test_a_mode_is_a_word_even_where_yaml_could_read_false(said):
    assert policy(f"mode: {said}").mode == said.strip("'")


@pytest.mark.parametrize(
    ("said", "output"), [("auto", None), ("20%", 0.2), ("0.2", 0.2), ("0", 0), ("4000", 4000), ("4k", 4000)]
)
def test_a_reserve_follows_the_request_or_is_a_share_or_tokens(said, output):
    found = policy(f"reserve: {{output: {said}}}").reserve.output
    assert found == output
    assert type(found) is type(output)


def test_a_reserve_that_leaves_nothing_is_a_mistake_unless_it_follows_the_request():
    assert problems("context_window: 2k") == []
    assert problems("context_window: 2k\nreserve: {output: 50%}") == []
    assert problems("context_window: 2k\nreserve: {output: 2k}") == [
        "context_window: reserve.output 2,000 leave nothing of a window of 2,000 tokens"
    ]
    assert problems("context_window: 2k\nreserve: {output: 50%, margin: 1000}") == [
        "context_window: reserve.output 1,000 and reserve.margin 1,000 leave nothing of a window of 2,000 tokens"
    ]
    assert problems("reserve: {output: 100%}") == ["reserve.output: a reserve of 100% leaves nothing for the prompt"]


def test_only_the_second_version_of_the_rewriting_is_there():
    assert policy("version: 2") == policy("") == Policy("it", version=2)
    assert problems("version: 1") == [
        "version: version 1 of the rewriting is no longer there; write 2, or leave it out"
    ]


def test_an_allocation_in_tokens_is_taken_off_before_the_shares():
    shares = policy("allocation: {documents: 12k, examples: 0, input: 0}").allocation
    assert shares.tokens == (("documents", 12_000),)
    assert shares.rooms(20_000) == {
        "system": 1333, "tools": 1333, "examples": 0, "documents": 12_000, "history": 5333, "input": 0
    }  # fmt: skip
    assert shares.rooms(20_000, {"documents", "history"}) == {"documents": 12_000, "history": 8000}
    assert shares.rooms(6000, {"documents", "history"}) == {"documents": 6000, "history": 0}
    assert policy("allocation: {documents: 12k, history: 24k}").allocation.rooms(6000)["history"] == 4000


def test_a_profile_may_put_tokens_in_place_of_a_share():
    found = policy("profiles: {p: {allocation: {history: 5000}}}").with_profile("p").allocation
    assert (found.tokens, found.history) == ((("history", 5000),), 0)
    assert sum(found.by_component().values()) == pytest.approx(1)


NAMES = st.sampled_from(COMPONENTS)


@given(
    st.fixed_dictionaries(dict.fromkeys(COMPONENTS, st.floats(0, 1))),
    st.dictionaries(NAMES, st.integers(0, 100_000)),
    st.integers(0, 200_000),
    st.sets(NAMES),
)
def test_rooms_are_never_more_than_the_budget_nor_tokens_more_than_were_given(ratios, tokens, budget, among):
    shares = Shares(**ratios | dict.fromkeys(tokens, 0.0), tokens=tuple(tokens.items()))
    rooms = shares.rooms(budget, among)
    assert set(rooms) == among
    assert sum(rooms.values()) <= budget
    assert all(rooms[name] <= tokens[name] for name in among & set(tokens))


def test_an_order_that_is_given_is_kept_where_the_ladder_arranges():
    ladder = "ladder: {documents: [extract, arrange]}"
    assert policy(ladder).document_order == "bookend"
    assert policy(f"{ladder}\ndocuments: {{order: as_is}}").document_order == "as_is"
    assert policy("documents: {order: rank}").document_order == "rank"
    assert policy("").document_order == "as_is"


def test_targets_of_the_report_change_no_digest():
    found = policy("utilization: {history: 60-75%, overall: 50% - 90%}")
    assert found.utilization.targets == {"history": (0.6, 0.75), "overall": (0.5, 0.9)}
    assert found.digest == policy("").digest


def test_a_given_ladder_is_taken_as_it_stands():
    assert policy("ladder: {history: [drop_oldest]}").ladder == Ladder((), (), (), ("drop_oldest",), (), auto=False)
    assert policy("ladder: {}").ladder == Ladder((), (), (), (), (), auto=False)
    everything = "{tool_results: [minify, dedupe, crush, stub], documents: [dedupe, extract, arrange], input: [crush]}"
    assert policy(f"ladder: {everything}").ladder == Ladder(
        ("minify", "dedupe", "crush", "stub"), ("dedupe", "extract", "arrange"), (), (), ("crush",), auto=False
    )
    parent = "name: a\nladder: {tool_results: [stub], history: [drop_oldest]}"
    child = "name: b\nextends: a\nladder: {tool_results: [minify]}\nprofiles: {p: {ladder: {history: [drop_oldest]}}}"
    found = policies(parent, child)
    assert found["b"].ladder == Ladder(("minify",), (), (), (), (), auto=False)
    assert found["b"].with_profile("p").ladder == Ladder((), (), (), ("drop_oldest",), (), auto=False)


def test_without_a_ladder_or_with_auto_the_gateway_chooses():
    chosen = policy("").ladder
    assert chosen == policy("ladder: auto").ladder == Ladder()
    assert chosen.auto
    assert (chosen.tool_results, chosen.documents) == (("minify", "dedupe", "crush"), ("dedupe", "extract"))
    assert (chosen.examples, chosen.history, chosen.input) == (("drop_oldest",), ("drop_oldest",), ("crush",))
    found = policies("name: a\nladder: {history: [drop_oldest]}", "name: b\nextends: a\nladder: auto")
    assert found["b"].ladder == Ladder()


@pytest.mark.parametrize(
    ("ladder", "told"),
    [
        ("{history: auto}", "ladder.history: auto is for the whole ladder"),
        ("{tool_results: [minify, auto]}", "ladder.tool_results[1]: auto is for the whole ladder"),
        ("atuo", "ladder: 'atuo' is no ladder; write auto, or the remedies of each component"),
        ("[minify]", "ladder: must be a mapping"),
        ("{system: [crush]}", "ladder.system: this component has no remedy"),
        ("{input: [extract]}", "ladder.input[0]: 'extract' is no remedy here; there is crush"),
        ("{examples: [crush]}", "ladder.examples[0]: 'crush' is no remedy here; there is drop_oldest"),
    ],
)
def test_a_ladder_that_cannot_be_climbed_is_refused(ladder, told):
    assert problems(f"ladder: {ladder}")[0].startswith(told)


# Summaries


def test_summaries_come_first_where_a_model_may_write_them():
    assert policy("summarize: {enabled: true}").ladder == replace(Ladder(), history=("summarize", "drop_oldest"))
    said = "summarize: {enabled: true, timeout: 500ms, at_most: 5%, on_failure: drop_oldest}"
    found = policy(f"ladder: {{history: [summarize, drop_oldest]}}\n{said}")
    assert found.summarize == Summarize(enabled=True, timeout=0.5, at_most=0.05, on_failure="drop_oldest")
    assert found.ladder == Ladder((), (), (), ("summarize", "drop_oldest"), (), auto=False)


def test_a_ladder_and_summarize_never_say_different_things():
    ladder = "ladder: {history: [summarize, drop_oldest]}"
    told = "ladder.history: ladder.history names summarize, but summarize.enabled is false"
    assert problems(ladder)[0].startswith(told)
    assert problems(f"summarize: {{enabled: true}}\n{ladder}\nprofiles: {{p: {{summarize: {{enabled: false}}}}}}")
    given = "ladder: {history: [drop_oldest]}\nsummarize: {enabled: true}"
    assert problems(given)[0].startswith("summarize.enabled: summarize.enabled is true, but ladder.history does not")
    assert problems("summarize: {enabled: true, at_most: 0%}") == [
        "summarize.at_most: a summary of at most 0% of its source says nothing"
    ]


def test_a_prompt_is_a_file_beside_the_one_that_names_it(tmp_path):
    (tmp_path / "policies").mkdir()
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/short.txt").write_text("Keep every decision.\n")
    (tmp_path / "policies/a.yaml").write_text("name: a\nsummarize: {prompt: ../prompts/short.txt}")
    (tmp_path / "policies/b.yaml").write_text("name: b\nextends: a\nprofiles: {p: {summarize: {timeout: 1s}}}")
    found = load_policies(tmp_path / "policies")
    assert not found.problems
    assert found.by_name["a"].summarize.prompt == "Keep every decision.\n"
    assert found.by_name["b"].with_profile("p").summarize == Summarize(prompt="Keep every decision.\n", timeout=1)
    before = found.by_name["a"].digest
    (tmp_path / "prompts/short.txt").write_text("Keep every constraint.\n")
    assert load_policies(tmp_path / "policies").by_name["a"].digest != before


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("absent.txt", None, "cannot be read: No such file or directory"),
        (".", None, "cannot be read: Is a directory"),
        ("empty.txt", b" \n", "is empty"),
        ("latin.txt", b"\xff", "is no file of UTF-8 text"),
        ("long.txt", b"x" * (LONGEST_PROMPT + 1), "has 20,001 characters; at most 20,000"),
    ],
)
def test_a_prompt_that_cannot_be_used_is_told_with_its_file(tmp_path, name, content, told):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    said = problems(f"profiles: {{p: {{summarize: {{prompt: {name}}}}}}}", tmp_path / "it.yaml")
    assert said[0].startswith(f"profiles.p.summarize.prompt: {tmp_path}")
    assert told in said[0]


# What is preserved


def test_patterns_are_kept_as_they_are_written():
    assert policy(r"preserve: ['(?i)\b(must|never)\b', 'https?://\S+']").preserve == (
        r"(?i)\b(must|never)\b",
        r"https?://\S+",
    )


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("(a", "not a regular expression"),
        ("(a+)+$", "can take minutes on an unlucky text"),
        (".*a.*b.*c.*d", "can take minutes on an unlucky text"),
        ("a" * 501, "a pattern of 501 characters; at most 500"),
    ],
)
def test_a_pattern_that_could_stop_the_gateway_is_refused(pattern, told):
    assert problems(f"preserve: [fine, '{pattern}']")[0].startswith(f"preserve[1]: {told}")


def test_a_prompt_is_marked_on_reuse_unless_the_policy_says_otherwise():
    assert policy("").prompt_cache == PromptCache("on_reuse", "auto", ("team", "model"), ())
    said = policy("prompt_cache: {markers: off, ttl: 1h, group_by: [user], volatile: ['Now: .*']}").prompt_cache
    assert said == PromptCache("off", "1h", ("user",), ("Now: .*",))


def test_no_prefix_is_kept_warm_unless_the_policy_names_it():
    assert (policy("").prompt_cache.warm, policy("").prompt_cache.every) == ((), 240.0)
    said = policy("prompt_cache: {warm: ['You are the support agent*'], every: 3m}").prompt_cache
    assert said == PromptCache(warm=("You are the support agent*",), every=180.0)


def test_a_profile_may_mark_otherwise_than_its_policy():
    said = policy("prompt_cache: {ttl: 1h}\nprofiles: {now: {prompt_cache: {markers: always}}}")
    assert said.with_profile("now").prompt_cache == PromptCache("always", "1h")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("{markers: sometimes}", "'sometimes' is not one of off, on_reuse, always"),
        ("{ttl: 2h}", "'2h' is not one of auto, 5m, 1h"),
        ("{group_by: [team, team]}", "names 'team' twice"),
        ("{volatile: ['(a+)+$']}", "can take minutes on an unlucky text"),
        ("{volatile: ['(']}", "not a regular expression"),
        ("{warm: support}", "prompt_cache.warm: must be a list"),
        ("{warm: ['']}", "prompt_cache.warm[0]"),
        ("{every: soon}", "prompt_cache.every: 'soon' is not a time; write 8s, 500ms or 2m"),
        ("{every: 0}", "prompt_cache.every: 0 is not a time"),
    ],
)
def test_a_prompt_cache_that_cannot_be_meant_is_refused(said, told):
    assert [found for found in problems(f"prompt_cache: {said}") if told in found]


def test_there_are_at_most_fifty_patterns():
    assert problems(f"preserve: [{', '.join(['a'] * 51)}]") == ["preserve: has 51 patterns; at most 50"]
    assert len(policy(f"preserve: [{', '.join(['a'] * 50)}]").preserve) == 50


def test_shares_are_scaled_after_the_profile_is_merged():
    found = policy("allocation: {history: 90%}\nprofiles: {p: {allocation: {history: 0.4, input: 0%}}}")
    assert found.allocation.history == pytest.approx(0.6)
    assert found.with_profile("p").allocation.by_component() == pytest.approx(
        {"system": 1 / 9, "tools": 1 / 9, "examples": 0.5 / 9, "documents": 2.5 / 9, "history": 4 / 9, "input": 0}
    )


def test_the_list_of_a_fold_is_never_larger_than_what_the_fold_leaves():
    assert policy("fold: {target: 10%}").fold == Fold(target=0.1, artifacts=0.1)
    assert policy("fold: {artifacts: 0%}").fold.artifacts == 0
    assert problems("fold: {target: 30%, artifacts: 40%}") == ["fold.artifacts: artifacts 40% is above target 30%"]


@given(st.lists(st.integers(0, 100), min_size=6, max_size=6).filter(any))
def test_shares_always_sum_to_one(percents):
    said = ", ".join(f"{name}: {percent}%" for name, percent in zip(COMPONENTS, percents, strict=True))
    assert sum(policy(f"allocation: {{{said}}}").allocation.by_component().values()) == pytest.approx(1)


# extends


def test_a_chain_is_merged_key_by_key_nearest_last():
    found = policies(
        "name: a\ncontext_window: 32k\nfold: {target: 40%, keep_turns: 7}\nborrow: [history]",
        "name: b\nextends: a\nfold: {keep_turns: 8}",
        "name: c\nextends: b\nborrow: []",
    )
    assert found["c"] == replace(Policy("c"), context_window=32_000, fold=Fold(target=0.4, keep_turns=8), borrow=())


def test_the_order_of_files_does_not_matter():
    texts = ("name: c\nextends: b", "name: a\nstrict: true", "name: b\nextends: a")
    assert policies(*texts) == policies(*reversed(texts))
    assert policies(*texts)["c"].strict


def test_inherited_profiles_come_after_a_policys_own_and_are_merged_by_name():
    found = policies(
        "name: a\nprofiles: {x: {when: tools > 1, strict: true}, y: {when: tools > 2}}",
        "name: b\nextends: a\ncontext_window: 9k\nprofiles: {z: {when: tools > 3}, x: {mode: observe}}",
    )["b"]
    assert [profile.name for profile in found.profiles] == ["z", "x", "y"]
    assert found.with_profile("x") == replace(
        Policy("b"), context_window=9000, strict=True, mode="observe", profile="x"
    )


# Profiles

MIXED = policy(
    """
profiles:
  big: {when: "tools > 10 && model.startsWith('claude')", context_window: 64k}
  long: {when: system >= 5000, context_window: 32k}
  mobile: {when: "headers['x-app'] == 'mobile'", context_window: 8k}
  batch: {when: "metadata.job == 'nightly'", mode: observe}
  night: {context_window: 16k}
"""
)


@pytest.mark.parametrize(
    ("request_facts", "wanted", "profile"),
    [
        (asked(), None, None),
        (asked(tools=11, model="claude-sonnet"), None, "big"),
        (asked(tools=11), None, None),
        (asked(tools=11, model="claude-sonnet", system=9000), None, "big"),
        (asked(system=5000), None, "long"),
        (asked(headers={"X-App": "mobile"}), None, "mobile"),
        (asked(headers={"X-App": "desktop"}), None, None),
        (asked(metadata={"job": "nightly"}), None, "batch"),
        (asked(metadata={"job": 3}), None, None),
        (asked(metadata="nightly"), None, None),
        (asked(metadata={"job": "nightly", "deep": {"list": [1, None, 2.5, True, "x"]}}), None, "batch"),
        (asked(metadata={"job": "nightly", "huge": 10**30}, system=6000), None, "long"),
        (asked(), "night", "night"),
        (asked(tools=11, model="claude-sonnet"), "night", "night"),
        (asked(metadata={"gateway_profile": "night"}), None, "night"),
        (asked(metadata={"gateway_profile": "night"}), "long", "long"),
        (asked(metadata={"gateway_profile": 5}), None, None),
    ],
)
def test_the_profile_is_the_headers_the_metadatas_or_the_first_that_holds(request_facts, wanted, profile):
    assert MIXED.choose(request_facts, wanted).profile == profile


def test_a_policy_without_profiles_reads_no_facts():
    plain = Policy("it")
    assert plain.choose({}) is plain


def test_a_profile_that_is_not_there_is_never_silently_another_one():
    with pytest.raises(UnknownProfile, match="no profile 'nigth'; it has big, long, mobile, batch, night"):
        MIXED.choose(asked(), "nigth")
    with pytest.raises(UnknownProfile, match="it has no profiles"):
        Policy("it").choose({}, "night")
    with pytest.raises(UnknownProfile):
        MIXED.choose(asked(metadata={"gateway_profile": "x"}))


def test_conditions_never_see_credentials():
    headers = {"Authorization": "Bearer sk", "X-Api-Key": "sk", "Cookie": "sk", "X-App": "a"}
    assert asked(headers=headers)["headers"] == {"x-app": "a"}
    assert asked().keys() == FACTS.keys()


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("tools > 10 && modle == 'a'", "unknown name 'modle'"),
        ("nothing_is_short_circuited == 1 && tools > 1", "unknown name"),
        ("false && nope == 1", "unknown name 'nope'"),
        ("['a'].exists(x, y == model)", "'y'"),
        ("tools >", "cannot be parsed"),
        ("", "cannot be parsed"),
        ("tools", "must say true or false, not 0"),
        ("tools > 'ten'", "fails when run"),
        ("model.nope()", "fails when run"),
        ("1 / tools > 0", "division by zero"),
    ],
)
def test_a_condition_that_cannot_work_is_refused_when_it_is_loaded(source, told):
    with pytest.raises(InvalidCondition, match=re.escape(told)):
        compile_condition(source)


@pytest.mark.parametrize(
    "source",
    [
        "true",
        "metadata.team == 'a'",
        "'x' in headers",
        "has(metadata.a) && metadata.a > 3",
        "['a', 'b'].exists(x, x == model)",
    ],
)
def test_a_condition_about_what_may_be_absent_is_fine(source):
    assert compile_condition(source).holds(in_cel(asked())) in (True, False)


# Identity


def test_a_digest_tells_policies_apart_and_nothing_else():
    assert policy("context_window: 32k").digest == policy("context_window: 32000  # the same\nstrict: false").digest
    assert re.fullmatch(r"it@[0-9a-f]{8}", str(policy("context_window: 32k")))
    different = [
        Policy("it"), Policy("other"), policy("strict: true"), policy("mode: off"), policy("context_window: 32k"),
        policy("reserve: {output: 1}"), policy("reserve: {margin: 0}"), policy("borrow: []"), policy("ladder: {}"),
        policy("fold: {keep_turns: 3}"), policy("documents: {tools: [a]}"), policy("examples: {tags: [a]}"),
        policy("allocation: {history: 41%}"), policy("profiles: {p: {}}"), policy("profiles: {p: {when: tools > 1}}"),
        policy("profiles: {p: {strict: true}}"), policy("profiles: {p: {}}").with_profile("p"),
        policy("documents: {order: rank}"), policy("fold: {artifacts: 20%}"), policy("recall: 0"),
            policy("user_text: 40%"), policy("tools: {select: 20}"), policy("documents: {in_system: true}"),
            policy("reserve: {output: 20%}"), policy("allocation: {documents: 12k}"),
            policy("summarize: {run: inline}"),
        policy("protect: 0"), policy("preserve: [a]"), policy("effort: 1k"), policy("summarize: {enabled: true}"),
        policy("summarize: {timeout: 9s}"), policy("ladder: {tool_results: [minify, dedupe, crush], documents: [dedupe,"
        " extract], examples: [drop_oldest], history: [drop_oldest], input: [crush]}"),
    ]  # fmt: skip
    assert len({found.digest for found in different}) == len(different)


EVERY_KEY = """\
context_window: 64k
strict: true
mode: observe
reserve: {output: 20%, margin: 0.05}
allocation: {documents: 12k, history: 45%, examples: 0}
utilization: {history: 60-75%, overall: 50-90%}
tools: {select: 20}
borrow: [history, input]
documents: {tags: [doc], tools: [search_*], in_system: true, order: rank}
ladder: {tool_results: [minify, stub], documents: [dedupe, arrange], history: [summarize, drop_oldest]}
fold:
  {trigger: 90%, target: 45%, artifacts: 5%, keep_turns: 4, keep_tool_results: 1, clear_at_least: 2.5%, when: cheaper}
summarize: {enabled: true, model: small, at_most: 12.5%, timeout: 500ms, run: inline, on_failure: drop_oldest}
user_text: 33.3%
recall: 0
protect: 1.5k
examples: {names: [shot_*], tags: []}
preserve: ['Order [0-9]+']
prompt_cache: {markers: always, ttl: 1h, group_by: [user, key], volatile: ['Now: .*'], warm: ['You are*'], every: 3m}
effort: 1M
profiles:
  short: {context_window: 8k, allocation: {documents: 2k}}
  free: {ladder: auto, strict: false, reserve: {output: auto}}
"""


def test_a_digest_is_the_same_in_every_release():
    """They stand in ledgers, and in the state that several releases share."""
    shipped = load_policies(ROOT / "policies").by_name.values()
    assert sorted(map(str, shipped)) == [
        "chat@c80e244b", "coding-agent@8b2bed1d", "default@e678e4d1", "rag@33073d76", "support@c2feed34"
    ]  # fmt: skip
    variants = policy(EVERY_KEY).variants
    assert [str(variant) for variant in variants] == ["it@10690a84", "it/short@4376975d", "it/free@fb045495"]


def test_a_policy_is_made_again_of_its_own_values():
    assert parse_yaml(EVERY_KEY, Path("it.yaml")).data.keys() == {one.name for one in fields(PolicyBody)} | {"profiles"}
    for variant in (Policy("it"), *policy(EVERY_KEY).variants):
        assert replace(variant) == variant
        parts = [value for one in fields(PolicyBody) if is_dataclass(value := getattr(variant, one.name))]
        assert len(parts) == 10
        assert [replace(part) for part in parts] == parts  # type: ignore[type-var]


# gateway check


def test_a_policy_is_shown_as_tokens_on_each_deployment():
    shown = policy_rows(
        [policy("context_window: 32k\nreserve: {margin: 0}")],
        [DeploymentFacts("a", 200_000), DeploymentFacts("b", 16_000)],
    )
    assert [(row.window, row.budget, row.shares["history"]) for row in shown] == [
        (32_000, 28_000, 11_200),
        (16_000, 12_000, 4_800),
    ]


def test_a_window_apart_from_the_answer_needs_no_reserve():
    whole = policy_rows([Policy("it")], [DeploymentFacts("a", 272_000, shared=False)])[0]
    assert (whole.window, whole.budget) == (272_000, 272_000)


def test_the_margin_is_a_column_of_its_own():
    shown = policy_rows(
        [policy("context_window: 10k\nreserve: {output: 0, margin: 500}")], [DeploymentFacts("a", None)]
    )[0]
    assert (shown.window, shown.margin, shown.budget) == (10_000, 500, 9_500)


@pytest.mark.parametrize("name", ["gpt-5", "claude-sonnet#0:anthropic/claude-sonnet-4-5", "a" * 60])
@pytest.mark.parametrize("window", [None, 8_000, 272_000, 2_000_000])
def test_the_table_fits_a_terminal_of_80_columns(name, window):
    shown = render([policy("profiles: {night: {}}")], [DeploymentFacts(name, window), DeploymentFacts("b", 128_000)])
    table = shown[shown.index(" window ") :].splitlines()
    assert max(map(len, table)) <= 80, shown
    assert name in shown


def test_an_unknown_window_is_said_to_be_unknown():
    assert "unknown" in render([Policy("it")], [DeploymentFacts("a", None)])


# The documentation


@pytest.mark.parametrize("text", DOCUMENTED, ids=lambda text: re.sub(r"\W+", "_", text[:30]))
def test_an_example_of_the_documentation_loads(text, tmp_path):
    shutil.copytree(ROOT / "policies", tmp_path / "policies")
    (tmp_path / "config.yaml").write_text("model_list: [{model_name: m, litellm_params: {model: demo/demo}}]")
    (tmp_path / ("config.yaml" if "model_list:" in text else "policies/example.yaml")).write_text(text)
    refused = re.match(r"# refused: (\d+) problems", text)
    try:
        config.load(tmp_path / "config.yaml", {})
        problems: tuple[Any, ...] = ()
    except config.ConfigErrors as error:
        problems = error.problems
    assert len(problems) == (int(refused[1]) if refused else 0), problems


def test_the_documented_output_is_what_check_prints():
    documented = re.search(r"^```text\n(.*?)^```$", (ROOT / "docs/policies.md").read_text(), re.MULTILINE | re.DOTALL)
    assert documented
    assert documented[1] == render(
        [policies(DOCUMENTED[0])["helpdesk"]], [DeploymentFacts("gpt-5#0:demo/gpt-5", 272_000, shared=False)]
    )
