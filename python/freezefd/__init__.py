# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hold filesystems frozen, for a snapshot or a copy of their devices.

    import freezefd

    with freezefd.freeze("/srv", timeout=30) as hold:
        copy_the_device()

In the block every writer of /srv waits, and its device holds a clean image. At
the end of the block the filesystem thaws, whatever ends the block or the
process. If it was not frozen all the time, BrokenHold is raised then: the copy
is not to be used.

A target is a path (str, bytes or os.PathLike) of a file, a directory or a block
device, or an open descriptor, or an object with fileno(). Freezing needs
CAP_SYS_ADMIN.

Never write to what is frozen from the block, nor print to a log on it: the
program would wait for itself, and no signal reaches it. Only a timeout helps.

Errors are OSError with the errno that freezefd_open(3) and the other manual
pages of libfreezefd list, and with the target as filename. Wrong types are
TypeError; wrong values, and holds that are closed, ValueError or OverflowError.

If the block ends by an exception, that goes on, and a BrokenHold is the last one
in its chain (__context__). SystemExit does not hide it: BrokenHold is raised.

Threads: others go on while a call waits. A hold can be used by several threads,
but none may close it while another one uses it.

Interrupts: KeyboardInterrupt, or any exception of a signal handler, ends a freeze
that waits, and nothing is left frozen. Python runs the handlers in the main
thread, so only a freeze there is ended. A freeze of several targets comes to its
end first. A thaw is not interrupted.

Processes: descriptors are close-on-exec; pass_fds of subprocess passes them on. A
child of os.fork() has copies. While it keeps them, the filesystem stays frozen if
its parent only dies or closes the hold; the end of the parent's block thaws
nevertheless. The end of the block in a child closes its copies and thaws nothing.
"""

import contextlib
import enum
import errno
import math
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple, Protocol, TypeAlias

from . import _freezefd

__all__ = [
    "BrokenHold",
    "Hold",
    "HoldState",
    "State",
    "Status",
    "Target",
    "engine",
    "freeze",
    "status",
    "thaw_force",
]


class _HasFileno(Protocol):
    def fileno(self) -> int: ...


Target: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes] | int | _HasFileno"
_Name: TypeAlias = "str | bytes | int"


class State(enum.StrEnum):
    """What a filesystem does."""

    THAWED = "thawed"
    FREEZING = "freezing"
    FROZEN = "frozen"


class HoldState(enum.StrEnum):
    """What a freeze descriptor holds."""

    NONE = "none"  # nothing; also on every other file
    HELD = "held"
    EXPIRED = "expired"  # broken by its deadline
    REVOKED = "revoked"  # broken by an administrator
    GONE = "gone"  # the filesystem no longer exists


# In the order of freezefd.h.
_STATES = tuple(State.__members__.values())
_HOLD_STATES = tuple(HoldState.__members__.values())


class Status(NamedTuple):
    """Whether a filesystem is frozen, and by how many.

    state         a State
    hold          a HoldState; NONE on what is not a freeze descriptor
    fd_holds      how many freeze descriptors hold it
    user_holds    how many holds FIFREEZE and device-mapper have
    kernel_holds  how many holds the kernel itself has
    bdev_holds    how many of user_holds are device-mapper's
    dev           its device number, for os.major() and os.minor(); 0: not known
    frozen_ns     for how many nanoseconds its writers have been stopped; 0: not
    timeout_ns    nanoseconds until the deadline of a hold, or the deadline of the
                  next freeze of a descriptor that holds nothing; 0: none
    """

    state: State
    hold: HoldState
    fd_holds: int
    user_holds: int
    kernel_holds: int
    bdev_holds: int
    dev: int
    frozen_ns: int
    timeout_ns: int


class BrokenHold(OSError):
    """The filesystem was not frozen from the freeze until now.

    What was copied meanwhile is not to be used. The hold can freeze again, unless
    the filesystem is gone.
    """

    @property
    def why(self) -> HoldState:
        """EXPIRED: by its deadline. REVOKED: by an administrator, or FITHAW. GONE."""
        return _BROKEN[self.errno or 0][0]


_BROKEN = {
    errno.ETIME: (HoldState.EXPIRED, "the hold was broken by its deadline"),
    errno.ECANCELED: (HoldState.REVOKED, "the hold was broken by another thaw"),
    errno.ESTALE: (HoldState.GONE, "the filesystem is gone"),
}

# Where strerror(3) says too little.
_MESSAGES = {
    errno.EBUSY: "it is held already, or its state is changing",
    errno.ECANCELED: "another thaw came before all were frozen",
    errno.EINVAL: "the argument is not understood, or there is nothing to thaw",
    errno.ELIBACC: "a helper program of the engine guardian is missing; reinstall freezefd",
    errno.ENODEV: "no filesystem that is in use is on this block device",
    errno.ENOSYS: "no engine works here; 'freezefd doctor' tells why",
    errno.ENOTRECOVERABLE: "the end of this PID namespace would leave it frozen; "
    "freeze it on the host, or with may_stay_frozen=True",
    errno.EOPNOTSUPP: "the filesystem cannot be frozen, or is named by a freeze descriptor",
    errno.EPERM: "not permitted: this needs CAP_SYS_ADMIN",
    errno.ETIME: "not frozen by the deadline, given up",
}


def _error(number: int, target: _Name, held: bool) -> OSError:
    """For an error of the library. The extension calls it."""
    if number == errno.ESTALE or (held and number in _BROKEN):
        return BrokenHold(number, _BROKEN[number][1], target)
    message = _MESSAGES.get(number) or os.strerror(number)
    if number == errno.ETIME:
        return TimeoutError(number, message, target)
    return OSError(number, message, target)


def _tell_at_exit(number: int, target: _Name, during: BaseException | None) -> None:
    """Raise for a thaw that failed, or chain it to what ended the block."""
    error = _error(number, target, held=True)
    # These say that all is well.
    if during is None or isinstance(during, (GeneratorExit, SystemExit)):
        raise error
    chain = [during]
    while (before := _before(chain[-1])) is not None and before not in chain:
        chain.append(before)
    chain[-1].__context__ = error
    # Else "raise ... from None" would hide it.
    chain[-1].__suppress_context__ = False


def _before(error: BaseException) -> BaseException | None:
    """What a traceback of error shows before it."""
    return error.__cause__ if error.__cause__ is not None else error.__context__


class Hold(_freezefd.Hold):
    """What freeze() returns: one or more filesystems, held frozen.

    Leaving its block ends it. Without a block, thaw() tells whether it lasted and
    close() ends it. A poll() for POLLIN on fileno() returns when it is broken: with
    POLLERR, or POLLIN with the engine guardian. It returns POLLHUP when the
    filesystem is gone.
    """

    __slots__ = ()

    def set_timeout(self, timeout: float | None) -> None:
        """Set the deadline: seconds from now, or None for none.

        It renews that of a hold in force. After a thaw it is that of the next freeze.
        """
        self._set_timeout(_nanoseconds(timeout))

    def status(self) -> Status:
        """The Status of the filesystem. For a group use freezefd.status() on filenos()."""
        return status(self.fileno())

    def __repr__(self) -> str:
        return f"<freezefd.Hold of {', '.join(map(repr, self.targets))}{', closed' * self.closed}>"


def _nanoseconds(timeout: float | None) -> int:
    if timeout is None:
        return 0
    if not isinstance(timeout, (int, float)) or isinstance(timeout, bool):
        raise TypeError(f"timeout: seconds or None, not {type(timeout).__name__}")
    if not 0 < timeout <= 9_223_372_036:
        raise ValueError(f"timeout: more than 0 and less than 2**63 ns, not {timeout} s; None for none")
    return math.ceil(timeout * 1_000_000_000)


@contextlib.contextmanager
def _opened(target: Target) -> Iterator[tuple[int, _Name]]:
    """The target's descriptor, and what to call it."""
    if isinstance(target, bool):
        raise TypeError("a target is a path or a descriptor, not bool")
    if isinstance(target, int):
        yield target, target
        return
    if not isinstance(target, (str, bytes, os.PathLike)):
        if not hasattr(target, "fileno"):
            raise TypeError(f"a target is a path or a descriptor, not {type(target).__name__}")
        number = target.fileno()
        yield number, number
        return
    path = os.fspath(target)
    # Only then is it opened: opening a watchdog or a tape does things.
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISBLK(mode)):
        raise OSError(errno.EINVAL, "not a file, directory or block device; name the mount point", path)
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        yield number, path
    finally:
        os.close(number)


def freeze(
    *targets: Target,
    timeout: float | None = None,
    thawed: bool = False,
    may_stay_frozen: bool = False,
    engine: str | None = None,
) -> Hold:
    """Freeze the filesystem of a target and return the Hold that keeps it frozen.

    Several targets are frozen as one, all of them or none: what lies on another one
    before that, the rest at the same moment.

    timeout          the deadline of the hold, seconds; None for none. It also
                     ends a freeze that does not come to an end: TimeoutError.
    thawed           make the descriptor and freeze nothing yet. Not for a group.
    may_stay_frozen  with the engine guardian in a container: freeze, although the
                     end of the container leaves the filesystem frozen
    engine           the engine to use, by name; None for the best that works
    """
    if not targets:
        raise TypeError("freeze() needs a target")
    if thawed and len(targets) > 1:
        raise ValueError("thawed: not for a group")
    timeout_ns = _nanoseconds(timeout)
    stack = contextlib.ExitStack()
    try:
        descriptors, names = zip(*(stack.enter_context(_opened(target)) for target in targets))
        # No variable has it: else the traceback of an interrupt would keep it, frozen.
        return Hold(descriptors, names, timeout_ns, thawed, may_stay_frozen, engine)
    finally:
        stack.close()


def status(target: Target) -> Status:
    """Tell whether a filesystem is frozen, and by how many. This never waits for a thaw."""
    with _opened(target) as (number, name):
        state, hold, *rest = _freezefd.status(number, name)
    return Status(_STATES[state], _HOLD_STATES[hold], *rest)


def thaw_force(target: Target) -> None:
    """Thaw a filesystem, whoever holds it: the administrator's override.

    Its holders are told: see BrokenHold.
    """
    with _opened(target) as (number, name):
        _freezefd.thaw_force(number, name)


def engine(target: Target) -> str:
    """The name of the engine that made a freeze descriptor, or that freezes another target."""
    with _opened(target) as (number, name):
        return _freezefd.engine(number, name)
