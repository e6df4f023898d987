from dataclasses import replace
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosfs.config import Addressing, Network, ServiceConfig
from cosfs.cos.endpoint import bucket_endpoint, quote_key, service_endpoint
from cosfs.errors import ConfigError

BUCKET = "examplebucket-1250000000"
REGIONAL = ServiceConfig(bucket=BUCKET, region="ap-guangzhou")


def custom(endpoint: str, addressing: Addressing = Addressing.AUTO) -> ServiceConfig:
    return ServiceConfig(bucket=BUCKET, endpoint=endpoint, addressing=addressing)


@pytest.mark.parametrize(
    ("config", "url", "base_path"),
    [
        (REGIONAL, f"https://{BUCKET}.cos.ap-guangzhou.myqcloud.com", ""),
        (
            replace(REGIONAL, network=Network.INTERNAL),
            f"https://{BUCKET}.cos-internal.ap-guangzhou.tencentcos.cn",
            "",
        ),
        (
            replace(REGIONAL, network=Network.ACCELERATE),
            f"https://{BUCKET}.cos.accelerate.myqcloud.com",
            "",
        ),
        (
            replace(REGIONAL, addressing=Addressing.PATH),
            "https://cos.ap-guangzhou.myqcloud.com",
            f"/{BUCKET}",
        ),
        (custom("http://127.0.0.1:9000"), "http://127.0.0.1:9000", f"/{BUCKET}"),
        (custom("http://[::1]:9000/"), "http://[::1]:9000", f"/{BUCKET}"),
        (custom("http://localhost:80"), "http://localhost", f"/{BUCKET}"),
        (custom("https://cos.example.com"), f"https://{BUCKET}.cos.example.com", ""),
        (
            custom(f"https://{BUCKET}.cos.example.com:444"),
            f"https://{BUCKET}.cos.example.com:444",
            "",
        ),
        (
            custom("https://cos.example.com", Addressing.PATH),
            "https://cos.example.com",
            f"/{BUCKET}",
        ),
        (
            custom("http://localhost:9000", Addressing.VIRTUAL),
            f"http://{BUCKET}.localhost:9000",
            "",
        ),
    ],
)
def test_bucket_endpoint_is_where_cos_documents_it(
    config: ServiceConfig, url: str, base_path: str
) -> None:
    endpoint = bucket_endpoint(config)
    assert (endpoint.url, endpoint.base_path) == (url, base_path)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (replace(REGIONAL, bucket="nodigits"), "<name>-<appid>"),
        (replace(REGIONAL, bucket="Upper-125"), "Upper-125"),
        (replace(REGIONAL, bucket="-a-125"), "-a-125"),
        (replace(REGIONAL, bucket="a.b-125"), "a.b-125"),
        (replace(REGIONAL, bucket=f"{'a' * 30}-1250000000"), "60"),
        (replace(REGIONAL, region=None), "no region"),
        (replace(REGIONAL, region="ap guangzhou"), "ap guangzhou"),
        (custom("cos.example.com"), "https://host"),
        (custom("ftp://cos.example.com"), "ftp"),
        (custom("https://cos.example.com/path"), "without a path"),
        (custom("https://cos.example.com:99999"), "99999"),
        (custom("https://user@cos.example.com"), "user@"),
        (custom("http://cos..invalid"), "not an endpoint"),
        (custom("https://"), "https://"),
    ],
)
def test_bucket_endpoint_refuses_what_cannot_be(config: ServiceConfig, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        bucket_endpoint(config)


@pytest.mark.parametrize(
    ("config", "url"),
    [
        (ServiceConfig(bucket=""), "https://service.cos.myqcloud.com"),
        (REGIONAL, "https://service.cos.myqcloud.com"),
        (ServiceConfig(bucket="", endpoint="http://127.0.0.1:9000"), "http://127.0.0.1:9000"),
        (custom(f"https://{BUCKET}.cos.example.com"), "https://cos.example.com"),
    ],
)
def test_service_endpoint_has_no_bucket(config: ServiceConfig, url: str) -> None:
    endpoint = service_endpoint(config)
    assert (endpoint.url, endpoint.path("")) == (url, "/")


def test_copy_source_names_the_bucket_by_its_domain() -> None:
    source = bucket_endpoint(REGIONAL).copy_source("a b/ü%")
    assert source == f"{BUCKET}.cos.ap-guangzhou.myqcloud.com/a%20b/%C3%BC%25"


def test_copy_source_of_a_custom_endpoint_names_the_bucket_by_its_path() -> None:
    assert bucket_endpoint(custom("http://127.0.0.1:9000")).copy_source("k") == f"/{BUCKET}/k"


@pytest.mark.parametrize(
    ("key", "quoted"),
    [
        ("a//b", "a//b"),
        ("//", "//"),
        ("./x", ".%2Fx"),
        ("a/../b", "a%2F..%2Fb"),
        ("a/..", "a%2F.."),
        ("..", "%2E%2E"),
        ("...", "..."),
        ("a b+c%", "a%20b%2Bc%25"),
        ("\U0001f600", "%F0%9F%98%80"),
    ],
)
def test_quote_key_leaves_nothing_to_fold(key: str, quoted: str) -> None:
    assert quote_key(key) == quoted


@given(st.lists(st.sampled_from([".", "..", "", "a", "%2e", "?", "#", " "]), max_size=6))
def test_key_reaches_the_wire_as_it_is(segments: list[str]) -> None:
    key = "/".join(segments)
    path = bucket_endpoint(REGIONAL).quoted_path(key)
    sent = httpx.URL("https://example.com").copy_with(raw_path=path.encode()).raw_path.decode()
    assert sent == path
    assert unquote(sent) == f"/{key}"
