"""What a person has set once for new containers: variables of the environment, then a file of their own.

A typed option comes before the variable, that before the file, and that before what the site sets.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence

from ds01.cli.call import Call
from ds01.cli.spec import Option
from ds01.cli.tree import nearest
from ds01.errors import InvalidRequestError

VARIABLES: Mapping[str, str] = {
    "data": "DS01_DATA",
    "models": "DS01_MODELS",
    "gpus": "DS01_GPUS",
    "gpu_kind": "DS01_GPU_KIND",
    "gpu_memory": "DS01_GPU_MEMORY",
    "cpus": "DS01_CPUS",
    "memory": "DS01_MEMORY",
    "shm_size": "DS01_SHM_SIZE",
    "pids_limit": "DS01_PIDS_LIMIT",
    "time": "DS01_TIME",
}
"""Options of create that can be set once, with their variables. An empty variable counts as not set."""
SECTION = "create"
_GPU_KEYS = frozenset({"gpus", "gpu_kind", "gpu_memory"})
_FILE = "ds01/config.yaml"


def with_preferences(call: Call, options: Sequence[Option]) -> Call:
    """Return the call with what was not typed filled in.

    Raises:
        InvalidRequestError: The file or a variable says what cannot be; the message names the place.
    """
    numbers = {option.key for option in options if option.kind == "number"}
    found: dict[str, object] = {}
    for key, value, place in (*_from_environment(call), *_from_file(call)):
        is_typed = call.values.get(key) is not None or (key in _GPU_KEYS and _says_gpus(call))
        if not is_typed and key not in found:
            found[key] = _number(value, place) if key in numbers else value
    return call.with_values({**call.values, **found}) if found else call


def _says_gpus(call: Call) -> bool:
    """Typed words about GPUs are not mixed with what was set once: together they could contradict each other."""
    return call.flag("cpu_only") or any(call.values.get(key) is not None for key in _GPU_KEYS)


def _from_environment(call: Call) -> Iterator[tuple[str, str, str]]:
    for key, variable in VARIABLES.items():
        if value := call.environment.get(variable):
            yield key, value, f"{variable}={value}"


def _from_file(call: Call) -> list[tuple[str, str, str]]:
    path = config_path(call.environment)
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as failure:
        raise InvalidRequestError(f"{path} cannot be read: {failure}.", hint="Mend it, or move it away.") from failure
    from ds01.cli.yaml_file import parse_yaml

    document, line_of = parse_yaml(text, path)
    _require_known(document, (SECTION,), lambda key: f"{path}:{line_of((key,)) or 1}")
    section = document.get(SECTION) or {}
    if not isinstance(section, Mapping):
        raise InvalidRequestError(f"{path}: {SECTION} is not a set of keys.", hint=f"Write {SECTION}:, then gpus: 1.")
    named = {str(key).replace("-", "_"): value for key, value in section.items()}
    _require_known(named, tuple(VARIABLES), lambda key: f"{path}:{line_of((SECTION, key)) or 1}")
    return [
        (key, _text(value, f"{path}: {key}"), f"{path}: {key}: {value}")
        for key, value in named.items()
        if value is not None
    ]


def config_path(environment: Mapping[str, str]) -> str:
    """Return where a person's own file is. Source: XDG Base Directory Specification; a relative folder is ignored."""
    folder = environment.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(folder):
        folder = os.path.join(environment.get("HOME") or os.path.expanduser("~"), ".config")
    return os.path.join(folder, _FILE)


def _require_known(found: Mapping[str, object], known: Sequence[str], place: Callable[[str], str]) -> None:
    for key in found:
        if key not in known:
            near = nearest(key, known)
            hint = f"Did you mean {near}?" if near else f"Known: {', '.join(known)}."
            raise InvalidRequestError(f"{place(key)}: {key} is not known.", hint=hint)


def _text(value: object, place: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidRequestError(f"{place} is not a word or a number.", hint="Write sizes with a unit, such as 16G.")
    return str(value)


def _number(value: str, place: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 6):
        raise InvalidRequestError(f"{place} is not a whole number.", hint="Write one such as 1.")
    return int(value)
