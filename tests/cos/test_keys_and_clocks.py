"""Keys that expire and clocks that are wrong, in the middle of a file."""

import dataclasses
from pathlib import Path

import pytest

from cosfs.config import ServiceConfig
from cosfs.cos.checksum import crc64
from cosfs.cos.client import CosClient
from cosfs.cos.credentials import FileCredentials
from cosfs.emulator.api import Access, Api
from cosfs.emulator.service import Limits
from cosfs.emulator.signature import Account
from cosfs.errors import BadCredentials, CosError
from tests.cos.clocks import run_jumping
from tests.cos.emulation import KEY, MIN_PART, PART, PLAIN, content_of, emulated_client
from tests.support.emulated import BUCKET, EmulatedTransport, make_api

pytestmark = pytest.mark.trio(run=run_jumping)


def refused(transport: EmulatedTransport) -> int:
    return sum(record.status == 403 for record in transport.api.requests.records())


async def upload(client: CosClient) -> None:
    await use_two_parts(client)
    assert await content_of(client, KEY) == PART + b"tail"


async def use_two_parts(client: CosClient) -> None:
    upload_id = await client.initiate_multipart_upload(KEY, properties=PLAIN)
    parts = [await client.upload_part(KEY, upload_id, 1, [PART])]
    parts.append(await client.upload_part(KEY, upload_id, 2, [b"tail"]))
    whole = crc64([PART, b"tail"])
    await client.complete_multipart_upload(KEY, upload_id, parts, crc64=whole)


def skewed_api(seconds: float) -> Api:
    api = make_api(limits=Limits(min_part=MIN_PART))
    now = api.service.clock
    api.service = dataclasses.replace(api.service, clock=lambda: now() + seconds)
    return api


@pytest.mark.parametrize("seconds", [-7 * 86_400, -5000, 5000, 7 * 86_400])
async def test_wrong_clock_costs_one_request(seconds: float) -> None:
    transport = EmulatedTransport(skewed_api(seconds))
    async with emulated_client(transport) as client:
        await upload(client)
        assert refused(transport) == 1


async def test_wrong_clock_is_learnt_from_head_as_well() -> None:
    transport = EmulatedTransport(skewed_api(5000))
    async with emulated_client(transport) as client:
        await client.head_bucket()
        await upload(client)
        assert refused(transport) == 1


class Rotating:
    """A service and a key file, of which both change at once."""

    def __init__(self, file: Path) -> None:
        self.accounts: dict[str, Account] = {}
        service = make_api(limits=Limits(min_part=MIN_PART)).service
        self.transport = EmulatedTransport(Api(service, Access(accounts=self.accounts)))
        self.file = file

    def rotate(self, number: int, *, in_file: bool = True) -> None:
        account = Account(secret_id=f"id{number}", secret_key=f"key{number}", token=f"t{number}")
        self.accounts.clear()
        self.accounts[account.secret_id] = account
        if in_file:
            self.file.write_text(
                f"[default]\nsecret_id={account.secret_id}\nsecret_key={account.secret_key}\n"
                f"token={account.token}\n"
            )
            self.file.chmod(0o600)

    def client(self) -> CosClient:
        config = ServiceConfig(bucket=BUCKET, endpoint="http://127.0.0.1:9000")
        credentials = FileCredentials(self.file, BUCKET)
        return CosClient(config, credentials, transport=self.transport)


async def test_keys_that_are_replaced_in_mid_file_are_read_anew(tmp_path: Path) -> None:
    service = Rotating(tmp_path / "keys")
    service.rotate(1)
    async with service.client() as client:
        upload_id = await client.initiate_multipart_upload(KEY, properties=PLAIN)
        parts = [await client.upload_part(KEY, upload_id, 1, [PART])]
        service.rotate(2)
        parts.append(await client.upload_part(KEY, upload_id, 2, [b"tail"]))
        service.rotate(3)
        whole = crc64([PART, b"tail"])
        await client.complete_multipart_upload(KEY, upload_id, parts, crc64=whole)
        service.rotate(4)
        assert await content_of(client, KEY) == PART + b"tail"


async def test_keys_that_expire_and_are_not_replaced_are_told(tmp_path: Path) -> None:
    service = Rotating(tmp_path / "keys")
    service.rotate(1)
    async with service.client() as client:
        await client.head_bucket()
        service.rotate(2, in_file=False)
        with pytest.raises(BadCredentials):
            await client.put_object(KEY, [b"x"], properties=PLAIN)
        with pytest.raises(CosError):
            await client.head_bucket()
        service.rotate(3)
        await upload(client)
