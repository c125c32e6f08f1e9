"""The contract between training and inference: how a question is put, and how an answer is written."""
