"""What the transformers library, of whatever version is imported, makes of a checkpoint; also a script.

    python tests/library_outputs.py CHECKPOINT OUT [AGAIN]

writes the outputs to OUT.npz, and with AGAIN saves model and processor to that folder. It imports nothing of
this repository, so that it also runs with packages of another version on PYTHONPATH.
"""

import sys
from typing import Any

import numpy as np
import torch

SIDE = 448  # pixels: whole tokens of every family, within all limits, so that no processor resizes the image
KEPT = 16  # tokens at the end whose logits are returned, since the vocabulary is wide
WORDS = "find the <|im_end|> red ball 2 times"


def load(checkpoint: str) -> tuple[Any, Any]:
    """Model (float32) and processor by the automatic classes."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32)
    return model.eval(), AutoProcessor.from_pretrained(checkpoint)


def outputs(model: Any, processor: Any) -> dict[str, np.ndarray]:
    """Token ids, pixels and last logits of a question with an image, and the version of the library."""
    import transformers
    from PIL import Image

    image = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    content = [{"type": "text", "text": WORDS}, {"type": "image"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(text=[text], images=[Image.fromarray(image)], return_tensors="pt")
    with torch.inference_mode():
        logits = model(**inputs, logits_to_keep=KEPT).logits
    return {
        "version": np.array(transformers.__version__),
        "added": np.array(sorted(processor.tokenizer.get_added_vocab())),
        "special": np.array(sorted(set(processor.tokenizer.all_special_tokens))),
        "input_ids": inputs["input_ids"].numpy(),
        "pixels": inputs["pixel_values"].numpy(),
        "logits": logits.numpy(),
    }


def main(checkpoint: str, out: str, again: str | None = None) -> None:
    """Write the outputs, and the checkpoint as this version of the library writes it."""
    torch.set_num_threads(1)
    model, processor = load(checkpoint)
    np.savez(out, **outputs(model, processor))
    if again is not None:
        model.save_pretrained(again)
        processor.save_pretrained(again)


if __name__ == "__main__":
    main(*sys.argv[1:])
