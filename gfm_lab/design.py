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

The searches themselves stand in `gfm_lab.searches`. Introduced in notebook 13.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch

from gfm_lab.baselines import codes_of
from gfm_lab.evaluation import _batches, _four, _ready
from gfm_lab.generation import _bases_of, _control, _must_fit, _must_write
from gfm_lab.searches import (
    SEARCHES,
    Options,
    Prior,
    Scored,
    Space,
    distances,
    hamming,
    metropolis,
    mutants,
    numbers_of,
    random_mutants,
    space_of,
    substitution_scores,
    to_codes,
    to_text,
    to_texts,
    whole,
)

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

ROUNDS = {"genetic": 60, "mcmc": 500, "gradient": 60, "gumbel": 150}  # steps of a search, unless told
POPULATION = 200  # sequences that a search holds at the same time
RESAMPLES = 1000


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
            row["diversity"] = _diversity(to_codes(rows_of["sequence"].tolist()))
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
    if method not in SEARCHES:
        raise ValueError(f"there is no method {method!r}: choose one of {', '.join(SEARCHES)}")
    _two_predictors(oracle, judge)
    whole(rounds=ROUNDS[method] if rounds is None else rounds, population=population, apart=apart)
    whole(n=n, batch_size=batch_size)
    whole(seed=seed, least=0)
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature is {temperature!r}: it must be a finite number above 0")
    space = space_of(wild_type, distance, positions)
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
        substitution_scores(oracle, [to_text(space.wild)])  # says what is missing before the search begins

    random = np.random.default_rng(seed)
    scored = Scored(predict["oracle"], prior, temperature, batch_size)
    options = Options(ROUNDS[method] if rounds is None else rounds, max(population, n), temperature, seed)
    last = SEARCHES[method](scored, space, options, random, *([oracle] if differentiable else []))
    chosen = _choose(scored, last, n, apart, space)

    sets = {"designs": chosen, "wild type": space.wild[None]}
    far = (chosen != space.wild).sum(axis=1)
    sets["random mutants"] = mutants(space, far, random, different=True)
    many = mutants(space, random.choice(far, max(scored.calls, n)), random, different=False)
    many = np.unique(many, axis=0)
    sets["random best by oracle"] = many[np.argsort(-predict["oracle"](to_texts(many)), kind="stable")[:n]]
    best = np.lexsort((-predict["oracle"](to_texts(known)), -values))[:n]
    sets["training best"] = known[best]
    frame = _frame(sets, predict, space.wild, known)
    settings = {"distance": distance, "n": n, "seed": seed, "rounds": options.rounds, "apart": apart}
    settings |= {"population": options.population, "temperature": temperature, "prior": prior is not None}
    return Designs(frame, method, scored.calls, settings)


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
    letters, codes = _bases_of(tokenizer), to_codes(sequences)
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


def _choose(scored: Scored, last: np.ndarray, n: int, apart: int, space: Space) -> np.ndarray:
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


def _checked(predictor: Any, name: str, space: Space, batch_size: int) -> Callable[[list[str]], np.ndarray]:
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
            numbers_of(predict(texts[part]), len(texts[part]), f"the {name}")
            for part in _batches(len(texts), batch_size)
        ]
        return np.concatenate(parts) if parts else np.empty(0)

    try:
        result = predict([to_text(space.wild)])
    except Exception as error:  # whatever a predictor raises at a length that it does not know
        raise ValueError(
            f"the {name} cannot read the wild type; perhaps {mismatch}. It says: {error}"
        ) from error
    numbers_of(result, 1, f"the {name}")
    return batched


def _train(train: Any, length: int) -> tuple[np.ndarray, np.ndarray]:
    if train is None:
        raise ValueError(
            "no train: give (sequences, values) of the oracle's training items, for the distance to the nearest one "
            "and as the baseline that a design has to beat"
        )
    sequences, values = train
    if len(sequences) != len(values) or len(sequences) == 0:
        raise ValueError(f"train has {len(sequences):,} sequences and {len(values):,} values")
    known = to_codes(sequences)
    if known.shape[1] != length:
        raise ValueError(f"the training sequences have {known.shape[1]} bases and the wild type {length}")
    return known, np.asarray(values, dtype=float)


def _frame(
    sets: dict[str, np.ndarray], predict: dict[str, Callable], wild: np.ndarray, known: np.ndarray
) -> pd.DataFrame:
    names = np.repeat(list(sets), [len(codes) for codes in sets.values()])
    codes = np.concatenate(list(sets.values()))
    texts = to_texts(codes)
    columns: dict[str, Any] = {"set": names, "sequence": texts}
    columns |= {name: part(texts) for name, part in predict.items()}
    columns["distance"] = (codes != wild).sum(axis=1)
    columns["nearest"] = hamming(codes, known).min(axis=1)
    return pd.DataFrame(columns)


def _diversity(codes: np.ndarray) -> float:
    if len(codes) < 2:
        return float("nan")
    return float(hamming(codes, codes)[np.triu_indices(len(codes), 1)].mean())


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
