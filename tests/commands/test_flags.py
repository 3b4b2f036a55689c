"""Every setting is a flag: in the help once, in both spellings; faults show no value."""

from __future__ import annotations

import json

import pytest

from shaker.cli import main
from shaker.settings.names import SETTINGS
from tests.support.command_line import URLS


def test_the_help_of_run_shows_every_setting_once_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--help"]) == 0

    text = " ".join(capsys.readouterr().out.split())
    for setting, info in SETTINGS.items():
        assert text.count(f" --{setting.replace('_', '-')} ") == 1, setting
        assert info.description is not None
        assert info.description in text, setting
    assert text.count("(default: ") + text.count("(required)") == len(SETTINGS)
    assert "(default: 64 MiB)" in text
    assert text.count("(required)") == 2


def test_usage_faults_end_with_2_and_show_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, expected in (
        (["--source.pasword", "hunter2"], "--source.pasword: is not an argument of `shaker config`; did you mean"),
        (["--source.pasword=hunter2"], "did you mean --source.password?"),
        (["--source.pass", "hunter2"], "--source.pass: is not an argument"),
        (["hunter2"], "takes flags only"),
        (["--json=hunter2"], "argument --json: takes no value"),
        (["--source.url"], "argument --source.url: expected one argument"),
        (["--source.url", "redis://:hunter2@"], "source.url (SHAKER_SOURCE__URL, from command line): must name"),
    ):
        assert main(["config", *arguments]) == 2, arguments
        out, err = capsys.readouterr()
        assert out == ""
        assert expected in err
        assert "hunter2" not in err
        assert all(line.startswith("shaker: ") for line in err.splitlines())


@pytest.mark.parametrize("flag", ["--health.ready-max-lag-seconds", "--health.ready_max_lag_seconds"])
def test_flags_are_taken_in_kebab_and_in_snake_case(
    flag: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in URLS.items():
        monkeypatch.setenv(name, value)

    assert main(["config", "--json", flag, "7"]) == 0
    found = json.loads(capsys.readouterr().out)["health.ready_max_lag_seconds"]
    assert found == {"value": 7.0, "origin": "command line"}


@pytest.mark.parametrize(
    ("arguments", "value"),
    [([], False), (["--target.adopt"], True), (["--target.adopt", "no"], False), (["--target.adopt=true"], True)],
)
def test_switches_need_no_value(
    arguments: list[str], value: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, url in URLS.items():
        monkeypatch.setenv(name, url)

    assert main(["config", "--json", *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["target.adopt"]["value"] is value
