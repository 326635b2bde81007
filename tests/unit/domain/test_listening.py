"""What listens, from the kernel's own lines."""

from hypothesis import given, strategies as st

from ds01.domain.containers.listening import ListeningPort, ports_of

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
ANY = "   0: 00000000:22B8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 1 1 0 100 0 0 10 0\n"
LOCAL = (
    "   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 2 1 0 100 0 0 10 0\n"
)
CONNECTED = "   2: 0100007F:1F91 0100007F:9999 01 00000000:00000000 00:00000000 00000000  1001        0 3 1 0\n"
LOCAL6 = "   0: 00000000000000000000000001000000:22B8 00000000000000000000000000000000:0000 0A 0:0 00:0 0 1001 0 4\n"
LOCAL6_ALONE = LOCAL6.replace("22B8", "0050")


def test_listening_ports_are_told_from_connections_and_local_ones_from_the_rest() -> None:
    found = ports_of(HEAD + ANY + LOCAL + CONNECTED + HEAD + LOCAL6 + LOCAL6_ALONE, {})
    assert found == (
        ListeningPort(80, is_listening=True, is_local=True),
        ListeningPort(8080, is_listening=True, is_local=True),
        ListeningPort(8888, is_listening=True, is_local=False),
    )


def test_a_published_port_is_shown_whether_something_listens_or_not() -> None:
    found = ports_of(ANY, {8888: [32769, 32768], 22: [2222]})
    assert found == (
        ListeningPort(22, is_listening=False, is_local=False, host_ports=(2222,)),
        ListeningPort(8888, is_listening=True, is_local=False, host_ports=(32768, 32769)),
    )


@given(st.text(max_size=300))
def test_no_text_of_a_container_breaks_it(text: str) -> None:
    assert all(0 < port.port <= 65535 for port in ports_of(text, {}))
