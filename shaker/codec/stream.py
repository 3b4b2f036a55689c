"""The replication stream: commands found by their lengths, their bytes kept as they came.

What a source sends after a snapshot or `+CONTINUE` is a sequence of RESP requests (server file src/replication.c,
replicationFeedReplicas). Every byte counts into the replication offset. Runs of ordinary commands come out as one
slice each; only commands in `special`, and those that mention `marker`, come out one by one, split into arguments.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from shaker.codec.arguments import MAX_HEADER, ArgumentSkipper
from shaker.errors import CorruptError, UnfaithfulError

# The shortest argument: `$0`, its CRLF and the CRLF behind nothing.
MIN_ARGUMENT: Final = 6
# More arguments than this no server takes (server file networking.c, processMultibulkBuffer).
MAX_ARGUMENTS: Final = (1 << 31) - 1
# Above so many bytes, a command is looked at only when all its arguments can have come: joining what is held of it
# anew for each chunk would take a time that grows with its square.
PATIENT: Final = 64 * 1024
# Lengths as the servers spell them, looked up instead of parsed: most are small.
LENGTHS: Final[dict[bytes, int]] = {b"%d" % n: n for n in range(4096)}
# Spellings of command names remembered, so that hostile names cannot grow the table without end.
MAX_NAMES: Final = 4096


class Plain(NamedTuple):
    """A run of whole ordinary commands as they came; `end_offset` is the replication offset behind the last.

    `noted` are the bits of all noted commands among them; it may have bits too many, never too few.
    """

    data: bytes
    commands: int
    end_offset: int
    noted: int = 0


class Note(NamedTuple):
    """Bits to set on runs that hold a command, if it has `least` arguments, its name included."""

    bits: int
    least: int


class Special(NamedTuple):
    """One command that needs a look: its name in upper case, its arguments (name first), its bytes as they came."""

    name: bytes
    arguments: list[bytes]
    data: bytes
    end_offset: int


class Fragment(NamedTuple):
    """Bytes of one huge ordinary command, the `first` or `last` of them or between.

    The first one carries the `arguments` that lie whole in it. `end_offset` is the replication offset behind the
    last whole command: behind this one for its last fragment.
    """

    arguments: list[bytes]
    data: bytes
    first: bool
    last: bool
    end_offset: int


Piece = Plain | Special | Fragment


class StreamReader:
    """Finds the commands in the stream; any split of the bytes gives the same commands.

    `offset` is the replication offset behind the last whole command, in bytes. An ordinary command of more than
    `fragment_above` bytes comes in fragments and is never held; any other of more than `max_command` bytes raises
    UnfaithfulError, bytes that are no request raise CorruptError; both name the offset. `noted` has commands, by
    names in upper case, whose presence the runs tell.
    """

    def __init__(
        self,
        offset: int,
        *,
        special: frozenset[bytes],
        marker: bytes,
        max_command: int,
        fragment_above: int | None = None,
        noted: dict[bytes, Note] | None = None,
    ) -> None:
        self.offset = offset
        self._special = special
        self._marker = marker
        self._max_command = max_command
        self._fragment_above = fragment_above
        self._passing: ArgumentSkipper | None = None
        self._noted = noted or {}
        self._names: dict[bytes, bool] = {}
        self._notes: dict[bytes, Note] = {}  # of noted commands, by the names as spelled
        self._parts: list[bytes] = []
        self._held = 0
        self._need = 0  # nothing can be whole before so many bytes are held
        self._resume = 0  # where in the held bytes the next unread argument of the first command begins
        self._left = -1  # arguments of the first command still to be read, -1 before its header

    @property
    def held(self) -> int:
        """Bytes held of a command that is not whole yet."""
        return self._held

    def feed(self, data: bytes) -> list[Piece]:
        """Take bytes of the stream; return what is whole by now, in order, and the fragments of what is huge."""
        if self._passing is not None:
            return self._pass_on(self._passing, data)
        self._held += len(data)
        if self._parts:
            self._parts.append(data)
            if self._held < self._need:
                return []
            data = b"".join(self._parts)
        return self._scan(data)

    def _scan(self, buffer: bytes) -> list[Piece]:
        out: list[Piece] = []
        size = len(buffer)
        marked = self._marker in buffer
        names = self._names
        lengths = LENGTHS
        start = run = 0  # where the current command and the current run of ordinary commands begin
        commands = 0
        position = self._resume
        left = self._left
        need = 0
        known: bool | None = None
        # The count and name of the last ordinary command with arguments, as sent: most begin like the one before.
        head = b""
        head_left = 0
        head_bits = noted = 0  # of that command, and of the current run
        while True:
            if left < 0:
                if head_left and buffer.startswith(head, position):
                    position += len(head)
                    left = head_left
                    known = False
                else:
                    known = None
                    if position >= size:
                        break
                    end = buffer.find(b"\r\n", position, position + MAX_HEADER)
                    if end < 0:
                        self._check_header(buffer, position, 42)
                        break
                    if buffer[position] != 42:
                        raise self._corrupt(buffer, position)
                    left = self._number(buffer, position + 1, end)
                    if left == 0 or left > MAX_ARGUMENTS:
                        raise self._corrupt(buffer, position)
                    position = end + 2
            while left:
                # Up to three digits, the CRLF is looked for where it must be: a search costs more than the rest.
                if position + 6 > size:
                    end = -1
                elif buffer[position + 2] == 13:
                    end = position + 2
                elif buffer[position + 3] == 13:
                    end = position + 3
                elif buffer[position + 4] == 13:
                    end = position + 4
                else:
                    end = -1
                if end < 0 or buffer[end + 1] != 10 or buffer[position] != 36:
                    end = buffer.find(b"\r\n", position, position + MAX_HEADER)
                    if end < 0:
                        self._check_header(buffer, position, 36)
                        break
                    if buffer[position] != 36:
                        raise self._corrupt(buffer, position)
                text = buffer[position + 1 : end]
                length = lengths.get(text, -1)
                after = end + 4 + (length if length >= 0 else self._number(buffer, position + 1, end))
                if after > size:
                    need = after
                    break
                position = after
                left -= 1
            if left:
                break
            if buffer[position - 2] != 13:
                raise self._corrupt(buffer, position - 2)
            if known is None:
                # The name: the first argument, behind `*n\r\n$m\r\n`.
                count_end = _line_end(buffer, start)
                length_end = _line_end(buffer, count_end + 2)
                name_end = length_end + 2 + int(buffer[count_end + 3 : length_end])
                name = buffer[length_end + 2 : name_end]
                known = names.get(name)
                if known is None:
                    known = self._learn(name)
                if not known:
                    head = buffer[start : name_end + 2]
                    head_left = int(buffer[start + 1 : count_end]) - 1
                    note = self._notes.get(name)
                    head_bits = note.bits if note is not None and head_left + 1 >= note.least else 0
                    noted |= head_bits
            if known or (marked and self._marker in buffer[start:position]):
                offset = self.offset
                if commands:
                    out.append(Plain(buffer[run:start], commands, offset + start, noted))
                    commands = 0
                noted = head_bits
                raw = buffer[start:position]
                arguments = split(raw)
                out.append(Special(arguments[0].upper(), arguments, raw, offset + position))
                run = position
            else:
                commands += 1
            start = position
            left = -1
        if commands:
            whole = buffer[run:start] if run or start != size else buffer
            out.append(Plain(whole, commands, self.offset + start, noted))
        self._keep(buffer, start, position, left, need, out)
        return out

    def _pass_on(self, passing: ArgumentSkipper, data: bytes) -> list[Piece]:
        """Give out what came of a huge command instead of holding it."""
        size = passing.skip(data)
        if size < 0:
            raise self._corrupt(b"", self._held)
        self._held += size
        if not passing.finished:
            return [Fragment([], data, first=False, last=False, end_offset=self.offset)]
        self.offset += self._held
        self._passing = None
        self._held = 0
        fragment = Fragment([], data[:size], first=False, last=True, end_offset=self.offset)
        return [fragment, *self.feed(data[size:])] if size < len(data) else [fragment]

    def _begin_passing(self, rest: bytes, raw: int) -> Fragment | None:
        """Begin to give out the huge command that `rest` begins; None for one that has to be held whole."""
        if self._left < 0 or self._marker in rest:
            return None
        arguments = split_whole(rest)
        if not arguments or arguments[0].upper() in self._special:
            return None
        if raw:
            self._passing = ArgumentSkipper(self._left - 1, raw)
        else:
            self._passing = ArgumentSkipper(self._left, 0)
            self._passing.skip(rest[self._resume :])
        self._parts = []
        self._resume, self._left, self._need = 0, -1, 0
        return Fragment(arguments, rest, first=True, last=False, end_offset=self.offset)

    def _keep(self, buffer: bytes, start: int, position: int, left: int, need: int, out: list[Piece]) -> None:
        """Hold the bytes of the command that is not whole, and remember where in it to go on."""
        self.offset += start
        rest = buffer[start:] if start else buffer
        self._parts = [rest] if rest else []
        self._held = len(rest)
        self._resume = position - start
        self._left = left
        least = max(need - start, self._held)
        if left > 0:
            least = max(least, (need - start if need else self._resume) + (left - (need > 0)) * MIN_ARGUMENT)
        self._need = least if self._held > PATIENT else need - start
        if self._fragment_above is not None and least > self._fragment_above:
            fragment = self._begin_passing(rest, need - start - self._held if need else 0)
            if fragment is not None:
                out.append(fragment)
                return
        if least > self._max_command:
            behind = rest.find(b"\n", rest.find(b"\n") + 1) + 1  # the count's line and the name's length
            name = rest[behind : behind + 32].split(b"\r")[0] if behind else b""
            raise UnfaithfulError(
                f"a {name.decode('ascii', 'replace') or '?'} command at offset {self.offset} needs {least} bytes",
                hint="raise snapshot.max_value (SHAKER_SNAPSHOT__MAX_VALUE) and the memory that the worker gets",
                kind="too_large",
            )

    def _learn(self, name: bytes) -> bool:
        upper = name.upper()
        known = upper in self._special
        if len(self._names) < MAX_NAMES:
            self._names[name] = known
        if upper in self._noted:
            self._notes[name] = self._noted[upper]  # as many as a name has spellings by case
        return known

    def _number(self, buffer: bytes, start: int, end: int) -> int:
        text = buffer[start:end]
        if not text.isdigit():
            raise self._corrupt(buffer, start)
        return int(text)

    def _check_header(self, buffer: bytes, position: int, kind: int) -> None:
        """Raise unless the incomplete header at `position` can still become one."""
        have = buffer[position : position + MAX_HEADER]
        if not have:
            return
        digits = have[1:].removesuffix(b"\r")  # not have[1:-1]: mypyc fails at a slice that ends before it begins
        if have[0] != kind or len(have) == MAX_HEADER or (digits and not digits.isdigit()):
            raise self._corrupt(buffer, position)

    def _corrupt(self, buffer: bytes, position: int) -> CorruptError:
        return CorruptError(
            f"the stream of the source breaks the protocol at offset {self.offset + position}: "
            f"byte {buffer[position] if position < len(buffer) else -1}",
            hint="is something other than a Redis or Valkey between the worker and the source?",
        )


def _line_end(buffer: bytes, position: int) -> int:
    """Return where the CRLF of the whole `*n` or `$n` line at `position` is."""
    end = position + 2
    while buffer[end] != 13:
        end += 1
    return end


def split(command: bytes) -> list[bytes]:
    """Return the arguments of one whole request as `StreamReader` found it."""
    position = command.index(b"\r\n") + 2
    arguments = []
    while position < len(command):
        end = command.index(b"\r\n", position)
        start = end + 2
        position = start + int(command[position + 1 : end])
        arguments.append(command[start:position])
        position += 2
    return arguments


def split_whole(begun: bytes) -> list[bytes]:
    """Return the arguments that lie whole in the beginning of a request."""
    position = begun.find(b"\n") + 1
    arguments: list[bytes] = []
    while True:
        end = begun.find(b"\r\n", position, position + MAX_HEADER)
        if end < 0 or not begun[position + 1 : end].isdigit():
            return arguments
        start = end + 2
        position = start + int(begun[position + 1 : end])
        if position + 2 > len(begun):
            return arguments
        arguments.append(begun[start:position])
        position += 2


def nth_command(data: bytes, index: int) -> list[bytes]:
    """Return the arguments of command number `index`, from 0, of a run of whole commands."""
    position = 0
    for _ in range(index + 1):
        start = position
        end = data.index(b"\r\n", position)
        count = int(data[position + 1 : end])
        position = end + 2
        for _ in range(count):
            end = data.index(b"\r\n", position)
            position = end + 4 + int(data[position + 1 : end])
    return split(data[start:position])
