"""A program's stream and this terminal: raw mode that is always undone, sizes, half-close, frames."""

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType

from ds01.cli.leaving import LeavingKeys
from ds01.cli.screen import clean, lost_output
from ds01.cli.start_failure import StartFailure
from ds01.client.frames import STDERR, FrameReader
from ds01.client.wire import Connection
from ds01.errors import DaemonUnreachableError

STDIN_DESCRIPTOR = 0
STDOUT_DESCRIPTOR = 1
STDERR_DESCRIPTOR = 2
READ_BYTES = 32 * 1024
MAX_WAITING_BYTES = 256 * 1024
RESIZE_TRIES = 25
RESIZE_PAUSE_S = 0.1
PASSED_VARIABLES = ("TERM", "LANG", "LC_ALL", "LC_CTYPE", "COLORTERM", "NO_COLOR")
Source = Connection | int
Resize = Callable[[int, int], bool]


def is_terminal(descriptor: int) -> bool:
    """Tell whether a descriptor is open and a terminal."""
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def terminal_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by which programs know the terminal and the language."""
    return {name: environment[name] for name in PASSED_VARIABLES if environment.get(name)}


@contextmanager
def ended_by_signal() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the stack instead of ending the process where it stands."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def raw_mode(descriptor: int) -> Iterator[None]:
    """Pass every key on as it is typed; the terminal gets its modes back whatever happens."""
    before = termios.tcgetattr(descriptor)
    try:
        with ended_by_signal():
            tty.setraw(descriptor, termios.TCSADRAIN)  # what was typed ahead is not lost
            yield
    finally:
        with suppress(termios.error):  # the terminal itself is gone
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def window_title(title: str, environment: Mapping[str, str]) -> Iterator[None]:
    """Show a title while the program runs. Source: xterm control sequences, OSC 0 and CSI 22 t / 23 t."""
    shows = is_terminal(STDOUT_DESCRIPTOR) and environment.get("TERM", "dumb") not in {"dumb", "linux"}
    if not shows:
        yield
        return
    os.write(STDOUT_DESCRIPTOR, f"\x1b[22;0t\x1b]0;{clean(title)}\a".encode())
    try:
        yield
    finally:
        with suppress(OSError):
            os.write(STDOUT_DESCRIPTOR, b"\x1b[23;0t")


@contextmanager
def _wake_pipe() -> Iterator[int]:
    """Make signals readable: the numbers of SIGWINCH and SIGCONT arrive as bytes on the returned descriptor."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    numbers = (signal.SIGWINCH, signal.SIGCONT)
    before = {number: signal.signal(number, lambda _number, _frame: None) for number in numbers}
    wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)


def run_on_terminal(
    stream: Connection, resize: Resize, *, leaving: LeavingKeys | None = None, failure: StartFailure | None = None
) -> None:
    """Connect a program that has a terminal with this one until its stream ends, or until the keys that leave it.

    Args:
        stream: The program's bytes.
        resize: Tells it rows and columns; False: it was not possible yet, try again.
        leaving: Keys that leave it as it is; it knows afterwards whether they were typed.
        failure: Holds back what the engine says when the program cannot be started.
    """
    with raw_mode(STDIN_DESCRIPTOR), _wake_pipe() as waking:
        pump = _Pump(stream, reads_stdin=True, is_framed=False, waking=waking, resize=resize, leaving=leaving)
        pump.failure = failure
        pump.run()


def run_on_pipes(
    stream: Connection, *, reads_stdin: bool, is_framed: bool = True, failure: StartFailure | None = None
) -> None:
    """Connect a program without a terminal: stdin, stdout and stderr stay apart, the end of stdin reaches it.

    Args:
        stream: The program's bytes.
        reads_stdin: It gets our stdin.
        is_framed: They are in frames; False: a terminal of its own has mixed them.
        failure: Holds back what the engine says when the program cannot be started.

    Raises:
        DaemonUnreachableError: The stream ended in the middle of something.
    """
    with ended_by_signal():
        pump = _Pump(stream, reads_stdin=reads_stdin, is_framed=is_framed)
        pump.failure = failure
        pump.run()


class _Pump:
    """Copies both ways at once; a side that does not read never blocks the other."""

    def __init__(
        self,
        stream: Connection,
        *,
        reads_stdin: bool,
        is_framed: bool,
        waking: int | None = None,
        resize: Resize | None = None,
        leaving: LeavingKeys | None = None,
    ) -> None:
        self.failure: StartFailure | None = None
        self._stream = stream
        self._leaving = leaving
        self._frames = FrameReader() if is_framed else None
        self._waiting = b""
        self._reads_stdin = reads_stdin
        self._can_send = True
        self._waking = waking
        self._resize = resize
        self._resize_tries = RESIZE_TRIES if resize else 0
        if not self._reads_stdin:
            self._end_sending()

    def run(self) -> None:
        """Copy until the program's side ends, or until the keys that leave it."""
        while True:
            if self._stream.has_buffered():
                readable: list[Source] = [self._stream]
            else:
                timeout_s = RESIZE_PAUSE_S if self._resize_tries else None
                readable = self._select(timeout_s)
            if self._waking in readable:
                self._read_signals()
            if self._resize_tries:
                self._try_resize()
            if STDIN_DESCRIPTOR in readable:
                self._read_stdin()
            self._send_waiting()
            if self._leaving is not None and self._leaving.were_typed:
                return
            if self._stream in readable and not self._pass_output():
                return

    def _select(self, timeout_s: float | None) -> list[Source]:
        reading: list[Source] = [self._stream]
        if self._waking is not None:
            reading.append(self._waking)
        if self._reads_stdin and len(self._waiting) < MAX_WAITING_BYTES:
            reading.append(STDIN_DESCRIPTOR)
        writing = [self._stream] if self._waiting else []
        readable, _, _ = select.select(reading, writing, [], timeout_s)
        return readable

    def _read_stdin(self) -> None:
        try:
            data = os.read(STDIN_DESCRIPTOR, READ_BYTES)
        except OSError:
            data = b""  # a terminal that hung up
        if data and self._leaving is not None:
            self._waiting += self._leaving.pass_on(data) if self._can_send else b""
        elif data:
            self._waiting += data if self._can_send else b""
        else:
            self._reads_stdin = False
            if not self._waiting:
                self._end_sending()

    def _send_waiting(self) -> None:
        if not self._waiting:
            return
        try:
            self._waiting = self._waiting[self._stream.send_some(self._waiting) :]
        except DaemonUnreachableError:
            self._waiting = b""  # the program has ended; what it said last is still to be read
            self._can_send = False
        if not self._waiting and not self._reads_stdin:
            self._end_sending()

    def _end_sending(self) -> None:
        if self._can_send:
            self._can_send = False
            self._stream.close_sending()

    def _pass_output(self) -> bool:
        data = self._stream.receive()
        if not data:
            if self._frames is not None and not self._frames.is_whole():
                message = "ds01d closed the connection in the middle of the program's output."
                raise DaemonUnreachableError(message, hint="Look with `ds01 status`.")
            return False
        if self._frames is None:
            self._show(data)
            return True
        for kind, piece in self._frames.feed(data):
            if kind == STDERR:
                write_bytes(STDERR_DESCRIPTOR, piece)
            else:
                self._show(piece)
        return True

    def _show(self, output: bytes) -> None:
        write_bytes(STDOUT_DESCRIPTOR, output if self.failure is None else self.failure.pass_on(output))

    def _read_signals(self) -> None:
        assert self._waking is not None
        numbers = os.read(self._waking, 256)
        if signal.SIGCONT in numbers:
            tty.setraw(STDIN_DESCRIPTOR, termios.TCSADRAIN)  # whoever stopped us gave the terminal its own modes
        if signal.SIGWINCH in numbers or signal.SIGCONT in numbers:
            self._resize_tries = RESIZE_TRIES

    def _try_resize(self) -> None:
        assert self._resize is not None
        try:
            size = os.get_terminal_size(STDIN_DESCRIPTOR)
        except OSError:
            self._resize_tries = 0
            return
        is_done = not size.lines or not size.columns or self._resize(size.lines, size.columns)
        self._resize_tries = 0 if is_done else self._resize_tries - 1


def write_bytes(descriptor: int, data: bytes) -> None:
    """Write all of `data`, at once and unbuffered; what was printed before goes first.

    Raises:
        BrokenPipeError: Its reader is gone.
        Ds01Error: It does not reach its place for another reason, such as a full disk.
    """
    if descriptor == STDOUT_DESCRIPTOR and sys.stdout is not None:
        sys.stdout.flush()
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
        except BrokenPipeError:
            raise
        except OSError as failure:
            raise lost_output(failure) from failure
