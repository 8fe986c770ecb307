"""Files with what is known of a database, for a start without it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from gatewayd import Store


class PrivateFile:
    """A file that its owner alone may read, replaced at once and whole.

    Its time of modification says until when what it holds was known to be true.

    Args:
        path: The file.
        source: What tells the database from others.

    """

    def __init__(self, path: Path, source: str) -> None:
        self.path = path
        self._source = source

    def _replace(self, content: bytes) -> None:
        """Replace the file; blocks.

        Raises:
            OSError: it cannot be written; the old one is still there.

        """
        folder = self.path.parent
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=f".{self.path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:  # mode 0600, as mkstemp makes it
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def confirm(self) -> None:
        """Note that what the file says is true now; blocks.

        Raises:
            OSError: that cannot be noted.

        """
        os.utime(self.path)


def database_of(store: Store) -> str:
    """Return what tells a database from others, without the password."""
    parts = urlsplit(store.config.url)
    return f"{parts.scheme}://{parts.hostname or ''}:{parts.port or ''}{parts.path}"
