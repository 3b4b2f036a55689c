"""The primary's address from Sentinels, at each connect and while connected (redis.io/docs: Sentinel clients)."""

from __future__ import annotations

import anyio
import structlog

from shaker.errors import AccessError, LinkError, quoted
from shaker.net.connection import ReplyError, connect
from shaker.net.credentials import sentinel_credentials
from shaker.net.reply_types import array, blob, number
from shaker.net.tls import tls_context
from shaker.settings.endpoints import Endpoint
from shaker.settings.url import SENTINEL_SCHEMES, Address

log = structlog.get_logger("shaker.sentinel")

# After this time without an answer, the next Sentinel is asked.
TIMEOUT_SECONDS = 2.0
# Interval at which a connected link asks whether its server is still the primary.
FOLLOW_SECONDS = 2.0


async def resolve(endpoint: Endpoint) -> Address:
    """Return the address to connect to now: the URL's own, or the primary that the first Sentinel to answer names.

    Raises LinkError with the failure of each Sentinel, AccessError when they refuse the credentials or do not
    know the service.
    """
    address = endpoint.address
    if address.scheme not in SENTINEL_SCHEMES:
        return address
    failures: list[LinkError] = []
    for host, port in address.nodes:
        node = _plain(address, host, port)
        try:
            return await _ask(node, endpoint)
        except LinkError as failure:
            failures.append(failure)
    refused = next((failure for failure in failures if isinstance(failure, AccessError)), None)
    if refused is not None:
        raise refused
    hints = {failure.hint for failure in failures if failure.kind == "tls"}
    raise LinkError(
        f"no Sentinel names the primary of {quoted(address.service)}: "
        + "; ".join(failure.what for failure in failures),
        hint=hints.pop() if hints else f"are the Sentinels of {endpoint.side}.url up?",
        kind="sentinel",
    )


async def _ask(node: Address, endpoint: Endpoint) -> Address:
    service = endpoint.address.service
    async with connect(
        # Errors name the settings of the side, because the Sentinels share its TLS.
        node,
        side=endpoint.side,
        tls=tls_context(endpoint),
        connect_timeout=TIMEOUT_SECONDS,
        timeout=TIMEOUT_SECONDS,
    ) as connection:
        try:
            username, password = sentinel_credentials(endpoint)
            if password is not None:
                await connection.call("AUTH", *([username] if username else []), password)
            reply = await connection.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
        except ReplyError as error:
            raise AccessError(
                # Where AUTH is not known its arguments are quoted.
                f"the Sentinel {node.text} refuses: {str(error).partition(', with args')[0]}",
                hint=f"set {endpoint.side}.sentinel.username and {endpoint.side}.sentinel.password",
            ) from error
    if reply is None:
        raise AccessError(
            f"the Sentinel {node.text} knows no service {quoted(service)}",
            hint=f"is the name in {endpoint.side}.url right?",
        )
    host, port = array(reply, 2)
    return _plain(endpoint.address, blob(host).decode("utf-8", "replace"), number(port))


def _plain(address: Address, host: str, port: int) -> Address:
    """Return the address of one server, with the TLS of `address`."""
    return Address("rediss" if address.tls else "redis", host, port, nodes=((host, port),))


async def follow(endpoint: Endpoint, connected: Address, *, every_seconds: float = FOLLOW_SECONDS) -> None:
    """Poll the Sentinels of `endpoint`; raise LinkError once they name another primary than `connected`.

    Never returns. Sentinels that do not answer change nothing: the connection itself shows whether it works.
    """
    if endpoint.address.scheme not in SENTINEL_SCHEMES:
        await anyio.sleep_forever()
    while True:
        await anyio.sleep(every_seconds)
        try:
            address = await resolve(endpoint)
        except LinkError as error:
            log.debug("sentinels not asked", side=endpoint.side, error=error.what)
            continue
        if address != connected:
            raise LinkError(
                f"the primary of {quoted(endpoint.address.service)} moved from {connected.text} to {address.text}",
                kind="moved",
            )
