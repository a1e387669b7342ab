"""Golden cases: a request, a policy and a model in a file, and what leaves. Adding a case is adding a file.

A case names its messages by who speaks (`- user: text`, `- calls: ['c1 read {}']`, `- result c1: text`; what has a role
is taken as it stands), and `!words 40 alpha` is alpha forty times. `expect` is what the header says, the edits as the
ledger has them, and the messages as they reach the upstream, or the refusal.

`python -m tests.test_cases` writes `expect` anew for every case, and the pages of docs/ that show one; read the
difference before you believe it.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.passage import Passed, Script, Setting, deployment, policy
from tests.talk import Wire, body, calls, result, words
from tests.test_docs import blocks

FOLDER = Path(__file__).parent / "cases" / "plans"
CASES = sorted(FOLDER.glob("*.yaml"))


class _Loader(yaml.SafeLoader):
    """YAML with `!words`."""


def _words(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    number, _, word = str(loader.construct_scalar(node)).partition(" ")
    return words(int(number), word)


_Loader.add_constructor("!words", _words)


def message(said: Mapping[str, Any]) -> Wire:
    """Read one message of a case."""
    if "role" in said:
        return dict(said)
    ((who, what),) = said.items()
    if who == "calls":
        return calls(*what)
    if who.startswith("result "):
        return result(who.removeprefix("result "), what)
    role, _, name = who.partition(" ")
    return {"role": role, "content": what} | ({"name": name} if name else {})


def read(path: Path) -> dict[str, Any]:
    case: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    return case


async def run(case: Mapping[str, Any], folder: Path) -> Passed:
    model = deployment("gpt-4o", **{"model": "openai/gpt-4o", **case.get("model", {})})
    rules = policy(yaml.safe_dump({"name": "case", **case["policy"]}))
    request = dict(case["request"])
    raw = body([message(one) for one in request.pop("messages")], **{**request, "model": "gpt-4o"})
    passed = await Setting(folder, policies=(rules,), deployments=(model,))(raw, Script())
    if passed.script.calls and passed.client.got["x-gateway-plan"].partition(";")[0] != "rewritten":
        assert passed.received == [message(one) for one in case["request"]["messages"]]
    return passed


def outcome(passed: Passed) -> dict[str, Any]:
    """Say what came of a case, as `expect` says it: edits one by one, or by remedy where the ledger has them so."""
    if not passed.script.calls:
        return {"refused": _refusal(passed)}
    edits = [_edit(*edit) for edit in passed.settled.get("edits", ())]
    edits += [_edited(remedy, *told) for remedy, told in passed.settled.get("edited", {}).items()]
    said: dict[str, Any] = {"plan": passed.client.got["x-gateway-plan"]}
    return said | ({"edits": edits} if edits else {}) | {"leaves": [_line(one) for one in passed.received]}


def _refusal(passed: Passed) -> str:
    error = passed.client.error
    told = error.get("gateway")
    if told is None:
        return f"{passed.client.status} {error['param']}: {error['message'].rpartition(' [')[0]}"
    size = f"{told['component']} needs {told['tokens']}, room {told['room']}, at {told['at']}"
    return f"{passed.client.status} {error['code']}: {size}"


def _edit(at: int, tool: str | None, remedy: str, before: int, after: int, last: int | None = None) -> str:
    where = f"messages[{at}]" if last is None else f"messages[{at}–{last}]"
    return f"{where}{f' {tool}' if tool else ''}: {remedy} {before} -> {after}"


def _edited(remedy: str, messages: int, before: int, after: int, first: int) -> str:
    return f"{remedy} {messages} from messages[{first}]: {before} -> {after}"


def _line(said: Wire) -> str:
    who = " ".join(filter(None, [said["role"], said.get("name"), said.get("tool_call_id")]))
    called = ", ".join(
        f"{one['function']['name']}({one['function']['arguments']})" for one in said.get("tool_calls", ())
    )
    content = said.get("content")
    text = (
        content
        if isinstance(content, str)
        else ""
        if content is None
        else "\n".join(one.get("text", "?") for one in content)
    )
    return f"{who}: {called}{_short(text)}"


def _short(text: str) -> str:
    """Write a word that is said again and again once, with the number."""
    return re.sub(r"(?<!\S)(\S+)(?: \1){3,}(?!\S)", lambda m: f"{m[1]} ×{len(m[0].split())}", text)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
async def test_a_case_leaves_as_its_file_says(path, tmp_path):
    case = read(path)
    assert path.read_text(encoding="utf-8").startswith("# "), "the first line says what the case shows"
    assert outcome(await run(case, tmp_path)) == case["expect"]


PAGES = FOLDER.parents[2] / "docs"
SHOWN = [block for page in sorted(PAGES.glob("*.md")) for block in blocks(page) if block.option("case") is not None]
LONGEST_LINE = 110
"""Characters of a line on a page, after which it is cut between words."""


def shown(case: Mapping[str, Any], passed: Passed, part: str) -> str:
    """Write a part of a case as the page shows it."""
    match part:
        case "came":
            lines = [f"[{at}] {_first_line(message(one))}" for at, one in enumerate(case["request"]["messages"])]
        case "left":
            lines = [_first_line(one) for one in passed.received]
        case "list":
            came = [message(one) for one in case["request"]["messages"]]
            lines = [one["content"] for one in passed.received if one["role"] == "user" and one not in came]
        case "sent":
            came = [message(one) for one in case["request"]["messages"]]
            lines = [_first_line(one) if one in came else _line(one) for one in passed.received]
        case "header":
            lines = [f"x-gateway-plan: {passed.client.got['x-gateway-plan']}"]
        case _:
            lines = outcome(passed)["edits"]
    return "".join(f"{line}\n" for line in lines)


def _first_line(said: Wire) -> str:
    line, _, more = _line(said).partition("\n")
    if len(line) > LONGEST_LINE:
        line = f"{line[:LONGEST_LINE].rpartition(' ')[0]} …"
    if not more:
        return line
    return f"{line.removesuffix(' …')} … (+{len(more.splitlines())} lines)"


@pytest.mark.parametrize("block", SHOWN, ids=str)
async def test_the_page_shows_what_a_case_really_does(block, tmp_path):
    case = read(FOLDER / f"{block.option('case')}.yaml")
    assert block.text == shown(case, await run(case, tmp_path), block.option("part") or "")


def test_the_pages_show_cases_before_and_after():
    parts = [(block.page.stem, block.option("case"), block.option("part")) for block in SHOWN]
    assert parts == [
        *[
            ("what-is-done-to-my-request", "an_agent_at_work", part)
            for part in ("came", "left", "list", "header", "edits")
        ],
        *[("what-is-kept", "an_agent_with_rules", part) for part in ("came", "sent")],
        *[("what-is-kept", "a_german_chat", part) for part in ("came", "sent")],
    ]


def write() -> None:
    """Write what came of every case into its file."""
    for path in CASES:
        with tempfile.TemporaryDirectory() as folder:
            found = outcome(asyncio.run(run(read(path), Path(folder))))
        kept = path.read_text(encoding="utf-8").partition("\nexpect:")[0].rstrip()
        told = yaml.safe_dump({"expect": found}, width=10_000, allow_unicode=True, sort_keys=False)
        path.write_text(f"{kept}\n{told}", encoding="utf-8")
        sys.stdout.write(f"{path.stem}\n{told}\n")
    for block in SHOWN:
        case = read(FOLDER / f"{block.option('case')}.yaml")
        with tempfile.TemporaryDirectory() as folder:
            text = shown(case, asyncio.run(run(case, Path(folder))), block.option("part") or "")
        info = " ".join([f"```{block.language}", *block.words])
        page = block.page.read_text(encoding="utf-8")
        block.page.write_text(page.replace(f"{info}\n{block.text}", f"{info}\n{text}"), encoding="utf-8")


if __name__ == "__main__":
    write()
