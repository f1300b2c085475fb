"""Signs tokens as an identity provider does, and publishes its keys."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

__all__ = ["KeyServer", "SigningKey", "claims", "key_server"]


def claims(**more: Any) -> dict[str, Any]:
    """Of a token that holds for a minute; None takes one away."""
    said = {"sub": "ada", "exp": int(time.time()) + 60, "scope": "Shop metrics"} | more
    return {name: value for name, value in said.items() if value is not None}


class SigningKey:
    """A key pair.

    Args:
        algorithm: RS256, ES256 or EdDSA.
    """

    def __init__(self, key_id: str | None, algorithm: str = "RS256") -> None:
        self.key_id = key_id
        self.algorithm = algorithm
        self.private: Any
        if algorithm == "ES256":
            self.private = ec.generate_private_key(ec.SECP256R1())
            public = ECAlgorithm.to_jwk(self.private.public_key())
        elif algorithm == "EdDSA":
            self.private = ed25519.Ed25519PrivateKey.generate()
            public = OKPAlgorithm.to_jwk(self.private.public_key())
        else:
            self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            public = RSAAlgorithm.to_jwk(self.private.public_key())
        self.public = json.loads(public) | ({"kid": key_id} if key_id else {})

    def sign(self, **more: Any) -> str:
        """A token with these claims."""
        headers = {"kid": self.key_id} if self.key_id else None
        return jwt.encode(claims(**more), self.private, algorithm=self.algorithm, headers=headers)


class KeyServer:
    """What it answers, and how often it was asked."""

    def __init__(self, *keys: SigningKey) -> None:
        self.asked = 0
        self.status = 200
        self.delay_s = 0.0
        self.url = ""
        self.publish(*keys)

    def publish(self, *keys: SigningKey) -> None:
        self.body = json.dumps({"keys": [key.public for key in keys]}).encode()


@contextmanager
def key_server(*keys: SigningKey) -> Iterator[KeyServer]:
    """An address that answers with a key set."""
    served = KeyServer(*keys)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked += 1
            time.sleep(served.delay_s)
            self.send_response(served.status)
            self.send_header("content-length", str(len(served.body)))
            self.end_headers()
            self.wfile.write(served.body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_address[1]}/keys"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
