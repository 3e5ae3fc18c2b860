from pathlib import Path

import pytest

from server.settings import Settings, SettingsError, read_settings


def settings_file(folder: Path, text: str) -> Path:
    path = folder / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(
    flags: dict[str, object], config: Path | None = None, environment: dict[str, str] | None = None
) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        read_settings(flags, config, environment or {})
    return str(refused.value).splitlines()


def test_defaults_are_local_and_safe() -> None:
    settings = read_settings({}, None, {})

    assert settings == Settings(listen="127.0.0.1:50051", transport="auto")


def test_flags_come_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    config = settings_file(tmp_path, 'listen = "file:1"\ntransport = "native"\nephemeral = true')
    environment = {"OPPORTUNE_LISTEN": "environment:2", "OPPORTUNE_TRANSPORT": "grpcio"}

    settings = read_settings({"listen": "flag:3", "transport": None}, config, environment)

    assert (settings.listen, settings.transport, settings.ephemeral) == ("flag:3", "grpcio", True)


def test_other_variables_of_the_environment_are_none_of_its_business() -> None:
    assert read_settings({}, None, {"OPPORTUNE_COLOUR": "red", "LISTEN": "x"}) == Settings()


def test_paths_must_exist(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text("currency: USD")

    settings = read_settings({"catalog": str(catalog), "models": str(tmp_path), "data": str(tmp_path)}, None, {})

    assert (settings.catalog, settings.models, settings.data) == (catalog, tmp_path, tmp_path)
    assert problems({"catalog": str(tmp_path)}) == [f"catalog: there is no file {tmp_path}"]
    assert problems({"models": str(catalog)}) == [f"models: there is no folder {catalog}"]


def test_every_problem_of_every_source_is_listed_at_once(tmp_path: Path) -> None:
    config = settings_file(tmp_path, 'colour = "red"\ndata = "/no/such/folder"')

    found = problems({"listen": "nonsense"}, config, {"OPPORTUNE_TRANSPORT": "pigeon"})

    assert sorted(problem.partition(":")[0] for problem in found) == ["colour", "data", "listen", "transport"]


@pytest.mark.parametrize(
    "listen", ["localhost", "localhost:", ":50051", "localhost:123456", "http://x:1", "a b:1", "::1:1"]
)
def test_address_that_is_none_is_refused(listen: str) -> None:
    assert problems({"listen": listen})[0].startswith("listen: ")


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:65535", "[::1]:50051", "my-host.example.com:80"])
def test_address_is_accepted(listen: str) -> None:
    assert read_settings({"listen": listen}, None, {}).listen == listen


@pytest.mark.parametrize("content", [b"listen = ", b"\xff\xfe"])
def test_file_that_is_not_toml_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(content)

    assert str(path) in problems({}, path)[0]


def test_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    assert "nowhere.toml" in problems({}, tmp_path / "nowhere.toml")[0]


def test_secret_in_a_file_is_refused_and_not_quoted(tmp_path: Path) -> None:
    config = settings_file(tmp_path, f'vault_key = "{"5e" * 32}"\nlisten = "nonsense"')

    found = problems({}, config, {"OPPORTUNE_VAULT_KEY": "6f" * 32})

    assert [problem.partition(":")[0] for problem in found] == ["vault_key", "listen"]
    assert "OPPORTUNE_VAULT_KEY" in found[0]
    assert "5e5e" not in "".join(found)
    assert read_settings({}, None, {"OPPORTUNE_VAULT_KEY": "6f" * 32}).vault_key is not None


def test_secret_in_a_file_is_refused_though_nothing_else_is_wrong(tmp_path: Path) -> None:
    (problem,) = problems({}, settings_file(tmp_path, 'vault_key = "x"'))

    assert "only from the environment" in problem


def test_port_beyond_65535_is_refused() -> None:
    assert problems({"listen": "localhost:65536"})


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ({"tls_certificate": "x"}, "tls_certificate and tls_key need each other"),
        ({"tls_key": "x"}, "tls_certificate and tls_key need each other"),
        ({"tls_client_ca": "x"}, "tls_client_ca needs tls_certificate"),
        ({"tls_callers": "x"}, "tls_callers needs tls_client_ca"),
        ({"tls_certificate": "x", "tls_key": "x", "transport": "native"}, "the native transport has no TLS"),
        ({"jwks": "x"}, "jwks needs jwt_issuer and jwt_audience"),
        ({"jwks": "x", "jwt_issuer": "i"}, "jwks needs jwt_issuer and jwt_audience"),
        ({"jwt_audience": "a"}, "jwt_issuer needs jwks"),
        ({"jwt_algorithms": "RS256,HS256"}, "HS256 is none of"),
        ({"jwt_algorithms": "none"}, "none is none of"),
        ({"jwt_algorithms": ""}, "nothing is none of"),
        ({"tokens": "/no/such/file"}, "there is no file /no/such/file"),
    ],
)
def test_settings_of_the_door_fit_together(tmp_path: Path, flags: dict[str, str], problem: str) -> None:
    (tmp_path / "x").touch()
    given: dict[str, object] = {name: str(tmp_path / "x") if value == "x" else value for name, value in flags.items()}

    assert any(problem in found for found in problems(given))


def test_every_problem_between_settings_is_listed_at_once(tmp_path: Path) -> None:
    (tmp_path / "x").touch()

    found = problems({"tls_client_ca": str(tmp_path / "x"), "jwks": "keys.json"})

    assert ["tls_client_ca" in found[0], "jwks" in found[0]] == [True, True]


def test_age_of_connections_is_refused_with_the_transport_that_cannot_end_them() -> None:
    found = problems({"transport": "native", "max_connection_age_minutes": 30})

    assert ["max_connection_age_minutes" in problem for problem in found] == [True]
    assert read_settings({"max_connection_age_minutes": "30"}, None, {}).max_connection_age_minutes == 30
