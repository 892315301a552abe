"""Aside: work in threads, few at once, in order, and none of it lost."""

import asyncio
import threading

from fleet.gateway.aside import Aside


def test_so_many_threads_work_at_once_and_all_work_is_done_in_order_of_start():
    begun: list[int] = []
    busy, most = [0], [0]
    lock = threading.Lock()
    loop_thread = threading.get_ident()
    ended_in: set[int] = set()

    async def story() -> None:
        aside = Aside(2)
        done = asyncio.Queue[None]()
        both = threading.Barrier(2)

        def work(n: int) -> None:
            with lock:
                begun.append(n)
                busy[0] += 1
                most[0] = max(most[0], busy[0])
            both.wait(60)  # only two beside each other go on
            with lock:
                busy[0] -= 1
            if n == 3:
                raise RuntimeError("a mistake")

        def ended() -> None:
            ended_in.add(threading.get_ident())
            done.put_nowait(None)

        for n in range(6):
            aside.run(lambda n=n: work(n), ended)
        for _ in range(6):
            await done.get()

    asyncio.run(story())

    assert sorted(begun[:2]) == [0, 1]
    assert sorted(begun) == list(range(6))
    assert most == [2]
    assert ended_in == {loop_thread}
