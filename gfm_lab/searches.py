"""The searches of guided design: where they may go, and four ways to go uphill.

    Space          the sequences within a Hamming distance of a wild type, changed at some positions alone
    Scored         asks for the score of each sequence once, in batches, and keeps it
    genetic        crossover, mutation, selection
    mcmc           Metropolis
    gradient       first-order substitution scores propose, true scores decide
    gumbel         gradient ascent on relaxed letters

A search is `search(scored, space, options, random[, oracle]) -> (M, L)`: the sequences to return first (none: the
best of all that were scored). Inside, a sequence is a row of codes, A, C, G, T as 0 to 3 in uint8. `gfm_lab.design`
calls them. Introduced in notebook 13.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from gfm_lab.baselines import codes_of
from gfm_lab.evaluation import _batches
from gfm_lab.sequence import SequenceError

__all__ = ["distances", "metropolis", "random_mutants", "substitution_scores"]

BASES = np.frombuffer(b"ACGT", dtype=np.uint8)
LEARNING_RATE = 0.3  # of the relaxed letters' Adam

Prior = Callable[[list[str]], np.ndarray]

# ---- What may be used alone ----


def substitution_scores(predictor: Any, sequences: Sequence[str]) -> np.ndarray:
    """(N, L, 4) how much each substitution would change the prediction, to first order; 0 at the letter that stands.

    One backward pass instead of 3 L predictions: the gradient with respect to the one-hot letters, minus its value at
    the letter that stands there. Exact for a linear predictor, a guess elsewhere (the saliency
    of Simonyan et al. 2013, arXiv:1312.6034, for letters).

    Args:
        predictor: with `.forward(one_hot)`, (N, L, 4) -> (N,), differentiable.
        sequences: of one length, A, C, G, T.

    Raises ValueError where `forward` is missing, has no gradient or another shape. Introduced in notebook 13.
    """
    codes = to_codes(sequences)
    hot = torch.eye(4)[torch.from_numpy(codes.astype(np.int64))].requires_grad_()  # (N, L, 4)
    with torch.enable_grad():
        out = forward_of(predictor, hot)
        if not out.requires_grad:
            raise ValueError(
                f"{type(predictor).__name__}.forward has no gradient: it must compute in torch, without no_grad, "
                f"numpy or detach; or use the method 'genetic' or 'mcmc'"
            )
        (slope,) = torch.autograd.grad(out.sum(), hot)
    slope = slope.double().numpy()
    return slope - np.take_along_axis(slope, codes[..., None].astype(np.int64), axis=2)


def metropolis(
    log_density: Callable[[list[str]], np.ndarray],
    wild_type: str,
    *,
    distance: int,
    positions: Sequence[int] | None = None,
    chains: int = 64,
    steps: int = 500,
    seed: int = 0,
    batch_size: int = 512,
) -> list[str]:
    """The last states of independent Metropolis chains: samples of exp(log_density) within a distance of a wild type.

    Half of the proposals change one base, half revert one mutation and make another one elsewhere; both are as likely
    forwards as backwards, so that the chance to accept is min(1, density ratio) (Metropolis et al. 1953,
    doi:10.1063/1.1699114). A step out of the ball is refused. Chains start at random mutants: take steps enough to
    forget them.

    Args:
        log_density: sequences -> (N,) nats, up to a constant.
        wild_type, distance, positions: as in `guided_design`.
        chains, steps, seed: whole numbers; batch_size: sequences scored at once.

    Raises ValueError and SequenceError as `guided_design` does. Introduced in notebook 13.
    """
    whole(chains=chains, steps=steps, batch_size=batch_size)
    space = space_of(wild_type, distance, positions)
    scored = Scored(log_density, None, 1.0, batch_size)
    random = np.random.default_rng(seed)
    return to_texts(_mcmc(scored, space, Options(steps, chains, 1.0, seed), random))


def random_mutants(
    wild_type: str, mutations: Sequence[int], positions: Sequence[int] | None = None, seed: int = 0
) -> list[str]:
    """One random mutant for each number of `mutations` (1 and more), all different: the baseline of every design.

    Raises ValueError for more mutations than positions, or more mutants than there are. Introduced in notebook 13.
    """
    mutations = np.asarray(mutations, dtype=int)
    space = space_of(wild_type, int(mutations.max(initial=1)), positions)
    for k, wanted in zip(*np.unique(mutations, return_counts=True), strict=True):
        if k < 1 or wanted > math.comb(len(space.positions), k) * 3 ** int(k):
            raise ValueError(f"there are no {wanted:,} different mutants with {k} mutations here")
    return to_texts(mutants(space, mutations, np.random.default_rng(seed), different=True))


def distances(sequences: Sequence[str], others: Sequence[str]) -> np.ndarray:
    """(N, M) Hamming distances between two lists of sequences of one length. Introduced in notebook 13."""
    a, b = to_codes(sequences), to_codes(others)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"Hamming distance needs one length, not {a.shape[1]:,} and {b.shape[1]:,}")
    return hamming(a, b)


# ---- Where a search may go ----


class Space(NamedTuple):
    """The sequences within `distance` of `wild` (L,), changed at `positions` (P,) alone."""

    wild: np.ndarray
    positions: np.ndarray
    distance: int

    def size(self) -> int:
        """Sequences that are not the wild type itself."""
        return sum(math.comb(len(self.positions), k) * 3**k for k in range(1, self.distance + 1))

    def mutated(self, codes: np.ndarray) -> np.ndarray:
        """(N, P) bool."""
        return codes[:, self.positions] != self.wild[self.positions]


def space_of(wild_type: str, distance: int, positions: Sequence[int] | None) -> Space:
    wild = codes_of(wild_type)
    if len(wild) == 0:
        raise ValueError("the wild type is empty")
    if (wild > 3).any():
        at = int((wild > 3).argmax())
        raise SequenceError(
            f"found {wild_type[at]!r}: a wild type is of A, C, G and T alone", position=at + 1
        )
    places = np.arange(len(wild)) if positions is None else np.asarray(positions, dtype=int).ravel()
    if len(places) == 0 or len(np.unique(places)) < len(places):
        raise ValueError("positions must be different indices, at least one")
    if places.min() < 0 or places.max() >= len(wild):
        wrong = places[(places < 0) | (places >= len(wild))][0]
        raise ValueError(
            f"position {wrong} lies outside the wild type: indices run from 0 to {len(wild) - 1}"
        )
    if (
        isinstance(distance, bool)
        or not isinstance(distance, int | np.integer)
        or not 1 <= distance <= len(places)
    ):
        raise ValueError(
            f"distance is {distance!r}: it must be a whole number from 1 to the {len(places)} bases that may change"
        )
    return Space(wild, np.sort(places), int(distance))


def mutants(space: Space, mutations: np.ndarray, random: np.random.Generator, different: bool) -> np.ndarray:
    """(N, L) random mutants with these numbers of mutations; `different`: no two alike (there must be enough)."""
    mutations = np.asarray(mutations)
    found = np.tile(space.wild, (len(mutations), 1))
    todo, seen = np.arange(len(mutations)), set()
    while len(todo):
        keys = random.random((len(todo), len(space.positions)))
        mutate = (
            keys.argsort(axis=1).argsort(axis=1) < mutations[todo, None]
        )  # so many places, all alike likely
        shift = random.integers(1, 4, mutate.shape).astype(np.uint8) * mutate
        fresh = np.tile(space.wild, (len(todo), 1))
        fresh[:, space.positions] = (fresh[:, space.positions] + shift) % 4
        found[todo] = fresh
        if not different:
            break
        again = []
        for row, codes in zip(todo, fresh, strict=True):
            if codes.tobytes() in seen:
                again.append(row)
            seen.add(codes.tobytes())
        todo = np.array(again, dtype=int)
    return found


def propose(codes: np.ndarray, space: Space, random: np.random.Generator) -> np.ndarray:
    """(N, L) one symmetric step for each row: a substitution, or one mutation moved. Rows that would leave stay."""
    new, rows = codes.copy(), np.arange(len(codes))
    mutated = space.mutated(codes)
    keys = random.random(mutated.shape)
    at = keys.argmax(axis=1)  # a uniform place among all, and among mutated and unmutated ones
    old = np.where(mutated, keys, -1).argmax(axis=1)
    fresh = np.where(mutated, -1, keys).argmax(axis=1)
    count = mutated.sum(axis=1)
    swap = random.random(len(codes)) < 0.5
    stay = swap & (
        (count == 0) | (count == mutated.shape[1])
    )  # nothing to move: staying keeps the step symmetric
    swap &= ~stay
    shift = random.integers(1, 4, len(codes)).astype(np.uint8)
    place = space.positions[np.where(swap, fresh, at)]
    back = space.positions[old[swap]]
    new[swap, back] = space.wild[back]
    new[rows, place] = (new[rows, place] + shift) % 4
    stay |= space.mutated(new).sum(axis=1) > space.distance
    new[stay] = codes[stay]
    return new


# ---- The searches ----


class Options(NamedTuple):
    rounds: int
    population: int
    temperature: float
    seed: int


class Scored:
    """Scores sequences in batches, each once: `objective[codes.tobytes()]` keeps what was scored."""

    def __init__(
        self,
        predict: Callable[[list[str]], np.ndarray],
        prior: Prior | None,
        temperature: float,
        batch_size: int,
    ) -> None:
        self.predict, self.prior, self.temperature, self.batch_size = predict, prior, temperature, batch_size
        self.objective: dict[bytes, float] = {}

    @property
    def calls(self) -> int:
        return len(self.objective)

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        """(N, L) -> (N,)"""
        keys = [row.tobytes() for row in codes]
        new = list(dict.fromkeys(key for key in keys if key not in self.objective))
        for rows in _batches(len(new), self.batch_size):
            texts = to_texts(np.stack([np.frombuffer(key, dtype=np.uint8) for key in new[rows]]))
            values = numbers_of(self.predict(texts), len(texts), "the oracle")
            if self.prior is not None:
                values = values + self.temperature * numbers_of(self.prior(texts), len(texts), "the prior")
            self.objective.update(zip(new[rows], values.tolist(), strict=True))
        return np.array([self.objective[key] for key in keys])


def _start(space: Space, count: int, random: np.random.Generator) -> np.ndarray:
    return mutants(space, random.integers(1, space.distance + 1, count), random, different=False)


def _genetic(scored: Scored, space: Space, options: Options, random: np.random.Generator) -> np.ndarray:
    people = _start(space, options.population, random)
    for _ in range(options.rounds):
        people = np.unique(people, axis=0)
        people = people[np.argsort(-scored(people), kind="stable")[: options.population]]
        # Two parents a child, each the best of three (people are sorted, so that is the smallest number).
        mother, father = random.integers(len(people), size=(2, options.population, 3)).min(axis=2)
        child = np.where(
            random.random((options.population, people.shape[1])) < 0.5, people[mother], people[father]
        )
        people = np.concatenate([people, propose(_pull_back(child, space, random), space, random)])
    scored(people)
    return people[:0]  # the best of all that were scored


def _pull_back(codes: np.ndarray, space: Space, random: np.random.Generator) -> np.ndarray:
    """Revert random mutations of rows that have too many."""
    mutated = space.mutated(codes)
    keys = np.where(mutated, random.random(mutated.shape), -1)
    drop = (-keys).argsort(axis=1).argsort(axis=1) >= space.distance
    codes = codes.copy()
    codes[:, space.positions] = np.where(drop, space.wild[space.positions], codes[:, space.positions])
    return codes


def _mcmc(scored: Scored, space: Space, options: Options, random: np.random.Generator) -> np.ndarray:
    state = _start(space, options.population, random)
    now = scored(state)
    for _ in range(options.rounds):
        new = propose(state, space, random)
        then = scored(new)
        accept = np.log(random.random(len(state))) * options.temperature < then - now
        state[accept], now[accept] = new[accept], then[accept]
    return state


def _gradient(
    scored: Scored, space: Space, options: Options, random: np.random.Generator, oracle: Any
) -> np.ndarray:
    state = _start(space, options.population, random)
    now, rows = scored(state), np.arange(len(state))
    for _ in range(options.rounds):
        change = np.concatenate(
            [
                substitution_scores(oracle, to_texts(state[part]))
                for part in _batches(len(state), scored.batch_size)
            ]
        )[:, space.positions]  # (N, P, 4)
        wild = space.wild[space.positions].astype(np.int64)
        mutated = space.mutated(state)
        back = np.where(
            mutated, np.take_along_axis(change, wild[None, :, None], 2)[..., 0], -np.inf
        )  # (N, P)
        full = mutated.sum(axis=1) >= space.distance
        # A new mutation where all are spent takes the place of the one that is missed least.
        gain = change + np.where(full[:, None] & ~mutated, back.max(axis=1, keepdims=True), 0)[..., None]
        here = state[:, space.positions].astype(np.int64)
        np.put_along_axis(gain, here[..., None], -np.inf, axis=2)
        spread = (
            np.abs(change).mean() + 1e-12
        )  # the noise that lets rows try different moves, on the gains' scale
        pick = (gain / spread + random.gumbel(size=gain.shape)).reshape(len(state), -1).argmax(axis=1)
        place, base = pick // 4, pick % 4
        new = state.copy()
        swap = full & ~mutated[rows, place]
        lost = space.positions[back[swap].argmax(axis=1)]
        new[swap, lost] = space.wild[lost]
        new[rows, space.positions[place]] = base
        then = scored(new)
        better = then >= now  # the gradient only proposes
        state[better], now[better] = new[better], then[better]
    return state[:0]


def _gumbel(
    scored: Scored, space: Space, options: Options, random: np.random.Generator, oracle: Any
) -> np.ndarray:
    generator = torch.Generator().manual_seed(int(random.integers(2**31)))
    places = torch.from_numpy(space.positions)
    wild = torch.from_numpy(space.wild.astype(np.int64))
    eye, count = torch.eye(4), options.population
    own = eye[wild[places]].bool()  # (P, 4)
    letters = torch.zeros(count, len(places), 4, requires_grad=True)
    optimizer = torch.optim.Adam([letters], lr=LEARNING_RATE)
    whole = eye[wild].expand(count, -1, -1)  # (N, L, 4)
    for step in range(options.rounds):
        tau = 2.0 * 0.25 ** (step / options.rounds)  # from soft to harder: 2 to 0.5
        noise = -torch.log(-torch.log(torch.rand(letters.shape, generator=generator).clamp(1e-9, 1 - 1e-7)))
        noisy = letters + noise
        with torch.no_grad():  # hard letters: the `distance` places that prefer another base the most
            best, base = noisy.masked_fill(own, -math.inf).max(-1)
            margin = best - noisy[:, own]
            kept = margin.argsort(1, descending=True).argsort(1) < space.distance
            base = torch.where(kept & (margin > 0), base, wild[places])
        soft = (noisy / tau).softmax(-1)
        mixed = eye[base] + soft - soft.detach()  # hard forwards, soft backwards
        value = forward_of(oracle, whole.index_copy(1, places, mixed))
        (letters.grad,) = torch.autograd.grad(
            -value.sum(), letters
        )  # of the letters alone, not of the oracle
        optimizer.step()
        codes = np.tile(space.wild, (count, 1))
        codes[:, space.positions] = base.numpy()
        scored(codes)
    return codes[:0]


SEARCHES: dict[str, Callable[..., np.ndarray]] = {
    "genetic": _genetic,
    "mcmc": _mcmc,
    "gradient": _gradient,
    "gumbel": _gumbel,
}


# ---- Between sequences, codes and predictors ----


def forward_of(predictor: Any, hot: torch.Tensor) -> torch.Tensor:
    forward = getattr(predictor, "forward", None)
    if forward is None:
        raise ValueError(
            f"{type(predictor).__name__} has no forward(one_hot): a gradient cannot be taken; use the method "
            f"'genetic' or 'mcmc'"
        )
    out = forward(hot)
    if not isinstance(out, torch.Tensor) or out.shape != hot.shape[:1]:
        shape = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
        raise ValueError(
            f"forward of one-hot letters {tuple(hot.shape)} gives {shape}: it must give {tuple(hot.shape[:1])}"
        )
    return out


def numbers_of(values: Any, count: int, who: str) -> np.ndarray:
    values = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if values.shape != (count,):
        raise ValueError(
            f"{who} gives shape {values.shape} for {count} sequences: one number each is needed. For classes: "
            f"log_odds(predictor, 1), the log-odds of class 1"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{who} gives numbers that are not finite")
    return values.astype(float)


def whole(least: int = 1, **numbers: Any) -> None:
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ValueError(f"{name} is {value!r}: it must be a whole number of at least {least}")


def to_codes(sequences: Sequence[str]) -> np.ndarray:
    """(N, L) uint8 of sequences of one length."""
    lengths = {len(text) for text in sequences}
    if len(lengths) != 1:
        raise ValueError(f"give at least one sequence, all of one length, not of {sorted(lengths)[:5]}")
    return codes_of("".join(sequences)).reshape(len(sequences), -1)


def to_text(codes: np.ndarray) -> str:
    return BASES[codes].tobytes().decode()


def to_texts(codes: np.ndarray) -> list[str]:
    return [to_text(np.minimum(row, 3)) for row in codes]


def hamming(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.stack([(row != b).sum(axis=1) for row in a])
