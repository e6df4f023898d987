import json
from pathlib import Path
from typing import NotRequired, TypedDict

import pytest

from cosfs.cos.signing import Window, presigned_query, sign, signing_key


class Vector(TypedDict):
    """The parts of a vector that the tests use; see the file."""

    name: str
    method: str
    path: str
    params: dict[str, str | int | None]
    headers: dict[str, str]
    secret_id: str
    secret_key: str
    start: int
    end: int
    expected_authorization: str
    expected_url: NotRequired[str]


VECTORS: list[Vector] = json.loads(
    (Path(__file__).parent.parent / "support" / "signature_vectors.json").read_text()
)


def authorization_of(vector: Vector) -> str:
    window = Window(vector["start"], vector["end"])
    query = [
        (name, "" if value is None else str(value)) for name, value in vector["params"].items()
    ]
    return sign(
        vector["method"],
        vector["path"],
        query=query,
        headers=vector["headers"],
        key=signing_key(vector["secret_id"], vector["secret_key"], window),
    )


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_signature_is_that_of_tencents_sdk(vector: Vector) -> None:
    assert authorization_of(vector) == vector["expected_authorization"]


@pytest.mark.parametrize(
    "vector", [vector for vector in VECTORS if "expected_url" in vector], ids=lambda v: v["name"]
)
def test_presigned_query_is_that_of_tencents_sdk(vector: Vector) -> None:
    query = presigned_query(authorization_of(vector))
    assert vector["expected_url"].split("?")[1].startswith(query)


def test_signing_key_repr_hides_the_key() -> None:
    key = signing_key("AKID", "secret", Window(1, 2))
    assert key.key.decode() not in repr(key)
