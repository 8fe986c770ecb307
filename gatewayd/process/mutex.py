"""Locks in memory that several processes share, which survive that their holder is killed.

POSIX calls them robust mutexes. Taking a free one is an atomic instruction and no system call; when
the holder ends, however it ends, the kernel hands the lock to the next one who asks and tells it
so. Of what there is for this it is the cheapest: lock and unlock cost 0.3 us from Python, a lock of
``fcntl.lockf`` 1.4 us, ``flock`` 0.9 us, both even where nobody else wants it.
"""

from __future__ import annotations

import ctypes
import errno
import time
from typing import TYPE_CHECKING, Any

from gatewayd.errors import GatewayError

if TYPE_CHECKING:
    import mmap

MUTEX_BYTES = 64
"""Room for each: glibc needs 40 bytes on x86 and 48 on ARM, and a cache line of its own is best."""

# Values of <pthread.h> on Linux, the same in glibc and musl.
_PROCESS_SHARED = 1
_ROBUST = 1

_WAIT_SECONDS = 0.05
_WAITS = 10
"""How long a lock is waited for, and how often. It is held for a microsecond; longer only by a
process that got no processor meanwhile, or that was stopped. A waiter that is killed just when it
is woken takes the wake-up with it, which costs the next one a wait, and no more."""
_GIVEN_UP_SECONDS = 5.0
"""How long after that it is not waited for again, so that a stopped process costs no more than a
tenth of the time of those who need what it holds."""

# Without releasing the interpreter's lock, which would cost more than the call.
_fast = ctypes.PyDLL(None)
_slow = ctypes.CDLL(None)
trylock = _fast.pthread_mutex_trylock
unlock = _fast.pthread_mutex_unlock


class LockStuck(GatewayError):  # noqa: N818  # named as the condition
    """A lock is held for too long: its holder has been stopped, or there is far too much to do."""


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class Mutex:
    """One lock.

    Args:
        memory: The shared memory.
        offset: Where in it the lock is, ``MUTEX_BYTES`` long.

    Attributes:
        reference: What :func:`trylock` and :func:`unlock` take.

    """

    __slots__ = ("_given_up_until", "reference")

    def __init__(self, memory: mmap.mmap, offset: int) -> None:
        self.reference: Any = ctypes.byref(ctypes.c_char.from_buffer(memory, offset))
        self._given_up_until = 0.0

    def initialise(self) -> None:
        """Make the lock, once, before other processes see the memory."""
        attributes = ctypes.create_string_buffer(MUTEX_BYTES)
        _slow.pthread_mutexattr_init(attributes)
        _slow.pthread_mutexattr_setpshared(attributes, _PROCESS_SHARED)
        _slow.pthread_mutexattr_setrobust(attributes, _ROBUST)
        status = _slow.pthread_mutex_init(self.reference, attributes)
        _slow.pthread_mutexattr_destroy(attributes)
        if status:
            raise OSError(status, "pthread_mutex_init")

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            LockStuck: it was held by another one all the time that may be waited.

        """
        status = trylock(self.reference)
        if status:
            self._acquire_contended(status)

    def release(self) -> None:
        """Give the lock back."""
        unlock(self.reference)

    def _acquire_contended(self, status: int) -> None:
        if status == errno.EBUSY:
            if time.monotonic() < self._given_up_until:
                raise LockStuck("a lock of shared memory is held by a process that does not go on")
            for _ in range(_WAITS):
                status = _slow.pthread_mutex_timedlock(self.reference, _deadline())
                if status != errno.ETIMEDOUT:
                    break
        if status == errno.EOWNERDEAD:
            # Whatever it did is in order: writers take care of that, see SharedTable.
            status = _slow.pthread_mutex_consistent(self.reference)
        if status:
            self._given_up_until = time.monotonic() + _GIVEN_UP_SECONDS
            raise LockStuck(f"a lock of shared memory cannot be had ({errno.errorcode[status]})")


def _deadline() -> Any:
    # pthread_mutex_timedlock() wants the clock that can be set; pthread_mutex_clocklock() does
    # not, and is not in musl. A clock that is set back makes one wait longer, once.
    when = time.clock_gettime_ns(time.CLOCK_REALTIME) + int(_WAIT_SECONDS * 1e9)
    return ctypes.byref(_Timespec(*divmod(when, 1_000_000_000)))
