"""Commands in forms that a server takes from its primary alone → the forms that it takes from a client.

A server applies what its primary sends without checks that clients meet (server file src/server.c, mustObeyClient),
and a primary writes payloads for servers of its own version. The worker is a client, of any version.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from shaker.codec.rdb.crc64 import CRC64, crc64
from shaker.codec.rdb.field_expiries import CHECKSUM_SIZE, FOOTER_SIZE
from shaker.codec.rdb.value_types import FUNCTION2
from shaker.codec.resp.command_events import Note
from shaker.codec.resp.replies import encode
from shaker.codec.resp.requests import split
from shaker.rules.restore import is_whole, portable, portable_footer
from shaker.rules.rule import Received, Rule

# Bits of a run, beside those of expiries: it may trim streams, or hold payloads of DUMP and FUNCTION DUMP, or
# scripts.
TRIMS: Final = 1 << 8
PAYLOADS: Final = 1 << 9
SCRIPTS: Final = 1 << 10
FORMS: Final = TRIMS | PAYLOADS | SCRIPTS
# By the fewest arguments with which a command can have such a form.
_FORM_NOTES: Final[dict[bytes, Note]] = {
    b"XADD": Note(TRIMS, 9),
    b"XTRIM": Note(TRIMS, 6),
    b"RESTORE": Note(PAYLOADS, 4),
    b"RESTORE-ASKING": Note(PAYLOADS, 4),
    b"FUNCTION": Note(PAYLOADS, 3),
    b"EVAL": Note(SCRIPTS, 3),
    b"SCRIPT": Note(SCRIPTS, 3),
}
# Options before the id of an XADD, or anywhere in an XTRIM, that stay: how many arguments each takes, its name
# included. Those of IDMP came with Redis 8.6, the three before them with 8.2.
_STAYING: Final[dict[bytes, int]] = {
    b"NOMKSTREAM": 1,
    b"KEEPREF": 1,
    b"DELREF": 1,
    b"ACKED": 1,
    b"IDMPAUTO": 2,
    b"IDMP": 3,
}
_LIMIT: Final = re.compile(rb"\r\nlimit\r\n", re.IGNORECASE)
# The RDB version in which functions came, with which all servers that have them take them.
FUNCTIONS_FOOTER: Final = (10).to_bytes(2, "little")
CRLF_SIZE: Final = 2


def client_forms(data: bytes, noted: int) -> bytes:
    """Return what to send for a run of whole commands, as many; `noted` has the bits of those in it.

    Commands that cannot be read stay as they are: the target judges them.
    """
    if not noted & PAYLOADS and (not noted & TRIMS or _LIMIT.search(data) is None):
        return data
    out: list[bytes] = []
    copied = position = 0
    while position < len(data):
        start = position
        end = data.index(b"\r\n", position)
        count = int(data[position + 1 : end])
        position = end + 2
        name = b""
        for index in range(count):
            end = data.index(b"\r\n", position)
            size = int(data[position + 1 : end])
            if index == 0:
                name = data[end + 2 : end + 2 + size].upper()
            position = end + 4 + size
        handler = _HANDLERS.get(name)
        if handler is None or count < _FORM_NOTES[name].least:
            continue
        changed = handler(split(data[start:position]))
        if changed is not None:
            out += (data[copied:start], encode(*changed))
            copied = position
    if not out:
        return data
    out.append(data[copied:])
    return b"".join(out)


def _trim(arguments: list[bytes]) -> list[bytes] | None:
    """Return an XADD or XTRIM without LIMIT, None where there is none.

    The source has made an exact trimming of the approximate one, and left LIMIT there (server file src/t_stream.c,
    streamRewriteApproxSpecifier). From its primary a server takes it without effect, a client's is a syntax error.
    """
    position = 2
    limit = -1
    exact = True
    while position < len(arguments):
        option = arguments[position].upper()
        if option in (b"MAXLEN", b"MINID"):
            operator = arguments[position + 1 : position + 2]
            exact = exact and operator != [b"~"]
            position += 3 if operator in ([b"="], [b"~"]) else 2
        elif option == b"LIMIT":
            limit = position
            position += 2
        elif option in _STAYING:
            position += _STAYING[option]
        else:
            break
    if limit < 0 or limit + 1 >= len(arguments):
        return None
    # Of an approximate one, no limit is what a replica takes it for.
    return [*arguments[:limit], *([] if exact else [b"LIMIT", b"0"]), *arguments[limit + 2 :]]


def _restore(arguments: list[bytes]) -> list[bytes] | None:
    """Return a RESTORE with a payload for servers of all versions that know its type, None where it is so.

    A slot migration's RESTORE-ASKING does the same outside of clusters, and needs no right of its own.
    """
    payload = portable(arguments[3]) if is_whole(arguments[3]) else arguments[3]
    if payload == arguments[3] and arguments[0].upper() == b"RESTORE":
        return None
    return [b"RESTORE", *arguments[1:3], payload, *arguments[4:]]


def _function(arguments: list[bytes]) -> list[bytes] | None:
    """Return a FUNCTION RESTORE with a payload for servers of all versions, None for anything else."""
    payload = arguments[2]
    if arguments[1].upper() != b"RESTORE" or not is_whole(payload):
        return None
    if len(payload) > FOOTER_SIZE and payload[0] != FUNCTION2:
        return None
    body = payload[: len(payload) - FOOTER_SIZE] + FUNCTIONS_FOOTER
    changed = body + crc64(body)
    return None if changed == payload else [*arguments[:2], changed, *arguments[3:]]


def _without_count(arguments: list[bytes]) -> bytes:
    """Return the arguments as they are sent, without how many they are."""
    request = encode(*arguments)
    return request[request.index(b"\n") + 1 :]


_HANDLERS: Final[dict[bytes, Callable[[list[bytes]], list[bytes] | None]]] = {
    b"XADD": _trim,
    b"XTRIM": _trim,
    b"RESTORE": _restore,
    b"RESTORE-ASKING": _restore,
    b"FUNCTION": _function,
}


class ClientForms(Rule):
    """Gives commands the forms that a target takes from a client."""

    marks = FORMS
    notes = _FORM_NOTES

    def commands(self, run: Received) -> Received:
        """Change the commands that have another form."""
        return run._replace(data=client_forms(run.data, run.marks))


class HugeForm:
    """One huge command on its way in fragments, which is never whole; `arguments` are those at hand at its begin.

    Its options are changed where they lie in the first fragment, a payload at its end: as many bytes come out.
    """

    def __init__(self, arguments: list[bytes]) -> None:
        name = arguments[0].upper()
        self._trims = name in (b"XADD", b"XTRIM")
        self._function = name == b"FUNCTION"
        # Which argument is a payload, -1 for none; the one under way, -1 before the first.
        self._payload = 3 if name in (b"RESTORE", b"RESTORE-ASKING") else -1
        if self._function and len(arguments) > 1 and arguments[1].upper() == b"RESTORE":
            self._payload = 2
        self._argument = -1
        self._header = b""
        self._counted = False  # the number of arguments was passed
        self._left = 0  # bytes of the argument under way, its CRLF included
        self._first = b""  # of the payload
        self._checksum = 0  # of the payload's value
        self._footer = b""  # the bytes of its end so far

    def begin(self, arguments: list[bytes], data: bytes) -> bytes:
        """Return what to send for the first fragment."""
        if not self._trims:
            return self.pass_on(data)
        changed = _trim(arguments)
        if changed is None:
            return data
        start = data.index(b"\n") + 1
        before = _without_count(arguments)
        if not data.startswith(before, start):
            return data
        count = int(data[1 : start - 2]) - len(arguments) + len(changed)
        return b"".join((b"*%d\r\n" % count, _without_count(changed), data[start + len(before) :]))

    def pass_on(self, data: bytes) -> bytes:
        """Return what to send for the next fragment."""
        if self._payload < 0:
            return data
        out: list[bytes] = []
        position = 0
        while position < len(data):
            if self._left == 0:
                end = data.find(b"\n", position)
                behind = len(data) if end < 0 else end + 1
                out.append(data[position:behind])
                self._header += data[position:behind]
                position = behind
                if end >= 0:
                    self._follow(self._header[1:].rstrip(b"\r\n"))
                    self._header = b""
                continue
            piece = data[position : position + self._left]
            position += len(piece)
            out.append(self._value(piece) if self._argument == self._payload else piece)
            self._left -= len(piece)
        return b"".join(out)

    def _follow(self, number: bytes) -> None:
        """Take the number of a header's line."""
        if not number.isdigit():
            self._payload = -1  # nothing that can be followed
        elif self._counted:
            self._argument += 1
            self._left = int(number) + CRLF_SIZE
        self._counted = True

    def _value(self, piece: bytes) -> bytes:
        """Return what to send for bytes of the payload: the same, but for its end."""
        value = piece[: max(0, self._left - FOOTER_SIZE - CRLF_SIZE)]
        self._checksum = CRC64.calc(value, self._checksum)
        self._first = self._first or value[:1]
        self._footer += piece[len(value) :]
        if len(piece) < self._left:
            return value
        version = self._footer[: FOOTER_SIZE - CHECKSUM_SIZE]
        footer = version
        stored = self._footer[len(version) : FOOTER_SIZE]
        if len(self._footer) == FOOTER_SIZE + CRLF_SIZE and self._summed(version) == stored:
            footer = FUNCTIONS_FOOTER if self._function else portable_footer(self._first, version)
            stored = self._summed(footer)
        return b"".join((value, footer, stored, self._footer[FOOTER_SIZE:]))

    def _summed(self, footer: bytes) -> bytes:
        return int(CRC64.calc(footer, self._checksum)).to_bytes(CHECKSUM_SIZE, "little")
