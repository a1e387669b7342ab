"""What the contract tests share: one provider and one gateway for the session, and their logs when a test fails."""

import itertools
from collections.abc import Callable, Generator, Iterator

import pytest

from tests.contract.running import (
    Gateway,
    OnDemand,
    Upstream,
    config,
    running_gateway,
    running_upstream,
    write_setup,
)

_numbers = itertools.count(1)
_PROGRAMS = pytest.StashKey[list[tuple[str, Gateway | Upstream]]]()


@pytest.fixture(scope="session")
def upstream(request: pytest.FixtureRequest) -> Iterator[Upstream]:
    """The scripted provider."""
    with running_upstream() as running:
        request.config.stash.setdefault(_PROGRAMS, []).append(("upstream", running))
        yield running


@pytest.fixture(scope="session")
def gateway(
    request: pytest.FixtureRequest, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """`gateway serve` in front of the provider, with the config of `running.config`."""
    folder = tmp_path_factory.mktemp("gateway")
    with running_gateway(write_setup(folder, config(upstream.url))) as running:
        request.config.stash.setdefault(_PROGRAMS, []).append(("gateway", running))
        yield running


@pytest.fixture(scope="session")
def two_workers_on_demand(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnDemand]:
    """The same gateway with two workers, which a test may end."""
    settings = config(upstream.url)
    settings["server"]["workers"] = 2
    on_demand = OnDemand(lambda: tmp_path_factory.mktemp("workers"), settings)
    yield on_demand
    on_demand.stop()


@pytest.fixture
def two_workers(request: pytest.FixtureRequest, two_workers_on_demand: OnDemand) -> Gateway:
    """A gateway of two workers, which the test may end."""
    gateway = two_workers_on_demand.gateway()
    programs = request.config.stash.setdefault(_PROGRAMS, [])
    if ("two workers", gateway) not in programs:
        programs.append(("two workers", gateway))
    return gateway


@pytest.fixture
def new_id(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Make ids that no other request of the session has: for the script, and as the request's `user`."""
    return lambda: f"{request.node.originalname}-{next(_numbers)}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the two programs printed beside a failure."""
    report = yield
    if report.failed:
        for name, running in item.config.stash.get(_PROGRAMS, []):
            report.sections.append((f"log of {name}", "\n".join(list(running.program.lines)[-30:])))
    return report
