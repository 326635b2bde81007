"""The command `dev/engine`."""

import argparse
import dataclasses
import json
import shlex
import sys
from pathlib import Path

from dev.enginekit.commands import DevError
from dev.enginekit.engine import EngineOptions, engines, publish, running_engine, start, stop
from dev.enginekit.state import EngineState


def main() -> int:
    """Run `dev/engine` and return its exit status."""
    arguments = _parser().parse_args()
    try:
        _VERBS[arguments.verb](arguments)
    except DevError as error:
        print(f"dev/engine: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dev/engine",
        description="A private container engine for tests and the demo; needs root, installs nothing.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    begin = verbs.add_parser("start", help="start an engine, or report the one that runs")
    begin.add_argument("name", nargs="?", default="dev")
    begin.add_argument(
        "--gpus-conf", type=Path, metavar="FILE", help="the pretended GPUs, read at each container start"
    )
    begin.add_argument("--registry", action="store_true", help="with a registry that stands in for Docker Hub")
    begin.add_argument(
        "--dockerd-arg", action="append", default=[], metavar="ARG", help="passed to dockerd; repeatable"
    )
    begin.add_argument("--newer", action="store_true", help="the engine of Debian 13, with CDI switched on")
    begin.add_argument("--json", action="store_true", help="print the engine as JSON")
    end = verbs.add_parser("stop", help="stop an engine with its containers")
    end.add_argument("name", nargs="?", default="dev")
    end.add_argument("--purge", action="store_true", help="remove its images and logs too")
    status = verbs.add_parser("status", help="list engines")
    status.add_argument("--names", action="store_true", help="only the names, of running ones")
    status.add_argument("--all-names", action="store_true", help="only the names, of stopped ones too")
    environment = verbs.add_parser("env", help='print exports for: eval "$(dev/engine env NAME)"')
    environment.add_argument("name", nargs="?", default="dev")
    upload = verbs.add_parser("publish", help="copy an image into the engine's registry")
    upload.add_argument("name")
    upload.add_argument("image")
    return parser


def _start(arguments: argparse.Namespace) -> None:
    conf: Path | None = arguments.gpus_conf
    options = EngineOptions(
        gpus_conf=None if conf is None else conf.absolute(),
        registry=arguments.registry,
        dockerd_args=tuple(arguments.dockerd_arg),
        newer=arguments.newer,
    )
    state = start(arguments.name, options)
    if arguments.json:
        print(json.dumps(dataclasses.asdict(state)))
    else:
        print(f"engine {state.name} answers at {state.docker_host}; use it with:")
        print(f'  eval "$(dev/engine env {state.name})"')


def _stop(arguments: argparse.Namespace) -> None:
    stop(arguments.name, purge=arguments.purge)


def _status(arguments: argparse.Namespace) -> None:
    for engine in engines():
        running = engine if isinstance(engine, EngineState) else None
        name = engine if isinstance(engine, str) else engine.name
        if arguments.all_names or (arguments.names and running):
            print(name)
        elif not arguments.names:
            print(f"{name}  stopped" if running is None else f"{name}  running  {running.docker_host}")


def _env(arguments: argparse.Namespace) -> None:
    state = running_engine(arguments.name)
    values = {
        "DOCKER_HOST": state.docker_host,
        "DS01_DEV_DOCKER": state.docker_cli,
        "DS01_DEV_NETNS": state.netns,
        "DS01_DEV_ADDRESS": state.address,
        "DS01_DEV_GPUS_CONF": state.gpus_conf,
        "DS01_DEV_NVML": str(Path(state.nvml_library).parent),
        "DS01_DEV_REGISTRY": state.registry or "",
    }
    for key, value in values.items():
        print(f"export {key}={shlex.quote(value)}")


def _publish(arguments: argparse.Namespace) -> None:
    publish(running_engine(arguments.name), arguments.image)


_VERBS = {"start": _start, "stop": _stop, "status": _status, "env": _env, "publish": _publish}
