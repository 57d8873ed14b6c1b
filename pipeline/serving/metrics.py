"""What the server counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BATCHES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("faceline_requests", "Requests answered.", ["path", "code"], registry=registry)
        self.refused = Counter("faceline_refused", "Requests refused because of a limit.", ["limit"], registry=registry)
        self.photos = Counter("faceline_photos", "Photos predicted.", ["status"], registry=registry)
        self.seconds = Histogram(
            "faceline_predict_seconds", "From the head of a request to its answer.", buckets=SECONDS, registry=registry
        )
        self.batches = Histogram(
            "faceline_batch_photos", "Photos predicted together.", buckets=BATCHES, registry=registry
        )
        self.waiting = Gauge("faceline_queue_photos", "Photos that wait to be predicted.", registry=registry)
        self.upload_bytes = Gauge("faceline_upload_bytes", "Bytes of uploads in memory.", registry=registry)

    def text(self) -> bytes:
        """All of them in Prometheus's text format."""
        return generate_latest(self._registry)
