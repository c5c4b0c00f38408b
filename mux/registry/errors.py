"""What can go wrong with a registry. ``retryable`` says whether the same question may be answered later."""

from __future__ import annotations


class RegistryError(Exception):
    """A registry did not say what was asked. The message is one sentence for people, with what to do next."""

    code = "registry"
    retryable = False


class BadReferenceError(RegistryError):
    """A text is no image reference."""

    code = "bad_reference"


class RegistryUnreachableError(RegistryError):
    """No connection: name, network or TLS."""

    code = "registry_unreachable"
    retryable = True


class LoginRefusedError(RegistryError):
    """The registry wants a login, or another one."""

    code = "login_refused"


class ImageMissingError(RegistryError):
    """The registry has no such image, or none for the platform."""

    code = "image_missing"


class RegistryBusyError(RegistryError):
    """The registry cannot answer now: too many requests, or an error of its own."""

    code = "registry_busy"
    retryable = True


class RegistryAnswerError(RegistryError):
    """What answers does not speak the protocol, or says more than is taken."""

    code = "registry_answer"
