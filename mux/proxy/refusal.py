"""What the data plane answers by itself: refusals, as values that are raised.

Owns statuses and texts' shape; knows neither sockets nor tables. After a refusal the connection is closed: two
parsers may disagree about where the next request begins.
"""

from __future__ import annotations

ALLOW = ("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
"""The field that names the methods that browsers use, all of which pass."""


class Refusal(Exception):  # noqa: N818 - an answer, not an error
    """A request that goes no further.

    Args:
        status: HTTP status.
        code: for machines, ``snake_case``; also the label of the counter.
        text: one or two sentences for people: what is so, and what happens or can be done next.
        headers: more response header fields.
        reload_s: after which a page reloads itself; None for a final answer.
        link: address that the page offers; None for none.
        plain: the text is the whole body, as ``text/plain``.
    """

    def __init__(
        self,
        status: int,
        code: str,
        text: str,
        *,
        headers: tuple[tuple[str, str], ...] = (),
        reload_s: int | None = None,
        link: str | None = None,
        plain: bool = False,
    ) -> None:
        super().__init__(f"{status} {code}: {text}")
        self.status = status
        self.code = code
        self.text = text
        self.headers = headers
        self.reload_s = reload_s
        self.link = link
        self.plain = plain


class TooMany(Refusal):
    """There is no room for this connection: it is closed with the answer."""


class Malformed(ValueError):  # noqa: N818 - as above
    """Bytes that are not what the RFCs allow. A request becomes a 4xx, a response a 502.

    Args:
        code: for machines.
        text: what is wrong, with the RFC's section.
        status: for a request.
    """

    def __init__(self, code: str, text: str, status: int = 400) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text
        self.status = status

    def refusal(self) -> Refusal:
        """As the answer to the client that sent it."""
        headers: tuple[tuple[str, str], ...] = ()
        if self.status == 405:
            headers = (ALLOW,)
        elif self.status == 426:
            headers = (("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"))
        text = f"The request was refused: {self.text}."
        if self.code in ("head_too_large", "too_many_cookies"):
            text += " In a browser, delete this site's cookies and try again."
        return Refusal(self.status, self.code, text, headers=headers)
