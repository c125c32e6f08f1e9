"""The tracks and results of a VOTSr workspace."""

from dataclasses import dataclass
from pathlib import Path

from configs.errors import UserError
from data_prep.sequence import Sequence
from data_prep.votsr.regions import ABSENT
from data_prep.votsr.results import read_lines, result_path, write_result
from data_prep.votsr.workspace import Workspace
from infer.requests import StartTrack
from infer.session import Session
from infer.summary import TrackOutcome
from infer.track_lines import TrackLines
from infer.track_run import failed


@dataclass(frozen=True)
class VotsrStore:
    """Every prompt of a sequence is a track; a result file holds a line a frame."""

    root: Path
    tracker_id: str
    session: Session

    def prompts(self, sequence: Sequence) -> list[str]:
        """Each prompt once: only empty ones can repeat, and all of them share one result file."""
        return list(dict.fromkeys(sequence.prompts))

    def job(self, sequence: Sequence, prompt: str) -> tuple[str, StartTrack]:  # noqa: ARG002
        """Words and how to start their track: nothing but the words is known."""
        return self.session.job(prompt)

    def absent(self, sequence: Sequence, prompt: str) -> int | None:
        """See `TrackStore`; what is no whole result is tracked again and replaced."""
        path = self._path(sequence, prompt)
        if not path.is_file():
            return None
        try:
            return read_lines(path, len(sequence.frames)).count(ABSENT)
        except UserError:
            return None

    def write(self, sequence: Sequence, prompt: str, track: TrackLines) -> None:
        """See `TrackStore`."""
        write_result(self._path(sequence, prompt), track.masks, len(sequence.frames))

    def _path(self, sequence: Sequence, prompt: str) -> Path:
        return result_path(self.root, self.tracker_id, sequence.name, prompt)


def problems_of(workspace: Workspace) -> list[TrackOutcome]:
    """What of a workspace cannot be tracked."""
    return [failed(problem.sequence, problem.prompt, problem.reason) for problem in workspace.problems]
