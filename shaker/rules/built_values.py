"""Values as commands instead of a RESTORE: for targets that do not take their payloads."""

from __future__ import annotations

from shaker.codec.resp.replies import encode
from shaker.codec.values.commands import make, survey
from shaker.codec.values.target import Target
from shaker.errors import UnfaithfulError, UnsupportedError, quoted
from shaker.rules.target_form import TargetForm


def commands_for(payload: bytes, key: bytes, able: Target) -> list[bytes]:
    """Return the commands that make the value of a whole payload under `key`, which must not exist.

    None for an aggregate without elements. Raises UnsupportedError where the target cannot hold the value.
    """
    version = payload[-10]
    found = survey([payload], able, version=version)
    return list(make([payload], key, found, able, version=version))


def built(key: bytes, payload: bytes, expiry: bytes, form: TargetForm) -> list[bytes]:
    """Return the requests that replace a key by the value of a payload; readers see the one or the other.

    `expiry` is in Unix milliseconds, 0 for none.
    """
    try:
        made = commands_for(payload, form.building, form.able)
    except UnsupportedError as error:
        raise lacking(key, error.lacking) from error
    if not made:
        return [encode(b"UNLINK", key)]
    made.append(encode(b"RENAME", form.building, key))
    if expiry != b"0":
        made.append(encode(b"PEXPIREAT", key, expiry))
    return made


def replaced(key: bytes, payload: bytes, expiry: int, form: TargetForm) -> list[bytes]:
    """Return the requests that do the same inside of a transaction, without another key."""
    try:
        requests = [encode(b"UNLINK", key), *commands_for(payload, key, form.able)]
    except UnsupportedError as error:
        raise lacking(key, error.lacking) from error
    if expiry:
        requests.append(encode(b"PEXPIREAT", key, b"%d" % expiry))
    return requests


def publish(key: bytes, expiry: int, form: TargetForm) -> list[bytes]:
    """Return the transaction that gives a value that was built its own name."""
    return [encode("MULTI"), *renamed(form.building, key, expiry), encode("EXEC")]


def renamed(temporary: bytes, key: bytes, expiry: int) -> list[bytes]:
    """Return the requests of a transaction that give `temporary` its own name and expiry, 0 for none.

    The key that is there is unlinked, as RENAME would free a large one at once.
    """
    requests = [encode("UNLINK", key), encode("RENAME", temporary, key)]
    return [*requests, encode("PEXPIREAT", key, expiry)] if expiry else requests


def lacking(key: bytes, what: str) -> UnfaithfulError:
    """Return the error for a key that the target cannot hold."""
    return UnfaithfulError(
        f"key {quoted(key)} needs {what}, which the target does not have",
        hint="use a target of the source's version, or leave such keys out by target.on_unsupported=skip",
        kind="unsupported",
    )
