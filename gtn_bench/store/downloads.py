"""Downloads of files with a known checksum."""

from __future__ import annotations

import hashlib
import urllib.request
from http.client import HTTPException
from pathlib import Path

from gtn_bench.config.errors import ConfigError
from gtn_bench.config.filepath import FilePath
from gtn_bench.store.cache import cache_folder
from gtn_bench.store.files import DamagedFileError, write_atomically
from gtn_bench.store.intact import is_intact


def fetch(file: FilePath) -> Path:
    """Return the local path of a file, with the content that was hashed when its description was made.

    Args:
        file: A path, or a URL, which is downloaded to the cache unless it is there.

    Raises:
        ConfigError: If the content has changed, or the download fails or has another checksum.
    """
    if file.is_url:
        return download(str(file), file.sha256)
    path = Path(file)
    if file.sha256 and file.digest(path) != file.sha256:
        raise ConfigError(f"{path}: the file has changed since it was checked; run the command again")
    return path


def download(url: str, sha256: str, suffix: str | None = None) -> Path:
    """Download a file to the cache unless it is there, and return its path.

    Args:
        url: The URL.
        sha256: Checksum of the content.
        suffix: Suffix of the file in the cache; by default that of the URL.

    Raises:
        ConfigError: If the download fails or has another checksum.
        StorageError: If the cache cannot be written to.
    """
    suffix = Path(url.partition("?")[0]).suffix if suffix is None else suffix
    path = download_path(sha256, suffix)
    if is_downloaded(sha256, suffix):
        return path
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            content = answer.read()
    except (OSError, HTTPException, ValueError) as error:
        raise ConfigError(f"{url} could not be downloaded ({error})") from None
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ConfigError(f"expects the sha256 {sha256} of {url}, got {found}")
    write_atomically(path, content)
    return path


def download_path(sha256: str, suffix: str) -> Path:
    """Return the path of a download, whether it exists or not.

    Args:
        sha256: Checksum of its content.
        suffix: Suffix of the file.
    """
    return cache_folder() / "downloads" / f"{sha256}{suffix}"


def is_downloaded(sha256: str, suffix: str) -> bool:
    """Check that the cache holds a download with the right content. A damaged one is renamed, with a warning.

    Args:
        sha256: Checksum of its content.
        suffix: Suffix of the file.
    """
    return is_intact(download_path(sha256, suffix), sha256, verify_digest)


def verify_digest(path: Path, sha256: str) -> None:
    """Verify the content of a download.

    Args:
        path: The file.
        sha256: Checksum of its content.

    Raises:
        DamagedFileError: If the content has another checksum, or cannot be read.
    """
    try:
        found = FilePath.digest(path)
    except ConfigError as error:
        raise DamagedFileError(path, str(error).removeprefix(f"{path}: ")) from None
    if found != sha256:
        raise DamagedFileError(path, "the checksum in its name is not that of its content")
