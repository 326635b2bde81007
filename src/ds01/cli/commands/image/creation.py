"""`ds01 image create`: the Dockerfile of an image, by flags or by questions. It never makes a container."""

from ds01.cli.architecture import ARCH
from ds01.cli.call import Call
from ds01.cli.commands.image.basis import basis_of, basis_of_image, offered_tiers, warn_without_pip
from ds01.cli.commands.image.building import BUILD_OPTIONS, build_file
from ds01.cli.commands.image.draft import Draft, path_of, require_free, require_legal_name, write_draft
from ds01.cli.commands.image.explanation import CONCEPTS, INFO, explain_creation
from ds01.cli.image_import import import_file
from ds01.cli.moment import day_of_making
from ds01.cli.prompts import confirm
from ds01.cli.spec import JSON, NO_INPUT, YES, Argument, Option, Spec
from ds01.domain.images.package_tier import PackageTiers
from ds01.domain.images.recipe_choice import NO_USE_CASE, ImageChoices, TierChoice
from ds01.domain.images.system_package import parse_system_list
from ds01.errors import InvalidRequestError

_CHOSEN = ("framework", "base", "type", "packages", "system", "requirements", "jupyter", "data_science")


def create(call: Call) -> int:
    """Write the Dockerfile of an image, and build it where that was asked for."""
    if explain_creation(call, _OPTIONS):
        return 0
    if call.flag("build") and (call.flag("no_build") or call.flag("dry_run")):
        raise InvalidRequestError("--build excludes --no-build and --dry-run.", hint="Leave one of them out.")
    asks = call.can_ask and not call.flag("yes") and not any(call.values.get(key) for key in _CHOSEN)
    if call.flag("guided") and not asks:
        raise InvalidRequestError(
            "--guided explains questions, and none is asked here.", hint="Use it on a terminal, without other choices."
        )
    if asks:
        from ds01.cli.commands.image.wizard import ask_draft

        draft = ask_draft(call)
    else:
        draft = _draft_of_flags(call)
    if call.flag("dry_run"):
        return _preview(call, draft)
    path = write_draft(call, draft)
    document: dict[str, object] = {"schema_version": 1, "name": draft.name, "dockerfile": str(path)}
    builds = call.flag("build") or (asks and not call.flag("no_build") and confirm("Build the image now (phase 2/2)?"))
    if builds:
        document["built"] = build_file(call, path, draft.name)
    else:
        call.screen.suggest(f"ds01 image build {draft.name if path == path_of_name(call, draft.name) else path}")
    if call.flag("json"):
        call.screen.document(document)
    return 0


def _preview(call: Call, draft: Draft) -> int:
    if call.flag("json"):
        place = {"name": draft.name, "dockerfile": str(path_of(call, draft.name))}
        call.screen.document({"schema_version": 1, **place, "text": draft.text(), "dry_run": True})
        return 0
    call.screen.data(draft.text().rstrip("\n"))
    call.screen.note("Nothing was written.")
    return 0


def path_of_name(call: Call, name: str) -> object:
    """Return where `ds01 image build NAME` looks; None where that is not where it was written."""
    return path_of(call, name) if not (call.text("dockerfile") or call.text("project_dockerfile")) else None


def _draft_of_flags(call: Call) -> Draft:
    name, framework, base = call.text("name"), call.text("framework"), call.text("base")
    if name is None or (framework is None) is (base is None):
        raise InvalidRequestError(
            "NAME and one of --framework and --base are needed.",
            hint="Write, for example: ds01 image create my-image --framework pytorch --type cv",
        )
    require_legal_name(call, name)
    require_free(call, name)
    tiers = offered_tiers(call)
    choices = _choices(call, tiers)
    found = basis_of_image(call, base) if base is not None else basis_of(call, framework or "")
    say = call.screen.tell if call.flag("dry_run") else call.screen.note
    say(found.reason)
    created = day_of_making(call.environment)
    draft = Draft(name, found, tiers, choices, has_cache=call.flag("pip_cache"), created=created)
    warn_without_pip(call, found, draft.recipe())
    return draft


def _choices(call: Call, tiers: PackageTiers) -> ImageChoices:
    case = (call.text("type") or NO_USE_CASE).lower()
    if case != NO_USE_CASE:
        tiers.require_use_case(case)
    source = call.text("requirements")
    return ImageChoices(
        jupyter=call.text("jupyter") or TierChoice.DEFAULT,
        data_science=call.text("data_science") or TierChoice.DEFAULT,
        use_case=case,
        packages=" ".join(call.texts("packages")),
        system=parse_system_list(" ".join(call.texts("system"))) if call.texts("system") else (),
        imported=import_file(source, call.screen.warn) if source else None,
        source=source.rpartition("/")[2] if source else "",
        allows_duplicates=call.flag("allow_duplicates"),
    )


SCRIPT = Option("--script", "For scripts: never ask, answer with yes. Without a short form: -s is --system here.")
_OPTIONS = (
    Option(
        "-f --framework",
        "Framework of the catalogue, with a version if you like.",
        kind="text",
        metavar="NAME",
        completes="framework",
    ),
    Option("--base", "Any image instead of a framework.", kind="text", metavar="REF", completes="image"),
    Option(
        "-t --type",
        "Use case: ml, cv, nlp, rl, audio, ts, llm, none.",
        kind="text",
        metavar="NAME",
        completes="use_case",
    ),
    Option("-p --packages", "Packages of Python.", kind="text", metavar="LIST", many=True),
    Option("-s --system", "Packages of the system (apt).", kind="text", metavar="LIST", many=True),
    Option("-r --requirements", "requirements.txt, environment.yml or pyproject.toml.", kind="text", metavar="FILE"),
    Option("--jupyter", "default, skip, or a list of packages.", kind="text", metavar="LIST"),
    Option("--data-science", "default, skip, or a list of packages.", kind="text", metavar="LIST"),
    ARCH,
    Option("--allow-duplicates", "Install again what is there already."),
    Option("--pip-cache", "Keep what pip fetches in a cache of BuildKit."),
    Option("--dockerfile", "Where to write it.", kind="text", metavar="FILE"),
    Option("--project-dockerfile", "Write it into a project's folder.", kind="text", metavar="PROJECT"),
    Option("--force", "Replace a Dockerfile that is there; it is kept as a backup."),
    Option("--build", "Build it afterwards."),
    Option("--no-build", "Do not ask whether to build it."),
)
CREATE = Spec(
    create,
    examples=(
        "ds01 image create  seven questions on a terminal; each has a default",
        "ds01 image create thesis --framework pytorch --type cv  by flags, with the same defaults",
        "ds01 image create thesis -f 'pytorch 2.8.0' -p 'polars>=1 rich' -s ffmpeg --build  more, and build it",
        "ds01 image create thesis -f pytorch -r requirements.txt --jupyter skip  what a file asks for, no Jupyter",
        "ds01 image create thesis --base ubuntu:24.04 --dry-run  any base; only print the Dockerfile",
    ),
    details=(
        "Writes ~/dockerfiles/NAME-YOU.Dockerfile, or where --dockerfile or --project-dockerfile says; a file that is "
        "there stays unless --force is given, and then it is kept beside it. It never makes a container. A package "
        "that the base or an earlier tier has already is refused."
    ),
    arguments=(Argument("name", completes="dockerfile"),),
    options=(
        *_OPTIONS,
        Option("--guided", "Explain each question."),
        INFO,
        CONCEPTS,
        Option("--dry-run", "Only print the Dockerfile."),
        *BUILD_OPTIONS,
        JSON,
        YES,
        SCRIPT,
        NO_INPUT,
    ),
)
