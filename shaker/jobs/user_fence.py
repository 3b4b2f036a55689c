"""The lasting fence by ACL rules: takes from users of applications the right to write, and gives it back.

Only rules about commands and keys are changed and restored. Passwords, channels and selectors stay as they are, so that
no secret leaves the source.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import anyio

from shaker.errors import LinkError, quoted
from shaker.jobs.cutover_order import Failed, Outcome
from shaker.net.client import Client, Request
from shaker.net.connection import ReplyError
from shaker.net.reply_types import array, blob

PREFIX: Final = "acl:"  # of a user in the note about the source's state before the fence
# One write of each type: the rules given have to refuse them for every key pattern of the user.
WRITES: Final = ("SET {} v", "DEL {}", "HSET {} f v", "LPUSH {} v", "SADD {} v", "ZADD {} 1 v", "EXPIRE {} 1")
OF_NOBODY: Final[Request] = ("ACL", "SETUSER", "shaker-nobody", "-@write")  # only ever asked about

Ask = Callable[[Sequence[Request]], Awaitable[list[Any]]]


async def refused_right(source: Client, user: str) -> str:
    """Return why the worker may not change ACL rules on the source; empty where it may, or nobody knows."""
    requests: list[Request] = [("ACL", "DRYRUN", user, *OF_NOBODY), ("ACL", "DRYRUN", user, "ACL", "GETUSER", user)]
    for reply in await source.pipeline(requests):
        if isinstance(reply, ReplyError) and "not found" in str(reply):
            return "the source has no ACL SETUSER: use --fence pause"
        if isinstance(reply, bytes) and reply != b"OK":
            return (
                f"the worker's user may not change ACL rules on the source: ACL SETUSER {user} +acl|setuser "
                "+acl|getuser +acl|dryrun there, or use --fence pause"
            )
    return ""


async def refused_users(source: Client, own: str, users: Mapping[str, str]) -> list[str]:
    """Return why users cannot be fenced by their rules, one sentence each; `own` is the worker's user there."""
    refused = []
    for user, reply in zip(users, await source.pipeline([("ACL", "GETUSER", user) for user in users]), strict=True):
        if user == own:
            refused.append(f"--fence-acl names {quoted(user)}, which is the worker's own user on the source")
        elif isinstance(reply, ReplyError):
            refused.append(f"the source does not show the rules of user {quoted(user)}: {reply}")
        elif reply is None:
            refused.append(f"the source has no user {quoted(user)}, which --fence-acl names")
    return refused


class UserFence:
    """The requests of this fence; `ask` makes them on the fence's connection, to the server of `side`."""

    def __init__(self, ask: Ask, side: str) -> None:
        self._ask = ask
        self._side = side

    @staticmethod
    def divided(before: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """Return the parts of a note: the configuration, and the rules of each user."""
        values = {name: value for name, value in before.items() if not name.startswith(PREFIX)}
        rules = {name[len(PREFIX) :]: value for name, value in before.items() if name.startswith(PREFIX)}
        return values, rules

    async def rules(self, users: Mapping[str, str]) -> dict[str, str]:
        """Return the present rules about commands and keys, as the note keeps them."""
        return {PREFIX + user: await self._rules(user) for user in users}

    async def _rules(self, user: str) -> str:
        (reply,) = await self._ask([("ACL", "GETUSER", user)])
        if reply is None:
            raise LinkError(f"the {self._side} has no user {quoted(user)}", kind="refused")
        parts = array(reply)
        found = {blob(name): value for name, value in zip(parts[::2], parts[1::2], strict=True)}
        keys = found.get(b"keys", b"")
        # Redis before 7.0 lists the bare patterns.
        patterns = [b"~" + blob(each) for each in keys] if isinstance(keys, list) else blob(keys).split()
        return b" ".join([*patterns, *blob(found.get(b"commands", b"")).split()]).decode("utf-8", "surrogateescape")

    async def shut(self, users: Mapping[str, str], before: Mapping[str, str]) -> None:
        """Apply the rules given for each user; raises Failed where one of them may still write."""
        _, rules = self.divided(before)
        # To its end: an interrupted request could take effect after the one that undoes it.
        with anyio.CancelScope(shield=True):
            await self._ask([("ACL", "SETUSER", user, *given.split()) for user, given in users.items()])
            for user in users:
                after = await self._rules(user)
                if after == rules[user]:
                    raise Failed(Outcome.REFUSED, f"the rule for user {quoted(user)} changes nothing on the source")
                if (command := await self._allowed(user, after)) is not None:
                    raise Failed(
                        Outcome.REFUSED, f"user {quoted(user)} may still use {command} with the rule of --fence-acl"
                    )

    async def _allowed(self, user: str, rules: str) -> str | None:
        """Return a write that the user may still make; None where there is none, or nobody knows."""
        patterns = [word.split("~", 1)[1] for word in rules.split() if word.startswith(("~", "%"))] or ["key"]
        asked = [
            (write.split()[0], [part.format(pattern) if part == "{}" else part for part in write.split()])
            for pattern in patterns
            for write in WRITES
        ]
        for command, arguments in asked:
            try:
                (reply,) = await self._ask([("ACL", "DRYRUN", user, *arguments)])
            except LinkError:
                return None
            if reply == b"OK":
                return command
        return None

    async def restore(self, rules: Mapping[str, str]) -> None:
        """Give each user the rules from before the fence; raises LinkError where the source keeps others."""
        for user, given in rules.items():
            await self._ask([("ACL", "SETUSER", user, "resetkeys", "nocommands", *_words(given))])
            if await self._rules(user) != given:
                raise LinkError(
                    f"the {self._side} does not give user {quoted(user)} the rules from before the fence: {given}",
                    hint="give them to the user by ACL SETUSER there",
                    kind="refused",
                )


def _words(rules: str) -> list[bytes]:
    return [word.encode("utf-8", "surrogateescape") for word in rules.split()]
