"""The embeddings example before its model: texts as batches of tokens."""

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from tests.examples import example_modules

(tokens,) = example_modules("embeddings", "tokens")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """One token a word; what the file says of padding and truncation is what a conversion left there."""
    tokenizer = Tokenizer(WordLevel({"[UNK]": 1, "word": 7, "other": 8}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.enable_padding(length=128)
    tokenizer.enable_truncation(5)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def test_texts_of_one_length_share_a_batch(file: Path) -> None:
    texts = ["word other", "word " * 40, "none", "other " * 33, "word " * 1000]
    batches = {tuple(indices): inputs for indices, inputs in tokens.batches(tokens.load_tokenizer(file), texts)}
    assert {indices: inputs["input_ids"].shape for indices, inputs in batches.items()} == {
        (0, 2): (2, 32),
        (1, 3): (2, 64),
        (4,): (1, 256),
    }
    short = batches[0, 2]
    assert short["input_ids"][:, :3].tolist() == [[7, 8, 0], [1, 0, 0]]
    assert short["attention_mask"].sum(axis=1).tolist() == [2, 1]
    assert batches[1, 3]["attention_mask"].sum(axis=1).tolist() == [40, 33]
    for inputs in batches.values():
        assert set(inputs) == {"input_ids", "attention_mask", "token_type_ids"}
        assert not inputs["token_type_ids"].any()
        assert {array.dtype for array in inputs.values()} == {np.dtype(np.int64)}
        assert ((inputs["input_ids"] > 0) == inputs["attention_mask"]).all()


def test_no_texts_are_no_batch(file: Path) -> None:
    assert list(tokens.batches(tokens.load_tokenizer(file), [])) == []
