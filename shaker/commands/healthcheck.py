"""`shaker healthcheck`: asks the local worker's `/livez`, as fast as a process can start.

Imports a few modules of the standard library only, because a container runtime starts this every few seconds.
So it reads its three settings here, without the model, by the same precedence.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from shaker.errors import EXIT_INCOMPLETE, EXIT_OK, EXIT_USAGE, SettingsError

DEFAULT_PORT = 8080
TIMEOUT_SECONDS = 2.0

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared, not listened on

HELP = """usage: shaker healthcheck [--health.host HOST] [--health.port PORT] [--config FILE]

Exit 0 when the local worker's /livez answers 200, else 75; 2 on bad usage or settings.
The port is that of --health.port, SHAKER_HEALTH__PORT, the settings file, else 8080.
"""


def main(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """Run the command and return its exit code: 0 alive, 75 not alive or not reachable, 2 bad usage."""
    if "-h" in arguments or "--help" in arguments:
        sys.stdout.write(HELP)
        return EXIT_OK
    try:
        options = _options(arguments)
        host, port = worker_address(options, os.environ if environment is None else environment)
        if port == 0:
            raise SettingsError("health.port is 0, so the port is not known", hint="give --health.port")
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_USAGE
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/livez", headers={"Connection": "close"})
        response = connection.getresponse()
        body = response.read(4096).decode(errors="replace")
    except (OSError, HTTPException, ValueError) as error:
        sys.stderr.write(f"no answer from the worker at {host} port {port}: {error}\n")
        return EXIT_INCOMPLETE
    finally:
        connection.close()
    if response.status == 200:
        return EXIT_OK
    sys.stderr.write(f"the worker answers {response.status}: {body.strip()}\n")
    return EXIT_INCOMPLETE


def worker_address(options: Mapping[str, str], environment: Mapping[str, str]) -> tuple[str, int]:
    """Return the (host, port) of the worker's health server, as seen from this machine.

    `options` may hold `health.host`, `health.port` and `config`; the unspecified address becomes the loopback one.
    Raises SettingsError.
    """
    host = options.get("health.host") or environment.get("SHAKER_HEALTH__HOST")
    port: object = options.get("health.port") or environment.get("SHAKER_HEALTH__PORT")
    path = options.get("config") or environment.get("SHAKER_CONFIG")
    if path and not (host and port):
        health = section_of_file(path, "health")
        host, port = host or str(health.get("host", "")), port or health.get("port")
    try:
        number = DEFAULT_PORT if port is None else int(str(port))
    except ValueError:
        number = -1
    if not 0 <= number <= 65535:
        raise SettingsError("health.port (SHAKER_HEALTH__PORT): is not a port", hint="set it to 0 to 65535")
    return _ANY_ADDRESS.get(host or "", host or ""), number


def section_of_file(path: str, section: str) -> Mapping[str, object]:
    """Return a section of a TOML file of settings, as it is there. Raises SettingsError."""
    import tomllib

    try:
        with open(path, "rb") as file:
            found = tomllib.load(file).get(section, {})
    except (OSError, ValueError):
        raise SettingsError(f"{path} cannot be read as TOML", hint="name a readable settings file") from None
    return found if isinstance(found, dict) else {}


def _options(arguments: Sequence[str]) -> dict[str, str]:
    """Return the options as dotted names; raises SettingsError for any other."""
    options: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name not in ("--health.host", "--health.port", "--config"):
            raise SettingsError(
                f"healthcheck takes no {name}", hint="`shaker healthcheck --help` lists its options"
            )
        if not equals:
            value = next(rest, "")
        if not value:
            raise SettingsError(f"{name} needs a value")
        options[name.removeprefix("--")] = value
    return options
