"""Request in, response out: the whole service without a socket.

One request goes: address, operation, fault, signature, bucket, handler. Every answer has a request
id. A fault or a cut body surfaces as Disconnect, out of handle() or out of the answer's body.
"""

import json
import secrets
import sqlite3
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Final

import trio

from cosfs.emulator import documents, streams
from cosfs.emulator.faults import Fault, Faults, FaultSyntaxError, parse_faults
from cosfs.emulator.intake import whole
from cosfs.emulator.messages import (
    Disconnect,
    Request,
    Response,
    answer,
    no_content,
    split_target,
    xml_answer,
)
from cosfs.emulator.refusals import Refusal, code_for
from cosfs.emulator.requestlog import Record, RequestLog
from cosfs.emulator.routing import NO_ADDRESS, Address, Operation, locate, names_bucket, route
from cosfs.emulator.service import MIB, Call, Service
from cosfs.emulator.signature import Account, Signed, check

ADMIN_PREFIX: Final = "/-/"
_WITH_OBJECT_BODY: Final = frozenset({"PutObject", "UploadPart"})
_BODILESS: Final = frozenset({204, 304})  # HTTP: no body, nor a length
_CRC64: Final = "x-cos-hash-crc64ecma"
_LATE_ERRORS: Final = frozenset({"CopyObject", "UploadPartCopy", "CompleteMultipartUpload"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may do what. Any known account may do everything."""

    accounts: Mapping[str, Account]
    anonymous: bool = False  # requests without a signature, too


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How slow the service pretends to be."""

    latency_s: float = 0.0  # before each answer's work
    bandwidth: float | None = None  # bytes a second for each request, each way


@dataclass(slots=True, kw_only=True)
class _Exchange:
    """A request as far as it has been understood; filled in on the way."""

    request: Request
    request_id: str
    headers: dict[str, str]
    path: str = "/"
    pairs: list[tuple[str, str]] = field(default_factory=list)
    address: Address = NO_ADDRESS
    record: Record
    fault: Fault | None = None


class Api:
    """The service behind HTTP. handle() may run in many tasks at once."""

    def __init__(
        self,
        service: Service,
        access: Access,
        *,
        faults: Faults | None = None,
        log: RequestLog | None = None,
        pace: Pace | None = None,
        admin: bool = False,
    ) -> None:
        self.service = service
        self.faults = faults or Faults()
        self.requests = log or RequestLog()
        self._access = access
        self._pace = pace or Pace()
        self._admin = admin

    async def handle(self, request: Request) -> Response:
        """The answer to *request*, to be closed by the caller. Raises Disconnect."""
        if self._admin and request.target.startswith(ADMIN_PREFIX):
            return await self._administer(request)
        exchange = self._begin(request)
        try:
            response = await self._respond(exchange)
        except Disconnect as error:
            exchange.record.outcome = str(error)
            self._end(exchange)
            raise
        except BaseException:
            self._end(exchange)
            raise
        self._finish(exchange, response)
        return response

    def _begin(self, request: Request) -> _Exchange:
        record = Record(
            started=self.service.clock(),
            operation="Unknown",
            method=request.method,
            bucket="",
            key="",
            query=request.target.partition("?")[2],
        )
        self.requests.begin(record)
        return _Exchange(
            request=request,
            request_id=_request_id(self.service.clock()),
            headers={name.lower(): value.strip() for name, value in request.headers},
            record=record,
        )

    async def _respond(self, exchange: _Exchange) -> Response:
        try:
            operation = self._understand(exchange)
            exchange.fault = self.faults.due(operation.name, exchange.address.key)
            self._prepare_body(exchange, operation)
            await self._misbehave(exchange.fault)
            response = await self._operate(exchange, operation)
            return self._damage(exchange, operation, response)
        except Refusal as refusal:
            return self._refuse(exchange, refusal)
        except (OSError, sqlite3.Error) as error:  # a full disk is no reason to stop serving
            return self._refuse(exchange, Refusal("InternalError", str(error)))

    def _understand(self, exchange: _Exchange) -> Operation:
        request, record = exchange.request, exchange.record
        exchange.path, exchange.pairs = split_target(request.target)
        query = dict(exchange.pairs)
        exchange.address = locate(
            self.service.store,
            exchange.headers.get("host", ""),
            exchange.path,
            names_bucket=names_bucket(request.method, query),
        )
        record.bucket, record.key = exchange.address.bucket, exchange.address.key
        operation = route(request.method, exchange.address, query, exchange.headers)
        record.operation = operation.name
        return operation

    async def _misbehave(self, fault: Fault | None) -> None:
        """What a fault does before the work."""
        delay_s = self._pace.latency_s + (fault.delay if fault else 0.0)
        if delay_s > 0:  # sleep(0) would cost each request a turn of the loop, about 50 us
            await trio.sleep(delay_s)
        if fault is None:
            return
        if fault.reset:
            raise Disconnect("reset", reset=True)
        if fault.stall == 0:
            await trio.sleep(streams.STALL_S)
            raise Disconnect("stalled")
        if (fault.status or fault.code) and not fault.error_in_200:
            status = fault.status
            code = fault.code or code_for(status or 500)
            raise Refusal(code, "planned fault", status=status)

    async def _operate(self, exchange: _Exchange, operation: Operation) -> Response:
        self._authenticate(exchange)
        bucket = exchange.address.bucket
        if bucket and operation.name != "PutBucket" and not self.service.store.has_bucket(bucket):
            raise Refusal("NoSuchBucket")
        if exchange.fault is not None and exchange.fault.error_in_200:
            return self._late_error(exchange, operation, exchange.fault)
        call = Call(
            request=exchange.request,
            host=exchange.headers.get("host", ""),
            bucket=bucket,
            key=exchange.address.key,
            query=dict(exchange.pairs),
            headers=exchange.headers,
        )
        return await operation.handler(self.service, call)

    def _authenticate(self, exchange: _Exchange) -> None:
        """Raises Refusal unless the request may be done."""
        address = exchange.address
        signed = Signed(
            method=exchange.request.method,
            paths=[exchange.path, f"/{address.key}"],  # path style: SDKs differ in what they sign
            query=exchange.pairs,
            headers=[(name.lower(), value) for name, value in exchange.request.headers],
        )
        account = check(signed, self._access.accounts, now=self.service.clock())
        overrides = any(name.startswith("response-") for name, _ in exchange.pairs)
        if account is None and (overrides or not self._access.anonymous):
            raise Refusal("AccessDenied")

    def _prepare_body(self, exchange: _Exchange, operation: Operation) -> None:
        """Put the request's body through what the fault and the pace do to it."""
        body, fault, record = exchange.request.body, exchange.fault, exchange.record
        if operation.name in _WITH_OBJECT_BODY:
            if exchange.headers.keys().isdisjoint(("content-length", "transfer-encoding")):
                raise Refusal("MissingContentLength")
            if fault is not None and fault.cut is not None:
                body = streams.Cut(body, fault.cut, Disconnect("cut"))
            if fault is not None and fault.stall is not None:
                body = streams.Stalled(body, fault.stall, Disconnect("stalled"))
            if fault is not None and fault.corrupt:
                body = streams.Corrupted(body)
        bandwidth = self._bandwidth(fault)
        if bandwidth is not None:
            body = streams.Paced(body, bandwidth)

        def count(size: int) -> None:
            record.bytes_in += size

        exchange.request = replace(exchange.request, body=streams.Counted(body, count))

    def _damage(self, exchange: _Exchange, operation: Operation, response: Response) -> Response:
        """Put the answer through what the fault does to it."""
        fault = exchange.fault
        if fault is None:
            return response
        if fault.lose:
            response.close()
            raise Disconnect("lost")
        response = _changed(response, fault, has_body=exchange.request.method != "HEAD")
        if operation.name in _WITH_OBJECT_BODY:
            return response
        if fault.stall is not None:
            response.body = streams.Stalled(response.body, fault.stall, Disconnect("stalled"))
        if fault.corrupt:
            response.body = streams.Corrupted(response.body)
        if fault.cut is not None:
            exchange.record.outcome = "cut"
            response.body = streams.Cut(response.body, fault.cut, Disconnect("cut"))
        return response

    def _refuse(self, exchange: _Exchange, refusal: Refusal) -> Response:
        headers = {"Content-Type": "application/xml"}
        fault = exchange.fault
        if fault is not None and fault.retry_after is not None:
            headers["Retry-After"] = str(fault.retry_after)
        if refusal.status in _BODILESS:
            return Response(status=refusal.status, headers=headers, body=streams.Chunks([]))
        if exchange.request.method == "HEAD":
            return answer(refusal.status, headers)
        content = _error(exchange, refusal).encode("utf-8", "surrogateescape")
        if fault is not None and fault.body is not None:
            content = fault.body.encode()
        return answer(refusal.status, headers, content=content)

    def _late_error(self, exchange: _Exchange, operation: Operation, fault: Fault) -> Response:
        if operation.name not in _LATE_ERRORS:
            raise Refusal(fault.code or "InternalError", "planned fault", status=fault.status)
        refusal = Refusal(fault.code or "InternalError", "planned fault")
        return xml_answer(_error(exchange, refusal), chunked=True)

    def _finish(self, exchange: _Exchange, response: Response) -> None:
        """Add what every answer has, and see that its end is recorded."""
        record, fault = exchange.record, exchange.fault
        record.status = response.status
        response.headers["Server"] = "tencent-cos"
        response.headers["Date"] = formatdate(self.service.clock(), usegmt=True)
        if fault is None or not fault.no_request_id:
            response.headers["x-cos-request-id"] = exchange.request_id
        bandwidth = self._bandwidth(fault)
        if bandwidth is not None:
            response.body = streams.Paced(response.body, bandwidth)

        def count(size: int) -> None:
            record.bytes_out += size

        response.body = streams.Counted(response.body, count)
        response.on_close.append(lambda: self._end(exchange))

    def _end(self, exchange: _Exchange) -> None:
        self.requests.end(exchange.record, now=self.service.clock())

    def _bandwidth(self, fault: Fault | None) -> float | None:
        return self._pace.bandwidth if fault is None else fault.bandwidth or self._pace.bandwidth

    async def _administer(self, request: Request) -> Response:
        """The /-/ resources, with which tests steer a server in another process."""
        match request.method, request.target.removeprefix(ADMIN_PREFIX):
            case "POST", "faults":
                try:
                    text = (await whole(request.body, limit=MIB)).decode()
                    self.faults.set(parse_faults(text))
                except (FaultSyntaxError, UnicodeDecodeError, Refusal) as error:
                    return answer(400, content=str(error).encode("utf-8", "replace"))
                return answer(200)
            case "GET", "requests":
                content = json.dumps(self.requests.as_json_values()).encode()
                return answer(200, {"Content-Type": "application/json"}, content=content)
            case "DELETE", "requests":
                self.requests.clear()
                return no_content()
        return answer(404)


def _changed(response: Response, fault: Fault, *, has_body: bool) -> Response:
    """The answer with other words than it should have."""
    if fault.body is not None:
        response.close()
        content = fault.body.encode() if has_body else b""
        status = 200 if response.status in _BODILESS else response.status
        response = answer(status, content=content)
    if fault.wrong_crc64:
        response.headers[_CRC64] = "1"
    if fault.padding and has_body and response.status not in _BODILESS:
        response.body = streams.Padded(response.body, fault.padding)
        response.headers.pop("Content-Length", None)
    return response


def _error(exchange: _Exchange, refusal: Refusal) -> str:
    resource = exchange.headers.get("host", "") + exchange.path
    return documents.error(refusal, resource=resource, request_id=exchange.request_id)


def _request_id(now: float) -> str:
    """In COS's form: base64 of hexadecimal time and three numbers."""
    chance = secrets.token_hex(8)
    text = f"{int(now):x}_{chance[:8]}_{chance[8:12]}_{chance[12:]}"
    return b64encode(text.encode()).decode()
