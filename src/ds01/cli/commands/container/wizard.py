"""`ds01 create` without arguments: the questions, as if their answers had been typed. It never builds an image."""

import os
import shlex
from collections.abc import Iterator

from ds01.api.schema import CatalogueDocument, CatalogueRowDocument, CreatedContainer, ImageDocument, LimitsDocument
from ds01.cli.architecture import wanted_architecture
from ds01.cli.call import Call
from ds01.cli.commands.container.architecture_question import ask_architecture, offered_architectures, rows_for
from ds01.cli.commands.container.gpu_question import ask_gpus
from ds01.cli.commands.container.request import OPTIONS, absolute_path, creation_body, wants_new
from ds01.cli.commands.limits import limit_text
from ds01.cli.prompts import Choice, ask_or_back, pick_or_back
from ds01.cli.table import relative_time
from ds01.cli.wizard import OPENING, Step, Values, is_first, read_guide, require_person, walk
from ds01.domain.name import parse_container_name, suggest_container_name
from ds01.errors import Ds01Error, InvalidRequestError
from ds01.units import format_size

_GUIDE = "ds01.cli.commands.container"
_FRAMEWORK, _IMAGE, _CREATE = "framework", "image", "create"
_FOLDERS = (
    ("workspace", "Your folder, /workspace inside?"),
    ("data", "A folder with data, /data inside?"),
    ("models", "A folder with models, /models inside?"),
)
_LIMITS = (
    ("cpus", "CPUs"),
    ("memory", "memory"),
    ("shm_size", "shared memory"),
    ("pids_limit", "processes"),
    ("time_limit", "time limit"),
)
_TYPED_LIMITS = {"time_limit": "time"}


def completed(call: Call) -> Call:
    """Return the call with everything it needs: a person who typed nothing is asked step by step.

    Raises:
        InvalidRequestError: --guided without a terminal.
        Ds01Error: The input ended.
    """
    require_person(call)
    is_bare = call.text("name") is None and not wants_new(call)
    if not call.can_ask or not (is_bare or call.flag("guided")):
        return call
    values = CreationQuestions(call).ask_all()
    return call.with_values(values)


class CreationQuestions:
    """Asks what is missing for a new container."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._images = call.client.list_images()["images"] if not wants_new(call) else []
        self._has_gpus = _says_gpus(call) or bool(call.client.list_gpus()["gpus"])
        self._catalogues: dict[tuple[str, str | None], CatalogueDocument] = {}
        self._steps = (
            Step("source", "Image", self._ask_source, lambda values: not _has_image(values) and bool(self._images)),
            Step("image", "Which image", self._ask_image, lambda values: values.get("source") == _IMAGE),
            Step("framework", "Framework", self._ask_framework, _needs_framework),
            Step("architecture", "CUDA generation", self._ask_architecture, self._needs_architecture),
            Step("version", "Version", self._ask_version, self._needs_version),
            Step("name", "Name", self._ask_name, lambda _: call.text("name") is None, is_typed=True),
            Step("folders", "Folders", self._ask_folders, lambda _: not _says_folders(call), is_typed=True),
            Step("gpus", "GPUs", self._ask_gpus, lambda _: self._has_gpus and not _says_gpus(call)),
            Step("summary", "Summary", self._confirm, lambda _: True),
        )

    def ask_all(self) -> Values:
        """Return the values of the command with every answer.

        Raises:
            Ds01Error: The input ended.
        """
        texts = read_guide(_GUIDE, "create") if self._call.flag("guided") else {}
        self._call.screen.heading("A new container", "" if texts else "with explanations: --guided")
        if texts:
            self._call.screen.tell(texts[OPENING])
        if not self._has_gpus:
            self._call.screen.note("This machine has no GPU: the container gets none.")
        typed: Values = self._call.values
        if not self._has_gpus and not _says_gpus(self._call):
            typed = {**typed, "cpu_only": True}
        return walk(self._call, self._steps, typed, texts)

    def _is_first(self, key: str) -> bool:
        return is_first(self._call.values, self._steps, key)

    def _ask_source(self, _values: Values) -> Values | None:
        own = sum(1 for image in self._images if image["own"])
        counted = f"{own} of your own" if own else f"{len(self._images)} here"
        choices = [
            Choice(_FRAMEWORK, "a framework, ready for this machine"),
            Choice(_IMAGE, f"an image that is here ({counted})"),
        ]
        chosen = pick_or_back(self._call, "Made from what?", choices, is_first=True)
        return None if chosen is None else {"source": chosen}

    def _ask_image(self, _values: Values) -> Values | None:
        choices = [Choice(image["reference"], _image_line(image)) for image in self._images]
        chosen = pick_or_back(self._call, "Which image?", choices)
        return None if chosen is None else {"image": chosen}

    def _ask_framework(self, _values: Values) -> Values | None:
        offered = self._call.client.get_catalogue(architecture=wanted_architecture(self._call))["choices"]
        known = [choice for choice in offered if choice["image"]]
        if not known:
            raise InvalidRequestError(
                "The catalogue has no framework for this machine.",
                hint=f"Name an image: {self._call.command('create', 'NAME', '--image', 'REF')}",
            )
        choices = [Choice(item["framework"], f"{item['framework']} {item['version']}") for item in known]
        chosen = pick_or_back(self._call, "Which framework?", choices, is_first=self._is_first("framework"))
        return None if chosen is None else {"framework": chosen}

    def _needs_version(self, values: Values) -> bool:
        return _needs_framework(values) or (bool(values.get("framework")) and not self._call.text("framework"))

    def _needs_architecture(self, values: Values) -> bool:
        """Who takes no GPU, or has said which generation, is not asked."""
        if not self._has_gpus or values.get("cpu_only") or wanted_architecture(self._call) is not None:
            return False
        is_picked = bool(values.get("framework")) and self._needs_version(values)
        return is_picked and len(offered_architectures(self._catalogue_of(values, None))) > 1

    def _ask_architecture(self, values: Values) -> Values | None:
        return ask_architecture(self._call, offered_architectures(self._catalogue_of(values, None)))

    def _catalogue_of(self, values: Values, architecture: str | None) -> CatalogueDocument:
        key = str(values["framework"]), architecture
        if key not in self._catalogues:
            self._catalogues[key] = self._call.client.get_catalogue(framework=key[0], architecture=architecture)
        return self._catalogues[key]

    def _ask_version(self, values: Values) -> Values | None:
        wanted = wanted_architecture(self._call)
        document = self._catalogue_of(values, wanted)
        rows = _one_of_each_version(document)
        newest = next((row["version"] for row in rows if row["chosen"]), None)
        picked = None if wanted is not None else values.get("arch")
        if isinstance(picked, str):
            document, here = self._catalogue_of(values, picked), document
            rows, newest = rows_for(here, document, picked)
        reason = next((choice["reason"] for choice in document["choices"]), "")
        if reason and newest is not None:
            self._call.screen.note(reason)
        choices = [Choice(row["version"], _version_line(row, newest, picked or "this machine")) for row in rows]
        chosen = pick_or_back(self._call, "Which version?", choices, default=newest)
        if chosen is None:
            return None
        return {} if chosen == newest else {"version": chosen}

    def _ask_name(self, _values: Values) -> Values | None:
        taken = {container["name"] for container in self._call.client.list_containers()["containers"]}
        here = suggest_container_name(os.path.basename(os.getcwd())) or "my-project"
        proposal = next(name for name in _numbered(here) if name not in taken)
        while True:
            text = ask_or_back("Name of the container?", proposal)
            if text is None:
                return None
            name = self._legal(text)
            if name is not None and name not in taken:
                return {"name": name}
            if name is not None:
                self._call.screen.tell(f"You have a container {name} already: {self._call.command('open', name)}")

    def _legal(self, text: str) -> str | None:
        try:
            return parse_container_name(text)
        except InvalidRequestError as error:
            proposal = error.details.get("proposal")
            if not isinstance(proposal, str):
                self._call.process.report(error)
                return None
            self._call.screen.tell(f"The name becomes {proposal}: letters, digits, - and _ are allowed.")
            return proposal

    def _ask_folders(self, values: Values) -> Values | None:
        answers: dict[str, object] = {}
        position = 0
        while position < len(_FOLDERS):
            key, question = _FOLDERS[position]
            usual = f"~/workspace/{values['name']}" if key == "workspace" else "none of yours"
            text = ask_or_back(question, shown=usual)
            if text is None and position == 0:
                return None
            if text is None:
                position -= 1
            elif self._is_folder(text, is_made=key == "workspace"):
                answers[key] = text or None
                position += 1
        return answers

    def _is_folder(self, text: str, *, is_made: bool) -> bool:
        if not text or os.path.isdir(absolute_path(text)) or (is_made and not os.path.exists(absolute_path(text))):
            return True
        self._call.screen.tell(f"{text} is not a folder that you can see.")
        return False

    def _ask_gpus(self, _values: Values) -> Values | None:
        return ask_gpus(self._call, is_first=self._is_first("gpus"))

    def _confirm(self, values: Values) -> Values | None:
        filled = self._call.with_values(values)
        try:
            plan = filled.client.create_container({**creation_body(filled), "dry_run": True})
            limits = filled.client.get_limits()
        except Ds01Error as error:
            self._call.process.report(error)
            choices = [Choice("", "try again")]
            again = pick_or_back(self._call, "It cannot be created so.", choices, is_first=self._is_first("summary"))
            return None if again is None else self._confirm(values)
        _tell_summary(filled, plan, limits)
        text = "say what would be done" if filled.flag("dry_run") else "create it"
        choices = [Choice(_CREATE, text)]
        chosen = pick_or_back(self._call, "All right?", choices, is_first=self._is_first("summary"))
        return None if chosen is None else {}


def command_text(call: Call) -> str:
    """Return the command that asks nothing and does the same."""
    words = [word for key in ("name", "framework", "version") if (word := call.text(key)) is not None]
    for option in OPTIONS:
        name = option.names[-1]
        if option.many:
            words += [word for value in call.texts(option.key) for word in (name, value)]
        elif option.kind == "flag":
            words += [name] if call.flag(option.key) else []
        elif (value := call.text(option.key)) is not None:
            words += [f"{name}={value}" if value else name] if option.kind == "optional" else [name, value]
    return call.command("create", shlex.join(words))


def _tell_summary(call: Call, plan: CreatedContainer, limits: LimitsDocument) -> None:
    rows = list(_summary_rows(call, limits))
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        call.screen.tell(f"  {name.ljust(width)}  {text}")
    for reason in plan["reasons"]:
        call.screen.note(f"  {reason}")
    for warning in plan["warnings"]:
        call.screen.warn(warning)
    call.screen.tell("Without questions:")
    call.screen.suggest(command_text(call))


def _summary_rows(call: Call, limits: LimitsDocument) -> Iterator[tuple[str, str]]:
    name = call.text("name") or ""
    framework, version = call.text("framework"), call.text("version")
    place = wanted_architecture(call) or "this machine"
    newest = f", the newest for {place}" if framework and not version else ""
    made_from = f"{framework}{newest}{f' {version}' if version else ''}" if framework else call.text("image") or ""
    yield "name", name
    yield "made from", made_from
    yield "/workspace", call.text("workspace") or f"~/workspace/{name}"
    for key in ("data", "models"):
        if path := call.text(key):
            yield f"/{key}", path
    yield "GPUs", _gpu_words(call)
    for key, title in _LIMITS:
        typed = call.text(_TYPED_LIMITS.get(key, key))
        limit = limits["limits"].get(key)
        if typed is not None or limit is not None:
            yield title, typed if typed is not None else limit_text(key, limits["limits"][key])


def _gpu_words(call: Call) -> str:
    if call.flag("cpu_only"):
        return "none"
    text = call.text("gpus") or "1"
    if (kind := call.text("gpu_kind")) is not None:
        text += f" x {kind}"
    if (memory := call.text("gpu_memory")) is not None:
        text += f", at least {memory}"
    return text + (", waits in the queue until free" if call.text("wait") is not None else "")


def _has_image(values: Values) -> bool:
    return bool(values.get("framework") or values.get("image"))


def _needs_framework(values: Values) -> bool:
    return not _has_image(values) and values.get("source") != _IMAGE


def _says_folders(call: Call) -> bool:
    return any(call.text(key) is not None for key, _ in _FOLDERS)


def _says_gpus(call: Call) -> bool:
    return call.flag("cpu_only") or any(call.text(key) is not None for key in ("gpus", "gpu_kind", "gpu_memory"))


def _image_line(image: ImageDocument) -> str:
    facts = [image["framework"], format_size(image["size_bytes"]), f"built {relative_time(image['created_at'])}"]
    return f"{image['name']}  ({', '.join(fact for fact in ['yours' if image['own'] else '', *facts] if fact)})"


def _one_of_each_version(document: CatalogueDocument) -> list[CatalogueRowDocument]:
    """Return the row that a version means here, for every version: there may be images for several generations."""
    found: dict[str, CatalogueRowDocument] = {}
    usable = [row for row in document["rows"] if row["usable"]]
    for row in usable:
        same = [other for other in usable if other["version"] == row["version"]]
        preferred = (other for name in document["architectures"] for other in same if name in other["architectures"])
        found.setdefault(row["version"], next(preferred, row))
    return list(found.values())


def _version_line(row: CatalogueRowDocument, newest: str | None, place: object) -> str:
    facts = [f"newest for {place}"] if row["version"] == newest else []
    facts += ["is here"] if row["local"] else ["is pulled first"] if row["local"] is False else []
    return row["version"] + (f"  ({', '.join(facts)})" if facts else "")


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name[:44]}-{number}" for number in range(2, 1000))
