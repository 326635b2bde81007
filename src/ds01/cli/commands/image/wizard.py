"""The seven questions of `ds01 image create`: arrow keys, one step back, a summary before anything is written."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import resources
from textwrap import wrap
from typing import TypeVar

from ds01.cli.architecture import wanted_architecture
from ds01.cli.call import Call
from ds01.cli.commands.image.basis import basis_of, basis_of_image, offered_tiers, warn_without_pip
from ds01.cli.commands.image.draft import TITLE_WIDTH, Draft, require_free, require_legal_name, summary_lines
from ds01.cli.commands.image.duplicates import tell_mistake
from ds01.cli.image_import import import_file
from ds01.cli.moment import day_of_making
from ds01.cli.prompts import Choice, ask_or_back, ask_text, cancelled, pick
from ds01.domain.images.package_tier import PackageTier
from ds01.domain.images.recipe_choice import NO_USE_CASE, TierChoice, base_contents
from ds01.domain.images.requirement import parse_requirement
from ds01.domain.images.system_package import parse_system_list
from ds01.errors import Ds01Error, InvalidRequestError

_BACK, _OTHER, _CUSTOM, _WRITE, _STOP = "<back>", "<other>", "<custom>", "<write>", "<stop>"
_BACK_CHOICE = Choice(_BACK, "one step back")
_SHOWN = 12
_NONE = "none"
_NARROWEST = 40
Result = TypeVar("Result")
Step = Callable[["_Wizard"], bool]
"""Asks one question; False: one step back."""


def ask_draft(call: Call) -> Draft:
    """Ask everything and return what was chosen.

    Raises:
        Ds01Error: The person left; nothing was written.
    """
    return _Wizard(call).run()


@dataclass(frozen=True, slots=True)
class _Phase:
    title: str
    topic: str
    ask: Step
    is_typed: bool = False


class _Wizard:
    def __init__(self, call: Call) -> None:
        self.call = call
        self.draft: Draft | None = None
        self._name = ""

    def run(self) -> Draft:
        """Go through the phases, forwards and backwards."""
        self._name = self._ask_name()
        at = 0
        while at < len(_PHASES):
            phase = _PHASES[at]
            self._title(at + 1, phase)
            at = at + 1 if phase.ask(self) else max(0, at - 1)
        return self.chosen

    @property
    def chosen(self) -> Draft:
        """What was chosen so far; the first phase makes it."""
        assert self.draft is not None
        return self.draft

    def _title(self, number: int, phase: _Phase) -> None:
        screen = self.call.screen
        aside = "< goes back" if phase.is_typed else "" if number > 1 else "Ctrl-C ends, nothing is written"
        screen.heading(f"Phase {number}/{len(_PHASES)}: {phase.title}", aside)
        if self.call.flag("guided"):
            screen.tell(read_guide(phase.topic))

    def _ask_name(self) -> str:
        typed = self.call.text("name")
        while True:
            text = typed if typed is not None else ask_text("Name of the image?", "my-image")
            try:
                name = require_legal_name(self.call, text)
                require_free(self.call, name)
            except Ds01Error as error:
                if typed is not None:
                    raise
                self.call.screen.failure(error.message, error.hint)
            else:
                return name

    def framework(self) -> bool:
        """Phase 1: the base."""
        offered = self.call.client.get_catalogue(architecture=wanted_architecture(self.call))["choices"]
        choices = [Choice(one["framework"], f"{one['framework']} {one['version']}") for one in offered if one["image"]]
        chosen = pick(self.call, "Which framework?", [*choices, Choice(_OTHER, "another image")])
        image = ask_text("Which image (repository:tag)?") if chosen == _OTHER else None
        found = self._tried(lambda: basis_of(self.call, chosen) if image is None else basis_of_image(self.call, image))
        if found is None:
            return self.framework()
        self.call.screen.note(found.reason)
        tiers = self.draft.tiers if self.draft else offered_tiers(self.call)
        kept = self.draft.choices if self.draft else None
        created = day_of_making(self.call.environment)
        self.draft = Draft(self._name, found, tiers, has_cache=self.call.flag("pip_cache"), created=created)
        if kept is not None:
            self.draft.choices = kept
        return True

    def base(self) -> bool:
        """Phase 2: what the base has, and what it lacks."""
        draft = self.chosen
        known = base_contents(draft.basis.image, draft.tiers)
        if draft.basis.lacks_pip:
            self.call.screen.warn(f"{draft.basis.image.reference} has no Python with pip (the package python3-pip).")
        is_read = draft.basis.image.contents is not None
        where = "read from the image" if is_read else "as such images usually have; it is not here yet"
        self.call.screen.tell(f"{draft.basis.image.reference} contains ({where}):")
        more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
        self._tell_folded(f"{', '.join(known[:_SHOWN]) or 'no packages of Python'}{more}")
        there = {parse_requirement(text).key for text in known if _is_requirement(text)}
        for tier in (draft.tiers.jupyter, draft.tiers.data_science):
            lacks = [text for text in tier.pip if parse_requirement(text).key not in there]
            self._tell_folded(f"{_title_of(tier)}: it lacks {', '.join(lacks) or 'nothing'}")
        return pick(self.call, "Go on?", [Choice("go", "go on"), _BACK_CHOICE]) != _BACK

    def jupyter(self) -> bool:
        """Phase 3."""
        return self._ask_tier("jupyter", self.chosen.tiers.jupyter)

    def data_science(self) -> bool:
        """Phase 4."""
        return self._ask_tier("data_science", self.chosen.tiers.data_science)

    def _ask_tier(self, key: str, tier: PackageTier) -> bool:
        chosen = pick(
            self.call,
            f"{_title_of(tier)}?",
            [
                Choice(TierChoice.DEFAULT, f"default: {' '.join(tier.pip)}"),
                Choice(TierChoice.SKIP, "skip"),
                Choice(_CUSTOM, "your own list"),
                _BACK_CHOICE,
            ],
        )
        if chosen == _BACK:
            return False
        if chosen == _CUSTOM:
            return self._ask_list(key, "Packages, with bounds if you like (< goes back)?") or self._ask_tier(key, tier)
        return self._take(**{key: chosen})

    def use_case(self) -> bool:
        """Phase 5."""
        cases = self.chosen.tiers.use_cases.values()
        choices = [Choice(case.name, f"{case.about}: {' '.join(case.pip)}") for case in cases]
        chosen = pick(self.call, "What is it for?", [Choice(NO_USE_CASE, "none of these"), *choices, _BACK_CHOICE])
        return chosen != _BACK and self._take(use_case=chosen)

    def more(self) -> bool:
        """Phase 6: more packages of Python, of the system, and from a file."""
        asks = (self._ask_packages, self._ask_system, self._ask_file)
        position = 0
        while 0 <= position < len(asks):
            position += 1 if asks[position]() else -1
        return position > 0

    def _ask_packages(self) -> bool:
        return self._ask_list("packages", "More packages of Python?")

    def _ask_system(self) -> bool:
        while (typed := ask_or_back("More packages of the system, by apt?", shown=_NONE)) is not None:
            system = self._tried(lambda text=typed: parse_system_list(text))  # type: ignore[misc]  # bound now
            if system is not None and self._take(system=system):
                return True
        return False

    def _ask_file(self) -> bool:
        question = "A requirements.txt, environment.yml or pyproject.toml?"
        while typed := ask_or_back(question, shown=_NONE):
            found = self._tried(lambda text=typed: import_file(text, self.call.screen.warn))  # type: ignore[misc]  # bound now
            if found is not None and self._take(imported=found, source=typed.rpartition("/")[2]):
                return True
        return typed is not None and self._take(imported=None, source="")

    def summary(self) -> bool:
        """Phase 7: what will be written."""
        for line in summary_lines(self.chosen):
            self._tell_folded(line, indent=TITLE_WIDTH)
        warn_without_pip(self.call, self.chosen.basis, self.chosen.recipe())
        chosen = pick(
            self.call,
            "Write the Dockerfile (phase 1/2)?",
            [Choice(_WRITE, "write it"), _BACK_CHOICE, Choice(_STOP, "stop; nothing is written")],
        )
        if chosen == _STOP:
            raise cancelled()
        return chosen == _WRITE

    def _ask_list(self, key: str, question: str) -> bool:
        while (typed := ask_or_back(question, shown=_NONE)) is not None:
            none = TierChoice.SKIP if key != "packages" else ""
            if self._take(**{key: typed or none}):
                return True
        return False

    def _tell_folded(self, line: str, *, indent: int = 0) -> None:
        """Write a long line in several, so that no package is broken in two by the terminal."""
        width = max(_NARROWEST, shutil.get_terminal_size().columns - 1)
        for part in wrap(
            line, width, initial_indent="  ", subsequent_indent="  " + " " * indent, break_on_hyphens=False
        ):
            self.call.screen.tell(part)

    def _take(self, **changed: object) -> bool:
        """Take a choice if the recipe can be made with it; else say why and ask again."""
        if self._tried(lambda: self.chosen.recipe(**changed)) is None:
            return False
        self.chosen.choices = replace(self.chosen.choices, **changed)  # type: ignore[arg-type]  # as above
        return True

    def _tried(self, act: Callable[[], Result]) -> Result | None:
        try:
            return act()
        except Ds01Error as mistake:
            tell_mistake(self.call, mistake)
        return None


def read_guide(topic: str) -> str:
    """Return the explanation of a phase."""
    place = resources.files("ds01.cli.commands.image") / "guides" / f"{topic}.txt"
    return place.read_text(encoding="utf-8").rstrip("\n")


def _title_of(tier: PackageTier) -> str:
    return {"jupyter": "Jupyter", "data_science": "Data science"}.get(tier.name, tier.name)


def _is_requirement(text: str) -> bool:
    try:
        parse_requirement(text)
    except InvalidRequestError:
        return False
    return True


_PHASES = (
    _Phase("Framework", "framework", _Wizard.framework),
    _Phase("What the base contains", "base", _Wizard.base),
    _Phase("Jupyter", "jupyter", _Wizard.jupyter),
    _Phase("Data science", "data_science", _Wizard.data_science),
    _Phase("Use case", "use_case", _Wizard.use_case),
    _Phase("More packages", "more", _Wizard.more, is_typed=True),
    _Phase("Summary", "summary", _Wizard.summary),
)
