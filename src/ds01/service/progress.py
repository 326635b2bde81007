"""What is said to those who wait for a request: messages of its creation, and that something has changed."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from ds01.service.bell import Bell

MOST_MESSAGES = 500
MOST_REQUESTS = 256


@dataclass(slots=True)
class Story:
    """What happened to one request in this process.

    Attributes:
        messages: Of its creation, oldest first; the oldest are dropped when there are too many.
        dropped: How many were dropped.
        result: Outcome of the creation or start; None: none yet.
        failure: What it failed with; None: nothing.
        bell: Rung when something is added.
    """

    messages: list[Mapping[str, object]] = field(default_factory=list)
    dropped: int = 0
    result: object = None
    failure: Exception | None = None
    bell: Bell = field(default_factory=Bell)

    def since(self, number: int) -> list[Mapping[str, object]]:
        """Return the messages from a number on, counted from the first one ever."""
        return self.messages[max(number - self.dropped, 0) :]

    @property
    def told(self) -> int:
        """How many messages there ever were."""
        return self.dropped + len(self.messages)


class Progress:
    """The stories of requests: of those that somebody follows or that are carried out, and of the last ones."""

    def __init__(self) -> None:
        self._stories: OrderedDict[str, Story] = OrderedDict()

    def of(self, request_id: str) -> Story:
        """Return the story of a request; a new one begins where there is none."""
        story = self._stories.get(request_id)
        if story is None:
            story = self._stories[request_id] = Story()
            while len(self._stories) > MOST_REQUESTS:
                self._stories.popitem(last=False)[1].bell.ring()
        self._stories.move_to_end(request_id)
        return story

    def find(self, request_id: str) -> Story | None:
        """Return the story of a request, if there is one."""
        return self._stories.get(request_id)

    async def tell(self, request_id: str, message: Mapping[str, object]) -> None:
        """Add a message of a creation."""
        story = self.of(request_id)
        story.messages.append(message)
        if len(story.messages) > MOST_MESSAGES:
            del story.messages[0]
            story.dropped += 1
        story.bell.ring()
        await asyncio.sleep(0)

    def conclude(self, request_id: str, *, result: object = None, failure: Exception | None = None) -> None:
        """Keep how a creation or start ended."""
        story = self.of(request_id)
        story.result, story.failure = result, failure
        story.bell.ring()

    def ring_all(self) -> None:
        """Something has changed for everybody who waits."""
        for story in list(self._stories.values()):
            story.bell.ring()
