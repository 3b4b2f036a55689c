"""Every form of command that sets or changes an expiry, with the form that is sent to the target."""

from __future__ import annotations

from typing import NamedTuple

import hiredis

from shaker.codec.resp.replies import encode
from shaker.rules.expiry import NEVER, Rewritten, Times, rewrite

Command = list[bytes]
NOW = 2_000_000_000_000
NEAR = NOW + 600_000
UNTIL = NOW + 86_400_000
MARGIN = 2000
BEHIND = Times(written=NOW, near=NEAR, until=UNTIL, margin=MARGIN, late=False, passed=False)
LATE = BEHIND._replace(late=True, passed=True)
CLOSE = Times(written=NOW, near=NEVER, until=0, margin=MARGIN, late=False, passed=False)
FINAL = CLOSE._replace(margin=0)


def words(text: str) -> Command:
    """A command as people write it."""
    return [word.encode() for word in text.split()]


def rewritten(*commands: str | Command, times: Times = BEHIND, any_waiting: bool = False) -> Rewritten:
    """What becomes of commands."""
    requests = [words(command) if isinstance(command, str) else command for command in commands]
    return rewrite(b"".join(encode(*request) for request in requests), times, any_waiting=any_waiting)


def parse(data: bytes) -> list[Command]:
    """The commands in `data`, read by hiredis."""
    reader = hiredis.Reader(notEnoughData=Ellipsis)
    reader.feed(data)
    found = []
    while (request := reader.gets()) is not Ellipsis:
        found.append(request)
    return found


def texts(found: Rewritten) -> list[str]:
    """The commands as people write them."""
    return [b" ".join(command).decode() for command in parse(found.data)]


def told(found: Rewritten) -> tuple[set[bytes], set[bytes], dict[int, set[bytes]]]:
    """Which keys were told."""
    return found.waiting, found.copying, found.elsewhere


AT = NOW + 100_000  # what a time of 100 seconds, given in any way, is


class Form(NamedTuple):
    """A command with a time of 100 seconds: what it becomes, and which keys wait, or are copied, when put off."""

    command: str
    becomes: str
    waiting: str = "k"
    copying: str = ""
    real: bool = True  # a server takes it, after what `prepare` gives it


FORMS = [
    Form(f"SET k v PXAT {AT}", f"SET k v PXAT {AT}"),
    Form(f"SET k v EXAT {AT // 1000}", f"SET k v PXAT {AT}"),
    Form("SET k v PX 100000", f"SET k v PXAT {AT}"),
    Form("SET k v EX 100", f"SET k v PXAT {AT}"),
    Form("set k v px 100000", f"set k v PXAT {AT}"),
    Form("SET PX EX EX 100", f"SET PX EX PXAT {AT}", "PX", real=False),
    Form("SET k v GET EX 100", f"SET k v GET PXAT {AT}"),
    Form("SET k v EX 100 GET", f"SET k v PXAT {AT} GET"),
    Form("SET k v NX EX 100", f"SET k v PXAT {AT}"),
    Form(f"SET k v xx PXAT {AT} GET", f"SET k v PXAT {AT} GET"),
    Form(f"SET k v IFEQ PX PXAT {AT}", f"SET k v PXAT {AT}"),
    Form("SETEX k 100 v", f"SET k v PXAT {AT}"),
    Form("psetex k 100000 v", f"SET k v PXAT {AT}"),
    Form("SETEX k 100 100", f"SET k 100 PXAT {AT}"),
    Form("EXPIRE k 100", f"PEXPIREAT k {AT}"),
    Form("PEXPIRE k 100000", f"PEXPIREAT k {AT}"),
    Form(f"EXPIREAT k {AT // 1000}", f"PEXPIREAT k {AT}"),
    Form(f"PEXPIREAT k {AT}", f"PEXPIREAT k {AT}"),
    Form(f"pexpireat k {AT} gt", f"PEXPIREAT k {AT}"),
    Form("EXPIRE k 100 NX", f"PEXPIREAT k {AT}"),
    Form("PEXPIRE k 100000 XX LT", f"PEXPIREAT k {AT}", real=False),
    Form("GETEX k EX 100", f"GETEX k PXAT {AT}"),
    Form(f"GETEX k PXAT {AT}", f"GETEX k PXAT {AT}"),
    Form("RESTORE k 100000 p", f"RESTORE k {AT} p ABSTTL"),
    Form("RESTORE k 100000 p REPLACE", f"RESTORE k {AT} p REPLACE ABSTTL"),
    Form(f"RESTORE k {AT} p absttl REPLACE", f"RESTORE k {AT} p absttl REPLACE"),
    Form("RESTORE k 100000 p REPLACE IDLETIME 7", f"RESTORE k {AT} p REPLACE IDLETIME 7 ABSTTL"),
    Form(f"RESTORE k {AT} ABSTTL ABSTTL FREQ 7", f"RESTORE k {AT} ABSTTL ABSTTL FREQ 7", real=False),
    Form("MSETEX 1 k v EX 100", f"MSETEX 1 k v PXAT {AT}"),
    Form("MSETEX 2 EX 9 PX 8 NX PX 100000", f"MSETEX 2 EX 9 PX 8 PXAT {AT}", "EX PX", real=False),
    Form("HEXPIRE h 100 FIELDS 1 f", f"HPEXPIREAT h {AT} FIELDS 1 f", "", "h"),
    Form("HPEXPIRE h 100000 NX FIELDS 2 f NX", f"HPEXPIREAT h {AT} NX FIELDS 2 f NX", "", "h"),
    Form("HEXPIRE h 100 xx FIELDS 1 f", f"HPEXPIREAT h {AT} FIELDS 1 f", "", "h", real=False),
    Form("HEXPIRE h 100 XX GT FIELDS 1 f", f"HPEXPIREAT h {AT} FIELDS 1 f", "", "h", real=False),
    Form(f"HEXPIREAT h {AT // 1000} gt FIELDS 1 f", f"HPEXPIREAT h {AT} FIELDS 1 f", "", "h"),
    Form(f"HPEXPIREAT h {AT} FIELDS 1 GT", f"HPEXPIREAT h {AT} FIELDS 1 GT", "", "h"),
    Form("HSETEX h EX 100 FIELDS 1 f v", f"HSETEX h PXAT {AT} FIELDS 1 f v", "", "h"),
    Form(f"HSETEX h PXAT {AT} FNX FIELDS 1 f v", f"HSETEX h PXAT {AT} FIELDS 1 f v", "", "h"),
    Form("HSETEX h FXX PX 100000 FIELDS 2 PX 5 FXX 7", f"HSETEX h PXAT {AT} FIELDS 2 PX 5 FXX 7", "", "h"),
    Form("HGETEX h EX 100 FIELDS 1 f", f"HGETEX h PXAT {AT} FIELDS 1 f", "", "h"),
    Form(f"HGETEX h PXAT {AT} FIELDS 1 EX", f"HGETEX h PXAT {AT} FIELDS 1 EX", "", "h"),
]
