"""What a checkpoint is, in a short text, for the identity of a run. Imports no torch.

The text changes with any file that an answer follows from: weights, configuration, tokenizer, contract,
and for a folder of LoRA adapters the weights that they are added to.
"""

import hashlib
from pathlib import Path

from models.checkpoint_files import base_of

READ = (".safetensors", ".json", ".jinja", ".txt", ".model")  # the last two: files of slow tokenizers
WHOLE_FILE = 64 << 20  # weights up to this size are read whole, larger ones in samples
SAMPLES, SAMPLE_BYTES = 64, 1 << 20


def checkpoint_identity(checkpoint: str, commit: str | None = None) -> str:
    """A hash of a local folder's files, or a hub id and its commit.

    For a folder of adapters the identity of the weights that they belong to follows behind a `+`. `commit`
    is that of the weights where they come from the hub; None where it is not known.
    """
    folder = Path(checkpoint)
    if not folder.is_dir():
        return f"{checkpoint}@{commit or 'unknown'}"
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in READ and path.is_file():
            digest.update(path.name.encode())
            _add_file(digest, path)
    own = digest.hexdigest()[:16]
    base = base_of("checkpoint", checkpoint)
    return own if base is None else f"{own}+{checkpoint_identity(base, commit)}"


def _add_file(digest: "hashlib._Hash", path: Path) -> None:
    """Add a file to a hash: the whole of it, or its size and samples spread evenly over a large one."""
    size = path.stat().st_size
    digest.update(str(size).encode())
    with path.open("rb") as stream:
        if size <= WHOLE_FILE:
            digest.update(stream.read())
            return
        for index in range(SAMPLES):
            stream.seek((size - SAMPLE_BYTES) * index // (SAMPLES - 1))
            digest.update(stream.read(SAMPLE_BYTES))
