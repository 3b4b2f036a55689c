"""The replication stream: commands found by their lengths, their bytes kept as they came.

After a snapshot or `+CONTINUE`, a source sends a sequence of RESP requests (server file src/replication.c,
replicationFeedReplicas). Every byte counts into the replication offset. Runs of ordinary commands come out as one
slice each; only commands in `special`, and those with an argument that begins with `marker`, come out one by one,
split into arguments.
"""

from __future__ import annotations

from typing import Final

from shaker.codec.resp.argument_skipper import MAX_HEADER, ArgumentSkipper
from shaker.codec.resp.command_events import Fragment, Note, Piece, Plain, Special
from shaker.codec.resp.command_kinds import BEGINS, ENDS, ORDINARY, CommandKinds
from shaker.codec.resp.open_command import LastCommand, OpenCommand
from shaker.codec.resp.requests import split, split_whole
from shaker.codec.resp.stream_errors import corrupt_stream, too_large
from shaker.errors import CorruptError

# The shortest argument: `$0`, its CRLF and the CRLF behind nothing.
MIN_ARGUMENT: Final = 6
# More arguments than this no server takes (server file networking.c, processMultibulkBuffer).
MAX_ARGUMENTS: Final = (1 << 31) - 1
# Above so many bytes, a command is looked at only when all its arguments can have come: joining its
# held bytes again for each chunk would take a time that grows with its square.
PATIENT: Final = 64 * 1024
# Longer beginnings of commands, their names included, are not compared with the next one's.
MAX_PREFIX: Final = 64


class StreamReader:
    """Finds the commands in the stream; any split of the bytes gives the same commands.

    `offset` is the replication offset behind the last whole command, in bytes. An ordinary command of more than
    `fragment_above` bytes comes in fragments and is never held; any other of more than `max_command` bytes raises
    UnfaithfulError, bytes that are no request raise CorruptError; both name the offset. `noted` has commands, by
    names in upper case, whose presence the runs note. `frame` are two special commands that frame transactions:
    where both come at once, and nothing special between them, they are left out. Commands that begin with
    `prefix_free` (number of arguments and name, in any case) come without that, where a run has at least
    `least_prefix_free` of them and nothing else.
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
        frame: tuple[bytes, bytes] | None = None,
        prefix_free: bytes = b"",
        least_prefix_free: int = 1,
    ) -> None:
        self.offset = offset
        self._kinds = CommandKinds(special, frame, noted or {})
        self._marker = marker
        self._max_command = max_command
        self._fragment_above = fragment_above
        self._passing: ArgumentSkipper | None = None
        self._prefix_free = prefix_free
        self._least_prefix_free = least_prefix_free
        self._parts: list[bytes] = []
        self._held = 0
        self._need = 0  # nothing can be whole before so many bytes are held
        self._resume = 0  # where in the held bytes the next unread argument of the first command begins
        self._open = OpenCommand()
        self._last = LastCommand()

    @property
    def held(self) -> int:
        """Bytes held of a command that is not whole yet."""
        return self._held

    def feed(self, data: bytes) -> list[Piece]:
        """Take bytes of the stream; return the commands that are whole by now, and the fragments of huge ones."""
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
        marker, mark = self._marker, self._marker[0]
        start = run = 0  # where the current command and the current run of ordinary commands begin
        commands = 0
        noted = 0  # bits of the run
        # The slices before `run` in the run: a transaction is taken out of its frame. Where it began, if it has not
        # ended, and commands and bits of the run before it.
        pieces: list[bytes] = []
        framed = -1
        commands_before = noted_before = 0
        # The command that is being read: arguments still to come, the state below, where its next argument begins.
        now, last, kinds = self._open, self._last, self._kinds
        left, unnamed, kind, marked, bits = now.left, False, ORDINARY, False, 0
        if left >= 0:
            unnamed, kind, marked, bits = now.unnamed, now.kind, now.marked, now.bits
        position = self._resume
        need = 0
        # Most commands begin like the one before. `mixed`: those of the run do not. `suffixes` is what follows the
        # beginnings of its commands, gathered where all of them are to come prefix_free.
        prefix, prefix_left, prefix_bits = last.prefix, last.left, last.bits
        prefix_size = len(prefix)
        mixed = False
        free_size = len(self._prefix_free) or -1
        prefix_free = gathers = prefix_size == free_size and prefix.upper() == self._prefix_free
        suffixes: list[bytes] = []
        while True:
            if left < 0:
                marked = False
                if prefix_size and buffer[position : position + prefix_size] == prefix:
                    position += prefix_size
                    left, bits = prefix_left, prefix_bits
                    unnamed = False
                    kind = ORDINARY
                else:
                    left, position = self._count(buffer, position, size)
                    if left < 0:
                        break
                    unnamed = True
            while left:
                # Up to three digits, the CRLF is looked for where it must be: a search costs more than the rest.
                length = end = -1
                if position + 6 <= size and buffer[position] == 36:
                    first, second = buffer[position + 1], buffer[position + 2]
                    if second == 13:
                        if 48 <= first <= 57:
                            length, end = first - 48, position + 2
                    elif buffer[position + 3] == 13:
                        if 48 <= first <= 57 and 48 <= second <= 57:
                            length, end = first * 10 + second - 528, position + 3
                    elif buffer[position + 4] == 13:
                        third = buffer[position + 3]
                        if 48 <= first <= 57 and 48 <= second <= 57 and 48 <= third <= 57:
                            length, end = first * 100 + second * 10 + third - 5328, position + 4
                if length < 0 or buffer[end + 1] != 10:
                    length, end = self._length(buffer, position)
                    if length < 0:
                        break
                after = end + 4 + length
                if after > size:
                    need = after
                    break
                if unnamed:
                    unnamed = False
                    kind, bits = kinds.known(buffer[end + 2 : after - 2], left)
                    if kind == ORDINARY:
                        mixed = mixed or commands > 0 or (framed >= 0 and commands_before > 0)
                        prefix_size = after - start if left > 1 and after - start <= MAX_PREFIX else 0
                        prefix = buffer[start : start + prefix_size]
                        prefix_left, prefix_bits = left - 1, bits
                        prefix_free = prefix_size == free_size and prefix.upper() == self._prefix_free
                        gathers = prefix_free and not mixed
                elif buffer[end + 2] == mark and buffer[end + 2 : end + 2 + len(marker)] == marker:
                    marked = True
                position = after
                left -= 1
            if left:
                break
            if buffer[position - 2] != 13:
                raise self._corrupt(buffer, position - 2)
            if kind == ORDINARY and not marked:
                noted |= bits
                commands += 1
                if gathers:
                    suffixes.append(buffer[start + prefix_size : position])
            elif kind == BEGINS and framed < 0:
                pieces.append(buffer[run:start])
                commands_before, noted_before = commands, noted
                commands = noted = 0
                framed, run = start, position
            elif kind == ENDS and framed >= 0 and commands:
                pieces.append(buffer[run:start])
                commands += commands_before
                noted |= noted_before
                framed, run = -1, position
            else:
                known = prefix if gathers else b""
                if framed >= 0:
                    self._give(pieces, buffer, framed, framed, commands_before, noted_before, known, suffixes, out)
                    self._give_special(buffer[framed:run], run, out)
                    framed = -1
                self._give(pieces, buffer, run, start, commands, noted, known, suffixes, out)
                self._give_special(buffer[start:position], position, out)
                mixed, gathers = False, prefix_free
                commands = noted = 0
                run = position
            start = position
            left = -1
        known = prefix if gathers else b""
        if framed >= 0:
            self._give(pieces, buffer, framed, framed, commands_before, noted_before, known, suffixes, out)
            self._give_special(buffer[framed:run], run, out)
        self._give(pieces, buffer, run, start, commands, noted, known, suffixes, out)
        if left >= 0:
            now.unnamed, now.kind, now.marked, now.bits = unnamed, kind, marked, bits
        if prefix is not last.prefix:
            last.prefix, last.left, last.bits = prefix, prefix_left, prefix_bits
        self._keep(buffer, start, position, left, need, out)
        return out

    def _give(
        self,
        pieces: list[bytes],
        buffer: bytes,
        run: int,
        end: int,
        commands: int,
        noted: int,
        prefix: bytes,
        suffixes: list[bytes],
        out: list[Piece],
    ) -> None:
        """Give out the run of `pieces` and of what lies between `run` and `end`, if there are commands in it.

        With a `prefix`, `suffixes` begins with what follows it in each of them. Both lists are left without the run.
        """
        if prefix and commands >= self._least_prefix_free:
            out.append(Plain(b"".join(suffixes[:commands]), commands, self.offset + end, noted, prefix))
        elif commands:
            pieces.append(buffer[run:end] if run or end != len(buffer) else buffer)
            out.append(Plain(b"".join(pieces), commands, self.offset + end, noted))
        pieces.clear()
        if prefix:
            del suffixes[:commands]
        else:
            suffixes.clear()

    def _give_special(self, raw: bytes, end: int, out: list[Piece]) -> None:
        arguments = split(raw)
        out.append(Special(arguments[0].upper(), arguments, raw, self.offset + end))

    def _count(self, buffer: bytes, position: int, size: int) -> tuple[int, int]:
        """Return how many arguments the command at `position` has and where they begin; -1 where that is cut."""
        if position + 5 <= size and buffer[position] == 42 and 49 <= buffer[position + 1] <= 57:
            first, second = buffer[position + 1], buffer[position + 2]
            if second == 13:
                if buffer[position + 3] == 10:
                    return first - 48, position + 4
            elif 48 <= second <= 57 and buffer[position + 3] == 13 and buffer[position + 4] == 10:
                return first * 10 + second - 528, position + 5
        if position >= size:
            return -1, position
        end = buffer.find(b"\r\n", position, position + MAX_HEADER)
        if end < 0:
            self._check_header(buffer, position, 42)
            return -1, position
        count = self._number(buffer, position + 1, end) if buffer[position] == 42 else 0
        if count == 0 or count > MAX_ARGUMENTS:
            raise self._corrupt(buffer, position)
        return count, end + 2

    def _length(self, buffer: bytes, position: int) -> tuple[int, int]:
        """Return the length of the argument at `position` and where the CRLF behind that is; -1 where it is cut."""
        end = buffer.find(b"\r\n", position, position + MAX_HEADER)
        if end < 0:
            self._check_header(buffer, position, 36)
            return -1, end
        if buffer[position] != 36:
            raise self._corrupt(buffer, position)
        return self._number(buffer, position + 1, end), end

    def _pass_on(self, passing: ArgumentSkipper, data: bytes) -> list[Piece]:
        """Give out the bytes of a huge command instead of holding them."""
        size = passing.skip(data)
        if size < 0:
            raise self._corrupt(b"", self._held)
        self._held += size
        longest, marked = passing.longest, tuple(passing.marked)
        if not passing.finished:
            return [Fragment([], data, False, False, self.offset, longest, marked)]
        self.offset += self._held
        self._passing = None
        self._held = 0
        fragment = Fragment([], data[:size], False, True, self.offset, longest, marked)
        return [fragment, *self.feed(data[size:])] if size < len(data) else [fragment]

    def _begin_passing(self, rest: bytes) -> Fragment | None:
        """Begin to give out the huge command that `rest` begins; None for one that has to be held whole."""
        if self._open.left < 0 or b"\n" + self._marker in rest:
            return None
        arguments = split_whole(rest)
        if not arguments or self._kinds.is_special(arguments[0]):
            return None
        count = int(rest[1 : rest.index(b"\r\n")])
        passing = ArgumentSkipper(count, self._open.left, self._marker)
        passing.skip(rest[self._resume :])
        self._passing = passing
        self._parts = []
        self._resume, self._open.left, self._need = 0, -1, 0
        longest = max(passing.longest, max(map(len, arguments)))
        return Fragment(arguments, rest, True, False, self.offset, longest, (), count)

    def _keep(self, buffer: bytes, start: int, position: int, left: int, need: int, out: list[Piece]) -> None:
        """Hold the bytes of the command that is not whole, and remember where in it to continue."""
        self.offset += start
        if start == len(buffer):
            self._parts = []
            self._held = self._resume = self._need = 0
            self._open.left = -1
            return
        rest = buffer[start:] if start else buffer
        self._parts = [rest]
        self._held = len(rest)
        self._resume = position - start
        self._open.left = left
        least = max(need - start, self._held)
        if left > 0:
            least = max(least, (need - start if need else self._resume) + (left - (need > 0)) * MIN_ARGUMENT)
        self._need = least if self._held > PATIENT else need - start
        if self._fragment_above is not None and least > self._fragment_above:
            if self._held < PATIENT and left > 0 and len(split_whole(rest)) < 2:
                self._need = 0  # the first fragment has the command's name and its first key
                return
            fragment = self._begin_passing(rest)
            if fragment is not None:
                out.append(fragment)
                return
        if least > self._max_command:
            raise too_large(rest, self.offset, least)

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
        return corrupt_stream(buffer, position, self.offset + position)
