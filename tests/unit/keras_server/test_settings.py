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
        ([*NEEDED, "--non-finite", "ignore"], {}, "argument --non-finite: 'ignore' is not reject or pass"),
        (NEEDED, {"KERAS_SERVER_NON_FINITE": ""}, "argument --non-finite: '' is not reject or pass"),
        ([*NEEDED, "--cors-origins", "example.com"], {}, "'example.com' is not an origin such as https://example.com"),
        ([*NEEDED, "--cors-origins", "https://example.com/"], {}, "'https://example.com/' is not an origin"),
        ([*NEEDED, "--cors-origins", "https://Example.com"], {}, "'https://Example.com' is not an origin"),
        (NEEDED, {"KERAS_SERVER_CORS_ORIGINS": "null"}, "argument --cors-origins: 'null' is not an origin"),
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


def test_numbers_that_are_not_finite_are_rejected_by_default() -> None:
    assert parse_settings(NEEDED, {}).non_finite == "reject"
    assert parse_settings(NEEDED, {"KERAS_SERVER_NON_FINITE": "pass"}).non_finite == "pass"
    assert parse_settings([*NEEDED, "--non-finite", "pass"], {}).non_finite == "pass"


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("", ()),
        ("*", ("*",)),
        ("https://example.com", ("https://example.com",)),
        ("https://a.example, http://localhost:3000,", ("https://a.example", "http://localhost:3000")),
        ("http://[::1]:8080", ("http://[::1]:8080",)),
    ],
)
def test_origins_are_a_list(text: str, origins: tuple[str, ...]) -> None:
    assert parse_settings(NEEDED, {"KERAS_SERVER_CORS_ORIGINS": text}).cors_origins == origins
