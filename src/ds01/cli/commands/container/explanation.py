"""`ds01 create --info` and `--concepts`: every option with what the site has set, and what the words mean."""

from ds01.api.schema import LimitsDocument
from ds01.cli.architecture import wanted_architecture
from ds01.cli.call import Call
from ds01.cli.commands.container.request import OPTIONS
from ds01.cli.commands.limits import limit_text
from ds01.cli.commands.topic import read_topic
from ds01.cli.option_list import print_options
from ds01.cli.spec import Option

INFO = Option("--info", "Show every option with what applies to you here, and create nothing.")
CONCEPTS = Option("--concepts", "Explain images, folders and GPUs, and create nothing.")
_TOPICS = ("images", "workspace", "gpu")
_LIMITS = {
    "gpus": "max_gpus",
    "cpus": "cpus",
    "memory": "memory",
    "memory_swap": "memory_swap",
    "shm_size": "shm_size",
    "pids_limit": "pids_limit",
    "time": "time_limit",
}
"""Options whose value cannot be above a limit."""


def explain(call: Call) -> bool:
    """Print what --info or --concepts asks for; False if neither was typed."""
    if call.flag("concepts"):
        call.screen.data("\n\n".join(read_topic(topic).strip() for topic in _TOPICS))
        return True
    if not call.flag("info"):
        return False
    limits = call.client.get_limits()
    print_options(call, OPTIONS, lambda option: _here(call, option, limits))
    call.screen.suggest("ds01 limits")
    return True


def _here(call: Call, option: Option, limits: LimitsDocument) -> str:
    if option.key == "arch":
        return wanted_architecture(call) or "as the machine needs"
    if option.key == "cgroup_parent":
        return limits["cgroup_parent"]
    name = _LIMITS.get(option.key)
    limit = limits["limits"].get(name) if name is not None else None
    return "" if name is None or limit is None else f"at most {limit_text(name, limit)}" if limit["value"] else "any"
