"""Files that descriptions name. Their content is hashed when the description is made, and becomes part of its key."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from gtn_bench.config.errors import ConfigError, shown
from gtn_bench.config.paths import find_path

CONTENT = {"content": True}  # context of a dump in which checksums take the place of paths
_CHECKSUM = re.compile(r"#sha256=([0-9a-f]{64})$")
_TEMPLATE = "{seed}"


class FilePath(str):
    """The path of an existing file, or an https URL with a checksum.

    As a field of a description it accepts ``path`` and ``path#sha256=<64 hexadecimal digits>``; a URL requires the
    checksum. Relative paths start at the folder of the suite, then at `GTN_BENCH_DATA`. The cache key of a description
    covers the content of the file, not its path.

    Attributes:
        sha256: Checksum of the content, from the time when the description was made.
    """

    accepts_folders: ClassVar[bool] = False
    sha256: str

    def __new__(cls, path: str, sha256: str = "") -> Self:
        self = super().__new__(cls, path)
        self.sha256 = sha256
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FilePath) and (str(self), self.sha256) == (str(other), other.sha256)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((str(self), self.sha256))

    @property
    def is_url(self) -> bool:
        """True for a URL, which `gtn_bench.store.downloads.fetch` downloads."""
        return self.startswith("https://")

    @property
    def written(self) -> str:
        """The text that describes the file completely: path and checksum."""
        return f"{self}#sha256={self.sha256}" if self.sha256 else str(self)

    @classmethod
    def of(cls, text: object) -> Self:
        """Check and hash a file.

        Args:
            text: A path or URL, with or without a checksum.

        Raises:
            ConfigError: If there is no such file, or its checksum is another one.
        """
        if isinstance(text, cls):
            return text
        text = str(text) if isinstance(text, Path) else text
        if not isinstance(text, str) or not text:
            raise ConfigError(f"expects the path of a file, got {shown(text)}")
        expected = match[1] if (match := _CHECKSUM.search(text)) else None
        text = _CHECKSUM.sub("", text)
        if "#sha256=" in text:
            raise ConfigError(f"expects 64 lower-case hexadecimal digits after '#sha256=', got {shown(text)}")
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text):
            return cls._of_url(text, expected)
        path = find_path(text, folders=cls.accepts_folders)
        found = cls.digest(path)
        if expected not in (None, found):
            raise ConfigError(f"expects the sha256 {expected} of {text}, got {found}")
        return cls(str(path), found)

    @classmethod
    def _of_url(cls, url: str, sha256: str | None) -> Self:
        if not url.startswith("https://"):
            raise ConfigError(f"expects a local file or an https URL, got {shown(url)}")
        if sha256 is None:
            raise ConfigError(f"needs the checksum of {url}: append #sha256=<64 hexadecimal digits>")
        return cls(url, sha256)

    @staticmethod
    def digest(path: Path) -> str:
        """Return the SHA-256 of a file.

        Args:
            path: The file.

        Raises:
            ConfigError: If it cannot be read.
        """
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        serialization = core_schema.plain_serializer_function_ser_schema(_serialize, info_arg=True)
        return core_schema.no_info_plain_validator_function(cls.of, serialization=serialization)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "description": "Path of a file, or an https URL with its checksum."}


class SeedFile(FilePath):
    """A file, or a name with ``{seed}`` that stands for one file per seed."""

    @classmethod
    def of(cls, text: object) -> Self:
        if isinstance(text, str) and not isinstance(text, cls) and _TEMPLATE in text:
            return cls(str(find_path(text, template=True)) if "://" not in text else text)
        return super().of(text)

    @property
    def is_template(self) -> bool:
        """True if the name contains ``{seed}``."""
        return _TEMPLATE in self

    def for_seed(self, seed: int) -> SeedFile:
        """Return the file of a seed.

        Args:
            seed: The seed in the suite.

        Raises:
            ConfigError: If there is no such file.
        """
        return SeedFile.of(self.replace(_TEMPLATE, str(seed))) if self.is_template else self


def _serialize(value: FilePath, info: core_schema.SerializationInfo) -> str:
    return f"sha256:{value.sha256}" if info.context == CONTENT and value.sha256 else value.written
