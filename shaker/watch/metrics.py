"""`Status` as Prometheus or OpenMetrics text. Names and units of the metrics are public."""

from __future__ import annotations

import math
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from shaker.errors import KINDS
from shaker.watch.counters import LATENCY_BUCKETS
from shaker.watch.status import State, Status
from shaker.watch.verification import by_kind

Family = GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily | InfoMetricFamily

OPENMETRICS_TYPE = "application/openmetrics-text"

_ERROR_SERIES = tuple((side, kind) for side, kinds in KINDS.items() for kind in kinds)

# Chosen once: for each request, the library would parse versions and fail on a malformed one.
_OPENMETRICS = choose_encoder(OPENMETRICS_TYPE)
_PROMETHEUS = choose_encoder("")


class StatusCollector(Collector):
    """Reads `Status` at each scrape. `ready_max_lag_seconds` is the limit of `shaker_ready`."""

    def __init__(self, status: Status, *, ready_max_lag_seconds: float) -> None:
        self._status = status
        self._ready_max_lag_seconds = ready_max_lag_seconds

    def collect(self) -> Iterator[Family]:
        """Yield every metric of the worker; counters start at 0 with the process."""
        yield from self._states()
        yield from self._offsets()
        yield from self._counters()
        yield from self._verification()
        yield self._latency()

    def _states(self) -> Iterator[Family]:
        status = self._status
        state = GaugeMetricFamily(
            "shaker_state", "1 for the current state of the worker, otherwise 0.", labels=["state"]
        )
        for each in State:
            state.add_metric([str(each)], float(status.state is each))
        yield state
        ready = not status.not_ready(max_lag_seconds=self._ready_max_lag_seconds)
        yield GaugeMetricFamily("shaker_ready", "1 when /readyz answers 200.", value=float(ready))
        connected = GaugeMetricFamily("shaker_connected", "1 when that side is connected.", labels=["side"])
        connected.add_metric(["source"], float(status.source.connected))
        connected.add_metric(["target"], float(status.target.connected))
        yield connected
        build = {"version": status.version, "codec": status.codec}
        yield InfoMetricFamily("shaker_build", "The version, and whether the codec is compiled.", value=build)

    def _offsets(self) -> Iterator[Family]:
        status, stream, snapshot = self._status, self._status.stream, self._status.snapshot
        skew = status.clocks.skew_seconds
        for name, text, value in (
            ("shaker_source_offset_bytes", "Replication offset of the source.", stream.source_offset),
            ("shaker_received_offset_bytes", "Offset up to which the worker has read.", stream.received_offset),
            ("shaker_applied_offset_bytes", "Offset that the target has applied.", stream.applied_offset),
            ("shaker_checkpoint_offset_bytes", "Offset of the checkpoint on the target.", stream.checkpoint_offset),
            ("shaker_lag_bytes", "Bytes of the source's history that are not applied.", status.lag_bytes),
            ("shaker_lag_seconds", "Age of the oldest source offset that is not applied.", status.lag_seconds),
            ("shaker_commands_per_second", "Commands applied over the last second.", status.commands_per_second),
            (
                "shaker_rejected_commands",
                "Recorded commands that the target rejected.",
                status.stream.commands_rejected,
            ),
            ("shaker_window_bytes", "Bytes held between source and target.", status.traffic.window_bytes),
            ("shaker_spool_bytes", "Bytes held on disk while the target is behind.", status.traffic.spool_bytes),
            ("shaker_sweep_stale_keys", "Stale keys found and not removed yet.", status.sweep.stale),
            ("shaker_expiries_waiting_keys", "Keys whose expiry is still deferred.", status.expiries.waiting),
            ("shaker_snapshot_expected_keys", "Keys of the snapshot; 0: unknown.", snapshot.keys_total),
            ("shaker_snapshot_expected_bytes", "Bytes of the snapshot; 0: unknown.", snapshot.bytes_total),
            ("shaker_snapshot_done_keys", "Keys copied of this snapshot.", snapshot.keys_done),
            ("shaker_snapshot_done_bytes", "Bytes read of this snapshot.", snapshot.bytes_done),
            (
                "shaker_clock_skew_seconds",
                "Seconds that the target's clock is ahead of the source's; NaN: unknown.",
                math.nan if skew is None else skew,
            ),
            (
                "shaker_last_applied_timestamp_seconds",
                "Time of the last applied command; 0: none.",
                status.stream.last_applied,
            ),
        ):
            yield GaugeMetricFamily(name, text, value=value)

    def _counters(self) -> Iterator[Family]:
        status, snapshot = self._status, self._status.snapshot
        for name, text, value in (
            ("shaker_snapshot_keys", "Keys copied from snapshots.", snapshot.keys_before + snapshot.keys_done),
            ("shaker_snapshot_bytes", "Bytes read of snapshots.", snapshot.bytes_before + snapshot.bytes_done),
            (
                "shaker_commands_applied",
                "Commands of the stream that were applied.",
                status.stream.commands_applied,
            ),
            ("shaker_received_bytes", "Bytes read from the source.", status.traffic.received_bytes),
            ("shaker_sent_bytes", "Bytes sent to the target.", status.traffic.sent_bytes),
            ("shaker_full_syncs", "Full synchronizations begun.", status.links.full_syncs),
            ("shaker_partial_syncs", "Partial synchronizations begun.", status.links.partial_syncs),
            ("shaker_sweep_listed_keys", "Keys of the target listed before a snapshot.", status.sweep.listed),
            ("shaker_sweep_deleted_keys", "Stale keys that the sweep removed.", status.sweep.deleted),
            (
                "shaker_expiries_settled",
                "Keys whose deferred expiry was restored.",
                status.expiries.settled,
            ),
            ("shaker_expiries_copied", "Keys copied again because of an expiry.", status.expiries.copied),
            ("shaker_evicted_keys", "Keys that the target evicted.", status.keys.evicted),
            (
                "shaker_log_lines_dropped",
                "Log lines dropped because standard output did not accept them.",
                status.log_lines_dropped,
            ),
            (
                "shaker_reserved_keys_skipped",
                "Records of other workers left out: keys and commands.",
                status.keys.reserved_skipped,
            ),
            (
                "shaker_empty_keys_skipped",
                "Aggregates without elements left out of snapshots.",
                status.keys.empty_skipped,
            ),
            (
                "shaker_expired_keys_skipped",
                "Keys left out that had expired before their snapshot was made.",
                status.keys.expired_skipped,
            ),
            (
                "shaker_unsupported_skipped",
                "Keys, libraries and commands left out, whole or in part, because the target cannot hold them.",
                status.keys.unsupported_skipped,
            ),
        ):
            # The exposition adds `_total` to the name of a counter.
            yield CounterMetricFamily(name, text, value=value)
        reconnects = CounterMetricFamily("shaker_reconnects", "Links established again.", labels=["side"])
        for side in ("source", "target"):
            reconnects.add_metric([side], status.links.reconnects[side])
        yield reconnects
        errors = CounterMetricFamily("shaker_errors", "Errors by side and kind.", labels=["side", "kind"])
        counts = dict.fromkeys(_ERROR_SERIES, 0) | dict(tuple(status.links.errors.items()))
        for (side, kind), count in counts.items():
            errors.add_metric([side, kind], count)
        yield errors

    def _verification(self) -> Iterator[Family]:
        verification = self._status.verification
        last = verification.last.counted if verification.last else None
        yield GaugeMetricFamily(
            "shaker_verification_last_pass_timestamp_seconds",
            "Unix time at which the last whole pass over all keys ended; 0 before the first.",
            value=last.ended if last else 0.0,
        )
        yield GaugeMetricFamily(
            "shaker_verification_last_pass_offset_bytes", "Offset at its end.", value=last.offset if last else 0
        )
        differences = GaugeMetricFamily(
            "shaker_verification_differences", "Keys known to differ, by kind.", labels=["kind"]
        )
        for kind, count in by_kind(verification.known.values()).items():
            differences.add_metric([kind], count)
        yield differences
        for name, text, value in (
            ("passes", "Whole passes over all keys.", verification.passes),
            ("keys_compared", "Keys compared, each once a pass.", verification.keys_compared),
            ("compared_bytes", "Bytes of DUMP payloads compared, on the source.", verification.bytes_compared),
            (
                "repaired_keys",
                "Differing keys that were copied from the source, or removed.",
                verification.repaired,
            ),
        ):
            yield CounterMetricFamily(f"shaker_verification_{name}", text, value=value)

    def _latency(self) -> Family:
        buckets, total = [], 0
        for bound, count in zip(
            (*LATENCY_BUCKETS, float("inf")), tuple(self._status.stream.latency.counts), strict=True
        ):
            total += count
            buckets.append((floatToGoString(bound), float(total)))  # type: ignore[no-untyped-call]
        return HistogramMetricFamily(
            "shaker_apply_latency_seconds",
            "Seconds from reading a batch to the target's answer.",
            buckets=buckets,
            sum_value=self._status.stream.latency.sum,
        )


class NamedCollector(Collector):
    """Adds the replication's name as the label `name` to every sample of other collectors."""

    def __init__(self, name: str, *collectors: Collector) -> None:
        self._name = name
        self._collectors = collectors

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of the collectors with the label added."""
        for collector in self._collectors:
            for family in collector.collect():
                family.samples = [
                    sample._replace(labels={"name": self._name, **sample.labels}) for sample in family.samples
                ]
                yield family


class Metrics:
    """The metrics of one worker and its process."""

    def __init__(self, status: Status, *, ready_max_lag_seconds: float) -> None:
        of_status = StatusCollector(status, ready_max_lag_seconds=ready_max_lag_seconds)
        of_process = ProcessCollector(registry=None)
        self._registry = CollectorRegistry()
        self._registry.register(NamedCollector(status.name, of_status, of_process))

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return (body, content type): OpenMetrics if the `Accept` header names it, else Prometheus text."""
        encode, content_type = _OPENMETRICS if OPENMETRICS_TYPE in accept else _PROMETHEUS
        return encode(self._registry), content_type
