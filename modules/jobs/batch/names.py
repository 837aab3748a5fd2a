"""Names of a batch's results: those of their sources, in the batch's folder."""

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from modules.base.events import ImageDone, ImageSaved
from modules.jobs.batch.results import Results, numbered
from modules.jobs.job import Job


class SourceNames:
    """Names for the pictures of one job: that of its source `name`, or those that its earlier pictures have.

    All pictures of a job have one name in common. Somebody else may take it at any time; then another is looked for.
    """

    def __init__(self, results: Results, name: str) -> None:
        self._results = results
        self._name = name
        self._base = ""

    def __call__(self, job: Job, done: ImageDone) -> Iterator[str]:
        """Names to be tried in their order, without format, below the outputs folder."""
        pictures = job.results.pictures
        base = self._base or common_base(job.images, pictures)
        while True:
            self._base = base = base or self._results.free_name(self._name, pictures)
            yield numbered(base, done.index % pictures, pictures) + done.suffix
            base = self._base = ""  # somebody was quicker


def common_base(images: Sequence[ImageSaved], pictures: int) -> str:
    """The name that a job's pictures have in common, as those that are saved tell it; "" if none is."""
    for image in (image for image in images if not image.suffix):
        path = PurePosixPath(image.path)
        return str(path.with_suffix("")).removesuffix("" if pictures == 1 else f"-{image.index + 1}")
    return ""
