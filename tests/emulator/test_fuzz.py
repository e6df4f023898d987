"""Requests without sense: the emulator refuses them, and goes on."""

import trio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cosfs.emulator.api import Api
from cosfs.emulator.faults import FaultSyntaxError, parse_faults
from cosfs.emulator.messages import Request
from cosfs.emulator.service import Limits
from cosfs.emulator.streams import Chunks
from tests.support.emulated import BUCKET, RunningServer, make_api, running_server

PATIENT = settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

WORDS = [
    "",
    "1",
    "0",
    "-1",
    "9" * 30,
    "k",
    "..",
    "/",
    "%",
    "%00",
    "%ff",
    "%E4%B8%AD",
    "a/../b",
    "bytes=0-",
    "bytes=5-1",
    "bytes=-0",
    "bytes=0-99999999999999999999",
    "Replaced",
    f"/{BUCKET}/k",
    f"/{BUCKET}/k?versionId=1",
    "Tue, 14 Nov 2023 23:13:20 GMT",
    "url",
    '"e"',
    "*",
]
QUERY_NAMES = [
    *("uploads", "uploadId", "partNumber", "delete", "prefix", "marker", "max-keys", "delimiter"),
    *("encoding-type", "part-number-marker", "max-parts", "key-marker", "upload-id-marker"),
    *("max-uploads", "append", "position", "acl", "response-expires", "sign"),
]
HEADER_NAMES = [
    *("content-length", "content-md5", "range", "if-match", "if-none-match", "authorization"),
    *("if-modified-since", "x-cos-copy-source", "x-cos-copy-source-range", "x-cos-meta-a"),
    *("x-cos-copy-source-if-match", "x-cos-metadata-directive", "x-cos-storage-class"),
    *("x-cos-forbid-overwrite", "transfer-encoding", "x-cos-security-token", "host"),
]
BODIES = [
    b"<Delete><Object><Key>k</Key></Object></Delete>",
    b"<Delete><Object/><Quiet>maybe</Quiet></Delete>",
    b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>e</ETag></Part>"
    b"</CompleteMultipartUpload>",
    b"<CompleteMultipartUpload><Part><PartNumber>-1</PartNumber></Part></CompleteMultipartUpload>",
    b"<!DOCTYPE a [<!ENTITY b 'b'>]><Delete>&b;</Delete>",
    b"<a>" * 5000,
    b"\xff\xfe\x00",
]
words = st.sampled_from(WORDS) | st.text(
    st.characters(min_codepoint=32, max_codepoint=126), max_size=20
)


@st.composite
def targets(draw: st.DrawFn) -> str:
    path = draw(
        st.sampled_from(["/", "/k", f"/{BUCKET}/", f"/{BUCKET}/k", "/nobucket-1250000000/k"])
    )
    pairs = draw(st.lists(st.tuples(st.sampled_from(QUERY_NAMES), words), max_size=4))
    query = "&".join(f"{name}={value}" if value else name for name, value in pairs)
    return path + draw(words).replace(" ", "+") + ("?" + query.replace(" ", "+") if query else "")


requests = st.builds(
    lambda method, target, headers, body: Request(
        method=method, target=target, headers=[("host", "x"), *headers], body=Chunks([body])
    ),
    st.sampled_from(["GET", "PUT", "POST", "HEAD", "DELETE", "OPTIONS", "BREW"]),
    targets(),
    st.lists(st.tuples(st.sampled_from(HEADER_NAMES), words), max_size=5),
    st.sampled_from(BODIES) | st.binary(max_size=50),
)


def make_open_api() -> Api:
    return make_api(anonymous=True, limits=Limits(min_part=10, max_single=1000))


@PATIENT
@given(sent=st.lists(requests, min_size=1, max_size=8))
def test_request_is_answered_and_never_with_an_internal_error(sent: list[Request]) -> None:
    async def run() -> None:
        api = make_open_api()
        for request in sent:
            response = await api.handle(request)
            try:
                async for _chunk in response.body:
                    pass
            finally:
                response.close()
            assert response.status < 500 or response.status == 501, request

    trio.run(run)


HEADS = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"PUT /k HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    b"PUT /k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"PUT /k HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /k?marker=%ff HTTP/1.1\r\nHost: h\r\nAuthorization: q-ak=a&q-sign-time=1;2\r\n\r\n",
]
PIECES = [
    b"\r\n",
    b"\n",
    b"\0",
    b"\xff",
    b"9" * 30,
    b"-1",
    b"%",
    b" ",
    b":",
    b"HTTP/9.9",
    b"x" * 200,
]


@st.composite
def raw_requests(draw: st.DrawFn) -> bytes:
    data = draw(st.sampled_from(HEADS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        stop = draw(st.integers(start, min(start + 20, len(data))))
        data = data[:start] + draw(st.sampled_from(PIECES) | st.binary(max_size=6)) + data[stop:]
    return data


@PATIENT
@given(sent=st.lists(raw_requests(), min_size=1, max_size=10))
@example(sent=[b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 30_000])
@example(sent=[b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)])
def test_bytes_are_refused_and_the_server_goes_on(sent: list[bytes]) -> None:
    async def run() -> None:
        with trio.fail_after(30):
            async with running_server(make_open_api()) as server:
                for data in sent:
                    answered = await exchanged(server, data)
                    assert answered[9:10] in (b"", b"1", b"2", b"3", b"4") or b"501" in answered
                assert (await exchanged(server, HEADS[0])).startswith(b"HTTP/1.1 200 ")

    trio.run(run)


async def exchanged(server: RunningServer, data: bytes) -> bytes:
    """What the server says to *data*, after which nothing comes."""
    answered = b""
    stream = await trio.open_tcp_stream("127.0.0.1", int(server.url.rpartition(":")[2]))
    async with stream:
        try:
            await stream.send_all(data)
            await stream.send_eof()
            while received := await stream.receive_some(65536):
                answered += received
        except trio.BrokenResourceError:
            return answered
    return answered


@PATIENT
@given(
    line=st.text(max_size=40)
    | st.builds(
        "{}={}".format,
        st.sampled_from(["status", "nth", "every", "delay", "cut", "stall", "probability"]),
        st.sampled_from(["0", "-1", "nan", "inf", "1e400", "99", "600", "x", "", "1_0", "'"]),
    )
)
def test_fault_rule_is_understood_or_refused(line: str) -> None:
    try:
        rules = parse_faults(line)
    except FaultSyntaxError:
        return
    for rule in rules:
        assert rule.status is None or 200 <= rule.status < 600
        assert rule.delay >= 0
        assert rule.every != 0
