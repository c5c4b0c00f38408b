"""The kinds of values in an event file: how each is read, and what it says that it allows.

Owns sizes, addresses, listeners, port ranges and the like. A kind's `read` takes what TOML gave and returns the value,
or raises `Refused`; nothing is coerced between types, and everything has a bound. Knows nothing of keys or tables.
"""

from __future__ import annotations

import ipaddress
import re
import zoneinfo
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from mux.config.faults import Part, Refused, kind_of, nearest

PATH_CHARS_MAX = 1024
"""As long as the control protocol takes an image reference."""
COMMAND_PARTS_MAX = 64
"""Bound of the control protocol."""
TEXT_CHARS_MAX = 4096
"""Bound of the control protocol for a part of a command and for a variable's value."""
VARIABLES_MAX = 128
"""Bound of the control protocol."""
VARIABLE_CHARS_MAX = 128
"""Bound of the control protocol for a variable's name."""
HEALTH_PATH_CHARS_MAX = 256
"""Bound of the control protocol."""
HOST_CHARS_MAX = 253
"""Longest host name in text form (RFC 1035, section 2.3.4, without the root label)."""

SIZE_UNITS: Mapping[str, int] = MappingProxyType({"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40})

RESERVED_VARIABLES = frozenset(
    {"CONTAINER_AUTH_TOKEN", "CONTAINER_BASE_URL", "HOME", "JUPYTER_RUNTIME_DIR", "JUPYTER_TOKEN", "LOGNAME", "USER"}
)
"""Variables that a runtime sets itself for a workspace; so is everything that begins with ``MUX_``."""

_SIZE = re.compile(r"^([0-9]{1,10})(?:\.([0-9]{1,3}))? ?(KiB|MiB|GiB|TiB)$")
_LOOSE_SIZE = re.compile(r"^([0-9]{1,6}(?:\.[0-9]{1,3})?)\s*([kmgt])i?b?$", re.IGNORECASE)
_LABEL = re.compile(r"^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$")
_VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_HEALTH_PATH = re.compile(r"^[A-Za-z0-9._~!$&'()*+,;=:@%?/-]*$")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a browser finds something: an origin (RFC 6454, section 4). ``host`` is folded, IPv6 without brackets."""

    scheme: str
    host: str
    port: int

    @property
    def origin(self) -> str:
        """As a browser writes it: the scheme's own port is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = {"http": 80, "https": 443}[self.scheme]
        return f"{self.scheme}://{host}" + ("" if self.port == default else f":{self.port}")

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return is_loopback(self.host)

    def __str__(self) -> str:
        return self.origin


@dataclass(frozen=True, slots=True)
class Listener:
    """A host (IP address or ``localhost``) and a TCP port to listen on; port 0 is any free one."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return is_loopback(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class PortRange:
    """TCP ports, both ends included."""

    first: int
    last: int

    @property
    def count(self) -> int:
        """How many there are."""
        return self.last - self.first + 1

    def __contains__(self, port: int) -> bool:
        return self.first <= port <= self.last

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value.

    Args:
        name: in one or two words, e.g. ``whole number``.
        allowed: what is allowed, in words, with bounds.
        read: from TOML's value to ours; raises `Refused`.
        quiet: the value may be a secret, so faults and differences never show it.
    """

    name: str
    allowed: str
    read: Callable[[object], object]
    quiet: bool = False


def text(chars_max: int, *, chars_min: int = 1, pattern: str = "", allowed: str = "") -> Kind:
    """A line of text without control characters, or one that matches ``pattern`` as a whole."""
    said = allowed or f"a text of {chars_min} to {chars_max} characters on one line"
    compiled = re.compile(pattern) if pattern else None

    def read(value: object) -> str:
        if not isinstance(value, str) or not chars_min <= len(value) <= chars_max or not value.isprintable():
            raise Refused
        if (chars_min and not value.strip()) or (compiled and not compiled.fullmatch(value)):
            raise Refused
        return value

    return Kind("text", said, read)


def project_name(reserved: frozenset[str]) -> Kind:
    """A project's name: it stands in paths."""
    pattern = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
    allowed = "1 to 31 of a-z, 0-9 and -, not - first, and not one of " + ", ".join(sorted(reserved))

    def read(value: object) -> str:
        if not isinstance(value, str):
            raise Refused
        if not pattern.fullmatch(value):
            guess = re.sub(r"[^a-z0-9]+", "-", value[:200].casefold()).strip("-")[:31]
            raise Refused(Part(nearest=f'"{guess}"' if guess and guess not in reserved else None))
        if value in reserved:
            raise Refused(Part(nearest=f'"{value}-project"'))
        return value

    return Kind("name", allowed, read)


def whole(low: int, high: int, *, unit: str = "") -> Kind:
    """A whole number."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Refused
        return value

    return Kind("whole number", f"a whole number{unit and f' of {unit}'} from {low} to {high}", read)


def number(low: float, high: float, *, unit: str = "") -> Kind:
    """A finite number."""

    def read(value: object) -> float:
        # Comparisons are false for NaN, and exact for whole numbers that no float can hold.
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise Refused
        return float(value)

    return Kind("number", f"a number{unit and f' of {unit}'} from {low:g} to {high:g}", read)


def size_text(size_bytes: int) -> str:
    """A size as the event file writes it, exact: ``2GiB``."""
    for unit, factor in reversed(list(SIZE_UNITS.items())):
        if size_bytes >= factor and size_bytes * 1000 % factor == 0:
            return f"{size_bytes / factor:.3f}".rstrip("0").rstrip(".") + unit
    return f"{size_bytes / 1024:.3f}".rstrip("0").rstrip(".") + "KiB"


def size(low: int, high: int) -> Kind:
    """A number of bytes with its unit, as powers of two."""

    def read(value: object) -> int:
        match = _SIZE.fullmatch(value) if isinstance(value, str) and value.isascii() else None
        if match is None:
            loose = _LOOSE_SIZE.fullmatch(value.strip()) if isinstance(value, str) and len(value) < 32 else None
            guess = f'"{loose[1]}{loose[2].upper()}iB"' if loose and loose[1].isascii() else None
            raise Refused(Part(nearest=guess))
        thousandths = int(match[1]) * 1000 + int((match[2] or "").ljust(3, "0"))
        size_bytes = thousandths * SIZE_UNITS[match[3]] // 1000
        if not low <= size_bytes <= high:
            raise Refused
        return size_bytes

    allowed = f'a size from {size_text(low)} to {size_text(high)}, written as "512MiB" or "1.5GiB"'
    return Kind("size", allowed, read)


def choice(*names: str) -> Kind:
    """One of a few words."""

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in names:
            near = nearest(value, names)
            raise Refused(Part(nearest=f'"{near}"' if near else None))
        return value

    return Kind("choice", " or ".join(f'"{name}"' for name in names), read)


def path(*, quiet: bool = False) -> Kind:
    """A path, absolute or relative to the event file's directory. ``~`` and variables are not expanded."""

    def read(value: object) -> Path:
        if not isinstance(value, str) or not value.strip() or len(value) > PATH_CHARS_MAX or not value.isprintable():
            raise Refused
        return Path(value)

    allowed = f"a path of at most {PATH_CHARS_MAX} characters, absolute or relative to the event file's directory"
    return Kind("path", allowed, read, quiet=quiet)


def _host(value: str) -> str | None:
    """A host folded for comparison, or None when it is neither an IP address nor a host name."""
    if value.startswith("[") and value.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(value[1:-1]))
        except ValueError:
            return None
    try:
        return str(ipaddress.IPv4Address(value))
    except ValueError:
        name = value.casefold()
    labels = name.split(".")
    # A last label of digits only would be read as an IPv4 address by some clients (WHATWG URL, "ends in a number").
    if len(name) > HOST_CHARS_MAX or labels[-1].isdigit() or not all(_LABEL.fullmatch(label) for label in labels):
        return None
    return name


def is_loopback(host: str) -> bool:
    """Whether a folded host is this machine alone: ``localhost`` and below (RFC 6761, section 6.3), or an IP."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_host_name(value: str) -> bool:
    """Whether a text is a host name or an IP address."""
    return _host(value) is not None


def host() -> Kind:
    """A host name or an IP address, without a port; IPv6 without brackets."""

    def read(value: object) -> str:
        folded = (
            _host(f"[{value}]" if isinstance(value, str) and ":" in value else value)
            if isinstance(value, str)
            else None
        )
        if folded is None:
            raise Refused
        return folded

    return Kind("host", "a host name or an IP address, without a port", read)


def _port(value: str) -> int | None:
    return int(value) if value.isascii() and value.isdigit() and len(value) <= 5 and int(value) <= 65535 else None


def address() -> Kind:
    """An origin as browsers see it."""

    def read(value: object) -> Address:
        if not isinstance(value, str) or not value.isprintable() or len(value) > PATH_CHARS_MAX:
            raise Refused
        scheme, separator, rest = value.partition("://")
        if not separator or scheme not in ("http", "https"):
            near = None if separator or _read_authority(value, 80) is None else f'"http://{value}"'
            raise Refused(Part(nearest=near))
        found = _read_authority(rest, 443 if scheme == "https" else 80)
        if found is None:
            try:
                netloc = urlsplit(value).netloc
            except ValueError:
                netloc = ""
            near = f'"{scheme}://{netloc}"' if _read_authority(netloc, 80) else None
            raise Refused(Part(nearest=near))
        return Address(scheme, *found)

    allowed = "http:// or https://, a host name or IP address, and a port if it is not the scheme's; no path"
    return Kind("address", allowed, read)


def _read_authority(value: str, port_default: int) -> tuple[str, int] | None:
    host, separator, port = value.rpartition(":")
    if not separator or value.endswith("]"):
        host, port = value, str(port_default)
    folded, number_ = _host(host), _port(port)
    return None if folded is None or not number_ else (folded, number_)


def listener() -> Kind:
    """Host and port to listen on."""

    def read(value: object) -> Listener:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65535:
            raise Refused(Part(nearest=f'"127.0.0.1:{value}"'))
        if not isinstance(value, str):
            raise Refused
        host, separator, port = value.rpartition(":")
        folded, number_ = _host(host), _port(port)
        if not separator or folded is None or number_ is None:
            guess = _port(value.strip().lstrip(":"))
            raise Refused(Part(nearest=f'"127.0.0.1:{guess}"' if guess is not None else None))
        if folded != "localhost" and not _is_ip(folded):
            raise Refused(Part(allowed=f"{allowed}; a host name is not one of this machine's addresses"))
        return Listener(folded, number_)

    allowed = 'an IP address or localhost, and a port from 0 to 65535 (0: any free one), written as "127.0.0.1:8000"'
    return Kind("listener", allowed, read)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def port_range() -> Kind:
    """First and last port."""

    def read(value: object) -> PortRange:
        if not isinstance(value, str):
            raise Refused
        first, separator, last = value.partition("-")
        low, high = _port(first), _port(last)
        if not separator or low is None or high is None or not 1024 <= low <= high:
            raise Refused
        return PortRange(low, high)

    return Kind("port range", 'two ports from 1024 to 65535, the smaller one first, written as "20000-29999"', read)


def command() -> Kind:
    """A program and its arguments."""

    def read(value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or len(value) > COMMAND_PARTS_MAX:
            raise Refused(Part(found=kind_of(value) if not isinstance(value, list) else None))
        wrong = [
            Part(found=kind_of(part), below=f"[{index}]", allowed=f"a text of at most {TEXT_CHARS_MAX} characters")
            for index, part in enumerate(value)
            if not isinstance(part, str) or len(part) > TEXT_CHARS_MAX or "\0" in part or (index == 0 and not part)
        ]
        if wrong:
            raise Refused(*wrong)
        return tuple(value)

    # Quiet: an argument may be a token.
    return Kind("list of texts", f"a list of at most {COMMAND_PARTS_MAX} texts, the program first", read, quiet=True)


def variable_name_ok(name: str) -> bool:
    """Whether an environment variable of a workspace may be called so."""
    return (
        len(name) <= VARIABLE_CHARS_MAX
        and _VARIABLE.fullmatch(name) is not None
        and name not in RESERVED_VARIABLES
        and not name.startswith("MUX_")
    )


VARIABLE_NAME_ALLOWED = (
    f"names of at most {VARIABLE_CHARS_MAX} letters, digits and _, not a digit first, "
    "other than MUX_… and what the runtime sets (" + ", ".join(sorted(RESERVED_VARIABLES)) + ")"
)


def variables() -> Kind:
    """Environment variables."""

    def read(value: object) -> Mapping[str, str]:
        if not isinstance(value, dict) or len(value) > VARIABLES_MAX:
            raise Refused(Part(found=f"a table of {len(value)}") if isinstance(value, dict) else Part())
        wrong = []
        for name, setting in value.items():
            if not variable_name_ok(name):
                wrong.append(Part(found="a name that is not allowed", below=name, allowed=VARIABLE_NAME_ALLOWED))
            elif not isinstance(setting, str) or len(setting) > TEXT_CHARS_MAX or "\0" in setting:
                found = "a text that is too long or holds a NUL" if isinstance(setting, str) else kind_of(setting)
                wrong.append(Part(found=found, below=name, allowed=f"a text of at most {TEXT_CHARS_MAX} characters"))
        if wrong:
            raise Refused(*wrong)
        return dict(value)

    allowed = f"a table of at most {VARIABLES_MAX} texts"
    return Kind("table of texts", allowed, read, quiet=True)


def health_path() -> Kind:
    """Path and query below a project's base path."""

    def read(value: object) -> str:
        if not isinstance(value, str) or len(value) > HEALTH_PATH_CHARS_MAX or not _HEALTH_PATH.fullmatch(value):
            raise Refused
        if value.startswith("/"):
            raise Refused(Part(nearest=f'"{value.lstrip("/")}"'))
        if ".." in value.split("?")[0].split("/"):
            raise Refused
        return value

    allowed = f"a path below the project's, without / first, at most {HEALTH_PATH_CHARS_MAX} characters of a URL"
    return Kind("text", allowed, read)


def time_zone() -> Kind:
    """A zone of the IANA time zone database."""

    def read(value: object) -> str:
        if not isinstance(value, str) or len(value) > 64:
            raise Refused
        names = zoneinfo.available_timezones() | {"UTC"}
        if value not in names:
            near = nearest(value, sorted(names))
            raise Refused(Part(nearest=f'"{near}"' if near else None))
        return value

    return Kind("text", 'a name of the IANA time zone database, such as "Europe/Berlin"', read)
