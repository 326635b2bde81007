"""What is remembered beside rows and grants, in a bounded number of places.

Facts can be found out again; they only save the asking. Each kind has a fixed number of places in the store, and a
subject has one of them: when two subjects meet there, the later one stays. So the store does not grow with every image
and every container there ever was, and nobody has to clean up.
"""

import hashlib
from dataclasses import dataclass

from ds01.service.ports import StoreTransaction

_SEPARATOR = "\n"


@dataclass(frozen=True, slots=True)
class FactKind:
    """One kind of fact.

    Attributes:
        name: Its name.
        places: How many are remembered at most.
    """

    name: str
    places: int

    def recall(self, transaction: StoreTransaction, subject: str) -> str | None:
        """Return what is remembered of a subject, or None.

        Args:
            transaction: Where it is read.
            subject: One line of text.
        """
        kept_subject, _, value = (transaction.get_fact(self._key(subject)) or "").partition(_SEPARATOR)
        return value if kept_subject == subject else None

    def remember(self, transaction: StoreTransaction, subject: str, value: str) -> None:
        """Remember something of a subject."""
        transaction.set_fact(self._key(subject), f"{subject}{_SEPARATOR}{value}")

    def _key(self, subject: str) -> str:
        digest = hashlib.sha256(subject.encode()).digest()
        return f"{self.name}:{int.from_bytes(digest[:8], 'big') % self.places}"
