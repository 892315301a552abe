"""What is done over a connection to the broker."""

import asyncio

import pytest

from fleet.gateway.session import heedful


@pytest.mark.parametrize("turns", range(6))
def test_a_cancellation_that_comes_with_the_answer_is_heeded(turns: int):
    async def main() -> None:
        answered = asyncio.Event()

        async def go_on() -> None:
            while True:
                await heedful(asyncio.wait_for(answered.wait(), 10))
                answered.clear()

        task = asyncio.create_task(go_on())
        for _ in range(5):
            await asyncio.sleep(0)
        answered.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,), timeout=1)
        assert task.cancelled()

    asyncio.run(main())


def test_an_answer_is_handed_on():
    async def answer() -> int:
        return 42

    async def main() -> int:
        return await heedful(answer())

    assert asyncio.run(main()) == 42
