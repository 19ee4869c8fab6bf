"""The readable text of an HTML page, by the standard library: tags go, paragraphs stay, scripts vanish.

It keeps everything a reader would see, menus of `<nav>` excepted; telling an article from its surroundings is the
business of a later cleaning step.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

_UNSEEN = {"script", "style", "noscript", "template", "svg", "nav", "iframe", "head"}
_BLOCKS = {
    "address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "figure", "footer", "form", "h1", "h2",
    "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "ol", "p", "pre", "section", "table", "tr", "ul",
}  # fmt: skip
_PARAGRAPHS = {"p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "table", "ul", "ol"}


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.title = ""
        self._unseen: list[str] = []
        self._in_title = False
        self._pre = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self._in_title = tag == "title"
        if tag in _UNSEEN:
            self._unseen.append(tag)
        elif tag == "body":
            self._unseen.clear()  # pages that forget </head>
        self._pre += tag == "pre"
        self._break(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        if tag in self._unseen:
            del self._unseen[self._unseen.index(tag) :]
        self._pre = max(0, self._pre - (tag == "pre"))
        self._break(tag)
        if tag in ("td", "th"):
            self.pieces.append("\t")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif self._pre and not self._unseen:
            self.pieces.append(data)
        elif not self._unseen:
            text = re.sub(r"\s+", " ", data)
            at_start = not self.pieces or self.pieces[-1].endswith(("\n", " "))
            if piece := text.lstrip() if at_start else text:
                self.pieces.append(piece)

    def _break(self, tag: str) -> None:
        if tag in _BLOCKS and not self._unseen:
            self.pieces.append("\n\n" if tag in _PARAGRAPHS else "\n")


def html_text(page: str) -> tuple[str, str]:
    """(title, text)

    >>> html_text("<title>T</title><p>One &amp; <b>two</b></p><script>x()</script><p>Three")
    ('T', 'One & two\\n\\nThree')
    """
    reader = _Reader()
    reader.feed(page)
    reader.close()
    text = re.sub(r"[ \t]+\n", "\n", "".join(reader.pieces))
    return reader.title.strip(), re.sub(r"\n{3,}", "\n\n", text).strip()
