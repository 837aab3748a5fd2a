"""Composition: turns the command line into a running server. It imports everything; nothing imports it."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import uvicorn

import modules
from modules.a1111.options import own_settings
from modules.api.services import CatalogHolder, Services, SettingsHolder
from modules.api.v1.tokens import TokenCounter
from modules.base import logs
from modules.base.disk import sweep, sweep_below
from modules.base.errors import WebuiError
from modules.base.kept import make_way
from modules.base.paths import printable
from modules.base.picture import Picture
from modules.clip.chunks import Word
from modules.extension.loading import load as load_extensions
from modules.flags.checks import require_free_port
from modules.flags.command_line import parse
from modules.flags.flags import Flags
from modules.infotext.recipe import HashOf, Kept
from modules.infotext.recipe import recipe as make_recipe
from modules.jobs.admission import Admission, FixedCatalog
from modules.jobs.batch.batches import Batches
from modules.jobs.batch.intake import BatchIntake
from modules.jobs.batch.journal import Journals
from modules.jobs.limits import JobLimits
from modules.jobs.queue import JobQueue
from modules.jobs.saving import JobSavers, Saver
from modules.jobs.workers.process import EngineProcess
from modules.networks.files.listing import HashCache, stamp_of_folders
from modules.processing.kinds.generate import IMG2IMG, TXT2IMG
from modules.prompts.style_book import StyleBook
from modules.schema.catalog import Catalog, usable
from modules.schema.request import Img2ImgRequest
from modules.server import doctor, fetch_command, listen, merge_command
from modules.server.folders import HASHES, ModelFolders
from modules.server.model_files import ModelFiles
from modules.store.history import History
from modules.store.job_folders import JobFolders
from modules.store.job_store import JobStore, is_saved_in
from modules.store.large import key_of
from modules.store.metadata import read
from modules.store.outputs import UNFINISHED, Outputs
from modules.store.pictures import Pictures
from modules.store.speeds import Speeds
from modules.store.thumbnails import Thumbnails

log = logging.getLogger(__name__)

READ_AT_START = 16  # headers of each kind of model; a slow drive may hold thousands
QUEUE = "queue/jobs.sqlite"  # every accepted job
BATCHES = "queue/batches"  # requests and finished files
OWN_FOLDERS = ("cache", "cache/pictures", "cache/thumbnails", "cache/batches", "queue", BATCHES)  # outermost first


def main(argv: Sequence[str]) -> int:
    """Start the server and run it until Ctrl+C; returns the exit code. A user's mistake is one sentence on stderr.

    If the first argument is `reproduce PICTURE`, it makes a picture again and reports how close the result is; `merge`
    merges checkpoints; `fetch` downloads a model; `doctor` checks what is installed and attacks the server.
    """
    if argv[:1] == ["reproduce"]:
        return reproduce(argv[1:])
    if argv[:1] == ["merge"]:
        return merge_command.main(argv[1:])
    if argv[:1] == ["fetch"]:
        return fetch_command.main(argv[1:])
    if argv[:1] == ["doctor"]:
        return doctor.main(argv[1:])
    try:
        flags = parse(argv)
        logs.set_up(flags.loglevel, flags.log_json)
        for remark in flags.remarks:
            log.info(remark)
        require_free_port(flags)
        listen.check_certificate(flags)
        services = open_services(flags)
    except WebuiError as error:
        sys.stderr.write(f"{printable(str(error))}\n")
        return 1
    threading.Thread(target=sweep_drafts, args=(flags,), name="sweep", daemon=True).start()
    try:
        services.intake.reopen(services.catalog.current)
        services.queue.resume(is_saved_in(services.outputs), services.admission.readmitted)
        services.intake.batches.resume_all()
        start_engine(services)
        serve(services)
    finally:
        services.intake.batches.close()
        services.queue.close()
    return 0


def reproduce(argv: Sequence[str]) -> int:
    """`reproduce PICTURE [--source FILE] [--mask FILE]`, with the server's flags for folders and computing.

    Exit code 0 for an identical picture, 2 for a different one, 1 if it cannot be made.
    """
    reader = argparse.ArgumentParser("webui.py reproduce", description="Make a picture again from its own text.")
    reader.add_argument("picture", type=Path, help="a picture that contains its parameters")
    reader.add_argument("--source", type=Path, metavar="FILE", help="the source of an img2img picture")
    reader.add_argument("--mask", type=Path, metavar="FILE", help="the mask of an inpainted picture")
    args, rest = reader.parse_known_args(list(argv))
    # Not at the top: the server process never imports torch, and this process does nothing else.
    from modules.processing.engine import create_engine  # noqa: PLC0415
    from modules.processing.rerun import rerun  # noqa: PLC0415

    try:
        flags = parse(rest)
        logs.set_up(logging.WARNING)
        picture, source, mask = (_opened(path) if path else None for path in (args.picture, args.source, args.mask))
        assert picture is not None
        pictures = Pictures(flags.data_dir / "cache" / "pictures")
        folders = ModelFolders.of(flags)
        catalog = ModelFiles(folders).scan()
        text = read(picture).infotext
        recipe = make_recipe(picture, text, catalog, kept(pictures), source, mask, hash_of(flags))
        kind = IMG2IMG if isinstance(recipe.request, Img2ImgRequest) else TXT2IMG
        settings = recipe.settings.overridden({"sd_model_checkpoint": recipe.checkpoint.name})
        admission = Admission(FixedCatalog(catalog), load_extensions(flags.extensions_dir))
        resources = admission.admitted(kind, recipe.request, settings).resources
        engine = create_engine(**folders.engine_options())
        report = rerun(engine, recipe, resources, picture)
    except WebuiError as error:
        sys.stderr.write(f"{printable(str(error))}\n")
        return 1
    sys.stdout.write("".join(f"{sentence}\n" for sentence in report.sentences()))
    return 0 if report.is_identical else 2


def kept(pictures: Pictures) -> Kept:
    """Pictures by sha256; None for those that no longer exist."""

    def find(sha256: str) -> Picture | None:
        try:
            return pictures.get(sha256)
        except WebuiError:
            return None

    return find


def _opened(path: Path) -> Picture:
    try:
        return Picture.from_bytes(path.read_bytes(), path.name)
    except OSError as error:
        raise WebuiError(f"{path}: {error.strerror or error}.", "Name a picture file.", "picture") from error


def open_services(flags: Flags) -> Services:
    """Everything behind the page. Starts no process yet and opens no port.

    Raises WebuiError if the settings file cannot be understood, if another Palimpsest uses the folder, or if pictures
    could never be saved.
    """
    folders = ModelFolders.of(flags)
    for remark in folders.remarks:
        log.warning("%s", remark)
    require_folder(flags.outputs_dir)
    make_way(flags.data_dir, OWN_FOLDERS)
    cache = flags.data_dir / "cache"
    outputs = Outputs(flags.outputs_dir)
    pictures = Pictures(cache / "pictures")
    engine = EngineProcess(options=folders.engine_options())
    settings, settings_file = own_settings(flags.settings_file, folders.settings)
    if flags.ckpt is not None:
        settings = settings.overridden({"sd_model_checkpoint": flags.ckpt.name})
    holder = SettingsHolder(settings, settings_file)
    reduced = Thumbnails(cache / "thumbnails")
    savers = JobSavers(Saver(outputs, large_saved=lambda path, small: keep_reduced(reduced, path, small)))
    extensions = load_extensions(flags.extensions_dir)
    queue = JobQueue(
        engine,
        savers,
        job_store=JobStore(flags.data_dir / QUEUE, pictures),
        folders=JobFolders(flags.outputs_dir / UNFINISHED),
    )
    batches = Batches(
        queue,
        savers,
        outputs,
        pictures,
        journals=Journals(flags.data_dir / BATCHES),
        scripts=extensions,
        styles=StyleBook(flags.data_dir, folders.styles).styles,
    )
    files = ModelFiles(folders, extensions.upscalers, READ_AT_START)
    catalog = CatalogHolder(
        files.scan,
        lambda path: HashCache(flags.data_dir / HASHES).known(path),
        hash_of(flags),
        files.look_further,
        lambda: stamp_of_folders(folders.all),
    )
    return Services(
        queue=queue,
        catalog=catalog,
        settings=holder,
        outputs=outputs,
        pictures=pictures,
        flags=flags,
        count_tokens=TokenCounter(holder, lambda: words_of(catalog.current, queue.state().text_width)),
        intake=BatchIntake.of(batches, flags.data_dir, flags.outputs_dir),
        savers=savers,
        history=History(outputs, cache / "history.sqlite"),
        extensions=extensions,
        limits=JobLimits(flags.max_queued_jobs),
        card_files=files.card_files(),
        borrowed_styles=folders.styles,
        speeds=Speeds(cache / "speeds.json"),
    )


def keep_reduced(thumbnails: Thumbnails, path: Path, small: bytes) -> None:
    """Keeps the reduced copy of a large picture for later requests."""
    thumbnails.get(key_of(path), lambda: small)


def require_folder(outputs: Path) -> None:
    """Raises WebuiError if a file has the name of the pictures' folder: unlike files of our own, it is not moved."""
    if os.path.lexists(outputs) and not outputs.is_dir():
        what = "a broken link" if outputs.is_symlink() else "not a folder"
        raise WebuiError(
            f"Pictures cannot be saved in {outputs}: it is {what}.",
            "Move or rename it, or start with another --data-dir.",
            "--data-dir",
        )


def sweep_drafts(flags: Flags) -> None:
    """Remove what a killed process had begun to write, in every folder we write to."""
    sweep(flags.data_dir)
    for folder in (flags.outputs_dir, flags.data_dir / "cache", flags.data_dir / "queue"):
        sweep_below(folder)


def hash_of(flags: Flags) -> HashOf:
    """The sha256 of a checkpoint's weights, which may have to be read; "" for one that is no longer readable."""

    def sha256(path: Path) -> str:
        with contextlib.suppress(OSError, WebuiError):
            return HashCache(flags.data_dir / HASHES).sha256(path)
        return ""

    return sha256


def words_of(catalog: Catalog, width: int) -> tuple[Word, ...]:
    """The embeddings that can be used in a prompt, for a text encoder of width `width`."""
    return tuple(Word(each.name, each.vectors) for each in usable(catalog.embeddings, width))


def start_engine(services: Services) -> None:
    """Start the engine process with the checkpoint of the settings, or the first that can be loaded."""
    catalog, settings = services.catalog.current, services.settings.current
    try:
        checkpoint = catalog.checkpoint(settings.sd_model_checkpoint)
    except WebuiError as error:
        log.warning("%s", error)
        if not catalog.checkpoints:
            return
        checkpoint = catalog.checkpoint("")
    services.select_checkpoint(checkpoint, settings)


def serve(services: Services) -> None:
    """Answer requests until the process is told to stop. Raises KeyboardInterrupt after Ctrl+C."""
    # Not at the top: Gradio and FastAPI take seconds to import, and the engine process starts in parallel.
    from modules.api.app import create_api  # noqa: PLC0415
    from modules.ui.app import build_page, mount  # noqa: PLC0415

    listen.give_memory_back()
    flags = services.flags
    page = build_page(services.catalog.current, services.settings.current)
    app = mount(create_api(services), page, flags.theme)
    running = _Server(listen.configured(app, flags), services)
    running.run()
    if running.was_interrupted:  # uvicorn raises it again, but asyncio may swallow it if its task ends at that moment
        raise KeyboardInterrupt


class _Server(uvicorn.Server):
    """Once the port answers, prints the address, opens the browser, and reads the remaining headers of the models."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self.was_interrupted = False  # by Ctrl+C
        self._flags = services.flags
        self._look_on = services.look_on
        self._queue = services.queue
        self._batches = services.intake.batches

    async def startup(self, sockets: list[object] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        await super().startup()
        if not self.started:
            return
        log.info("Palimpsest %s is at %s", modules.__version__, self._flags.url)
        self._look_on()
        if self._flags.autolaunch:
            threading.Thread(target=webbrowser.open, args=(self._flags.url,), daemon=True).start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.was_interrupted = self.was_interrupted or sig == signal.SIGINT
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends the jobs first, and with them the event streams, which would delay the shutdown."""
        await asyncio.to_thread(self._batches.close)
        await asyncio.to_thread(self._queue.close)
        await super().shutdown(sockets)


# Nothing may use the network: neither Gradio nor the Hugging Face libraries, in this process or in the engine's.
os.environ.update(
    GRADIO_ANALYTICS_ENABLED="False", HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TRANSFORMERS_OFFLINE="1"
)
# OpenMP's threads wait by spinning. If another process shares a core with two of them, a step takes 20 times longer
# (measured on two cores with one other process: 20 to 70 s a picture instead of 2). Sleeping costs nothing noticeable.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
