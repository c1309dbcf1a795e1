"""The recipes on paper: what is shown is what is run, and every name, path and port that they use is there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from aioscheduler.api.routes import ROUTES
from aioscheduler.config import Settings
from tests.support.n8n import Workflow
from tests.support.processes import ROOT

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

RECIPES = ROOT / "docs" / "recipes"
PAGES = sorted(RECIPES.glob("*.md"))
DEPLOY = sorted((RECIPES / "deploy").iterdir())
SETTINGS = {name.upper() for name in Settings.__dataclass_fields__}
#: What the recipes name and the service does not read.
OTHERS = {"SCHEDULER_URL", "SCHEDULER_TOKEN", "WEBHOOK_URL"}


def shown() -> dict[str, str]:
    """Return the blocks of all pages that show a file, by the file's path."""
    text = "".join(page.read_text() for page in PAGES)
    found = re.findall(r"^<!-- file: (\S+) -->\n```[a-z]+\n(.*?)^```$", text, re.M | re.S)
    assert len(found) == text.count("<!-- file: ")
    return dict(found)


def test_the_pages_show_the_files_as_they_are() -> None:
    for path, block in shown().items():
        assert (RECIPES / path).read_text() == block, path


def test_every_file_is_shown_or_linked() -> None:
    # Caches of tools aside.
    files = {str(path.relative_to(RECIPES)) for path in [*RECIPES.glob("*.*"), *RECIPES.glob("[a-z]*/*.*")]}
    linked = {target for page in PAGES for target in re.findall(r"\]\(([^)#]+)", page.read_text())}
    assert files - {"README.md"} - shown().keys() <= linked


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.parent.name + "/" + page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if urlsplit(target).scheme:
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_variables_are_those_there_are(page: Path) -> None:
    text = page.read_text()
    named = set(re.findall(r"\b([A-Z]+(?:_[A-Z]+)+)=", text)) | set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", text))
    named |= set(re.findall(r"\$\{?([A-Z]+(?:_[A-Z]+)+)", text)) | set(re.findall(r"--env ([A-Z_]+)", text))
    assert named - {"FOLLOW_UPS", "MESSAGE_EXISTS"} <= SETTINGS | OTHERS


def test_calls_name_routes_there_are() -> None:
    text = "".join(page.read_text() for page in PAGES)
    known = {(route.method, re.sub(r"\{\w+\}", "{id}", route.path)) for route in ROUTES}
    named = re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/[\w/{}-]*)", text)
    assert len(named) > 10
    # What is called of n8n stands there too.
    assert {(method, path) for method, path in named if not path.startswith("/webhook/")} <= known


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def test_composed_services_set_only_variables_there_are_and_stop_in_time() -> None:
    (compose,) = documents(RECIPES / "deploy" / "compose-sidecar.yaml")
    scheduler = compose["services"]["scheduler"]
    assert set(scheduler["environment"]) <= SETTINGS
    assert int(scheduler["stop_grace_period"].removesuffix("s")) > int(
        scheduler["environment"]["SHUTDOWN_GRACE_SECONDS"]
    )
    # Beside the application, in its network; and the data outlives the container, where the image keeps it.
    assert scheduler["network_mode"] == "service:app"
    (volume,) = scheduler["volumes"]
    name, _, folder = volume.partition(":")
    assert name in compose["volumes"]
    assert f"DATA_DIR={folder}" in (ROOT / "Dockerfile").read_text()
    url = urlsplit(compose["services"]["app"]["environment"]["SCHEDULER_URL"])
    assert (url.hostname, url.port) == (scheduler["environment"]["API_HOST"], Settings().api_port)


def test_docker_runs_it_as_compose_does() -> None:
    text = (RECIPES / "deploying.md").read_text()
    command = re.search(r"^docker run (.*?)^```", text, re.M | re.S)
    assert command is not None
    options = dict(re.findall(r"--([\w-]+) (\S+)", command[1]))
    environment = dict(re.findall(r"--env (\w+)=(\S+)", command[1]))
    assert options["network"] == "container:app"
    assert environment["API_HOST"] == "127.0.0.1"
    assert int(options["stop-timeout"]) > int(environment["SHUTDOWN_GRACE_SECONDS"])
    assert f"DATA_DIR={options['volume'].partition(':')[2]}" in (ROOT / "Dockerfile").read_text()


def test_the_shared_deployment_fits_together() -> None:
    deployment, service, budget = documents(RECIPES / "deploy" / "kubernetes-shared.yaml")
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    environment = {item["name"]: item for item in container["env"]}
    assert set(environment) <= SETTINGS
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    grace = int(environment["SHUTDOWN_GRACE_SECONDS"]["value"])
    assert pod["spec"]["terminationGracePeriodSeconds"] > pause + grace + 5
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": Settings().api_port}
    assert container["livenessProbe"]["tcpSocket"]["port"] in ports
    assert container["readinessProbe"]["httpGet"] == {"path": "/health", "port": "http"}
    (port,) = service["spec"]["ports"]
    assert (service["metadata"]["name"], port["port"], port["targetPort"]) == ("scheduler", 8000, "http")
    labels = pod["metadata"]["labels"]
    assert labels == service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]
    assert labels == budget["spec"]["selector"]["matchLabels"]
    # The secret is made as the other example says.
    made = (ROOT / "deploy" / "kubernetes.yaml").read_text()
    for item in environment.values():
        if "valueFrom" in item:
            reference = item["valueFrom"]["secretKeyRef"]
            assert f"create secret generic {reference['name']}" in made
            assert f"--from-literal={reference['key']}=" in made


def test_prometheus_and_grafana_find_what_they_are_to_read() -> None:
    (monitoring,) = documents(RECIPES / "deploy" / "compose-monitoring.yaml")
    (prometheus,) = documents(RECIPES / "deploy" / "prometheus.yaml")
    (below,) = documents(ROOT / "compose.yaml")
    mounts: dict[str, str] = {}
    for service in monitoring["services"].values():
        for volume in service["volumes"]:
            source, target = volume.split(":")[:2]
            mounts[target] = source
            assert (ROOT / source).is_file() if source.startswith("./") else source in monitoring["volumes"]
    assert set(prometheus["rule_files"]) <= mounts.keys()
    (scrape,) = prometheus["scrape_configs"]
    (targets,) = scrape["static_configs"]
    assert targets["targets"] == [f"scheduler:{Settings().api_port}"]
    assert "scheduler" in below["services"]
    assert any(route.path == "/metrics" for route in ROUTES)
    (secret,) = monitoring["services"]["prometheus"]["secrets"]
    assert scrape["authorization"]["credentials_file"] == f"/run/secrets/{secret}"
    assert monitoring["secrets"][secret]["environment"] in SETTINGS
    given = {config["source"] for config in monitoring["services"]["grafana"]["configs"]}
    assert given == monitoring["configs"].keys()
    (provider,) = yaml.safe_load(monitoring["configs"]["dashboards"]["content"])["providers"]
    assert mounts[f"{provider['options']['path']}/aioscheduler.json"] == "./deploy/grafana.json"
    (source,) = yaml.safe_load(monitoring["configs"]["datasource"]["content"])["datasources"]
    assert urlsplit(source["url"]).hostname in monitoring["services"]


@pytest.mark.parametrize("path", DEPLOY, ids=lambda path: path.name)
def test_nothing_secret_stands_in_an_example(path: Path) -> None:
    assert not re.search(r"(?i)(token|password|secret): *[\"']?[0-9a-z]{8,}", path.read_text())


# -- n8n -------------------------------------------------------------------------------------------------------------

WORKFLOW = json.loads((RECIPES / "n8n" / "follow-ups.json").read_text())


def test_the_workflow_can_be_imported() -> None:
    nodes = WORKFLOW["nodes"]
    for node in nodes:
        assert node.keys() >= {"id", "name", "type", "typeVersion", "position", "parameters"}
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", node["id"])
        assert re.fullmatch(r"n8n-nodes-base\.\w+", node["type"])
    for key in ("id", "name"):
        assert len({node[key] for node in nodes}) == len(nodes)
    hooks = [node for node in nodes if node["type"].endswith(".webhook")]
    assert len({node["webhookId"] for node in hooks}) == len({node["parameters"]["path"] for node in hooks}) == 3
    places = [tuple(node["position"]) for node in nodes]
    assert len(set(places)) == len(places)
    assert WORKFLOW["active"] is False


def test_all_connections_lead_from_a_node_to_a_node_and_every_node_is_reached() -> None:
    workflow = Workflow(WORKFLOW)
    assert WORKFLOW["connections"].keys() <= workflow.nodes.keys()
    links = [link for ends in WORKFLOW["connections"].values() for end in ends["main"] for link in end]
    assert all(link["type"] == "main" and link["index"] == 0 for link in links)
    reached = {link["node"] for link in links}
    assert reached <= workflow.nodes.keys()
    starts = {name for name, node in workflow.nodes.items() if node["type"].endswith((".webhook", ".stickyNote"))}
    assert workflow.nodes.keys() == reached | starts
    assert not reached & starts


def test_the_workflow_names_a_credential_and_holds_none() -> None:
    requests = [node for node in WORKFLOW["nodes"] if node["type"].endswith(".httpRequest")]
    assert len(requests) == 2
    for node in requests:
        assert node["parameters"]["authentication"] == "genericCredentialType"
        assert node["credentials"] == {"httpHeaderAuth": {"id": None, "name": "aioscheduler"}}
        assert "headerParameters" not in node["parameters"]
    assert "Bearer" not in json.dumps(WORKFLOW)
    assert "named `aioscheduler`" in (RECIPES / "n8n.md").read_text()


def test_the_page_speaks_of_the_nodes_there_are() -> None:
    text = (RECIPES / "n8n.md").read_text()
    for node in WORKFLOW["nodes"]:
        if not node["type"].endswith((".stickyNote", ".webhook")):
            assert f"*{node['name']}*" in text
        if path := node["parameters"].get("path"):
            assert f"POST /webhook/{path}" in text
