"""`next=` leads to a path of this site and nowhere else."""

from __future__ import annotations

from urllib.parse import quote, unquote, urljoin, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mux.auth.redirects import NEXT_CHARS_MAX, local_path


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/camp/",
        "/camp/intro/",
        "/camp/intro/lab/tree/My%20notebook.ipynb",
        "/camp/intro/lab/tree/%C3%BCn%C3%AF.ipynb?factory=Editor#cell=3",
        "/camp/intro/files/a%2Bb?next=//evil.example&x=%5C",
        "/camp/intro/@me/~x/(1)/a:b/50%25",
        "/camp/intro//double",
        "/camp/...hidden",
    ],
)
def test_paths_of_this_site_are_kept_as_they_are(path: str) -> None:
    assert local_path(path) == path


@pytest.mark.parametrize(
    "elsewhere",
    [
        None,
        "",
        "camp/",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\/evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "/%09/evil.example",
        "/%0a/evil.example",
        "/%0D%0ASet-Cookie:x=y",
        "/%2509/evil.example",
        "/%5cevil.example",
        "/%5Cevil.example",
        "/%255cevil.example",
        "/%2fevil.example",
        "/%2f%2fevil.example",
        "/%252f%252fevil.example",
        "/./" + "/evil.example",
        "/.//evil.example",
        "/camp/..//evil.example",
        "/%2e%2e//evil.example",
        "/%2e/%2fevil.example",
        "/camp/%252e%252e/%252fevil.example",
        "https://evil.example",
        "https:evil.example",
        "javascript:alert(1)",
        "/camp\r\nLocation: //evil.example",
        "/camp/\x00",
        "/camp/%00",
        "/camp/\x7f",
        "/camp/ünï",
        " /camp/",
        "/camp/ x",
        "/\u2028/evil.example",
        "/" + "x" * NEXT_CHARS_MAX,
        "/" + "%25" * 20 + "5cx",
    ],
)
def test_everything_else_leads_home(elsewhere: str | None) -> None:
    assert local_path(elsewhere) == "/camp/"
    assert local_path(elsewhere, "/elsewhere") == "/elsewhere"


_pieces = st.sampled_from(
    [
        "/",
        "\\",
        "%2f",
        "%5c",
        "%09",
        "%0a",
        "%25",
        "%2e",
        ".",
        "..",
        "\t",
        "\n",
        "\r",
        "?",
        "#",
        ":",
        "@",
        "evil.example",
        "camp",
        "http:",
        "%",
        "%2",
        " ",
        "ü",
    ]
)


@settings(deadline=None)
@given(st.one_of(st.lists(_pieces, max_size=10).map("".join), st.text(max_size=40).map(lambda text: "/" + text)))
@example("/%5c/evil.example")
def test_no_text_leads_off_this_site(text: str) -> None:
    path = local_path(text)
    assert path in (text, "/camp/")
    base = "https://camp.example.org/login"
    spellings = {path}
    while (decoded := unquote(path)) != path:
        spellings.add(decoded.split("?")[0].split("#")[0])
        path = decoded
    for spelling in spellings:
        # What browsers do before they resolve: drop tabs and line ends, take backslashes for slashes.
        seen = spelling.translate({9: None, 10: None, 13: None}).split("?")[0].split("#")[0].replace("\\", "/")
        assert urlsplit(urljoin(base, seen)).netloc == "camp.example.org"


@settings(deadline=None)
@given(st.lists(st.text(min_size=1, max_size=12).filter(lambda name: name not in (".", "..")), max_size=4))
def test_any_notebooks_path_survives_the_way_through_login(names: list[str]) -> None:
    if any(c in name for name in names for c in "\\/%") or any(ord(c) < 32 or ord(c) == 127 for c in "".join(names)):
        return
    path = "/camp/intro/lab/tree/" + "/".join(quote(name, safe="") for name in names)
    assert local_path(path) == path
