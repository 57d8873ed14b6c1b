"""Predict photos of many requests together.

In: the photos of a request. Out: their predictions, once a batch with them was predicted.

A batch is sent off when it is full, or when its first photo has waited for `Limits.wait_s`. While all lanes are at
work, photos gather in the queue; a queue that is full takes no more.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.intake.photo import Photo
from pipeline.prediction.prediction import Prediction
from pipeline.serving.limits import Limits
from pipeline.serving.metrics import Metrics

LANES = 2  # batches at work: while one ends on a single core, the next one has begun
FORGETTING = 0.2  # of the mean time per photo, with each batch


class QueueFull(Exception):
    """More photos are waiting than the queue may hold.

    Attributes:
        retry_after_s: when it is worth trying again.
    """

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many photos are waiting; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    photo: Photo
    since: float  # the event loop's clock
    answer: "asyncio.Future[Prediction]"


class PhotoQueue:
    """The photos that wait to be predicted. Belongs to one event loop, in which `run` must be running.

    Args:
        predict: photos -> their predictions, in order; called in threads, up to LANES at a time.
        limits: size of batches and queue.
        metrics: counts batches.
    """

    def __init__(
        self, predict: Callable[[Sequence[Photo]], Sequence[Prediction]], limits: Limits, metrics: Metrics
    ) -> None:
        self._predict, self._limits, self._metrics = predict, limits, metrics
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._seconds_per_photo = 0.0
        metrics.waiting.set_function(lambda: len(self._waiting))

    def require_room(self, photos: int = 1) -> None:
        """Raise QueueFull if the queue has no room for so many photos."""
        if len(self._waiting) + photos > self._limits.queue:
            self._metrics.refused.labels("queue").inc()
            raise QueueFull(self.retry_after_s)

    @property
    def retry_after_s(self) -> int:
        """About how long the photos that wait now will take."""
        return max(math.ceil(len(self._waiting) * self._seconds_per_photo), 1)

    async def predict(self, photos: Sequence[Photo]) -> list[Prediction]:
        """Return the prediction for each photo; a caller that is cancelled takes its photos out of the queue.

        Raises:
            QueueFull: there is no room for all of them.
        """
        self.require_room(len(photos))
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(photo, loop.time(), loop.create_future()) for photo in photos]
        self._waiting.extend(waiting)
        self._arrived.set()
        try:
            return await asyncio.gather(*(photo.answer for photo in waiting))
        finally:
            if any(photo.answer.cancelled() for photo in waiting):
                self._waiting = deque(photo for photo in self._waiting if not photo.answer.done())

    async def run(self) -> None:
        """Predict what is in the queue, until cancelled."""
        lanes = asyncio.Semaphore(LANES)
        async with asyncio.TaskGroup() as batches:
            while True:
                await lanes.acquire()
                batch = await self._next_batch()
                batches.create_task(self._predict_batch(batch)).add_done_callback(lambda _: lanes.release())

    async def _next_batch(self) -> list[_Waiting]:
        """Wait for a photo and, for a moment, for others."""
        loop = asyncio.get_running_loop()
        while not self._waiting:
            await self._arrival()
        until = self._waiting[0].since + self._limits.wait_s
        while 0 < len(self._waiting) < self._limits.batch and (left := until - loop.time()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._arrival()
            except TimeoutError:
                break
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), self._limits.batch))]

    async def _arrival(self) -> None:
        self._arrived.clear()
        await self._arrived.wait()

    async def _predict_batch(self, batch: Sequence[_Waiting]) -> None:
        if not batch:
            return
        loop = asyncio.get_running_loop()
        started = loop.time()
        self._metrics.batches.observe(len(batch))
        answers: Sequence[Prediction | Exception]
        try:
            answers = await asyncio.to_thread(self._predict, [waiting.photo for waiting in batch])
        except Exception as error:  # of any kind: the detector or a network does not work; the server goes on
            logging.getLogger(__name__).exception("a batch of %d photos could not be predicted", len(batch))
            answers = [error] * len(batch)
        seconds = (loop.time() - started) / len(batch)
        self._seconds_per_photo += (seconds - self._seconds_per_photo) * (FORGETTING if self._seconds_per_photo else 1)
        for waiting, answer in zip(batch, answers, strict=True):
            if waiting.answer.done():  # its request's time was up
                continue
            if isinstance(answer, Exception):
                waiting.answer.set_exception(answer)
            else:
                waiting.answer.set_result(answer)
