"""Imports that are refused: early, and nothing is made."""

from dataclasses import replace

import pytest

from ds01.domain.request import GpuRequest
from ds01.errors import NoCapacityError
from ds01.service.order import CreateOrder
from tests.unit.service.stage import BOB_CALLER
from tests.unit.service.test_exporting import export, members, order_named, pieces_of, prepared, upload


async def test_an_import_without_a_free_gpu_is_refused_before_anything_is_loaded() -> None:
    stage = await prepared()
    files = members(await export(stage))
    await stage.create("theirs", kind="full")
    before = await stage.picture()

    def with_gpu(text: bytes) -> CreateOrder:
        return replace(order_named("copy")(text), request=GpuRequest(1, "full"))

    with pytest.raises(NoCapacityError):
        await stage.services.importing.import_(BOB_CALLER, pieces_of(upload(files)), with_gpu, stage.notify)
    assert stage.engine.calls["load_images"] == 0
    assert await stage.picture() == before
