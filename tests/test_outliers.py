"""Lines unlike the others of their text weigh most, in any format and language; usual ones weigh nothing."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rewriting.results.shapes.outliers import is_log, is_records, outlier_weights
from tests.timing import within

Line = Callable[[int, random.Random], str]

LOGS: dict[str, Line] = {
    "numbered": lambda n, r: f"{n}. fetched https://cdn.example/a/{r.randint(10**6, 10**7)} 200",
    "bracketed": lambda n, r: f"[{n}/2400] Building CXX object src/module_{r.randint(1, 999)}.o",
    "klog": lambda n, r: (
        f"I0302 10:{n % 60:02d}:00.{r.randint(100, 999)} {r.randint(1, 99)} sync.go:{r.randint(9, 400)}] queue drained"
    ),
    "syslog": lambda n, r: (
        f"Mar {n % 28 + 1:2d} 10:{n % 60:02d}:01 host-{r.randint(1, 3)} cron[{r.randint(100, 9999)}]: (root) CMD (run)"
    ),
    "access log": lambda n, r: (
        f'10.0.0.{r.randint(1, 254)} - - [12/Mar/2026:10:{n % 60:02d}:01 +0] "GET /item/{r.randint(1, 9**5)} HTTP/1.1"'
        f" 200 {r.randint(100, 9999)}"
    ),
    "key=value": lambda n, r: f'time={n} level=info msg="batch done" rows={r.randint(1, 10**5)} errors=0 failed=0',
    "JSON lines": lambda n, r: json.dumps(
        {"ts": n, "level": "info", "msg": f"request {r.randint(1, 10**6)} served", "error": None}
    ),
    "CSV": lambda n, r: f"{n},{r.choice('abcdef')}{r.randint(10, 99)},{r.randint(1, 99)}.50,EUR,paid",
    "markdown": lambda n, r: f"| {n} | item {r.choice('abcdef')}{r.randint(10, 99)} | {r.randint(1, 99)}.50 | EUR |",
    "jest": lambda n, r: f"  ✓ renders the {r.choice(['list', 'page', 'menu'])} number {n} ({r.randint(1, 90)} ms)",
    "go test": lambda n, r: f"--- PASS: TestCase{n} (0.{r.randint(10, 99)}s)",
}
TROUBLE = {
    "English": "could not open settings.toml: permission denied",
    "German": "Verbindung zur Datenbank fehlgeschlagen",
    "French": "échec de la connexion à la base",
    "Spanish": "no se pudo abrir el archivo de ajustes",
    "Portuguese": "falha ao abrir o ficheiro de dados",
    "Russian": "ошибка подключения к базе данных",
    "Chinese": "数据库连接失败",
    "Japanese": "データベースに接続できません",
    "Korean": "데이터베이스 연결 오류",
    "Arabic": "فشل الاتصال بقاعدة البيانات",
    "no word of trouble": "Killed process 4711 (worker) total-vm:8123456kB",
}
COMMON = "box bricks sand yard river men work rain move stone wood glass house hill mill the of and in to was it"
WORDS = tuple(COMMON.split())


def log(name: str, lines: int = 400) -> list[str]:
    r = random.Random(name)
    return [LOGS[name](n, r) for n in range(lines)]


def prose(lines: int) -> list[str]:
    r = random.Random(1)

    def word() -> str:
        return r.choice(WORDS) if r.random() < 0.6 else "".join(r.choice("bdklmnrst") + r.choice("aeiou") for _ in "12")

    return [" ".join(word() for _ in range(r.randint(8, 20))).capitalize() + "." for _ in range(lines)]


def assert_stands_out(lines: list[str], at: int) -> None:
    weights = outlier_weights(lines)
    assert len(weights) == len(lines)
    assert weights[at] >= 0.8
    assert sum(weight >= weights[at] for weight in weights) <= max(3, len(lines) // 50)


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize("language", TROUBLE)
def test_a_report_of_trouble_stands_out_of_a_log_of_any_format(name, language):
    lines = log(name)
    lines.insert(150, TROUBLE[language])
    assert_stands_out(lines, 150)


@pytest.mark.parametrize("name", LOGS)
def test_no_line_of_a_log_without_any_stands_out(name):
    weights = outlier_weights(log(name))
    assert sum(weight > 0.5 for weight in weights) <= 4


@pytest.mark.parametrize(
    ("name", "usual", "unusual"),
    [
        ("key=value", "level=info", "level=warn"),
        ("key=value", "errors=0", "errors=3"),
        ("klog", "I0302", "E0302"),
        ("access log", '" 200 ', '" 502 '),
        ("JSON lines", '"level": "info"', '"level": "fatal"'),
        ("JSON lines", '"error": null', '"error": "reset by peer"'),
        ("CSV", ".50,", ".50,-"),
        ("markdown", ".50", "-20.50"),
        ("CSV", "paid", ""),
        ("jest", "✓", "✕"),
        ("go test", "PASS", "FAIL"),
        ("bracketed", "CXX", "Swift"),
        ("JSON lines", ', "error": null', ""),
        ("syslog", "(root) CMD (run)", "Out of memory"),
    ],
)
def test_a_rare_value_of_a_field_stands_out(name, usual, unusual):
    lines = log(name)
    if unusual == "-20.50":
        lines[150] = "| 150 | item a11 | -20.50 | EUR |"
    elif unusual == ".50,-":
        lines[150] = "150,a11,-7.50,EUR,paid"
    else:
        assert usual in lines[150]
        lines[150] = lines[150].replace(usual, unusual)
    assert_stands_out(lines, 150)


def test_a_warning_among_prose_stands_out_and_prose_does_not():
    lines = prose(2000)
    assert sum(weight > 0.5 for weight in outlier_weights(lines)) < 20
    lines.insert(700, "Warning: the river rose over the mill.")
    assert_stands_out(lines, 700)


@pytest.mark.parametrize(
    "said", ["errors=0 failed=0", "0 errors, 0 warnings", "no error", '"error": null', "ohne Fehler"]
)
def test_a_counter_of_errors_that_is_zero_is_no_error(said):
    lines = [f"job {n} went through" for n in range(40)] + [f"job {n} went through, {said}" for n in range(40, 50)]
    assert max(outlier_weights(lines)) <= 0.5


@pytest.mark.parametrize("said", ["exit code 1", "exited with 137", '"exit_code": 2', "exit status 127"])
def test_an_exit_that_failed_stands_out_and_one_that_did_not_does_not(said):
    lines = [f"task {n} done, {said[:-1].rstrip('0123456789')}0" for n in range(60)]
    assert max(outlier_weights(lines)) < 0.5
    lines[30] = f"task 30 done, {said}"
    assert_stands_out(lines, 30)


def test_a_traceback_is_one_block():
    block = [
        "Traceback (most recent call last):",
        '  File "/srv/app/main.py", line 10, in run',
        "    start(worker)",
        '  File "/srv/app/worker.py", line 7, in start',
        "    raise Stopped(job)",
        "app.worker.Stopped: job 7",
    ]
    lines = log("syslog")
    lines[100:100] = block
    assert min(outlier_weights(lines)[100:106]) >= 0.9


def test_one_test_that_failed_stands_out_among_dots():
    lines = ["." * 60 for _ in range(50)]
    lines[20] = "." * 33 + "F" + "." * 26
    assert_stands_out(lines, 20)
    named = [f"tests/test_{n}.py {'.' * (5 + n % 30)} [{n // 3:3d}%]" for n in range(300)]
    named[120] = "tests/test_120.py ......F.... [ 40%]"
    assert_stands_out(named, 120)


def test_a_number_far_larger_than_the_others_of_its_field_stands_out():
    lines = [f"query {n} took {7 + n % 90} ms" for n in range(300)]
    lines[100] = "query 100 took 48211 ms"
    assert_stands_out(lines, 100)


@pytest.mark.parametrize("name", LOGS)
def test_a_run_of_like_lines_is_a_log(name):
    assert is_log(log(name))


def test_prose_is_no_log():
    assert not is_log(prose(60))
    assert not is_log(["Dear all,", "", "we meet at ten.", "", "Yours"])


def test_objects_and_rows_are_records():
    assert is_records(log("JSON lines"))
    assert is_records(log("CSV"))
    assert not is_records(log("bracketed"))


@given(st.lists(st.text(max_size=40), max_size=30))
def test_every_line_always_gets_a_weight_between_nothing_and_all(lines):
    weights = outlier_weights(lines)
    assert len(weights) == len(lines)
    assert all(0.0 <= weight <= 1.0 for weight in weights)


HOSTILE = {
    "digits": "1" * 1_000_000,
    "hex": "deadbeef" * 100_000,
    "numbers": "\n".join("1-2:3.4," * 200 for _ in range(600)),
    "commas": "," * 1_000_000,
    "errors": "\n".join(["error failed exit code 1 no error errors=0"] * 20_000),
    "signs": "\n".join("%$&!" * 250 for _ in range(1000)),
    "indents": "\n".join(" " * (n % 300) + "error" for n in range(20_000)),
    "different": "\n".join(f"{n:x}{'abcdefghij'[n % 10]} {n * 7919:o}z" for n in range(50_000)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_takes_bounded_time(name):
    with within(20.0):
        outlier_weights(HOSTILE[name].split("\n"))
        is_log(HOSTILE[name].split("\n"))
