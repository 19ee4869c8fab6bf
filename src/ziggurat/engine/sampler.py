"""From logits to the next token: greedy, temperature, min-p, top-k, top-p, each row of a batch by its own rules.

Randomness is counted, not streamed: the number that decides token i of a request is a hash of (seed, i), so a
request draws the same tokens alone and in a batch, whatever its neighbours do. One uniform number per token is
enough: it is looked up in the cumulated distribution (inverse transform), which is far cheaper than noise for each of
V logits. It has 24 bits, so what is less likely than 6e-8 is never drawn.

Order of the rules: temperature, min-p, top-k, top-p of what is left. The log-probability returned is always that of
the tempered, full-vocabulary distribution, before any rule cut it: that is what PPO's ratio and KL need.

Penalties and biases come before (`penalties.py`). Sources: top-k, Fan et al. 2018 (arXiv:1805.04833); top-p, Holtzman
et al. 2020 (arXiv:1904.09751); min-p (arXiv:2407.01082); the hash is splitmix64 (Steele et al. 2014).

Legend: B batch, V vocabulary.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from ziggurat.engine.params import SamplingParams

Uint64s = npt.NDArray[np.uint64]
_GOLDEN = 0x9E3779B97F4A7C15
_WORD = (1 << 64) - 1
NUCLEUS_CANDIDATES = 128
"""Top-p first looks among so many most likely tokens, and sorts the vocabulary only if their mass is too small."""


# --- counted randomness -------------------------------------------------------------------------------------------


def _scramble(words: Uint64s) -> Uint64s:
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def derive_key(seed: int | None, *path: int) -> int:
    """A 64-bit key for (seed, request, choice, ...); without a seed, a random one."""
    key = secrets.randbits(64) if seed is None else seed & _WORD
    for number in path:
        word = np.array([(key + (number + 1) * _GOLDEN) & _WORD], dtype=np.uint64)
        key = int(_scramble(word)[0])
    return key


def uniforms(keys: Uint64s, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """keys (B,), counts (B,) -> one number in [0, 1) for token `counts[i]` of the request that owns `keys[i]`."""
    words = _scramble(keys + (counts.astype(np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN))
    return (words >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def branch(keys: Uint64s, purpose: str) -> Uint64s:
    """Keys (B,) of another stream of numbers, for draws beside the one that `uniforms` decides by default."""
    word = int.from_bytes(purpose.encode().ljust(8, b"\0")[:8], "little")
    return _scramble(keys ^ np.uint64(word))


# --- drawing ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rules:
    """The rules of every row, as columns (B,)."""

    temperature: npt.NDArray[np.float32]
    top_k: npt.NDArray[np.int64]
    top_p: npt.NDArray[np.float32]
    min_p: npt.NDArray[np.float32]

    @classmethod
    def of(cls, params: list[SamplingParams]) -> Rules:
        return cls(
            np.array([p.temperature for p in params], dtype=np.float32),
            np.array([p.top_k for p in params], dtype=np.int64),
            np.array([p.top_p for p in params], dtype=np.float32),
            np.array([p.min_p for p in params], dtype=np.float32),
        )

    def repeat(self, times: int) -> Rules:
        """Each row's rules so many times, one after the other."""
        return Rules(
            self.temperature.repeat(times),
            self.top_k.repeat(times),
            self.top_p.repeat(times),
            self.min_p.repeat(times),
        )


def tempered_logprobs(logits: Tensor, temperature: npt.NDArray[np.float32]) -> Tensor:
    """logits (B, V) -> log-probabilities (B, V); greedy rows (temperature 0) at temperature 1."""
    divisor = np.where(temperature > 0, temperature, np.float32(1.0))
    if (divisor != 1.0).any():
        logits = logits / torch.from_numpy(divisor).to(logits.device)[:, None]
    return torch.log_softmax(logits, dim=-1)


def draw(logprobs: Tensor, rules: Rules, uniform: npt.NDArray[np.float32]) -> Tensor:
    """logprobs (B, V), -inf where forbidden, uniform (B,) -> ids (B,). A row need not add up to 1."""
    greedy = (rules.temperature == 0) | (rules.top_k == 1)
    if greedy.all():
        return logprobs.argmax(-1)
    u = torch.from_numpy(uniform).to(logprobs.device)
    cut = ~greedy & ((rules.top_k > 0) | (rules.top_p < 1))
    if (rules.min_p[~greedy] > 0).any():
        logprobs = _apply_min_p(logprobs, rules.min_p)
    if cut.all():
        return _draw_cut(logprobs, rules.top_k, rules.top_p, u)
    ids = pick(logprobs.exp(), u)
    if cut.any():
        rows = torch.from_numpy(np.flatnonzero(cut)).to(logprobs.device)
        ids[rows] = _draw_cut(logprobs[rows], rules.top_k[cut], rules.top_p[cut], u[rows])
    if greedy.any():
        rows = torch.from_numpy(np.flatnonzero(greedy)).to(logprobs.device)
        ids[rows] = logprobs[rows].argmax(-1)
    return ids


def _apply_min_p(logprobs: Tensor, min_p: npt.NDArray[np.float32]) -> Tensor:
    with np.errstate(divide="ignore"):
        below_best = torch.from_numpy(np.log(min_p)).to(logprobs.device)
    floor = logprobs.amax(-1, keepdim=True) + below_best[:, None]
    return logprobs.masked_fill(logprobs < floor, float("-inf"))


def probabilities(logprobs: Tensor, rules: Rules) -> Tensor:
    """What `draw` draws from: logprobs (B, V) -> (B, V) adding up to 1; one-hot where a row is greedy."""
    greedy = (rules.temperature == 0) | (rules.top_k == 1)
    best = logprobs.argmax(-1)
    if greedy.all():
        return F.one_hot(best, logprobs.shape[-1]).float()
    cut = ~greedy & ((rules.top_k > 0) | (rules.top_p < 1))
    if (rules.min_p[~greedy] > 0).any():
        logprobs = _apply_min_p(logprobs, rules.min_p)
    p = logprobs.exp()
    if cut.any():
        rows = torch.from_numpy(np.flatnonzero(cut)).to(logprobs.device)
        kept, ids = _cut(logprobs[rows], rules.top_k[cut], rules.top_p[cut])
        p[rows] = torch.zeros_like(p[rows]).scatter_(-1, ids, kept)
    if greedy.any():
        rows = torch.from_numpy(np.flatnonzero(greedy)).to(logprobs.device)
        p[rows] = F.one_hot(best[rows], logprobs.shape[-1]).float()
    return p / p.sum(-1, keepdim=True)


def pick(weights: Tensor, u: Tensor) -> Tensor:
    """weights (B, N) of any sum, u (B,) in [0, 1) -> index (B,), never one of weight 0."""
    cumulated = weights.cumsum(-1)  # accumulated in fp64 on CPU, stored in fp32
    total = cumulated[:, -1]
    threshold = torch.minimum(
        u * total, torch.nextafter(total, torch.zeros_like(total))
    )  # u * total may round to total
    index = torch.searchsorted(cumulated, threshold[:, None], right=True).squeeze(-1)
    return index.clamp_(max=weights.shape[-1] - 1)  # NaN is beyond every number; the engine will name it


def _draw_cut(
    logprobs: Tensor, top_k: npt.NDArray[np.int64], top_p: npt.NDArray[np.float32], u: Tensor
) -> Tensor:
    """Rows with a top-k or a top-p, drawn among their most likely tokens."""
    kept, ids = _cut(logprobs, top_k, top_p)
    return ids.gather(-1, pick(kept, u)[:, None]).squeeze(-1)


def _cut(
    logprobs: Tensor, top_k: npt.NDArray[np.int64], top_p: npt.NDArray[np.float32]
) -> tuple[Tensor, Tensor]:
    """Probabilities (B, N) of the most likely tokens, 0 where top-k or top-p cut them, and those tokens (B, N)."""
    V = logprobs.shape[-1]
    k = np.where(top_k > 0, np.minimum(top_k, V), V)
    kept_mass = torch.from_numpy(top_p).to(logprobs.device)[:, None]
    k_column = torch.from_numpy(k).to(logprobs.device)[:, None]
    candidates = min(int(k.max()), max(NUCLEUS_CANDIDATES, int(k[k < V].max(initial=0))))
    while True:
        values, ids = logprobs.topk(candidates, dim=-1)  # (B, N), most likely first
        p = values.exp()
        p = p * (torch.arange(candidates, device=p.device) < k_column)
        cumulated = p.cumsum(-1)
        # What a row's mass is: of its k best if they are all here, of everything otherwise.
        total = torch.where(k_column <= candidates, cumulated[:, -1:], logprobs.exp().sum(-1, keepdim=True))
        enough = (k_column <= candidates) | (cumulated[:, -1:] >= kept_mass * total)
        if candidates == V or bool(enough.all()):
            break
        candidates = V
    before = cumulated - p
    keep = before < kept_mass * total
    keep[:, 0] = True
    return p * keep, ids
