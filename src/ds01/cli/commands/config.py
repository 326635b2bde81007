"""`ds01 admin config`: the site's policy."""

from collections.abc import Iterable
from pathlib import Path

from ds01.api.schema import ConfigCheckBody, ConfigRemark
from ds01.cli.call import Call
from ds01.cli.spec import JSON, Argument, Option, Spec
from ds01.cli.table import Cell, render
from ds01.errors import EXIT_OK, InvalidRequestError, NotFoundError

POLICY_NAME = "resource-limits.yaml"
TIERS_NAME = "package_tiers.toml"
MEMBERS_GLOB = "groups/*.members"
READ_BYTES = 256 * 1024 + 1
"""One byte more than a policy may have: the daemon refuses it with the right words."""


def check(call: Call) -> int:
    """Say what is wrong with a policy file; 2 when it cannot be used."""
    path = call.text("path")
    answer = call.client.check_config(_body(Path(path)) if path is not None else None)
    if call.flag("json"):
        call.screen.document(answer)
    else:
        for error in answer["errors"]:
            call.screen.failure(_place(error), error["hint"] or None)
        _warn(call, answer["warnings"])
        if answer["ok"]:
            call.screen.success(f"{answer['source']} can be used.")
    return EXIT_OK if answer["ok"] else InvalidRequestError.exit_status


def show(call: Call) -> int:
    """Print the policy in force."""
    document = call.client.get_config()
    if call.flag("json"):
        call.screen.document(document)
        return EXIT_OK
    call.screen.tell(f"Policy in force: {document['source']} (version {document['version']})")
    if not document["ok"]:
        call.screen.warn(f"A newer file is not in force: {document['message']}")
    with_origin = call.flag("origin")
    headings = ["KEY", "VALUE", "SET BY"] if with_origin else ["KEY", "VALUE"]
    rows: list[list[Cell | str]] = []
    for value in document["values"]:
        row: list[Cell | str] = [value["key"], value["value"]]
        rows.append([*row, Cell(value["origin"], "dim")] if with_origin else row)
    call.screen.data(render(call.screen, headings, rows))
    _warn(call, document["warnings"])
    call.screen.tell(f"Kept, and not enforced by this version: {', '.join(document['not_enforced'])}.")
    return EXIT_OK


def _warn(call: Call, remarks: Iterable[ConfigRemark]) -> None:
    for remark in remarks:
        call.screen.warn(f"{_place(remark)} {remark['hint']}".strip())


def _place(remark: ConfigRemark) -> str:
    return f"{remark['where']}: {remark['message']}" if remark["where"] else remark["message"]


def _body(path: Path) -> ConfigCheckBody:
    if path.name == TIERS_NAME:
        return ConfigCheckBody(package_tiers=_text(path))
    main = path / POLICY_NAME if path.is_dir() else path
    members = {found.stem: _text(found) for found in sorted(main.parent.glob(MEMBERS_GLOB))}
    body = ConfigCheckBody(text=_text(main), name=main.name, members=members)
    tiers = main.parent / TIERS_NAME
    if tiers.is_file():
        body["package_tiers"] = _text(tiers)
    return body


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(READ_BYTES)
    except FileNotFoundError as failure:
        raise NotFoundError(f"There is no file {path}.", hint="Name a policy file or the folder it is in.") from failure
    except OSError as failure:
        raise InvalidRequestError(
            f"{path} cannot be read: {failure.strerror}.", hint=f"Look at it: ls -l {path}"
        ) from failure
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as failure:
        line = raw[: failure.start].count(b"\n") + 1
        raise InvalidRequestError(f"{path.name}:{line}: the file is not UTF-8.", hint="Save it as UTF-8.") from failure


CHECK = Spec(
    check,
    examples=(
        "ds01 admin config check  the files of the daemon as they are now",
        "ds01 admin config check new/resource-limits.yaml  another file, before it is put in place",
        "ds01 admin config check new/package_tiers.toml  another table of packages",
    ),
    details=(
        "Members files in the folder `groups` and package_tiers.toml beside the file count too; without a file also "
        "the lists of images and what builds are given. The exit status is 2 when something is broken."
    ),
    arguments=(Argument("path", shown="[FILE|FOLDER]"),),
    options=(JSON,),
)
SHOW = Spec(
    show,
    examples=(
        "ds01 admin config show --origin  every value with its file and line",
        "ds01 admin config show --json  for programs",
    ),
    options=(Option("--origin", "Show where each value was set."), JSON),
)
