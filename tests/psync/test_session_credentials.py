"""What a source of any version answers to credentials and rights: right, wrong, missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from shaker.codec.resp.replies import encode
from shaker.errors import AccessError
from shaker.psync.handshake_states import ReplicaState
from tests.support.psync_driver import Conversation, Pieces, single_bytes, whole
from tests.support.servers import NAMES, Server

SECRET = "s3cret-of-the-source"
S = ReplicaState
Talk = Callable[..., Conversation]


@pytest.fixture(scope="module")
def locked() -> Iterator[Callable[[str], Server]]:
    """A function from a server's name to one with a password and some users."""
    with ExitStack() as stack:
        running: dict[str, Server] = {}

        def get(name: str) -> Server:
            if name not in running:
                server = stack.enter_context(Server(name, requirepass=SECRET))
                acl = server.client().execute_command
                acl("ACL", "SETUSER", "replicator", "on", f">{SECRET}2", "+psync", "+replconf", "+info", "+ping")
                acl("ACL", "SETUSER", "blind", "on", f">{SECRET}2", "+psync", "+replconf")
                acl("ACL", "SETUSER", "reader", "on", f">{SECRET}2", "+info", "+replconf")
                running[name] = server
            return running[name]

        yield get


class TestCredentials:
    """AUTH, on every version."""

    @pytest.mark.parametrize("pieces", [whole, single_bytes])
    @pytest.mark.parametrize(
        ("username", "password"), [(None, SECRET), ("default", SECRET), ("replicator", SECRET + "2")]
    )
    @pytest.mark.parametrize("name", NAMES)
    def test_accepted(
        self, name: str, username: str | None, password: str, pieces: Pieces, locked: Callable[[str], Server]
    ) -> None:
        """With a password alone, with a user, with one that may do only what is needed."""
        with Conversation(locked(name), pieces=pieces, username=username, password=password) as conversation:
            conversation.sync()
            assert conversation.sent[0] == encode("AUTH", *([username] if username else []), password)
        assert conversation.states[:3] == (
            [S.NEW, S.AUTHENTICATING, S.INSPECTING] if pieces is single_bytes else conversation.states[:3]
        )

    @pytest.mark.parametrize("pieces", [whole, single_bytes])
    @pytest.mark.parametrize(
        ("username", "password"),
        [(None, "wrong-" + SECRET), ("nobody", SECRET), ("replicator", SECRET), (None, None), (None, "")],
    )
    @pytest.mark.parametrize("name", NAMES)
    def test_refused(
        self,
        name: str,
        username: str | None,
        password: str | None,
        pieces: Pieces,
        locked: Callable[[str], Server],
    ) -> None:
        """Wrong or missing credentials name the settings and show no secret."""
        with (
            Conversation(locked(name), pieces=pieces, username=username, password=password) as conversation,
            pytest.raises(AccessError) as caught,
        ):
            conversation.introduce()
        assert "SHAKER_SOURCE__PASSWORD" in str(caught.value)
        assert SECRET not in str(caught.value)
        assert (caught.value.kind, caught.value.retry, caught.value.exit_code) == ("access", True, 3)

    @pytest.mark.parametrize("name", NAMES)
    def test_a_password_that_nobody_asked_for(self, name: str, shared: Callable[[str], Server]) -> None:
        """A source without a password refuses one: the same settings are named."""
        with Conversation(shared(name), password=SECRET) as conversation, pytest.raises(AccessError) as caught:
            conversation.introduce()
        assert "SHAKER_SOURCE__PASSWORD" in str(caught.value)
        assert SECRET not in str(caught.value)

    @pytest.mark.parametrize(("username", "doing"), [("blind", "inspecting"), ("reader", "requesting")])
    @pytest.mark.parametrize("name", NAMES)
    def test_forbidden(self, name: str, username: str, doing: str, locked: Callable[[str], Server]) -> None:
        """A user who may not do what is needed is told by what was tried."""
        with (
            Conversation(locked(name), username=username, password=SECRET + "2") as conversation,
            pytest.raises(AccessError, match=f"forbids what the worker needs while {doing}: NOPERM"),
        ):
            conversation.sync()
