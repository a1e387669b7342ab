"""Render the chart by Helm's own library, in a process of its own: the library is a Go program.

python -m tests.helm < CASES      a JSON list of values in, a list of texts or errors out
python -m tests.helm --schema     what deploy/helm/gateway/values.schema.json has to be
"""

import json
import sys
from pathlib import Path
from typing import Any

from gateway.config import check_schema

CHART = Path(__file__).resolve().parents[1] / "deploy" / "helm" / "gateway"


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


_TEXT, _WHOLE, _YES = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
_ANY, _LIST, _TEXTS = {"type": "object"}, {"type": "array"}, {"type": "array", "items": {"type": "string"}}


def values_schema() -> dict[str, Any]:
    """Return the schema of the chart's values: `config` is what `gateway check --schema config` says."""
    config = check_schema("config")
    definitions = config.pop("$defs")
    config.pop("$schema", None)
    name = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": definitions,
        **_object(
            image=_object(
                repository=_TEXT, tag=_TEXT, digest={"pattern": "^(sha256:[0-9a-f]{64})?$"}, pullPolicy=_TEXT
            ),
            imagePullSecrets=_LIST,
            config=config,
            policies={"type": "object", "propertyNames": name, "additionalProperties": {"type": "object"}},
            environmentFrom=_TEXTS,
            environment=_LIST,
            keysSecret=_TEXT,
            replicas={"type": "integer", "minimum": 1},
            autoscaling=_object(
                enabled=_YES, minReplicas=_WHOLE, maxReplicas=_WHOLE, inFlight=_WHOLE, scaleDownSeconds=_WHOLE
            ),
            drainSeconds=_WHOLE,
            graceSeconds=_WHOLE,
            ledger=_object(persistent=_YES, storageClassName=_TEXT, size=_TEXT),
            resources=_ANY,
            service=_object(type=_TEXT, port=_WHOLE, annotations=_ANY),
            disruptionBudget=_ANY,
            serviceMonitor=_object(enabled=_YES, interval=_TEXT, labels=_ANY),
            networkPolicy=_object(enabled=_YES, clients=_LIST, metrics=_LIST, egress=_LIST),
            podAnnotations=_ANY,
            podLabels=_ANY,
            nodeSelector=_ANY,
            tolerations=_LIST,
            affinity=_ANY,
            **{"global": _ANY},
        ),
    }


def rendered(cases: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Render the chart for each values: its manifests by file, or `error`."""
    import helm_python as helm

    every: list[dict[str, str]] = []
    with helm.Chart.load(str(CHART)) as chart:
        for values in cases:
            try:
                chart.validate_schema(values)
                every.append(dict(chart.render(values, name="llm", namespace="models")))
            except helm.HelmError as error:
                every.append({"error": str(error)})
    return every


if __name__ == "__main__":
    if sys.argv[1:] == ["--schema"]:
        print(json.dumps(values_schema(), indent=1))
    else:
        print(json.dumps(rendered(json.load(sys.stdin))))
