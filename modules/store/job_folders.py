"""Folders in which running jobs keep unfinished results, one per job id; removed when the job ends."""

import contextlib
import re
import shutil
from pathlib import Path

JOB_ID = re.compile(r"[0-9a-f]{16}")


class JobFolders:
    """Folders below `root`. Whoever writes to one creates it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def of(self, job_id: str) -> Path:
        """The folder of a job. Raises ValueError for an invalid job id."""
        if not JOB_ID.fullmatch(job_id):
            raise ValueError(job_id)
        return self._root / job_id

    def remove(self, job_id: str) -> None:
        """Removes the folder and its contents. Whatever cannot be removed stays until the next start."""
        shutil.rmtree(self.of(job_id), ignore_errors=True)
        with contextlib.suppress(OSError):  # it does not exist, or is not empty
            self._root.rmdir()

    def keep_only(self, job_ids: set[str]) -> None:
        """Removes the folders of all other jobs; anything not named by a job id stays."""
        with contextlib.suppress(OSError):
            for folder in list(self._root.iterdir()):
                if JOB_ID.fullmatch(folder.name) and folder.name not in job_ids:
                    self.remove(folder.name)
