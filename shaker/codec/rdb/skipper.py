"""The machine that passes over RDB values by their lengths, stopping and continuing wherever the bytes are cut."""

from __future__ import annotations

from typing import Final

from shaker.codec.rdb.strings import INCOMPLETE, INVALID, read_length
from shaker.codec.rdb.value_types import (
    ENCODED,
    ENCODED_LZF,
    GROUP,
    GROUPS,
    MODULE,
    MODULE_PARTS,
    STRING,
    TEXT_DOUBLE,
    Pattern,
)
from shaker.errors import CorruptError

# Elements of a collection, or nodes of a list or stream. A server needs more than 100 GB for so many in one key, and
# nearly every damaged count is larger.
MAX_COUNT: Final = (1 << 31) - 1


class Skipper:
    """Passes what a pattern (see rdb_types.py) names; counts and lengths are only ever counted down.

    `finished`: the last `skip` came to the end of the pattern. `remaining`: raw bytes that must come before the
    next element. `bad_position`: where in the buffer the byte is that CorruptError speaks of.
    """

    def __init__(self) -> None:
        self.finished = False
        self.remaining = 0
        self.bad_position = 0
        # The pattern at work, its next element, how often it is still to be run; those that wait for its end.
        self._pattern: Pattern = ()
        self._index = 0
        self._count = 0
        self._stack: list[tuple[Pattern, int, int]] = []

    def start(self, pattern: Pattern) -> None:
        """Begin again with `pattern`."""
        self.remaining = 0
        self._pattern, self._index, self._count = pattern, 0, 1
        self._stack = []

    def skip(self, buffer: bytes, position: int, end: int) -> int:
        """Pass the bytes of the pattern from `position` on, up to `end`; return the position behind it.

        Only the incomplete header of a length stays unread before `end`. Raises CorruptError.
        """
        self.finished = False
        if self.remaining:
            taken = min(self.remaining, end - position)
            self.remaining -= taken
            position += taken
            if self.remaining:
                return position
        pattern, index, count = self._pattern, self._index, self._count
        stack = self._stack
        size = len(pattern)
        while True:
            if index == size:
                count -= 1
                if count > 0:
                    index = 0
                elif stack:
                    pattern, index, count = stack.pop()
                    size = len(pattern)
                    continue
                else:
                    self.finished = True
                    break
            element = pattern[index]
            if element > 0:
                behind = position + element
            elif position >= end:
                break
            elif element == TEXT_DOUBLE:
                head = buffer[position]
                behind = position + 1 + (head if head < 253 else 0)
            else:
                head = buffer[position]
                if head < 0x40:
                    value, behind = head, position + 1
                elif head < ENCODED:
                    value, behind = read_length(buffer, position, end)
                elif element != STRING or head > ENCODED_LZF:
                    value, behind = 0, INVALID
                elif head == ENCODED_LZF:
                    value, behind = read_length(buffer, position + 1, end)
                    if behind >= 0:
                        behind = read_length(buffer, behind, end)[1]
                else:
                    value, behind = 1 << (head & 3), position + 1
                if behind == INCOMPLETE:
                    break
                if behind == INVALID:
                    self.bad_position = position
                    raise CorruptError("a length has a form that does not exist")
                if element == STRING:
                    behind += value
                elif element == MODULE:
                    if value >= len(MODULE_PARTS):
                        self.bad_position = position
                        raise CorruptError(f"module opcode {value} is unknown")
                    if value:  # the same element again behind the part, until opcode 0
                        stack.append((pattern, index, count))
                        pattern, index, count, size = MODULE_PARTS[value], -1, 1, 1
                elif element <= GROUP and value:
                    if value > MAX_COUNT:
                        self.bad_position = position
                        raise CorruptError(f"a count of {value} elements is above {MAX_COUNT}")
                    stack.append((pattern, index + 1, count))
                    pattern, index, count = GROUPS[GROUP - element], -1, value
                    size = len(pattern)
            index += 1
            position = behind
            if position > end:
                self.remaining = position - end
                position = end
                break
        self._pattern, self._index, self._count = pattern, index, count
        return position
