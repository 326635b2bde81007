"""The real clock."""

import asyncio
from datetime import UTC, datetime, timedelta


class SystemClock:
    """Wall clock in UTC, and the event loop's sleep."""

    def now(self) -> datetime:
        """Return the present moment, aware, UTC."""
        return datetime.now(UTC)

    async def sleep(self, length: timedelta) -> None:
        """Wait."""
        await asyncio.sleep(length.total_seconds())
