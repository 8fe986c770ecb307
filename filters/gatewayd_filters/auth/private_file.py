"""Files that their owner alone may read, replaced at once and whole."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from gatewayd import Store


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file; blocks.

    Raises:
        OSError: it cannot be written; the old one is still there.

    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:  # mode 0600, as mkstemp makes it
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def database_of(store: Store) -> str:
    """Return what tells a database from others, without the password."""
    parts = urlsplit(store.config.url)
    return f"{parts.scheme}://{parts.hostname or ''}:{parts.port or ''}{parts.path}"
