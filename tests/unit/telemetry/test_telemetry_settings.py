import pytest

from server.settings import SettingsError, read_settings


def test_nothing_is_told_but_log_lines_unless_it_is_asked_for() -> None:
    settings = read_settings({}, None, {})

    assert (settings.metrics_listen, settings.otlp_endpoint) == (None, None)
    assert (settings.log_format, settings.log_level) == ("text", "info")
    assert (settings.log_sample, settings.trace_ratio) == (0.0, 0.0)


def test_settings_of_what_is_told_are_checked() -> None:
    flags = {
        "metrics_listen": "9464", "log_format": "xml", "log_level": "loud", "log_sample": 1.5,
        "trace_ratio": -0.1, "otlp_endpoint": "collector:4318",
    }  # fmt: skip
    with pytest.raises(SettingsError) as refused:
        read_settings(flags, None, {})

    assert sorted(problem.partition(":")[0] for problem in str(refused.value).splitlines()) == [
        "log_format", "log_level", "log_sample", "metrics_listen", "otlp_endpoint", "trace_ratio",
    ]  # fmt: skip
    with pytest.raises(SettingsError, match="metrics_listen: a port is at most 65535"):
        read_settings({"metrics_listen": "127.0.0.1:70000"}, None, {})
