"""An issuer of tokens on this machine: keys of its own, and a real server that publishes them and counts."""

from __future__ import annotations

import base64
import functools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm, get_default_algorithms

from headgate import issuers
from tests.serving import PATIENCE_S

SigningKey = bytes | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@functools.cache
def rsa_key(name: str = "first", bits: int = 2048) -> rsa.RSAPrivateKey:
    """An RSA key; the same one for the same name."""
    return rsa.generate_private_key(65537, bits)


@functools.cache
def ec_key(name: str = "first") -> ec.EllipticCurvePrivateKey:
    """A key on P-256; the same one for the same name."""
    return ec.generate_private_key(ec.SECP256R1())


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    """The public half, as PEM text."""
    return public_pem(key.public_key())


def public_pem(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def jwk(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, **members: Any) -> dict[str, Any]:
    """The public half, as a JWK with further members."""
    if isinstance(key, rsa.RSAPrivateKey):
        plain = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        plain = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {name: value for name, value in plain.items() if name != "key_ops"} | members


def segment(part: bytes | object) -> bytes:
    """A part of a token: base64url, of bytes as they are, of anything else as JSON."""
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def sign(header: bytes | object, payload: bytes | object, key: SigningKey, algorithm: str) -> bytes:
    """A token with a good signature over whatever is said, sense or nonsense."""
    signed = segment(header) + b"." + segment(payload)
    signature = get_default_algorithms()[algorithm].sign(signed, key)
    return signed + b"." + segment(signature)


class Issuer:
    """What the server answers, to be changed at will, and how often it was asked.

    While `held` is cleared it does not answer; `reached` is set by each request.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.keys: list[Any] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.content: bytes | None = None
        self.asked = 0
        self.held = threading.Event()
        self.held.set()
        self.reached = threading.Event()

    def answer(self) -> bytes:
        return json.dumps({"keys": self.keys}).encode() if self.content is None else self.content


@contextmanager
def issuing() -> Iterator[Issuer]:
    """A running issuer on a free port of 127.0.0.1, for whom this process has patience."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked += 1
            issuer.reached.set()
            issuer.held.wait()
            content = issuer.answer()
            self.send_response(issuer.status)
            for name, value in issuer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with suppress(ConnectionError):  # the reader may have had enough
                self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = Issuer(f"http://127.0.0.1:{server.server_port}/jwks.json")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patient:
            patient.setattr(issuers, "_SILENCE_S", PATIENCE_S)
            yield issuer
    finally:
        issuer.held.set()
        server.shutdown()
        server.server_close()
        thread.join()
