"""Logs: one JSON object a line, text on a terminal, and no secret in any."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog

from shaker.settings import secrets
from shaker.watch import log


@pytest.fixture(autouse=True)
def undo() -> Iterator[None]:
    """Give the logging of the test process back as it was."""
    root, raising = logging.getLogger(), logging.raiseExceptions
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    logging.raiseExceptions = raising
    structlog.reset_defaults()
    secrets._secrets.clear()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    out, err = capsys.readouterr()
    assert err == ""
    return [json.loads(line) for line in out.splitlines()]


def test_an_event_is_one_json_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json", "info")
    before = datetime.now(UTC)

    structlog.get_logger().info("health server started", port=8080, note="a\nb")

    (event,) = lines(capsys)
    assert before <= datetime.fromisoformat(event.pop("timestamp")) <= datetime.now(UTC)
    assert event == {"event": "health server started", "level": "info", "port": 8080, "note": "a\nb"}


def test_what_is_not_a_terminal_gets_json(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("auto", "info")

    structlog.get_logger().info("one")

    assert lines(capsys)[0]["event"] == "one"


@pytest.mark.parametrize(
    ("level", "events"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_events_below_the_level_are_left_out(
    level: str, events: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure("json", level)
    logger = structlog.get_logger()

    for name in ("debug", "info", "warning", "error"):
        getattr(logger, name)(name)
        getattr(logging.getLogger("some.library"), name)(name)

    assert [name for name in events for _ in range(2)] == [event["event"] for event in lines(capsys)]


def test_a_logger_made_before_follows_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    logger = structlog.get_logger("early")

    log.configure("json", "info")
    logger.info("one")
    log.configure("json", "error")
    logger.info("two")

    assert [event["event"] for event in lines(capsys)] == ["one"]


def test_libraries_take_the_same_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json", "info")

    logging.getLogger("asyncio").error("cannot %s", "serve")
    logging.getLogger("asyncio").info("about itself")

    (event,) = lines(capsys)
    assert (event["event"], event["level"]) == ("cannot serve", "error")
    assert "timestamp" in event


def test_configuring_again_writes_no_line_twice(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json", "info")
    log.configure("json", "info")

    structlog.get_logger().info("one")

    assert len(lines(capsys)) == 1


class Holder:
    """Something whose text holds a secret."""

    def __str__(self) -> str:
        return "holds hunter2/x"


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_hidden_secret_is_nowhere_in_an_event(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(form, "info")
    secrets.hide("hunter2/x")
    logger = structlog.get_logger()

    logger.info(
        "event hunter2/x",
        text="redis://u:hunter2%2Fx@h",
        raw=b"AUTH hunter2/x",
        nested={"a": [("hunter2/x",), {"b": "hunter2/x"}]},
        thing=Holder(),
        error=ValueError("hunter2/x"),
    )
    logging.getLogger("library").info("library %s", "hunter2/x")
    try:
        raise RuntimeError("raised hunter2/x")
    except RuntimeError:
        logger.exception("failed")

    out = capsys.readouterr().out
    # Of the traceback both the error and the line of source that it quotes.
    assert out.count("***") == 10
    assert "hunter2" not in out


def test_the_longest_of_two_secrets_is_replaced_whole(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json", "info")
    secrets.hide("secret")
    secrets.hide("secret-and-more")

    structlog.get_logger().info("x", a="secret-and-more", b="secret")

    (event,) = lines(capsys)
    assert (event["a"], event["b"]) == ("***", "***")


def test_a_short_secret_is_replaced_where_it_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json", "info")
    secrets.hide("ab")

    structlog.get_logger().info("x", alone="password ab.", within="about cabs")

    (event,) = lines(capsys)
    assert (event["alone"], event["within"]) == ("password ***.", "about cabs")


def test_hiding_nothing_hides_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json", "info")
    secrets.hide("")

    structlog.get_logger().info("all of it", number=1, nothing=None, truth=True)

    (event,) = lines(capsys)
    assert (event["event"], event["number"], event["nothing"], event["truth"]) == ("all of it", 1, None, True)


def test_a_traceback_shows_no_local_variables(capsys: pytest.CaptureFixture[str]) -> None:
    for form in ("json", "console"):
        log.configure(form, "info")
        value_of_a_key = "".join(["the ", "value"])
        try:
            raise RuntimeError(len(value_of_a_key))
        except RuntimeError:
            structlog.get_logger().exception("failed")

    out = capsys.readouterr().out
    assert out.count("RuntimeError: 9") == 2
    assert "the value" not in out


def test_the_console_is_sent_no_terminal_sequences_of_others(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("console", "info")

    structlog.get_logger().info("cleared \x1b[2J", key="\x1b]0;title\x07")

    out = capsys.readouterr().out
    assert "cleared" in out
    assert "\x1b" not in out
    assert "\x07" not in out


def test_bytes_that_are_not_utf_8_cost_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    for form in ("json", "console"):
        log.configure(form, "info")
        structlog.get_logger().info("key", key="\udcff", raw=b"\xff")

    assert len(capsys.readouterr().out.splitlines()) == 2
