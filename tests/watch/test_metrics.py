"""The metrics: their public names, units and values, in both formats."""

from __future__ import annotations

import re

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_prometheus

from shaker.errors import KINDS
from shaker.watch.metrics import Metrics
from shaker.watch.status import State, Status
from shaker.watch.status_document import status_document

# From the contract: a name here is what dashboards and alerts are written against.
PUBLIC = [
    "shaker_state",
    "shaker_ready",
    "shaker_source_offset_bytes",
    "shaker_received_offset_bytes",
    "shaker_applied_offset_bytes",
    "shaker_checkpoint_offset_bytes",
    "shaker_lag_bytes",
    "shaker_lag_seconds",
    "shaker_snapshot_keys_total",
    "shaker_snapshot_bytes_total",
    "shaker_commands_applied_total",
    "shaker_received_bytes_total",
    "shaker_sent_bytes_total",
    "shaker_full_syncs_total",
    "shaker_partial_syncs_total",
    "shaker_reconnects_total",
    "shaker_errors_total",
    "shaker_apply_latency_seconds_bucket",
    "shaker_apply_latency_seconds_sum",
    "shaker_apply_latency_seconds_count",
    "shaker_last_applied_timestamp_seconds",
    "shaker_build_info",
    "shaker_commands_per_second",
    "shaker_rejected_commands",
    "shaker_window_bytes",
    "process_resident_memory_bytes",
    "process_cpu_seconds_total",
    "process_open_fds",
]


@pytest.fixture
def status() -> Status:
    status = Status(name="orders", state=State.STREAMING, version="1.2.3", codec="compiled")
    status.stream.received_offset, status.stream.checkpoint_offset = 2500, 900
    status.observe_source_offset(3000)
    status.observe_applied(1000, 7, 0.002)
    status.observe_applied(1000, 0, 99.0)
    status.snapshot.keys_done, status.snapshot.bytes_done = 100, 2000
    status.begin_snapshot(1)
    status.snapshot.keys_done, status.snapshot.bytes_done = 11, 222
    status.traffic.received_bytes, status.traffic.sent_bytes, status.traffic.window_bytes = 31, 32, 33
    status.links.full_syncs, status.links.partial_syncs, status.stream.commands_rejected = 1, 2, 3
    status.sweep.listed, status.sweep.stale, status.sweep.deleted, status.keys.evicted = 41, 44, 42, 43
    status.clocks.offsets = {"source": 1000.5, "target": 1002.0}
    status.links.reconnects["source"] = 4
    status.count_error("target", "busy")
    return status


def samples(status: Status, accept: str = "") -> dict[str, dict[str, float]]:
    """Every sample by its name, then by its labels written as `a=b`, without the one that each has to have."""
    body, content_type = Metrics(status, ready_max_lag_seconds=30).render(accept)
    parse = parse_openmetrics if content_type.startswith("application/openmetrics-text") else parse_prometheus
    found: dict[str, dict[str, float]] = {}
    for family in parse(body.decode()):
        for sample in family.samples:
            assert sample.labels.pop("name", None) == status.name, sample
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            assert labels not in found.setdefault(sample.name, {}), "a sample that comes twice"
            found[sample.name][labels] = sample.value
    return found


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_every_public_name_is_there_exactly_so(status: Status, accept: str) -> None:
    assert [name for name in PUBLIC if name not in samples(status, accept)] == []


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_values_are_those_of_the_status(status: Status, accept: str) -> None:
    found = samples(status, accept)

    for name, value in {
        "shaker_ready": 1,
        "shaker_source_offset_bytes": 3000,
        "shaker_received_offset_bytes": 2500,
        "shaker_applied_offset_bytes": 1000,
        "shaker_checkpoint_offset_bytes": 900,
        "shaker_lag_bytes": 2000,
        "shaker_snapshot_keys_total": 111,
        "shaker_snapshot_bytes_total": 2222,
        "shaker_snapshot_done_keys": 11,
        "shaker_snapshot_done_bytes": 222,
        "shaker_commands_applied_total": 7,
        "shaker_received_bytes_total": 31,
        "shaker_sent_bytes_total": 32,
        "shaker_window_bytes": 33,
        "shaker_full_syncs_total": 1,
        "shaker_partial_syncs_total": 2,
        "shaker_rejected_commands": 3,
        "shaker_sweep_listed_keys_total": 41,
        "shaker_sweep_stale_keys": 44,
        "shaker_sweep_deleted_keys_total": 42,
        "shaker_evicted_keys_total": 43,
        "shaker_clock_skew_seconds": 1.5,
    }.items():
        assert found[name] == {"": value}, name
    assert found["shaker_reconnects_total"] == {"side=source": 4, "side=target": 0}
    assert {labels: count for labels, count in found["shaker_errors_total"].items() if count} == {
        "kind=busy,side=target": 1
    }
    assert found["shaker_build_info"] == {"codec=compiled,version=1.2.3": 1}
    assert found["shaker_last_applied_timestamp_seconds"][""] == pytest.approx(status.stream.last_applied)


@pytest.mark.parametrize("name", ["orders", 'with "quotes" and \\', "näme"])
def test_every_sample_carries_the_name_of_the_replication(name: str) -> None:
    found = samples(Status(name=name))

    assert found["shaker_ready"] == {"": 0}
    assert found["process_resident_memory_bytes"][""] > 0


def test_exactly_one_state_is_1(status: Status) -> None:
    found = samples(status)["shaker_state"]

    assert set(found) == {f"state={state}" for state in State}
    assert [name for name, value in found.items() if value] == ["state=streaming"]


def test_latencies_are_a_histogram(status: Status) -> None:
    found = samples(status)
    buckets = found["shaker_apply_latency_seconds_bucket"]

    assert (buckets["le=0.001"], buckets["le=0.0025"], buckets["le=10.0"], buckets["le=+Inf"]) == (0, 1, 1, 2)
    assert list(buckets.values()) == sorted(buckets.values())
    assert found["shaker_apply_latency_seconds_count"] == {"": 2}
    assert found["shaker_apply_latency_seconds_sum"][""] == pytest.approx(99.002)


def test_reading_changes_nothing(status: Status) -> None:
    before = status_document(status, max_lag_seconds=None) | {"stream": None}

    samples(status)

    assert before == status_document(status, max_lag_seconds=None) | {"stream": None}
    assert "target" not in status.links.reconnects


def test_names_and_help_follow_the_rules_of_promtool(status: Status) -> None:
    body, _ = Metrics(status, ready_max_lag_seconds=30).render("")
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", body.decode(), re.MULTILINE))
    helps = dict(re.findall(r"^# HELP (\S+) (.+)$", body.decode(), re.MULTILINE))

    assert set(kinds) == set(helps)
    for name, kind in kinds.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        # _info: what the text format calls a gauge.
        assert name.endswith("_total") is (kind == "counter"), name
        assert "_total_total" not in name
        assert not re.search(r"_(milliseconds|ms|kb|mb|minutes)(_|$)", name), name


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain"),
        ("*/*", "text/plain"),
        ("text/plain;version=0.0.4", "text/plain"),
        ("application/openmetrics-text", "application/openmetrics-text"),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2", "application/openmetrics-text"),
        ("application/openmetrics-text;version=nonsense", "application/openmetrics-text"),
        ("text/plain;version=nonsense", "text/plain"),
    ],
)
def test_the_format_is_what_the_scraper_accepts(status: Status, accept: str, content_type: str) -> None:
    body, found = Metrics(status, ready_max_lag_seconds=30).render(accept)

    assert found.partition(";")[0] == content_type
    assert body.endswith(b"# EOF\n") is (content_type == "application/openmetrics-text")


def test_series_of_counters_exist_before_the_first_event() -> None:
    """A series that began with its first event would hide that one from `increase()`."""
    found = samples(Status())

    assert found["shaker_reconnects_total"] == {"side=source": 0, "side=target": 0}
    assert found["shaker_errors_total"] == {
        f"kind={kind},side={side}": 0 for side, kinds in KINDS.items() for kind in kinds
    }


def test_an_error_of_a_new_kind_is_counted_too() -> None:
    status = Status()
    status.count_error("source", "unheard_of")

    assert samples(status)["shaker_errors_total"]["kind=unheard_of,side=source"] == 1
