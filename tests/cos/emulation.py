"""The client on the emulator, in process."""

from cosfs.config import ServiceConfig
from cosfs.cos.client import CosClient
from cosfs.cos.credentials import Credentials, StaticCredentials
from cosfs.cos.download import Collected
from cosfs.cos.model import ByteRange, Key, ObjectProperties, Part, UploadId
from cosfs.emulator.faults import parse_faults
from tests.support.emulated import BUCKET, SECRET_ID, SECRET_KEY, EmulatedTransport

KEY = Key("dir/file ü+%.bin")
PLAIN = ObjectProperties()
# Over the emulator's limit of parts in these tests, and below what it hands to a thread: a clock
# that jumps does not wait for threads.
MIN_PART = 4096
PART = bytes(range(256)) * (MIN_PART // 256)


def emulated_client(
    transport: EmulatedTransport, bucket: str = BUCKET, secret_key: str = SECRET_KEY
) -> CosClient:
    return CosClient(
        ServiceConfig(bucket=bucket, endpoint="http://127.0.0.1:9000"),
        StaticCredentials(Credentials(secret_id=SECRET_ID, secret_key=secret_key)),
        transport=transport,
    )


def plan(transport: EmulatedTransport, rule: str) -> None:
    transport.api.faults.set(parse_faults(rule))


def operations(transport: EmulatedTransport) -> list[str]:
    return [record.operation for record in transport.api.requests.records()]


async def content_of(client: CosClient, key: Key, span: ByteRange | None = None) -> bytes:
    got = Collected()
    await client.get_object(key, span, sink=got)
    return b"".join(got.chunks)


async def upload_two(client: CosClient, key: Key = KEY) -> tuple[UploadId, list[Part]]:
    upload_id = await client.initiate_multipart_upload(key, properties=PLAIN)
    first = await client.upload_part(key, upload_id, 1, [PART])
    second = await client.upload_part(key, upload_id, 2, [b"tail"])
    return upload_id, [first, second]
