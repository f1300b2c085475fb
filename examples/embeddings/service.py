"""Texts as vectors: near ones mean much the same."""

from typing import Annotated

import numpy as np
from tokens import batches, load_tokenizer

import orchestrator
from orchestrator import models
from orchestrator.validators import DType, Shape

DIMENSIONS = 384
Vectors = Annotated[np.ndarray, DType("float32"), Shape((-1, DIMENSIONS))]


@orchestrator.service(name="Embeddings", traffic={"timeout": 30})
class Embeddings:
    """all-MiniLM-L6-v2: the tokenizer here, the network as a model of Triton's."""

    minilm = models.get("minilm")
    encoder = models.Onnx(minilm)

    def __init__(self) -> None:
        self.tokenizer = load_tokenizer(self.minilm.folder / "tokenizer.json")

    @orchestrator.api(batchable=True, max_batch_size=64)
    def embed(self, texts: list[str]) -> Vectors:
        """One vector a text, of length 1: the product of two is their similarity, 1 for the same text."""
        vectors = np.zeros((len(texts), DIMENSIONS), np.float32)
        for indices, inputs in batches(self.tokenizer, texts):
            vectors[indices] = self.encoder(**inputs)
        return vectors
