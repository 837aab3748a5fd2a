"""`webui.py fetch`: downloads a model file from the hub, from the command line."""

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Final

from pydantic import ValidationError

from modules.base import logs
from modules.base.errors import WebuiError
from modules.base.events import Event, FileSaved, Stepped, Stop, Warned
from modules.base.fields import explained
from modules.base.paths import printable
from modules.fetching.catalog import FOLDERS
from modules.fetching.fetcher import Fetcher
from modules.fetching.hub import Offer
from modules.fetching.order import FetchRequest
from modules.flags.command_line import parse

INTERRUPTED: Final = 130


def main(argv: Sequence[str]) -> int:
    """Exit code 0 if the file was downloaded, 1 for a mistake or if the licence is declined, 130 for Ctrl+C."""
    try:
        # Not done by argparse: in `--list --data-dir FOLDER` it would take the folder for the file.
        file = argv[0] if argv and not argv[0].startswith("-") else ""
        options, rest = _reader().parse_known_args(list(argv[1:] if file else argv))
        flags = parse(rest)
        logs.set_up(logging.WARNING)
        fetcher = Fetcher(flags.models_dir, flags.offline)
        if options.list or not file:
            _list(fetcher)
            return 0
        request = _request(file, options)
        offer = fetcher.offer(request)
        if not (options.yes or _accepted(fetcher, offer)):
            return 1
        for event in fetcher.run(request.model_copy(update={"accept_terms": True}), lambda: Stop.NONE):
            _report(event)
    except WebuiError as error:
        sys.stderr.write(f"{printable(str(error))}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. Run the same command again to resume.\n")
        return INTERRUPTED
    return 0


def _reader() -> argparse.ArgumentParser:
    new = argparse.ArgumentParser(
        "webui.py fetch",
        usage="webui.py fetch [FILE] [options]",
        description="Fetch a model file from huggingface.co: FILE is an id of the curated list, or "
        "owner/repository/file[@revision]. Without FILE, the list is shown. The server's flags for folders may follow.",
        allow_abbrev=False,
    )
    new.add_argument(
        "--kind", choices=tuple(FOLDERS), default="checkpoint", help="what kind of model it is, which sets its folder"
    )
    new.add_argument("--name", default="", help="name of the saved file")
    new.add_argument("--list", action="store_true", help="show the curated list")
    new.add_argument("--yes", action="store_true", help="accept the licence without a question")
    return new


def _request(file: str, options: argparse.Namespace) -> FetchRequest:
    try:
        return FetchRequest(file=file, kind=options.kind, name=options.name)
    except ValidationError as error:
        raise explained(FetchRequest, error) from error


def _list(fetcher: Fetcher) -> None:
    missing = {entry.id for entry in fetcher.missing(fetcher.catalog)}
    for entry in fetcher.catalog:
        size = f"{entry.size / 1e9:.2f} GB" if entry.size else ""
        mark = " " if entry.id in missing else "*"
        sys.stdout.write(f"{mark} {entry.id:24} {entry.kind:11} {entry.family:6} {size:>9}  {entry.title}\n")
    sys.stdout.write("* is already installed.\n")


def _accepted(fetcher: Fetcher, offer: Offer) -> bool:
    """Show what would be downloaded, and ask for confirmation. Raises WebuiError if no terminal can answer."""
    sys.stderr.write(
        printable(f"{offer.order.repo}/{offer.order.file}: {offer.size / 1e9:.2f} GB, to {fetcher.target(offer.order)}")
        + "\n"
        + printable(f"Licence: {offer.licence or 'unknown'}. Its terms: {offer.page}")
        + "\n"
    )
    if not sys.stdin.isatty():
        raise WebuiError("The licence must be accepted first.", "Read it, then add --yes.")
    sys.stderr.write("Accept the licence and fetch the file? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _report(event: Event) -> None:
    match event:
        case Stepped():
            sys.stderr.write(f"\r{event.step:3d} %" + ("\n" if event.step == event.steps else ""))
            sys.stderr.flush()
        case Warned():
            sys.stderr.write(f"{printable(event.message)}\n")
        case FileSaved():
            sys.stdout.write(f"{printable(event.name)} ({event.size / 1e9:.2f} GB)\n")
        case _:
            pass
