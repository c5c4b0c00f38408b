"""Image registries, as a client: what a name stands for there, and whether it can be fetched.

Must not know: event files, ships, or what an image is for.
"""

from mux.registry.client import Login, RegistryClient
from mux.registry.errors import (
    BadReferenceError,
    ImageMissingError,
    LoginRefusedError,
    RegistryAnswerError,
    RegistryBusyError,
    RegistryError,
    RegistryUnreachableError,
)
from mux.registry.manifest import Blob, Manifest
from mux.registry.reference import Reference

__all__ = [
    "BadReferenceError",
    "Blob",
    "ImageMissingError",
    "Login",
    "LoginRefusedError",
    "Manifest",
    "Reference",
    "RegistryAnswerError",
    "RegistryBusyError",
    "RegistryClient",
    "RegistryError",
    "RegistryUnreachableError",
]
