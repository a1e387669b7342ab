"""Ask every cell of the matrix through a gateway, and judge what came of it."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

import anthropic
import openai

from tests.contract.running import Gateway, start_gateway, write_setup
from tests.matrix import sdk_types
from tests.matrix.asking import FINISHES, SHAPES, Heard, Tee, asker
from tests.matrix.features import (
    COMPLETION,
    FEATURES,
    PIXEL,
    PROMPT,
    RESULTS,
    SIGNATURE,
    STREAMS,
    THOUGHTS,
    Said,
)
from tests.matrix.places import LOCAL, ROWS, Row
from tests.matrix.upstream import Arrival, Providers
from tests.providers import accounts
from tests.providers.everybody import behind_a_proxy, certify

AT_ONCE: Final = 6
BOOKED_SECONDS: Final = 0.3
"""How long the last entry may take behind its answer."""
State = Literal["works", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One shape at one provider, by one feature."""

    row: Row
    shape: str
    feature: str

    def named(self, *, stream: bool) -> str:
        """Return the name by which its requests are known."""
        return f"{self.row.slug}.{self.shape}.{self.feature}{'.stream' if stream else ''}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a cell."""

    cell: Cell
    state: State
    faults: tuple[str, ...] = ()
    """Of what failed: what is wrong. Of what is refused: the provider's documentation."""


def cells(rows: Sequence[Row] = ROWS, shapes: Sequence[str] = SHAPES, features: Iterable[str] = FEATURES) -> list[Cell]:
    """List the cells of a part of the matrix."""
    return [Cell(row, shape, feature) for row in rows for shape in shapes for feature in features]


@dataclass(frozen=True)
class Setting:
    """The programs that a cell needs."""

    providers: Providers
    gateway: Gateway


@asynccontextmanager
async def setting(folder: Path, rows: Sequence[Row] = ROWS) -> AsyncIterator[Setting]:
    """Start the providers, and a gateway whose list names them."""
    hosts = sorted({urlsplit(url).netloc for row in rows for place in row.places for url in place.urls})
    await asyncio.to_thread(certify, folder, [host for host in hosts if host != urlsplit(LOCAL).netloc])
    async with behind_a_proxy(Providers(), folder) as providers:
        account = accounts.service_account(f"{providers.url}/token") if any(_is_vertex(row) for row in rows) else ""
        settings = {
            "server": {"host": "127.0.0.1", "port": 0, "workers": 1},
            "model_list": [_entry(row, providers.url, account) for row in rows],
            "unpriced": "allow", "state": {"dir": "state"}, "ledger": {"dir": "ledger"},
        }  # fmt: skip
        path = write_setup(folder, settings, {})
        trusted = str(providers.certificate)
        gateway = await asyncio.to_thread(
            lambda: start_gateway(path, HTTPS_PROXY=providers.proxy, NO_PROXY="127.0.0.1", SSL_CERT_FILE=trusted)
        )
        try:
            yield Setting(providers, gateway)
        finally:
            await asyncio.to_thread(gateway.program.stop)


def _is_vertex(row: Row) -> bool:
    return str(row.params["model"]).startswith("vertex_ai/")


def _entry(row: Row, local: str, account: str) -> dict[str, Any]:
    params = {name: held.replace(LOCAL, local) if isinstance(held, str) else held for name, held in row.params.items()}
    if _is_vertex(row):
        params["vertex_credentials"] = account
    elif "{key}" in row.auth[1]:
        params["api_key"] = row.key
    entry: dict[str, Any] = {"model_name": row.slug, "litellm_params": params}
    return entry | ({"model_info": dict(row.info)} if row.info else {})


async def outcomes(at: Setting, listed: Sequence[Cell], sdk: Path | None = None) -> list[Outcome]:
    """Ask the cells, some at once, and judge them. `sdk`: a Python that has the SDKs that are not installed here."""
    free = asyncio.Semaphore(AT_ONCE)
    with Judge(sdk) as judge:

        async def one(cell: Cell) -> Outcome:
            async with free:
                return await outcome(at, cell, judge)

        found = list(await asyncio.gather(*[one(cell) for cell in listed]))
    await asyncio.sleep(BOOKED_SECONDS)
    rows = [row for row in await asyncio.to_thread(at.gateway.rows) if row["event"] == "settled"]
    return [booked(one, rows) for one in found]


async def outcome(at: Setting, cell: Cell, judge: Judge) -> Outcome:
    """Ask one cell, whole and as a stream."""
    faults: list[str] = []
    for stream in STREAMS.get(cell.feature, (False, True)):
        name = cell.named(stream=stream)
        async with Tee() as tee:
            refusal, found = await _asked(at, cell, name, tee, stream=stream)
        if refusal is not None:
            return Outcome(cell, "refused", (refusal,))
        found += arrived(cell, at.providers.arrivals.get(name, []), judge)
        for direction, value in tee.answers:
            if "error" not in value or value.get("object") == "response":
                found += [f"the answer: {fault}" for fault in judge.faults(cell.shape, direction, value)]
        faults += [f"streamed: {fault}" if stream else fault for fault in found]
    return Outcome(cell, "failed" if faults else "works", tuple(dict.fromkeys(faults)))


async def _asked(at: Setting, cell: Cell, name: str, tee: Tee, *, stream: bool) -> tuple[str | None, list[str]]:
    """Ask turn by turn; return the documentation of a refusal, and what is wrong with the answers."""
    faults: list[str] = []
    client = asker(cell.shape, at.gateway.root, tee)
    request = client.request(cell.feature, name, cell.row.slug)
    try:
        for number, expected in enumerate(FEATURES[cell.feature], 1):
            heard = await client.ask(request, stream=stream)
            faults += [f"turn {number}: {fault}" for fault in judged(cell, expected, heard)]
            request = client.answered(request, heard)
    except (openai.APIStatusError, anthropic.APIStatusError) as error:
        refusal = cell.row.refuses.get(cell.feature)
        if refusal is not None and error.status_code == refusal[0]:
            return refusal[2], []
        faults.append(f"status {error.status_code}: {error.message:.400}")
    except Exception as error:  # noqa: BLE001  # whatever an SDK raises over an answer is a fault of that answer
        faults.append(f"{type(error).__name__}: {error!s:.400}")
    return None, faults


def booked(one: Outcome, rows: Sequence[Mapping[str, Any]]) -> Outcome:
    """Return an outcome with what the books say otherwise of its last answers."""
    if one.state != "works":
        return one
    cell, faults = one.cell, list(one.faults)
    said = FEATURES[cell.feature][-1]
    for stream in STREAMS.get(cell.feature, (False, True)):
        entered = [row for row in rows if row.get("user") == cell.named(stream=stream)]
        if len(entered) != len(FEATURES[cell.feature]):
            faults.append(f"{len(entered)} entries in the books")
            continue
        row = entered[-1]
        wanted = {"prompt_tokens": PROMPT, "completion_tokens": COMPLETION}
        wanted |= {"cached_tokens": said.cached} if cell.row.counts_cached else {}
        wanted |= {"cache_write_tokens": said.written} if cell.row.counts_written else {}
        found = {name: row.get(name) or 0 for name in wanted}
        if found != wanted or row.get("estimated"):
            faults.append(f"the books say {found}{', estimated' if row.get('estimated') else ''}")
    return replace(one, state="failed" if faults else "works", faults=tuple(faults))


# ---------------------------------------------------------------- what the client has


def judged(cell: Cell, expected: Said, heard: Heard) -> Iterator[str]:
    """Yield what of an answer is not what the provider said."""
    row = cell.row
    if heard.text != expected.text:
        yield f"text {heard.text!r:.80}"
    if cell.shape in row.shows_reasoning and heard.reasoning.split() != expected.reasoning.split():
        yield f"reasoning {heard.reasoning!r:.80}"
    given = [(name, arguments) for _, name, arguments in heard.calls]
    if given != [(call.name, dict(call.arguments)) for call in expected.calls]:
        yield f"calls {given!r:.200}"
    ids = [call_id for call_id, _, _ in heard.calls]
    if len(set(ids)) != len(ids) or not all(ids):
        yield f"ids of calls {ids}"
    if heard.finish != FINISHES[cell.shape][bool(expected.calls)]:
        yield f"ended by {heard.finish!r}"
    if (heard.prompt, heard.completion) != (PROMPT, COMPLETION):
        yield f"usage {heard.prompt}, {heard.completion}"
    if row.counts_cached and heard.cached != expected.cached:
        yield f"cached tokens {heard.cached}"
    if row.counts_written and heard.written not in (None, expected.written):
        yield f"tokens written to the cache {heard.written}"
    counts = row.counts_reasoning and cell.shape != "messages"  # which has no member for them
    if counts and (heard.reasoned or 0) != expected.reasoned:
        yield f"reasoning tokens {heard.reasoned}"


# ---------------------------------------------------------------- what the provider was asked

_ASKED: Final = {"images": re.escape(PIXEL), "structured": "colour_of_the_sky"}
"""By feature: what a request holds, as a pattern."""


def arrived(cell: Cell, arrivals: Sequence[Arrival], judge: Judge) -> Iterator[str]:
    """Yield what of the requests that reached the provider is not as its documentation says."""
    if not arrivals:
        yield "nothing reached the provider"
    for number, one in enumerate(arrivals):
        if one.place is None or one.row is not cell.row:
            yield f"asked at {one.url}"
            continue
        body = {"model": "in the path", **one.body} if one.place.types == "messages" else one.body
        yield from (f"the request: {fault}" for fault in judge.faults(one.place.types, "request", body, cell.row))
        pattern = cell.row.reasons if cell.feature == "reasoning" else _ASKED.get(cell.feature, "")
        text = one.raw.decode()
        if re.search(pattern, text) is None:
            yield f"request {number + 1} does not hold {pattern}"
        if number and cell.feature in ("tools", "reasoning"):
            yield from _sent_back(cell, text, rethinks=cell.row.rethinks and one.place.types != "responses")


def _sent_back(cell: Cell, text: str, *, rethinks: bool) -> Iterator[str]:
    for call in FEATURES[cell.feature][0].calls:
        if RESULTS[call.name] not in text:
            yield f"the result of {call.name} did not arrive"
        if next(iter(call.arguments.values())) not in text:
            yield f"the call of {call.name} did not arrive"
    if cell.feature == "reasoning" and cell.row.signs and SIGNATURE not in text:
        yield "the signature of the reasoning did not arrive"
    if cell.feature == "reasoning" and rethinks and THOUGHTS not in text:
        yield "the thoughts did not arrive whole"


def of_forms(judge: Judge, rows: Sequence[Row] = ROWS) -> Iterator[str]:
    """Yield what the SDKs say against the answers that the providers are scripted to give."""
    for row in rows:
        for place in row.places:
            body = {"model": "m", "stream_options": {"include_usage": True}}
            for said in [said for turns in FEATURES.values() for said in turns]:
                events = () if place.encoding == "frames" else place.form.stream(body, said)
                told = [("answer", place.form.whole(body, said)), *(("event", event) for event in events)]
                for direction, value in told:
                    yield from (
                        f"{row.slug}, {direction}: {one}" for one in judge.faults(place.types, direction, value)
                    )


class Judge:
    """Holds requests and answers against the SDKs: those that are installed here, and those that another Python has."""

    def __init__(self, sdk: Path | None = None) -> None:
        self._sdk, self._other = sdk, None  # type: Path | None, subprocess.Popen[str] | None

    def __enter__(self) -> Self:
        if self._sdk is not None:
            command = [str(self._sdk), str(Path(sdk_types.__file__))]
            self._other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._other is not None:
            self._other.communicate()

    def faults(self, types: str, direction: str, value: Any, row: Row | None = None) -> list[str]:
        """List the faults of a request, an answer or an event; none where nobody has the SDK."""
        extras = {} if row is None else row.extras
        if sdk_types.is_here(types):
            return sdk_types.faults(types, direction, value, extras)
        if self._other is None:
            return []
        assert self._other.stdin is not None
        assert self._other.stdout is not None
        print(json.dumps([types, direction, value, extras]), file=self._other.stdin, flush=True)
        line = self._other.stdout.readline()
        return list(json.loads(line)) if line else [f"the SDK of {types} cannot be asked"]


def has_openssl() -> bool:
    """Whether a certificate can be made."""
    return shutil.which("openssl") is not None
