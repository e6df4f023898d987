"""Tencent's own Python SDK against the emulator, as it is used against COS."""

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from qcloud_cos import CosConfig, CosS3Client
from qcloud_cos.cos_exception import CosServiceError

from tests.support.emulated import (
    BUCKET,
    SECRET_ID,
    SECRET_KEY,
    EmulatorProcess,
    emulator_process,
)

MIB: Final = 1 << 20
CONTENT: Final = random.Random(7).randbytes(5 * MIB + 123)


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorProcess]:
    with emulator_process() as process:
        yield process


@pytest.fixture
def sdk(emulator: EmulatorProcess) -> Iterator[CosS3Client]:
    emulator.set_faults("")
    emulator.forget_requests()
    client = connect(emulator)
    yield client
    for listed in client.list_objects(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=listed["Key"])


def connect(emulator: EmulatorProcess, *, secret_key: str = SECRET_KEY) -> CosS3Client:
    config = CosConfig(
        Region="ap-guangzhou",
        SecretId=SECRET_ID,
        SecretKey=secret_key,
        Scheme="http",
        Domain=f"127.0.0.1:{emulator.port}",
        ServiceDomain=f"127.0.0.1:{emulator.port}",
    )
    return CosS3Client(config)


@pytest.fixture
def big_file(tmp_path: Path) -> Path:
    path = tmp_path / "big"
    path.write_bytes(CONTENT)
    return path


def read(sdk: CosS3Client, key: str, **options: str) -> bytes:
    content: bytes = (
        sdk.get_object(Bucket=BUCKET, Key=key, **options)["Body"].get_raw_stream().read()
    )
    return content


@pytest.mark.parametrize(
    "key", ["plain", "dir/a b+c%.txt", "目录/文件😀", "x/./y", "a//b", "=&?#"]
)
def test_put_object_is_read_back_under_any_key(sdk: CosS3Client, key: str) -> None:
    answer = sdk.put_object(Bucket=BUCKET, Key=key, Body=b"hello cos", EnableMD5=True)

    assert answer["ETag"] == f'"{hashlib.md5(b"hello cos").hexdigest()}"'
    assert answer["x-cos-hash-crc64ecma"] == "13242225731321912570"
    assert read(sdk, key) == b"hello cos"


def test_upload_file_joins_parts_sent_by_threads(
    sdk: CosS3Client, emulator: EmulatorProcess, big_file: Path
) -> None:
    answer = sdk.upload_file(Bucket=BUCKET, Key="big", LocalFilePath=str(big_file), MAXThread=3)

    assert answer["ETag"].endswith('-6"')
    assert read(sdk, "big") == CONTENT
    parts = [each for each in emulator.requests() if each["operation"] == "UploadPart"]
    assert sorted(part["bytes_in"] for part in parts) == [123] + [MIB] * 5


def test_upload_file_resumes_with_the_parts_that_are_there(
    sdk: CosS3Client, emulator: EmulatorProcess, big_file: Path
) -> None:
    upload_id = sdk.create_multipart_upload(Bucket=BUCKET, Key="big")["UploadId"]
    for number in (1, 2, 3):
        body = CONTENT[(number - 1) * MIB : number * MIB]
        sdk.upload_part(Bucket=BUCKET, Key="big", Body=body, PartNumber=number, UploadId=upload_id)
    emulator.forget_requests()

    sdk.upload_file(Bucket=BUCKET, Key="big", LocalFilePath=str(big_file), MAXThread=2)

    operations = [each["operation"] for each in emulator.requests()]
    assert operations.count("UploadPart") == 3
    assert "InitiateMultipartUpload" not in operations
    assert read(sdk, "big") == CONTENT


def test_list_parts_pages(sdk: CosS3Client) -> None:
    upload_id = sdk.create_multipart_upload(Bucket=BUCKET, Key="k")["UploadId"]
    for number in (1, 2, 3):
        sdk.upload_part(
            Bucket=BUCKET, Key="k", Body=b"x" * number, PartNumber=number, UploadId=upload_id
        )

    first = sdk.list_parts(Bucket=BUCKET, Key="k", UploadId=upload_id, MaxParts=2)
    rest = sdk.list_parts(
        Bucket=BUCKET, Key="k", UploadId=upload_id, PartNumberMarker=first["NextPartNumberMarker"]
    )

    assert first["IsTruncated"] == "true"
    assert [part["Size"] for part in first["Part"]] == ["1", "2"]
    assert [part["PartNumber"] for part in rest["Part"]] == ["3"]
    sdk.abort_multipart_upload(Bucket=BUCKET, Key="k", UploadId=upload_id)


def test_list_uploads_pages_until_they_are_aborted(sdk: CosS3Client) -> None:
    begun = {
        key: sdk.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
        for key in ("a", "b", "c")
    }

    first = sdk.list_multipart_uploads(Bucket=BUCKET, MaxUploads=2)
    rest = sdk.list_multipart_uploads(
        Bucket=BUCKET,
        KeyMarker=first["NextKeyMarker"],
        UploadIdMarker=first["NextUploadIdMarker"],
    )
    for key, upload_id in begun.items():
        sdk.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload_id)

    assert [upload["Key"] for upload in first["Upload"] + rest["Upload"]] == ["a", "b", "c"]
    assert "Upload" not in sdk.list_multipart_uploads(Bucket=BUCKET)


def test_upload_part_of_an_aborted_upload_is_refused(sdk: CosS3Client) -> None:
    upload_id = sdk.create_multipart_upload(Bucket=BUCKET, Key="k")["UploadId"]
    sdk.abort_multipart_upload(Bucket=BUCKET, Key="k", UploadId=upload_id)

    with pytest.raises(CosServiceError) as refused:
        sdk.upload_part(Bucket=BUCKET, Key="k", Body=b"x", PartNumber=1, UploadId=upload_id)

    assert refused.value.get_error_code() == "NoSuchUpload"


def test_part_copies_are_joined_with_uploaded_parts(sdk: CosS3Client) -> None:
    sdk.put_object(Bucket=BUCKET, Key="source", Body=CONTENT)
    source = {"Bucket": BUCKET, "Key": "source", "Region": "ap-guangzhou"}
    upload_id = sdk.create_multipart_upload(Bucket=BUCKET, Key="copy")["UploadId"]

    copied = sdk.upload_part_copy(
        Bucket=BUCKET,
        Key="copy",
        PartNumber=1,
        UploadId=upload_id,
        CopySource=source,
        CopySourceRange=f"bytes=5-{2 * MIB - 1}",
    )
    sent = sdk.upload_part(
        Bucket=BUCKET, Key="copy", Body=b"tail", PartNumber=2, UploadId=upload_id
    )
    etags = [{"PartNumber": n, "ETag": p["ETag"]} for n, p in ((1, copied), (2, sent))]
    sdk.complete_multipart_upload(
        Bucket=BUCKET, Key="copy", UploadId=upload_id, MultipartUpload={"Part": etags}
    )

    assert read(sdk, "copy") == CONTENT[5 : 2 * MIB] + b"tail"


def test_copy_object_keeps_metadata(sdk: CosS3Client) -> None:
    sdk.put_object(Bucket=BUCKET, Key="a b", Body=b"x", Metadata={"x-cos-meta-mode": "33188"})

    answer = sdk.copy_object(
        Bucket=BUCKET,
        Key="copy",
        CopySource={"Bucket": BUCKET, "Key": "a b", "Region": "ap-guangzhou"},
    )

    assert answer["ETag"] == f'"{hashlib.md5(b"x").hexdigest()}"'
    assert sdk.head_object(Bucket=BUCKET, Key="copy")["x-cos-meta-mode"] == "33188"


def test_get_object_gives_a_range(sdk: CosS3Client) -> None:
    sdk.put_object(Bucket=BUCKET, Key="k", Body=b"0123456789")

    answer = sdk.get_object(Bucket=BUCKET, Key="k", Range="bytes=3-5")

    assert answer["Body"].get_raw_stream().read() == b"345"
    assert answer["Content-Range"] == "bytes 3-5/10"


def test_download_file_gets_ranges_in_threads(sdk: CosS3Client, tmp_path: Path) -> None:
    sdk.put_object(Bucket=BUCKET, Key="k", Body=CONTENT)
    target = tmp_path / "target"

    sdk.download_file(
        Bucket=BUCKET, Key="k", DestFilePath=str(target), PartSize=1, MAXThread=3, EnableCRC=True
    )

    assert target.read_bytes() == CONTENT


def test_delete_objects_removes_what_is_named(sdk: CosS3Client) -> None:
    for key in ("a", "b&<c>", "d"):
        sdk.put_object(Bucket=BUCKET, Key=key, Body=b"")

    answer = sdk.delete_objects(
        Bucket=BUCKET, Delete={"Object": [{"Key": "a"}, {"Key": "b&<c>"}, {"Key": "missing"}]}
    )

    assert [each["Key"] for each in answer["Deleted"]] == ["a", "b&<c>", "missing"]
    assert [each["Key"] for each in sdk.list_objects(Bucket=BUCKET)["Contents"]] == ["d"]


def test_list_objects_groups_and_pages(sdk: CosS3Client) -> None:
    for key in ("a", "dir/x", "dir/y", "other/z", "z w"):
        sdk.put_object(Bucket=BUCKET, Key=key, Body=b"1")

    names: list[str] = []
    marker = ""
    for _ in range(4):
        page = sdk.list_objects(Bucket=BUCKET, Delimiter="/", MaxKeys=1, Marker=marker)
        names += [each["Key"] for each in page.get("Contents", [])]
        names += [each["Prefix"] for each in page.get("CommonPrefixes", [])]
        marker = page.get("NextMarker", "")

    assert names == ["a", "dir/", "other/", "z w"]
    assert page["IsTruncated"] == "false"


def test_metadata_and_entity_headers_are_kept(sdk: CosS3Client) -> None:
    sdk.put_object(
        Bucket=BUCKET,
        Key="k",
        Body=b"",
        ContentType="text/plain",
        CacheControl="no-store",
        Metadata={"x-cos-meta-mtime": "1700000000"},
    )

    headers = sdk.head_object(Bucket=BUCKET, Key="k")

    assert headers["Content-Type"] == "text/plain"
    assert headers["Cache-Control"] == "no-store"
    assert headers["x-cos-meta-mtime"] == "1700000000"


def test_presigned_url_opens_without_credentials(sdk: CosS3Client) -> None:
    sdk.put_object(Bucket=BUCKET, Key="dir/a b", Body=b"shared")
    url = sdk.get_presigned_download_url(Bucket=BUCKET, Key="dir/a b", Expired=60)

    with urlopen(url, timeout=10) as answer:
        assert answer.read() == b"shared"


def presigned(sdk: CosS3Client, content_type: str) -> str:
    url: str = sdk.get_presigned_download_url(
        Bucket=BUCKET, Key="k", Expired=60, Params={"response-content-type": content_type}
    )
    return url


def test_presigned_url_overrides_headers(sdk: CosS3Client) -> None:
    sdk.put_object(Bucket=BUCKET, Key="k", Body=b"shared")

    with urlopen(presigned(sdk, "text/x; a=b"), timeout=10) as answer:
        assert answer.headers["Content-Type"] == "text/x; a=b"


def test_presigned_url_cannot_split_the_answer(sdk: CosS3Client) -> None:
    sdk.put_object(Bucket=BUCKET, Key="k", Body=b"shared")

    with pytest.raises(HTTPError, match="400") as refused:
        urlopen(presigned(sdk, "a\nb: c"), timeout=10)

    refused.value.close()


def test_wrong_key_is_refused(emulator: EmulatorProcess) -> None:
    stranger = connect(emulator, secret_key="not the key")

    with pytest.raises(CosServiceError) as refused:
        stranger.put_object(Bucket=BUCKET, Key="k", Body=b"x")

    assert refused.value.get_status_code() == 403
    assert refused.value.get_error_code() == "SignatureDoesNotMatch"


def test_missing_object_is_reported(sdk: CosS3Client) -> None:
    assert sdk.object_exists(Bucket=BUCKET, Key="missing") is False
    with pytest.raises(CosServiceError) as refused:
        sdk.get_object(Bucket=BUCKET, Key="missing")
    assert refused.value.get_error_code() == "NoSuchKey"


def test_list_buckets_names_all() -> None:
    with emulator_process(
        "--bucket", "first-1250000000", "--bucket", "second-1250000000"
    ) as other:
        service = connect(other)
        names = [each["Name"] for each in service.list_buckets()["Buckets"]["Bucket"]]

    assert names == ["first-1250000000", "second-1250000000"]


def test_error_inside_a_successful_complete_is_noticed(
    sdk: CosS3Client, emulator: EmulatorProcess
) -> None:
    upload_id = sdk.create_multipart_upload(Bucket=BUCKET, Key="k")["UploadId"]
    part = sdk.upload_part(Bucket=BUCKET, Key="k", Body=b"x", PartNumber=1, UploadId=upload_id)
    emulator.set_faults("operation=CompleteMultipartUpload error_in_200 times=1")

    with pytest.raises(CosServiceError):
        sdk.complete_multipart_upload(
            Bucket=BUCKET,
            Key="k",
            UploadId=upload_id,
            MultipartUpload={"Part": [{"PartNumber": 1, "ETag": part["ETag"]}]},
        )

    sdk.abort_multipart_upload(Bucket=BUCKET, Key="k", UploadId=upload_id)
