"""The document of `/status`: names, differences, errors."""

from __future__ import annotations

from shaker.watch.status import Status
from shaker.watch.status_document import status_document


def test_the_document_has_the_names_of_the_contract() -> None:
    document = status_document(Status(), max_lag_seconds=30)

    assert document["version"] == 1
    assert {"name", "state", "mode", "ready", "reasons", "codec", "full_syncs", "partial_syncs", "reconnects"} <= {
        *document
    }
    for side in ("source", "target"):
        assert set(document[side]) == {"address", "server", "connected", "last_error", "last_error_kind"}
    assert set(document["snapshot"]) == {"bytes_total", "bytes_done", "keys_total", "keys_done", "eta_seconds"}
    assert set(document["stream"]) == {
        "replid",
        "received_offset",
        "applied_offset",
        "checkpoint_offset",
        "source_offset",
        "lag_bytes",
        "lag_seconds",
        "commands_applied",
        "commands_per_second",
    }


def test_a_rejected_command_is_a_difference_and_a_delay_is_none() -> None:
    status = Status()
    status.reasons["sweep"] = "stale keys are being removed"
    assert not status_document(status, max_lag_seconds=None)["diverged"]

    status.reasons["rejected"] = "the target rejected 1 command"
    assert status_document(status, max_lag_seconds=None)["diverged"]


def test_the_last_error_comes_with_its_kind() -> None:
    """It distinguishes a server that answers from an unreachable one."""
    status = Status()
    status.count_error("target", "oom", "the target cannot take writes now")
    assert status_document(status, max_lag_seconds=None)["target"]["last_error_kind"] == "oom"

    status.target.last_error = ""
    assert status_document(status, max_lag_seconds=None)["target"]["last_error_kind"] is None
