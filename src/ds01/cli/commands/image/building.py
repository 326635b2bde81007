"""`ds01 image build`: a Dockerfile of this user's becomes an image."""

import os
import shlex
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import cast

from ds01.api.schema import BuiltImage, ProgressMessage
from ds01.cli.build_context import context_of, needs_buildkit, needs_folder
from ds01.cli.build_log import BuildLog, new_log
from ds01.cli.call import Call
from ds01.cli.commands.image.choosing import DOCKERFILE, one_dockerfile
from ds01.cli.dockerfiles import image_name_of, read_text
from ds01.cli.spec import ASKING, DRY_RUN, JSON, Option, Spec
from ds01.domain.images.build_failure import plain_lines, step_of
from ds01.domain.images.dockerfile import Dockerfile, parse_dockerfile
from ds01.domain.images.image_name import OwnImage, parse_image_name
from ds01.domain.images.recipe_edit import recipe_digest
from ds01.errors import DaemonUnreachableError, Ds01Error, InvalidRequestError
from ds01.units import format_size


def build(call: Call) -> int:
    """Build an image."""
    path = one_dockerfile(call, "build")
    if call.flag("dry_run"):
        return _preview(call, path)
    outcome = build_file(call, path, call.text("tag"))
    if call.flag("json"):
        call.screen.document(outcome)
    elif not call.screen.out_is_terminal:
        call.screen.data(outcome["name"])
    return 0


def _preview(call: Call, path: Path) -> int:
    """Say what would be built, without the daemon."""
    text = read_text(path)
    dockerfile = parse_dockerfile(text)
    name = parse_image_name(call.text("tag") or dockerfile.recipe.name or image_name_of(path))
    folder, reference = _folder(call, path, dockerfile), str(OwnImage(os.getuid(), name))
    buildkit = call.flag("buildkit") or needs_buildkit(dockerfile)
    words = ["docker", "build", "--tag", reference, *(["--no-cache"] if call.flag("no_cache") else [])]
    words += ["-"] if folder is None else ["--file", str(path), str(folder)]
    command = shlex.join(words) + (f" < {shlex.quote(str(path))}" if folder is None else "")
    command = f"DOCKER_BUILDKIT={int(buildkit)} {command}"
    if call.flag("json"):
        found = {"name": name, "reference": reference, "dockerfile": str(path), "context": folder and str(folder)}
        call.screen.document({"schema_version": 1, **found, "buildkit": buildkit, "command": command, "dry_run": True})
        return 0
    call.screen.tell(f"Would build {name} from {path}, {f'with the files of {folder}' if folder else 'without files'}.")
    call.screen.data(command)
    call.screen.note("Nothing was built.")
    return 0


def build_file(call: Call, path: Path, name: str | None = None) -> BuiltImage:
    """Build the image of a Dockerfile, show what goes on, and say what comes next.

    Args:
        call: The command.
        path: The Dockerfile.
        name: Name of the image; None: what the file says, else where it is.

    Raises:
        Ds01Error: The Dockerfile cannot be used, or the build failed.
    """
    text = read_text(path)
    dockerfile = parse_dockerfile(text)
    name = parse_image_name(name or dockerfile.recipe.name or image_name_of(path))
    for note in dockerfile.notes:
        call.screen.warn(f"{path.name}:{note.line}: {note.problem}")
    inner, context = context_of(text, _folder(call, path, dockerfile), warn=call.screen.warn)
    buildkit = call.flag("buildkit") or needs_buildkit(dockerfile)
    if buildkit:
        call.screen.note("BuildKit builds: memory and CPUs of a step are bounded by your limits as a whole only.")
    messages = call.client.stream_build(
        name,
        context,
        dockerfile=inner,
        digest=recipe_digest(text),
        no_cache=call.flag("no_cache"),
        buildkit=buildkit,
    )
    outcome = _follow(call, name, cast("Generator[ProgressMessage]", messages))
    call.screen.success(f"Built {name} ({format_size(outcome['size_bytes'])}).")
    call.screen.suggest(f"ds01 create my-project --image {name}")
    return outcome


def _folder(call: Call, path: Path, dockerfile: Dockerfile) -> Path | None:
    typed = call.text("context")
    if typed is not None:
        folder = Path(os.path.expanduser(typed))
        if not folder.is_dir():
            raise InvalidRequestError(f"There is no folder {typed}.")
        return folder.absolute()
    return path.parent if needs_folder(dockerfile) else None


def _follow(call: Call, name: str, messages: Generator[ProgressMessage]) -> BuiltImage:
    outcome: BuiltImage | None = None
    with closing(messages), new_log(call.environment, name) as log:
        shown = _Output(call, log)
        try:
            for message in messages:
                if message["kind"] == "result":
                    outcome = message.get("built")
                    break
                shown.add(message.get("message", ""))
            shown.end()
        except KeyboardInterrupt:
            shown.end()
            call.screen.tell(f"Stopped: no image was made. The output so far: {log.path}")
            raise
        except Ds01Error as failure:
            shown.end()
            _explain(call, failure, log.path)
            raise
    if outcome is None:
        raise DaemonUnreachableError("ds01d did not say how the build ended.", hint="Look with `ds01 image list`.")
    return outcome


def _explain(call: Call, failure: Ds01Error, log_path: Path) -> None:
    output = failure.details.get("output")
    if isinstance(output, list) and not call.flag("json") and not call.flag("verbose"):
        for line in output:
            call.screen.dimmed(f"  {line}")
    failure.details["log"] = str(log_path)
    whole = f"Its output: {log_path}"
    failure.hint = f"{failure.hint}\n{whole}" if failure.hint else whole


class _Output:
    """Shows steps as they begin and the newest line of the log dimmed; the file gets everything."""

    def __init__(self, call: Call, log: BuildLog) -> None:
        self._call = call
        self._log = log
        self._rest = ""

    def add(self, text: str) -> None:
        """Take the next piece of the output."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._line(line)

    def end(self) -> None:
        """Show what is left."""
        if self._rest:
            self._line(self._rest)
            self._rest = ""
        self._call.screen.end_update()

    def _line(self, line: str) -> None:
        for plain in plain_lines(line):
            self._log.add(plain)
            step = step_of(plain)
            if self._call.flag("verbose"):
                self._call.screen.tell(plain)
            elif step is not None and self._call.screen.error_is_terminal:
                self._call.screen.end_update()
                self._call.screen.tell(plain[:200])
            else:
                self._call.screen.update(f"  {plain}")


BUILD_OPTIONS = (
    Option("--no-cache", "Run every step anew."),
    Option("--buildkit", "BuildKit builds; taken by itself where the Dockerfile needs it."),
    Option("--context", "Folder that COPY and ADD read from; the Dockerfile's own.", kind="text", metavar="FOLDER"),
    Option("-v --verbose", "Print the whole output."),
)
BUILD = Spec(
    build,
    examples=(
        "ds01 image build my-image  from ~/dockerfiles, as ds01 image create wrote it",
        "ds01 image build ./Dockerfile --tag my-image  from any Dockerfile",
        "ds01 image build  from the Dockerfile of this folder",
    ),
    details=(
        "The image is your own: others neither see nor replace it. Your limits for containers hold for the build too. "
        "Ctrl-C stops it. The output is kept below ~/.local/state/ds01/builds, of a very long one the beginning and "
        "the end. Nothing is sent of the folder unless the Dockerfile copies from it, and then nothing that "
        ".dockerignore names."
    ),
    arguments=(DOCKERFILE,),
    options=(
        DRY_RUN,
        Option("--dockerfile", "The Dockerfile.", kind="text", metavar="FILE"),
        Option("-t --tag", "Name of the image.", kind="text", metavar="NAME"),
        *BUILD_OPTIONS,
        JSON,
        *ASKING,
    ),
)
