"""From command line and environment to a MountConfig: names, precedence, bounds, complaints."""

import math
import re
from pathlib import Path

import pytest

from cosfs.config import Addressing, MountConfig, Network, ServiceConfig
from cosfs.errors import ConfigError
from cosfs.options import OPTIONS, Option
from cosfs.settings import Setting, configure, find_option, parse_source, split_options

BUCKET = "examplebucket-1250000000"
README = Path(__file__).parent.parent / "README.md"


def configured(options: str = "", **environ: str) -> MountConfig:
    return configure(BUCKET, "/mnt", split_options(options), environ)


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        (BUCKET, ""),
        (f"{BUCKET}/", ""),
        (f"{BUCKET}/a/b", "a/b/"),
        (f"cos://{BUCKET}", ""),
        (f"cos://{BUCKET}/a/", "a/"),
        (f"{BUCKET}:/a", "a/"),
        (f"{BUCKET}:/", ""),
        (f"{BUCKET}:", ""),
    ],
)
def test_source_is_bucket_and_prefix(text: str, prefix: str) -> None:
    assert parse_source(text) == (BUCKET, prefix)


@pytest.mark.parametrize("text", ["", "/mnt/cos", "./b", "cos://", "cos:///a"])
def test_source_that_is_a_path_tells_the_order(text: str) -> None:
    with pytest.raises(ConfigError, match="the order is SOURCE MOUNTPOINT"):
        parse_source(text)


@pytest.mark.parametrize("text", [f"{BUCKET}/a//b", f"{BUCKET}/../a", f"{BUCKET}/a/./b"])
def test_source_refuses_prefixes_that_are_no_path(text: str) -> None:
    with pytest.raises(ConfigError, match="a prefix has no"):
        parse_source(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("ro", [("ro", None)]),
        ("a,b=c,,d=", [("a", None), ("b", "c"), ("d", "")]),
        (r"log_file=/a\,b,ro", [("log_file", "/a,b"), ("ro", None)]),
        (r"x=a\\b", [("x", r"a\b")]),
        ("url=http://h:1/?a=b", [("url", "http://h:1/?a=b")]),
    ],
)
def test_option_list_is_split_at_bare_commas(
    text: str, expected: list[tuple[str, str | None]]
) -> None:
    assert [(setting.name, setting.value) for setting in split_options(text)] == expected


def test_options_reach_their_fields() -> None:
    config = configured(
        "region=ap-guangzhou,network=internal,addressing=path,storage_class=standard_ia,"
        "sse=kms:k,timeout=2m,connections=64,part_size=16M,parallel=4,memory=1GiB,read_ahead=0,"
        "uid=1000,gid=100,umask=027,xattr,metadata_ttl=1m,ro,nonempty,foreground,log_level=debug,"
        "no_verify_tls,ca_bundle=/ca.pem,credentials_file=/keys,log_file=/log,connect_timeout=3,"
        "cache=/cache,cache_size=1T"
    )

    service, transfer, attributes = config.service, config.transfer, config.attributes
    assert (service.region, service.network) == ("ap-guangzhou", Network.INTERNAL)
    assert (service.addressing, service.storage_class) == (Addressing.PATH, "STANDARD_IA")
    assert (service.sse, service.timeout_s, service.connections) == ("kms:k", 120.0, 64)
    assert (service.connect_timeout_s, service.verify_tls) == (3.0, False)
    assert service.ca_bundle == Path("/ca.pem")
    assert (transfer.part_size, transfer.parallel) == (16 << 20, 4)
    assert (transfer.memory, transfer.read_ahead) == (1 << 30, 0)
    assert (transfer.cache, transfer.cache_size) == (Path("/cache"), 1 << 40)
    assert (attributes.uid, attributes.gid, attributes.umask) == (1000, 100, 0o027)
    assert (attributes.metadata_ttl_s, attributes.xattrs) == (60.0, True)
    assert (config.read_only, config.nonempty, config.foreground) == (True, True, True)
    assert (config.credentials_file, config.log_file) == (Path("/keys"), Path("/log"))
    assert config.log_level == "debug"


def test_names_of_the_older_cosfs_mean_the_same() -> None:
    config = configured(
        "url=http://cos.ap-guangzhou.myqcloud.com,passwd_file=/p,multipart_size=10,"
        "parallel_count=5,public_bucket=1,stat_cache_expire=9,dbglevel=info,no_check_certificate,xattr,noxattr"
    )

    assert config.service.endpoint == "http://cos.ap-guangzhou.myqcloud.com"
    assert config.credentials_file == Path("/p")
    assert (config.transfer.part_size, config.transfer.parallel) == (10 << 20, 5)
    assert (config.anonymous, config.service.verify_tls) == (True, False)
    assert (config.attributes.metadata_ttl_s, config.attributes.xattrs) == (9.0, False)
    assert config.log_level == "info"


def test_options_of_mount_are_passed_over() -> None:
    options = "_netdev,nofail,noauto,user,users,x-systemd.automount,x-a=b,comment=c,defaults,rw"

    assert configured(options) == configured()


def test_options_of_fuse_are_passed_on() -> None:
    config = configured("nosuid,nodev,noexec,noatime,allow_other,default_permissions,ro")

    assert set(config.fuse_options) == {
        *("nosuid", "nodev", "noexec", "noatime", "allow_other", "default_permissions", "ro")
    }


def test_later_option_wins() -> None:
    config = configured("ro,part_size=1M,rw,part_size=2M")

    assert config.transfer.part_size == 2 << 20
    assert not config.read_only
    assert config.fuse_options == ()


def test_option_wins_over_environment() -> None:
    config = configured("region=ap-beijing", COS_REGION="ap-guangzhou", COS_ENDPOINT="https://e")

    assert (config.service.region, config.service.endpoint) == ("ap-beijing", "https://e")


def test_empty_environment_variable_says_nothing() -> None:
    config = configured("", COS_REGION="", TENCENTCLOUD_REGION="ap-tokyo")

    assert config.service.region == "ap-tokyo"


def test_unknown_option_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown option 'part_sise'; did you mean part_size\?"):
        configured("part_sise=1M")


@pytest.mark.parametrize("name", ["use_cache", "tmpdir", "ensure_diskfree", "nocopyapi"])
def test_option_of_the_older_cosfs_without_meaning_says_so(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}'; the C.. cosfs has it.*leave it out"):
        configured(f"{name}=1")


def test_unknown_option_like_nothing_points_to_help() -> None:
    with pytest.raises(ConfigError, match="unknown option 'qqqq'; see cosfs mount --help"):
        configured("qqqq")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("part_size", "option 'part_size' needs a value"),
        ("part_size=", "'part_size': '' give a size"),
        ("part_size=1023K", "'part_size': '1023K' must be from 1 MiB to 5 GiB"),
        ("part_size=6G", "must be from 1 MiB to 5 GiB"),
        ("multipart_size=x", "give a size"),
        ("parallel=129", "must be a whole number from 1 to 128"),
        ("memory=15M", "must be from 16 MiB"),
        ("memory=16M,part_size=9M", "16 MiB must hold two parts of 9 MiB"),
        ("timeout=0", "must be from 1 to 86400 seconds"),
        ("connections=0", "must be a whole number from 1 to 512"),
        ("network=lan", "must be one of public, internal, accelerate"),
        ("addressing=x", "must be one of auto, virtual, path"),
        ("sse=aes", "must be cos, kms or kms:KEY-ID"),
        ("uid=root", "must be a whole number"),
        ("umask=9", "must be octal"),
        ("ro=maybe", "takes no value, or 1 or 0"),
        ("log_level=loud", "must be one of debug, info, warning, error"),
    ],
)
def test_wrong_value_is_named_with_what_would_be_right(options: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        configured(options)


def test_setting_names_the_variable_it_came_from() -> None:
    bad_row = next(option for option in OPTIONS if option.environment == ("COS_ENDPOINT",))
    setting = Setting(name=bad_row.name, origin="environment variable COS_ENDPOINT for")

    with pytest.raises(ConfigError, match="environment variable COS_ENDPOINT for 'endpoint'"):
        configure(BUCKET, "/mnt", [setting], {})


def test_option_names_are_unique() -> None:
    names = [name for option in OPTIONS for name in (option.name, *option.aliases)]

    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("option", "default"),
    [
        (option, match[1])
        for option in OPTIONS
        if option.metavar and (match := re.search(r"\((\d+[a-zA-Z]?)[;,)]", option.help))
    ],
    ids=lambda value: value.name if isinstance(value, Option) else value,
)
def test_help_tells_the_default(option: Option, default: str) -> None:
    """To set what is the default changes nothing."""
    config = MountConfig(service=ServiceConfig(bucket=BUCKET), mountpoint=Path("/mnt"))

    assert option.apply(config, default) == config


def readme_rows() -> list[tuple[str, str]]:
    """The first two cells of each row of the README's table of options."""
    table = README.read_text().partition("| option | default |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1:3] for line in table.splitlines()[2:]]
    return [(names.strip(), default.strip()) for names, default in rows]


def test_readme_explains_every_option() -> None:
    explained = " ".join(names for names, _ in readme_rows())
    names = [option.name.replace("-", "_") for option in OPTIONS if option.help]

    assert [name for name in names if f"`{name}`" not in explained] == []


def test_readme_names_options_that_there_are() -> None:
    text = " ".join(names for names, _ in readme_rows())
    names = re.findall(r"`([a-z_-]+)`", text) + re.findall(r"\[(\w+),", text)

    assert len(names) > len(OPTIONS) // 2
    assert all(find_option(name.lstrip("-")) for name in names if name != "-f")


def readme_defaults() -> list[tuple[str, str]]:
    """Options whose default the README names as one would write it; "off" for a switch."""
    rows = [(re.findall(r"`([a-z_]+)`", names), default) for names, default in readme_rows()]
    plain = re.compile(r"`\w+`|\d+\w?|off")
    return [
        (names[0], default.strip("`"))
        for names, default in rows
        if names and plain.fullmatch(default)
    ]


@pytest.mark.parametrize(("name", "default"), readme_defaults())
def test_readme_tells_the_default(name: str, default: str) -> None:
    """To set what is the default changes nothing."""
    option = find_option(name)
    assert option is not None
    config = MountConfig(service=ServiceConfig(bucket=BUCKET), mountpoint=Path("/mnt"))

    assert option.apply(config, "0" if default == "off" else default) == config


def test_listings_alone_show_no_extended_attributes() -> None:
    with pytest.raises(ConfigError, match="leave xattr out"):
        configure(BUCKET, "/mnt", split_options("stat=list,xattr"), {})


def test_absence_is_trusted_for_less_unless_it_is_said_otherwise() -> None:
    usual = configure(BUCKET, "/mnt", split_options("metadata_ttl=10"), {}).attributes
    chosen = configure(BUCKET, "/mnt", split_options("negative_ttl=indefinite"), {}).attributes

    assert usual.absence_ttl_s == 2.0
    assert chosen.absence_ttl_s == math.inf
