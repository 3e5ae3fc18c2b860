"""The Dockerfile is clean, and names commands and settings that exist. `make test-image` builds it."""

import json
import re
import subprocess
import sys
from pathlib import Path

from server.cli import _parser
from server.settings import Settings
from tests.unit.deploy.rendered import ROOT

DOCKERFILE = ROOT / "Dockerfile"
TEXT = DOCKERFILE.read_text(encoding="utf-8")
FINAL = TEXT.rpartition("\nFROM ")[2]


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_health_check_and_command_are_ones_of_the_server() -> None:
    lists = [json.loads(found) for found in re.findall(r"(?:CMD|ENTRYPOINT) (\[.*\])", FINAL)]
    check, entry, command = lists

    assert entry == ["python", "-m", "server"] == check[:3]
    assert _parser().parse_args(check[3:]).command.__name__ == "_health"
    assert _parser().parse_args(command).command.__name__ == "_serve"


def test_last_stage_runs_as_nobody_and_has_no_tool_to_build_with() -> None:
    assert "USER 10001:10001" in FINAL
    assert "RUN" not in FINAL
    assert "pip" not in FINAL


def test_settings_of_the_image_are_ones_that_the_server_takes() -> None:
    names = {name.lower() for name in re.findall(r"OPPORTUNE_([A-Z_]+)=", FINAL)}

    assert names
    assert names <= Settings.model_fields.keys()


def test_what_is_copied_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", TEXT, re.MULTILINE)

    assert all(
        f"!{name}" in ignored or ("!deploy/*.lock" in ignored and name.startswith("deploy/"))
        for line in copied
        for name in line.split()
    )
