"""Options come from flags, then from the environment, then from defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from keras_server.settings import parse_settings

NEEDED = ["--bundle", "/bundle", "--name", "digits"]


def test_the_contract_with_the_operator_is_enough() -> None:
    settings = parse_settings([*NEEDED, "--port", "8080"], {})

    assert (settings.bundle, settings.name, settings.port) == (Path("/bundle"), "digits", 8080)


def test_a_variable_stands_in_for_a_flag_and_a_flag_wins() -> None:
    environment = {"KERAS_SERVER_MAX_ROWS": "7", "KERAS_SERVER_NAME": "other", "KERAS_SERVER_BUNDLE": "/b"}

    assert parse_settings([], environment).max_rows == 7
    assert parse_settings(["--max-rows", "8"], environment).max_rows == 8


@pytest.mark.parametrize(
    ("arguments", "environment", "complaint"),
    [
        ([], {}, "--bundle, --name"),
        ([*NEEDED, "--max-rows", "0"], {}, "argument --max-rows: 0 is less than 1"),
        ([*NEEDED, "--drain-delay", "-1"], {}, "argument --drain-delay: -1 is not a number of seconds"),
        ([*NEEDED, "--drain-delay", "nan"], {}, "argument --drain-delay: nan is not a number of seconds"),
        ([*NEEDED, "--port", "-1"], {}, "argument --port: -1 is not between 0 and 65535"),
        ([*NEEDED, "--port", "70000"], {}, "argument --port: 70000 is not between 0 and 65535"),
        (NEEDED, {"KERAS_SERVER_WORKERS": "many"}, "argument --workers"),
    ],
)
def test_a_bad_option_ends_with_its_name(
    arguments: list[str], environment: dict[str, str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_settings(arguments, environment)

    assert caught.value.code == 2
    assert complaint in capsys.readouterr().err
