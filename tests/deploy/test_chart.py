"""The chart renders what it is to, the same on Helm 3 and 4, and refuses what cannot be meant."""

from __future__ import annotations

import copy
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from shaker import __version__
from shaker.settings.names import SETTINGS
from shaker.settings.schema import Settings
from shaker.settings.sources import load
from tests.deploy.renew import MADE
from tests.deploy.tools import (
    CHART,
    EXAMPLES,
    GOLDEN,
    HELMS,
    MODES,
    TOOLS,
    helm_template,
    of_kind,
    parse,
    render,
    run,
    tool,
)
from tests.support.worker import ROOT

URLS = ("--set", "source.url=redis://source", "--set", "target.url=redis://target")
OPERATOR_KINDS = ("ServiceMonitor", "PodMonitor", "PrometheusRule")
VERSIONS = ("1.25", "1.30", "1.34", "1.37")

each_helm = pytest.mark.parametrize("helm", HELMS)
each_mode = pytest.mark.parametrize("mode", MODES)
each_example = pytest.mark.parametrize("example", EXAMPLES, ids=[path.stem for path in EXAMPLES])


def goldens() -> list[Path]:
    """Return all golden renders; there is one for each example and mode."""
    found = sorted(GOLDEN.glob("*.yaml"))
    assert len(found) == len(EXAMPLES) * len(MODES)
    return found


def pod(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the pod template's spec of the one workload."""
    (workload,) = [each for each in manifests if each["kind"] in ("Deployment", "Job")]
    spec: dict[str, Any] = workload["spec"]["template"]["spec"]
    return spec


@each_helm
def test_lint_finds_nothing(helm: str) -> None:
    """Warnings count."""
    for example in EXAMPLES:
        done = run(tool(helm), "lint", "--strict", str(CHART), "--values", str(example), "--kube-version", "1.30.0")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "[WARNING]" not in done.stdout


@pytest.mark.parametrize("path", MADE, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_made_is_current(path: Path) -> None:
    """Golden renders, plain manifests, tables and schema; `make deploy-renew` writes them."""
    assert path.read_text() == MADE[path](), f"{path.name} is not current: run `make deploy-renew` and look at it"


@each_mode
@each_example
def test_helm_4_renders_the_same(example: Path, mode: str) -> None:
    """The golden renders are those of Helm 3."""
    rendered = render("--values", str(example), "--set", f"mode={mode}", helm="helm4")

    expected = parse((GOLDEN / f"{example.stem}-{mode}.yaml").read_text())
    by_name = lambda manifests: sorted(manifests, key=lambda each: (each["kind"], each["metadata"]["name"]))  # noqa: E731
    assert by_name(rendered) == by_name(expected)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_renders_are_valid_kubernetes(version: str) -> None:
    """Strictly: an unknown field is a fault. Each example in each mode, rendered for that version."""
    checked = 0
    for example in EXAMPLES:
        for mode in MODES:
            given = ("--values", str(example), "--set", f"mode={mode}")
            for manifest in render(*given, kubernetes=f"{version}.0"):
                if manifest["kind"] not in OPERATOR_KINDS:
                    kubernetes_validate.validate(manifest, version, strict=True)
                    checked += 1
    assert checked > 40


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_the_plain_manifests_are_valid_kubernetes(version: str) -> None:
    """From 1.29 on, as their README says."""
    paths = sorted((ROOT / "config" / "kubernetes").glob("*.yaml"))
    assert [path.name for path in paths] == ["deployment.yaml", "job.yaml"]
    for path in paths:
        for manifest in parse(path.read_text()):
            kubernetes_validate.validate(manifest, version, strict=True)


def test_the_strict_validation_sees_an_unknown_field() -> None:
    """Or the test above could not fail."""
    manifest = of_kind(parse(goldens()[0].read_text()), "Deployment")
    manifest["spec"]["template"]["spec"]["restartPolize"] = "Always"

    with pytest.raises(kubernetes_validate.ValidationError, match="restartPolize"):
        kubernetes_validate.validate(manifest, "1.30", strict=True)


def test_the_operators_objects_are_valid() -> None:
    """By the schemas of the Prometheus operator, which also find a fault that is put in."""
    manifests = [each for path in goldens() for each in parse(path.read_text()) if each["kind"] in OPERATOR_KINDS]
    assert {each["kind"] for each in manifests} == set(OPERATOR_KINDS)
    wrong = copy.deepcopy(next(each for each in manifests if each["kind"] == "ServiceMonitor"))
    wrong["spec"]["endpoints"][0]["interval"] = "15 seconds"

    def faults(documents: list[dict[str, Any]]) -> str:
        script = str(ROOT / "tests" / "deploy" / "operator.mjs")
        done = run(tool("node"), script, str(TOOLS / "operator"), input=json.dumps(documents))
        assert done.returncode == 0, f"{done.stderr}\nis it installed? .ci/deploy-tools does it"
        return done.stdout

    assert faults(manifests) == ""
    assert "interval must match pattern" in faults([wrong])


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a mode that is none": ({"mode": "daemonset"}, "'/mode': value must be one of 'deployment', 'job'"),
    "a value that is none": ({"replica": 1}, "additional properties 'replica' not allowed"),
    "a misspelt url": ({"source": {"uri": "redis://a"}}, "additional properties 'uri' not allowed"),
    "a url without scheme": ({"source": {"url": "redis.apps:6379"}}, "'/source/url'"),
    "a setting that is none": ({"config": {"memori_limit": "64MiB"}}, "'memori_limit' not allowed"),
    "a section that is none": ({"config": {"targett": {}}}, "'targett' not allowed"),
    "a setting in a section": ({"config": {"target": {"on_exist": "merge"}}}, "'on_exist' not allowed"),
    "a choice that is none": ({"config": {"target": {"on_existing": "keep"}}}, "'refuse', 'merge', 'flush'"),
    "a password for all to read": ({"config": {"source": {"password": "x"}}}, "'password' not allowed"),
    "the name in the settings": ({"config": {"name": "orders"}}, "'name' not allowed"),
    "a name with spaces": ({"name": "two words"}, "'/name'"),
    "no port": ({"config": {"health": {"port": 0}}}, "'/config/health/port': minimum"),
    "a port above all": ({"service": {"port": 65536}}, "'/service/port': maximum"),
    "too many replicas": ({"replicas": 2}, "'/replicas': maximum"),
    "a strategy that is none": ({"strategy": {"type": "Rolling"}}, "'Recreate', 'RollingUpdate'"),
    "a job for ever": ({"job": {"mode": "follow"}}, "'migrate', 'snapshot'"),
    "a digest that is none": ({"image": {"digest": "latest"}}, "'/image/digest'"),
    "a pull policy that is none": ({"image": {"pullPolicy": "always"}}, "'/image/pullPolicy'"),
    "a switch that is a text": ({"serviceMonitor": {"enabled": "yes"}}, "got string, want boolean"),
    "an interval without unit": ({"podMonitor": {"interval": "15"}}, "'/podMonitor/interval'"),
    "a label that is a number": ({"commonLabels": {"team": 7}}, "'/commonLabels/team': got number, want string"),
    "a misspelt limit": ({"resources": {"limit": {"memory": "1Gi"}}}, "'limit' not allowed"),
    "memory that is none": ({"resources": {"limits": {"memory": "1 GB"}}}, "'/resources/limits/memory'"),
    "a misspelt probe": ({"probes": {"startup": {"period": 3}}}, "'period' not allowed"),
}


@each_helm
@pytest.mark.parametrize("name", WRONG)
def test_the_schema_names_what_is_wrong(name: str, helm: str, tmp_path: Path) -> None:
    """One fault in an otherwise good file, and a message that names the value."""
    values, message = WRONG[name]
    path = tmp_path / "values.yaml"
    path.write_text(yaml.dump(values))

    done = helm_template("--values", str(path), helm=helm)

    assert done.returncode != 0
    assert "don't meet the specifications of the schema" in done.stderr
    assert message in done.stderr


CHECKED: dict[str, tuple[tuple[str, ...], str]] = {
    "no source": (("target.url=redis://b",), "source.url is not set"),
    "no target": (("source.url=redis://a",), "target.url is not set"),
    "a password in the URL": (
        ("source.url=redis://user:word@a", "target.url=redis://b"),
        "source.url holds a password",
    ),
    "two places for a password": (("target.existingSecret=s", "target.password=p"), "not taken together"),
    "a file without password": (("source.passwordAsFile=true",), "there is no password"),
    "a certificate without key": (("target.tls.certKey=tls.crt",), "set together"),
    "TLS without a secret": (("target.tls.certKey=a", "target.tls.privateKey=b"), "target.tls.existingSecret"),
    "a grace period below the drain": (("terminationGracePeriodSeconds=20",), "raise it to 25"),
    "a grace period below a set drain": (
        ("config.drain_timeout_seconds=100", "terminationGracePeriodSeconds=100"),
        "raise it to 105",
    ),
    "too little memory": (("resources.limits.memory=512Mi",), "the worker may take 672Mi"),
    "too little memory for a setting": (("config.memory_limit=1GiB",), "the worker may take 1632Mi"),
    "memory in bytes": (("config.memory_limit=1000000000",), "resources.limits.memory is 768Mi"),
    "a size that is none": (("config.memory_limit=64 XB",), "config.memory_limit is"),
    "two monitors": (("serviceMonitor.enabled=true", "podMonitor.enabled=true"), "set one of them"),
}


@each_helm
@pytest.mark.parametrize("name", CHECKED)
def test_what_does_not_fit_together_is_refused(name: str, helm: str) -> None:
    """What a schema cannot say, with the way out."""
    values, message = CHECKED[name]
    urls = () if name.startswith("no ") or "URL" in name else URLS

    done = helm_template(*urls, *(part for each in values for part in ("--set", each)), helm=helm)

    assert done.returncode != 0
    assert message in done.stderr


@each_helm
def test_an_old_kubernetes_is_refused(helm: str) -> None:
    """1.25 is the oldest, builds of a vendor included."""
    for version, code in (("1.24.17", 1), ("1.25.0", 0), ("1.25.3-gke.100", 0), ("1.37.0", 0)):
        done = run(tool(helm), "template", "shaker", str(CHART), *URLS, "--kube-version", version)
        assert done.returncode == code, done.stderr


def test_the_defaults_are_those_of_the_worker() -> None:
    """Port, drain and memory are computed in the chart, too."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    defaults = {setting: info.default for setting, info in SETTINGS.items()}
    rendered = pod(render(*URLS))

    (container,) = rendered["containers"]
    assert container["ports"] == [{"name": "health", "containerPort": defaults["health.port"]}]
    assert rendered["terminationGracePeriodSeconds"] == defaults["drain_timeout_seconds"] + 10
    needed = 96 * 2**20 + defaults["memory_limit"] + 2 * defaults["snapshot.max_value"]
    assert container["resources"]["limits"]["memory"] == "768Mi"
    assert needed <= 768 * 2**20
    assert values["name"] == Settings.model_fields["name"].default
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_rendered_settings_are_valid_and_arrive(path: Path, tmp_path: Path) -> None:
    """The worker's own check of the file and the environment of each golden render."""
    manifests = parse(path.read_text())
    (config,) = [each for each in manifests if each["kind"] == "ConfigMap" and "shaker.toml" in each["data"]]
    file = tmp_path / "shaker.toml"
    file.write_text(config["data"]["shaker.toml"])
    environment = {"SHAKER_CONFIG": str(file)}
    for each in pod(manifests)["containers"][0]["env"]:
        if each["name"] != "SHAKER_CONFIG":
            environment[each["name"]] = each.get("value") or f"redis://secret-{each['name'].lower()[7:13]}"
    # A reference to a secret stands for a name or a password as well as for a URL.
    settings = load(environment=environment).settings

    mode = "deployment" if path.stem.endswith("-deployment") else "job"
    assert settings.fenced_action == ("wait" if mode == "deployment" else "exit")
    assert (settings.mode == "follow") == (mode == "deployment")
    if path.stem.startswith("full"):
        assert (settings.memory_limit, settings.drain_timeout_seconds) == (128 * 2**20, 45.5)
        assert (settings.health.port, settings.target.on_existing, settings.name) == (9121, "merge", "everything")
        assert settings.expiry.hold_below_seconds == 0.5
        assert settings.retry.max_seconds == 2


def test_values_of_any_kind_become_toml(tmp_path: Path) -> None:
    """Helm takes whole numbers for floating ones, and texts hold what they hold."""
    path = tmp_path / "values.yaml"
    awkward = "a \"b\" \\ 'c' # <d> & é"
    config = {
        "memory_limit": 67108864,
        "drain_timeout_seconds": 0.25,
        "target": {"adopt": True, "tls": {"verify": False}, "url": None},
        "spool": {"dir": awkward},
        "source": {},
    }
    del config["target"]["url"]  # type: ignore[attr-defined]
    path.write_text(yaml.dump({"config": config}))
    for helm in HELMS:
        rendered = of_kind(render(*URLS, "--values", str(path), helm=helm), "ConfigMap")["data"]["shaker.toml"]
        document = tomllib.loads(rendered)
        assert document == {key: value for key, value in config.items() if value != {}}
        assert isinstance(document["memory_limit"], int)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_pod_is_restricted(path: Path) -> None:
    """The restricted Pod Security Standard, a read-only root, no token, limits: of the worker and of its test."""
    manifests = parse(path.read_text())
    pods = [pod(manifests), *(each["spec"] for each in manifests if each["kind"] == "Pod")]

    assert len(pods) == 2
    for spec in pods:
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 65532
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        allowed = {"configMap", "emptyDir", "secret"}
        assert all(set(volume) - {"name"} <= allowed for volume in spec.get("volumes", []))
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"]["cpu"]


def test_a_job_is_named_by_its_pod() -> None:
    """The same pod is the same Job, another pod another one; what is not the pod changes nothing."""

    def name(*arguments: str) -> str:
        found: str = of_kind(render(*URLS, "--set", "mode=job", *arguments), "Job")["metadata"]["name"]
        return found

    assert re.fullmatch(r"shaker-migrate-[0-9a-f]{8}", name())
    assert name() == name("--set", "job.backoffLimit=1", "--set", "dashboard.enabled=true")
    others = {
        name(),
        name("--set", "image.tag=v2"),
        name("--set", "config.log.level=debug"),
        name("--set", "podAnnotations.a=b"),
        name("--set", "target.password=x"),
    }
    assert len(others) == 5
    assert len(name("--set", f"fullnameOverride={'a' * 40}")) <= 63


def test_a_changed_setting_or_secret_restarts_the_pod() -> None:
    """By annotations with their checksums."""

    def annotations(*arguments: str) -> dict[str, str]:
        template = of_kind(render(*URLS, *arguments), "Deployment")["spec"]["template"]
        found: dict[str, str] = template["metadata"]["annotations"]
        return found

    assert annotations() != annotations("--set", "config.log.level=debug")
    assert annotations("--set", "source.password=a") != annotations("--set", "source.password=b")
    assert annotations() == annotations("--set", "dashboard.enabled=true")


def test_a_job_fails_at_once_where_no_retry_helps() -> None:
    """Every exit code but 0 and 75, and an eviction is not counted."""
    spec = of_kind(render(*URLS, "--set", "mode=job"), "Job")["spec"]

    fail, ignore = spec["podFailurePolicy"]["rules"]
    assert (fail["action"], fail["onExitCodes"]["values"]) == ("FailJob", [2, 3, 4, 5, 6])
    assert (ignore["action"], ignore["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_a_rolling_update_starts_the_new_pod_first() -> None:
    """Recreate is the default."""
    assert of_kind(render(*URLS), "Deployment")["spec"]["strategy"] == {"type": "Recreate"}
    rolling = of_kind(render(*URLS, "--set", "strategy.type=RollingUpdate"), "Deployment")["spec"]["strategy"]
    assert rolling == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def test_every_value_is_described() -> None:
    """In values.yaml, and so in the README."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    listed = set(re.findall(r"^\| `([\w.]+)` \|", (CHART / "README.md").read_text(), re.MULTILINE))

    def leaves(tree: dict[str, Any], prefix: str) -> set[str]:
        out = set()
        for name, value in tree.items():
            dotted = prefix + name
            deeper = isinstance(value, dict) and value and dotted not in listed
            out |= leaves(value, f"{dotted}.") if deeper else {dotted}
        return out

    assert leaves(values, "") == listed


def test_every_value_is_in_the_schema_and_the_other_way_round() -> None:
    """So that the schema neither refuses a documented value nor allows one that does nothing."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())

    def compare(tree: dict[str, Any], node: dict[str, Any], path: str) -> None:
        extra = {"global"} if not path else set()
        if path.startswith("probes."):
            extra = {"initialDelaySeconds", "successThreshold"}
        if path == "resources":
            extra = {"claims"}
        assert set(node["properties"]) - extra == set(tree), path
        for name, value in tree.items():
            inner = node["properties"][name]
            if isinstance(value, dict) and "properties" in inner and name != "config":
                compare(value, inner, f"{path}.{name}".strip("."))

    compare(values, schema, "")
