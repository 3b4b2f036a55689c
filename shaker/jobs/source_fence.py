"""The fence on the source: keeps applications from writing there, for some seconds at a time or until it is undone.

`CLIENT PAUSE … WRITE` (Redis 6.2) holds writers until its time is over, so that the source opens by itself when nobody
renews it. `min-replicas-to-write` above any number of replicas refuses writes for good, until it is set back or the
source restarts. `user_fence.py` has the other lasting fence. Some services answer OK to CONFIG SET and change nothing,
so each setting is read back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import anyio

from shaker.errors import LinkError
from shaker.jobs.cutover_order import Failed, Outcome
from shaker.jobs.user_fence import UserFence, refused_right
from shaker.model.refusals import refusal
from shaker.model.server_info import ServerInfo, parse_info
from shaker.net.client import Client, FenceClient, Request
from shaker.net.connection import ReplyError
from shaker.net.reply_types import array, blob

MOST_REPLICAS: Final = "1000000"  # nobody has so many
MAX_LAG_SECONDS: Final = "10"  # where min-replicas-max-lag is 0, which disables the check
NAMES: Final = ("min-replicas-to-write", "min-replicas-max-lag")
PAUSING: Final = ("pause", "replicas", "acl")  # fences that begin with a pause
PAUSE_SINCE: Final = (6, 2)
DOING: Final = "fencing writes"


async def refused_fences(source: Client, user: str, info: ServerInfo) -> dict[str, str]:
    """Return for each kind of fence that the source does not allow why; raises LinkError."""
    refused: dict[str, str] = {}
    if info.release < PAUSE_SINCE:
        old = f"the source is {info.name}: CLIENT PAUSE WRITE needs Redis 6.2"
        why = f"{old}; stop the applications that write and use --fence none"
        return dict.fromkeys(PAUSING, why)
    pause: Request = ("ACL", "DRYRUN", user, "CLIENT", "PAUSE", 1, "WRITE")
    change: Request = ("ACL", "DRYRUN", user, "CONFIG", "SET", NAMES[0], 1)
    reply, *others = await source.pipeline([pause, change, *(("CONFIG", "GET", name) for name in NAMES)])
    if _missing(reply):
        why = "the source has no CLIENT PAUSE: stop the applications that write and use --fence none"
        return dict.fromkeys(PAUSING, why)
    if _forbidden(reply):
        why = f"the worker's user may not use CLIENT PAUSE on the source: ACL SETUSER {user} +client|pause there"
        return dict.fromkeys(PAUSING, why)
    if _missing(others[0]):
        refused["replicas"] = "the source has no CONFIG SET: use --fence pause"
    elif _forbidden(others[0]):
        refused["replicas"] = (
            f"the worker's user may not use CONFIG SET on the source: ACL SETUSER {user} +config|set +config|get "
            "there, or use --fence pause"
        )
    elif any(isinstance(each, ReplyError) or len(array(each)) < 2 for each in others[1:]):
        refused["replicas"] = f"the source does not let {NAMES[0]} be read by CONFIG GET: use --fence pause"
    if why := await refused_right(source, user):
        refused["acl"] = why
    return refused


def _missing(reply: object) -> bool:
    """Whether ACL DRYRUN knows no such command: a managed service, or rename-command."""
    return isinstance(reply, ReplyError) and "not found" in str(reply)


def _forbidden(reply: object) -> bool:
    """Whether ACL DRYRUN says no; without the right to ask, or before Redis 7.0, nobody knows."""
    return isinstance(reply, bytes) and reply != b"OK"


class SourceFence:
    """The requests of a fence, on a connection of its own. `users` is the lasting fence of `--fence-acl`.

    A request that changes the source is not interrupted: it could take effect after the one that undoes it.
    """

    def __init__(self, client: FenceClient, run_id: str, *, seconds: float) -> None:
        self._client = client
        self.users = UserFence(self._results, client.side)
        self._run_id = run_id
        self._milliseconds = int(seconds * 1000)
        self._lock = anyio.Lock()  # the pause is renewed while other requests are made
        self._unpaused = False

    async def pause(self) -> ServerInfo:
        """Hold writers for the fence's seconds from now on; return INFO from behind the last write.

        Raises LinkError, AccessError where the source forbids it, OtherServerError where another server answers.
        """
        pause: Request = ("CLIENT", "PAUSE", self._milliseconds, "WRITE")
        with anyio.CancelScope(shield=True):
            _, server, replication = await self._results([pause, ("INFO", "server"), ("INFO", "replication")])
        return self._checked(server, replication)

    async def renew(self) -> bool:
        """Hold writers for the fence's seconds from now on; False once `unpause` has ended that. Raises LinkError."""
        async with self._lock:
            if not self._unpaused:
                with anyio.CancelScope(shield=True):
                    await self._client.results([("CLIENT", "PAUSE", self._milliseconds, "WRITE")], DOING)
            return not self._unpaused

    async def info(self) -> ServerInfo:
        """Return INFO; raises as `pause`."""
        return self._checked(*await self._results([("INFO", "server"), ("INFO", "replication")]))

    def _checked(self, server: object, replication: object) -> ServerInfo:
        info = parse_info(blob(server) + b"\r\n" + blob(replication))
        if info.run_id != self._run_id:
            raise LinkError("another server answers for the source than the one that streams", kind="moved")
        return info

    async def configuration(self) -> dict[str, str]:
        """Return the values that `shut` replaces."""
        replies = await self._results([("CONFIG", "GET", name) for name in NAMES])
        return {name: blob(array(reply)[1]).decode() for name, reply in zip(NAMES, replies, strict=True)}

    async def prove(self, before: Mapping[str, str]) -> None:
        """Raise Failed where CONFIG SET changes nothing; `before` is the present configuration, and stays.

        The lag that is set for a moment only ever lets more replicas count.
        """
        lag = before.get(NAMES[1], "")
        if not lag.isdigit() or (lag == "0" and before.get(NAMES[0]) != "0"):
            return
        for value in (str(int(lag) + 1), lag):
            with anyio.CancelScope(shield=True):
                await self._set({NAMES[1]: value})

    async def shut(self, before: Mapping[str, str]) -> None:
        """Refuse writes for good; `before` is the present configuration. Raises Failed where it did not take."""
        lag = before.get(NAMES[1], "0")
        with anyio.CancelScope(shield=True):
            await self._set({NAMES[0]: MOST_REPLICAS, NAMES[1]: MAX_LAG_SECONDS if lag == "0" else lag})

    async def _set(self, values: Mapping[str, str]) -> None:
        await self._results([("CONFIG", "SET", *pair) for pair in values.items()])
        found = await self.configuration()
        for name, value in values.items():
            if found[name] != value:
                raise Failed(
                    Outcome.REFUSED,
                    f"the source answers OK to CONFIG SET {name} {value} and keeps {found[name]}: use --fence pause",
                )

    async def unpause(self) -> None:
        """Let held writers continue; after `shut` they are refused."""
        self._unpaused = True
        await self._results([("CLIENT", "UNPAUSE")])

    async def _results(self, requests: Sequence[Request]) -> list[Any]:
        async with self._lock:
            return await self._client.results(requests, DOING)

    async def open(self, before: Mapping[str, str]) -> None:
        """Restore configuration and rules from `before` the fence, and let writers continue.

        Raises LinkError where the source does not have them afterwards.
        """
        values, rules = UserFence.divided(before)
        replies = await self._client.pipeline(
            [*(("CONFIG", "SET", *pair) for pair in values.items()), ("CLIENT", "UNPAUSE")]
        )
        for reply in replies[: len(values)]:
            if isinstance(reply, ReplyError):
                raise refusal(self._client.side, str(reply), "lifting the fence") from reply
        await self.users.restore(rules)
        found = await self.configuration() if values else {}
        for name, value in values.items():
            if name in found and found[name] != value:
                raise LinkError(
                    f"the {self._client.side} answers OK to CONFIG SET {name} {value} and keeps {found[name]}",
                    hint=f"set {name} there by the service's own means",
                    kind="refused",
                )
