"""The identity of a checkpoint as a short text, which becomes part of the identity of a run. Imports no
torch.

The text changes with every file that answers depend on: weights, configuration, tokenizer, contract, and for
a folder of LoRA adapters also the weights that they are added to.
"""

import hashlib
from pathlib import Path

from models.calibration import CALIBRATION_FILE
from models.checkpoint_files import base_of

# .txt and .model are files of slow tokenizers.
SUFFIXES = (
    ".safetensors",
    ".json",
    ".jinja",
    ".txt",
    ".model",
)
MAX_WHOLE_FILE = 64 << 20  # bytes; of larger files only samples are read
# Published weights have tens of gigabytes, which would take minutes to read before every run.
SAMPLES, SAMPLE_BYTES = 64, 1 << 20


def checkpoint_identity(checkpoint: str, commit: str | None = None) -> str:
    """A hash of the files in a local folder or of a local file, or a hub id with its commit.

    For a folder of adapters, the identity of the base weights follows after a `+`. `commit` is the commit of
    weights from the hub, or None where it is not known.
    """
    folder = Path(checkpoint)
    if folder.is_file():
        file_digest = hashlib.sha256()
        _add_file(file_digest, folder)
        return file_digest.hexdigest()[:16]
    if not folder.is_dir():
        return f"{checkpoint}@{commit or 'unknown'}"
    # Names are hashed too, so that exchanging two files changes the identity.
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        # Answers do not depend on the thresholds of trackers; those are part of a run's identity by value.
        if path.name != CALIBRATION_FILE and path.suffix in SUFFIXES and path.is_file():
            digest.update(path.name.encode())
            _add_file(digest, path)
    own = digest.hexdigest()[:16]
    base = base_of("checkpoint", checkpoint)
    return own if base is None else f"{own}+{checkpoint_identity(base, commit)}"


def _add_file(digest: "hashlib._Hash", path: Path) -> None:
    """Add a file to a hash: its size, and its bytes or, of a large file, evenly spaced samples."""
    size = path.stat().st_size
    digest.update(str(size).encode())
    with path.open("rb") as stream:
        if size <= MAX_WHOLE_FILE:
            digest.update(stream.read())
            return
        for index in range(SAMPLES):
            # The first sample is at the start of the file, and the last one at its end.
            stream.seek((size - SAMPLE_BYTES) * index // (SAMPLES - 1))
            digest.update(stream.read(SAMPLE_BYTES))
