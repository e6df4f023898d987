"""Extended attributes and the text of x-cos-meta-xattr that holds them all. Pure.

The format is that of Tencent's C++ cosfs: ``{"name":"base64 of the value",...}``, percent-encoded.
It escapes nothing in a name and splits at ``,`` and ``:``, so of names with these or with quotes
only we make sense; we write them as JSON has them.
"""

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote

# A pattern and no JSON parser: what is wrong in one pair must not hide the others.
_PAIR: Final = re.compile(r'"((?:[^"\\]|\\.)+)":"([A-Za-z0-9+/]*={0,2})"', re.DOTALL)
_SAFE: Final = "/.-_~"  # what C++ cosfs leaves as it is, beside letters and digits
_UNDECODED: Final = "surrogateescape"  # names are bytes, whatever they mean


def decode(text: str) -> dict[bytes, bytes]:
    """Values by name. A pair that cannot be read is left out."""
    found: dict[bytes, bytes] = {}
    for name, value in _PAIR.findall(unquote(text, errors=_UNDECODED)):
        try:
            found[_unescaped(name).encode(errors=_UNDECODED)] = b64decode(value, validate=True)
        except (binascii.Error, UnicodeEncodeError):
            continue
    return found


def encode(attributes: Mapping[bytes, bytes]) -> str:
    """The text for *attributes*; empty, which is no header, for none."""
    pairs = [
        f'"{_escaped(name.decode(errors=_UNDECODED))}":"{b64encode(value).decode()}"'
        for name, value in attributes.items()
    ]
    if not pairs:
        return ""
    return quote("{" + ",".join(pairs) + "}", safe=_SAFE, errors=_UNDECODED)


def _escaped(name: str) -> str:
    return re.sub(r'(["\\])', r"\\\1", name)


def _unescaped(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name, flags=re.DOTALL)
