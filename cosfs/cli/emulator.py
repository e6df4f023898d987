"""``cosfs emulator``: run the COS-compatible server until a signal."""

import argparse
import os
import sys
from pathlib import Path
from typing import Final

_DEFAULT_BUCKET: Final = "examplebucket-1250000000"
_EXAMPLE_ID: Final = "AKIDEXAMPLEexampleEXAMPLEexample0001"
_EXAMPLE_KEY: Final = "SkExampleExampleExampleExample01"
_RULES: Final = (
    "A fault RULE is fields NAME=VALUE. Which requests: operation (as in the log), key (a glob);"
    " when: nth, every, probability, times; what: status, code, retry_after, error_in_200,"
    " no_request_id, padding, delay, bandwidth, cut, reset, lose, corrupt."
)
_LAST_PORT: Final = 65535
_USAGE_ERROR: Final = 2
_FAILURE: Final = 1


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the program's."""
    parser = subparsers.add_parser(
        "emulator",
        help="run a COS-compatible server on this machine",
        description="A COS-compatible server, for trials and tests. The account comes from"
        " COS_SECRET_ID and COS_SECRET_KEY; without them, from example keys that are printed.",
        epilog=_RULES,
    )
    _add_arguments(parser)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--root", type=Path, metavar="DIR", help="keep objects in DIR")
    place.add_argument("--memory", action="store_true", help="keep objects in memory")
    parser.add_argument("--host", default="127.0.0.1", help="listen here (%(default)s)")
    parser.add_argument("--port", type=_port, default=9000, help="0: any free (%(default)s)")
    parser.add_argument(
        "--bucket",
        action="append",
        metavar="NAME-APPID",
        help=f"make it if missing; repeatable ({_DEFAULT_BUCKET})",
    )
    parser.add_argument("--anonymous", action="store_true", help="serve unsigned requests too")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="serve https (PEM)")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its private key (PEM)")
    _add_simulation(parser.add_argument_group("simulation"))
    log = parser.add_argument_group("request log")
    log.add_argument("--log", type=Path, metavar="FILE", help="append it to FILE, not to stderr")
    log.add_argument("--quiet", action="store_true", help="write none")


def _add_simulation(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="RULE",
        help="such as 'operation=UploadPart nth=3 status=503 code=SlowDown'; repeatable",
    )
    group.add_argument("--seed", type=int, default=0, help="of the rules' probabilities")
    group.add_argument("--bandwidth", type=float, metavar="BYTES", help="a second, each request")
    group.add_argument("--latency", type=float, default=0.0, metavar="SECONDS")
    group.add_argument("--clock-offset", type=float, default=0.0, metavar="SECONDS")
    group.add_argument("--listing-lag", type=float, default=0.0, metavar="SECONDS")
    group.add_argument("--no-md5", action="store_true", help="ETags from CRC64: faster")
    group.add_argument("--admin", action="store_true", help="POST /-/faults, GET /-/requests")


def _port(text: str) -> int:
    """A port's number. The system would take a larger one modulo 65536."""
    if text.isascii() and text.isdigit() and int(text) <= _LAST_PORT:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} must be from 0 to {_LAST_PORT}")


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; the status of the process."""
    from cosfs.emulator.faults import FaultSyntaxError
    from cosfs.emulator.refusals import Refusal
    from cosfs.emulator.run import Settings, serve_until_signal

    secret_id, secret_key = _keys()
    settings = Settings(
        root=arguments.root,
        host=arguments.host,
        port=arguments.port,
        buckets=arguments.bucket or [_DEFAULT_BUCKET],
        secret_id=secret_id,
        secret_key=secret_key,
        token=os.environ.get("COS_TOKEN") or None,
        anonymous=arguments.anonymous,
        tls=(arguments.tls_cert, arguments.tls_key) if arguments.tls_cert else None,
        faults=arguments.fault,
        seed=arguments.seed,
        latency_s=arguments.latency,
        bandwidth=arguments.bandwidth,
        admin=arguments.admin,
        md5=not arguments.no_md5,
        clock_offset_s=arguments.clock_offset,
        listing_lag_s=arguments.listing_lag,
        log=arguments.log,
        quiet=arguments.quiet,
    )

    def ready(url: str) -> None:
        buckets = ",".join(settings.buckets)
        print(f"cosfs emulator listening on {url} buckets={buckets}", flush=True)

    try:
        serve_until_signal(settings, ready)
    except (FaultSyntaxError, Refusal) as error:
        print(f"cosfs emulator: {error}", file=sys.stderr)
        return _USAGE_ERROR
    except OSError as error:
        print(f"cosfs emulator: {error}", file=sys.stderr)
        return _FAILURE
    return 0


def _keys() -> tuple[str, str]:
    """The account from the environment, or the example one, which is printed then."""
    secret_id, secret_key = os.environ.get("COS_SECRET_ID"), os.environ.get("COS_SECRET_KEY")
    if secret_id and secret_key:
        return secret_id, secret_key
    print(f"export COS_SECRET_ID={_EXAMPLE_ID} COS_SECRET_KEY={_EXAMPLE_KEY}", file=sys.stderr)
    return _EXAMPLE_ID, _EXAMPLE_KEY


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(prog="cosfs emulator", epilog=_RULES)
    _add_arguments(_parser)
    sys.exit(run(_parser.parse_args()))
