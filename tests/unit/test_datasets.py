"""The commands about data sets: which there are, and what they say where an extra is not installed."""

import sys

import pytest

from server.cli import main


def test_a_data_set_that_is_not_shipped_is_refused_with_those_that_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "complete-jorney"])
    assert ended.value.code == 2
    assert "complete-journey" in capsys.readouterr().err


def test_a_missing_extra_is_named_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # None makes Python's import fail as if it were not there, whatever has been imported before.
    monkeypatch.setitem(sys.modules, "model_artifacts.complete_journey.training", None)

    assert main(["train", "complete-journey"]) == 1
    assert "pip install -e '.[demo]'" in capsys.readouterr().err
