"""The text of pages, of those that are well made and of those that are made to hurt."""

import time

import pytest

from bulkhead_runtime.tools.web.charsets import decode
from bulkhead_runtime.tools.web.text import page_text, page_title


@pytest.mark.parametrize(
    ("page", "text"),
    [
        pytest.param("<p>One</p><p>Two</p>", "One\nTwo", id="a line per paragraph"),
        pytest.param("a <b>bold</b> word", "a bold word", id="words stay together"),
        pytest.param("1 &lt; 2 &amp;&nbsp;x", "1 < 2 & x", id="entities"),
        pytest.param("1 < 2 and 3 > 2", "1 < 2 and 3 > 2", id="a bare sign is text"),
        pytest.param("a<!-- <p>no -->b", "a b", id="comments"),
        pytest.param("a<SCRIPT>if(1<2){}</Script>b", "a b", id="scripts in any spelling"),
        pytest.param("a<style>p{}</style><svg><p>x</svg>b", "a b", id="styles and drawings"),
        pytest.param("a<script>never closed", "a", id="a script that never ends"),
        pytest.param("a<p never closed", "a", id="a tag that never ends"),
        pytest.param("a<!-- never closed", "a", id="a comment that never ends"),
        pytest.param("<!DOCTYPE html><?xml?><h1>x</h1>", "x", id="declarations"),
        pytest.param("<ul><li>a<li>b</ul>", "a\nb", id="lists"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_the_text_of(page: str, text: str) -> None:
    assert page_text(page) == text


@pytest.mark.parametrize(
    "piece",
    [
        "<div>",
        "<!--",
        "<![CDATA[",
        "<",
        "<a",
        "<a x=1 ",
        "<script>",
        "<title",
        "&",
        "&#1",
        " \n",
        "</",
    ],
)
def test_twice_the_markup_takes_no_more_than_a_few_times_as_long(piece: str) -> None:
    """Quadratic work would take four times as long for each doubling, 256 times in all."""

    def seconds(characters: int) -> float:
        page = piece * (characters // len(piece))
        begun = time.process_time()
        page_text(page)
        page_title(page)
        return time.process_time() - begun

    assert seconds(640_000) < 64 * max(seconds(40_000), 0.005)


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        pytest.param("ä".encode(), "text/html", "ä", id="UTF-8 where nothing is said"),
        pytest.param(b"\xe4", "text/html; charset=ISO-8859-1", "ä", id="what the header says"),
        pytest.param(b'<meta charset="windows-1252">\x80', "text/html", "€", id="what a page says"),
        pytest.param(b"\xe4", "text/html", "\ufffd", id="what cannot be read is replaced"),
        pytest.param(b"abc-", "text/html; charset=punycode", "abc-", id="a costly encoding"),
        pytest.param(b"x", "text/html; charset=no-such", "x", id="an unknown encoding"),
    ],
)
def test_an_encoding(body: bytes, content_type: str, text: str) -> None:
    assert decode(body, content_type).removeprefix('<meta charset="windows-1252">') == text


def test_the_title_of_a_page() -> None:
    assert page_title("<html><TITLE lang=en> A &amp;\n B </TITLE>") == "A &\nB"
    assert page_title("<p>none") == ""
