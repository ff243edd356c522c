"""The encodings that pages come in; others that Python knows cost more than they tell."""

import re
from typing import Final

_CHARSET: Final = re.compile(r"charset\s*=\s*[\"']?([-\w]{1,40})", re.IGNORECASE)
_DECLARED: Final = re.compile(rb"<meta[^<>]{0,256}charset\s*=\s*[\"']?([-\w]{1,40})", re.IGNORECASE)
_DECLARED_WITHIN: Final = 1_024
_KNOWN: Final = re.compile(
    r"(us-)?ascii|utf-?8|utf-16(le|be)?|iso-8859-([1-9]|1[03-6])|latin1|windows-125[0-8]|"
    r"koi8-[ru]|shift_jis|euc-(jp|kr)|iso-2022-jp|gbk|gb2312|gb18030|big5"
)


def decode(body: bytes, content_type: str) -> str:
    """Return a body as text; what its encoding cannot hold is replaced."""
    named = _CHARSET.search(content_type)
    if named is not None:
        name = named[1].lower()
    else:
        declared = _DECLARED.search(body[:_DECLARED_WITHIN])
        name = declared[1].decode("ascii").lower() if declared else "utf-8"
    return body.decode(name if _KNOWN.fullmatch(name) else "utf-8", errors="replace")
