"""synthetic.py: the answer follows from the input, no position gives it away, a causal model can know it, seeds."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gfm_lab.model import GenomicConfig, GenomicForCausalLM
from gfm_lab.synthetic import NOISE, associative_recall, selective_copying, task_accuracy, train_on_task

torch.set_num_threads(1)
SEEDS = st.integers(-(2**40), 2**40)


@st.composite
def copying(draw):
    items = draw(st.integers(1, 9))
    return dict(
        batch=draw(st.integers(1, 4)),
        length=draw(st.integers(2 * items, 60)),
        items=items,
        values=draw(st.integers(1, 20)),
        seed=draw(SEEDS),
        regular=draw(st.booleans()),
    )


@st.composite
def recall(draw):
    pairs = draw(st.integers(1, 8))
    return dict(
        batch=draw(st.integers(1, 4)),
        length=draw(st.integers(3 * pairs, 60)),
        pairs=pairs,
        seed=draw(SEEDS),
        keys=draw(st.integers(pairs, 20)),
        values=draw(st.integers(pairs, 20)),
    )


# ---- Selective copying ----


@settings(max_examples=150, deadline=None)
@given(copying())
def test_copying_asks_for_the_items_of_the_noisy_part_in_order(options):
    inputs, labels = selective_copying(**options)
    assert inputs.shape == labels.shape == (options["batch"], options["length"])
    assert inputs.dtype == labels.dtype == torch.long
    room = options["length"] - options["items"]
    for row, answers in zip(inputs, labels, strict=True):
        noisy, asked = row[:room], row[room:]
        assert (asked == 1).all()  # the answers are nowhere in the part that asks
        kept = noisy[noisy != NOISE]
        assert ((kept >= 2) & (kept < 2 + options["values"])).all()
        assert torch.equal(kept, answers[room:])
        assert (answers[:room] == -100).all()


def test_copying_places_are_random_unless_regular():
    inputs, _ = selective_copying(200, 40, 4, seed=3)
    often = (inputs[:, :36] != NOISE).float().mean(0)  # 4 of 36 places: 0.111, standard deviation 0.022
    assert often.max() < 0.111 + 5 * 0.0223 and often.min() > 0.111 - 5 * 0.0223
    inputs, _ = selective_copying(200, 40, 4, seed=3, regular=True)
    places = (inputs[:, :36] != NOISE).float().mean(0)
    assert set(places.tolist()) == {0.0, 1.0}
    assert places.nonzero()[:, 0].tolist() == [0, 9, 18, 27]


def test_copying_values_are_uniform_and_of_one_place_tell_nothing_of_the_next():
    _, labels = selective_copying(8000, 12, 2, values=4, seed=1)
    first, second = labels[:, -2] - 2, labels[:, -1] - 2
    table = torch.zeros(4, 4).index_put_((first, second), torch.ones(8000), accumulate=True) / 8000
    assert (table - 1 / 16).abs().max() < 5 * (1 / 16 * 15 / 16 / 8000) ** 0.5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(batch=2, length=9, items=5), "length of 10 or more, not 9"),
        (dict(batch=0, length=9, items=2), "batch is 0"),
        (dict(batch=2, length=9, items=0), "items is 0"),
        (dict(batch=2, length=9, items=2, values=0), "values is 0"),
    ],
)
def test_copying_refuses_what_does_not_fit(options, words):
    with pytest.raises(ValueError, match=words):
        selective_copying(**options)


# ---- Associative recall ----


def read(row, keys):
    """{key: value} of the pairs of a row, and {position: key} of its queries, from the inputs alone."""
    pairs, queries, t = {}, {}, 0
    while t < len(row):
        token = int(row[t])
        if token == NOISE:
            t += 1
        elif token in pairs:
            queries[t] = token
            t += 1
        else:
            assert t % 2 == 0 and 1 <= token <= keys < int(row[t + 1])
            pairs[token] = int(row[t + 1])
            t += 2
    return pairs, queries


@settings(max_examples=150, deadline=None)
@given(recall(), st.data())
def test_recall_asks_what_stood_after_the_key_at_the_distance_wanted(options, data):
    room = options["length"] - options["pairs"]
    distance = data.draw(st.none() | st.integers(room % 2 + 1, options["length"] - 2))
    if (
        options["pairs"] == 1 and distance is not None
    ):  # one query and even places: every other distance exists
        distance -= (distance - room - 1) % 2
    inputs, labels = associative_recall(distance=distance, **options)
    assert inputs.shape == labels.shape == (options["batch"], options["length"])
    assert inputs.max() <= options["keys"] + options["values"]
    for row, answers in zip(inputs, labels, strict=True):
        pairs, queries = read(row, options["keys"])
        assert len(pairs) == len(set(pairs.values())) == options["pairs"]
        assert sorted(queries.values()) == sorted(pairs)  # each key once more, at the end
        assert sorted(queries) == [*range(room, options["length"])]
        asked = (answers != -100).nonzero()[:, 0].tolist()
        assert asked == [*range(room, options["length"])] if distance is None else len(asked) == 1
        for t in asked:
            answer = pairs[queries[t]]
            assert int(answers[t]) == answer
            where = (row == answer).nonzero()[:, 0].tolist()
            assert len(where) == 1 and where[0] < t  # once, and before it is asked for
            assert distance is None or t - where[0] == distance


def test_recall_every_distance_of_one_length_and_none_beyond():
    for length, pairs in ((15, 3), (16, 3), (9, 3), (24, 8)):
        nearest = (length - pairs) % 2 + 1
        for distance in range(nearest, length - 1):
            associative_recall(2, length, pairs, distance)
        for distance in (-1, 0, nearest - 1, length - 1, length):
            with pytest.raises(ValueError, match=f"from {nearest} to {length - 2}"):
                associative_recall(2, length, pairs, distance)


@pytest.mark.parametrize("distance", [None, 20])
def test_recall_neither_the_place_nor_the_key_gives_the_answer_away(distance):
    inputs, labels = associative_recall(6000, 32, 4, distance, seed=5, keys=4, values=4)
    rows, asked = (labels != -100).nonzero(as_tuple=True)
    query, answer = inputs[rows, asked], labels[rows, asked]
    for key in range(1, 5):  # keys and values are independent, at every queried place
        for place in asked.unique():
            there = answer[(query == key) & (asked == place)]
            share = torch.bincount(there, minlength=9)[5:].float() / len(there)
            assert (share - 0.25).abs().max() < 5 * (0.1875 / len(there)) ** 0.5
    # A value's place says nothing of when it is asked for, unless a distance was wanted: the last value of the row is
    # the answer of query j in a quarter of the rows.
    if distance is None:
        values = torch.where(inputs > 4, torch.arange(32), -1)
        last = inputs.gather(1, values.argmax(1, keepdim=True))
        share = (labels[:, 28:] == last).float().mean(0)
        assert (share - 0.25).abs().max() < 5 * (0.1875 / 6000) ** 0.5


def test_recall_distances_are_spread_over_the_row():
    inputs, labels = associative_recall(2000, 64, 4, seed=2)
    rows, asked = (labels != -100).nonzero(as_tuple=True)
    at = (inputs[rows] == labels[rows, asked][:, None]).long().argmax(1)
    distances = asked - at
    assert distances.min() <= 3 and distances.max() >= 60
    assert 29 < distances.float().mean() < 35


def test_recall_with_distance_looks_like_recall_without():
    # The same tokens in the same numbers at the same places, on average: a model trained without it meets nothing new.
    plain, _ = associative_recall(4000, 24, 3, seed=1)
    aimed, _ = associative_recall(4000, 24, 3, 9, seed=1)
    assert torch.equal(plain.sort(1).values, aimed.sort(1).values)
    assert (plain[:, 21:] == aimed[:, 21:]).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(batch=2, length=8, pairs=3), "length of 9 or more, not 8"),
        (dict(batch=2, length=90, pairs=17), "17 pairs need as many keys and values"),
        (dict(batch=2, length=90, pairs=0), "pairs is 0"),
        (dict(batch=-1, length=90, pairs=2), "batch is -1"),
    ],
)
def test_recall_refuses_what_does_not_fit(options, words):
    with pytest.raises(ValueError, match=words):
        associative_recall(**options)


# ---- Both ----


@pytest.mark.parametrize("task", [selective_copying, associative_recall])
def test_the_seed_alone_decides(task):
    torch.manual_seed(0)
    first = task(5, 40, 3, seed=7)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    again = task(5, 40, 3, seed=7)
    assert torch.equal(torch.get_rng_state(), before)  # the global generator is left alone
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], task(5, 40, 3, seed=8)[0])
    assert len(torch.unique(first[0], dim=0)) == 5  # rows differ


def tiny(vocabulary, positions="rotary"):
    torch.manual_seed(0)
    config = GenomicConfig(
        vocab_size=vocabulary, hidden_size=32, num_hidden_layers=1, mixer_options={"heads": 1}, causal=True,
        positions=positions, pad_token_id=None, mask_token_id=None, intermediate_size=64,
    )  # fmt: skip
    return GenomicForCausalLM(config)


class ByRule(nn.Module):
    """Solves associative recall without learning: looks up what stood after the same key."""

    def forward(self, inputs):
        answers = torch.zeros_like(inputs)
        for row, answer in zip(inputs, answers, strict=True):
            pairs, queries = read(row, 16)
            for t, key in queries.items():
                answer[t] = pairs[key]
        return F.one_hot(answers, 33).float()


@pytest.mark.parametrize("distance", [None, 7, 40])
def test_accuracy_of_the_rule_is_one_and_of_no_knowledge_near_chance(distance):
    inputs, labels = associative_recall(300, 48, 4, distance, seed=-1)
    assert task_accuracy(ByRule(), inputs, labels) == 1.0
    assert task_accuracy(tiny(33), inputs, labels) < 0.25 + 0.1
    with pytest.raises(ValueError, match="nothing is asked"):
        task_accuracy(tiny(33), inputs, torch.full_like(labels, -100))


def test_training_learns_and_comes_back_the_same():
    def task(seed):
        return selective_copying(32, 8, 1, values=4, seed=seed)  # one item, which attention finds soon

    runs = []
    for seed in (0, 0, 1):
        model = tiny(6).eval()
        losses = train_on_task(model, task, 80, lr=1e-2, seed=seed)
        assert not model.training  # as it was found
        runs.append((losses, task_accuracy(model, *task(-1))))
    assert runs[0] == runs[1] != runs[2]
    assert len(losses) == 80 and losses[0] > 1.2 and losses[-1] < 0.3  # ln 4 = 1.39
    assert runs[0][1] > 0.95
    with pytest.raises(ValueError, match="steps is 0"):
        train_on_task(model, task, 0)


def test_training_takes_a_plain_module_and_scores_each_position_against_its_own_label():
    # A table from token to logits can only learn what the same position's input says.
    table = nn.Embedding(4, 4)

    def same(seed):
        inputs = torch.randint(4, (16, 9), generator=torch.Generator().manual_seed(seed))
        return inputs, inputs

    train_on_task(table, same, 150, lr=0.1)
    assert task_accuracy(table, *same(-1)) == 1.0

    def next_one(seed):
        inputs, _ = same(seed)
        return inputs, torch.cat([inputs[:, 1:], torch.full((16, 1), -100)], 1)

    table = nn.Embedding(4, 4)
    losses = train_on_task(table, next_one, 150, lr=0.1)
    assert losses[-1] > 1.2
