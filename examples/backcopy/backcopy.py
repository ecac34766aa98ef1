# The Bigram-Backcopy task on the text of the CC0-1.0 licence: alphabet, statistics, sequences.
#
# A sequence starts with <s>; every next token is drawn from the bigram statistics of the text,
# except after one of the three most frequent characters (the triggers), where the token that stood
# before the trigger is copied.  The draw is made at copied positions too, so that one stream of
# random numbers gives one sequence whatever the triggers are. Task: Guo et al. 2024,
# "Active-Dormant Attention Heads", arXiv 2410.13835; here with a small licence-free text.
import pathlib

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
TEXT = HERE / "cc0.txt"
N_TRIGGERS = 3
LENGTH = 64


class Task:
    """Ids: 0 is <s>, 1 is the space, 2..27 are a..z, less the letters that the text lacks."""

    def __init__(self, path=TEXT):
        raw = path.read_text(encoding="utf-8").lower()
        text = " ".join("".join(c if "a" <= c <= "z" else " " for c in raw).split())
        self.symbols = sorted(set(text))
        self.n_vocab = len(self.symbols) + 1
        ids = np.array([self.symbols.index(c) + 1 for c in text])
        self.bos = 0
        unigram = np.bincount(ids, minlength=self.n_vocab).astype(float)
        pairs = np.zeros((self.n_vocab, self.n_vocab))
        np.add.at(pairs, (ids[:-1], ids[1:]), 1)
        self.marginal = unigram / unigram.sum()
        pairs[self.bos] = unigram  # the oracle's row for position 0, as the reference has it
        self.cond = pairs / pairs.sum(1, keepdims=True)
        self.triggers = np.argsort(-self.marginal)[:N_TRIGGERS]
        first = self.marginal.copy()
        first[self.triggers] = 0
        self.first_cdf = np.cumsum(first / first.sum())
        self.cond_cdf = np.cumsum(self.cond, axis=1)
        self.is_trigger = np.zeros(self.n_vocab, bool)
        self.is_trigger[self.triggers] = True

    def sequences(self, rng, n, length=LENGTH + 1):
        """n sequences of `length` tokens, <s> included."""
        out = np.zeros((n, length), np.int64)
        draws = rng.random((length, n))
        out[:, 1] = np.searchsorted(self.first_cdf, draws[1] * self.first_cdf[-1], side="right")
        for t in range(2, length):
            x, before = out[:, t - 1], out[:, t - 2]
            cdf = self.cond_cdf[x]
            markov = (cdf <= draws[t][:, None] * cdf[:, -1:]).sum(1)
            out[:, t] = np.where(self.is_trigger[x], before, markov)
        return out

    def text(self, ids):
        """The text of a sequence without its <s>."""
        return "".join(self.symbols[i - 1] for i in ids if i != self.bos)
