"""The queue: photos of several requests are predicted together, and a full queue takes no more."""

import asyncio
import threading

import pytest

from pipeline.serving.batching import PhotoQueue, QueueFull
from pipeline.serving.limits import Limits
from pipeline.serving.metrics import Metrics


class Recorder:
    """Answers each photo with its name; waits for `go` before it does."""

    def __init__(self):
        self.batches, self.go = [], threading.Event()
        self.go.set()

    def __call__(self, photos):
        self.batches.append(list(photos))
        assert self.go.wait(10)
        if "broken" in photos:
            raise RuntimeError("no network")
        return [f"answer to {photo}" for photo in photos]


def with_queue(scenario, **limits):
    """Run scenario(queue, recorder) beside the queue."""

    async def main():
        recorder, metrics = Recorder(), Metrics()
        queue = PhotoQueue(recorder, Limits(**limits), metrics)
        running = asyncio.create_task(queue.run())
        try:
            async with asyncio.timeout(10):
                return await scenario(queue, recorder)
        finally:
            recorder.go.set()
            running.cancel()

    return asyncio.run(main())


def test_photos_of_several_requests_are_predicted_together_and_each_gets_its_own_answer():
    async def scenario(queue, recorder):
        answers = await asyncio.gather(*(queue.predict([f"{n}a", f"{n}b"]) for n in range(3)))
        assert answers == [[f"answer to {n}a", f"answer to {n}b"] for n in range(3)]
        assert recorder.batches == [["0a", "0b", "1a", "1b"], ["2a", "2b"]]

    with_queue(scenario, batch=4, wait_s=0.05)


def test_a_photo_waits_for_others_but_not_for_long():
    async def scenario(queue, recorder):
        loop = asyncio.get_running_loop()
        started = loop.time()
        await queue.predict(["a"])
        assert 0.3 <= loop.time() - started < 5
        first = asyncio.create_task(queue.predict(["b"]))
        await asyncio.sleep(0.01)
        await queue.predict(["c"])
        await first
        assert recorder.batches == [["a"], ["b", "c"]]

    with_queue(scenario, wait_s=0.3)


async def two_at_work(queue, recorder):
    """Requests a and b, each in a lane, which go on when the recorder's `go` is set."""
    recorder.go.clear()
    at_work = [asyncio.create_task(queue.predict([name])) for name in "ab"]
    while len(recorder.batches) < 2:
        await asyncio.sleep(0.01)
    return at_work


def test_a_full_queue_takes_no_more_and_says_when_to_come_back():
    async def scenario(queue, recorder):
        at_work = await two_at_work(queue, recorder)
        waiting = asyncio.create_task(queue.predict(["c", "d"]))
        await asyncio.sleep(0)
        queue.require_room(1)
        with pytest.raises(QueueFull, match="try again in 1 s"):
            await queue.predict(["e", "f"])
        recorder.go.set()
        await asyncio.gather(*at_work, waiting)
        queue.require_room(3)

    with_queue(scenario, queue=3, batch=1, wait_s=0)


def test_a_request_that_gave_up_leaves_the_queue():
    async def scenario(queue, recorder):
        at_work = await two_at_work(queue, recorder)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await queue.predict(["late", "too late"])
        queue.require_room(2)
        recorder.go.set()
        await asyncio.gather(*at_work)
        assert await queue.predict(["c"]) == ["answer to c"]
        assert recorder.batches == [["a"], ["b"], ["c"]]

    with_queue(scenario, queue=2, batch=1, wait_s=0)


def test_an_error_is_that_of_its_batch_and_the_queue_goes_on(caplog):
    async def scenario(queue, recorder):
        for _ in range(5):
            with pytest.raises(RuntimeError, match="no network"):
                await queue.predict(["broken"])
        assert await queue.predict(["a"]) == ["answer to a"]

    with_queue(scenario)
    assert "could not be predicted" in caplog.text
