"""Files that may change while the server runs: a good change is taken, a broken one is told of once and passed over."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

_Content = TypeVar("_Content")
_Stamp = tuple[tuple[int, int, int, int], ...]
_LOG = logging.getLogger(__name__)


class Reloaded(Generic[_Content]):
    """What files hold, read again when one of them has changed.

    Attributes:
        content: The last that could be read.
    """

    def __init__(self, paths: tuple[Path, ...], read: Callable[[], _Content]) -> None:
        """Reads the files for the first time.

        Raises:
            OSError, ValueError: they cannot be read, or are not what they should be.
        """
        self._paths = paths
        self._read = read
        self._stamp = _stamp(paths)
        self._unreadable: _Stamp = ()
        self.content = read()

    def refresh(self) -> bool:
        """Reads the files again if one has changed since; whether there is new content."""
        try:
            stamp = _stamp(self._paths)
        except OSError:
            # Being replaced, or gone: what was read goes on.
            return False
        if stamp == self._stamp:
            return False
        try:
            self.content = self._read()
        except OSError as error:
            # The same file may be readable later on, so it is tried again, and told of once.
            if stamp != self._unreadable:
                self._tell(error)
            self._unreadable = stamp
            return False
        except ValueError as error:
            self._stamp = stamp
            self._tell(error)
            return False
        self._stamp = stamp
        _LOG.info("%s was read again", _names(self._paths))
        return True

    def _tell(self, error: OSError | ValueError) -> None:
        # The message is ours, or the system's with a path; neither quotes the content.
        _LOG.error("%s cannot be used, what was read before goes on: %s", _names(self._paths), error)


def _stamp(paths: tuple[Path, ...]) -> _Stamp:
    """Changes with the files and who may read them, also when others of the same size and time replace them."""
    found = [path.stat() for path in paths]
    return tuple((entry.st_ino, entry.st_size, entry.st_mtime_ns, entry.st_ctime_ns) for entry in found)


def _names(paths: tuple[Path, ...]) -> str:
    return " and ".join(map(str, paths))
