"""Asks the control endpoint of a running worker."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shaker.errors import LinkError, RefusedError, SettingsError

TIMEOUT_SECONDS = 30.0
MAX_BODY = 1024 * 1024


def ask(url: str, token_file: Path | None, verb: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer of `POST /control/<verb>` at the worker's `url`.

    Raises LinkError where no worker answers, RefusedError with the worker's reason, SettingsError for a missing token.
    """
    if token_file is None:
        raise SettingsError(
            "control.token_file (SHAKER_CONTROL__TOKEN_FILE): is required to steer a running worker",
            hint="write a random token into a file, and name the file for the worker and for this command",
        )
    try:
        token = token_file.read_text("ascii").strip()
    except OSError as error:
        raise SettingsError(f"control.token_file: {token_file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        token = ""
    if not token.isprintable() or not token:
        raise SettingsError(f"control.token_file: {token_file} must hold one line of ASCII characters")
    parts = urlsplit(url)
    connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = connect(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
    where = f"{parts.hostname} port {connection.port}"
    try:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        base = parts.path.rstrip("/").removesuffix("/status")
        connection.request("POST", f"{base}/control/{verb}", json.dumps(dict(fields)), headers)
        response = connection.getresponse()
        status, body = response.status, response.read(MAX_BODY)
    except (OSError, HTTPException) as error:
        raise LinkError(f"no answer from the worker at {where}: {error}", hint="is it running?") from None
    finally:
        connection.close()
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if status == 404 and not (isinstance(answer, dict) and "reason" in answer):
        raise RefusedError(
            f"the worker at {where} has no control endpoint", hint="start it with the setting control.token_file"
        )
    if not isinstance(answer, dict):
        raise LinkError(f"the server at {where} is not a worker")
    if not answer.get("ok"):
        raise RefusedError(f"the worker at {where} refuses: {answer.get('reason', status)}")
    return answer
