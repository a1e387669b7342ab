"""Limits: which apply to a request, and in which windows they count."""

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Config, ConfigErrors, load
from gateway.money.limits import Limits, MissingUser, Parties, calendar_span, rolling_span

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC).timestamp()
BOT = Parties("bot", "support", "ann", ("batch", "night"), "gpt-5")


def config(folder: Path, more: str = "", policy: str = "") -> Config:
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "policies" / "own.yaml").write_text(f"name: own\n{policy}\n", encoding="utf-8")
    models = "model_list: [{model_name: gpt-5, litellm_params: {model: demo/demo}}]\ndefault_policy: own\n"
    (folder / "config.yaml").write_text(models + more, encoding="utf-8")
    return load(folder / "config.yaml", {})


def accounts(folder: Path, more: str = "", policy: str = "", parties: Parties = BOT) -> dict[str, int | None]:
    limits = Limits.of(config(folder, more, policy))
    return {one.charge.account: one.charge.limit for one in limits.under(parties, "own", NOW)}


def moment(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def test_a_configuration_without_limits_has_none(tmp_path):
    assert not Limits.of(config(tmp_path))


def test_each_place_has_its_own_party(tmp_path):
    more = """
budgets: [{max_budget: 100}]
teams: {support: {budgets: [{max_budget: 10}], limits: {rpm_limit: 60}}}
keys: [{name: bot, sha256: "%s", team: support, budgets: [{max_budget: 1, budget_duration: 1d}]}]
""" % ("0" * 64)
    assert accounts(tmp_path, more) == {
        "$gateway|1mo|UTC": 100 * 10**9,
        "$team=support|1mo|UTC": 10 * 10**9,
        "requests:team=support": 60,
        "$key=bot|1d|UTC": 10**9,
    }


def test_a_policy_counts_each_party_that_it_names(tmp_path):
    policy = """budgets:
  - {per: team, max_budget: 500, soft_budget: 400}
  - {per: user, max_budget: 0.25, budget_duration: 1d, time_zone: Europe/Berlin}
  - {per: tag, max_budget: 3, only: [night]}
  - {per: model, max_budget: 4, window: rolling}
limits: {rpm_limit: 600, tpm_limit: 2M, max_parallel_requests: 50}"""
    assert accounts(tmp_path, policy=policy) == {
        "$team=support|1mo|UTC": 500 * 10**9,
        "$team=support/user=ann|1d|Europe/Berlin": 250_000_000,
        "$team=support/tag=night|1mo|UTC": 3 * 10**9,
        "$team=support/model=gpt-5|1mo|rolling": 4 * 10**9,
        "requests:key=bot": 600,
        "tokens:key=bot": 2_000_000,
        "parallel:key=bot": 50,
    }


def test_one_account_is_counted_once_at_the_smaller_limit(tmp_path):
    more = "teams: {support: {budgets: [{max_budget: 10}]}}"
    found = accounts(tmp_path, more, "budgets: [{per: team, max_budget: 5}]")
    assert found == {"$team=support|1mo|UTC": 5 * 10**9}


def test_a_request_without_a_user_is_skipped_or_refused(tmp_path):
    nobody = BOT._replace(user=None)
    assert accounts(tmp_path, policy="budgets: [{per: user, max_budget: 5}]", parties=nobody) == {}
    with pytest.raises(MissingUser):
        accounts(tmp_path, policy="budgets: [{per: user, max_budget: 5, without_user: refuse}]", parties=nobody)


def test_a_users_name_cannot_reach_another_account(tmp_path):
    policy = "budgets: [{per: user, max_budget: 5}]"
    [account] = accounts(tmp_path, policy=policy, parties=BOT._replace(user="ann|1mo|UTC/x"))
    assert account == "$team=support/user=ann%7C1mo%7CUTC%2Fx|1mo|UTC"


def test_an_alias_is_counted_as_the_model_that_is_meant(tmp_path):
    more = "aliases: {best: gpt-5}\nbudgets: [{per: model, max_budget: 5}]"
    assert list(accounts(tmp_path, more, parties=BOT._replace(model="best"))) == ["$model=gpt-5|1mo|UTC"]


@pytest.mark.parametrize(
    "written",
    ["{max_budget: 0}", "{max_budget: -1}", "{max_budget: .nan}", "{max_budget: 1e12}", "{budget_duration: 1d}",
     "{max_budget: 5, soft_budget: 6}", "{max_budget: 5, budget_duration: 1ms}", "{max_budget: 5, budget_duration: 0d}",
     "{max_budget: 5, budget_duration: 99999999w}", "{max_budget: 5, time_zone: Mars/Olympus}",
     "{max_budget: 5, time_zone: ../../etc/passwd}", "{max_budget: 0.0000000001}", "{max_budget: yes}"],
)  # fmt: skip
def test_what_is_no_budget_is_refused(tmp_path, written):
    with pytest.raises(ConfigErrors):
        config(tmp_path, f"budgets: [{written}]")


def test_months_end_where_their_zone_says():
    for zone, start in (("UTC", "2026-03-01"), ("Pacific/Auckland", "2026-03-01"), ("America/New_York", "2026-03-01")):
        span = calendar_span("1mo", zone, NOW)
        assert (span.bucket, span.ends) == (moment(start, zone), moment("2026-04-01", zone))
    assert calendar_span("1mo", "Pacific/Auckland", moment("2026-02-28T12:00")).bucket == moment("2026-02-28T11:00")


def test_a_day_has_23_or_25_hours_where_clocks_change():
    short = calendar_span("1d", "Europe/Berlin", moment("2026-03-29T12:00"))
    long = calendar_span("1d", "Europe/Berlin", moment("2026-10-25T12:00"))
    assert (short.ends - short.bucket, long.ends - long.bucket) == (23 * 3600, 25 * 3600)
    for hour in range(23):
        assert calendar_span("1d", "Europe/Berlin", short.bucket + hour * 3600) == short


def test_a_week_begins_on_monday():
    assert calendar_span("1w", "UTC", NOW).bucket == moment("2026-03-09")


def test_a_rolling_window_reaches_back_its_whole_length():
    span = rolling_span("1h", 10_000.0)
    assert (span.bucket, span.first, span.ends) == (9_960, 6_360, 10_020)


ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kathmandu", "Pacific/Apia", "Africa/Cairo"])
PERIODS = st.sampled_from(["1s", "30s", "1m", "1h", "5h", "1d", "7d", "30d", "1w", "2w", "1mo", "3mo", "12mo"])


@given(PERIODS, ZONES, st.floats(0, 4e9))
def test_every_moment_lies_in_its_window(period, zone, at):
    span = calendar_span(period, zone, at)
    assert span.bucket == span.first <= at < span.ends
    assert calendar_span(period, zone, span.bucket) == span
    assert calendar_span(period, zone, span.ends - 1) == span
    assert calendar_span(period, zone, span.ends).bucket == span.ends


@given(PERIODS, ZONES, st.one_of(st.floats(allow_nan=False), st.just(1e300)))
def test_no_moment_is_too_far_away(period, zone, at):
    assert calendar_span(period, zone, at).bucket <= calendar_span(period, zone, at).ends
    assert rolling_span(period, at).first <= rolling_span(period, at).bucket
