"""The Helm chart, rendered by Helm's own library: what Kubernetes takes, and a configuration that the gateway takes."""

import importlib.util
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from gateway.cli import main
from tests.helm import CHART, values_schema

KUBERNETES = "1.33"
needs_helm = pytest.mark.skipif(
    importlib.util.find_spec("helm_python") is None or importlib.util.find_spec("kubernetes_validate") is None,
    reason="helm-python-sdk and kubernetes-validate are not installed: their wheels are for Linux on x86-64",
)
EXAMPLE: dict[str, Any] = yaml.safe_load((CHART / "values.example.yaml").read_text(encoding="utf-8"))
FULL: dict[str, Any] = {
    **EXAMPLE,
    "image": {"repository": "registry.example.com/gateway-llm", "digest": "sha256:" + "0" * 64},
    "autoscaling": {"enabled": True},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "keysSecret": "more-keys",
    "drainSeconds": 15,
    "graceSeconds": 120,
    "podLabels": {"team": "platform"},
    "podAnnotations": {"owner": "platform"},
    "imagePullSecrets": [{"name": "registry"}],
    "environment": [{"name": "TZ", "value": "UTC"}],
    "ledger": {"persistent": False},
}
PRICED = {"max_input_tokens": 1_000_000, "input_cost_per_token": 3e-8, "output_cost_per_token": 1.25e-7}


def with_config(**changes: Any) -> dict[str, Any]:
    return {**EXAMPLE, "config": {**EXAMPLE["config"], **changes}}


def without_state() -> dict[str, Any]:
    return {**EXAMPLE, "config": {name: value for name, value in EXAMPLE["config"].items() if name != "state"}}


CASES: dict[str, dict[str, Any]] = {
    "example": EXAMPLE,
    "full": FULL,
    "priced": with_config(model_list=[{**EXAMPLE["config"]["model_list"][0], "model_info": PRICED}]),
    "other models": with_config(teams={}, keys=[]),
    "other workers": with_config(server={"workers": 2}),
    "nothing": {},
    "misspelt": with_config(defalt_policy="lean"),
    "misspelt beside": {**EXAMPLE, "replica": 3},
    "without state": without_state(),
    "one without state": {**without_state(), "replicas": 1},
}


@cache
def rendered() -> dict[str, dict[str, str]]:
    """Render all cases in one go: the library takes half a second to load."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.helm"],
        input=json.dumps(list(CASES.values())),
        capture_output=True,
        text=True,
        cwd=CHART.parents[2],
        check=True,
    )
    return dict(zip(CASES, json.loads(done.stdout), strict=True))


@cache
def objects(case: str) -> dict[str, dict[str, Any]]:
    """What a case makes, by kind; of the two services the one with an address."""
    files = (text for name, text in rendered()[case].items() if name.endswith(".yaml"))
    every = [one for text in files for one in yaml.safe_load_all(text) if one is not None]
    return {one["kind"]: one for one in every if one.get("spec", {}).get("clusterIP") != "None"} if every else {}


def pod(case: str) -> dict[str, Any]:
    return dict(objects(case)["StatefulSet"]["spec"]["template"]["spec"])


def test_the_schema_of_the_values_is_that_of_the_configuration() -> None:
    there = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    assert there == values_schema(), "python -m tests.helm --schema > deploy/helm/gateway/values.schema.json"


@needs_helm
@pytest.mark.parametrize("case", ["example", "full", "one without state"])
def test_kubernetes_takes_what_is_rendered(case: str) -> None:
    import kubernetes_validate

    kinds = []
    for name, text in rendered()[case].items():
        for made in yaml.safe_load_all(text) if name.endswith(".yaml") else ():
            if made is not None and made["kind"] != "ServiceMonitor":  # the Prometheus operator's own
                kubernetes_validate.validate(made, KUBERNETES, strict=True)
                kinds.append(made["kind"])
    assert {"StatefulSet", "Service", "ConfigMap", "PodDisruptionBudget", "NetworkPolicy"} <= set(kinds)


@needs_helm
@pytest.mark.parametrize("case", ["example", "full", "priced", "one without state"])
def test_the_gateway_takes_the_configuration_that_is_rendered(case: str, tmp_path: Path) -> None:
    made = next(yaml.safe_load_all(rendered()[case]["gateway/templates/config.yaml"]))
    volume = next(one for one in pod(case)["volumes"] if one["name"] == "config")
    (tmp_path / "policies").mkdir()
    for item in volume["configMap"]["items"]:
        text = made["data"][item["key"]].replace("/srv/gateway", str(tmp_path))
        (tmp_path / item["path"]).write_text(text, encoding="utf-8")
    if case == "full":
        (tmp_path / "keys").mkdir()
        (tmp_path / "keys" / "keys.yaml").write_text("keys: []\n", encoding="utf-8")
    environment = {"OPENAI_API_KEY": "sk-none", "REDIS_URL": "redis://127.0.0.1:1/0"}
    checked = CliRunner().invoke(main, ["check", "--config", str(tmp_path / "config.yaml")], env=environment)
    assert checked.exit_code == 0, checked.output
    config = yaml.safe_load(made["data"]["config.yaml"])
    assert config["watch"] is True
    assert config["server"]["workers"] == 1


@needs_helm
def test_a_pod_has_time_to_stop_three_probes_and_a_root_to_read_only() -> None:
    spec = pod("full")
    (container,) = spec["containers"]
    config = yaml.safe_load(objects_of_config("full"))
    assert (config["server"]["drain"], config["server"]["grace"]) == ("15s", "120s")
    assert spec["terminationGracePeriodSeconds"] == 15 + 120 + 10
    probed = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert probed == {"startup": "/health", "liveness": "/health", "readiness": "/ready"}
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["image"].endswith("@sha256:" + "0" * 64)
    written = {one["mountPath"] for one in container["volumeMounts"] if not one.get("readOnly")}
    assert written == {"/srv/gateway/var", "/srv/gateway/var/ledger", "/tmp"}


def objects_of_config(case: str) -> str:
    made = next(yaml.safe_load_all(rendered()[case]["gateway/templates/config.yaml"]))
    return str(made["data"]["config.yaml"])


@needs_helm
def test_pods_follow_what_is_under_way_and_are_watched() -> None:
    scaler, monitor = objects("full")["HorizontalPodAutoscaler"]["spec"], objects("full")["ServiceMonitor"]
    assert scaler["metrics"][0]["pods"]["metric"]["name"] == "gateway_in_flight"
    assert scaler["scaleTargetRef"]["name"] == objects("full")["StatefulSet"]["metadata"]["name"]
    assert "replicas" not in objects("full")["StatefulSet"]["spec"]
    assert objects("example")["StatefulSet"]["spec"]["replicas"] == 2
    headless = next(
        one
        for one in yaml.safe_load_all(rendered()["full"]["gateway/templates/services.yaml"])
        if one.get("spec", {}).get("clusterIP") == "None"
    )
    assert monitor["spec"]["selector"]["matchLabels"].items() <= headless["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == headless["spec"]["ports"][0]["name"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


@needs_helm
def test_a_change_that_a_reload_takes_in_restarts_no_pod() -> None:
    def annotation(case: str) -> str:
        template = objects(case)["StatefulSet"]["spec"]["template"]
        return str(template["metadata"]["annotations"]["gateway/needs-restart"])

    assert annotation("example") == annotation("other models")
    assert annotation("example") != annotation("other workers")


@needs_helm
@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("nothing", "model_list"),
        ("misspelt", "defalt_policy"),
        ("misspelt beside", "replica"),
        ("without state", "config.state.redis"),
    ],
)
def test_values_that_cannot_be_are_refused_by_name(case: str, told: str) -> None:
    assert told in rendered()[case]["error"]
