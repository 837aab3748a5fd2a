"""Names of a batch's results: the names of their sources, in the batch's folder."""

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from modules.base.events import ImageSaved, PictureDone
from modules.jobs.batch.results import Results, numbered
from modules.jobs.job import Job


class SourceNames:
    """Names for the pictures of one job: based on its source's `name`, or on the names of its earlier pictures.

    All pictures of a job share a base name. If another file takes that name in the meantime, a new one is chosen.
    """

    def __init__(self, results: Results, name: str) -> None:
        self._results = results
        self._name = name
        self._base = ""

    def __call__(self, job: Job, done: PictureDone) -> Iterator[str]:
        """Candidate names in order, without format, relative to the outputs folder."""
        pictures = job.results.pictures
        base = self._base or common_base(job.images, pictures)
        while True:
            self._base = base = base or self._results.free_name(self._name, pictures)
            yield numbered(base, done.index % pictures, pictures) + done.suffix
            base = self._base = ""  # another program took the name first


def common_base(images: Sequence[ImageSaved], pictures: int) -> str:
    """The base name of a job's saved pictures; "" if there is none."""
    for image in (image for image in images if not image.suffix):
        path = PurePosixPath(image.path)
        return str(path.with_suffix("")).removesuffix("" if pictures == 1 else f"-{image.index + 1}")
    return ""
