"""Rule: commands that an older target lacks are put into those that it has, where the effect is the same.

Sources propagate effects, so that few are left: fields of hashes that expire, counters of streams, payloads. Any
other command that the target lacks reaches it, and is rejected and counted by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from shaker.codec.resp.command_events import Note
from shaker.codec.resp.replies import encode
from shaker.codec.resp.requests import command_end, commands, split
from shaker.errors import ShakerError
from shaker.rules.built_values import commands_for
from shaker.rules.command_table import CommandTable
from shaker.rules.expiring_commands import NOTED
from shaker.rules.restore import is_whole
from shaker.rules.rule import Received, Rule
from shaker.rules.target_form import EVERYTHING, TargetForm

# The run has commands that the target may lack.
OLDER: Final = 1 << 13
FIELD_EXPIRIES: Final = (b"HEXPIRE", b"HPEXPIRE", b"HEXPIREAT", b"HPEXPIREAT", b"HPERSIST", b"HGETEX")
TIMES: Final = frozenset((b"EX", b"PX", b"EXAT", b"PXAT"))
MAX_DIGITS: Final = 9

Changed = list[list[bytes]] | None  # commands instead of one, None where it stays


class OlderTarget(Rule):
    """Changes commands for a target of this `table` and `form`."""

    marks = OLDER

    def __init__(self, table: CommandTable, form: TargetForm) -> None:
        self._form = form
        self._has_field_expiry = form.able.field_expiry
        self._unsupported = 0
        self._handlers: dict[bytes, tuple[int, Callable[[list[bytes]], Changed]]] = {}
        if form is EVERYTHING:
            return
        if not all(form.taken):
            self._handlers[b"RESTORE"] = 4, self._restore
        if not form.able.stream_counters:
            self._handlers[b"XGROUP"] = 5, self._group
            self._handlers[b"XSETID"] = 4, self._set_id
        for name, least, handler in (
            (b"HSETEX", 6, self._set_fields),
            (b"HGETDEL", 5, self._delete_fields),
            (b"MSETEX", 4, self._set_many),
        ):
            if name.decode().lower() not in table:
                self._handlers[name] = least, handler
        if form.able.drops_field_expiry:
            for name in FIELD_EXPIRIES:
                if name.decode().lower() not in table:
                    self._handlers[name] = 3, self._drop
            if not form.able.functions:
                self._handlers[b"FUNCTION"] = 2, self._drop
            if "vectorset" in form.modules:
                for name in (b"VADD", b"VREM", b"VSETATTR"):
                    self._handlers[name] = 2, self._drop
        self.notes = {name: Note(OLDER, least) for name, (least, _) in self._handlers.items()}

    def commands(self, run: Received) -> Received:
        """Change the commands of a run; their number changes too."""
        out: list[bytes] = []
        marks, count = run.marks, 0
        self._unsupported = 0
        data, position = run.data, 0
        while position < len(data):
            end = command_end(data, position)
            arguments = split(data[position:end])
            least, handler = self._handlers.get(arguments[0].upper(), (0, None))
            changed = handler(arguments) if handler is not None and len(arguments) >= least else None
            if changed is None:
                out.append(data[position:end])
                count += 1
            else:
                for each in changed:
                    out.append(encode(*each))
                    note = NOTED.get(each[0])
                    if note is not None and len(each) >= note.least:
                        marks |= note.bits
                count += len(changed)
            position = end
        return run._replace(
            data=b"".join(out), commands=count, marks=marks, unsupported=run.unsupported + self._unsupported
        )

    def _drop(self, arguments: list[bytes]) -> Changed:
        self._unsupported += 1
        return []

    def _restore(self, arguments: list[bytes]) -> Changed:
        """Build the value, in the transaction of the command: readers see the key before it or after it."""
        key, payload = arguments[1], arguments[3]
        if not is_whole(payload) or self._form.taken[payload[-10]]:
            return None
        try:
            made = commands_for(payload, key, self._form.able)
        except ShakerError:
            return None  # the target judges it
        if self._form.able.drops_field_expiry and self._form.lacking(payload):
            self._unsupported += 1
        changed = [[b"UNLINK", key]]
        for request in made:
            changed += commands(request)
        if arguments[2] != b"0":
            absolute = any(argument.upper() == b"ABSTTL" for argument in arguments[4:])
            changed.append([b"PEXPIREAT" if absolute else b"PEXPIRE", key, arguments[2]])
        return changed

    def _group(self, arguments: list[bytes]) -> Changed:
        """Leave out how many entries a group has read."""
        return self._without(arguments, 5, (b"ENTRIESREAD",))

    def _set_id(self, arguments: list[bytes]) -> Changed:
        """Leave out how many entries a stream has had."""
        return self._without(arguments, 3, (b"ENTRIESADDED", b"MAXDELETEDID"))

    def _without(self, arguments: list[bytes], first: int, options: tuple[bytes, ...]) -> Changed:
        kept, position = arguments[:first], first
        while position < len(arguments):
            if arguments[position].upper() in options:
                position += 2
            else:
                kept.append(arguments[position])
                position += 1
        return None if len(kept) == len(arguments) else [kept]

    def _set_fields(self, arguments: list[bytes]) -> Changed:
        """HSETEX: its condition was met, or the source would not send it."""
        key, position = arguments[1], 2
        expiry: list[bytes] = []
        while position < len(arguments) and (option := arguments[position].upper()) != b"FIELDS":
            if option in TIMES:
                expiry = arguments[position : position + 2]
                position += 1
            elif option == b"KEEPTTL" and self._has_field_expiry:
                return None
            position += 1
        flat = arguments[position + 2 :]
        if len(flat) < 2 or len(flat) % 2:
            return None
        setting = [b"HSET", key, *flat]
        if not expiry:
            return [setting]
        if not self._has_field_expiry:
            if not self._form.able.drops_field_expiry:
                return None
            self._unsupported += 1
            return [setting]
        name = {b"EX": b"HEXPIRE", b"PX": b"HPEXPIRE", b"EXAT": b"HEXPIREAT"}.get(expiry[0].upper(), b"HPEXPIREAT")
        fields = flat[::2]
        return [setting, [name, key, expiry[1], b"FIELDS", b"%d" % len(fields), *fields]]

    def _delete_fields(self, arguments: list[bytes]) -> Changed:
        """HGETDEL, which Valkey sends as it is."""
        return [[b"HDEL", arguments[1], *arguments[4:]]] if arguments[2].upper() == b"FIELDS" else None

    def _set_many(self, arguments: list[bytes]) -> Changed:
        """MSETEX: a SET for each key, in one transaction as all commands of a batch are."""
        number = arguments[1]
        if not number.isdigit() or len(number) > MAX_DIGITS or len(arguments) < 2 + 2 * int(number):
            return None
        after = 2 + 2 * int(number)
        options = [option for option in arguments[after:] if option.upper() not in (b"NX", b"XX")]
        return [[b"SET", *arguments[index : index + 2], *options] for index in range(2, after, 2)]
