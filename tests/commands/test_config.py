"""`shaker config` shows each setting with its value and its origin, and no secret."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from shaker.settings.names import SETTINGS
from tests.support.command_line import ROOT, URLS, shaker
from tests.support.terminal import ESCAPES, on_a_terminal


def test_config_shows_values_and_origins_and_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "shaker.toml"
    path.write_text('name = "from-file"\n')
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "target__password").write_text("hunter3")
    result = shaker(
        "config",
        "--health.port=0",
        SHAKER_CONFIG=str(path),
        SHAKER_SECRETS_DIR=str(secrets),
        SHAKER_SOURCE__URL="redis://u:hunter2@h",
        SHAKER_TARGET__URL="redis://[::1]",
    )

    assert (result.returncode, result.stderr) == (0, "")
    rows = {line.split()[0]: line.split(maxsplit=1)[1].strip() for line in result.stdout.splitlines()}
    assert rows["name"].split() == ["from-file", str(path)]
    assert rows["health.port"].split(maxsplit=1) == ["0", "command line"]
    assert rows["source.url"].split(maxsplit=1)[0] == "redis://u:***@h:6379"
    assert rows["source.url"].endswith("environment SHAKER_SOURCE__URL")
    assert rows["target.url"].startswith("redis://[::1]:6379")
    assert rows["target.password"].split() == ["***", str(secrets / "target__password")]
    assert rows["source.password"] == "default"
    assert "hunter" not in result.stdout
    assert {"setting", *SETTINGS} == set(rows)


def test_config_check_only_validates() -> None:
    good, bad = shaker("config", "--check", **URLS), shaker("config", "--check", SHAKER_NAME="a b")

    assert (good.returncode, good.stdout, good.stderr) == (0, "settings are valid\n", "")
    assert (bad.returncode, bad.stdout, len(bad.stderr.splitlines())) == (2, "", 3)


def test_config_fits_a_narrow_terminal() -> None:
    # A terminal of its own, because the table is drawn otherwise where nobody looks.
    code, output = on_a_terminal(
        [sys.executable, "-m", "shaker", "config"],
        directory=ROOT,
        environment={**os.environ, **URLS, "COLUMNS": "60", "TERM": "xterm"},
    )

    assert code == 0
    assert "redis://127.0.0." in output
    assert "…" not in output
    assert max(len(ESCAPES.sub("", line)) for line in output.splitlines()) <= 60
