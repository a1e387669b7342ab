"""Limits of money and rates: which of them a request is under, and the windows they count in.

Pure: no clock, no store. A limit's account is named by what it counts, not by where it is declared: the same party's
spend in the same kind of window is counted once, and the smallest limit on it holds.

For the spend, holds, limit and reset of a party: `Limits.under(parties, policy, moment)` gives what applies to a
request, and `Limits.binding(…)` all that binds a caller: each an `Applied` with its charge (`charge.limit`), where it
was declared, and when its window ends. The balances of the charges come from `state.counting`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from gateway.config import Config
from gateway.config.limits import Budget, RateLimit, Scope, period_parts
from gateway.config.litellm_keys import RATES
from gateway.state.counters import MONEY, AccountCharge, Kind

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "mo": 30 * 86_400}
"""Of a rolling window a month is 30 days."""
_ROLLING_BUCKETS: Final = 60
_QUARTER: Final = 900
"""Every midnight of every zone of today begins a quarter of an hour."""
_EARLIEST, _LATEST = 0.0, 250_000_000_000.0
"""Moments that calendars are asked about: 1970 to 9892."""
_MOST_REMEMBERED: Final = 10_000
MINUTE: Final = "1m"


class Parties(NamedTuple):
    """The parties of one request."""

    key: str
    team: str
    user: str | None = None
    tags: tuple[str, ...] = ()
    model: str = ""


class LimitWindow(NamedTuple):
    """A window at a moment."""

    bucket: int
    first: int
    ends: int
    """When spend begins anew; of a rolling window, when the oldest of it may leave."""


@dataclass(frozen=True, slots=True)
class LimitRule:
    """One limit as it was declared, for one kind of amount."""

    kind: Kind
    per: Scope
    within: str
    """The party that it is declared for, in front of the account's name: `team=support`. Empty = everybody."""
    place: str
    """Where it is declared, in words."""
    period: str
    hard: int | None
    soft: int | None = None
    is_rolling: bool = False
    zone: str = "UTC"
    only: frozenset[str] | None = None
    needs_user: bool = False

    def span(self, at: float) -> LimitWindow:
        """Return the window at a moment."""
        return rolling_span(self.period, at) if self.is_rolling else calendar_span(self.period, self.zone, at)


@dataclass(frozen=True, slots=True)
class Applied:
    """A limit as it applies to one request at one moment."""

    rule: LimitRule
    party: str
    """The party in words, as people and metrics name it: `team=support`, `gateway`."""
    charge: AccountCharge
    soft: int | None
    ends: int

    @property
    def name(self) -> str:
        """Its short name in headers: `user-1d`."""
        return f"{self.rule.per}-{self.rule.period}" if self.charge.kind == "money" else f"{self.rule.per}-rate"

    def moved_to(self, at: float) -> Applied:
        """Return the same limit in the window of another moment."""
        moved = _apply(self.rule, self.party, at)
        return replace(moved, soft=self.soft)


class MissingUser(Exception):
    """A limit for each user is declared to refuse requests that name none."""


@dataclass(frozen=True, slots=True)
class Limits:
    """All limits of a configuration."""

    everywhere: tuple[LimitRule, ...] = ()
    by_policy: Mapping[str, tuple[LimitRule, ...]] = field(default_factory=dict)
    by_team: Mapping[str, tuple[LimitRule, ...]] = field(default_factory=dict)
    by_key: Mapping[str, tuple[LimitRule, ...]] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    of_deployments: bool = False
    """Whether any deployment has rates."""
    _remembered: dict[tuple[Parties, str], tuple[float, float, tuple[Applied, ...]]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @classmethod
    def of(cls, config: Config) -> Limits:
        """Gather what a configuration declares."""
        return cls(
            everywhere=_rules(config.budgets, config.limits, "gateway", "", "config.yaml"),
            by_policy={
                policy.name: tuple(
                    rule
                    for within in ("key", "team")
                    for rule in _rules(policy.budgets, policy.limits, "key", within, f"policy {policy.name}")
                    if (rule.per == "key") == (within == "key")
                )
                for policy in config.policies.values()
            },
            by_team={
                name: _rules(team.budgets, team.limits, "team", "team", f"team {name}")
                for name, team in config.teams.items()
            },
            by_key={key.name: _rules(key.budgets, key.limits, "key", "key", f"key {key.name}") for key in config.keys},
            aliases=config.aliases,
            of_deployments=any(one.params.get(key) for one in config.models for key in RATES),
        )

    def __bool__(self) -> bool:
        """Say whether anything is limited at all."""
        return self.of_deployments or any(True for _ in self.rules())

    def under(self, parties: Parties, policy: str, at: float) -> tuple[Applied, ...]:
        """Return what applies to a request at a moment. Raises MissingUser. `policy` is the policy's name."""
        remembered = self._remembered.get((parties, policy))
        if remembered is not None and remembered[0] <= at < remembered[1]:
            return remembered[2]
        applied = _applied(self._rules_of(parties, policy), self._resolved(parties), at)
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.clear()
        until = min((one.ends for one in applied), default=at)
        self._remembered[parties, policy] = (at, until, applied)
        return applied

    def binding(self, parties: Parties, policy: str, models: Iterable[str], at: float) -> tuple[Applied, ...]:
        """Return all that binds a caller at a moment, whatever it asks for: the limits of a model for each of `models`.

        `policy` is the policy's name. A limit for each user binds a caller that names none in nothing.
        """
        rules = [replace(rule, needs_user=False) for rule in self._rules_of(parties, policy)]
        found = list(_applied([rule for rule in rules if rule.per != "model"], parties, at))
        if by_model := [rule for rule in rules if rule.per == "model"]:
            for model in dict.fromkeys(self.aliases.get(name, name) for name in models):
                found += _applied(by_model, parties._replace(model=model), at)
        return tuple(found)

    def money(self, parties: Parties, policy: str, at: float) -> Iterator[AccountCharge]:
        """Yield the charges of money for a request of the past, as its entry tells of it."""
        yield from (one.charge for one in self.of_money(parties, policy, at))

    def of_money(self, parties: Parties, policy: str, at: float) -> tuple[Applied, ...]:
        """Return the limits of money for a request of the past."""
        money = [replace(rule, needs_user=False) for rule in self._rules_of(parties, policy) if rule.kind == "money"]
        return _applied(money, self._resolved(parties), at)

    def rules(self) -> Iterator[LimitRule]:
        """Yield every rule, wherever it is declared."""
        yield from self.everywhere
        for group in (self.by_policy, self.by_team, self.by_key):
            yield from (rule for rules in group.values() for rule in rules)

    def earliest(self, now: float) -> float:
        """Return the moment before which no entry counts for any window of money."""
        return min((rule.span(now).first for rule in self.rules() if rule.kind == "money"), default=now)

    def _rules_of(self, parties: Parties, policy: str) -> tuple[LimitRule, ...]:
        found = (
            self.everywhere,
            self.by_policy.get(policy),
            self.by_team.get(parties.team),
            self.by_key.get(parties.key),
        )
        return tuple(rule for rules in found if rules for rule in rules)

    def _resolved(self, parties: Parties) -> Parties:
        meant = self.aliases.get(parties.model)
        return parties if meant is None else parties._replace(model=meant)


def _rules(
    budgets: Sequence[Budget], rates: Sequence[RateLimit], usual: Scope, within: str, place: str
) -> tuple[LimitRule, ...]:
    """Turn one place's declarations into rules. `within` is the noun of the party they are declared for."""
    out = []
    for budget in budgets:
        per, only = budget.per or usual, None if budget.only is None else frozenset(budget.only)
        out.append(
            LimitRule(
                kind="money",
                per=per,
                within=within,
                place=place,
                period=budget.budget_duration,
                hard=budget.hard_nanousd,
                soft=budget.soft_nanousd,
                is_rolling=budget.window == "rolling",
                zone=budget.time_zone,
                only=only,
                needs_user=budget.without_user == "refuse",
            )
        )
    for rate in rates:
        per, only = rate.per or usual, None if rate.only is None else frozenset(rate.only)
        amounts: list[tuple[Kind, int | None]] = [
            ("requests", rate.rpm_limit),
            ("tokens", rate.tpm_limit),
            ("parallel", rate.max_parallel_requests),
        ]
        refuses = rate.without_user == "refuse"
        out += [
            LimitRule(kind, per, within, place, MINUTE, amount, only=only, needs_user=refuses)
            for kind, amount in amounts
            if amount is not None
        ]
    return tuple(out)


def _applied(rules: Iterable[LimitRule], parties: Parties, at: float) -> tuple[Applied, ...]:
    """Apply rules to the parties of a request; of several on one account the smallest amounts hold."""
    found: dict[str, Applied] = {}
    for rule in rules:
        for party in _parties_of(rule, parties):
            one = _apply(rule, party, at)
            twin = found.get(one.charge.account)
            found[one.charge.account] = one if twin is None else _smaller(twin, one)
    return tuple(found.values())


def _apply(rule: LimitRule, party: str, at: float) -> Applied:
    if rule.kind == "parallel":
        bucket, first, ends = 0, 0, int(min(max(at, _EARLIEST), _LATEST)) + 60
    else:
        bucket, first, ends = rule.span(at)
    window = f"{rule.period}|{'rolling' if rule.is_rolling else rule.zone}"
    account = f"{MONEY}{party}|{window}" if rule.kind == "money" else f"{rule.kind}:{party}"
    return Applied(rule, party, AccountCharge(account, rule.kind, bucket, first, rule.hard), rule.soft, ends)


def _smaller(one: Applied, other: Applied) -> Applied:
    """Join two limits on one account."""
    nearer = min(one, other, key=lambda each: each.charge.limit if each.charge.limit is not None else 1 << 62)
    softs = [each.soft for each in (one, other) if each.soft is not None]
    return replace(nearer, soft=min(softs, default=None))


def _parties_of(rule: LimitRule, parties: Parties) -> Iterator[str]:
    """Yield the parties whose accounts a rule charges, by their names in accounts."""
    if rule.per == "gateway":
        yield "gateway"
        return
    holder = ""
    if rule.within and rule.per not in ("team", "key"):
        holder = f"{rule.within}={_quoted(getattr(parties, rule.within))}/"
    elif rule.per == "user":
        holder = f"team={_quoted(parties.team)}/"
    for name in _names(rule, parties):
        if rule.only is None or name in rule.only:
            yield f"{holder}{rule.per}={_quoted(name)}"


def _names(rule: LimitRule, parties: Parties) -> Sequence[str]:
    if rule.per == "tag":
        return parties.tags
    name: str | None = getattr(parties, rule.per)
    if name is None and rule.needs_user and rule.per == "user":
        raise MissingUser(rule.place)
    return () if name is None else (name,)


def _quoted(name: str) -> str:
    """Keep a name from being read as the rest of an account: what callers choose may hold any sign."""
    return name.replace("%", "%25").replace("/", "%2F").replace("|", "%7C")


# ------------------------------------------------------------------------------------------------------------ windows


def rolling_span(period: str, at: float) -> LimitWindow:
    """Return the last so much time, in sixty buckets. The bucket in which it begins counts whole."""
    amount, unit = period_parts(period)
    seconds = amount * _SECONDS[unit]
    step, moment = max(1, seconds // _ROLLING_BUCKETS), int(min(max(at, _EARLIEST), _LATEST))
    bucket = moment // step * step
    return LimitWindow(bucket, (moment - seconds) // step * step, bucket + step)


def calendar_span(period: str, zone: str, at: float) -> LimitWindow:
    """Return the window of the calendar that a moment lies in."""
    amount, unit = period_parts(period)
    moment = int(min(max(at, _EARLIEST), _LATEST))
    if unit in ("s", "m", "h"):
        seconds = amount * _SECONDS[unit]
        start = moment // seconds * seconds
        return LimitWindow(start, start, start + seconds)
    return _dated_span(amount, unit, zone, moment // _QUARTER * _QUARTER)


@lru_cache(maxsize=4096)
def _dated_span(amount: int, unit: str, zone: str, moment: int) -> LimitWindow:
    """Return a window of whole days, weeks or months, from local midnight to local midnight."""
    place = ZoneInfo(zone)
    day = datetime.fromtimestamp(moment, place).date()
    match unit:
        case "d":
            first = date.fromordinal(max(1, day.toordinal() // amount * amount))
            after = date.fromordinal(first.toordinal() + amount)
        case "w":  # the first day of the calendar was a Monday
            first = date.fromordinal(day.toordinal() - (day.toordinal() - 1) % (7 * amount))
            after = date.fromordinal(first.toordinal() + 7 * amount)
        case _:
            months = (day.year * 12 + day.month - 1) // amount * amount
            first, after = _month(months), _month(months + amount)
    return LimitWindow(_midnight(first, place), _midnight(first, place), _midnight(after, place))


def _month(months: int) -> date:
    return date(months // 12, months % 12 + 1, 1)


def _midnight(day: date, place: ZoneInfo) -> int:
    """Return the first moment of a day. Where clocks are put forward at midnight, that is one o'clock."""
    return int(datetime(day.year, day.month, day.day, tzinfo=place).timestamp())
