"""`ds01 status` and `ds01 version`."""

from ds01 import VERSION
from ds01.api.schema import StatusDocument
from ds01.cli.call import Call
from ds01.cli.screen import clean
from ds01.cli.spec import JSON, Spec
from ds01.cli.table import relative_time
from ds01.errors import Ds01Error
from ds01.units import format_number

EXIT_DEGRADED = 7


def status(call: Call) -> int:
    """Print the machine at a glance; 7 if a part of it does not work."""
    document = call.client.get_status()
    is_well = all(is_ok for is_ok, _, _ in _lines(document))
    if call.flag("json"):
        call.screen.document(document)
    else:
        for is_ok, label, text in _lines(document):
            symbol, style = ("ok", "green") if is_ok else ("failed", "red")
            sign = call.screen.styled(call.screen.symbol(symbol, on_out=True), style, on_out=True)
            call.screen.data(f"{sign} {label:<10}  {clean(text)}")
    return 0 if is_well else EXIT_DEGRADED


def _lines(document: StatusDocument) -> list[tuple[bool, str, str]]:
    engine, devices, policy, usage = document["engine"], document["devices"], document["policy"], document["usage"]
    catalogue = document["catalogue"]
    daemon = f"{document['version']}, {document['mode']} mode, started {relative_time(document['started_at'])}"
    drivers = f"{engine['storage_driver']}, cgroups by {engine['cgroup_driver']}"
    docker = f"{engine['version']}, API {engine['api_version']}, {drivers}"
    gpus = f"{devices['gpus']} to grant, {devices['free']} free"
    compute = format_number(usage["gpu_equivalents"])
    yours = f"{usage['containers']} containers, {usage['gpus']} GPUs ({compute} gpu-equivalents)"
    yours += "" if engine["ok"] else ", by the grants alone"
    found = [
        (True, "ds01d", daemon),
        (engine["ok"], "Docker", docker if engine["ok"] else engine["message"]),
        (devices["ok"], "GPUs", gpus if devices["ok"] else devices["message"]),
        *((False, "", said) for said in devices.get("out", [])),
        (policy["ok"], "policy", policy["source"] if policy["ok"] else f"{policy['source']}: {policy['message']}"),
        (
            catalogue["ok"],
            "catalogue",
            f"{catalogue['rows']} images" + ("" if catalogue["ok"] else f": {catalogue['message']}"),
        ),
    ]
    events = document.get("events")
    if events is not None and not events["ok"]:
        found.append((False, "events", events["message"]))
    queue = document.get("queue")
    if queue is not None:
        reserved = f", {queue['reservations']} reservations" if queue["reservations"] else ""
        found.append((True, "queue", f"{queue['waiting']} waiting, {queue['yours']} of yours{reserved}"))
    counted = f"{document['containers']}, {document['containers_running']} running"
    found.append((engine["ok"], "containers", counted if engine["ok"] else "unknown"))
    return [*found, (True, "yours", yours)]


def version(call: Call) -> int:
    """Print both versions; a daemon that does not answer is not started for it."""
    daemon: str | None = None
    try:
        daemon = call.process.client_of_running().get_status()["version"]
    except Ds01Error as error:
        call.screen.note(error.message)
    if call.flag("json"):
        call.screen.document({"schema_version": 1, "ds01": VERSION, "ds01d": daemon})
    else:
        call.screen.data(f"ds01   {VERSION}\nds01d  {daemon or 'does not answer'}")
    return 0


STATUS = Spec(
    status,
    examples=("ds01 status  daemon, Docker, GPUs, policy, and what you hold", "ds01 status --json  for programs"),
    details="The exit status is 7 when Docker, the GPUs, the policy, the catalogue or the events' file do not work.",
    options=(JSON,),
)
VERSION_SPEC = Spec(version, examples=("ds01 version  of ds01 and of the daemon",), options=(JSON,))
