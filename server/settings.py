"""Settings of `serve`: flags, then the environment (`OPPORTUNE_…`), then one TOML file, then defaults."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

ENVIRONMENT_PREFIX = "OPPORTUNE_"
SECRETS = frozenset({"vault_key"})


class SettingsError(Exception):
    """Settings that cannot be used; the message lists every problem, a line each."""


class Settings(BaseModel):
    """How to serve: where from, where to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: Annotated[
        str, StringConstraints(pattern=r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):\d{1,5}$"),
        Field(description="HOST:PORT to listen on; port 0 takes a free one"),
    ] = "127.0.0.1:50051"  # fmt: skip
    transport: Annotated[
        Literal["auto", "native", "grpcio"],
        Field(
            description="native is fast; grpcio is stock; auto is native unless only grpcio can do what is asked for"
        ),
    ] = "auto"
    models: Annotated[Path | None, Field(description="folder of models, as <name>/<version>/manifest.toml")] = None
    catalog: Annotated[
        Path | None, Field(description="catalog file; published at start unless it is the one that the journal has")
    ] = None
    data: Annotated[
        Path | None, Field(description="folder of journal and snapshots, made if missing; without it nothing survives")
    ] = None
    ephemeral: Annotated[bool, Field(description="keep everything in memory only, on purpose")] = False
    vault_key_file: Annotated[
        Path | None, Field(description="file with the vault's key: 32 random bytes as hex or base64")
    ] = None
    vault_key: Annotated[SecretStr | None, Field(description="the key itself; only from the environment")] = None
    erasures: Annotated[
        Path | None, Field(description="file of the erasure ledger, outside of every backup; default DATA/erasures")
    ] = None
    max_outstanding: Annotated[
        int, Field(ge=1, le=10_000, description="messages of a stream without acknowledgement at most")
    ] = 64
    rejected_per_minute: Annotated[
        int, Field(ge=1, description="deltas of a source that may be refused in a minute before it is stopped")
    ] = 1_000
    snapshot_entries: Annotated[int, Field(ge=1, description="entries after which a snapshot is taken")] = 200_000
    snapshot_minutes: Annotated[
        float, Field(gt=0, description="minutes after which a snapshot is taken if there was any entry")
    ] = 10.0
    retention_hours: Annotated[
        float, Field(ge=0, description="hours for which the journal keeps what snapshots have already")
    ] = 168.0
    decision_log_mib: Annotated[
        int, Field(ge=1, description="size of the decision log at most, in MiB; the oldest decisions go first")
    ] = 4_096
    decision_log_hours: Annotated[
        float, Field(gt=0, description="hours for which the decision log keeps decisions")
    ] = 168.0
    default_deadline_ms: Annotated[
        int,
        Field(ge=1, description="what a call without deadline is taken to have when there is more to do than can be"),
    ] = 1_000
    drain_seconds: Annotated[
        float, Field(ge=0, le=60, description="how long calls are still taken after SIGTERM, so that balancers notice")
    ] = 2.0
    max_connection_age_minutes: Annotated[
        float,
        Field(ge=0, description="minutes, give or take 10 %, after which callers connect again; 0: never; grpcio only"),
    ] = 0.0
    max_connection_age_grace_seconds: Annotated[
        float, Field(gt=0, description="seconds that the calls on such a connection may still take")
    ] = 30.0
    keepalive_seconds: Annotated[
        float, Field(ge=10, description="seconds without a sign of life after which a caller is asked for one")
    ] = 30.0
    max_streams: Annotated[int, Field(ge=1, le=100_000, description="calls on one connection at once")] = 1_024
    max_pending_calls: Annotated[
        int, Field(ge=1, le=1_000, description="calls that wait to be taken before some are refused; grpcio only")
    ] = 256

    @model_validator(mode="after")
    def _ages(self) -> "Settings":
        if self.max_connection_age_minutes and self.transport == "native":
            raise ValueError("max_connection_age_minutes: the native transport cannot; use transport = grpcio")
        return self

    @field_validator("listen")
    @classmethod
    def _has_port(cls, listen: str) -> str:
        if int(listen.rpartition(":")[2]) > 65_535:
            raise ValueError("a port is at most 65535")
        return listen

    @field_validator("models")
    @classmethod
    def _is_folder(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_dir():
            raise ValueError(f"there is no folder {path}")
        return path

    @field_validator("data")
    @classmethod
    def _can_be_folder(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_dir() and (path.exists() or not path.parent.is_dir()):
            raise ValueError(f"{path} is no folder and cannot be made one")
        return path

    @field_validator("catalog", "vault_key_file")
    @classmethod
    def _is_file(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_file():
            raise ValueError(f"there is no file {path}")
        return path


def read_settings(
    flags: Mapping[str, Any], config: Path | None = None, environment: Mapping[str, str] = os.environ
) -> Settings:
    """The settings from all sources; a flag that is None was not given.

    Raises:
        SettingsError: every problem of every source at once.
    """
    merged: dict[str, Any] = {}
    if config is not None:
        try:
            merged |= tomllib.loads(config.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
            raise SettingsError(f"{config}: {problem}") from problem
    for name in Settings.model_fields:
        value = environment.get(ENVIRONMENT_PREFIX + name.upper())
        if value is not None:
            merged[name] = value
    merged |= {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()]
        raise SettingsError("\n".join(problems)) from error
