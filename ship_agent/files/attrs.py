"""Extended attributes that go with a file or directory: an attendee's own, and access control lists (xattr(7), acl(5)).

Owns which ones are kept: ``user.*`` but the marks of overlays, both access control lists, and file capabilities where
the agent is root, who alone may set them. Rules: an entry whose attributes take more than ATTRS_BYTES_MAX counts as one
without any; what a file system or the kernel does not allow is left out. Symlinks have none of these.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from ship_agent.files.trees import Attrs

ATTRS_BYTES_MAX: Final = 2048
"""Of one entry, names and values: ext4 has a block of 4 KB for them, which other programs use, too."""
CAPABILITY: Final = "security.capability"
_ACLS: Final = ("system.posix_acl_access", "system.posix_acl_default")
_USER, _MARKS = "user.", "user.overlay."
_NOT_HERE: Final = frozenset(
    {
        *(errno.ENODATA, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.EINVAL, errno.E2BIG, errno.ERANGE),
        *(errno.ENOENT, errno.ENOTDIR, errno.ELOOP),
    }
)
"""What is said of an attribute that cannot be read or written here, or is gone by now. All else is the disk's."""


def is_kept(name: str) -> bool:
    """Whether an attribute of that name goes with its entry."""
    if name.startswith(_USER):
        return not name.startswith(_MARKS)
    return name in _ACLS or (name == CAPABILITY and os.geteuid() == 0)


def attrs_at(name: bytes, at: int) -> Attrs:
    """Those of a name in an open directory, which is not followed. Raises OSError of the disk."""
    return _read(b"/proc/self/fd/%d/%b" % (at, name))


def attrs_of(opened: int) -> Attrs:
    """Those of an open file or directory. Raises OSError of the disk."""
    return _read(opened)


def set_attrs(opened: int, attrs: Attrs) -> None:
    """Have these on an open file or directory and no others, as far as that can be. Raises OSError of the disk."""
    there, wanted = dict(attrs_of(opened)), dict(attrs)
    for name in there.keys() - wanted.keys():
        try:
            os.removexattr(opened, name)
        except OSError as error:
            _pass_over(error)
    for name, value in wanted.items():
        if there.get(name) != value:
            try:
                os.setxattr(opened, name, value)
            except OSError as error:
                _pass_over(error)


def _read(where: int | bytes) -> Attrs:
    if not hasattr(os, "listxattr"):
        return ()  # not Linux
    follow = isinstance(where, int)
    found: list[tuple[str, bytes]] = []
    try:
        names = sorted(filter(is_kept, os.listxattr(where, follow_symlinks=follow)))
    except OSError as error:
        _pass_over(error)
        return ()
    for name in names:
        try:
            found.append((name, os.getxattr(where, name, follow_symlinks=follow)))
        except OSError as error:
            _pass_over(error)
    return tuple(found) if sum(len(name) + len(value) for name, value in found) <= ATTRS_BYTES_MAX else ()


def _pass_over(error: OSError) -> None:
    if error.errno not in _NOT_HERE:
        raise error
