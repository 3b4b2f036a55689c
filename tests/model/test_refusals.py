"""What an error reply means: missing access, or a server to wait for; no password ever appears."""

from __future__ import annotations

import pytest

from shaker.errors import AccessError, ServerBusyError
from shaker.model.refusals import refusal


@pytest.mark.parametrize(
    "text",
    [
        "WRONGPASS invalid username-password pair",
        "NOAUTH Authentication required.",
        "NOPERM this user has no permissions to run the 'psync' command",
        "DENIED Redis is running in protected mode",
        "ERR unknown command 'PSYNC', with args beginning with: ",
    ],
)
def test_missing_access_needs_an_operator(text: str) -> None:
    error = refusal("source", text, "asking INFO")

    assert isinstance(error, AccessError)
    assert error.hint


@pytest.mark.parametrize(("text", "kind"), [("LOADING Redis is loading", "loading"), ("ERR anything", "refused")])
def test_other_refusals_pass_by_waiting(text: str, kind: str) -> None:
    error = refusal("target", text, "asking INFO")

    assert type(error) is ServerBusyError
    assert error.kind == kind


def test_quoted_arguments_of_auth_are_left_out() -> None:
    assert "secret" not in str(
        refusal("source", "ERR unknown command 'AUTH', with args beginning with: 'secret'", "x")
    )
