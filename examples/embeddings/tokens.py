"""Texts as token ids in arrays, for a model of the BERT family."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

__all__ = ["MOST_TOKENS", "batches", "load_tokenizer"]

MOST_TOKENS: Final = 256
"""A text is cut after these; the model was trained with no more."""
STEP: Final = 32
"""Texts are padded to a multiple of it: only texts of one length can share a batch."""


def load_tokenizer(file: Path) -> Tokenizer:
    """The tokenizer of a `tokenizer.json`, which cuts long texts and pads none."""
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MOST_TOKENS)
    return tokenizer


def batches(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[tuple[list[int], dict[str, npt.NDArray[np.int64]]]]:
    """The model's inputs: one batch for all texts that are padded to the same length.

    A long text among short ones does not make these long, too.

    Yields:
        Indices into `texts`, and for them `input_ids`, `attention_mask` and `token_type_ids`, shape (texts, tokens).
    """
    encoded = tokenizer.encode_batch(list(texts))
    groups: dict[int, list[int]] = {}
    for index, each in enumerate(encoded):
        groups.setdefault(-(-len(each.ids) // STEP) * STEP, []).append(index)
    for length, indices in groups.items():
        shape = (len(indices), length)
        inputs: dict[str, Any] = {name: np.zeros(shape, np.int64) for name in ("input_ids", "attention_mask")}
        for row, index in enumerate(indices):
            ids = encoded[index].ids
            inputs["input_ids"][row, : len(ids)] = ids
            inputs["attention_mask"][row, : len(ids)] = 1
        yield indices, inputs | {"token_type_ids": np.zeros(shape, np.int64)}
