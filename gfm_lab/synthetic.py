"""Made-up tasks that ask one thing of a model: can it find again what it has read?

Both makers return (inputs, labels), whole numbers of shape (B, L). labels[b, t] is the token that a model should name
at position t, having read inputs[b, :t+1]; it is -100 where nothing is asked. The answers are never among the inputs
of the positions that are asked about, so the labels are not shifted: score the logits of position t against label t
(`GenomicForCausalLM` shifts the labels it is given, so take its logits, as `train_on_task` does).

Token 0 is noise in both tasks. Leave `pad_token_id=None` in the configuration of a model: nothing is padding here.
Introduced in notebook 05; how distance matters, in notebook 07.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["NOISE", "associative_recall", "selective_copying", "task_accuracy", "train_on_task"]

NOISE, ASK, FIRST_VALUE = 0, 1, 2  # ids of selective copying; its values are 2, 3, ...
UNASKED = -100
SEEDS_PER_RUN = 1_000_000  # of `train_on_task`: a run with seed s draws its batches from this many


def selective_copying(
    batch: int, length: int, items: int, values: int = 8, seed: int = 0, *, regular: bool = False
) -> tuple[Tensor, Tensor]:
    """Items scattered in noise, to be written out at the end, in order (Gu and Dao 2023, arXiv:2312.00752).

        inputs   0 5 0 0 3 0 0 0 4 0 1 1 1      0 noise, 1 "write", from 2 on the values
        labels   . . . . . . . . . . 5 3 4      . is -100

    A model has to decide from what a token is, not from where it stands, whether to keep it. With `regular` the items
    stand at the same evenly spaced places in every row: the easier copying task, which fixed delays can solve.

    Chance: 1/values is right by drawing any value. A model that counts which values occur, and does not know their
    order, is somewhat better by always naming the most frequent one.

    Args:
        batch: rows B.
        length: L, with the `items` "write" tokens at the end.
        items: how many to remember.
        values: how many different values there are; the vocabulary has values + 2 tokens.
        seed: the same seed gives the same batch.
        regular: whether the places are fixed.

    Returns inputs and labels (B, L). Raises ValueError if the items do not fit, or a number is below 1.
    Introduced in notebook 05.
    """
    _at_least_one(batch=batch, items=items, values=values)
    room = length - items
    if room < items:
        raise ValueError(
            f"{items} items and as many places to write them need a length of {2 * items} or more, not {length}"
        )
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(FIRST_VALUE, FIRST_VALUE + values, (batch, items), generator=generator)
    if regular:
        places = (torch.arange(items) * room // items).expand(batch, items)
    else:
        places = _distinct(batch, items, room, generator).sort(1).values
    inputs = torch.full((batch, length), NOISE)
    inputs.scatter_(1, places, chosen)
    inputs[:, room:] = ASK
    labels = torch.full((batch, length), UNASKED)
    labels[:, room:] = chosen
    return inputs, labels


def associative_recall(
    batch: int,
    length: int,
    pairs: int,
    distance: int | None = None,
    seed: int = 0,
    *,
    keys: int = 16,
    values: int = 16,
) -> tuple[Tensor, Tensor]:
    """Pairs of key and value scattered in noise; then every key once more: which value stood after it?

        inputs   0 0 3 9 0 0 1 7 2 8 0 0 1 2 3    pairs 3-9, 1-7, 2-8 (with 6 keys), then the keys in another order
        labels   . . . . . . . . . . . . 7 8 9    . is -100

    After the multi-query associative recall of Arora and colleagues 2023 (arXiv:2312.04927), in a simpler layout: their
    queries come at random gaps among other tokens. A row's keys differ from each other, and so do its values. Pairs
    begin at even places (so with a single pair only every other distance exists). Token 0 is noise, 1 to `keys` are
    keys, the next `values` are values: a vocabulary of 1 + keys + values tokens.

    Chance: 1/values without looking at the row, and 1/pairs for a model that knows which values stand in the row but
    not after which key. The second is what to beat.

    Args:
        batch: rows B.
        length: L, with the `pairs` queries at the end.
        pairs: how many pairs, and how many queries.
        distance: None asks about all pairs, wherever they stand. A number asks about one pair in each row, whose value
            stands exactly so many tokens before its query. Train without it: at one distance, a model could learn to
            copy from a fixed place and never look at the key.
        seed: the same seed gives the same batch.
        keys, values: how many different ones there are.

    Returns inputs and labels (B, L). Raises ValueError if the pairs do not fit, for too few keys or values, or for a
    distance that this length cannot have. Introduced in notebook 05; by distance, in notebook 07.
    """
    _at_least_one(batch=batch, pairs=pairs)
    if pairs > min(keys, values):
        raise ValueError(f"{pairs} pairs need as many keys and values, not {keys} keys and {values} values")
    room = length - pairs
    slots = room // 2  # a pair takes two places
    if slots < pairs:
        raise ValueError(
            f"{pairs} pairs and {pairs} queries need a length of {3 * pairs} or more, not {length}"
        )
    generator = torch.Generator().manual_seed(seed)
    chosen_keys = 1 + _distinct(batch, pairs, keys, generator)
    chosen_values = 1 + keys + _distinct(batch, pairs, values, generator)
    slot = _distinct(batch, pairs, slots, generator)  # of pair i
    order = _distinct(batch, pairs, pairs, generator)  # query j asks for pair order[j]
    query = None
    if distance is not None:
        # Query j stands at room + j, and a value at an odd place below 2 * slots: which queries can be that far away?
        places = torch.arange(room, length) - distance
        possible = ((places > 0) & (places < 2 * slots) & (places % 2 == 1)).nonzero()[:, 0]
        if not len(possible):
            raise ValueError(
                f"with length {length} and {pairs} pairs no value stands {distance} tokens before its query: give a "
                f"distance from {room % 2 + 1} to {length - 2}"
                + (", odd or even as the first of these" if pairs == 1 else "")
            )
        query = possible[torch.randint(len(possible), (batch, 1), generator=generator)]  # (B, 1)
        target = order.gather(1, query)  # the pair that has to stand at that distance
        wanted = places[query] // 2
        # Whichever pair stood in the wanted slot goes to where the target stood.
        there, was = slot == wanted, slot.gather(1, target)
        slot = torch.where(there, was, slot).scatter(1, target, wanted)
    inputs = torch.full((batch, length), NOISE)
    inputs.scatter_(1, 2 * slot, chosen_keys).scatter_(1, 2 * slot + 1, chosen_values)
    inputs[:, room:] = chosen_keys.gather(1, order)
    answers = chosen_values.gather(1, order)
    if query is not None:
        answers = torch.full_like(answers, UNASKED).scatter(1, query, answers.gather(1, query))
    labels = torch.full((batch, length), UNASKED)
    labels[:, room:] = answers
    return inputs, labels


def train_on_task(
    model: nn.Module,
    task: Callable[[int], tuple[Tensor, Tensor]],
    steps: int,
    lr: float = 3e-3,
    seed: int = 0,
    *,
    warmup: float = 0.1,
    clip: float = 1.0,
) -> list[float]:
    """Train a model on fresh batches of a task, and return the loss of each step, in nats.

    AdamW without weight decay; the learning rate rises over the first tenth of the steps (`warmup`) and falls to zero
    along a cosine; gradients are clipped to length `clip`. Step i trains on task(seed * 1,000,000 + i + 1), so score a
    trained model on a negative seed, which no run draws.

    Args:
        model: ids (B, L) -> logits (B, L, V), or an object that holds them as `.logits`.
        task: a seed -> (inputs, labels), such as `lambda seed: associative_recall(32, 64, 4, seed=seed)`.
        steps, lr: how many batches, and the highest learning rate.
        seed: of the batches; the weights' start is the caller's.

    Raises ValueError for fewer than 1 step or more than 1,000,000. Introduced in notebook 05.
    """
    if not 1 <= steps < SEEDS_PER_RUN:
        raise ValueError(f"steps is {steps}: give 1 to {SEEDS_PER_RUN - 1:,}")
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, total_steps=steps + 1, pct_start=warmup, cycle_momentum=False
    )
    was_training = model.training
    model.train()
    losses = []
    for step in range(steps):
        inputs, labels = task(seed * SEEDS_PER_RUN + step + 1)
        loss = F.cross_entropy(_logits(model, inputs).flatten(0, 1), labels.flatten(), ignore_index=UNASKED)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    model.train(was_training)
    return losses


@torch.no_grad()
def task_accuracy(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """The share of the asked positions (label not -100) where the model's first choice is the label.

    Model, inputs and labels as in `train_on_task`. Raises ValueError if nothing is asked. Introduced in notebook 05.
    """
    asked = labels != UNASKED
    if not bool(asked.any()):
        raise ValueError("every label is -100: nothing is asked")
    was_training = model.training
    model.eval()
    right = _logits(model, inputs).argmax(-1)[asked] == labels[asked]
    model.train(was_training)
    return right.float().mean().item()


def _logits(model: nn.Module, inputs: Tensor) -> Tensor:
    output = model(inputs)
    return output if isinstance(output, Tensor) else output.logits


def _distinct(batch: int, count: int, among: int, generator: torch.Generator) -> Tensor:
    """For each row `count` different numbers below `among`, in random order, (B, count)."""
    return torch.rand(batch, among, generator=generator).argsort(1)[:, :count]


def _at_least_one(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} is {number}: it must be at least 1")
