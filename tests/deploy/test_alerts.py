"""Alerts and dashboard speak of metrics that exist, and each alert fires when it should and not before."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from shaker.sample import seed
from shaker.watch.status import State
from tests.deploy.tools import CHART, of_kind, render, run, tool
from tests.servers import Server
from tests.worker import ROOT, Worker

ALERTS = ROOT / "config" / "compose" / "alerts.yml"
URLS = ("--set", "source.url=redis://source", "--set", "target.url=redis://target")

# Names that the text of an expression has beside metrics: functions, operators and labels.
NAME = re.compile(r"\b(?:shaker|process)_[a-z_]+")
MODIFIERS = ("_bucket", "_sum", "_count")


@pytest.fixture(scope="module")
def scrape() -> str:
    """What a worker answers at /metrics after a snapshot, some stream, a lost link and a rejected command."""
    with Server() as source, Server() as target:
        seed(source.client(), 200)
        source.client().set("key", "text")
        with Worker(source, target, SHAKER_RETRY__INITIAL_SECONDS="0.01") as worker:
            worker.wait_state("streaming")
            target.client().delete("key")
            target.client().rpush("key", "not a text")
            source.client().append("key", "more")
            worker.wait_applied(source)
            source.client().client_kill_filter(_type="replica")
            worker.wait_status(lambda status: status["reconnects"].get("source"), "a reconnect")
            worker.wait_status(lambda status: status["errors"], "an error")
            return worker.get("/metrics")[1]


def samples(scrape: str) -> set[str]:
    """Return the names of all series of a scrape."""
    return {re.split(r"[{ ]", line)[0] for line in scrape.splitlines() if line and not line.startswith("#")}


def rules() -> list[dict[str, Any]]:
    """Return the alerts as a Prometheus without its operator has them."""
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def dashboard_expressions() -> list[str]:
    """Return every query of the dashboard, those of its variables too."""
    dashboard = json.loads((CHART / "dashboards" / "shaker.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    return queries + [each["definition"] for each in dashboard["templating"]["list"] if each["type"] == "query"]


def test_a_scrape_passes_promtool(scrape: str) -> None:
    """`promtool check metrics` of a real scrape."""
    done = run(tool("promtool"), "check", "metrics", input=scrape)

    # It lints names as well, and tells by its exit code 3 where it has nothing but advice.
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_of_alerts_and_dashboard_exists(scrape: str) -> None:
    """In a real scrape."""
    there = samples(scrape)
    used = {name for rule in rules() for name in NAME.findall(rule["expr"])}
    drawn = {name for expression in dashboard_expressions() for name in NAME.findall(expression)}

    assert len(used) >= 8
    assert used <= there
    assert drawn <= there


def test_states_of_the_alerts_exist() -> None:
    """A misspelt state would never match."""
    named = {state for rule in rules() for state in re.findall(r'state="(\w+)"', rule["expr"])}

    assert named == {"snapshot"}
    assert named <= {str(state) for state in State}


def test_the_rules_pass_promtool(tmp_path: Path) -> None:
    """Those of a release, those for compose, and every template in their annotations."""
    rendered = of_kind(render(*URLS, "--set", "prometheusRule.enabled=true"), "PrometheusRule")["spec"]
    release = tmp_path / "release.yml"
    release.write_text(yaml.dump(rendered))

    for path in (ALERTS, release):
        done = run(tool("promtool"), "check", "rules", "--lint-fatal", str(path))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "8 rules found" in done.stdout


def test_the_rules_of_a_release_are_about_its_pods() -> None:
    """Of two releases in one namespace, each has its own alerts."""
    rules = of_kind(render(*URLS, "--set", "prometheusRule.enabled=true"), "PrometheusRule")["spec"]["groups"][0][
        "rules"
    ]

    for rule in rules:
        selectors = re.findall(r"shaker_[a-z_]+(\{[^}]*\})?", rule["expr"])
        assert selectors
        assert all('namespace="apps",pod=~"shaker-.*"' in each for each in selectors), rule["expr"]


def test_a_job_has_no_alert_for_its_absence() -> None:
    """It ends."""
    spec = of_kind(render(*URLS, "--set", "prometheusRule.enabled=true,mode=job"), "PrometheusRule")["spec"]

    assert [rule["alert"] for rule in spec["groups"][0]["rules"]].count("ShakerDown") == 0


def test_each_alert_leads_to_its_place_in_the_runbook() -> None:
    """An anchor of docs/operations.md that exists."""
    document = (ROOT / "docs" / "operations.md").read_text()
    anchors = {heading.lower() for heading in re.findall(r"^#+ (\w+)$", document, re.MULTILINE)}
    names = [rule["alert"] for rule in rules()]

    assert len(names) == 8
    for rule in rules():
        path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert (ROOT / path).is_file()
        assert anchor == rule["alert"].lower()
        assert anchor in anchors
        assert rule["labels"]["severity"] in ("warning", "critical")


LABELS = 'job="shaker",instance="a"'


def series(name: str, values: str, labels: str = "") -> dict[str, str]:
    """Return one input series of a promtool test, a sample each minute."""
    return {"series": f"{name}{{{LABELS}{',' if labels else ''}{labels}}}", "values": values}


def worker_series(**changed: str) -> list[dict[str, str]]:
    """Return the series of a worker in good order, but for those `changed`."""
    usual = {
        "shaker_build_info": "1x90",
        "shaker_ready": "1x90",
        "shaker_lag_seconds": "0x90",
        "shaker_lag_bytes": "0x90",
        "shaker_full_syncs_total": "1x90",
        "shaker_rejected_commands": "0x90",
        "shaker_applied_offset_bytes": "0+100x90",
        "shaker_snapshot_bytes_total": "1000x90",
    }
    out = [series(name, changed.get(name, values)) for name, values in usual.items()]
    out.append(series("shaker_state", changed.get("snapshot", "0x90"), 'state="snapshot"'))
    return [each for each in out if each["values"] != "absent"]


# Alert → (series that make it fire, minute at which it is still quiet, minute at which it fires).
FIRING: dict[str, tuple[dict[str, str], int, int]] = {
    "ShakerDown": ({"shaker_build_info": "1x10 _x80"}, 12, 25),
    "ShakerNotReady": ({"shaker_ready": "1x10 0x80"}, 18, 23),
    "ShakerLag": ({"shaker_lag_seconds": "0x10 61x80"}, 14, 18),
    "ShakerLagGrowing": ({"shaker_lag_bytes": "0x10 70000000+1000000x80"}, 20, 30),
    "ShakerFullSyncsRepeated": ({"shaker_full_syncs_total": "1x10 2x5 3x5 4x5 5x70"}, 14, 28),
    "ShakerDiverged": ({"shaker_rejected_commands": "0x10 1x80"}, 9, 12),
    "ShakerNoProgress": (
        {"shaker_applied_offset_bytes": "0+100x10 1000x80", "shaker_lag_bytes": "0x10 5x80"},
        14,
        23,
    ),
    "ShakerSnapshotStalled": ({"snapshot": "0x10 1x80", "shaker_snapshot_bytes_total": "0+10x20 200x70"}, 24, 33),
}


def promtool_test(tmp_path: Path, cases: list[dict[str, Any]]) -> tuple[int, str]:
    """Run unit tests of the alerts; return (exit code, output)."""
    path = tmp_path / "tests.yml"
    path.write_text(yaml.dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": cases}))
    done = run(tool("promtool"), "test", "rules", str(path))
    return done.returncode, done.stdout + done.stderr


def expectation(alert: str, minute: int, *fires: dict[str, Any]) -> dict[str, Any]:
    """Return one expectation of a promtool test."""
    return {"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": list(fires)}


def firing(tmp_path: Path, given: list[dict[str, str]], minute: int) -> set[str]:
    """Return the names of the alerts that fire at a minute, by expecting none and reading what promtool found."""
    tests = [expectation(rule["alert"], minute) for rule in rules()]
    _, output = promtool_test(tmp_path, [{"interval": "1m", "input_series": given, "alert_rule_test": tests}])
    return set(re.findall(r"alertname: (\w+)", output))


@pytest.mark.parametrize("alert", FIRING)
def test_each_alert_fires_for_its_reason_only(alert: str, tmp_path: Path) -> None:
    """Quiet before its time, firing after it, and alone."""
    changed, quiet, fires = FIRING[alert]
    given = worker_series(**changed)

    assert firing(tmp_path, given, quiet) == set()
    assert firing(tmp_path, given, fires) == {alert}


def test_every_alert_has_its_test() -> None:
    """Above."""
    assert set(FIRING) == {rule["alert"] for rule in rules()}


def test_no_alert_fires_for_a_worker_in_good_order(tmp_path: Path) -> None:
    """For an idle source neither: its offset stands still, and nothing waits."""
    assert firing(tmp_path, worker_series(), 60) == set()
    assert firing(tmp_path, worker_series(shaker_applied_offset_bytes="5x90"), 60) == set()


def test_no_alert_fires_during_a_snapshot_that_moves(tmp_path: Path) -> None:
    """Not ready and far behind is what a snapshot is."""
    given = worker_series(
        snapshot="1x90",
        shaker_ready="0x90",
        shaker_lag_seconds="100+60x90",
        shaker_lag_bytes="100000000+1000000x90",
        shaker_applied_offset_bytes="0x90",
        shaker_snapshot_bytes_total="0+1000000x90",
    )

    assert firing(tmp_path, given, 60) == set()


def test_a_fenced_pod_beside_a_working_one_is_no_alert(tmp_path: Path) -> None:
    """In a rolling update the one that works speaks for both."""
    old = [
        {**each, "series": each["series"].replace('instance="a"', 'instance="b"')}
        for each in worker_series(
            shaker_ready="0x90", shaker_lag_seconds="0+60x90", shaker_lag_bytes="0+99999999x90"
        )
    ]

    assert firing(tmp_path, worker_series() + old, 60) == set()


def test_the_dashboard_is_a_whole_one() -> None:
    """Each panel has a title, a description, and queries by the dashboard's own variables; no two overlap."""
    dashboard = json.loads((CHART / "dashboards" / "shaker.json").read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    variables = {each["name"] for each in dashboard["templating"]["list"]}
    cells: set[tuple[int, int]] = set()

    assert len(panels) >= 15
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in panels:
        assert panel["title"]
        assert panel["description"]
        for target in panel["targets"]:
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= variables | {"__rate_interval"}
        at = panel["gridPos"]
        own = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not own & cells
        cells |= own


def test_the_queries_of_the_dashboard_are_promql(tmp_path: Path) -> None:
    """As recording rules, with Grafana's variables filled in, promtool reads them."""
    dashboard = json.loads((CHART / "dashboards" / "shaker.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    filled = [re.sub(r"\$(job|instance)", ".*", each.replace("$__rate_interval", "5m")) for each in queries]
    path = tmp_path / "rules.yml"
    records = [{"record": f"query:{number}", "expr": each} for number, each in enumerate(filled)]
    path.write_text(yaml.dump({"groups": [{"name": "dashboard", "rules": records}]}))

    done = run(tool("promtool"), "check", "rules", "--lint=none", str(path))

    assert done.returncode == 0, done.stdout + done.stderr
