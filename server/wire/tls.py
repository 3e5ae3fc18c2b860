"""TLS on the stock transport: certificates that are replaced while the server runs, and the names in callers' ones."""

import ssl
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from server.wire.reloaded import Reloaded

_NAMES = "x509_subject_alternative_name"
"""URIs (SPIFFE ids among them) and DNS names of a verified client certificate, in gRPC's words."""


class TlsFiles(NamedTuple):
    """Where certificates are, in PEM.

    Attributes:
        certificate: The server's, and those between it and the root.
        key: Its private key, not encrypted.
        client_ca: Who must have signed callers' certificates; None: callers need none.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None


class _Pems(NamedTuple):
    certificate: bytes
    key: bytes
    client_ca: bytes | None


class Certificates:
    """The certificate that new connections are given. Files are looked at in each handshake; open connections stay."""

    def __init__(self, files: TlsFiles) -> None:
        """Reads the files.

        Raises:
            OSError, ValueError: they cannot be read, or do not belong together.
        """
        self._files = files
        self._pems = Reloaded(tuple(path for path in files if path is not None), self._read)

    def server_credentials(self) -> Any:
        """What `add_secure_port` takes."""
        return grpc.dynamic_ssl_server_credentials(
            self._configuration(), self._changed, require_client_authentication=self._files.client_ca is not None
        )

    def _changed(self) -> Any:
        """Asked by gRPC in each handshake, in threads of its own; None: nothing has changed."""
        return self._configuration() if self._pems.refresh() else None

    def _configuration(self) -> Any:
        certificate, key, client_ca = self._pems.content
        return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=client_ca)

    def _read(self) -> _Pems:
        certificate, key = self._files.certificate.read_bytes(), self._files.key.read_bytes()
        _require_pair(certificate, key)
        client_ca = None
        if self._files.client_ca is not None:
            client_ca = self._files.client_ca.read_bytes()
            _require_certificates(client_ca)
        return _Pems(certificate, key, client_ca)


def names_of(auth_context: dict[str, list[bytes]] | Any) -> tuple[str, ...]:
    """The names in a caller's certificate, which gRPC has verified."""
    return tuple(name.decode(errors="replace") for name in auth_context.get(_NAMES, ()))


def _require_pair(certificate: bytes, key: bytes) -> None:
    chain = _require_certificates(certificate)
    try:
        private = load_pem_private_key(key, password=None)
    except (ValueError, TypeError):
        raise ValueError("the key is not an unencrypted private key in PEM") from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if chain[0].public_key().public_bytes(*form) != private.public_key().public_bytes(*form):
        raise ValueError("the key is not the certificate's")


def _require_certificates(content: bytes) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(content)
        # What gRPC itself takes, so that nothing is left to fail in a handshake.
        ssl.create_default_context().load_verify_locations(cadata=content.decode("ascii"))
    except (ValueError, ssl.SSLError):
        raise ValueError("there is no certificate in PEM") from None
    return found
