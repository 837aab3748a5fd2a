"""Folders in which running jobs keep what they have made so far, each by its job's id; gone when the job is."""

import contextlib
import re
import shutil
from pathlib import Path

JOB_ID = re.compile(r"[0-9a-f]{16}")


class JobFolders:
    """Folders below `root`, which are made by whoever writes to them."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def of(self, job_id: str) -> Path:
        """Raises ValueError for what is no job's id."""
        if not JOB_ID.fullmatch(job_id):
            raise ValueError(job_id)
        return self._root / job_id

    def remove(self, job_id: str) -> None:
        """With all that is in it. What cannot be removed stays until the next start."""
        shutil.rmtree(self.of(job_id), ignore_errors=True)
        with contextlib.suppress(OSError):  # another job's folder is in it, or there is none
            self._root.rmdir()

    def keep_only(self, job_ids: set[str]) -> None:
        """Removes the folders of all other jobs, and nothing that is no job's."""
        with contextlib.suppress(OSError):
            for folder in list(self._root.iterdir()):
                if JOB_ID.fullmatch(folder.name) and folder.name not in job_ids:
                    self.remove(folder.name)
