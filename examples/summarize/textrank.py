"""Extractive summaries by TextRank (Mihalcea and Tarau, 2004).

A sentence is important when important sentences resemble it: PageRank over the sentences, with the cosine similarity of
their TF-IDF vectors for links. The summary is made of the text's own sentences, in their own order.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer

__all__ = ["rank", "similarity", "split_sentences", "summarize"]

MAX_SENTENCES: Final = 400
"""Sentences that are compared, each with each: the first ones of a text that has more."""
MAX_SUMMARY: Final = 5
"""Most sentences in a summary."""
DAMPING: Final = 0.85
"""Share of a sentence's rank that comes from the sentences that resemble it."""

_ENDS: Final = (".", "!", "?", "…", "。", "！", "？", "।", "؟", "۔")
_CLOSERS: Final = "\"'”’»)]」』）"
_OPENERS: Final = "\"'“‘«([「『（¿¡"
_PARAGRAPH: Final = re.compile(r"\n[^\S\n]*\n")
_CJK_END: Final = re.compile(r"(?<=[。！？])(?![。！？」』）])")  # no blank follows these
_TOKEN: Final = r"[\u3040-\u30ff\u4e00-\u9fff]|\w\w+"  # these are written without blanks: each character counts
_ABBREVIATION: Final = re.compile(
    r"""(?: mrs? | ms | dr | prof | rev | gen | sen | rep | st | [js]r | vs | etc | cf | ca | al | approx | dept | est
          | figs? | nos? | vol | pp | eq | sec | inc | ltd | co | corp | bzw | usw
          | jan | feb | mar | apr | jun | jul | aug | sept? | oct | nov | dec
          | (?:[^\W\d_]\.)*[^\W\d_]  # J. / e.g. / U.S.
        )\.""",
    re.IGNORECASE | re.VERBOSE,
)


def summarize(text: str) -> str:
    """The most important sentences of a text: about a third of them, at least one, at most MAX_SUMMARY.

    Comparing sentences takes quadratic time, so only the first MAX_SENTENCES of a text are considered; a sentence that
    is repeated counts once. White space is not kept. Nothing bounds the length of one sentence.

    Returns:
        Sentences of the text in their original order; empty for a text without any.
    """
    sentences = list(dict.fromkeys(split_sentences(text)))[:MAX_SENTENCES]
    wanted = min(MAX_SUMMARY, max(1, round(len(sentences) / 3)))
    if len(sentences) <= wanted:
        return " ".join(sentences)
    ranks = rank(similarity(sentences)).round(9)  # rounded, so that equals are equal and the earlier one wins
    best = np.argsort(-ranks, kind="stable")[:wanted]
    return " ".join(sentences[index] for index in sorted(best))


def split_sentences(text: str) -> Iterator[str]:
    """The sentences of a text, their white space made single blanks; an empty line ends one too. Takes linear time."""
    for paragraph in _PARAGRAPH.split(text):
        for piece in _CJK_END.split(paragraph):
            words = piece.split()
            start = 0
            for end, (word, following) in enumerate(pairwise((*words, "")), start=1):
                if not following or _ends_sentence(word, following):
                    yield " ".join(words[start:end])
                    start = end


def _ends_sentence(word: str, following: str) -> bool:
    bare = word.strip(_OPENERS + _CLOSERS)
    if not bare.endswith(_ENDS) or following.lstrip(_OPENERS)[:1].islower():
        return False
    return not _ABBREVIATION.fullmatch(bare)


def similarity(sentences: list[str]) -> npt.NDArray[np.float64]:
    """Cosine similarity of each sentence to each other, shape (n, n), from 0 to 1; 0 to itself.

    Common English words are ignored; in other languages they weigh little because they are in many sentences.
    """
    vectorizer = TfidfVectorizer(token_pattern=_TOKEN, stop_words="english", sublinear_tf=True)
    try:
        vectors = vectorizer.fit_transform(sentences)
    except ValueError:  # no sentence has a word to compare by: "?! ... 1 2 3"
        return np.zeros((len(sentences), len(sentences)))
    links: npt.NDArray[np.float64] = (vectors @ vectors.T).toarray()
    np.fill_diagonal(links, 0)
    return links


def rank(links: npt.NDArray[np.float64], tolerance: float = 1e-9, max_steps: int = 200) -> npt.NDArray[np.float64]:
    """PageRank by power iteration.

    Args:
        links: weight of the link from each node (row) to each other (column), shape (n, n), not negative, n > 0.
        tolerance: the iteration ends when the ranks change by less in total.

    Returns:
        Shape (n,), sum 1.
    """
    count = len(links)
    totals = links.sum(axis=1, keepdims=True)
    shares = np.divide(links, totals, out=np.full_like(links, 1 / count), where=totals > 0)  # no links: to everyone
    ranks = np.full(count, 1 / count)
    for _ in range(max_steps):
        previous, ranks = ranks, (1 - DAMPING) / count + DAMPING * (ranks @ shares)
        if np.abs(ranks - previous).sum() < tolerance:
            break
    return ranks
