"""Alerts and dashboard speak of metrics that exist, and each alert fires when it should and not before."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from shaker.commands.sample import seed
from shaker.watch.status import State
from tests.deploy.tools import CHART, helm_template, of_kind, render, run, tool
from tests.support.servers import Server
from tests.support.worker import ROOT, Worker

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


def release_rules(*arguments: str, release: str = "shaker") -> list[dict[str, Any]]:
    """Return the alerts of a release as the Prometheus operator gets them."""
    own = ("--set", "prometheusRule.enabled=true", "--set", f"fullnameOverride={release}")
    rendered = of_kind(render(*URLS, *own, *arguments), "PrometheusRule")
    found: list[dict[str, Any]] = rendered["spec"]["groups"][0]["rules"]
    return found


# Pods as Kubernetes names them: <Deployment>-<ReplicaSet's hash>-<suffix>, <Job>-<suffix>.
@pytest.mark.parametrize(
    ("mode", "own", "others"),
    [
        (
            "deployment",
            ["shaker-7d9f8b6c5d-x2k4z", "shaker-5b8c-abcde"],
            [
                "shaker-eu-7d9f8b6c5d-x2k4z",
                "shaker2-7d9f8b6c5d-x2k4z",
                "shaker-eu-migrate-1a2b3c4d-x2k4z",
                "my-shaker-1-x",
            ],
        ),
        ("job", ["{job}-x2k4z"], ["shaker-migrate-00000000-x2k4z", "shaker-7d9f8b6c5d-x2k4z", "eu-{job}-x2k4z"]),
    ],
)
def test_the_rules_of_a_release_are_about_its_pods(mode: str, own: list[str], others: list[str]) -> None:
    """Of two releases in one namespace each has its own alerts, even where one's name begins as the other's."""
    given = ("--set", f"name=orders,mode={mode}", "--set", "fullnameOverride=shaker")
    job = of_kind(render(*URLS, *given), "Job")["metadata"]["name"] if mode == "job" else ""

    for rule in release_rules(*given):
        selectors = [
            dict(re.findall(r'(\w+)(?:=|=~)"([^"]*)"', each or ""))
            for each in re.findall(r"shaker_[a-z_]+(\{[^}]*\})?", rule["expr"])
        ]
        assert selectors
        for selector in selectors:
            assert (selector["namespace"], selector["name"]) == ("apps", "orders"), rule["expr"]
            assert all(re.fullmatch(selector["pod"], pod.format(job=job)) for pod in own), selector
            assert not any(re.fullmatch(selector["pod"], pod.format(job=job)) for pod in others), selector


def test_pods_with_the_longest_names_are_matched() -> None:
    """Kubernetes cuts what it makes a pod's name from at 58 characters, and so the dash of the longest Job's."""
    release = "a" * 40
    given = ("--set", "mode=job,job.mode=snapshot")
    job = of_kind(render(*URLS, *given, "--set", f"fullnameOverride={release}"), "Job")["metadata"]["name"]
    pod = f"{job}-"[:58] + "x2k4z"

    [pattern] = {
        pattern
        for rule in release_rules(*given, release=release)
        for pattern in re.findall(r'pod=~"([^"]*)"', rule["expr"])
    }

    assert re.fullmatch(pattern, pod)


def test_a_job_has_no_alert_for_its_absence() -> None:
    """It ends."""
    spec = of_kind(render(*URLS, "--set", "prometheusRule.enabled=true,mode=job"), "PrometheusRule")["spec"]

    assert [rule["alert"] for rule in spec["groups"][0]["rules"]].count("ShakerDown") == 0


def test_each_alert_leads_to_its_place_in_the_runbook() -> None:
    """By an absolute URL, whose anchor is a heading of docs/operations.md."""
    document = (ROOT / "docs" / "operations.md").read_text()
    anchors = {heading.lower() for heading in re.findall(r"^#+ (\w+)$", document, re.MULTILINE)}
    found = release_rules("--set", "prometheusRule.runbook=https://wiki.example/shaker")

    assert len(found) == 8
    for rule in found:
        anchor = rule["alert"].lower()
        assert rule["annotations"]["runbook_url"] == f"https://wiki.example/shaker#{anchor}"
        assert anchor in anchors
        assert rule["labels"]["severity"] in ("warning", "critical")


def test_without_an_address_of_the_runbook_no_alert_has_one() -> None:
    """A link that leads nowhere helps nobody; a relative one is refused."""
    assert [rule for rule in rules() + release_rules() if "runbook_url" in rule["annotations"]] == []

    done = helm_template(*URLS, "--set", "prometheusRule.enabled=true,prometheusRule.runbook=docs/operations.md")

    assert done.returncode != 0
    assert "runbook" in done.stderr


LABELS = 'job="shaker",instance="a",name="orders"'


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
    given = usual | {name: values for name, values in changed.items() if name != "snapshot"}
    out = [series(name, values) for name, values in given.items()]
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


def other(given: list[dict[str, str]], **labels: str) -> list[dict[str, str]]:
    """Return the series with other labels, such as those of another replication, pod or shard."""
    out = []
    for each in given:
        series = each["series"]
        for name, value in labels.items():
            series, changed = re.subn(rf'\b{name}="[^"]*"', f'{name}="{value}"', series)
            series = series if changed else series.replace("}", f',{name}="{value}"}}')
        out.append({"series": series, "values": each["values"]})
    return out


@pytest.mark.parametrize("alert", FIRING)
def test_a_replication_in_good_order_hides_none_that_is_not(alert: str, tmp_path: Path) -> None:
    """Several in one job, one of them with the fault: the alert is about that one."""
    changed, quiet, fires = FIRING[alert]
    good = other(worker_series(), name="aaa", instance="b") + other(worker_series(), name="zzz", instance="c")
    given = good + worker_series(**changed)

    assert firing(tmp_path, given, quiet) == set()
    assert firing(tmp_path, given, fires) == {alert}
    names = promtool_test(
        tmp_path, [{"interval": "1m", "input_series": given, "alert_rule_test": [expectation(alert, fires)]}]
    )
    assert re.findall(r'\bname="(\w+)"', names[1]) == ["orders"], names[1]


def test_a_shard_in_good_order_hides_none_that_is_not(tmp_path: Path) -> None:
    """Those of one flow speak for their shard only."""
    flows = {"shaker_lag_seconds", "shaker_lag_bytes", "shaker_applied_offset_bytes"}

    def sharded(shard: str, **changed: str) -> list[dict[str, str]]:
        return [
            other([each], shard=shard)[0] if each["series"].partition("{")[0] in flows else each
            for each in worker_series(**changed)
        ]

    for alert in ("ShakerLag", "ShakerLagGrowing", "ShakerNoProgress"):
        changed, _, fires = FIRING[alert]
        bad = [each for each in sharded("1", **changed) if "shard" in each["series"]]
        assert firing(tmp_path, sharded("0") + bad, fires) == {alert}


@pytest.mark.parametrize("state", ["starting", "fenced"])
def test_a_pod_that_does_not_work_hides_no_lag(state: str, tmp_path: Path) -> None:
    """Its lag may stand at 0 for ever."""
    idle = other(worker_series(shaker_ready="0x90"), instance="b")
    idle.append({"series": f'shaker_state{{{LABELS},state="{state}"}}'.replace('"a"', '"b"'), "values": "1x90"})

    assert firing(tmp_path, worker_series(shaker_lag_seconds="0x10 61x80") + idle, 20) == {"ShakerLag"}


def test_a_replication_that_is_gone_is_down_while_others_run(tmp_path: Path) -> None:
    """And one that never was is, too."""
    gone = other(worker_series(shaker_build_info="1x10 _x80"), name="gone", instance="b")[:1]

    assert firing(tmp_path, worker_series() + gone, 30) == {"ShakerDown"}
    assert firing(tmp_path, [], 30) == {"ShakerDown"}


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


def panel_queries() -> dict[tuple[str, str], str]:
    """Return the queries of the dashboard's panels by title and letter."""
    dashboard = json.loads((CHART / "dashboards" / "shaker.json").read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    return {(panel["title"], target["refId"]): target["expr"] for panel in panels for target in panel["targets"]}


def filled_in(query: str) -> str:
    """Return a query with Grafana's variables filled in, "All" of each."""
    return re.sub(r"\$\w+", ".*", query.replace("$__rate_interval", "5m"))


def test_every_query_is_about_the_chosen_replications() -> None:
    """Each of its series by namespace, job, name and instance."""
    chosen = 'namespace=~"$namespace",job=~"$job",name=~"$name",instance=~"$instance"'

    for query in panel_queries().values():
        selectors = re.findall(r"(?:shaker|process)_[a-z_]+(\{[^}]*\})?", query)
        assert selectors
        assert all(chosen in selector for selector in selectors), query


@pytest.mark.parametrize("position", ["first", "last"])
def test_all_shows_the_worst(position: str, tmp_path: Path) -> None:
    """Of three replications, one of them in disorder: the single values are that one's."""
    good = worker_series(shaker_snapshot_done_keys="100x90", shaker_snapshot_expected_keys="100x90")
    bad = other(
        worker_series(
            shaker_ready="0x90",
            shaker_lag_seconds="77x90",
            shaker_rejected_commands="3x90",
            shaker_snapshot_done_keys="25x90",
            shaker_snapshot_expected_keys="100x90",
        ),
        name="aaa" if position == "first" else "zzz",
        instance="b",
    )
    given = other(good, name="middle", instance="c") + good + bad
    worst = {"Ready": 0, "Lag": 77, "Rejected commands": 3, "Snapshot": 0.25}
    tests = [
        {
            "expr": filled_in(panel_queries()[title, "A"]),
            "eval_time": "30m",
            "exp_samples": [{"labels": "{}", "value": value}],
        }
        for title, value in worst.items()
    ]

    code, output = promtool_test(tmp_path, [{"interval": "1m", "input_series": given, "promql_expr_test": tests}])

    assert code == 0, output


def test_rates_are_those_of_counters() -> None:
    """Of a gauge, which may go back, `rate` and `increase` make nonsense."""
    expressions = [*panel_queries().values(), *(rule["expr"] for rule in rules())]
    rated = [name for each in expressions for name in re.findall(r"\b(?:i?rate|increase)\((\w+)", each)]

    assert len(rated) >= 10
    assert [name for name in rated if not name.endswith(("_total", *MODIFIERS))] == []


def test_the_queries_of_the_dashboard_are_promql(tmp_path: Path) -> None:
    """As recording rules, with Grafana's variables filled in, promtool reads them."""
    filled = [filled_in(query) for query in panel_queries().values()]
    path = tmp_path / "rules.yml"
    records = [{"record": f"query:{number}", "expr": each} for number, each in enumerate(filled)]
    path.write_text(yaml.dump({"groups": [{"name": "dashboard", "rules": records}]}))

    done = run(tool("promtool"), "check", "rules", "--lint=none", str(path))

    assert done.returncode == 0, done.stdout + done.stderr
