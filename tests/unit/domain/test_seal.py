"""The seal: labels that this daemon wrote."""

from hypothesis import given, strategies as st

from ds01.domain.containers.seal import is_sealed, seal

KEYS = st.binary(min_size=1, max_size=40)
TRIPLES = st.tuples(st.integers(0, 2**32), st.text(max_size=20), st.text(max_size=20))


@given(KEYS, TRIPLES)
def test_a_seal_verifies_what_it_was_made_for(key: bytes, triple: tuple[int, str, str]) -> None:
    made = seal(key, *triple)
    assert len(made) == 64
    assert is_sealed(key, *triple, claimed=made)


@given(KEYS, TRIPLES, TRIPLES)
def test_two_different_triples_never_share_a_seal(
    key: bytes, one: tuple[int, str, str], other: tuple[int, str, str]
) -> None:
    assert (seal(key, *one) == seal(key, *other)) == (one == other)


@given(KEYS, KEYS, TRIPLES)
def test_another_key_makes_another_seal(one: bytes, other: bytes, triple: tuple[int, str, str]) -> None:
    # HMAC pads a key with zeros, so these two are one key
    same = one.rstrip(b"\0") == other.rstrip(b"\0")
    assert (seal(one, *triple) == seal(other, *triple)) == same


@given(KEYS, TRIPLES, st.text(alphabet=st.characters()) | st.just("\ud800"))
def test_whatever_a_label_claims_it_is_answered(key: bytes, triple: tuple[int, str, str], claimed: str) -> None:
    assert not is_sealed(key, *triple, claimed=claimed)


def test_without_a_key_nothing_is_sealed() -> None:
    assert not is_sealed(b"", 1001, "a", "1", claimed=seal(b"", 1001, "a", "1"))


def test_a_moved_boundary_is_another_message() -> None:
    assert seal(b"k", 1, "23", "x") != seal(b"k", 12, "3", "x")
    assert seal(b"k", 1, "a", "b\nc") != seal(b"k", 1, "a\nb", "c")
