"""What Python's garbage collector is told. Nearly all that the server makes ends with its last reference.

By its own measure CPython looks for cycles each time that 700 new objects live (2,000 from 3.13 on), and then again at
all the old ones: an eighth of ingest's time, for nothing. What cycles there are (a connection that broke, an error and
its traceback) are few; they wait for `NEW_OBJECTS`, or for the next round of `collect_garbage`.
"""

import asyncio
import gc

NEW_OBJECTS = 50_000  # that live, before cycles are looked for among them: some MB at most
COLLECT_S = 60.0


def spare_collections() -> None:
    """Leave what is imported by now out of collections for good, and collect seldom."""
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS)


async def collect_garbage() -> None:
    """Collect garbage every `COLLECT_S`, until cancelled."""
    while True:
        await asyncio.sleep(COLLECT_S)
        gc.collect()
