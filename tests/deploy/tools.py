"""The tools that the tests of image, chart and recipes run. A missing one is an error, never a skipped test."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.support.worker import ROOT

TOOLS = Path(os.environ.get("SHAKER_TOOLS", "~/.cache/shaker-tools")).expanduser()
CHART = ROOT / "helm" / "shaker"
EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))
GOLDEN = ROOT / "tests" / "deploy" / "golden"

HELMS = ("helm3", "helm4")
MODES = ("deployment", "job")
# A Helm 3 from a plain `go install` takes the cluster for 1.20.
KUBERNETES = "1.30.0"
HINT = "install the tools with .ci/deploy-tools"


def tool(name: str) -> str:
    """Return the program `name`, from the tools' directory or from PATH."""
    own = TOOLS / name / ("helm" if name in HELMS else name)
    found = own if own.exists() else None if name in HELMS else shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is missing; {HINT}")
    return str(found)


def run(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return its result, output as text."""
    return subprocess.run(command, text=True, capture_output=True, check=False, timeout=100, **options)


def helm_template(
    *arguments: str, helm: str = "helm3", namespace: str = "apps", kubernetes: str = KUBERNETES
) -> subprocess.CompletedProcess[str]:
    """Run `helm template` of the chart with more `arguments`."""
    base = ("template", "shaker", str(CHART), "--namespace", namespace, "--kube-version", kubernetes)
    return run(tool(helm), *base, *arguments)


def render(*arguments: str, helm: str = "helm3", kubernetes: str = KUBERNETES) -> list[dict[str, Any]]:
    """Return the manifests of `helm template`; AssertionError with Helm's words where it fails."""
    done = helm_template(*arguments, helm=helm, kubernetes=kubernetes)
    assert done.returncode == 0, done.stderr
    return parse(done.stdout)


def parse(text: str) -> list[dict[str, Any]]:
    """Return the documents of a YAML text that are not empty."""
    return [each for each in yaml.safe_load_all(text) if each]


def of_kind(manifests: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Return the one manifest of this kind, the test pod left out."""
    (found,) = [each for each in manifests if each["kind"] == kind]
    return found
