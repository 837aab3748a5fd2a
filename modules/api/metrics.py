"""Metrics for Prometheus: https://prometheus.io/docs/instrumenting/exposition_formats/"""

import contextlib
import threading
from collections.abc import Iterator

import psutil
from fastapi import APIRouter
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modules.api.services import Services
from modules.base.events import Finished
from modules.jobs.job import Job
from modules.jobs.queue import JobQueue

SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800)
STATES = ("starting", "loading", "ready", "failed", "unloaded", "stopped")


class Metrics:
    """Counts finished jobs and answered requests in its own registry."""

    def __init__(self, queue: JobQueue) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "palimpsest_http_requests", "Number of requests.", ("method", "status"), registry=self.registry
        )
        self._jobs = Counter(
            "palimpsest_jobs", "Finished jobs, by outcome.", ("kind", "status"), registry=self.registry
        )
        self._images = Counter("palimpsest_images", "Pictures saved.", ("kind",), registry=self.registry)
        self._stages = Histogram(
            "palimpsest_stage_seconds",
            "Seconds per stage of a finished job.",
            ("stage",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._seconds = Histogram(
            "palimpsest_job_seconds",
            "Duration of a finished job in seconds.",
            ("kind",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._queue = queue
        self._lock = threading.Lock()
        self._open: set[Job] = set()
        self.registry.register(_Now(queue))
        queue.listeners.add(self.look)

    def look(self) -> None:
        """Count the jobs that have ended since the last call. Called whenever the queue changes."""
        with self._lock:
            self._open.update(job for job in self._queue.current() if not job.ended)
            ended = [job for job in self._open if job.ended]
            self._open.difference_update(ended)
        for job in ended:
            self._count(job)

    def text(self) -> bytes:
        self.look()
        return generate_latest(self.registry)

    def _count(self, job: Job) -> None:
        self._jobs.labels(job.kind.name, job.status).inc()
        self._images.labels(job.kind.name).inc(len(job.images))
        ending = job.entries()[-1].event
        if isinstance(ending, Finished):
            self._seconds.labels(job.kind.name).observe(ending.seconds)
            for stage, seconds in ending.timings.items():
                self._stages.labels(stage).observe(seconds)


class _Now(Collector):
    """Metrics that are read at the time of the request."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue

    def collect(self) -> Iterator[Metric]:
        jobs = [job.status for job in self._queue.current()]
        length = GaugeMetricFamily("palimpsest_queue_jobs", "Jobs queued or running.", labels=["status"])
        for status in ("queued", "running"):
            length.add_metric([status], jobs.count(status))
        yield length
        now = self._queue.state().state
        engine = GaugeMetricFamily("palimpsest_engine_state", "1 for the engine's current state.", labels=["state"])
        for state in STATES:
            engine.add_metric([state], float(state == now))
        yield engine
        memory = GaugeMetricFamily("palimpsest_memory_bytes", "Resident memory of the process.", labels=["process"])
        web = psutil.Process()
        memory.add_metric(["web"], web.memory_info().rss)
        memory.add_metric(["engine"], sum(_resident(child) for child in web.children(recursive=True)))
        yield memory


def _resident(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):  # it has ended just now
        return process.memory_info().rss
    return 0


class CountRequests:
    """Counts responses by method and status."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self._requests = metrics.requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # A client may send any word as a method; the metric must not get a label for each.
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "DELETE", "OPTIONS") else "other"

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._requests.labels(method, str(message["status"])).inc()
            await send(message)

        await self.app(scope, receive, counted)


def routes(_: Services, metrics: Metrics) -> APIRouter:
    router = APIRouter(tags=["state"])

    @router.get("/metrics", response_class=PlainTextResponse)
    def numbers() -> Response:
        """Queue length, jobs, pictures, seconds per stage, requests and memory, in Prometheus' text format."""
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return router
