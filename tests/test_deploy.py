"""The files that operators copy: each is read by the program that it is for, where that is here."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from gateway.config.quantities import seconds
from gateway.config.settings import DEPLOYMENT_TIMEOUT

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
STOP_SECONDS = DEPLOYMENT_TIMEOUT + 10
"""A drain of nothing, the grace as it is if left out, and ten seconds to write entries."""


def test_the_unit_of_systemd_is_one_and_waits_for_a_stop(tmp_path: Path) -> None:
    unit = (DEPLOY / "systemd" / "gateway.service").read_text(encoding="utf-8")
    stop = re.search(r"^TimeoutStopSec=(.+)$", unit, re.MULTILINE)
    assert stop is not None
    assert seconds(stop[1]) >= STOP_SECONDS
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    (tmp_path / "gateway.service").write_text(unit.replace("/srv/gateway/venv/bin/gateway", "/bin/true"))
    ended = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / "gateway.service")], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_containers_are_given_the_time_of_a_stop() -> None:
    services = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text(encoding="utf-8"))["services"]
    for name in ("gateway-1", "gateway-2"):
        assert seconds(services[name]["stop_grace_period"]) >= STOP_SECONDS
        assert services[name]["stop_signal"] == "SIGTERM"


@pytest.mark.parametrize("site", ["nginx/gateway.conf", "compose/nginx.conf"])
def test_nginx_understands_its_site(tmp_path: Path, site: str) -> None:
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed")
    text = re.sub(r"server gateway-\d:", "server 127.0.0.1:", (DEPLOY / site).read_text(encoding="utf-8"))
    around = f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off; {text} }}"
    (tmp_path / "nginx.conf").write_text(around, encoding="utf-8")
    command = ["nginx", "-t", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-e", "stderr"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_sites_of_nginx_differ_in_where_the_gateways_are_alone() -> None:
    one, other = (
        [
            re.sub(r"\s*#.*", "", line).strip()
            for line in (DEPLOY / site).read_text(encoding="utf-8").splitlines()
            if re.sub(r"\s*#.*", "", line).strip() and not line.strip().startswith("server ")
        ]
        for site in ("nginx/gateway.conf", "compose/nginx.conf")
    )
    assert one == other
