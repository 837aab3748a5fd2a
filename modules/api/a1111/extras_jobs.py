"""Extras with a network as upscaler: they are jobs in the queue, because the engine has torch and manages memory."""

import asyncio

from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from modules.api.a1111.generate import failure
from modules.api.a1111.leaving import ended
from modules.api.a1111.pictures import Collector
from modules.api.services import Services
from modules.base.errors import WebuiError
from modules.base.picture import Picture
from modules.jobs.job import Job
from modules.processing.kinds.extras import EXTRAS
from modules.schema.request.extras import ExtrasRequest
from modules.store import metadata

FIELDS = {name for name in ExtrasRequest.model_fields if name != "image"}


class NetworkJobs:
    """Submits jobs for the extras routes and waits for them."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def enlarged(
        self, payload: BaseModel, picture: Picture, field: str, client: str, disconnected: asyncio.Task[None]
    ) -> tuple[bytes, str]:
        """(the file, its processing as A1111's pairs). `payload` has the fields of `ExtrasRequest` and others.

        Raises WebuiError; if the client disconnects, stops the job and raises ClientDisconnect.
        """
        job, collector = await run_in_threadpool(self._submitted, payload, picture, field, client)
        over = asyncio.ensure_future(ended(job))
        try:
            await asyncio.wait((over, disconnected), return_when=asyncio.FIRST_COMPLETED)
            if disconnected.done():
                collector.forsake()
                await run_in_threadpool(job.interrupt)
                await over
                raise ClientDisconnect
            return await run_in_threadpool(self._collected, job, collector, picture)
        finally:
            over.cancel()
            self._services.savers.forget(job.id)

    def _submitted(self, payload: BaseModel, picture: Picture, field: str, client: str) -> tuple[Job, Collector]:
        services = self._services
        whole = Picture.from_bytes(picture.data, field)
        kind, settings = services.queue.kinds.named(EXTRAS.name), services.settings.current
        request = kind.parse({**payload.model_dump(include=FIELDS), "image": whole})
        spec = services.admission.admitted(kind, request, settings)
        collector = Collector(services.savers.default, to_disk=False, to_client=True)
        return services.savers.submit(lambda: services.submit(client, spec, is_kept=False), collector), collector

    def _collected(self, job: Job, collector: Collector, picture: Picture) -> tuple[bytes, str]:
        if error := failure(job):
            raise error
        made = collector.made()
        if not made:
            raise WebuiError("The job was interrupted.", "Send the picture again.", status=503)
        carried = metadata.read(picture)
        text = made[0].image.infotext.removeprefix(carried.infotext).removeprefix(", ")
        text = text.removesuffix(f"Source hash: {picture.sha256}").removesuffix(", ")
        items = {**carried.items, metadata.POSTPROCESSING: text}
        image = Picture.from_bytes(made[0].data, "image").open()
        return metadata.as_file(image, carried.infotext, self._services.settings.current, items).data, text
