"""Writes anew what is made from something else: `python -m tests.deploy.renew`. Tests tell when it is to be run.

Made are the `config` part of the chart's schema (from the settings), the table in the chart's README (from its
values.yaml), and from the chart the golden renders, config/kubernetes/, alerts and dashboard of config/compose/.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from shaker.settings.names import SETTINGS, takes
from tests.deploy.tools import CHART, EXAMPLES, GOLDEN, MODES, helm_template, of_kind, parse
from tests.support.worker import ROOT

# Settings that the chart has values of its own for.
OWN = {"name", "mode"} | {
    f"{side}.{name}" for side in ("source", "target") for name in ("username", "password_file")
}

BEGIN, END = "<!-- values: made by tests/deploy/renew.py -->", "<!-- end of values -->"


def _kind(setting: str, info: FieldInfo) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    literal = info.annotation if get_origin(info.annotation) is Literal else None
    if literal is not None:
        schema = {"type": "string", "enum": list(get_args(literal))}
    elif takes(setting, bool):
        schema = {"type": "boolean"}
    elif takes(setting, float):
        # `helm --set` takes a number with a point for a text; the worker takes both.
        is_share = any(getattr(each, "le", None) == 1 for each in info.metadata)
        percent = " *%?" if is_share else ""
        schema = {"type": ["number", "string"], "pattern": rf"^[0-9]+(\.[0-9]+)?{percent}$"}
    elif takes(setting, int):
        # Sizes have a lower bound of a mebibyte and may be written with a unit.
        is_size = any(getattr(each, "ge", None) == 1024 * 1024 for each in info.metadata)
        schema = (
            {"type": ["integer", "string"], "pattern": "^ *[0-9]+ *[A-Za-z]{0,3} *$"}
            if is_size
            else {"type": "integer"}
        )
    else:
        schema = {"type": "string"}
    for each in info.metadata:
        for bound, name in (("ge", "minimum"), ("gt", "exclusiveMinimum"), ("le", "maximum")):
            if (value := getattr(each, bound, None)) is not None:
                schema[name] = value
    if setting == "health.port":
        schema["minimum"] = 1  # a probe cannot ask a port that nobody knows
    return schema | {"description": info.description}


def config_schema() -> dict[str, Any]:
    """Return the schema of the value `config`: every setting but secrets and those with values of their own."""
    root: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": {}}
    for setting, info in SETTINGS.items():
        if setting in OWN or takes(setting, SecretStr):
            continue
        *sections, name = setting.split(".")
        inner = root
        for section in sections:
            new = {"type": "object", "additionalProperties": False, "properties": {}}
            inner = inner["properties"].setdefault(section, new)
        inner["properties"][name] = _kind(setting, info)
    return root


def schema() -> str:
    """Return values.schema.json with its `config` part made anew."""
    document = json.loads((CHART / "values.schema.json").read_text())
    document["properties"]["config"] = config_schema()
    return json.dumps(document, indent=2) + "\n"


def _rows(text: str) -> Iterator[tuple[str, str]]:
    """Yield (dotted name, description) of each documented value, in the order of the file."""
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        if match := re.match(r" *# (-- )?(.*)", line):
            comment = [match[2]] if match[1] else [*comment, match[2]]
        elif match := re.match(r"( *)([A-Za-z]\w*):", line):
            path = [each for each in path if each[0] < len(match[1])] + [(len(match[1]), match[2])]
            if comment:
                yield ".".join(name for _, name in path), " ".join(comment)
            comment = []


def values_table() -> str:
    """Return the table of all values, with defaults, for the README."""
    text = (CHART / "values.yaml").read_text()
    defaults = yaml.safe_load(text)
    lines = ["| value | default | meaning |", "| --- | --- | --- |"]
    for name, description in _rows(text):
        value: Any = defaults
        for part in name.split("."):
            value = value[part]
        lines.append(f"| `{name}` | `{json.dumps(value)}` | {description.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def readme() -> str:
    """Return the chart's README with its table made anew."""
    text = (CHART / "README.md").read_text()
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{values_table()}\n{END}{rest.split(END)[1]}"


def _tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def golden(example: Path, mode: str) -> str:
    """Return the render of one example in one mode."""
    done = helm_template("--values", str(example), "--set", f"mode={mode}")
    assert done.returncode == 0, done.stderr
    return _tidy(done.stdout)


def plain(example: str, mode: str) -> str:
    """Return manifests for `kubectl apply`, without what only Helm reads."""
    done = helm_template(
        "--values", str(CHART / "examples" / example), "--set", f"mode={mode}", namespace="default"
    )
    assert done.returncode == 0, done.stderr
    documents = [each for each in re.split(r"^---\n", done.stdout, flags=re.MULTILINE) if each.strip()]
    kept = [each for each in documents if "helm.sh/hook" not in each]
    lines = "---\n".join(kept).splitlines()
    unwanted = ("helm.sh/chart:", "app.kubernetes.io/managed-by:", "namespace: default", "# Source:")
    head = "# Rendered from helm/shaker by `python -m tests.deploy.renew`: change it there.\n"
    return head + _tidy("\n".join(line for line in lines if not line.strip().startswith(unwanted)))


class _Lines(yaml.SafeDumper):
    """Writes texts of several lines as such."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Lines.add_representer(str, _text)


def alerts() -> str:
    """Return the alerts for a Prometheus without its operator, for every job named `shaker`."""
    sides = ("--set", "source.url=redis://source", "--set", "target.url=redis://target")
    own = ("--set", "prometheusRule.enabled=true", "--set-string", 'prometheusRule.selector=job="shaker"')
    done = helm_template(*sides, *own)
    assert done.returncode == 0, done.stderr
    spec = of_kind(parse(done.stdout), "PrometheusRule")["spec"]
    head = "# Rendered from helm/shaker by `python -m tests.deploy.renew`: change it there.\n"
    return head + yaml.dump(spec, Dumper=_Lines, sort_keys=False, width=1000)


def dashboard() -> str:
    """Return the dashboard of the chart, for provisioning from a file."""
    return (CHART / "dashboards" / "shaker.json").read_text()


MADE: dict[Path, Callable[[], str]] = {
    CHART / "values.schema.json": schema,
    CHART / "README.md": readme,
    ROOT / "config" / "kubernetes" / "deployment.yaml": lambda: plain("deployment.yaml", "deployment"),
    ROOT / "config" / "kubernetes" / "job.yaml": lambda: plain("deployment.yaml", "job"),
    ROOT / "config" / "compose" / "alerts.yml": alerts,
    ROOT / "config" / "compose" / "dashboards" / "shaker.json": dashboard,
} | {
    GOLDEN / f"{example.stem}-{mode}.yaml": (lambda example=example, mode=mode: golden(example, mode))  # type: ignore[misc]
    for example in EXAMPLES
    for mode in MODES
}


def main() -> None:
    """Write all files whose content has changed, and name them."""
    for path, make in MADE.items():
        text = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(path.relative_to(ROOT))  # noqa: T201 - the command's output


if __name__ == "__main__":
    main()
