"""List a bucket's objects through the COS API: what others see of the mount's files."""

import os
import sys
from typing import Final

import trio

from cosfs.config import ServiceConfig
from cosfs.cos.client import CosClient
from cosfs.cos.credentials import find_credentials

SHOWN: Final = 12


async def main(bucket: str) -> None:
    """Print the largest objects and how many there are."""
    credentials = find_credentials(None, os.environ, bucket, anonymous=False)
    service = ServiceConfig(bucket=bucket, endpoint=os.environ["COS_ENDPOINT"])
    async with CosClient(service, credentials) as client:
        objects = (await client.list_objects()).objects
    print(f"{'size':>11}  {'ETag':36}  key")
    for entry in sorted(objects, key=lambda entry: -entry.size)[:SHOWN]:
        print(f"{entry.size:11}  {entry.etag:36}  {entry.key}")
    if len(objects) > SHOWN:
        print(f"... and {len(objects) - SHOWN} more")


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
