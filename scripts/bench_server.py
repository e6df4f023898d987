"""The emulator as the benchmark runs it: in memory, for clients of COS and of Amazon's S3.

COS takes S3's names of headers as well, the emulator does not: here they are translated, so that
s3fs and rclone work, whose requests go unsigned. A second port without latency serves the same
objects, for what is not measured. Prints both addresses when they answer.
"""

import argparse
import os
import signal
import ssl
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

import trio

from cosfs.emulator.api import Access, Api, Pace
from cosfs.emulator.bodies import MemoryBodies
from cosfs.emulator.index import open_index
from cosfs.emulator.messages import Request, Response
from cosfs.emulator.run import keep_freed_memory
from cosfs.emulator.server import listen, port_of, serve
from cosfs.emulator.service import Service
from cosfs.emulator.signature import Account
from cosfs.emulator.store import Store

_AMAZON: Final = "x-amz-"
_TENCENT: Final = "x-cos-"
_HOST: Final = "127.0.0.1"


class BilingualApi(Api):
    """An Api that takes the header names of S3 for those of COS, and answers with both."""

    async def handle(self, request: Request) -> Response:
        headers = [(name.lower(), value) for name, value in request.headers]
        if any(name == "authorization" for name, _ in headers):
            return await super().handle(request)
        headers = [_in_tencents_words(name, value) for name, value in headers]
        response = await super().handle(replace(request, headers=headers))
        for name in [name for name in response.headers if name.startswith(_TENCENT)]:
            alias = _AMAZON + name.removeprefix(_TENCENT)
            response.headers[alias] = response.headers[name]
        return response


def _in_tencents_words(name: str, value: str) -> tuple[str, str]:
    if not name.startswith(_AMAZON):
        return name, value
    name = _TENCENT + name.removeprefix(_AMAZON)
    if name == "x-cos-copy-source" and not value.startswith("/"):
        value = f"/{value}"
    return name, value


def main() -> None:
    """The keys that are known come from the environment, as for ``cosfs emulator``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--tls", type=Path, metavar="PEM", help="certificate and key")
    arguments = parser.parse_args()
    tls = None
    if arguments.tls is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(arguments.tls)
    keep_freed_memory()
    store = Store(open_index(None), MemoryBodies())
    store.make_bucket(arguments.bucket, now=time.time())
    service = Service(store=store, clock=time.time, md5=False)
    account = Account(
        secret_id=os.environ["COS_SECRET_ID"], secret_key=os.environ["COS_SECRET_KEY"]
    )
    access = Access(accounts={account.secret_id: account}, anonymous=True)
    trio.run(
        _serve,
        BilingualApi(service, access, pace=Pace(latency_s=arguments.latency)),
        BilingualApi(service, access),
        tls,
    )


async def _serve(front: Api, side: Api, tls: ssl.SSLContext | None) -> None:
    """Until SIGINT or SIGTERM."""
    front_door, side_door = await listen(_HOST, 0), await listen(_HOST, 0)
    scheme = "http" if tls is None else "https"
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, front, front_door, tls)
            nursery.start_soon(serve, side, side_door)
            print(
                f"{scheme}://{_HOST}:{port_of(front_door)} http://{_HOST}:{port_of(side_door)}",
                flush=True,
            )
            await anext(signals)
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    main()
