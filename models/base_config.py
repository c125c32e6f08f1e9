"""What the settings of grounders and of mask heads have in common. Imports nothing heavy."""

from pathlib import Path

DTYPES = ("auto", "float32", "bfloat16", "float16")
DTYPE = (
    "dtype of the weights; auto: bfloat16 on a CUDA GPU (float16 where it has no bfloat16, as T4 and V100), "
    "else float32"
)
SHIPPED = Path(__file__).resolve().parent / "weights"
"""The folder of the small checkpoints that come with the repository."""
