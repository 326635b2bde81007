"""`ds01 image create --info` and `--concepts`: every option with what the site offers, and what the words mean."""

from collections.abc import Sequence

from ds01.cli.architecture import wanted_architecture
from ds01.cli.call import Call
from ds01.cli.commands.image.basis import offered_tiers
from ds01.cli.commands.topic import read_topic
from ds01.cli.option_list import print_options
from ds01.cli.spec import Option

INFO = Option("--info", "Show every option with what is offered here, and write nothing.")
CONCEPTS = Option("--concepts", "Explain what images are, and write nothing.")


def explain_creation(call: Call, options: Sequence[Option]) -> bool:
    """Print what --info or --concepts asks for; False if neither was typed."""
    if call.flag("concepts"):
        call.screen.data(read_topic("images").strip())
    elif call.flag("info"):
        offered = _offered(call)
        print_options(call, options, lambda option: offered.get(option.key, ""))
        call.screen.suggest("ds01 image catalogue")
    return call.flag("concepts") or call.flag("info")


def _offered(call: Call) -> dict[str, str]:
    """Return what is offered for options that take one of a list, or a list."""
    tiers = offered_tiers(call)
    choices = call.client.get_catalogue(architecture=wanted_architecture(call))["choices"]
    return {
        "framework": ", ".join(choice["framework"].lower() for choice in choices if choice["image"]),
        "type": ", ".join([*tiers.use_cases, "none"]),
        "system": f"always: {' '.join(tiers.system.apt)}" if tiers.system.apt else "",
        "jupyter": f"default: {' '.join(tiers.jupyter.pip)}",
        "data_science": f"default: {' '.join(tiers.data_science.pip)}",
        "arch": wanted_architecture(call) or "as the machine needs",
    }
