"""Guided design: change a stretch of DNA so that a trained predictor scores it higher, and find out if that is true.

    wild type --> search within a Hamming distance --> designs --> oracle: the predictor that the search climbed
                                                              --> judge: another one, which the search never saw

A search finds whatever raises the oracle's number: a better promoter, or a sequence that the oracle gets wrong. The
oracle itself cannot tell the two apart (it is the same number), so `guided_design` wants a second predictor, of another
architecture and trained on other items, and reports both, beside random mutants at the same distances and the best
training items. A judge shares the data's noise and blind spots; the last word is a measurement.

    genetic     crossover, mutation and selection: needs scores alone
    mcmc        Metropolis: samples from prior(x) * exp(oracle(x) / temperature), the prior a language model
    gradient    the oracle's gradient ranks all single substitutions at once; true scores decide
    gumbel      Gumbel-softmax: gradient ascent on relaxed letters, with hard letters forwards

Read in this order: `guided_design`, `substitution_scores`, then the four searches. Introduced in notebook 13.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from gfm_lab.baselines import codes_of
from gfm_lab.evaluation import _batches, _four, _ready
from gfm_lab.generation import _bases_of, _control, _must_fit, _must_write
from gfm_lab.sequence import SequenceError

__all__ = [
    "Designs",
    "distances",
    "guided_design",
    "log_likelihood",
    "log_odds",
    "metropolis",
    "random_mutants",
    "substitution_scores",
]

BASES = np.frombuffer(b"ACGT", dtype=np.uint8)
ROUNDS = {"genetic": 60, "mcmc": 500, "gradient": 60, "gumbel": 150}  # steps of a search, unless told
POPULATION = 200  # sequences that a search holds at the same time
LEARNING_RATE = 0.3  # of the relaxed letters' Adam
RESAMPLES = 1000

Prior = Callable[[list[str]], np.ndarray]


@dataclass(frozen=True, eq=False)
class Designs:
    """What a search found, beside its baselines.

    frame     one row a sequence: `set` (designs, wild type, random mutants, random best by oracle, training best),
              `sequence`, `oracle`, `judge`, `distance` (bases that differ from the wild type), `nearest` (bases that
              differ from the nearest training sequence)
    method    of the search; calls: sequences that it had the oracle score; settings: what else was chosen
    """

    frame: pd.DataFrame
    method: str
    calls: int
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def sequences(self) -> list[str]:
        """The designs, the oracle's favourite first."""
        return self.frame.loc[self.frame["set"] == "designs", "sequence"].tolist()

    def table(self, resamples: int = RESAMPLES, seed: int = 0) -> pd.DataFrame:
        """One row a set: means over its sequences, in the unit of the predictors.

        Columns: `n`; `oracle`, `judge` and `gap` (oracle minus judge), each with `_low` and `_high`, a 95 % bootstrap
        interval over sequences; `agreement`, Spearman's rho of oracle and judge within the set (nan below three
        sequences, or if one of them is constant); `diversity`, mean pairwise Hamming distance (nan for one);
        `distance` and `nearest`, means.

        The intervals say how much a mean depends on which sequences were drawn. They do not contain the error of the
        judge, which all sequences share. Introduced in notebook 13.
        """
        rows = {}
        for name, rows_of in self.frame.groupby("set", sort=False):
            oracle, judge = rows_of["oracle"].to_numpy(), rows_of["judge"].to_numpy()
            row: dict[str, float] = {"n": len(rows_of)}
            for column, values in (("oracle", oracle), ("judge", judge), ("gap", oracle - judge)):
                row[column] = float(values.mean())
                row[f"{column}_low"], row[f"{column}_high"] = _interval(values, resamples, seed)
            row["agreement"] = _spearman(oracle, judge)
            row["diversity"] = _diversity(_codes(rows_of["sequence"].tolist()))
            row["distance"] = float(rows_of["distance"].mean())
            row["nearest"] = float(rows_of["nearest"].mean())
            rows[name] = row
        return pd.DataFrame(rows).T.rename_axis("set").astype({"n": int})

    def gain(
        self, over: str = "random mutants", resamples: int = RESAMPLES, seed: int = 0
    ) -> dict[str, float]:
        """Mean judge score of the designs minus that of another set, with its 95 % bootstrap interval.

        Raises ValueError for a set that is not in the frame. Introduced in notebook 13.
        """
        if over not in set(self.frame["set"]):
            raise ValueError(
                f"there is no set {over!r}: choose one of {', '.join(self.frame['set'].unique())}"
            )
        a, b = (self.frame.loc[self.frame["set"] == name, "judge"].to_numpy() for name in ("designs", over))
        random = np.random.default_rng(seed)
        drawn = [
            part[random.integers(len(part), size=(resamples, len(part)))].mean(axis=1) for part in (a, b)
        ]
        low, high = np.quantile(drawn[0] - drawn[1], [0.025, 0.975])
        return {"value": float(a.mean() - b.mean()), "low": float(low), "high": float(high)}

    def __repr__(self) -> str:
        oracle, judge = self.frame.groupby("set")[["oracle", "judge"]].mean().loc["designs"]
        return f"Designs({len(self.sequences)} by {self.method}: oracle {oracle:.3f}, judge {judge:.3f})"


def guided_design(
    wild_type: str,
    oracle: Any,
    judge: Any = None,
    *,
    distance: int,
    train: tuple[Sequence[str], Sequence[float]] | None = None,
    n: int = 50,
    method: str = "genetic",
    positions: Sequence[int] | None = None,
    prior: Prior | None = None,
    temperature: float = 1.0,
    rounds: int | None = None,
    population: int = POPULATION,
    apart: int = 1,
    seed: int = 0,
    batch_size: int = 512,
) -> Designs:
    """`n` sequences near a wild type that an oracle scores high, each with the score of a judge, and baselines.

    What the search climbs is oracle(x), with a `prior` oracle(x) + temperature * prior(x). "mcmc" returns the last
    states of its chains, which are samples (where those repeat, the best other sequences on the way fill up); the other
    methods return the best sequences that they scored.

    Args:
        wild_type: A, C, G and T, in either case.
        oracle: a predictor with `.predict(sequences) -> (N,)`. The methods "gradient" and "gumbel" also need
            `.forward(one_hot)` of (N, L, 4) torch tensors -> (N,), differentiable.
        judge: another predictor, trained on other items and of another architecture. Needed.
        distance: at most so many bases differ from the wild type, from 1 to the number of positions.
        train: (sequences, values) that the oracle was trained on: for the distance to the nearest one, and for the
            best training items as a baseline. Needed.
        n: designs, all different; method: "genetic", "mcmc", "gradient" or "gumbel".
        positions: 0-based indices that may change. None: all.
        prior: `prior(sequences) -> (N,)` log probabilities in nats, such as `log_likelihood` of a language model.
        temperature: in the oracle's unit. One nat of prior is worth so much oracle; it also is the temperature of
            Metropolis: a step that loses so much is taken with probability 1/e.
        rounds: steps of the search. None: 60 generations, 500 steps of Metropolis, 60 of "gradient", 150 of "gumbel".
        population: sequences held at the same time ("mcmc": chains, at least `n` are run).
        apart: designs differ from each other in at least so many bases.
        seed: decides everything random; batch_size: sequences a predictor reads at once, which changes only speed.

    Baselines in the result: "random mutants" (one for each design, with as many mutations), "random best by oracle"
    (the n that the oracle likes best among as many random mutants as the search scored) and "training best" (the n with
    the highest measured value, ties broken by the oracle).

    Raises:
        ValueError: no judge, or the oracle as its own judge; no `train`; a distance, n or other number out of range
            (n: more than there are sequences within the distance); an unknown method; a predictor of another length, or
            without what the method needs; `apart` so large that fewer than n designs were found.
        SequenceError: a letter of the wild type that is not A, C, G or T, with its position.

    Genetic algorithms on DNA predictors: Vaishnav et al. 2022 (doi:10.1038/s41586-022-04506-6). A prior against
    sequences that fool the oracle: Brookes et al. 2019 (arXiv:1901.10060). Introduced in notebook 13.
    """
    if method not in _SEARCHES:
        raise ValueError(f"there is no method {method!r}: choose one of {', '.join(_SEARCHES)}")
    _two_predictors(oracle, judge)
    _whole(rounds=ROUNDS[method] if rounds is None else rounds, population=population, apart=apart)
    _whole(n=n, batch_size=batch_size)
    _whole(seed=seed, least=0)
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature is {temperature!r}: it must be a finite number above 0")
    space = _space(wild_type, distance, positions)
    if n > space.size():
        raise ValueError(
            f"n is {n:,}, but only {space.size():,} sequences lie within {distance} of the wild type at "
            f"{len(space.positions)} positions: lower n, or allow more"
        )
    known, values = _train(train, len(space.wild))
    predict = {
        name: _checked(part, name, space, batch_size) for name, part in (("oracle", oracle), ("judge", judge))
    }
    differentiable = method in ("gradient", "gumbel")
    if differentiable:
        substitution_scores(oracle, [_text(space.wild)])  # says what is missing before the search begins

    random = np.random.default_rng(seed)
    scored = _Scored(predict["oracle"], prior, temperature, batch_size)
    options = _Options(ROUNDS[method] if rounds is None else rounds, max(population, n), temperature, seed)
    last = _SEARCHES[method](scored, space, options, random, *([oracle] if differentiable else []))
    chosen = _choose(scored, last, n, apart, space)

    sets = {"designs": chosen, "wild type": space.wild[None]}
    far = (chosen != space.wild).sum(axis=1)
    sets["random mutants"] = _mutants(space, far, random, different=True)
    many = _mutants(space, random.choice(far, max(scored.calls, n)), random, different=False)
    many = np.unique(many, axis=0)
    sets["random best by oracle"] = many[np.argsort(-predict["oracle"](_texts(many)), kind="stable")[:n]]
    best = np.lexsort((-predict["oracle"](_texts(known)), -values))[:n]
    sets["training best"] = known[best]
    frame = _frame(sets, predict, space.wild, known)
    settings = {"distance": distance, "n": n, "seed": seed, "rounds": options.rounds, "apart": apart}
    settings |= {"population": options.population, "temperature": temperature, "prior": prior is not None}
    return Designs(frame, method, scored.calls, settings)


def substitution_scores(predictor: Any, sequences: Sequence[str]) -> np.ndarray:
    """(N, L, 4) how much each substitution would change the prediction, to first order; 0 at the letter that stands.

    One backward pass instead of 3 L predictions: the gradient with respect to the one-hot letters, minus its value at
    the letter that stands there. Exact for a linear predictor, a guess elsewhere (Kelley et al. 2016,
    doi:10.1101/gr.200535.115, compares both).

    Args:
        predictor: with `.forward(one_hot)`, (N, L, 4) -> (N,), differentiable.
        sequences: of one length, A, C, G, T.

    Raises ValueError where `forward` is missing, has no gradient or another shape. Introduced in notebook 13.
    """
    codes = _codes(sequences)
    hot = torch.eye(4)[torch.from_numpy(codes.astype(np.int64))].requires_grad_()  # (N, L, 4)
    with torch.enable_grad():
        out = _forward(predictor, hot)
        if not out.requires_grad:
            raise ValueError(
                f"{type(predictor).__name__}.forward has no gradient: it must compute in torch, without no_grad, "
                f"numpy or detach; or use the method 'genetic' or 'mcmc'"
            )
        (slope,) = torch.autograd.grad(out.sum(), hot)
    slope = slope.double().numpy()
    return slope - np.take_along_axis(slope, codes[..., None].astype(np.int64), axis=2)


def log_odds(predictor: Any, positive: int = 1) -> SimpleNamespace:
    """A classifier as an oracle or judge: log-odds (nats) of one class, with `predict`, `forward` and `length`.

    Log-odds keep growing where a probability is stuck at 1, so a search can still tell good from better.

    Args:
        predictor: with `predict(sequences) -> (N, C)` probabilities and, for gradients, `forward(one_hot) -> (N, C)`
            log-probabilities, as those of `gfm_lab.predictors`. positive: the number of the class that is wanted.

    `predict` raises ValueError where there is no such class. Introduced in notebook 13.
    """

    def predict(sequences: Sequence[str]) -> np.ndarray:
        p = np.asarray(predictor.predict(sequences), dtype=float)
        if p.ndim != 2 or not 0 <= positive < p.shape[1]:
            raise ValueError(f"predict gives shape {p.shape}: there is no class {positive} in it")
        p = p[:, positive].clip(1e-9, 1 - 1e-9)
        return np.log(p) - np.log1p(-p)

    def forward(one_hot: torch.Tensor) -> torch.Tensor:
        log_p = predictor.forward(one_hot)
        others = torch.arange(log_p.shape[1]) != positive
        return log_p[:, positive] - log_p[:, others].logsumexp(1)

    return SimpleNamespace(
        predict=predict, forward=forward, length=getattr(predictor, "length", None), of=predictor
    )


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
    _whole(chains=chains, steps=steps, batch_size=batch_size)
    space = _space(wild_type, distance, positions)
    scored = _Scored(log_density, None, 1.0, batch_size)
    random = np.random.default_rng(seed)
    return _texts(_mcmc(scored, space, _Options(steps, chains, 1.0, seed), random))


def log_likelihood(
    model: Any,
    tokenizer: Any,
    sequences: Sequence[str],
    *,
    before: str = "",
    after: str = "",
    control: str | None = None,
    batch_size: int = 64,
) -> np.ndarray:
    """(N,) nats: log probability of each sequence, together with `after`, given `before`, under a causal model.

    Only A, C, G, T share the probability, as in `generate`, of which this is the probability of being written (at
    temperature 1). Where nothing stands before the first base, that one has probability 1/4.

    Args:
        model, tokenizer: a causal language model with one token a base.
        sequences: of one length. before, after: flanks that stay as they are, such as the genome's.
        control: name of a control token that stands in front of everything.

    Raises ValueError as `generate` does, and for sequences of several lengths. Introduced in notebook 13.
    """
    _must_write(model)
    letters, codes = _bases_of(tokenizer), _codes(sequences)
    left, right = (np.tile(codes_of(part), (len(codes), 1)) for part in (before, after))
    codes = np.concatenate([left, codes, right], axis=1)
    letters = letters._replace(prefix=[*letters.prefix, *_control(tokenizer, control)])
    ahead = len(letters.prefix)
    _must_fit(model, ahead, codes.shape[1] + 1)
    found = np.empty(len(codes))
    with _ready(model) as device:
        for rows in _batches(len(codes), batch_size):
            ids = letters.wrapped(letters.ids(codes[rows]), end=False)
            log_p, _ = _four(
                model, ids, letters, device
            )  # (B, ahead + L, 4): scores of the base after each token
            log_p = log_p[:, max(0, ahead - 1) : -1]
            asked = codes[rows] if ahead else codes[rows, 1:]
            log_p = np.take_along_axis(log_p, asked[..., None].astype(np.int64), axis=2)[..., 0]
            found[rows] = log_p[:, max(0, len(before) - (ahead == 0)) :].sum(axis=1)
    return found - (math.log(4) if ahead == 0 and not before else 0.0)


def random_mutants(
    wild_type: str, mutations: Sequence[int], positions: Sequence[int] | None = None, seed: int = 0
) -> list[str]:
    """One random mutant for each number of `mutations` (1 and more), all different: the baseline of every design.

    Raises ValueError for more mutations than positions, or more mutants than there are. Introduced in notebook 13.
    """
    mutations = np.asarray(mutations, dtype=int)
    space = _space(wild_type, int(mutations.max(initial=1)), positions)
    for k, wanted in zip(*np.unique(mutations, return_counts=True), strict=True):
        if k < 1 or wanted > math.comb(len(space.positions), k) * 3 ** int(k):
            raise ValueError(f"there are no {wanted:,} different mutants with {k} mutations here")
    return _texts(_mutants(space, mutations, np.random.default_rng(seed), different=True))


def distances(sequences: Sequence[str], others: Sequence[str]) -> np.ndarray:
    """(N, M) Hamming distances between two lists of sequences of one length. Introduced in notebook 13."""
    a, b = _codes(sequences), _codes(others)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"Hamming distance needs one length, not {a.shape[1]:,} and {b.shape[1]:,}")
    return _hamming(a, b)


# ---- Where a search may go ----


class _Space(NamedTuple):
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


def _space(wild_type: str, distance: int, positions: Sequence[int] | None) -> _Space:
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
    return _Space(wild, np.sort(places), int(distance))


def _mutants(
    space: _Space, mutations: np.ndarray, random: np.random.Generator, different: bool
) -> np.ndarray:
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


def _propose(codes: np.ndarray, space: _Space, random: np.random.Generator) -> np.ndarray:
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


class _Options(NamedTuple):
    rounds: int
    population: int
    temperature: float
    seed: int


class _Scored:
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
            texts = _texts(np.stack([np.frombuffer(key, dtype=np.uint8) for key in new[rows]]))
            values = _numbers(self.predict(texts), len(texts), "the oracle")
            if self.prior is not None:
                values = values + self.temperature * _numbers(self.prior(texts), len(texts), "the prior")
            self.objective.update(zip(new[rows], values.tolist(), strict=True))
        return np.array([self.objective[key] for key in keys])


def _start(space: _Space, count: int, random: np.random.Generator) -> np.ndarray:
    return _mutants(space, random.integers(1, space.distance + 1, count), random, different=False)


def _genetic(scored: _Scored, space: _Space, options: _Options, random: np.random.Generator) -> np.ndarray:
    people = _start(space, options.population, random)
    for _ in range(options.rounds):
        people = np.unique(people, axis=0)
        people = people[np.argsort(-scored(people), kind="stable")[: options.population]]
        # Two parents a child, each the best of three (people are sorted, so that is the smallest number).
        mother, father = random.integers(len(people), size=(2, options.population, 3)).min(axis=2)
        child = np.where(
            random.random((options.population, people.shape[1])) < 0.5, people[mother], people[father]
        )
        people = np.concatenate([people, _propose(_pull_back(child, space, random), space, random)])
    scored(people)
    return people[:0]  # the best of all that were scored


def _pull_back(codes: np.ndarray, space: _Space, random: np.random.Generator) -> np.ndarray:
    """Revert random mutations of rows that have too many."""
    mutated = space.mutated(codes)
    keys = np.where(mutated, random.random(mutated.shape), -1)
    drop = (-keys).argsort(axis=1).argsort(axis=1) >= space.distance
    codes = codes.copy()
    codes[:, space.positions] = np.where(drop, space.wild[space.positions], codes[:, space.positions])
    return codes


def _mcmc(scored: _Scored, space: _Space, options: _Options, random: np.random.Generator) -> np.ndarray:
    state = _start(space, options.population, random)
    now = scored(state)
    for _ in range(options.rounds):
        new = _propose(state, space, random)
        then = scored(new)
        accept = np.log(random.random(len(state))) * options.temperature < then - now
        state[accept], now[accept] = new[accept], then[accept]
    return state


def _gradient(
    scored: _Scored, space: _Space, options: _Options, random: np.random.Generator, oracle: Any
) -> np.ndarray:
    state = _start(space, options.population, random)
    now, rows = scored(state), np.arange(len(state))
    for _ in range(options.rounds):
        change = np.concatenate(
            [
                substitution_scores(oracle, _texts(state[part]))
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
    scored: _Scored, space: _Space, options: _Options, random: np.random.Generator, oracle: Any
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
        value = _forward(oracle, whole.index_copy(1, places, mixed))
        (letters.grad,) = torch.autograd.grad(
            -value.sum(), letters
        )  # of the letters alone, not of the oracle
        optimizer.step()
        codes = np.tile(space.wild, (count, 1))
        codes[:, space.positions] = base.numpy()
        scored(codes)
    return codes[:0]


_SEARCHES: dict[str, Callable[..., np.ndarray]] = {
    "genetic": _genetic,
    "mcmc": _mcmc,
    "gradient": _gradient,
    "gumbel": _gumbel,
}


def _choose(scored: _Scored, last: np.ndarray, n: int, apart: int, space: _Space) -> np.ndarray:
    """(n, L), best first: of the last states, then of all that was scored, each `apart` from those before."""
    ranked = sorted(scored.objective, key=lambda key: -scored.objective[key])
    chains = sorted(dict.fromkeys(row.tobytes() for row in last), key=lambda key: -scored.objective[key])
    chosen = np.empty((0, len(space.wild)), dtype=np.uint8)
    taken: set[bytes] = set()
    for key in [*chains, *ranked]:
        row = np.frombuffer(key, dtype=np.uint8)
        # The wild type is no design of itself.
        if key in taken or (row == space.wild).all() or ((chosen != row).sum(axis=1) < apart).any():
            continue
        taken.add(key)
        chosen = np.concatenate([chosen, row[None]])
        if len(chosen) == n:
            order = np.argsort([-scored.objective[row.tobytes()] for row in chosen], kind="stable")
            return chosen[order]
    raise ValueError(
        f"the search scored {scored.calls:,} sequences, and only {len(chosen)} of them differ from each other in "
        f"{apart} bases or more: lower n or apart, or search with more rounds or a larger population"
    )


# ---- Between predictors and sequences ----


def _two_predictors(oracle: Any, judge: Any) -> None:
    if judge is None:
        raise ValueError(
            "no judge: designs are chosen because the oracle scores them high, errors included, so its own score "
            "says nothing about them. Give a predictor of another architecture, trained on other items"
        )
    if getattr(judge, "of", judge) is getattr(
        oracle, "of", oracle
    ):  # `log_odds` of the same one is the same one
        raise ValueError(
            "the judge is the oracle: the search climbs its errors too, so it cannot judge. Give another predictor, "
            "of another architecture, trained on other items"
        )


def _checked(predictor: Any, name: str, space: _Space, batch_size: int) -> Callable[[list[str]], np.ndarray]:
    """`predict` in batches, after a try with the wild type. Raises ValueError for what cannot work."""
    predict = getattr(predictor, "predict", None)
    if predict is None:
        raise ValueError(f"the {name} ({type(predictor).__name__}) has no method predict(sequences) -> (N,)")
    length = getattr(predictor, "length", None)
    mismatch = f"the {name} was trained on another length than the wild type's {len(space.wild)} bases"
    if isinstance(length, int) and length != len(space.wild):
        raise ValueError(f"{mismatch}: it reads {length}")

    def batched(texts: list[str]) -> np.ndarray:
        parts = [
            _numbers(predict(texts[part]), len(texts[part]), f"the {name}")
            for part in _batches(len(texts), batch_size)
        ]
        return np.concatenate(parts) if parts else np.empty(0)

    try:
        result = predict([_text(space.wild)])
    except Exception as error:  # whatever a predictor raises at a length that it does not know
        raise ValueError(
            f"the {name} cannot read the wild type; perhaps {mismatch}. It says: {error}"
        ) from error
    _numbers(result, 1, f"the {name}")
    return batched


def _numbers(values: Any, count: int, who: str) -> np.ndarray:
    values = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if values.shape != (count,):
        raise ValueError(
            f"{who} gives shape {values.shape} for {count} sequences: one number each is needed. For classes: "
            f"log_odds(predictor, 1), the log-odds of class 1"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{who} gives numbers that are not finite")
    return values.astype(float)


def _forward(predictor: Any, hot: torch.Tensor) -> torch.Tensor:
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


def _train(train: Any, length: int) -> tuple[np.ndarray, np.ndarray]:
    if train is None:
        raise ValueError(
            "no train: give (sequences, values) of the oracle's training items, for the distance to the nearest one "
            "and as the baseline that a design has to beat"
        )
    sequences, values = train
    if len(sequences) != len(values) or len(sequences) == 0:
        raise ValueError(f"train has {len(sequences):,} sequences and {len(values):,} values")
    known = _codes(sequences)
    if known.shape[1] != length:
        raise ValueError(f"the training sequences have {known.shape[1]} bases and the wild type {length}")
    return known, np.asarray(values, dtype=float)


def _frame(
    sets: dict[str, np.ndarray], predict: dict[str, Callable], wild: np.ndarray, known: np.ndarray
) -> pd.DataFrame:
    names = np.repeat(list(sets), [len(codes) for codes in sets.values()])
    codes = np.concatenate(list(sets.values()))
    texts = _texts(codes)
    columns: dict[str, Any] = {"set": names, "sequence": texts}
    columns |= {name: part(texts) for name, part in predict.items()}
    columns["distance"] = (codes != wild).sum(axis=1)
    columns["nearest"] = _hamming(codes, known).min(axis=1)
    return pd.DataFrame(columns)


def _whole(least: int = 1, **numbers: Any) -> None:
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ValueError(f"{name} is {value!r}: it must be a whole number of at least {least}")


def _codes(sequences: Sequence[str]) -> np.ndarray:
    """(N, L) uint8 of sequences of one length."""
    lengths = {len(text) for text in sequences}
    if len(lengths) != 1:
        raise ValueError(f"give at least one sequence, all of one length, not of {sorted(lengths)[:5]}")
    return codes_of("".join(sequences)).reshape(len(sequences), -1)


def _text(codes: np.ndarray) -> str:
    return BASES[codes].tobytes().decode()


def _texts(codes: np.ndarray) -> list[str]:
    return [_text(np.minimum(row, 3)) for row in codes]


def _hamming(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.stack([(row != b).sum(axis=1) for row in a])


def _diversity(codes: np.ndarray) -> float:
    if len(codes) < 2:
        return float("nan")
    return float(_hamming(codes, codes)[np.triu_indices(len(codes), 1)].mean())


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    from scipy.stats import rankdata

    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def _interval(values: np.ndarray, resamples: int, seed: int) -> tuple[float, float]:
    if len(values) < 2:
        return float("nan"), float("nan")
    drawn = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)
