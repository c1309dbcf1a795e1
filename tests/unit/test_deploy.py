"""The deployment examples: they parse, and their times fit together."""

from __future__ import annotations

from typing import Any

import pytest

from aioscheduler.config import Settings
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
