"""Expiries in the stream: every form that changes one, made absolute, put off, told; and that servers agree."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shaker.codec.rdb.field_expiries import LAST_TIME
from shaker.codec.resp.replies import encode
from shaker.rules.expiring_commands import NEEDS, NOTED, SETS, SWAPS
from shaker.rules.expiry import NEVER, Times, rewrite
from tests.support.expiry_forms import (
    AT,
    BEHIND,
    CLOSE,
    FINAL,
    FORMS,
    LATE,
    MARGIN,
    NEAR,
    NOW,
    UNTIL,
    Command,
    Form,
    parse,
    rewritten,
    texts,
    told,
    words,
)
from tests.support.resp_strategies import commands as any_commands

# --- every form, not put off ---


form = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.command)


@form
def test_times_become_absolute(form: Form) -> None:
    """From when the command was written, whatever its unit; conditions go, other options stay where they are."""
    found = rewritten(form.command, times=FINAL)

    assert texts(found) == [form.becomes]
    assert told(found) == (set(), set(), {})


@form
def test_near_expiries_are_put_off_and_told(form: Form) -> None:
    """To `until`, and the keys are told; only the time differs from what it else becomes."""
    found = rewritten(form.command)

    assert texts(found) == [form.becomes.replace(str(AT), str(UNTIL))]
    assert told(found) == (set(words(form.waiting)), set(words(form.copying)), {})


@form
def test_every_expiry_gets_the_margin(form: Form) -> None:
    """Without mention, whether near or not."""
    found = rewritten(form.command, times=CLOSE)

    assert texts(found) == [form.becomes.replace(str(AT), str(AT + MARGIN))]
    assert told(found) == (set(), set(), {})
    assert found.doubtful == set()


@pytest.mark.parametrize("conditions", ["GT", "LT", "xx gt"])
def test_conditions_of_several_fields_stay(conditions: str) -> None:
    """Valkey sends the fields that did not meet them as well; a comparison with a later expiry is looked at again."""
    found = rewritten(f"HPEXPIREAT h {AT} {conditions} FIELDS 2 f g", times=CLOSE)
    assert texts(found) == [f"HPEXPIREAT h {AT + MARGIN} {conditions} FIELDS 2 f g"]
    assert found.copying == {b"h"}
    found = rewritten(f"HPEXPIREAT h {AT} {conditions} FIELDS 2 f g", times=FINAL)
    assert texts(found) == [f"HPEXPIREAT h {AT} {conditions} FIELDS 2 f g"]
    assert found.copying == set()


@pytest.mark.parametrize("at", [10**13 - 1, 10**13 - MARGIN, (1 << 63) - 1, (1 << 63) - MARGIN])
@pytest.mark.parametrize("command", ["SET k v PXAT {}", "PEXPIREAT k {}"])
def test_a_margin_may_make_a_time_longer(command: str, at: int) -> None:
    """By a digit, and never beyond what a server takes."""
    found = rewritten(command.format(at), "SET l w", times=CLOSE)

    assert texts(found) == [command.format(min(at + MARGIN, (1 << 63) - 1)), "SET l w"]


@pytest.mark.parametrize("command", ["HPEXPIREAT h {} FIELDS 1 f", "HSETEX h PXAT {} FIELDS 1 f v"])
def test_a_margin_ends_at_the_last_time_of_fields(command: str) -> None:
    """Redis takes none for a field behind it; Valkey does, and keeps what it has."""
    for at, becomes in ((LAST_TIME, LAST_TIME), (LAST_TIME - 5, LAST_TIME), (LAST_TIME + 5, LAST_TIME + 5)):
        assert texts(rewritten(command.format(at), times=CLOSE)) == [command.format(becomes)]


def test_an_expiry_is_near_below_and_not_at_the_limit() -> None:
    """And one that lies behind `until` is never brought forward."""
    assert texts(rewritten(f"PEXPIREAT k {NEAR}")) == [f"PEXPIREAT k {NEAR + MARGIN}"]
    assert texts(rewritten(f"PEXPIREAT k {NEAR - 1}")) == [f"PEXPIREAT k {UNTIL}"]
    late = BEHIND._replace(near=UNTIL + 1000)
    found = rewritten(f"PEXPIREAT k {UNTIL + 999}", times=late)
    assert texts(found) == [f"PEXPIREAT k {UNTIL + 999}"]
    assert found.waiting == {b"k"}


@pytest.mark.parametrize("at", [0, 1, -5, -(10**15)])
def test_past_times(at: int) -> None:
    """Long ago is near, too."""
    assert texts(rewritten(f"PEXPIREAT k {at}")) == [f"PEXPIREAT k {UNTIL}"]
    assert texts(rewritten(f"PEXPIREAT k {at}", times=FINAL)) == [f"PEXPIREAT k {at}"]
    assert texts(rewritten(f"EXPIRE k {at}", times=FINAL)) == [f"PEXPIREAT k {NOW + at * 1000}"]


# --- what is not touched ---

AS_THEY_ARE = [
    "SET k v",
    "SET k v GET",
    "SET k v PX",
    "SET k v PX abc",
    "SET k v PX 1.5",
    "SET k v PX +5",
    "SET k v PX --5",
    "SET k v PX 10000000000000000000",
    "SET k v PX 9223372036854775807",  # beyond what a server takes once it counts from now
    "SET k v EX 9223372036854775807",
    "SET k v PXAT 9223372036854775808",
    "SET k v NX PX 5x",
    "SET k v IFEQ",
    "SETEX k 5",
    "SETEX k x v",
    "EXPIRE k",
    "EXPIRE k soon",
    "EXPIRE k 9223372036854775807",
    "GETEX k",
    "GETEX k PERSIST",
    "GETEX k EX",
    "PERSIST k",
    "RESTORE k 0 p",
    "RESTORE k 0 p ABSTTL REPLACE",
    "RESTORE k x p",
    "RESTORE k 5",
    "MSETEX 1 k v",
    "MSETEX 1 k v PX x",
    "MSETEX 3 k v PX 5 EX 5",  # these are keys and values
    "MSETEX x k v PX 5",
    "MSETEX 99999999999999999999 k v PX 5",
    "HEXPIRE h 5 FIELDS 1",
    "HEXPIRE h x FIELDS 1 f",
    "HSETEX h FIELDS 1 PX 5",
    "HSETEX h KEEPTTL FIELDS 1 f v",
    "HSETEX h FIELDS 2 PX 5 EX 5",
    "HSETEX h PX x FIELDS 1 f v",
    "HGETEX h FIELDS 2 PX 5",
    "HGETEX h PERSIST FIELDS 1 f",
    "HPERSIST h FIELDS 1 f",
    "RENAME k l",
    "INCR k",
    "MSET EX 5 PX 5",
    "SETRANGE k 5 PX",
    "HSET h PX 5",
    "XADD s MAXLEN 5 * EX 5",
]


@pytest.mark.parametrize("command", AS_THEY_ARE)
def test_others_stay_as_they_are(command: str) -> None:
    """Without a time, or with one that no server takes, or no such command: the target judges it."""
    for times in (BEHIND, CLOSE, FINAL):
        found = rewritten(command, times=times)
        assert found.data == encode(*words(command))
        assert told(found) == (set(), set(), {})


@pytest.mark.parametrize(
    ("command", "becomes"),
    [
        ("SET k v XX", "SET k v"),
        ("SET k v NX GET", "SET k v GET"),
        ("SET k v KEEPTTL XX", "SET k v KEEPTTL"),
        ("SET k NX ifeq PX", "SET k NX"),
        ("SET k v IFDEQ abc GET", "SET k v GET"),
        ("MSETEX 2 NX 1 XX 2 XX", "MSETEX 2 NX 1 XX 2"),
        ("HSETEX h FXX FIELDS 1 FXX FNX", "HSETEX h FIELDS 1 FXX FNX"),
    ],
)
def test_conditions_go_without_a_time(command: str, becomes: str) -> None:
    """The source propagates what took effect; a target that has lost the key early would refuse it."""
    assert texts(rewritten(command, times=CLOSE)) == [becomes]


# --- what may come too late, and what moves ---

RENEWS = {
    "EXPIRE k 5": "k",
    "PEXPIREAT k 99999999999999": "k",
    "PERSIST k": "k",
    "GETEX k PXAT 99999999999999": "k",
    "SET k v KEEPTTL": "k",
    "SET k v XX KEEPTTL": "k",
    "MSETEX 2 k v l w KEEPTTL": "k l",
    "HPEXPIREAT h 99999999999999 FIELDS 1 f": "h",
    "HPERSIST h FIELDS 1 f": "h",
    "HSETEX h PXAT 99999999999999 FIELDS 1 f v": "h",
    "HSETEX h KEEPTTL FIELDS 1 f v": "h",
    "HGETEX h PXAT 99999999999999 FIELDS 1 f": "h",
    "HGETEX h PERSIST FIELDS 1 f": "h",
}


@pytest.mark.parametrize("command", RENEWS)
def test_what_takes_the_value_for_granted_is_doubtful_if_late(command: str) -> None:
    """The target may have lost the value before; otherwise it has it."""
    assert rewritten(command, times=LATE).doubtful == set(words(RENEWS[command]))
    assert rewritten(command, times=LATE).copying == set()
    assert rewritten(command, times=BEHIND).doubtful == set()
    assert rewritten(command, times=CLOSE).doubtful == set()


def test_a_key_that_was_just_set_without_an_expiry_is_not_doubtful() -> None:
    """It cannot have expired; any other key that gets an expiry may have, if late."""
    far = UNTIL + 9000
    late = LATE._replace(near=NEVER)
    just_set = [["SET", "k", "v"], ["PEXPIREAT", "k", str(far)]]
    others = [
        ["SET", "a", "v"],
        ["PEXPIREAT", "b", str(far)],
        ["SET", "c", "v", "KEEPTTL"],
        ["PEXPIREAT", "c", str(far)],
    ]
    commands = [[word.encode() for word in command] for command in just_set + others]

    found = rewritten(*commands, times=late)

    assert found.doubtful == {b"b", b"c"}
    assert [command[2] for command in parse(found.data) if command[0] == b"PEXPIREAT"] == [
        b"%d" % (far + MARGIN)
    ] * 3


@pytest.mark.parametrize(
    "command", ["SET k v PX 5", "SETEX k 5 v", "MSETEX 1 k v PX 5", "RESTORE k 5 p", "SET k v", "SET k v XX"]
)
def test_what_brings_the_value_is_not_doubtful(command: str) -> None:
    """Late or not: what was there before does not matter."""
    assert rewritten(command, times=LATE).doubtful == set()


MOVED: dict[str, tuple[set[bytes], dict[int, set[bytes]]]] = {
    "RENAME a b": ({b"b"}, {}),
    "renamenx a b": ({b"b"}, {}),
    "COPY a b": ({b"b"}, {}),
    "COPY a b REPLACE": ({b"b"}, {}),
    "COPY a b DB 3": (set(), {3: {b"b"}}),
    "COPY a b REPLACE db 0": (set(), {0: {b"b"}}),
    "COPY DB 3": ({b"3"}, {}),
    "MOVE a 7": (set(), {7: {b"a"}}),
    "MOVE a x": (set(), {}),
    "MOVE a 99999999999999999999": (set(), {}),
}


@pytest.mark.parametrize("command", MOVED)
def test_what_moves_takes_its_expiry_along(command: str) -> None:
    """Where the key goes an expiry that was put off may go, as soon as there is any; the command stays as it is."""
    copying, elsewhere = MOVED[command]
    found = rewritten(command, any_waiting=True)
    assert told(found) == (set(), copying, elsewhere)
    assert found.data == encode(*words(command))
    assert told(rewritten(command)) == (set(), set(), {})
    assert told(rewritten("SET x v PX 5", command)) == ({b"x"}, copying, elsewhere)
    assert told(rewritten("HPEXPIRE x 5 FIELDS 1 f", command)) == (set(), {b"x", *copying}, elsewhere)
    assert told(rewritten(command, "SET x v PX 5")) == ({b"x"}, set(), {})


@pytest.mark.parametrize("command", MOVED)
def test_what_moves_a_key_that_may_be_gone_is_copied(command: str) -> None:
    """Late, the target may have lost the key before: where it goes is doubtful, and in another database copied."""
    copying, elsewhere = MOVED[command]
    found = rewritten(command, times=LATE)
    assert (found.doubtful, told(found)) == (copying, (set(), set(), elsewhere))


MADE = {
    "SUNIONSTORE d k l": "d",
    "SINTERSTORE d k l": "d",
    "SDIFFSTORE d k": "d",
    "smove k d m": "d",
    "ZUNIONSTORE d 2 k l WEIGHTS 1 2": "d",
    "ZINTERSTORE d 1 k": "d",
    "ZDIFFSTORE d 1 k": "d",
    "ZRANGESTORE d k 0 -1": "d",
    "GEOSEARCHSTORE d k FROMLONLAT 0 0 BYRADIUS 9 km": "d",
    "GEORADIUS k 0 0 9 km STORE d": "d",
    "GEORADIUSBYMEMBER k m 9 km STOREDIST d": "d",
    "SORT k ALPHA STORE d": "d",
    "sort k store d": "d",
    "SORT k LIMIT 0 5": "",
    "BITOP AND d k l": "d",
    "PFMERGE d k l": "d",
    "LMOVE k d LEFT RIGHT": "d",
    "RPOPLPUSH k d": "d",
    "LSET k 0 v": "k",
    "XSETID k 5-1": "k",
    "XGROUP SETID k g 0": "k",
    "XCLAIM k g c 0 5-1 JUSTID": "k",
}


@pytest.mark.parametrize("command", MADE)
def test_what_is_made_of_a_key_that_may_be_gone_is_doubtful(command: str) -> None:
    """And what fails without it: if late. Otherwise the target makes it of what it has."""
    found = rewritten(command, times=LATE)
    assert (found.doubtful, told(found)) == (set(words(MADE[command])), (set(), set(), {}))
    assert found.data == encode(*words(command))
    for times in (BEHIND, CLOSE):
        found = rewritten(command, times=times, any_waiting=True)
        assert (found.doubtful, told(found)) == (set(), (set(), set(), {}))


# --- runs ---

KEYS = [b"k", b"l", b"PX", b"EX", b"", b"\r\n$1\r\n"]
NUMBERS = st.one_of(
    st.integers(-1000, 1000),
    st.integers(NOW - 10**6, UNTIL + 10**6),
    st.integers(-(2**70), 2**70),
    st.sampled_from([b"", b"-", b"x", b"1e3", b"\xb2"]),
)
ATOMS = st.one_of(
    st.sampled_from([*KEYS, b"PXAT", b"EXAT", b"NX", b"GT", b"KEEPTTL", b"ABSTTL", b"FIELDS", b"DB", b"IFEQ"]),
    NUMBERS.map(lambda number: number if isinstance(number, bytes) else b"%d" % number),
    st.binary(max_size=5),
)
NAMES_OF_COMMANDS = st.sampled_from(sorted(NOTED)).map(lambda name: name.lower() if len(name) % 2 else name)
LOOKING_LIKE = st.tuples(NAMES_OF_COMMANDS, st.lists(ATOMS, max_size=8)).map(lambda pair: [pair[0], *pair[1]])
WELL_FORMED = st.sampled_from(
    [words(one.command) for one in FORMS] + [words(text) for text in (*RENEWS, *MOVED, *MADE)]
)
RUNS = st.lists(st.one_of(any_commands, LOOKING_LIKE, WELL_FORMED), min_size=1, max_size=12)
TIMES = st.sampled_from([BEHIND, LATE, CLOSE, FINAL])


@given(RUNS, TIMES, st.booleans())
@settings(max_examples=300, deadline=None)
def test_runs(run: list[Command], times: Times, any_waiting: bool) -> None:
    """Each command becomes one, in its place, the same as alone; what is not noted keeps its very bytes."""
    found = rewritten(*run, times=times, any_waiting=any_waiting)

    alone = []
    waiting, copying, doubtful = set[bytes](), set[bytes](), set[bytes]()
    elsewhere: dict[int, set[bytes]] = {}
    for command in run:
        one = rewritten(command, times=times, any_waiting=any_waiting or bool(waiting) or bool(copying))
        if command[0].upper() not in NOTED:
            assert one.data == encode(*command)
        alone.append(one.data)
        waiting |= one.waiting
        copying |= one.copying
        doubtful |= one.doubtful
        for database, keys in one.elsewhere.items():
            elsewhere[database] = elsewhere.get(database, set()) | keys
    assert found == (b"".join(alone), waiting, copying, doubtful, elsewhere)
    assert len(parse(found.data)) == len(run)


@given(st.lists(LOOKING_LIKE, min_size=1, max_size=5), TIMES)
@settings(max_examples=200, deadline=None)
def test_absolute_ones_that_are_far_are_not_touched_again(run: list[Command], times: Times) -> None:
    """What was made absolute and is not near stays, but for the margin, when it is looked at once more."""
    far = times._replace(near=NEVER, margin=0)
    once = rewritten(*run, times=far).data
    assert rewrite(once, far, any_waiting=False).data == once


def test_commands_are_noted_with_what_they_do() -> None:
    """Those that only need a key must not make a run be looked at as long as none can have expired early."""
    needing = {name for name, note in NOTED.items() if note.bits == NEEDS}
    assert needing == {words(one)[0].upper() for one in (*MOVED, *MADE)}
    swapping = {name for name, note in NOTED.items() if note.bits == SWAPS}
    assert swapping == {b"SWAPDB"}
    assert {note.bits for name, note in NOTED.items() if name not in needing | swapping} == {SETS}
    for one in (*(one.command for one in FORMS), *RENEWS, *MOVED, *MADE, "SET k v XX", "MSETEX 1 k v XX"):
        command = words(one)
        assert len(command) >= NOTED[command[0].upper()].least, one


# --- real servers ---


def test_a_relative_time_is_known_roughly_while_behind() -> None:
    """However far it is: its key is told, so that it gets the true one later."""
    assert told(rewritten("SET k v EX 1000000000", times=BEHIND)) == ({b"k"}, set(), {})
    assert told(rewritten("SET k v PXAT 4102444800000", times=BEHIND)) == (set(), set(), {})
    assert told(rewritten("SET k v EX 1000000000", times=CLOSE)) == (set(), set(), {})
    assert told(rewritten("SET k v EX 1000000000", times=FINAL)) == (set(), set(), {})
