"""Downloads of files with a known checksum."""

from __future__ import annotations

import hashlib
import urllib.request
from http.client import HTTPException
from pathlib import Path

from gtn_bench.config.errors import ConfigError
from gtn_bench.config.filepath import FilePath
from gtn_bench.store.cache import cache_folder
from gtn_bench.store.files import write_atomically


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
    """
    suffix = Path(url.partition("?")[0]).suffix if suffix is None else suffix
    path = cache_folder() / "downloads" / f"{sha256}{suffix}"
    if path.is_file() and FilePath.digest(path) == sha256:
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
