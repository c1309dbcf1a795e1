"""The deployment examples: they parse, their times fit together, and what they ask for is there."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from aioscheduler.config import Settings
from aioscheduler.metrics import exposition
from tests.support.metrics import EMPTY
from tests.support.processes import ROOT

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {item["name"]: item.get("value", "(secret)") for item in container["env"]}


def test_the_pod_gets_more_time_to_stop_than_the_service_takes() -> None:
    deployment = yaml.safe_load((ROOT / "deploy" / "kubernetes.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]
    (sidecar,) = (item for item in pod["containers"] if item["name"] == "aioscheduler")
    pause = int(sidecar["lifecycle"]["preStop"]["exec"]["command"][1])
    grace = int(environment(sidecar)["SHUTDOWN_GRACE_SECONDS"])
    assert pod["terminationGracePeriodSeconds"] > pause + grace + 5


def test_a_redis_that_is_away_does_not_restart_the_pod() -> None:
    deployment = yaml.safe_load((ROOT / "deploy" / "kubernetes.yaml").read_text())
    sidecar = deployment["spec"]["template"]["spec"]["containers"][1]
    assert "tcpSocket" in sidecar["livenessProbe"]
    assert sidecar["readinessProbe"]["httpGet"]["path"] == "/health"


def test_compose_and_kubernetes_set_only_variables_there_are() -> None:
    known = {name.upper() for name in Settings.__dataclass_fields__}
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    deployment = yaml.safe_load((ROOT / "deploy" / "kubernetes.yaml").read_text())
    sidecar = deployment["spec"]["template"]["spec"]["containers"][1]
    assert set(compose["services"]["scheduler"]["environment"]) <= known
    assert set(environment(sidecar)) <= known


def test_the_redis_of_compose_keeps_what_it_accepted() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    command = " ".join(compose["services"]["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert compose["services"]["redis"]["volumes"]
    assert int(compose["services"]["scheduler"]["stop_grace_period"].removesuffix("s")) > 25


#: What Prometheus adds to every sample.
ADDED = {"job": None, "instance": None}


def exposed() -> dict[str, dict[str, set[str]]]:
    """Return what Prometheus reads of a worker: by name the labels, and by label its values."""
    text, _ = exposition(dataclasses.replace(EMPTY, worker=1), "")
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


def strings(part: object) -> Iterator[str]:
    """Yield every text there is in a document."""
    if isinstance(part, dict):
        for item in part.values():
            yield from strings(item)
    elif isinstance(part, list):
        for item in part:
            yield from strings(item)
    elif isinstance(part, str):
        yield part


def faults(text: str) -> list[str]:
    """Return the names of metrics, and the labels and their values, which a text or an expression has wrong."""
    known = exposed()
    found = [name for name in re.findall(r"aioscheduler_\w+", text) if name not in known]
    for name, matchers in re.findall(r"(aioscheduler_\w+)\{([^}]*)\}", text):
        for label, value in re.findall(r'(\w+)[!=~]+"([^"]*)"', matchers):
            values = (known.get(name, {}) | ADDED).get(label, set())
            if values is not None and value not in values:
                found.append(f"{name}: {label} {value}")
    asked = {
        label.strip()
        for part in re.findall(r"\b(?:by|without) ?\(([^)]*)\)", text)
        + re.findall(r"\{\{ *(?:\$labels\.)?(\w+) *\}\}", text)
        for label in part.split(",")
    }
    labels = set(ADDED).union(*(known.get(name, {}) for name in re.findall(r"aioscheduler_\w+", text)))
    return found + sorted(asked - labels)


def test_wrong_names_in_expressions_are_found() -> None:
    assert faults('max by (job, kind) (rate(aioscheduler_deliveries_total{kind="message",job="$job"}[5m]))') == []
    assert faults("rate(aioscheduler_deliveries[5m])") == ["aioscheduler_deliveries"]
    assert faults('aioscheduler_jobs{state="on"}') == ["aioscheduler_jobs: state on"]
    assert faults('aioscheduler_jobs{kind="bot"}') == ["aioscheduler_jobs: kind bot"]
    assert faults("sum by (outcome) (aioscheduler_jobs)") == ["outcome"]
    assert faults("aioscheduler_jobs {{family}} {{ $labels.reason }}") == ["reason"]


def rules() -> list[dict[str, Any]]:
    """Return the alerting rules."""
    document = yaml.safe_load((ROOT / "deploy" / "alerts.yaml").read_text())
    found = [rule for group in document["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in found}) == len(found) >= 8
    return found


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_is_exposed_and_says_what_to_do(rule: dict[str, Any]) -> None:
    # Together, since the annotations speak of the labels of the expression.
    assert faults(" ".join(strings(rule))) == []
    assert re.search(r"aioscheduler_\w+", rule["expr"])
    assert re.fullmatch(r"\d+m", rule["for"])
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["summary"]
    assert len(rule["annotations"]["description"]) > 100


def test_the_settings_that_alerts_name_are_there() -> None:
    known = {name.upper() for name in Settings.__dataclass_fields__}
    text = " ".join(rule["annotations"]["description"] for rule in rules())
    named = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", text))
    assert named
    assert named <= known


def dashboard() -> dict[str, Any]:
    """Return Grafana's dashboard."""
    document: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana.json").read_text())
    return document


@pytest.mark.parametrize("panel", dashboard()["panels"], ids=lambda panel: panel["title"])
def test_a_panel_asks_for_what_is_exposed(panel: dict[str, Any]) -> None:
    assert panel["targets"]
    for target in panel["targets"]:
        assert re.search(r"aioscheduler_\w+", target["expr"])
        assert faults(f"{target['expr']} {target['legendFormat']}") == []
        assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_the_dashboard_asks_for_nothing_else_either() -> None:
    assert faults(" ".join(re.findall(r"aioscheduler_\w+", " ".join(strings(dashboard()))))) == []
    variables = {item["name"] for item in dashboard()["templating"]["list"]}
    used = {name for text in strings(dashboard()) for name in re.findall(r"\$\{?(\w+)", text)}
    assert used - {"__rate_interval"} == variables


def test_the_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 and place["h"] > 0 for place in places)
    for one, other in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
