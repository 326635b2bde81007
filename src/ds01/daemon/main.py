"""`ds01d`: the daemon's process. Takes the lock, opens the socket, serves until it is told to leave."""

import argparse
import asyncio
import fcntl
import gc
import logging
import os
import signal
import socket
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from aiohttp import web

from ds01 import VERSION
from ds01.api.location import LOCK_NAME, Location, find_location, prepare_folder
from ds01.daemon.loops import guard
from ds01.daemon.server import MalformedRequests
from ds01.daemon.wiring import Daemon, wire
from ds01.errors import BackendError, ConflictError, Ds01Error

log = logging.getLogger("ds01.daemon")
BACKLOG = 128
SITE_LOG = Path("/var/log/ds01")
SHUTDOWN_S = 5.0
ENGINE_FAREWELL_S = 15.0
"""How long changes of the engine that are under way, and the undoing of others, may take when the daemon leaves."""
PERSONAL_SOCKET_MODE = 0o600
SERVER_SOCKET_MODE = 0o666


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        prog="ds01d", description="The daemon of DS01. Usually started by `ds01` or systemd."
    )
    parser.add_argument("--version", action="version", version=f"ds01d {VERSION}")
    parser.add_argument("--personal", action="store_true", help="serve only the user it runs as; leave when idle")
    parser.add_argument("--socket", type=Path, metavar="PATH", help="socket of the API")
    parser.add_argument("--state", type=Path, metavar="DIR", help="folder of the database")
    parser.add_argument("--config", type=Path, metavar="DIR", help="folder of resource-limits.yaml")
    parser.add_argument("--log", type=Path, metavar="DIR", help="folder of events.jsonl")
    return parser.parse_args(arguments)


def location_of(options: argparse.Namespace, environment: Mapping[str, str], uid: int) -> Location:
    """Return where this daemon's files are.

    Raises:
        ConflictError: A personal daemon is wanted where a site has set DS01 up.
    """
    without_socket = {name: value for name, value in environment.items() if name != "DS01_SOCKET"}
    found = find_location(without_socket, uid)
    if options.personal and not found.is_personal:
        raise ConflictError(
            f"This machine has {found.config}: it is served by one daemon for everybody.",
            hint="Use that one: `ds01 status`.",
        )
    if options.socket is not None:
        found = replace(found, socket=options.socket.absolute(), is_personal=options.personal)
    if not found.is_personal and options.state is None:
        found = replace(found, log=SITE_LOG)
    if options.state is not None:
        found = replace(found, state=options.state.absolute())
    if options.log is not None:
        found = replace(found, log=options.log.absolute())
    if options.config is not None:
        found = replace(found, config=options.config.absolute())
    return found


def take_lock(state: Path) -> int:
    """Take the one lock of a state folder and return its descriptor; it goes with the process.

    Raises:
        ConflictError: Another daemon has it.
        BackendError: The file system cannot lock, or the file cannot be opened.
    """
    try:
        descriptor = os.open(state / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as failure:
        raise BackendError(
            f"The lock {state / LOCK_NAME} cannot be opened: {failure.strerror}.", hint="Check the folder's rights."
        ) from failure
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as failure:
        os.close(descriptor)
        if isinstance(failure, BlockingIOError):
            raise ConflictError(
                f"Another ds01d runs with the state folder {state}.", hint="Use that one: `ds01 status`."
            ) from failure
        raise BackendError(
            f"The state folder {state} cannot be locked: {failure.strerror}.", hint="Keep the state on a local disk."
        ) from failure
    return descriptor


def open_socket(path: Path, mode: int) -> socket.socket:
    """Return a listening socket. A stale one is replaced: whoever holds the lock owns the path.

    Raises:
        BackendError: The path cannot be used, or something else is there.
    """
    _require_replaceable(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with suppress(FileNotFoundError):
            temporary.unlink()
        listening.bind(str(temporary))
        temporary.chmod(mode)
        listening.listen(BACKLOG)
        temporary.rename(path)  # nobody ever finds a socket that does not listen or has wrong rights
    except OSError as failure:
        listening.close()
        with suppress(OSError):
            temporary.unlink()
        raise BackendError(
            f"The socket {path} cannot be opened: {failure.strerror or failure}.",
            hint="Use a shorter path, or another folder.",
        ) from failure
    return listening


def _require_replaceable(path: Path) -> None:
    """A mistyped path must not cost a file: renaming would put the socket in its place."""
    with suppress(OSError):  # nothing is there, or opening will say what is wrong
        mode = os.lstat(path).st_mode
        if not (stat.S_ISSOCK(mode) or stat.S_ISLNK(mode)):
            raise BackendError(
                f"{path} is there and is no socket; it was left alone.", hint="Name another path, or move it away."
            )


class Serving:
    """One run of the daemon."""

    def __init__(self) -> None:
        self._leaving = asyncio.Event()
        self._farewell: asyncio.Task[None] | None = None
        self.reason = ""

    def leave(self, reason: str) -> None:
        """End the daemon."""
        if not self._leaving.is_set():
            self.reason = reason
            self._leaving.set()

    async def run(self, location: Location, environment: Mapping[str, str], uid: int) -> None:
        """Serve until told to leave."""
        daemon = await wire(location, environment, uid, self.leave)
        # what was imported stays for ever: to look it through for garbage again and again holds up every request
        gc.freeze()
        try:
            await self._serve(daemon, location)
        finally:
            await daemon.close()
            if self._farewell is not None:
                self._farewell.cancel()

    async def _serve(self, daemon: Daemon, location: Location) -> None:
        runner = daemon.server.runner(SHUTDOWN_S)
        await runner.setup()
        listening = open_socket(location.socket, PERSONAL_SOCKET_MODE if location.is_personal else SERVER_SOCKET_MODE)
        inode = os.stat(location.socket).st_ino
        await web.SockSite(runner, listening, backlog=BACKLOG).start()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.leave, signal.Signals(number).name)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, daemon.policy.request_reload)
        loops = [
            asyncio.create_task(guard("reconcile", daemon.reconcile.run, self.leave)),
            asyncio.create_task(guard("events", daemon.events.run, self.leave)),
            asyncio.create_task(guard("scheduler", daemon.scheduler.run, self.leave)),
            asyncio.create_task(guard("deadlines", daemon.deadlines.run, self.leave)),
            asyncio.create_task(guard("devices", daemon.devices.run, self.leave)),
            asyncio.create_task(guard("watch", daemon.watch.run, self.leave)),
            asyncio.create_task(guard("export", daemon.export.run, self.leave)),
        ]
        log.info("ds01d %s serves %s", VERSION, location.socket)
        await self._leaving.wait()
        log.info("ds01d leaves: %s", self.reason)
        self._farewell = asyncio.create_task(_give_up_engine(daemon))
        for loop in loops:
            loop.cancel()
        daemon.feed.close()
        await asyncio.gather(*loops, return_exceptions=True)
        with suppress(FileNotFoundError):
            if os.stat(location.socket).st_ino == inode:
                location.socket.unlink()
        await runner.cleanup()
        await _wait_for_requests(daemon)


async def _give_up_engine(daemon: Daemon) -> None:
    """An engine that does not answer keeps nobody: its calls fail, and the next daemon looks at what became of them."""
    await asyncio.sleep(ENGINE_FAREWELL_S)
    log.warning("the container engine did not answer in time: what was under way is left to the next start")
    await daemon.world.engine.close()


async def _wait_for_requests(daemon: Daemon) -> None:
    """A creation that was broken off is being undone: the store and the engine are needed for that."""
    with suppress(TimeoutError):
        async with asyncio.timeout(SHUTDOWN_S):
            await daemon.server.wait_until_idle()


def serve(options: argparse.Namespace, environment: Mapping[str, str]) -> None:
    """Run the daemon.

    Raises:
        Ds01Error: It cannot start.
    """
    uid = os.getuid()
    location = location_of(options, environment, uid)
    os.umask(0o077)
    prepare_folder(location.state, uid)
    if location.is_personal:
        prepare_folder(location.socket.parent, uid)
    lock = take_lock(location.state)
    try:
        asyncio.run(_run(location, environment, uid))
    finally:
        os.close(lock)


async def _run(location: Location, environment: Mapping[str, str], uid: int) -> None:
    await Serving().run(location, environment, uid)


def main() -> None:
    """Entry point of `ds01d`."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("aiohttp.server").addFilter(MalformedRequests())
    options = parse_arguments()
    try:
        serve(options, os.environ)
    except Ds01Error as error:
        sys.stderr.write(f"ds01d: {error.message}\n")
        if error.hint:
            sys.stderr.write(f"  {error.hint}\n")
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
