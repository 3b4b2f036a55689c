"""The commands that steer a worker, and its control endpoint, as a test calls them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.worker import ROOT, Worker

TOKEN = "a long random token"


def write_token(directory: Path) -> Path:
    """Write the token file that worker and commands share."""
    path = directory / "token"
    path.write_text(f"{TOKEN}\n")
    return path


def shaker(running: Worker, command: str, *arguments: str, token: Path | None = None) -> tuple[int, str]:
    """Run a command for a worker; return its exit code and output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SHAKER_")}
    if token is not None:
        environment["SHAKER_CONTROL__TOKEN_FILE"] = str(token)
    url = ("--url", f"http://127.0.0.1:{running.port}")
    done = subprocess.run(
        [sys.executable, "-m", "shaker", command, *url, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def post(running: Worker, verb: str, body: Any = None, token: str = TOKEN) -> tuple[int, dict[str, Any]]:
    """Return code and answer of a request to the control endpoint."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{running.port}/control/{verb}",
        data=b"" if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status), json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
