"""Storage: hashes, content keys, atomic files, the cache."""
