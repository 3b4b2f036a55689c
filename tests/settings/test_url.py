"""URLs of servers, taken apart without looking anything up."""

import pytest

from shaker.settings.url import Address, parse_address


@pytest.mark.parametrize(
    ("url", "host", "port", "text", "tls"),
    [
        ("redis://localhost", "localhost", 6379, "localhost:6379", False),
        ("redis://127.0.0.1:6380/", "127.0.0.1", 6380, "127.0.0.1:6380", False),
        ("redis://127.0.0.1:6380/0", "127.0.0.1", 6380, "127.0.0.1:6380", False),
        ("redis://127.0.0.1?db=0", "127.0.0.1", 6379, "127.0.0.1:6379", False),
        ("REDISS://Cache.Example:6390", "cache.example", 6390, "cache.example:6390", True),
        ("redis://[::1]", "::1", 6379, "[::1]:6379", False),
        ("redis://u:p@[fe80::1%eth0]:7000", "fe80::1%eth0", 7000, "[fe80::1%eth0]:7000", False),
    ],
)
def test_single_servers(url: str, host: str, port: int, text: str, tls: bool) -> None:
    address = parse_address(url)

    assert (host, port, text, tls) == (address.host, address.port, address.text, address.tls)
    assert address.nodes == ((host, port),)


def test_a_socket_has_a_path() -> None:
    address = parse_address("unix://user:pw@/run/redis%20one.sock?db=0")

    assert (
        address.path,
        address.text,
        address.host,
        address.port,
    ) == ("/run/redis one.sock", "/run/redis one.sock", "", 0)
    assert (address.username, address.password) == ("user", "pw")


def test_sentinels_have_nodes_and_a_service() -> None:
    address = parse_address("redis+sentinel://:pw@one,two:26380/mymaster/0")

    assert address.nodes == (("one", 26379), ("two", 26380))
    assert (address.service, address.text) == ("mymaster", "one:26379,two:26380/mymaster")


def test_clusters_have_nodes() -> None:
    assert parse_address("redis+cluster://one,[::1]:7000").nodes == (("one", 6379), ("::1", 7000))


@pytest.mark.parametrize(
    ("url", "username", "password"),
    [
        ("redis://h", None, None),
        ("redis://user@h", "user", None),
        ("redis://:secret@h", None, "secret"),
        ("redis://us%3Aer:p%40ss%2Fw%23rd@h", "us:er", "p@ss/w#rd"),
        ("redis://u:a@b:c@h", "u", "a@b:c"),
        ("redis://:$HOME%24{x}@h", None, "$HOME${x}"),
        ("redis://:[half@h", None, "[half"),
        ("redis://:a℀b@h", None, "a℀b"),
    ],
)
def test_credentials_of_the_url_are_percent_decoded_and_nothing_else(
    url: str, username: str | None, password: str | None
) -> None:
    address = parse_address(url)

    assert (username, password, "h:6379") == (address.username, address.password, address.text)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "must begin with"),
        ("hunter2", "must begin with"),
        ("http://hunter2@h", "must begin with"),
        ("redis:/hunter2@h", "must begin with"),
        ("redis://", "must name host:port"),
        ("redis://:hunter2@", "must name host:port"),
        ("redis://:hun/ter2@h", "must name host:port"),
        ("redis://h:hunter2", "must name host:port"),
        ("redis://h:0", "names a port outside"),
        ("redis://h:65536", "names a port outside"),
        ("redis://[::1", "must name host:port"),
        ("redis://::1:6379", "must name host:port"),
        ("redis://h:1,i:2", "names several hosts"),
        ("redis://h/3", "names a database"),
        ("redis://h?db=3", "names a database"),
        ("redis://h/hunter2", "names a database"),
        ("redis://h?password=hunter2", r"holds a '\?'"),
        ("redis://h?db=0&hunter2=1", r"holds a '\?'"),
        ("redis://:hunter2#x@h", "holds a '#'"),
        ("redis://:hunter2 @h", "holds a space"),
        ("redis://h\n", "holds a space"),
        ("unix://", "must name the path"),
        ("unix://h/run/redis.sock", "must name the path"),
        ("redis+sentinel://one", "must name the service"),
        ("redis+sentinel://one/mymaster/3", "names a database"),
    ],
)
def test_faults_say_why_and_repeat_nothing_of_the_url(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        parse_address(url)

    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_texts_for_people_hold_no_password() -> None:
    address = parse_address("redis://user:hunter2@h:1")

    assert "hunter2" not in repr(address) + address.text + address.masked_url
    assert address.masked_url == "redis://user:***@h:1"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("redis://a:1", "rediss://u:p@A:1/0", True),
        ("redis://localhost", "redis://127.0.0.1:6379", True),
        ("redis://a:1", "redis://a:2", False),
        ("redis://a:1", "redis://b:1", False),
        ("unix:///a", "unix:///a", True),
        ("unix:///a", "unix:///b", False),
        ("unix:///a", "redis://a", False),
        ("redis+cluster://a,b", "redis+cluster://b,c", True),
        ("redis+sentinel://s/one", "redis+sentinel://s/two", False),
        ("redis+sentinel://s/one", "redis+sentinel://s/one", True),
    ],
)
def test_the_same_server_is_recognized_without_a_resolver(one: str, other: str, same: bool) -> None:
    assert same is parse_address(one).is_same_server(parse_address(other))
    assert same is parse_address(other).is_same_server(parse_address(one))


def test_addresses_are_values() -> None:
    assert parse_address("redis://a") == Address("redis", "a", 6379, nodes=(("a", 6379),))
