"""Follows the devices: what the driver reports, and what came, went or changed since the last look."""

import logging
from collections.abc import Callable
from datetime import timedelta

from ds01.errors import Ds01Error
from ds01.service.ports import Clock, Devices
from ds01.service.upkeep import UpkeepService

log = logging.getLogger(__name__)
DEVICE_PERIOD = timedelta(seconds=10)
"""Inventories are compared this often although the driver reports nothing: not every change is reported."""
AT_ONCE = timedelta(0)
MOST_REPORTS = 100
"""So many reports are taken before the next look; a broken card can report hundreds in a second."""


class DeviceLoop:
    """Looks at the devices whenever the driver reports something, and from time to time."""

    def __init__(
        self,
        devices: Devices,
        upkeep: UpkeepService,
        clock: Clock,
        wake: Callable[[], None],
        *,
        period: timedelta = DEVICE_PERIOD,
    ) -> None:
        """Prepare.

        Args:
            devices: The devices.
            upkeep: Looks, records, and wakes the scheduler.
            clock: The time.
            wake: Called when grants may have to be repaired.
            period: Between two looks at the latest.
        """
        self._devices = devices
        self._upkeep = upkeep
        self._clock = clock
        self._wake = wake
        self._period = period
        self._last_failure = ""

    async def run(self) -> None:
        """Go on for ever. Devices that are unknown are tried again; a bug ends the daemon."""
        while True:
            try:
                if await self._upkeep.look():
                    self._wake()
                await self._take_reports()
                self._last_failure = ""
            except Ds01Error as failure:
                said = failure.message.partition(" Next try")[0]
                if said != self._last_failure:
                    log.warning("devices: %s", failure)
                self._last_failure = said
                await self._clock.sleep(self._period)

    async def _take_reports(self) -> None:
        """Wait for a report, at most for the period, and take what comes with it."""
        event = await self._devices.wait_for_event(self._period)
        for _ in range(MOST_REPORTS):
            if event is None:
                return
            log.info("devices: %s %s of %s", event.kind, event.code or "", event.gpu_uuid or "a card")
            await self._upkeep.note(event)
            event = await self._devices.wait_for_event(AT_ONCE)
