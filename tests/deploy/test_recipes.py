"""The recipes under config/: files that platforms read, settings that the worker takes, answers in each README."""

from __future__ import annotations

import json
import os
import re
from typing import Any

import pytest
import yaml

from shaker.settings.schema import Settings
from shaker.settings.sources import load
from tests.deploy.kubelet import entrypoint
from tests.deploy.tools import run, tool
from tests.support.worker import ROOT

CONFIG = ROOT / "config"
RECIPES = ("compose", "kubernetes", "kamal", "dokku", "caprover")
DRAIN = Settings.model_fields["drain_timeout_seconds"].default
URLS = {"SHAKER_SOURCE__URL": "redis://source", "SHAKER_TARGET__URL": "redis://target"}


def document(path: str) -> Any:
    """Return a YAML or JSON file of config/."""
    return yaml.safe_load((CONFIG / path).read_text())


@pytest.mark.parametrize("recipe", RECIPES)
def test_each_readme_answers_what_an_operator_asks(recipe: str) -> None:
    """Order, state, the one writer, logs, alerts."""
    text = (CONFIG / recipe / "README.md").read_text()

    for row in ("Deployment order", "Where state lives", "One writer", "Logs", "Alerts"):
        assert f"| {row} |" in text
    assert "shaker:checkpoint:" in text
    assert "SHAKER_FENCED_ACTION" in text
    for path in re.findall(r"\b(?:config|docs|helm)/[\w./-]+\w", text):
        assert (ROOT / path).exists() or path == "config/deploy.yml", path


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_variable_of_a_recipe_is_a_setting(recipe: str) -> None:
    """In files and in the commands of the READMEs."""
    texts = [path.read_text() for path in (CONFIG / recipe).rglob("*") if path.is_file()]
    if recipe == "compose":
        texts.append((CONFIG / "compose.yaml").read_text())
    names = {name for text in texts for name in re.findall(r"\bSHAKER_[A-Z0-9_]+\b", text)}
    samples = URLS | {"SHAKER_NAME": "name", "SHAKER_FENCED_ACTION": "wait", "SHAKER_LOG__FORMAT": "json"}
    samples |= {"SHAKER_DRAIN_TIMEOUT_SECONDS": "20", "SHAKER_MODE": "follow"}

    # Their values differ from recipe to recipe; a name that is none is a fault of its own.
    given = {name: samples.get(name, "x") for name in names - {"SHAKER_CONFIG"}} | URLS

    assert load(environment=given).settings.fenced_action == "wait"


def test_compose_is_whole() -> None:
    """Every file that is mounted exists, every volume is declared, every name is reached."""
    compose = document("compose.yaml")
    services = compose["services"]

    assert set(services) == {"source", "target", "worker", "prometheus", "grafana"}
    for service in services.values():
        assert set(service.get("depends_on", [])) <= set(services)
        assert "image" in service
        for volume in service.get("volumes", []):
            place = volume.split(":")[0]
            assert (CONFIG / place).exists() if place.startswith(".") else place in compose["volumes"]
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")
    for file in ("prometheus.yml", "provisioning/datasources/prometheus.yml"):
        for host in re.findall(r"\b([a-z]+):\d{4}\b", (CONFIG / "compose" / file).read_text()):
            assert host in services
    assert (CONFIG / services["worker"]["build"]["context"] / "Dockerfile").exists()


def test_composes_worker_is_hardened_and_drains() -> None:
    """As the chart's; its settings are valid."""
    worker = document("compose.yaml")["services"]["worker"]
    settings = load(environment=worker["environment"]).settings

    assert (settings.fenced_action, settings.name) == ("wait", "compose")
    assert int(worker["stop_grace_period"].removesuffix("s")) >= DRAIN + 5
    assert worker["read_only"] is True
    assert worker["cap_drop"] == ["ALL"]
    assert worker["tmpfs"] == ["/tmp"]
    assert "build" in worker


def test_composes_prometheus_reads_the_worker_and_the_alerts() -> None:
    """`promtool check config`, and the job that the alerts are about."""
    done = run(tool("promtool"), "check", "config", str(CONFIG / "compose" / "prometheus.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 rules found" in done.stdout
    (job,) = document("compose/prometheus.yml")["scrape_configs"]
    expressions = [rule["expr"] for rule in document("compose/alerts.yml")["groups"][0]["rules"]]
    assert all(f'job="{job["job_name"]}"' in each for each in expressions)
    assert job["static_configs"] == [{"targets": ["worker:8080"]}]


def test_composes_grafana_has_the_dashboard() -> None:
    """Where the provider looks, and with a datasource of the kind that it asks for."""
    (provider,) = document("compose/provisioning/dashboards/shaker.yml")["providers"]
    mounts = dict(each.split(":")[:2] for each in document("compose.yaml")["services"]["grafana"]["volumes"])
    (source,) = document("compose/provisioning/datasources/prometheus.yml")["datasources"]

    assert mounts["./compose/dashboards"] == provider["options"]["path"]
    dashboard = json.loads((CONFIG / "compose" / "dashboards" / "shaker.json").read_text())
    assert dashboard["uid"] == "redis-shaker"
    assert source["type"] == dashboard["templating"]["list"][0]["query"]


def test_kamal_deploys_a_role_without_proxy_that_drains() -> None:
    """Its environment is valid, its secrets are named in the README."""
    deploy = document("kamal/deploy.yml")
    role = deploy["servers"][deploy["primary_role"]]
    secrets = {each.split(":")[-1] for each in deploy["env"]["secret"]}
    environment = {**deploy["env"]["clear"], **dict.fromkeys(deploy["env"]["secret"], "redis://secret")}

    assert role["proxy"] is False
    assert role["stop_timeout"] >= DRAIN + 5
    assert deploy["drain_timeout"] >= DRAIN + 5
    assert load(environment=environment).settings.fenced_action == "wait"
    assert [*entrypoint()[1:], role["cmd"]] == ["run"]
    text = (CONFIG / "kamal" / "README.md").read_text()
    assert all(name in text for name in secrets | set(deploy["registry"]["password"]))


@pytest.mark.parametrize("hook", ["pre-deploy", "post-deploy"])
def test_kamals_hooks_are_shell(hook: str) -> None:
    """Executable, and without faults of syntax."""
    path = CONFIG / "kamal" / "hooks" / hook

    assert os.access(path, os.X_OK)
    assert run("sh", "-n", str(path)).returncode == 0


def test_dokku_starts_one_worker_and_checks_it() -> None:
    """The Procfile gives arguments to the entry point of the image."""
    processes = dict(line.split(": ") for line in (CONFIG / "dokku" / "Procfile").read_text().splitlines())
    app = document("dokku/app.json")

    assert processes == {"worker": "run"}
    assert app["formation"] == {"web": {"quantity": 0}, "worker": {"quantity": 1}}
    (check,) = app["healthchecks"]["worker"]
    assert (check["type"], check["command"]) == ("startup", ["shaker", "healthcheck"])
    text = (CONFIG / "dokku" / "README.md").read_text()
    found = re.search(r"stop-timeout-seconds (\d+)", text)
    assert found
    assert int(found[1]) >= DRAIN + 5


def test_caprover_builds_the_dockerfile_and_starts_first() -> None:
    """Paths are from the root of the repository; durations are nanoseconds."""
    definition = document("caprover/captain-definition")
    override = document("caprover/service-override.yaml")

    assert definition["schemaVersion"] == 2
    assert (ROOT / definition["dockerfilePath"]).exists()
    assert override["UpdateConfig"]["Order"] == "start-first"
    container = override["TaskTemplate"]["ContainerSpec"]
    assert container["StopGracePeriod"] >= (DRAIN + 5) * 1_000_000_000
    assert container["ReadOnly"] is True


def test_no_recipe_names_a_host_that_exists() -> None:
    """Only names that are reserved for examples, names of the recipe's own, and this machine."""
    for path in (*CONFIG.rglob("*"), *(ROOT / "helm").rglob("*.yaml")):
        if path.is_file():
            for host in re.findall(r"https?://([\w.-]+)", path.read_text()):
                assert host in {"127.0.0.1", "prometheus", "localhost"} or host.endswith(".example"), (
                    f"{path}: {host}"
                )


def test_the_recipes_are_all_there() -> None:
    """Each has its directory and its test above."""
    assert sorted(path.name for path in CONFIG.iterdir() if path.is_dir()) == sorted(RECIPES)
