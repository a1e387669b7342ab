"""LiteLLM configurations as people have them: taken over key by key, and each entry reaches whom its owner meant."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from click.testing import CliRunner, Result

from gateway.app import create_app
from gateway.cli import main
from gateway.config import Config, load
from gateway.config.yaml import parse_yaml
from gateway.money import ledger
from gateway.money.prices.table import PriceBook
from gateway.packaged_data import price_table
from gateway.routing.catalogue import known_providers
from gateway.routing.catalogue.importing import imported
from tests.providers.accounts import service_account
from tests.providers.everybody import Everybody, certify, everybody

CASES = sorted((Path(__file__).parent / "cases/litellm").glob("*.txt"))


def sections(case: Path) -> dict[str, str]:
    parts = re.split(r"^-- (.+) --\n", case.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def environment(parts: Mapping[str, str]) -> dict[str, str]:
    return dict(line.split("=", 1) for line in parts["environment"].splitlines())


def importing(folder: Path, text: str, environ: Mapping[str, str], *more: str) -> Result:
    (folder / "litellm.yaml").write_text(text)
    clean: dict[str, str | None] = {name: None for name in os.environ if name.endswith(("_KEY", "_TOKEN"))}
    words = ["import", "litellm", str(folder / "litellm.yaml"), *more]
    return CliRunner().invoke(main, words, env={**clean, **environ}, catch_exceptions=False)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_a_file_becomes_ours_and_the_fate_of_each_of_its_keys_is_told(case: Path, tmp_path: Path):
    parts = sections(case)
    done = importing(tmp_path, parts["litellm.yaml"], environment(parts))
    assert done.exit_code == 0, done.output
    fates = done.stderr.replace(f"{tmp_path}/", "")
    if os.environ.get("GOLDEN") == "write":
        kept = case.read_text().split("-- config.yaml --\n")[0]
        case.write_text(f"{kept}-- config.yaml --\n{done.stdout}-- fates --\n{fates}")
        parts = sections(case)
    assert done.stdout == parts["config.yaml"]
    assert fates == parts["fates"]
    assert "left to do" not in fates


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_no_key_of_a_file_is_passed_over(case: Path):
    parts = sections(case)
    document = parse_yaml(parts["litellm.yaml"], case)
    found = imported(document, PriceBook.read(price_table()), known_providers(), environment(parts))
    told = {one.key_path for one in found.told if not one.message.startswith("api_key added")}
    within = {path[:length] for path in document.lines for length in range(len(path))}
    leaves = [path for path in document.lines if path not in within]
    assert [path for path in leaves if not any(path[:length] in told for length in range(1, len(path) + 1))] == []


def test_a_model_that_only_the_environment_names_is_kept(tmp_path: Path):
    text = "model_list: [{model_name: m, litellm_params: {model: os.environ/MODEL, api_key: os.environ/K}}]\n"
    done = importing(tmp_path, text, {})
    assert "model: os.environ/MODEL" in done.stdout
    assert "left" not in done.stderr
    known = importing(tmp_path, text.replace(", api_key: os.environ/K", ""), {"MODEL": "groq/x"})
    assert "api_key: os.environ/GROQ_API_KEY" in known.stdout


def test_a_price_that_is_none_is_left_to_be_mended_by_hand(tmp_path: Path):
    text = "model_list: [{model_name: m, litellm_params: {model: gpt-4o}, model_info: {input_cost_per_token: cheap}}]\n"
    done = importing(tmp_path, text, {"OPENAI_API_KEY": "k"})
    assert done.exit_code == 0
    assert "left to do by hand:\nconfig.yaml:" in done.stderr
    assert "'cheap' is not a price" in done.stderr


def test_what_is_no_litellm_file_and_what_is_in_the_way_is_refused(tmp_path: Path):
    assert importing(tmp_path, "a: 1\n", {}).exit_code == 2
    text = "model_list: [{model_name: m, litellm_params: {model: demo/demo}}]\n"
    there = tmp_path / "config.yaml"
    assert importing(tmp_path, text, {}, "--output", str(there)).exit_code == 0
    assert there.read_text().startswith("# What litellm.yaml says")
    again = importing(tmp_path, text, {}, "--output", str(there))
    assert (again.exit_code, "not there yet" in again.stderr) == (2, True)


# Each entry reaches whom it means


@dataclass(frozen=True, slots=True)
class Meant:
    """One line of `requests`."""

    case: str
    note: str
    """`unpriced`, or nothing."""
    label: str
    asks: str
    """What a client asks for: not the name in the list where that has asterisks."""
    url: str
    header: str
    model: str
    nano: str

    def __str__(self) -> str:
        return f"{self.case}-{self.asks}"


def meant() -> list[Meant]:
    found = []
    for case in CASES:
        for line in sections(case)["requests"].splitlines():
            what, url, header, model, nano = (part.strip() for part in line.split(" | "))
            note, _, rest = what.rpartition(" ") if what.startswith("unpriced ") else ("", "", what)
            if " = " in what:
                rest = what
            label, _, asks = rest.partition(" = ")
            found.append(Meant(case.stem, note, label, asks or label.rpartition("#")[0], url, header, model, nano))
    return found


HOSTS = sorted({host for one in meant() if (host := urlsplit(one.url).hostname) is not None})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The files as they are taken over."""
    out = {}
    for case in CASES:
        folder = tmp_path_factory.mktemp(case.stem)
        (folder / "config.yaml").write_text(sections(case)["config.yaml"])
        out[case.stem] = folder / "config.yaml"
    return out


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for every host of the cases."""
    folder = tmp_path_factory.mktemp("certificate")
    certify(folder, HOSTS)
    return folder


@pytest.fixture
async def far(certified: Path) -> AsyncIterator[Everybody]:
    async with everybody(certified) as one:
        yield one


def alone(config: Config, label: str) -> Config:
    """Leave one entry of a configuration, by its deployment's label."""
    name, _, rest = label.rpartition("#")
    position = int(rest.partition(":")[0])
    entry = [one for one in config.models if one.model_name == name][position]
    return replace(config, models=(entry,), fallbacks={}, aliases={}, keys=())


@asynccontextmanager
async def up(config: Config) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(config)
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        yield client


# pydantic, about a type of litellm's own that it meets at the first answer of Cohere's.
@pytest.mark.filterwarnings("ignore:Items? .* on TypedDict class:UserWarning")
@pytest.mark.parametrize("one", meant(), ids=str)
async def test_one_request_of_each_entry_reaches_its_path_with_its_key_model_and_price(
    one: Meant, made: Mapping[str, Path], far: Everybody, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    case = next(case for case in CASES if case.stem == one.case)
    environ = environment(sections(case))
    if "vertex_ai/" in one.label:  # named by the file, or found where Google's library looks by itself
        account = tmp_path / "account.json"
        account.write_text(service_account(f"{far.url}/token"))
        environ |= {"GCP_CREDENTIALS": str(account), "GOOGLE_APPLICATION_CREDENTIALS": str(account)}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)  # a provider's own library reads it there
    reached = {"HTTPS_PROXY": far.proxy, "HTTP_PROXY": far.proxy, "SSL_CERT_FILE": str(far.certificate)}
    config = load(made[one.case], {**environ, **reached}, to_serve=False)
    config = replace(
        alone(config, one.label),
        ledger=replace(config.ledger, dir=tmp_path / "ledger"),
        state=replace(config.state, dir=tmp_path / "state", redis=None),
        unpriced="allow" if one.note == "unpriced" else "refuse",
    )
    async with up(config) as client:
        body = {"model": one.asks, "messages": [{"role": "user", "content": "hello"}]}
        answer = await client.post("/v1/chat/completions", json=body)
    _judge(one, answer, far, [row for row in ledger.rows(config.ledger.dir) if row["event"] == "settled"])


def _judge(one: Meant, answer: httpx.Response, far: Everybody, settled: Sequence[Mapping[str, Any]]) -> None:
    """Compare what came of one request with what was meant."""
    assert answer.status_code == 200, answer.text
    asked = far.received[-1]
    assert asked.url == one.url
    name, _, value = one.header.partition(": ")
    if one.header == "-":
        assert not asked.headers.keys() & {"authorization", "x-api-key", "api-key"}
    else:
        assert asked.headers[name].startswith(value)
    if one.model != "-":
        assert asked.body["model"] == one.model
    assert [row["cost_nanousd"] for row in settled] == [None if one.nano == "-" else int(one.nano)]


async def test_what_an_entry_says_of_its_requests_is_in_them(made: Mapping[str, Path], far: Everybody, tmp_path: Path):
    config = load(made["the_example_that_comes_with_it"], {"HTTPS_PROXY": far.proxy, "OPENAI_API_KEY": "k",
                  "SSL_CERT_FILE": str(far.certificate)}, to_serve=False)  # fmt: skip
    config = replace(alone(config, "tuned#0:openai/gpt-4o"), ledger=replace(config.ledger, dir=tmp_path / "ledger"),
                     state=replace(config.state, dir=tmp_path / "state", redis=None))  # fmt: skip
    async with up(config) as client:
        asked = {"model": "tuned", "messages": [{"role": "user", "content": "x"}], "seed": 1, "user": "ines"}
        await client.post("/v1/chat/completions", json=asked)
    assert far.received[-1].body == {
        "model": "gpt-4o", "messages": asked["messages"], "seed": 1, "temperature": 0.1, "store": False
    }  # fmt: skip
