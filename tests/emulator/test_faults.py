from collections.abc import Sequence

import httpx
import pytest
import trio

from cosfs.emulator.api import Api
from cosfs.emulator.faults import Fault, Faults, FaultSyntaxError, parse_fault, parse_faults


def fired(fault: Fault, requests: int) -> Sequence[int]:
    """Which of so many UploadParts of one key are hit, from 1."""
    faults = Faults(seed=5)
    faults.set([fault])
    hits = [faults.due("UploadPart", "a/b") is not None for _ in range(requests)]
    return [number for number, hit in enumerate(hits, 1) if hit]


@pytest.mark.parametrize(
    ("rule", "hits"),
    [
        ("status=503", [1, 2, 3, 4, 5, 6]),
        ("nth=3", [3]),
        ("every=2", [2, 4, 6]),
        ("every=2 times=2", [2, 4]),
        ("times=1", [1]),
        ("key=a/*", [1, 2, 3, 4, 5, 6]),
        ("key=b/*", []),
        ("operation=uploadpart nth=1", [1]),
        ("operation=GetObject", []),
        ("probability=0", []),
    ],
)
def test_rule_hits_the_requests_it_names(rule: str, hits: list[int]) -> None:
    assert fired(parse_fault(rule), 6) == hits


def test_probability_repeats_with_its_seed() -> None:
    first = fired(Fault(probability=0.5), 40)

    assert first == fired(Fault(probability=0.5), 40)
    assert 5 < len(first) < 35


def test_first_rule_that_is_due_happens_and_all_are_counted() -> None:
    faults = Faults()
    faults.set([Fault(nth=2, code="First"), Fault(every=2, code="Second")])

    due = [faults.due("HeadObject", "k") for _ in range(4)]

    assert [each and each.code for each in due] == [None, "First", None, "Second"]


def test_rules_are_read_line_by_line() -> None:
    rules = parse_faults("# slow\ndelay=0.5 key='a b*'\n\nreset operation=PutObject\n")

    assert rules == [Fault(delay=0.5, key="a b*"), Fault(reset=True, operation="PutObject")]


@pytest.mark.parametrize("rule", ["colour=red", "nth=soon", "operation=PutObjekt"])
def test_rule_that_cannot_be_understood_names_its_field(rule: str) -> None:
    with pytest.raises(FaultSyntaxError, match=rule.partition("=")[0]):
        parse_fault(rule)


async def test_status_fault_answers_without_doing_the_work(
    client: httpx.AsyncClient, api: Api
) -> None:
    api.faults.add(
        parse_fault("operation=PutObject status=503 code=SlowDown retry_after=2 times=1")
    )

    answer = await client.put("/k", content=b"x")

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert "<Code>SlowDown</Code>" in answer.text
    assert (await client.head("/k")).status_code == 404


async def test_reset_surfaces_as_a_read_error(client: httpx.AsyncClient, api: Api) -> None:
    api.faults.add(Fault(operation="PutObject", reset=True, times=1))

    with pytest.raises(httpx.ReadError):
        await client.put("/k", content=b"x")

    assert (await client.head("/k")).status_code == 404


async def test_lost_answer_follows_the_work(client: httpx.AsyncClient, api: Api) -> None:
    api.faults.add(Fault(operation="PutObject", lose=True))

    with pytest.raises(httpx.RemoteProtocolError):
        await client.put("/k", content=b"x")

    assert (await client.get("/k")).content == b"x"


async def test_cut_answer_ends_in_the_middle(client: httpx.AsyncClient, api: Api) -> None:
    await client.put("/k", content=b"0123456789")
    api.faults.add(Fault(operation="GetObject", cut=4))
    async with client.stream("GET", "/k") as answer:
        chunks = answer.aiter_raw()
        received = await anext(chunks)

        with pytest.raises(httpx.RemoteProtocolError):
            await anext(chunks)

    assert received == b"0123"
    assert api.requests.records("GetObject")[0].outcome == "cut"


async def test_cut_request_leaves_nothing_behind(client: httpx.AsyncClient, api: Api) -> None:
    api.faults.add(Fault(operation="PutObject", cut=4))

    with pytest.raises(httpx.RemoteProtocolError):
        await client.put("/k", content=b"0123456789")

    assert (await client.head("/k")).status_code == 404
    assert repr(api.service.store.bodies) == "<MemoryBodies files=0>"


async def test_corrupted_upload_shows_in_its_crc64(client: httpx.AsyncClient, api: Api) -> None:
    good = await client.put("/k", content=b"0123456789")
    api.faults.add(Fault(operation="PutObject", corrupt=True))

    bad = await client.put("/k", content=b"0123456789")

    assert (await client.get("/k")).content == b"1123456789"
    assert bad.headers["x-cos-hash-crc64ecma"] != good.headers["x-cos-hash-crc64ecma"]


async def test_corrupted_answer_contradicts_its_crc64(client: httpx.AsyncClient, api: Api) -> None:
    put = await client.put("/k", content=b"0123456789")
    api.faults.add(Fault(operation="GetObject", corrupt=True))

    got = await client.get("/k")

    assert got.content == b"1123456789"
    assert got.headers["x-cos-hash-crc64ecma"] == put.headers["x-cos-hash-crc64ecma"]


async def test_error_in_200_replaces_a_copy(client: httpx.AsyncClient, api: Api) -> None:
    await client.put("/k", content=b"x")
    api.faults.add(Fault(operation="CopyObject", error_in_200=True, code="SlowDown", padding=3))

    headers = {"x-cos-copy-source": "/examplebucket-1250000000/k"}
    answer = await client.put("/copy", headers=headers)

    assert answer.status_code == 200
    assert answer.text.startswith("   <?xml")
    assert "<Code>SlowDown</Code>" in answer.text
    assert (await client.head("/copy")).status_code == 404


async def test_request_id_can_be_missing(client: httpx.AsyncClient, api: Api) -> None:
    api.faults.add(Fault(no_request_id=True, status=502))

    assert "x-cos-request-id" not in (await client.get("/k")).headers


async def test_delay_passes_before_the_work(
    client: httpx.AsyncClient, api: Api, autojump_clock: trio.testing.MockClock
) -> None:
    api.faults.add(Fault(delay=3))
    begun = autojump_clock.current_time()

    await client.put("/k", content=b"x")

    assert autojump_clock.current_time() - begun == pytest.approx(3)


async def test_delay_beyond_the_read_timeout_is_a_timeout(
    client: httpx.AsyncClient, api: Api, autojump_clock: trio.testing.MockClock
) -> None:
    api.faults.add(Fault(delay=60))

    with pytest.raises(httpx.ReadTimeout):
        await client.get("/k", timeout=httpx.Timeout(5))

    assert autojump_clock.current_time() == pytest.approx(5)


@pytest.mark.parametrize("operation", ["PutObject", "GetObject"])
async def test_bandwidth_slows_bodies_both_ways(
    client: httpx.AsyncClient,
    api: Api,
    operation: str,
    autojump_clock: trio.testing.MockClock,
) -> None:
    api.faults.add(Fault(operation=operation, bandwidth=100))
    begun = autojump_clock.current_time()

    await client.put("/k", content=b"x" * 500)
    await client.get("/k")

    assert autojump_clock.current_time() - begun == pytest.approx(5)


async def test_body_replaces_the_answer_after_the_work(
    client: httpx.AsyncClient, api: Api
) -> None:
    api.faults.add(parse_fault("operation=PutObject body='<html>no</html>' no_request_id"))

    answer = await client.put("/k", content=b"x")

    assert (answer.status_code, answer.text) == (200, "<html>no</html>")
    assert "x-cos-request-id" not in answer.headers
    assert (await client.get("/k")).content == b"x"


async def test_body_replaces_an_errors_document(client: httpx.AsyncClient, api: Api) -> None:
    api.faults.add(parse_fault("operation=PutObject status=302 body="))

    answer = await client.put("/k", content=b"x")

    assert (answer.status_code, answer.content) == (302, b"")
    assert (await client.head("/k")).status_code == 404


async def test_wrong_crc64_contradicts_what_is_stored(client: httpx.AsyncClient, api: Api) -> None:
    api.faults.add(Fault(operation="PutObject", wrong_crc64=True))

    put = await client.put("/k", content=b"x")

    assert put.headers["x-cos-hash-crc64ecma"] == "1"
    assert (await client.head("/k")).headers["x-cos-hash-crc64ecma"] != "1"


@pytest.mark.parametrize(
    ("operation", "size"),
    [("PutObject", 4), ("GetObject", 4), ("PutObject", 0), ("HeadObject", 0)],
)
async def test_stalled_request_is_never_answered(
    client: httpx.AsyncClient,
    api: Api,
    operation: str,
    size: int,
    autojump_clock: trio.testing.MockClock,
) -> None:
    await client.put("/k", content=b"0123456789")
    api.faults.add(Fault(operation=operation, stall=size))
    method = operation.removesuffix("Object")

    with pytest.raises(httpx.ReadTimeout):
        await client.request(
            method, "/k", content=b"x" * 10 if method == "Put" else b"", timeout=httpx.Timeout(5)
        )

    assert autojump_clock.current_time() >= 5


async def test_request_log_tells_what_was_asked(client: httpx.AsyncClient, api: Api) -> None:
    await client.put("/a b", content=b"12345")
    await client.get("/a b")
    await client.get("/missing?response-expires=0")

    put, get, missing = api.requests.records()
    assert (put.operation, put.key, put.status, put.bytes_in) == ("PutObject", "a b", 200, 5)
    assert (get.operation, get.bytes_out, get.ended is not None) == ("GetObject", 5, True)
    assert (missing.status, missing.query) == (403, "response-expires=0")
    assert "GetObject a b status=200 in=0 out=5 ms=" in get.line()
