"""Composition: the command line becomes a running server. Knows everybody; nobody knows it."""

import asyncio
import logging
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Sequence

import uvicorn

import modules
from modules.api.services import CatalogHolder, Services, SettingsHolder
from modules.api.tokens import TokenCounter
from modules.catalog import Catalog
from modules.errors import WebuiError
from modules.flags import ROOT, Flags, parse, require_free_port
from modules.jobs.child import LOG_FORMAT
from modules.jobs.queue import JobQueue
from modules.jobs.saving import save_to
from modules.jobs.worker import EngineProcess
from modules.networks.files import HashCache, find_checkpoints
from modules.settings import Settings
from modules.store.outputs import Outputs
from modules.store.pictures import Pictures

log = logging.getLogger(__name__)

HASHES = "cache/hashes.json"  # written by the engine process
CHECKPOINTS = "Stable-diffusion"  # below the models folder, as in A1111
SECONDS_TO_CLOSE = 2  # for answers under way; event streams would go on for ever


def main(argv: Sequence[str]) -> int:
    """Start the server and serve until Ctrl+C; the exit code. A person's mistake is one sentence on stderr."""
    try:
        flags = parse(argv)
        logging.basicConfig(level=flags.loglevel, format=LOG_FORMAT)
        for remark in flags.remarks:
            log.info(remark)
        require_free_port(flags)
        services = open_services(flags)
    except WebuiError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    try:
        start_engine(services)
        serve(services)
    finally:
        services.queue.close()
    return 0


def open_services(flags: Flags) -> Services:
    """Everything behind the page. Starts no process yet and opens no port.

    Raises WebuiError if the settings file cannot be understood.
    """
    cache = flags.data_dir / "cache"
    outputs = Outputs(flags.outputs_dir)
    engine = EngineProcess(
        options={
            "device": "cpu" if flags.use_cpu else "auto",
            "precision": flags.precision,
            "cache_dir": str(cache),
        }
    )
    settings = Settings.load(flags.settings_file)
    if flags.ckpt is not None:
        settings = settings.overridden({"sd_model_checkpoint": flags.ckpt.name})
    holder = SettingsHolder(settings, flags.settings_file)
    return Services(
        queue=JobQueue(engine, save_to(outputs)),
        catalog=CatalogHolder(lambda: scan(flags), lambda path: HashCache(flags.data_dir / HASHES).known(path)),
        settings=holder,
        outputs=outputs,
        pictures=Pictures(cache / "pictures"),
        flags=flags,
        count_tokens=TokenCounter(holder),
    )


def scan(flags: Flags) -> Catalog:
    """What is there to choose from: the models folder, `--ckpt-dir`, `--ckpt`, and the checkpoint that ships."""
    folders = [flags.models_dir / CHECKPOINTS, ROOT / "models" / CHECKPOINTS]
    if flags.ckpt_dir is not None:
        folders.append(flags.ckpt_dir)
    if flags.ckpt is not None:
        folders.append(flags.ckpt.parent)
    return Catalog(tuple(find_checkpoints(folders, HashCache(flags.data_dir / HASHES))))


def start_engine(services: Services) -> None:
    """Start the engine process with the checkpoint of the settings, or the first there is if that one is gone."""
    catalog, settings = services.catalog.current, services.settings.current
    try:
        checkpoint = catalog.checkpoint(settings.sd_model_checkpoint)
    except WebuiError as error:
        log.warning("%s", error)
        if not catalog.checkpoints:
            return
        checkpoint = catalog.checkpoint("")
    services.queue.select_checkpoint(checkpoint, settings)


def serve(services: Services) -> None:
    """Answer requests until the process is told to end."""
    # Not at the top: Gradio and FastAPI take seconds to import, and the engine process starts beside that.
    from modules.api.app import create_api  # noqa: PLC0415
    from modules.ui.app import build_page, mount  # noqa: PLC0415

    flags = services.flags
    page = build_page(services.catalog.current, services.settings.current)
    app = mount(create_api(services), page, flags.theme)
    config = uvicorn.Config(
        app,
        host=flags.server_name,
        port=flags.port,
        log_level="warning",
        timeout_graceful_shutdown=SECONDS_TO_CLOSE,
    )
    server = _Server(config, services)
    server.run()


class _Server(uvicorn.Server):
    """Tells the address, and opens the browser, once the port answers."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._flags = services.flags
        self._queue = services.queue

    async def startup(self, sockets: list[object] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        await super().startup()
        if not self.started:
            return
        log.info("Palimpsest %s is at %s", modules.__version__, self._flags.url)
        if self._flags.autolaunch:
            threading.Thread(target=webbrowser.open, args=(self._flags.url,), daemon=True).start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends the jobs first, and with them the event streams, which would hold the server up."""
        await asyncio.to_thread(self._queue.close)
        await super().shutdown(sockets)


# Nothing may ask the network: neither Gradio nor the Hugging Face libraries, in this process or in the engine's.
os.environ.update(
    GRADIO_ANALYTICS_ENABLED="False", HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TRANSFORMERS_OFFLINE="1"
)
