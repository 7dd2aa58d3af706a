# SPDX-License-Identifier: GPL-2.0-or-later
"""The Python module, on filesystems that run has made.

One file, because unittest runs it as one program, whose tests share the filesystems.
"""

import copy
import errno
import gc
import io
import os
import pathlib
import pickle
import pydoc
import random
import re
import select
import signal
import subprocess
import sys
import threading
import time
import unittest
import warnings

import freezefd
from freezefd import BrokenHold, HoldState, State, _freezefd

WORK = os.environ["FREEZEFD_TEST_WORK"]
DEVICE = os.environ["FREEZEFD_TEST_DEVICE"]
OTHER_DEVICE = os.environ["FREEZEFD_TEST_OTHER"]
TOOL = os.environ["FREEZEFD"]
MNT, OTHER, INNER = (os.path.join(WORK, name) for name in ("mnt", "other", "inner"))
DOC = pathlib.Path(__file__).parents[2] / "doc/python.md"
ENGINE = freezefd.engine(MNT)
# Ends what a broken test leaves frozen; no test waits for it.
LIMIT = 120


def state(target):
    return freezefd.status(target).state


def wait_for(condition, what):
    """The limit is only there so that a failure ends."""
    end = time.monotonic() + 30
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"never: {what}")
        time.sleep(0.01)


def thawed(*targets):
    return all(state(target) is State.THAWED for target in targets)


def descriptors():
    # What the listing itself opens is closed by then.
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")]


def wait_for_a_call():
    """Until another thread sleeps in a system call. In futex(2) it may be for the GIL or for a thread of the library."""

    def sleeps():
        for thread in os.listdir("/proc/self/task"):
            try:
                with open(f"/proc/self/task/{thread}/syscall") as file:
                    call = file.read().split()[0]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(thread) != threading.get_native_id() and call not in ("running", "202", "-1"):
                return True
        return False

    wait_for(sleeps, "a thread waits")


class Base(unittest.TestCase):
    def setUp(self):
        gc.collect()
        self.before = descriptors()

    def tearDown(self):
        gc.collect()
        self.assertEqual(descriptors(), self.before)
        wait_for(lambda: thawed(MNT, OTHER, INNER), "all thawed")

    def fails(self, number, call, *args, filename=None, kind=OSError, **kwargs):
        with self.assertRaises(kind) as caught:
            call(*args, **kwargs)
        self.assertEqual(caught.exception.errno, number, caught.exception)
        self.assertEqual(caught.exception.filename, filename)
        return caught.exception


class Lifetime(Base):
    def test_block(self):
        with freezefd.freeze(MNT, timeout=LIMIT) as hold:
            self.assertIs(state(MNT), State.FROZEN)
            self.assertIs(state(DEVICE), State.FROZEN)
            said = subprocess.run([TOOL, "status", "-n", "-o", "STATE", MNT], capture_output=True, text=True, check=True)
            self.assertEqual(said.stdout.strip(), "frozen")
            writer = subprocess.Popen(["sh", "-c", f"echo >{MNT}/written"])

            def blocked():
                with open(f"/proc/{writer.pid}/status") as file:
                    return "\nState:\tD" in file.read()

            wait_for(blocked, "the writer waits")
            now = hold.status()
            self.assertEqual((now.state, now.hold, now.fd_holds), (State.FROZEN, HoldState.HELD, 1))
            self.assertEqual(now.dev, os.stat(MNT).st_dev)
            self.assertGreater(now.frozen_ns, 0)
            self.assertTrue(0 < now.timeout_ns <= LIMIT * 10**9)
            self.assertEqual(freezefd.engine(hold), ENGINE)
            self.assertEqual(repr(hold), f"<freezefd.Hold of {MNT!r}>")
        self.assertEqual(writer.wait(30), 0)
        self.assertTrue(hold.closed)
        self.assertEqual(repr(hold), f"<freezefd.Hold of {MNT!r}, closed>")
        self.assertIs(state(MNT), State.THAWED)

    def test_every_kind_of_target(self):
        with open(MNT + "/file", "w") as file:
            pass
        with open(MNT + "/file") as file:
            number = file.fileno()
            for target, name in (
                (MNT, MNT),
                (os.fsencode(MNT), os.fsencode(MNT)),
                (pathlib.Path(MNT), MNT),
                (DEVICE, DEVICE),
                (number, number),
                (file, number),
            ):
                with self.subTest(target=target), freezefd.freeze(target, timeout=LIMIT) as hold:
                    self.assertIs(state(target), State.FROZEN)
                    self.assertIs(state(MNT), State.FROZEN)
                    self.assertEqual(hold.targets, (name,))

    def test_thaw_and_freeze_again(self):
        with freezefd.freeze(MNT, timeout=LIMIT) as hold:
            self.fails(errno.EBUSY, hold.freeze, filename=MNT)
            hold.thaw()
            self.assertIs(state(MNT), State.THAWED)
            self.assertIs(hold.status().hold, HoldState.NONE)
            self.fails(errno.EINVAL, hold.thaw, filename=MNT)
            hold.freeze()
            self.assertIs(state(MNT), State.FROZEN)
        with freezefd.freeze(MNT, timeout=LIMIT) as hold:
            hold.thaw()
        with freezefd.freeze(MNT, timeout=LIMIT, thawed=True) as hold:
            self.assertIs(state(MNT), State.THAWED)
            self.assertEqual(hold.status().timeout_ns, LIMIT * 10**9)
            hold.freeze()
            self.assertIs(state(MNT), State.FROZEN)

    def test_timeout(self):
        with freezefd.freeze(MNT, timeout=LIMIT) as hold:
            hold.set_timeout(2 * LIMIT)
            self.assertGreater(hold.status().timeout_ns, LIMIT * 10**9)
            hold.set_timeout(None)
            self.assertEqual(hold.status().timeout_ns, 0)
            hold.set_timeout(LIMIT)
        with freezefd.freeze(MNT, thawed=True, timeout=1e-10) as hold:
            self.assertEqual(hold.status().timeout_ns, 1)
            hold.set_timeout(9_223_372_036)
            self.assertEqual(hold.status().timeout_ns, 9_223_372_036 * 10**9)
            hold.set_timeout(1.5)
            self.assertEqual(hold.status().timeout_ns, 1_500_000_000)

    def test_close(self):
        hold = freezefd.freeze(MNT, timeout=LIMIT)
        freezefd.thaw_force(MNT)
        hold.close()
        hold.close()
        for call in (hold.fileno, hold.filenos, hold.freeze, hold.thaw, hold.status, hold.__enter__):
            self.assertRaises(ValueError, call)
        self.assertRaises(ValueError, hold.set_timeout, 1)
        self.assertRaises(ValueError, freezefd.status, hold)
        hold.__exit__(None, None, None)

    def test_dropped(self):
        hold = freezefd.freeze(MNT, timeout=LIMIT)
        with self.assertWarnsRegex(ResourceWarning, re.escape(MNT)):
            del hold
        wait_for(lambda: thawed(MNT), "a dropped hold thaws")

    def test_close_on_exec(self):
        with freezefd.freeze(MNT, timeout=LIMIT) as hold:
            self.assertFalse(os.get_inheritable(hold.fileno()))
        with freezefd.freeze(MNT, OTHER, timeout=LIMIT) as hold:
            for number in hold.filenos():
                self.assertFalse(os.get_inheritable(number))

    def test_passed_on(self):
        with freezefd.freeze(MNT, timeout=LIMIT) as hold:
            child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[hold.fileno()])
            hold.close()
            self.assertIs(state(MNT), State.FROZEN)
            child.communicate()
        wait_for(lambda: thawed(MNT), "the child's end thaws")

    def test_fork(self):
        with freezefd.freeze(MNT, timeout=LIMIT) as hold:
            child = os.fork()
            if not child:
                try:
                    hold.__exit__(None, None, None)
                    os._exit(0 if hold.closed else 1)
                finally:
                    os._exit(2)
            self.assertEqual(os.waitpid(child, 0)[1], 0)
            self.assertIs(hold.status().hold, HoldState.HELD)
            self.assertIs(state(MNT), State.FROZEN)

    def test_copies_in_a_child_do_not_outlast_the_block(self):
        end, begin = os.pipe()
        try:
            with freezefd.freeze(MNT, timeout=LIMIT):
                child = os.fork()
                if not child:
                    os.close(begin)
                    os.read(end, 1)
                    os._exit(0)
            self.assertIs(state(MNT), State.THAWED)
        finally:
            os.close(begin)
            os.close(end)
        os.waitpid(child, 0)


class Broken(Base):
    def test_expired(self):
        with self.assertRaises(BrokenHold) as caught:
            with freezefd.freeze(MNT, timeout=0.3) as hold:
                poller = select.poll()
                poller.register(hold.fileno(), select.POLLIN)
                ((_, event),) = poller.poll(30_000)
                self.assertEqual(event, select.POLLIN if ENGINE == "guardian" else select.POLLERR)
                self.assertIs(hold.status().hold, HoldState.EXPIRED)
                self.fails(errno.ETIME, hold.set_timeout, 1, filename=MNT, kind=BrokenHold)
                self.fails(errno.ETIME, hold.freeze, filename=MNT, kind=BrokenHold)
        self.assertIs(caught.exception.why, HoldState.EXPIRED)
        self.assertEqual((caught.exception.errno, caught.exception.filename), (errno.ETIME, MNT))
        self.assertIn("deadline", str(caught.exception))
        self.assertTrue(hold.closed)

    def test_revoked(self):
        with self.assertRaises(BrokenHold) as caught:
            with freezefd.freeze(DEVICE, timeout=LIMIT) as hold:
                freezefd.thaw_force(MNT)
                self.assertIs(hold.status().hold, HoldState.REVOKED)
        self.assertIs(caught.exception.why, HoldState.REVOKED)
        self.assertEqual((caught.exception.errno, caught.exception.filename), (errno.ECANCELED, DEVICE))
        self.assertIsInstance(caught.exception, OSError)
        self.assertEqual(caught.exception.why, "revoked")

    def test_told_once(self):
        with freezefd.freeze(MNT, timeout=LIMIT) as hold:
            freezefd.thaw_force(MNT)
            error = self.fails(errno.ECANCELED, hold.thaw, filename=MNT, kind=BrokenHold)
            self.assertIs(error.why, HoldState.REVOKED)
            self.fails(errno.EINVAL, hold.thaw, filename=MNT)
            hold.freeze()

    def test_gone(self):
        subprocess.run(["umount", OTHER], check=True)
        try:
            with open(OTHER_DEVICE) as device:
                subprocess.run(["mount", OTHER_DEVICE, OTHER], check=True)
                with freezefd.freeze(OTHER, timeout=LIMIT) as hold:
                    hold.thaw()
                    subprocess.run(["umount", OTHER], check=True)
                    self.assertIs(hold.status().hold, HoldState.GONE)
                    error = self.fails(errno.ESTALE, hold.freeze, filename=OTHER, kind=BrokenHold)
                    self.assertIs(error.why, HoldState.GONE)
                self.fails(errno.ENODEV, freezefd.freeze, device, filename=device.fileno())
        finally:
            subprocess.run(["mount", OTHER_DEVICE, OTHER], check=True)

    def test_thawed_by_a_copy(self):
        with self.assertRaises(OSError) as caught:
            with freezefd.freeze(MNT, timeout=LIMIT) as hold:
                child = os.fork()
                if not child:
                    try:
                        hold.thaw()
                        os._exit(0)
                    finally:
                        os._exit(2)
                os.waitpid(child, 0)
        self.assertEqual(caught.exception.errno, errno.EINVAL)

    def test_a_freeze_that_took_too_long(self):
        error = freezefd._error(errno.ETIME, MNT, False)
        self.assertIsInstance(error, TimeoutError)
        self.assertNotIsInstance(error, BrokenHold)
        self.assertEqual((error.errno, error.filename), (errno.ETIME, MNT))

    def break_hold(self, block_error, cause=None):
        """What comes out of a block that ends by block_error while its hold is broken."""
        try:
            with freezefd.freeze(MNT, timeout=LIMIT):
                freezefd.thaw_force(MNT)
                raise block_error from cause
        except BaseException as error:
            return error

    def test_exception_in_the_block(self):
        with self.assertRaises(KeyError) as caught:
            with freezefd.freeze(MNT, timeout=LIMIT):
                raise KeyError("block")
        self.assertIsNone(caught.exception.__context__)

        for kind in (KeyError, KeyboardInterrupt):
            block_error = kind("block")
            error = self.break_hold(block_error)
            self.assertIs(error, block_error)
            self.assertIsInstance(error.__context__, BrokenHold)
            self.assertIs(error.__context__.why, HoldState.REVOKED)
            self.assertFalse(error.__suppress_context__)

        error = self.break_hold(KeyError("block"), ValueError("cause"))
        self.assertIsInstance(error.__cause__, ValueError)
        self.assertIsInstance(error.__cause__.__context__, BrokenHold)

        # A chain that is a circle.
        one, two = KeyError("one"), KeyError("two")
        one.__cause__, two.__cause__ = two, one
        with self.assertRaises(KeyError):
            with freezefd.freeze(MNT, timeout=LIMIT):
                freezefd.thaw_force(MNT)
                raise one
        self.assertIsInstance(two.__context__, BrokenHold)

        for block_error in (SystemExit(0), SystemExit(3), GeneratorExit()):
            error = self.break_hold(block_error)
            self.assertIsInstance(error, BrokenHold)
            self.assertIs(error.__context__, block_error)


class Groups(Base):
    def test_all(self):
        with freezefd.freeze(MNT, OTHER, timeout=LIMIT) as hold:
            self.assertIs(state(MNT), State.FROZEN)
            self.assertIs(state(OTHER), State.FROZEN)
            devs = [freezefd.status(number).dev for number in hold.filenos()]
            self.assertEqual(devs, [os.stat(MNT).st_dev, os.stat(OTHER).st_dev])
            for call in (hold.fileno, hold.status, hold.freeze):
                self.assertRaisesRegex(ValueError, "group", call)
            hold.set_timeout(2 * LIMIT)
            for number in hold.filenos():
                self.assertGreater(freezefd.status(number).timeout_ns, LIMIT * 10**9)
            hold.thaw()
            self.assertTrue(thawed(MNT, OTHER))

    def test_none(self):
        for targets in ((MNT, "/proc", OTHER), ("/proc", MNT), (MNT, OTHER, "/proc")):
            self.fails(errno.EOPNOTSUPP, freezefd.freeze, *targets, timeout=LIMIT, filename="/proc")
            wait_for(lambda: thawed(MNT, OTHER), "nothing stays frozen")
        self.fails(errno.ENOENT, freezefd.freeze, MNT, "/nowhere", timeout=LIMIT, filename="/nowhere")
        self.assertRaises(ValueError, freezefd.freeze, MNT, OTHER, thawed=True)

    def test_same_filesystem(self):
        with freezefd.freeze(MNT, DEVICE, OTHER, MNT + "/lost+found", timeout=LIMIT) as hold:
            self.assertEqual(len(hold.filenos()), 2)
            self.assertEqual(freezefd.status(MNT).fd_holds, 1)

    def test_nested(self):
        for targets in ((MNT, INNER), (INNER, MNT)):
            with freezefd.freeze(*targets, timeout=LIMIT):
                self.assertIs(state(INNER), State.FROZEN)
                self.assertIs(state(MNT), State.FROZEN)
            self.assertTrue(thawed(INNER, MNT))

    def test_nested_close(self):
        # Whoever closes the upper one first waits for the deadline of the lower one.
        for how in ("hold.close()", "del hold", "os._exit(0)", "hold.__exit__(None, None, None)"):
            code = f"import freezefd, os\nhold = freezefd.freeze({MNT!r}, {INNER!r}, timeout={LIMIT})\n{how}\nprint('closed')"
            with self.subTest(how=how):
                subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, timeout=LIMIT / 2)
                wait_for(lambda: thawed(MNT, INNER), "all thawed")

    def test_broken(self):
        for broken in (MNT, OTHER):
            with self.assertRaises(BrokenHold) as caught:
                with freezefd.freeze(MNT, OTHER, timeout=LIMIT):
                    freezefd.thaw_force(broken)
            self.assertEqual(caught.exception.filename, broken)
            self.assertTrue(thawed(MNT, OTHER))


class Waiting(Base):
    """A freeze of INNER waits as long as MNT, on which it lies, is frozen: it has something to write."""

    def setUp(self):
        super().setUp()
        with open(INNER + "/dirty", "w") as file:
            file.write("dirty")

    def below(self, then):
        """Freeze MNT, and do then(hold) in a thread when the main thread waits."""
        hold = freezefd.freeze(MNT, timeout=LIMIT)
        problem = []

        def run():
            try:
                wait_for_a_call()
                then(hold)
            except Exception as error:
                problem.append(error)
            finally:
                hold.close()

        def finish():
            thread.join()
            self.assertEqual(problem, [])

        thread = threading.Thread(target=run)
        return thread.start, finish

    def test_threads_go_on(self):
        # Nothing but the thread ends the wait, and that before the deadline.
        held = []

        def then(hold):
            held.append(hold.status().hold)
            hold.thaw()

        start, finish = self.below(then)
        start()
        with freezefd.freeze(INNER, timeout=LIMIT):
            self.assertIs(state(INNER), State.FROZEN)
        finish()
        self.assertEqual(held, [HoldState.HELD])

    def test_threads_go_on_during_a_group(self):
        held = []

        def then(hold):
            held.append(hold.status().hold)
            hold.thaw()

        start, finish = self.below(then)
        start()
        with freezefd.freeze(INNER, OTHER, timeout=LIMIT):
            self.assertIs(state(INNER), State.FROZEN)
        finish()
        self.assertEqual(held, [HoldState.HELD])

    def interrupt(self, call, at_once):
        """Call until an interrupt, which comes while it waits; at_once: and ends the wait."""
        raised, armed = threading.Event(), [True]

        def handler(*_):
            if armed:
                armed.clear()
                raise KeyboardInterrupt

        def then(hold):
            os.kill(os.getpid(), signal.SIGINT)
            # One that comes before the wait proper is heeded when that ends.
            end = time.monotonic() + 30
            while at_once and not raised.wait(0.1):
                if time.monotonic() > end:
                    raise AssertionError("no interrupt while it waits")
                os.kill(os.getpid(), signal.SIGINT)

        before = signal.signal(signal.SIGINT, handler)
        start, finish = self.below(then)
        start()
        try:
            # A hold that was made all the same is dropped on its way to its name.
            with self.assertRaises(KeyboardInterrupt), warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                hold = call()
                hold.close()
        finally:
            raised.set()
            finish()
            signal.signal(signal.SIGINT, before)

    # With the other engines, and with every one a group, what waits for the disk heeds the signal when that is done.
    def test_interrupt(self):
        self.interrupt(lambda: freezefd.freeze(INNER, timeout=LIMIT), ENGINE == "guardian")

    def test_interrupt_of_a_group(self):
        self.interrupt(lambda: freezefd.freeze(INNER, OTHER, timeout=LIMIT), False)

    def test_interrupt_of_freeze_again(self):
        with freezefd.freeze(INNER, timeout=LIMIT, thawed=True) as again:
            self.interrupt(again.freeze, ENGINE == "guardian")

    def test_a_signal_that_raises_nothing(self):
        came = threading.Event()
        before = signal.signal(signal.SIGUSR1, lambda *_: came.set())

        def then(hold):
            os.kill(os.getpid(), signal.SIGUSR1)
            end = time.monotonic() + 30
            while ENGINE == "guardian" and not came.wait(0.1):
                if time.monotonic() > end:
                    raise AssertionError("the handler does not run")
                os.kill(os.getpid(), signal.SIGUSR1)

        try:
            start, finish = self.below(then)
            start()
            with freezefd.freeze(INNER, timeout=LIMIT):
                self.assertIs(state(INNER), State.FROZEN)
            finish()
            self.assertTrue(came.is_set())
        finally:
            signal.signal(signal.SIGUSR1, before)


class BadInput(Base):
    def test_paths(self):
        for call in (freezefd.freeze, freezefd.status, freezefd.thaw_force, freezefd.engine):
            with self.subTest(call=call.__name__):
                self.fails(errno.ENOENT, call, MNT + "/no", filename=MNT + "/no", kind=FileNotFoundError)
                self.fails(errno.ENOENT, call, b"/no", filename=b"/no")
                self.fails(errno.ENOENT, call, pathlib.Path("/no"), filename="/no")
                self.fails(errno.ENOENT, call, "", filename="")
                self.fails(errno.ENAMETOOLONG, call, "a" * 5000, filename="a" * 5000)
                self.fails(errno.EINVAL, call, "/dev/null", filename="/dev/null")
                for target in (MNT + "\0", b"\0", "\udcff\0"):
                    self.assertRaises(ValueError, call, target)
        os.mkfifo(WORK + "/fifo")
        self.fails(errno.EINVAL, freezefd.freeze, WORK + "/fifo", filename=WORK + "/fifo")
        os.unlink(WORK + "/fifo")

    def test_descriptors(self):
        closed = os.open(MNT, os.O_RDONLY)
        os.close(closed)
        for call in (freezefd.freeze, freezefd.status, freezefd.thaw_force, freezefd.engine):
            with self.subTest(call=call.__name__):
                self.fails(errno.EBADF, call, closed, filename=closed)
                self.assertRaises(ValueError, call, -1)
                self.assertRaises(OverflowError, call, 2**40)
                self.assertRaises(OverflowError, call, -(2**80))
        path_only = os.open(MNT, os.O_PATH)
        self.fails(errno.EBADF, freezefd.freeze, path_only, filename=path_only)
        os.close(path_only)
        self.assertRaises(io.UnsupportedOperation, freezefd.freeze, io.StringIO())

    def test_not_freezable(self):
        for call in (freezefd.freeze, freezefd.status):
            self.fails(errno.EOPNOTSUPP, call, "/proc", filename="/proc")
        with freezefd.freeze(MNT, thawed=True) as hold:
            self.fails(errno.EOPNOTSUPP, freezefd.freeze, hold, filename=hold.fileno())
            self.fails(errno.EOPNOTSUPP, freezefd.thaw_force, hold, filename=hold.fileno())
        self.fails(errno.EINVAL, freezefd.thaw_force, MNT, filename=MNT)

    def test_types(self):
        class Odd:
            def fileno(self):
                return "one"

        class Raises:
            def fileno(self):
                raise ZeroDivisionError

        for call in (lambda target: freezefd.freeze(target, thawed=True), freezefd.status, freezefd.thaw_force, freezefd.engine):
            for target in (None, True, 1.5, [MNT], (MNT,), {}, object(), Odd(), bytearray(b"/"), memoryview(b"/")):
                self.assertRaises(TypeError, call, target)
            self.assertRaises(ZeroDivisionError, call, Raises())
        self.assertRaises(TypeError, freezefd.freeze)
        self.assertRaises(TypeError, freezefd.freeze, MNT, engine=1)
        self.assertRaises(ValueError, freezefd.freeze, MNT, engine="native\0")
        self.fails(errno.EINVAL, freezefd.freeze, MNT, engine="none such", filename=MNT)
        self.assertRaises(TypeError, freezefd.freeze, MNT, bogus=1)
        self.assertRaises(TypeError, freezefd.Hold)
        self.assertRaises(TypeError, freezefd.Hold, (), (), 0, True, False, None)
        self.assertRaises(TypeError, freezefd.Hold, (1,), (), 0, True, False, None)
        self.assertRaises(TypeError, freezefd.Hold, ("x",), ("x",), 0, True, False, None)
        self.assertRaises(TypeError, freezefd.Hold, targets=MNT)

    def test_timeouts(self):
        with freezefd.freeze(MNT, thawed=True) as hold:
            for call in (hold.set_timeout, lambda timeout: freezefd.freeze(MNT, timeout=timeout, thawed=True)):
                for timeout in (0, 0.0, -1, -0.5, float("nan"), float("inf"), float("-inf"), 10**10, 10**400, 2**63 / 1e9):
                    self.assertRaises(ValueError, call, timeout)
                for timeout in ("1", True, b"1", [1], 1j, object()):
                    self.assertRaises(TypeError, call, timeout)

    def test_not_root(self):
        target = os.open(MNT, os.O_RDONLY)
        code = """if True:
            import errno, freezefd, sys
            target = int(sys.argv[1])
            for call in freezefd.freeze, freezefd.thaw_force:
                try:
                    call(target)
                except PermissionError as error:
                    assert error.errno == errno.EPERM and error.filename == target, error
                    assert "CAP_SYS_ADMIN" in str(error), error
                else:
                    raise AssertionError(call)
            """
        child = subprocess.run([sys.executable, "-c", code, str(target)], user=65534, group=65534, extra_groups=[],
                               pass_fds=[target], capture_output=True, text=True)
        os.close(target)
        self.assertEqual((child.returncode, child.stderr), (0, ""))

    def test_no_copies(self):
        with freezefd.freeze(MNT, thawed=True) as hold:
            self.assertRaises(TypeError, copy.copy, hold)
            self.assertRaises(TypeError, pickle.dumps, hold)

    def test_fuzz(self):
        """Whatever the arguments, an exception says so, and nothing is left open. Nothing is frozen here."""
        closed = os.open(MNT, os.O_RDONLY)
        os.close(closed)
        pool = [None, True, False, -1, closed, 2**31, 2**64, -(2**70), 0.5, float("nan"), "", "\0", "\udc80", MNT, b"\xff",
                pathlib.Path(MNT), "/proc", [], (), {}, object(), type, lambda: 1, "native", "x" * 10000, Ellipsis]
        dice = random.Random(1)
        expected = (TypeError, ValueError, OverflowError, OSError)

        def pick():
            return dice.choice(pool)

        def number():
            return dice.choice([-1, closed, 2**31, "x", None, 1.5])

        with freezefd.freeze(MNT, thawed=True) as hold:
            calls = (
                lambda: freezefd.freeze(*(pick() for _ in range(dice.randrange(3))), thawed=True, timeout=pick(),
                                        may_stay_frozen=pick(), engine=pick()).close(),
                lambda: freezefd.status(pick()),
                lambda: freezefd.engine(pick()),
                lambda: hold.set_timeout(pick()),
                lambda: hold.__exit__(*(pick() for _ in range(dice.choice((0, 1, 2, 4))))),
                lambda: hold._set_timeout(*(pick() for _ in range(dice.randrange(3)))),
                lambda: getattr(hold, dice.choice(("thaw", "fileno", "close", "freeze")))(pick()),
                lambda: _freezefd.status(number(), pick()),
                lambda: _freezefd.engine(number(), pick()),
                lambda: _freezefd.thaw_force(number(), pick()),
                lambda: _freezefd.status(*(pick() for _ in range(dice.choice((0, 1, 3))))),
                lambda: freezefd.Hold((number(),), (pick(),), pick(), True, pick(), pick()).close(),
                lambda: freezefd.Hold(pick(), pick(), pick(), True, pick(), pick()).close(),
            )
            for _ in range(3000):
                try:
                    dice.choice(calls)()
                except expected:
                    pass
            self.assertFalse(hold.closed)


class Sound(Base):
    def test_leaks(self):
        name = "".join(["/", "no", "where"])
        kind = sys.getrefcount(freezefd.Hold)

        def work():
            for _ in range(20):
                with freezefd.freeze(MNT, thawed=True, timeout=LIMIT) as hold:
                    hold.set_timeout(1)
                    hold.status(), hold.filenos(), hold.targets, repr(hold)
                    for call in (hold.thaw, lambda: freezefd.freeze(hold)):
                        self.assertRaises(OSError, call)
            for _ in range(200):
                for call in (freezefd.freeze, freezefd.status, freezefd.thaw_force, freezefd.engine):
                    self.assertRaises(OSError, call, 10**6)
                    self.assertRaises(OSError, call, name)

        names, more = sys.getrefcount(name), []
        for _ in range(5):
            blocks = sys.getallocatedblocks()
            work()
            gc.collect()
            more.append(sys.getallocatedblocks() - blocks)
        self.assertEqual(sys.getrefcount(name), names)
        # A leak would leave 20 or more each time.
        self.assertLess(min(more), 15)
        self.assertLess(abs(sys.getrefcount(freezefd.Hold) - kind), 5)

    def test_subinterpreter(self):
        try:
            import _xxsubinterpreters as interpreters
        except ImportError:
            self.skipTest("this Python has no module for subinterpreters that the test knows")
        code = f"""if True:
            import freezefd
            with freezefd.freeze({MNT!r}, timeout={LIMIT}) as hold:
                assert freezefd.status({MNT!r}).state == "frozen"
            try:
                freezefd.status("/proc")
            except OSError as error:
                assert error.filename == "/proc"
            """
        for _ in range(3):
            one = interpreters.create()
            interpreters.run_string(one, code)
            interpreters.destroy(one)
        self.assertIs(state(MNT), State.THAWED)

    def test_stable_abi(self):
        self.assertTrue(_freezefd.__file__.endswith("/_freezefd.abi3.so"))

    def test_help(self):
        text = pydoc.plain(pydoc.render_doc(freezefd))
        for word in ("freeze(*targets", "BrokenHold", "thaw_force(target", "set_timeout(self", "filenos(", "EXPIRED", "CAP_SYS_ADMIN"):
            self.assertIn(word, text)
        for name in freezefd.__all__:
            self.assertTrue(hasattr(freezefd, name), name)

    def test_example(self):
        (code,) = re.findall(r"^```python\n(.*?)^```", DOC.read_text(), re.M | re.S)
        for name, ours in (('"/srv"', f'"{MNT}"'), ("/dev/vdb", DEVICE), ("/backup", WORK)):
            self.assertIn(name, code)
            code = code.replace(name, ours)
        subprocess.run([sys.executable, "-c", code], check=True)
        # Nothing to repair nor to replay.
        image = WORK + "/srv.img"
        checked = subprocess.run(["e2fsck", "-fn", image], capture_output=True, text=True)
        self.assertEqual((checked.returncode, "recover" in checked.stdout), (0, False), checked.stdout)
        os.unlink(image)


if __name__ == "__main__":
    ended = unittest.main(verbosity=2, exit=False, testRunner=unittest.TextTestRunner(sys.stdout, verbosity=2)).result
    # Each once, however many of its subtests and its tearDown() fail.
    failed = [getattr(test, "test_case", test).id() for test, _ in ended.failures + ended.errors]
    bad = len(set(failed)) + len(ended.unexpectedSuccesses)
    good = ended.testsRun - bad - len(ended.skipped)
    print(f"{good} passed, {bad} failed, {len(ended.skipped)} skipped")
    sys.exit(bad > 0)
