"""The flags of commands that call a running server: where it is, and how to get in."""

import argparse
import os
from pathlib import Path

from server.wire.target import Target

TOKEN = "OPPORTUNE_TOKEN"
"""The variable with the caller's token. A flag would show it to everybody who lists processes."""


def add_address(command: argparse.ArgumentParser) -> None:
    """Adds `--address`, and how to get in."""
    command.add_argument("--address", default="127.0.0.1:50051", help="HOST:PORT of the server")
    add_credentials(command)


def add_credentials(command: argparse.ArgumentParser) -> None:
    """Adds how to get into a server that asks."""
    token = f"file with the caller's token; default: what {TOKEN} holds"
    command.add_argument("--token-file", type=Path, help=token)
    command.add_argument("--tls-ca", type=Path, help="PEM of who signed the server's certificate; without: no TLS")
    command.add_argument("--tls-certificate", type=Path, help="the caller's own certificate in PEM")
    command.add_argument("--tls-key", type=Path, help="its private key in PEM")
    command.add_argument("--tls-name", default="", help="the name in the server's certificate, if not its host")


def target_from(options: argparse.Namespace, address: str) -> Target:
    """The server at `HOST:PORT` with what the flags say.

    Raises:
        OSError: the token's file cannot be read.
        RuntimeError: the token cannot be one, or there is a certificate without a CA.
    """
    file = options.token_file
    token = (os.environ.get(TOKEN, "") if file is None else file.read_text(encoding="utf-8")).strip()
    if not token.isascii() or not token.isprintable():
        # Nothing of it is in the message.
        raise RuntimeError("the token has characters that no token has")
    if options.tls_ca is None and (options.tls_certificate or options.tls_key):
        raise RuntimeError("a certificate of one's own needs --tls-ca")
    return Target(address, token, options.tls_ca, options.tls_certificate, options.tls_key, options.tls_name)
