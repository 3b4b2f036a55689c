"""How much the codec does for a key, a command and a reply, counted: the same on every machine.

`python -m tests.bench.work` prints the counts of the running Python beside those recorded in work.json, `--record`
writes them there. Counted are calls, of Python and of C functions, and bytecode instructions: a slow machine has as
many of them as a fast one. They differ between versions of Python, so each has a record of its own. There is none
of 3.13: its tracing reports only a part of the instructions this way.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from shaker.codec.rdb.reader import SnapshotReader
from shaker.codec.resp.replies import ReplyScanner
from shaker.commands.sample import pack
from shaker.model.entries import Entries
from shaker.psync.batches import StreamAssembler
from shaker.rules.chain import Chain
from shaker.rules.command_table import CommandTable
from shaker.rules.restore import restore_requests
from tests.bench.loads import LOADS
from tests.support.rdb_bytes import rdb, string

RECORD = Path(__file__).with_suffix(".json")
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
COUNT = 500  # of what is counted: enough that what a chunk costs once does not matter
CHUNK = 64 * 1024

CHAIN = Chain(CommandTable({}))
# Name of a kind of work → its calls and its instructions, each for one key, command or reply.
Counts = dict[str, dict[str, float]]


def _snapshot(body: Callable[[int], bytes]) -> Callable[[], None]:
    data = rdb(b"".join(body(number) for number in range(COUNT)))

    def work() -> None:
        reader, keys = SnapshotReader(), 0
        for start in range(0, len(data), CHUNK):
            for event in reader.feed(data[start : start + CHUNK]):
                assert isinstance(event, Entries)
                keys += restore_requests(CHAIN.entries(event, [])).keys
        assert reader.done
        assert keys == COUNT

    return work


def _stream(kind: str) -> Callable[[], None]:
    data = pack([command for number in range(COUNT) for command in LOADS[kind].commands(number)])

    def work() -> None:
        assembler = StreamAssembler(replid="0" * 40, offset=0, database=0, chain=CHAIN, max_transaction=1 << 28)
        for start in range(0, len(data), CHUNK):
            assembler.feed(data[start : start + CHUNK])
        assert assembler.offset == len(data)

    return work


def _replies(reply: bytes, read: Callable[[ReplyScanner, int], int]) -> Callable[[], None]:
    def work() -> None:
        scanner = ReplyScanner()
        scanner.feed(reply * COUNT)
        assert read(scanner, COUNT) == COUNT

    return work


def _key(kind: int, value: bytes, before: bytes = b"") -> Callable[[int], bytes]:
    return lambda number: before + bytes([kind]) + string(b"key:%d" % number) + value


EXPIRY = b"\xfc" + (4_102_444_800_000).to_bytes(8, "little")
LZF_VALUE = b"\xc3\x0a\x40\x64" + b"x" * 10  # skipped, not decompressed
KINDS: dict[str, Callable[[], None]] = {
    "snapshot: string of 100 bytes": _snapshot(_key(0, string(b"x" * 100))),
    "snapshot: compressed string": _snapshot(_key(0, LZF_VALUE)),
    "snapshot: integer that expires": _snapshot(_key(0, b"\xc0\x07", EXPIRY)),
    "snapshot: small hash": _snapshot(_key(16, string(b"x" * 80))),
    "snapshot: hash of 10 fields": _snapshot(_key(4, b"\x0a" + string(b"f" * 20) * 20)),
    "snapshot: list of 3 nodes": _snapshot(_key(18, b"\x03" + (b"\x02" + string(b"x" * 100)) * 3)),
    "snapshot: sorted set of 10 members": _snapshot(_key(5, b"\x0a" + (string(b"m" * 20) + b"8 bytes.") * 10)),
    **{f"stream: {kind}": _stream(kind) for kind in LOADS},
    "replies: +OK of RESTORE": _replies(b"+OK\r\n", lambda scanner, count: scanner.skip_same(b"+OK\r\n", count)),
    "replies: numbers in EXEC": _replies(b":123\r\n", ReplyScanner.skip),
    "replies: strings in EXEC": _replies(b"$5\r\nvalue\r\n", ReplyScanner.skip),
}


def count(work: Callable[[], None]) -> dict[str, float]:
    """Return calls and instructions of `work`, for one of its COUNT items."""
    work()  # what is made at the first time is not counted
    calls = instructions = 0

    def profile(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal instructions
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        instructions += event == "opcode"
        return trace

    before_profile, before_trace = sys.getprofile(), sys.gettrace()
    try:
        sys.setprofile(profile)
        work()
        sys.setprofile(None)
        sys.settrace(trace)
        work()
    finally:
        sys.settrace(before_trace)
        sys.setprofile(before_profile)
    return {"calls": round(calls / COUNT, 2), "instructions": round(instructions / COUNT, 1)}


def recorded() -> dict[str, Counts]:
    """Return the recorded counts by version of Python."""
    found: dict[str, Counts] = json.loads(RECORD.read_text())
    return found


def main() -> None:
    """Print the counts, and with `--record` write them down."""
    counts = {kind: count(work) for kind, work in KINDS.items()}
    before = recorded() if RECORD.exists() else {}
    for kind, found in counts.items():
        sys.stdout.write(f"{kind:36} {found}  recorded {before.get(PYTHON, {}).get(kind)}\n")
    if "--record" in sys.argv[1:]:
        RECORD.write_text(json.dumps({**before, PYTHON: counts}, indent=1) + "\n")


if __name__ == "__main__":
    main()
