"""Whole requests in a row, as `StreamReader` finds them: where they end, and their arguments."""

from __future__ import annotations

from collections.abc import Iterator

from shaker.codec.resp.argument_skipper import MAX_HEADER


def command_end(data: bytes, start: int) -> int:
    """Return where the whole command that begins at `start` ends."""
    end = data.index(b"\r\n", start)
    return arguments_end(data, end + 2, int(data[start + 1 : end]))


def arguments_end(data: bytes, position: int, arguments: int) -> int:
    """Return where so many whole arguments, the first of which begins at `position`, end."""
    while arguments:
        # Up to three digits, the CRLF is looked for where it must be: a search costs more than the rest.
        first, second = data[position + 1], data[position + 2]
        if second == 13:
            position += first - 42
        elif data[position + 3] == 13:
            position += first * 10 + second - 521
        elif data[position + 4] == 13:
            position += first * 100 + second * 10 + data[position + 3] - 5320
        else:
            end = data.index(b"\r\n", position)
            position = end + 4 + int(data[position + 1 : end])
        arguments -= 1
    return position


def commands(data: bytes) -> Iterator[list[bytes]]:
    """Yield the arguments of each of the whole commands in `data`."""
    start = 0
    while start < len(data):
        end = command_end(data, start)
        yield split(data[start:end])
        start = end


def longest_argument(requests: bytes) -> int:
    """Return the length of the longest argument of requests in a row, the last of which may be cut, in bytes."""
    longest = position = left = 0
    while True:
        end = requests.find(b"\r\n", position, position + MAX_HEADER)
        if end < 0:
            return longest
        number = int(requests[position + 1 : end])
        position = end + 2
        if left:
            left -= 1
            longest = max(longest, number)
            position += number + 2
        else:
            left = number


def nth_command(data: bytes, index: int) -> list[bytes]:
    """Return the arguments of command number `index`, from 0, of a run of whole commands."""
    start = 0
    for _ in range(index):
        start = command_end(data, start)
    return split(data[start : command_end(data, start)])


def whole(suffixes: bytes, prefix: bytes) -> bytes:
    """Return the commands of a run that lack `prefix`, number of arguments and name; without one they are whole."""
    if not prefix:
        return suffixes
    arguments = int(prefix[1 : prefix.index(b"\r\n")]) - 1
    commands: list[bytes] = []
    position = 0
    while position < len(suffixes):
        start = position
        position = arguments_end(suffixes, position, arguments)
        commands += (prefix, suffixes[start:position])
    return b"".join(commands)


def split(command: bytes) -> list[bytes]:
    """Return the arguments of one whole request."""
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
