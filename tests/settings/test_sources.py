"""Where settings come from: precedence, origins, and faults of every layer at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shaker.errors import SettingsError
from shaker.settings.names import SETTINGS
from shaker.settings.passwords import environment_name
from shaker.settings.sources import Loaded, load, masked

URLS = {"SHAKER_SOURCE__URL": "redis://127.0.0.1:6379", "SHAKER_TARGET__URL": "redis://127.0.0.1:6380"}


def faults(flags: dict[str, str] | None = None, **environment: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(flags, environment=environment)
    return str(caught.value).splitlines()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "shaker.toml"
    path.write_text('name = "file"\n[health]\nport = 1\n[target.tls]\nverify = false\n')
    return path


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    directory = tmp_path / "secrets"
    directory.mkdir()
    (directory / "name").write_text("secret\n")
    return directory


def test_each_layer_goes_before_the_next(file: Path, secrets: Path) -> None:
    def name(layers: int) -> tuple[str, str]:
        environment = dict(URLS)
        if layers > 0:
            environment["SHAKER_SECRETS_DIR"] = str(secrets)
        if layers > 1:
            environment["SHAKER_CONFIG"] = str(file)
        if layers > 2:
            environment["SHAKER_NAME"] = "environment"
        found = load({"name": "flag"} if layers > 3 else {}, environment=environment)
        return found.settings.name, found.origins["name"]

    assert [name(layers) for layers in range(5)] == [
        ("default", "default"),
        ("secret", str(secrets / "name")),
        ("file", str(file)),
        ("environment", "environment SHAKER_NAME"),
        ("flag", "command line"),
    ]


def test_one_layer_does_not_hide_the_rest_of_a_section(file: Path) -> None:
    found = load({"health.host": "::1"}, environment={**URLS, "SHAKER_CONFIG": str(file)}).settings

    assert (found.health.host, found.health.port, found.health.ready_max_lag_seconds) == ("::1", 1, 30.0)
    assert not found.target.tls.verify


def test_the_file_of_the_command_line_goes_before_that_of_the_environment(file: Path) -> None:
    found = load(config_file=str(file), environment={**URLS, "SHAKER_CONFIG": "/nowhere"})

    assert found.settings.name == "file"


def test_every_setting_has_an_origin() -> None:
    found = load(environment=URLS)

    assert list(SETTINGS) == list(found.origins)
    assert found.origins["source.url"] == "environment SHAKER_SOURCE__URL"
    assert found.origins["source.tls.verify"] == "default"


def test_required_settings_are_named_with_what_to_do() -> None:
    found = faults()

    assert found == [
        "source.url (SHAKER_SOURCE__URL): is required, for example redis://127.0.0.1:6379",
        "target.url (SHAKER_TARGET__URL): is required, for example redis://127.0.0.1:6380",
    ]


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        ("memory_limit", "1k", "must be at least 1 MiB"),
        ("memory_limit", "5000GiB", "must be at most 1024 GiB"),
        ("spool.limit", "x", "is not a size in bytes such as 67108864, 64mb or 64MiB"),
        ("health.port", "70000", "must be at most 65535"),
        ("health.port", "1.5", "must be a whole number"),
        ("health.port", "x", "must be a whole number"),
        ("health.host", "", "must not be empty"),
        ("health.ready_max_lag_seconds", "0", "must be more than 0 seconds"),
        ("source.timeout_seconds", "0", "must be at least 1 second"),
        ("retry.max_seconds", "x", "must be a number"),
        ("mode", "x", "must be follow, migrate or snapshot"),
        ("target.adopt", "maybe", "must be true or false"),
        ("source.password", 1, "must be text, in quotes"),
        ("name", "a{b", "holds a character that is not allowed, is empty, or is too long"),
    ],
)
def test_a_fault_says_what_may_be_written(setting: str, value: str, text: str) -> None:
    """In a person's units, and without the value."""
    (found,) = faults({setting: value}, **URLS)

    assert found.startswith(f"{setting} ({environment_name(setting)}, from command line): {text}; meaning: ")


@pytest.mark.parametrize("content", [b"[", b"\xff", None])
def test_a_file_that_cannot_be_read_is_the_only_fault(content: bytes | None, tmp_path: Path) -> None:
    """What it would have set is not missing: nobody knows."""
    path = tmp_path / "shaker.toml"
    if content is not None:
        path.write_bytes(content)

    assert len(faults(SHAKER_CONFIG=str(path))) == 1


@pytest.mark.parametrize("value", ['{"a": "b"}', "[1, 2]", "123", "true", "null", " a ", "$HOME", ""])
def test_a_password_of_the_environment_is_text_as_it_is(value: str) -> None:
    """Nothing decodes or expands it."""
    found = load(environment={**URLS, "SHAKER_SOURCE__PASSWORD": value})

    assert found.settings.source.credentials()[1] == (value or None)


def test_a_section_as_json_is_no_variable_of_ours() -> None:
    """Its origin could not be shown setting by setting."""
    found = faults(SHAKER_HEALTH='{"port": 1}', **URLS)

    assert len(found) == 1
    assert found[0].startswith("SHAKER_HEALTH: no setting has this environment variable")


def test_the_file_may_be_a_pipe() -> None:
    """Such as the shell's `--config <(decrypt shaker.toml)`."""
    reading, writing = os.pipe()
    try:
        os.write(writing, b'name = "piped"\n')
        os.close(writing)
        found = load(config_file=f"/dev/fd/{reading}", environment=URLS)
    finally:
        os.close(reading)

    assert found.settings.name == "piped"


def test_a_misspelt_name_is_not_missing_too() -> None:
    assert faults(SHAKER_SOURCE_URL="redis://a", SHAKER_TARGET__URL="redis://b") == [
        "SHAKER_SOURCE_URL: no setting has this environment variable; did you mean SHAKER_SOURCE__URL?"
    ]


def test_the_faults_of_all_layers_come_together(tmp_path: Path) -> None:
    path = tmp_path / "shaker.toml"
    path.write_text('nmae = "x"\n[source]\npasword = "hunter2"\n[health]\nport = "hunter2"\n')

    found = faults({"mode": "hunter2"}, SHAKER_CONFIG=str(path), SHAKER_TARGT__URL="redis://:hunter2@h", **URLS)

    assert len(found) == 5
    text = "\n".join(found)
    assert "nmae: is not a setting" in text
    assert "did you mean name?" in text
    assert "source.pasword: is not a setting" in text
    assert "did you mean source.password?" in text
    assert "SHAKER_TARGT__URL: no setting has this environment variable; did you mean SHAKER_TARGET__URL?" in text
    assert f"health.port (SHAKER_HEALTH__PORT, from {path}): " in text
    assert "mode (SHAKER_MODE, from command line): " in text
    assert "hunter2" not in text


def test_a_variable_with_too_few_underscores_is_a_fault() -> None:
    found = faults(SHAKER_HEALTH_PORT="8080", **URLS)

    assert found == [
        "SHAKER_HEALTH_PORT: no setting has this environment variable; did you mean SHAKER_HEALTH__PORT?"
    ]


def test_a_variable_in_lower_case_is_a_fault() -> None:
    assert "did you mean SHAKER_NAME?" in faults(shaker_name="x", **URLS)[0]


def test_variables_that_are_no_settings_are_left_alone() -> None:
    environment = {
        **URLS,
        "SHAKER_BUILD_COMPILED": "1",
        "SHAKERS": "x",
        "SHAKER_SERVICE_HOST": "10.0.0.1",
        "SHAKER_SERVICE_PORT": "8080",
        "SHAKER_SERVICE_PORT_HTTP": "8080",
        "SHAKER_PORT": "tcp://10.0.0.1:8080",
        "SHAKER_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "SHAKER_PORT_8080_TCP_ADDR": "10.0.0.1",
        "SHAKER_PROD_PORT": "tcp://10.0.0.1:8080",
    }

    assert load(environment=environment).settings.name == "default"


@pytest.mark.parametrize(
    "content", [b"name = hunter2", b"\xff\xfe", b'name = "a"\nname = "hunter2"', b"[source\npassword='hunter2'"]
)
def test_a_file_that_is_not_toml_is_named_and_not_shown(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "shaker.toml"
    path.write_bytes(content)

    found = faults(SHAKER_CONFIG=str(path), **URLS)

    assert len(found) == 1
    assert found[0].startswith(f"SHAKER_CONFIG: {path} is not ")
    assert "hunter2" not in found[0]


def test_a_file_that_is_missing_is_a_fault() -> None:
    assert faults(SHAKER_CONFIG="/nowhere/x", **URLS)[0].startswith(
        "SHAKER_CONFIG: /nowhere/x cannot be read: No such"
    )


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ('source = "redis://:hunter2@h"', "source: is not a setting"),
        ('[name]\nx = "hunter2"', "name (SHAKER_NAME"),
        ('[[source]]\nurl = "hunter2"', "source: is not a setting"),
        ("[source]\npassword = 12345", "source.password (SHAKER_SOURCE__PASSWORD"),
    ],
)
def test_a_value_of_the_wrong_shape_is_a_fault(tmp_path: Path, toml: str, named: str) -> None:
    path = tmp_path / "shaker.toml"
    path.write_text(toml)

    found = "\n".join(faults(SHAKER_CONFIG=str(path), **URLS))

    assert named in found
    assert "hunter2" not in found
    assert "12345" not in found


@pytest.mark.parametrize("name", ["source__password", "source.password", "SHAKER_SOURCE__PASSWORD"])
def test_secrets_are_files_named_like_the_setting(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(" hunter2 \n")
    (tmp_path / "..data").mkdir()
    (tmp_path / "somebody-elses").write_text("x")

    found = load(environment={**URLS, "SHAKER_SECRETS_DIR": str(tmp_path)})

    assert found.settings.source.credentials() == (None, " hunter2 ")
    assert found.origins["source.password"] == str(tmp_path / name)


def test_a_misspelt_secret_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "source__pasword").write_text("hunter2")

    found = faults(SHAKER_SECRETS_DIR=str(tmp_path), **URLS)

    assert len(found) == 1
    assert "source.pasword: is not a setting" in found[0]
    assert "hunter2" not in found[0]


def test_a_secrets_directory_that_is_missing_is_a_fault() -> None:
    assert "SHAKER_SECRETS_DIR: /nowhere is not a directory" in faults(SHAKER_SECRETS_DIR="/nowhere", **URLS)[0]


def test_secrets_are_masked_for_people_and_told_to_the_guard_of_the_log() -> None:
    found: Loaded = load(
        {"source.url": "redis://u:hunter2@h", "target.password": "hunter3", "target.url": "redis://t"},
        environment={},
    )

    shown = {setting: masked(setting, found.value(setting)) for setting in SETTINGS}
    assert "hunter" not in str(shown)
    assert shown["source.url"] == "redis://u:***@h:6379"
    assert shown["target.password"] == "***"
    assert shown["source.password"] is None
    assert found.secrets() == ["hunter2", "hunter3"]


def uncommented(text: str) -> str:
    """The example file with each of its settings in effect."""
    return "\n".join(
        line.removeprefix("#") if line[:1] == "#" and line[1:2] != " " else line for line in text.splitlines()
    )


EXAMPLE = Path(__file__).parents[2] / "config" / "shaker.toml"

# What has no default shows a sample in the example file.
SAMPLES = (
    {
        f"{side}.{name}"
        for side in ("source", "target")
        for name in (
            *("url", "username", "password", "password_file", "tls.ca_file", "tls.cert_file", "tls.key_file"),
            *("sentinel.username", "sentinel.password", "sentinel.password_file"),
        )
    }
    | {"spool.dir", "control.token_file", "preflight.skip_checks", "preflight.only_checks"}
    | {
        *("rate.snapshot_bytes", "rate.snapshot_keys", "rate.stream_bytes", "rate.stream_commands"),
        *("migrate.deadline_seconds", "report.file", "verify.bytes_per_second"),
    }
)


def test_the_example_file_holds_every_setting_once_with_its_default(tmp_path: Path) -> None:
    lines = uncommented(EXAMPLE.read_text()).splitlines()
    # Samples are left out one by one: they are known by the section above them.
    section, kept, samples = "", [], set()
    for line in lines:
        if line.startswith("["):
            section = line.strip("[]") + "."
        setting = section + line.partition(" =")[0]
        if setting in SAMPLES:
            samples.add(setting)
        else:
            kept.append(line)
    path = tmp_path / "shaker.toml"
    path.write_text("\n".join(kept))
    found, defaults = load(config_file=str(path), environment=URLS), load(environment=URLS)

    assert samples == SAMPLES
    assert {setting for setting in SETTINGS if found.origins[setting] == str(path)} == set(SETTINGS) - SAMPLES
    assert found.settings == defaults.settings


def test_the_example_file_gives_a_reason_before_each_setting() -> None:
    explained = False
    for line in EXAMPLE.read_text().splitlines():
        if line.startswith("# "):
            explained = True
        elif line.startswith("#") and line != "#":
            assert explained, line
        elif line.startswith("["):
            explained = False


def test_the_example_file_as_it_is_changes_nothing() -> None:
    assert load(config_file=str(EXAMPLE), environment=URLS).settings == load(environment=URLS).settings
