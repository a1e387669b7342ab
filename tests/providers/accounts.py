"""A service account of nobody's, whose key was made for the test that asks."""

from __future__ import annotations

import importlib
import json


def service_account(token_uri: str) -> str:
    """Return the JSON file that Google hands out for a service account; tokens are had from `token_uri`."""
    serialization = importlib.import_module("cryptography.hazmat.primitives.serialization")
    rsa = importlib.import_module("cryptography.hazmat.primitives.asymmetric.rsa")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "p",
            "private_key_id": "k1",
            "private_key": pem.decode(),
            "client_email": "somebody@p.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": token_uri,
        }
    )
