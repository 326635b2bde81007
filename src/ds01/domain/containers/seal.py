"""The seal of a container: proof that its labels were written by this daemon."""

import hashlib
import hmac


def seal(key: bytes, uid: int, allocation_id: str, request: str) -> str:
    """Return the HMAC-SHA-256 over what must not be forged, as hex.

    Args:
        key: The daemon's secret.
        uid: Owner.
        allocation_id: Grant.
        request: The request in our words.
    """
    # the length goes first, so that no two different triples give the same bytes
    parts = [str(uid), allocation_id, request]
    message = "\n".join(f"{len(part)}:{part}" for part in parts)
    return hmac.new(key, message.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def is_sealed(key: bytes, uid: int, allocation_id: str, request: str, *, claimed: str) -> bool:
    """Tell whether a label's seal is genuine. Without a key nothing is: an empty one anybody could have used."""
    if not key:
        return False
    # as bytes: compare_digest raises on text that is not ASCII, and a label may hold anything
    genuine = seal(key, uid, allocation_id, request).encode()
    return hmac.compare_digest(genuine, claimed.encode("utf-8", "surrogatepass"))
