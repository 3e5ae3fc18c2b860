"""Settings of `serve`: flags, then the environment (`OPPORTUNE_…`), then one TOML file, then defaults."""

import os
import tomllib
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
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

from server.domain.caller import SIGNATURES

ENVIRONMENT_PREFIX = "OPPORTUNE_"
SECRETS = frozenset({"vault_key"})
ADDRESS = r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):\d{1,5}$"


class SettingsError(Exception):
    """Settings that cannot be used; the message lists every problem, a line each."""


class Settings(BaseModel):
    """How to serve: where from, where to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: Annotated[
        str, StringConstraints(pattern=ADDRESS),
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
    ] = 64
    tokens: Annotated[
        Path | None, Field(description="file of static tokens, a line each: name role,role sha256-of-the-token")
    ] = None
    jwks: Annotated[
        str | None, Field(description="file or URL of the key set that JSON Web Tokens are signed with")
    ] = None
    jwt_issuer: Annotated[str, Field(description="who must have issued a token")] = ""
    jwt_audience: Annotated[str, Field(description="whom a token must be for")] = ""
    jwt_algorithms: Annotated[
        str, Field(description="what tokens may be signed with, of RS256,RS384,RS512,PS…,ES256,ES384,ES512,EdDSA")
    ] = "RS256,ES256,EdDSA"
    jwt_roles_claim: Annotated[str, Field(min_length=1, description="the claim with the roles, a.b within a")] = "roles"
    jwt_leeway_s: Annotated[
        float, Field(ge=0, le=300, description="seconds that the issuer's clock may be ahead or behind")
    ] = 30.0
    tls_certificate: Annotated[
        Path | None, Field(description="the server's certificate chain in PEM; read again when it changes")
    ] = None
    tls_key: Annotated[Path | None, Field(description="its private key in PEM, not encrypted")] = None
    tls_client_ca: Annotated[
        Path | None, Field(description="PEM of who must have signed callers' certificates; without it they need none")
    ] = None
    tls_callers: Annotated[
        Path | None, Field(description="file of callers by URI or DNS name in their certificate: name role,role")
    ] = None
    insecure: Annotated[
        bool, Field(description="let everybody who can reach a non-loopback address do everything, on purpose")
    ] = False
    audit: Annotated[
        Path | None, Field(description="folder of the audit log, default DATA/audit; without --data there is none")
    ] = None
    audit_file_mib: Annotated[
        float, Field(gt=0, description="size in MiB at which the audit log goes on in a new file")
    ] = 16.0

    @model_validator(mode="after")
    def _ages(self) -> "Settings":
        if self.max_connection_age_minutes and self.transport == "native":
            raise ValueError("max_connection_age_minutes: the native transport cannot; use transport = grpcio")
        return self

    metrics_listen: Annotated[
        str | None,
        StringConstraints(pattern=ADDRESS),
        Field(description="HOST:PORT for /metrics, /livez and /readyz over HTTP, for anybody who reaches it; off"),
    ] = None
    log_format: Annotated[Literal["text", "json"], Field(description="lines for people, or a JSON object in each")] = (
        "text"
    )
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="what is logged at least; debug: every call")
    ] = "info"
    log_sample: Annotated[
        float, Field(ge=0, le=1, description="share of the calls that go well that get a log line")
    ] = 0.0
    otlp_endpoint: Annotated[
        str | None,
        StringConstraints(pattern=r"^https?://\S+$"),
        Field(description="URL of an OpenTelemetry collector (OTLP over HTTP) for traces; off"),
    ] = None
    trace_ratio: Annotated[
        float, Field(ge=0, le=1, description="share of calls that are traced, of those without a traceparent")
    ] = 0.0

    @field_validator("listen", "metrics_listen")
    @classmethod
    def _has_port(cls, listen: str | None) -> str | None:
        if listen is not None and int(listen.rpartition(":")[2]) > 65_535:
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

    @field_validator(
        "catalog", "vault_key_file", "tokens", "tls_certificate", "tls_key", "tls_client_ca", "tls_callers"
    )
    @classmethod
    def _is_file(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_file():
            raise ValueError(f"there is no file {path}")
        return path

    @field_validator("jwt_algorithms")
    @classmethod
    def _are_signatures(cls, algorithms: str) -> str:
        if unknown := sorted({*algorithms.split(",")} - SIGNATURES):
            raise ValueError(f"{', '.join(unknown) or 'nothing'} is none of {', '.join(sorted(SIGNATURES))}")
        return algorithms

    @model_validator(mode="after")
    def _fit_together(self) -> "Settings":
        problems = [problem for wrong, problem in _conflicts(self) if wrong]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def is_open(self) -> bool:
        """Whether nobody is asked who they are."""
        return self.tokens is None and self.jwks is None and self.tls_callers is None

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        host = self.listen.rpartition(":")[0].strip("[]")
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


def _conflicts(settings: Settings) -> Iterable[tuple[bool, str]]:
    """What may be wrong between settings, and whether it is."""
    certificate, key = settings.tls_certificate is not None, settings.tls_key is not None
    yield certificate != key, "tls_certificate and tls_key need each other"
    yield settings.tls_client_ca is not None and not certificate, "tls_client_ca needs tls_certificate"
    yield settings.tls_callers is not None and settings.tls_client_ca is None, "tls_callers needs tls_client_ca"
    yield certificate and settings.transport == "native", "the native transport has no TLS: leave transport auto"
    signed = bool(settings.jwt_issuer and settings.jwt_audience)
    yield settings.jwks is not None and not signed, "jwks needs jwt_issuer and jwt_audience"
    yield settings.jwks is None and bool(settings.jwt_issuer or settings.jwt_audience), "jwt_issuer needs jwks"


def read_settings(
    flags: Mapping[str, Any], config: Path | None = None, environment: Mapping[str, str] = os.environ
) -> Settings:
    """The settings from all sources; a flag that is None was not given.

    Raises:
        SettingsError: every problem of every source at once.
    """
    merged: dict[str, Any] = {}
    problems: list[str] = []
    if config is not None:
        try:
            merged |= tomllib.loads(config.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
            raise SettingsError(f"{config}: {problem}") from problem
        for name in SECRETS & merged.keys():
            # A file of settings is copied about and read by many.
            del merged[name]
            problems.append(
                f"{name}: only from the environment, {ENVIRONMENT_PREFIX}{name.upper()}, and not in {config}"
            )
    for name in Settings.model_fields:
        value = environment.get(ENVIRONMENT_PREFIX + name.upper())
        if value is not None:
            merged[name] = value
    merged |= {name: value for name, value in flags.items() if value is not None}
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        problems += [
            ": ".join(filter(None, (".".join(map(str, e["loc"])), e["msg"].removeprefix("Value error, "))))
            for e in error.errors()
        ]
        raise SettingsError("\n".join(problems)) from error
    if problems:
        raise SettingsError("\n".join(problems))
    return settings
