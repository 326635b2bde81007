"""`ds01 container ports`: what listens in a container, and the ssh command that leads to it."""

import os

from ds01.api.schema import PortList, PortRow
from ds01.cli.call import Call
from ds01.cli.selection import is_active, naming, one_name
from ds01.cli.spec import JSON, NAME, NO_INPUT, Spec
from ds01.cli.table import Cell, render

HINT_LOCAL = "listens on 127.0.0.1 inside: let it listen on 0.0.0.0"


def ports(call: Call) -> int:
    """Print the ports of a container."""
    name = one_name(call, "see the ports of", fits=is_active, kind="running")
    with naming(call, name):
        document = call.client.list_ports(name)
    if call.flag("json"):
        call.screen.document(document)
        return 0
    if not document["ports"]:
        call.screen.tell(f"Nothing listens in {name}, and no port is published.")
        return 0
    rows: list[list[Cell | str]] = [_row(document, row) for row in document["ports"]]
    call.screen.data(render(call.screen, ["PORT", "HERE", "FROM YOUR OWN COMPUTER"], rows))
    return 0


def _row(document: PortList, row: PortRow) -> list[Cell | str]:
    here = ", ".join(f"127.0.0.1:{port}" for port in row["host_ports"]) or f"{document['ip_address']}:{row['port']}"
    if not row["listening"]:
        return [str(row["port"]), here, Cell("nothing listens on it now", "dim")]
    if row["local"]:
        return [str(row["port"]), "-", Cell(HINT_LOCAL, "yellow")]
    target = f"127.0.0.1:{row['host_ports'][0]}" if row["host_ports"] else f"{document['ip_address']}:{row['port']}"
    return [str(row["port"]), here, f"ssh -L {row['port']}:{target} {os.uname().nodename}"]


PORTS = Spec(
    ports,
    examples=("ds01 container ports my-project  what listens inside, and how to reach it",),
    details="The ssh command is for your own computer: it works because sshd connects as you. Nothing is opened by it.",
    arguments=(NAME,),
    options=(JSON, NO_INPUT),
)
