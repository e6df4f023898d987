"""Tencent's own client on an emulator: a second opinion on what a bucket holds."""

import hashlib
import logging
from collections.abc import Iterator

from qcloud_cos import CosConfig, CosS3Client

from tests.support.emulated import BUCKET, SECRET_ID, SECRET_KEY


class Sdk:
    """BUCKET, as the client's users see it."""

    def __init__(self, port: int) -> None:
        logging.getLogger("qcloud_cos").setLevel(logging.WARNING)
        config = CosConfig(
            Region="ap-guangzhou",
            SecretId=SECRET_ID,
            SecretKey=SECRET_KEY,
            Scheme="http",
            IP="127.0.0.1",
            Port=port,
        )
        self._client = CosS3Client(config)

    def put(self, key: str, body: bytes, metadata: dict[str, str] | None = None) -> None:
        self._client.put_object(BUCKET, body, key, Metadata=metadata or {})

    def get(self, key: str) -> bytes:
        answer = self._client.get_object(BUCKET, key)
        body: bytes = answer["Body"].get_raw_stream().read()
        return body

    def head(self, key: str) -> dict[str, str]:
        return dict(self._client.head_object(BUCKET, key))

    def remove_all(self) -> None:
        """Every object and every upload."""
        for key in self.keys():
            self._client.delete_object(BUCKET, key)
        for upload in self._client.list_multipart_uploads(BUCKET).get("Upload", []):
            self._client.abort_multipart_upload(BUCKET, upload["Key"], upload["UploadId"])

    def keys(self, prefix: str = "") -> list[str]:
        """Every key under *prefix*, in the order of the bucket."""
        return [item["Key"] for item in self._pages(prefix)]

    def digests(self, prefix: str) -> dict[str, str]:
        """The SHA-256 of every object under *prefix* but directories, by the rest of its key."""
        return {
            key.removeprefix(prefix): hashlib.sha256(self.get(key)).hexdigest()
            for key in self.keys(prefix)
            if not key.endswith("/")
        }

    def uploads(self) -> list[str]:
        """Keys of the multipart uploads that are under way or left behind."""
        answer = self._client.list_multipart_uploads(BUCKET)
        return [item["Key"] for item in answer.get("Upload", [])]

    def _pages(self, prefix: str) -> Iterator[dict[str, str]]:
        marker = ""
        while True:
            page = self._client.list_objects(BUCKET, Prefix=prefix, Marker=marker, MaxKeys=1000)
            yield from page.get("Contents", [])
            if page["IsTruncated"] == "false":
                return
            marker = page["NextMarker"]
