# %% [markdown]
# # 05 · State spaces and Mamba: can a recurrence choose what to remember?
#
# **The question.** Attention keeps everything it has read, and pays for it at every step. A *recurrence* keeps a state of fixed size and updates it base by base, so a genome of any length costs the same memory. But a state of fixed size has to forget. Can it choose what?
#
# **You will be able to**
# - run a linear recurrence by hand, and compute the same map as a convolution and as a parallel scan;
# - say which sequences a recurrence with fixed dynamics cannot copy, and show that a selective one can;
# - turn a continuous system into steps, and read its step size delta as a gate;
# - build a Mamba block in about 25 lines, equal to the package and to `transformers`;
# - look into the state of a trained model on real genes, with a control beside every claim.
#
# | your time | run time | needs |
# |---|---|---|
# | about 95 minutes | under 90 seconds on 2 cores, under 2 GB | notebooks 01 and 03; notebook 04 helps |
#
# New words: [glossary](../docs/glossary.md).

# %% tags=["setup", "nbval-ignore-output"]
import math
import time
from importlib.metadata import version

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
import transformers
from torch import nn

from gfm_lab import GenomicConfig, GenomicForCausalLM, checks, load_data, plots

transformers.logging.set_verbosity_error()  # of kernels that a CPU does not have
plots.use_style()
torch.set_num_threads(1)
torch.set_printoptions(precision=3, sci_mode=False)
check = checks.start("05_state_spaces_and_mamba")
genome = load_data("ecoli-k12")
for package in ("gfm-lab", "torch", "transformers"):
    print(f"{package:14s}{version(package)}")

# %% [markdown]
# ## The idea: carry a summary along
#
# A recurrence reads one input at a time. It keeps a **state** $h$, fades it a little, adds what is new, and answers from the state alone:
#
# $$h_t = A\,h_{t-1} + B\,x_t, \qquad y_t = C\,h_t .$$
#
# What it has read a thousand bases ago is in $h$ or it is lost. All that follows is about the three letters: first they are constants, then they look at the input.

# %% tags=["figure"]
figure, axis = plt.subplots(figsize=(10.5, 3.3))
arrow = {"arrowstyle": "-|>", "color": plots.INK, "linewidth": 1.4}
for i, base in enumerate("GATTA"):
    x = 2.0 * i
    color = plots.NUCLEOTIDE_COLORS[base]
    axis.add_patch(plt.Rectangle((x, 0), 0.8, 0.7, facecolor=color))
    axis.text(x + 0.4, 0.35, base, ha="center", va="center", color="white", weight="bold")
    axis.add_patch(plt.Rectangle((x, 1.5), 0.8, 0.7, facecolor="#BFD9EA", edgecolor=plots.INK))
    axis.text(x + 0.4, 1.85, f"$h_{i + 1}$", ha="center", va="center")
    axis.text(x + 0.4, 3.3, f"$y_{i + 1}$", ha="center", va="center")
    for start, stop, name in ((0.75, 1.45, "B"), (2.25, 3.05, "C")):
        axis.annotate("", xy=(x + 0.4, stop), xytext=(x + 0.4, start), arrowprops=arrow)
        axis.text(x + 0.55, (start + stop) / 2, name, va="center", color="#555555")
    axis.annotate("", xy=(x + 1.95, 1.85), xytext=(x + 0.85, 1.85), arrowprops=arrow)
    axis.text(x + 1.4, 2.0, "A", ha="center", color="#555555")
axis.text(10.05, 1.85, "on to base 6", va="center")
axis.set(xlim=(-0.3, 12.2), ylim=(-0.2, 3.6))
axis.axis("off")
plots.show(
    figure,
    """
    A recurrence over the bases G, A, T, T, A. Each base enters the state through B, the state
    is carried to the next base through A, and the answer at each base is read from the state
    through C. Nothing else passes from left to right.
""",
)

# %% [markdown]
# ## By hand: one number
#
# We begin with a state of one number and ask it to follow the share of G and C along the genome of *E. coli*. The input is 1 at G or C and 0 at A or T. With $B = 1 - A$ the state is a running average that forgets.

# %%
start = 3_700_000
stretch = genome.sequence[start : start + 6000]
is_gc = [float(base in "GC") for base in stretch]


# %%
def remember(x, a):
    """h[t] = a h[t-1] + (1 - a) x[t], from h = 0."""
    h, states = 0.0, []
    for value in x:
        h = a * h + (1 - a) * value
        states.append(h)
    return np.array(states)


# %% [markdown]
# How long is its memory? An input seen $k$ steps ago has the weight $a^k$. It has halved after $\ln 0.5 / \ln a$ steps, the **half-life**.

# %%
half_life = {a: math.log(0.5) / math.log(a) for a in (0.5, 0.9, 0.99, 0.999)}
for a, steps in half_life.items():
    print(f"a = {a:<6} an input has halved after {steps:6.1f} bases")

# %% tags=["figure"]
figure, axis = plt.subplots(figsize=(10, 3.8))
for a, color, width in zip((0.9, 0.99, 0.999), plots.PALETTE, (0.6, 1.2, 2.4)):
    label = f"a = {a}: half-life {half_life[a]:.0f} bases"
    axis.plot(remember(is_gc, a), color=color, linewidth=width, label=label)
axis.axhline(np.mean(is_gc), color=plots.INK, linestyle=":", label="mean of the stretch")
axis.set(xlabel="base of the stretch", ylabel="state: share of G + C", ylim=(0, 1.05))
axis.legend(ncols=2, loc="upper right", fontsize=10)
plots.show(
    figure,
    """
    The share of G and C along 6,000 bases of E. coli as three one-number states see it. With a
    half-life of 7 bases the state jumps up and down, with 69 it follows regions, with 693 it is
    smooth and needs more than a thousand bases to climb to the mean from zero.
""",
)

# %% [markdown]
# No single $a$ is right: a short memory is noisy, a long one is late. So a layer keeps many.
#
# ### A state of several numbers
#
# Let $h$ have N entries. In general A is an N × N matrix. Nearly every matrix can be made diagonal by a change of coordinates, so we lose little with a **diagonal** A: N numbers, each with its own half-life, that run side by side. (Diagonal entries may be complex, which makes them swing; Mamba's are real.)


# %%
def by_recurrence(A, B, C, x):
    """A, B, C (N,): one channel with a diagonal A. x (L,) -> y (L,)."""
    h, y = torch.zeros_like(A), []
    for value in x:
        h = A * h + B * value
        y.append(C @ h)
    return torch.stack(y)


# %%
A = torch.tensor([0.5, 0.9, 0.99, 0.999])
B = 1 - A
C = torch.tensor([0.5, -1.0, -0.5, 1.0])
impulse = torch.zeros(8)
impulse[0] = 1.0
print("answer to one 1, then zeros:", by_recurrence(A, B, C, impulse))

# %% [markdown]
# That answer says everything. The system is linear, and it does the same at every position. So its output to any input is a sum of such answers, shifted to each input and weighted by it: a **convolution**.
#
# ## Three ways to the same numbers
#
# **As a convolution.** Unroll the recurrence: an input k steps ago has passed B once, A k times, and C once. The filter is $K_k = C A^k B$, a sum of N exponentials. Notebook 04's `fft_convolution` applies it in L log L steps.

# %%
from gfm_lab.mixers import fft_convolution


def kernel(A, B, C, length):
    """The filter C A^k B for k = 0 .. length - 1, with a diagonal A."""
    powers = A ** torch.arange(length)[:, None]  # (L, N)
    return powers @ (B * C)


# %%
torch.testing.assert_close(kernel(A, B, C, 8), by_recurrence(A, B, C, impulse))
print("kernel:                     ", kernel(A, B, C, 8))

# %% tags=["figure"]
figure, axes = plt.subplots(1, 2, figsize=(11, 3.6))
steps = torch.arange(3000)
for a, b, c, color in zip(A, B, C, plots.PALETTE):
    part = c * b * a**steps
    axes[0].plot(steps + 1, part, color=color, label=f"a = {a:.3f}")
axes[0].set(title="four exponentials", xlabel="bases ago, plus 1", ylabel="weight", xscale="log")
axes[0].legend(fontsize=10)
axes[1].plot(steps + 1, kernel(A, B, C, 3000), color=plots.INK)
axes[1].axhline(0, color="#999999", linewidth=1)
axes[1].set(title="their sum is the filter", xlabel="bases ago, plus 1", xscale="log")
plots.show(
    figure,
    """
    Left: four exponentials with half-lives from 1 to 693 bases, some with positive and some
    with negative weight. Right: their sum, the filter of the layer, positive for the last
    base, negative for the bases before it. The axis of distance is logarithmic.
""",
)

# %% [markdown]
# **As a scan.** One step is the map $h \mapsto a h + b$ with $b = B x_t$. Two steps in a row are again such a map, so steps can be *combined* before we know where they start:
#
# $$(a_1, b_1) \text{ then } (a_2, b_2) \;=\; (\,?\,,\; ?\,).$$
#
# If combining is **associative** we may bracket as we like, and do many at the same time. Sums work like that, and so does this (Blelloch 1990; Martin and Cundy 2018 for recurrent networks).
#
# ### Exercise 1 · combine two steps
#
# `first` and `second` are pairs (a, b) of numbers or tensors; `first` acts first. Return the pair of both together.
#
# <details><summary>Hint 1</summary>Write h after the first step, then put it into the second.</details>
# <details><summary>Hint 2</summary>a₂(a₁h + b₁) + b₂. What multiplies h, and what is left?</details>


# %% tags=["exercise"]
def my_combine(first, second):
    """The pair (a, b) of `first` followed by `second`."""
    # BEGIN SOLUTION
    (a1, b1), (a2, b2) = first, second
    return a2 * a1, a2 * b1 + b2
    # END SOLUTION


check.combine(my_combine)

# %% [markdown]
# The simplest parallel scan is Hillis and Steele's: in each round, every position takes in the one 1, 2, 4, 8 ... before it. After $\log_2 L$ rounds position t holds the steps 0 to t, and since we start from zero, its b is the state.


# %%
def combine(first, second):
    (a1, b1), (a2, b2) = first, second
    return a2 * a1, a2 * b1 + b2


# %%
def doubling_scan(a, b):
    """All states h[t] = a[t] h[t-1] + b[t] along the first axis, from zero."""
    reach = 1
    while reach < len(a):
        later = combine((a[:-reach], b[:-reach]), (a[reach:], b[reach:]))
        a, b = (torch.cat([old[:reach], new]) for old, new in zip((a, b), later))
        reach *= 2
    return b


# %% [markdown]
# That is few rounds, but $L \log_2 L$ combinations in all. Blelloch's way needs only about 2L: combine neighbours, solve the problem of half the length, and fill in the positions between.


# %%
def halving_scan(a, b):
    """The same states with about 2 L combinations."""
    if len(a) == 1:
        return b
    pairs = combine((a[0:-1:2], b[0:-1:2]), (a[1::2], b[1::2]))
    h = torch.empty_like(b)
    h[1::2] = odd = halving_scan(*pairs)  # states at 1, 3, 5, ...
    h[0] = b[0]
    h[2::2] = a[2::2] * odd[: len(a[2::2])] + b[2::2]
    return h


# %% tags=["figure"]
figure, axes = plt.subplots(1, 2, figsize=(11.5, 3.8), sharey=True)
doubling = [[(i - r, i) for i in range(r, 8)] for r in (1, 2, 4)]
halving = [
    [(0, 1), (2, 3), (4, 5), (6, 7)],
    [(1, 3), (5, 7)],
    [(3, 7)],
    [(3, 5)],
    [(1, 2), (3, 4), (5, 6)],
]
for axis, rounds, title in zip(axes, (doubling, halving), ("doubling", "halving")):
    count = sum(map(len, rounds))
    axis.set_title(f"{title}: {len(rounds)} rounds, {count} combinations")
    for level in range(len(rounds) + 1):
        axis.scatter(range(8), [-level] * 8, s=60, color="#BFD9EA", edgecolor=plots.INK, zorder=3)
    for level, arrows in enumerate(rounds):
        for i in range(8):
            axis.plot([i, i], [-level, -level - 1], color="#CCCCCC", zorder=1)
        for i, j in arrows:
            axis.plot([i, j], [-level, -level - 1], color=plots.PALETTE[4], zorder=2)
    axis.set(xlabel="position", xticks=range(8), yticks=[])
    axis.spines[:].set_visible(False)
axes[0].set_ylabel("round, downwards")
plots.show(
    figure,
    """
    Two parallel scans over 8 positions, time running downwards. Doubling: three rounds in which
    each position takes in the one 1, 2, then 4 before it, 17 combinations. Halving: five rounds,
    up a tree and down again, only 11 combinations.
""",
)

# %% [markdown]
# Recurrence, convolution, scan: the same map, on real DNA, in both precisions.

# %%
for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
    A_, B_, C_ = (part.to(dtype) for part in (A, B, C))
    x = torch.tensor(is_gc[:1000], dtype=dtype)
    y = by_recurrence(A_, B_, C_, x)
    steps = A_.expand(len(x), -1), x[:, None] * B_
    ways = [fft_convolution(x, kernel(A_, B_, C_, len(x)))]
    ways += [scan(*steps) @ C_ for scan in (doubling_scan, halving_scan)]
    for way in ways:
        torch.testing.assert_close(way, y, atol=tolerance, rtol=0)
    print(f"{dtype!s:14s} convolution and both scans equal the recurrence to {tolerance}")

# %% [markdown]
# Why bother with three? Because they are cheap at different times. In **training** all inputs are known: the convolution and the scan need few rounds of large operations, and keep a processor busy. In **generation** the next input does not exist yet: the recurrence makes one step from the state, while a convolution starts again from the first base.


# %% tags=["nbval-ignore-output"]
def milliseconds(function, repeats=3):
    """The best of a few runs."""
    best = math.inf
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - started)
    return 1000 * best


# %% tags=["nbval-ignore-output"]
x, h, value = torch.tensor(is_gc[:4096]), torch.zeros(4), torch.tensor(1.0)
steps = A.expand(len(x), -1), x[:, None] * B
cost = {
    "recurrence": lambda: by_recurrence(A, B, C, x),
    "convolution": lambda: fft_convolution(x, kernel(A, B, C, len(x))),
    "scan, doubling": lambda: doubling_scan(*steps) @ C,
    "scan, halving": lambda: halving_scan(*steps) @ C,
    "one more base, by its state": lambda: C @ (A * h + B * value),
}
cost = pd.Series({name: milliseconds(way) for name, way in cost.items()}, name="ms")
assert cost.iloc[0] > 5 * cost.iloc[1:].max()
cost.round(3)

# %% [markdown]
# S4 (Gu and colleagues, 2021) trains as a convolution and generates as a recurrence; S5 (Smith and colleagues, 2022) and Mamba train as a scan. The scan has one advantage that decides this notebook: **it does not need A and B to be the same at every step.**
#
# ## What fixed dynamics cannot do
#
# Here is a task about memory alone, **selective copying** (Gu and Dao 2023). Four bases stand among noise, and at the end the model has to write them out, in order. In the *regular* variant they always stand at the same places; in the *selective* one anywhere.

# %% tags=["setup"]
from gfm_lab.synthetic import selective_copying, task_accuracy, train_on_task

LENGTH, ITEMS, VALUES = 20, 4, 4  # 16 places to read, then 4 to write


def copying(seed, rows=64, length=LENGTH, regular=False):
    return selective_copying(rows, length, ITEMS, VALUES, seed=seed, regular=regular)


# %%
def as_text(ids):
    return "".join("·?ACGT"[token] for token in ids)


for regular in (True, False):
    for row, answer in zip(*copying(1, 3, regular=regular)):
        name = "regular" if regular else "selective"
        print(f"{name:10s}{as_text(row)}   answer {as_text(answer[answer >= 0])}")

# %% [markdown]
# A system with constant A, B and C is a fixed filter: whatever its size, what it says at the end is a *linear map of the inputs, one weight for each distance*. So we need not train one to know its limit. A logistic regression that sees every place separately is at least as free, and its optimum is found in a moment.


# %%
def places(inputs):
    """One-hot of what stands at each of the places to read, (rows, places x tokens)."""
    return F.one_hot(inputs[:, : LENGTH - ITEMS], VALUES + 2).flatten(1).float()


# %%
def best_fixed_filter(regular):
    """Share of right answers for each item: logistic regression on 3,000 rows, tested on 2,000 others."""
    (X, y), (X_test, y_test) = (
        copying(seed, n, regular=regular) for seed, n in ((1, 3000), (-1, 2000))
    )
    W = torch.zeros(places(X).shape[1], ITEMS * VALUES, requires_grad=True)
    optimizer = torch.optim.LBFGS([W], max_iter=100, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = F.cross_entropy((places(X) @ W).view(-1, VALUES), y[:, -ITEMS:].flatten() - 2)
        value.backward()
        return value

    optimizer.step(loss)
    guess = (places(X_test) @ W).view(-1, ITEMS, VALUES).argmax(-1) + 2
    return (guess == y_test[:, -ITEMS:]).float().mean(0).tolist()


# %%
def most_frequent(rows=2000):
    """Always the base that occurs most often in the row, whatever the order."""
    inputs, labels = copying(-1, rows)
    counts = F.one_hot(inputs[:, : LENGTH - ITEMS], VALUES + 2)[..., 2:].sum(1)
    return (counts.argmax(1, keepdim=True) + 2 == labels[:, -ITEMS:]).float().mean().item()


# %% tags=["nbval-ignore-output"]
rows = {"chance": [1 / VALUES] * ITEMS, "most frequent base": [most_frequent()] * ITEMS}
for name, regular in (("regular", True), ("selective", False)):
    rows[f"best fixed filter, {name}"] = best_fixed_filter(regular)
limits = pd.DataFrame(rows, index=[f"item {i + 1}" for i in range(ITEMS)]).T
limits["mean"] = limits.mean(axis=1)
assert limits.loc["best fixed filter, regular", "mean"] == 1
assert limits.loc["best fixed filter, selective", ["item 2", "item 3"]].max() < 0.7
limits.round(2)

# %% [markdown]
# With fixed places a fixed filter is perfect: it waits the right number of steps. With moving places it still finds the first and the last item, by letting early or late places outweigh all others. The two in the middle it cannot find: that takes counting what was kept, and a fixed filter treats noise and bases alike. Every step fades the state by the same A.
#
# What would help is a state that **stands still at noise and moves at a base**. Time should run only when something happens. To build that, we have to find time in the equations.
#
# ## Discretisation: delta is a gate
#
# State spaces come from control theory, where time is continuous: $h'(t) = A\,h(t) + B\,x(t)$. If the input stays at $x$ for a time $\Delta$, the solution is exact (the **zero-order hold**):
#
# $$h(t + \Delta) = \underbrace{e^{\Delta A}}_{\bar A} h(t) + \underbrace{\frac{e^{\Delta A} - 1}{A} B}_{\bar B}\,x, \qquad\text{Mamba: } \bar B \approx \Delta B .$$
#
# A has to be negative, or the state explodes. Mamba takes the exact form for A and the first term of the series, Euler's step, for B.


# %%
def zero_order_hold(A, B, delta):
    return torch.exp(delta * A), torch.expm1(delta * A) / A * B


# %%
def tiny_steps(A, B, x, h, delta, steps=20_000):
    """The differential equation itself, in very small steps."""
    for _ in range(steps):
        h = h + delta / steps * (A * h + B * x)
    return h


# %%
a, b, x, h, delta = (torch.tensor(v, dtype=torch.float64) for v in (-1.5, 0.8, 2.0, 0.3, 0.7))
A_bar, B_bar = zero_order_hold(a, b, delta)
exact, small = A_bar * h + B_bar * x, tiny_steps(a, b, x, h, delta)
torch.testing.assert_close(exact, small, atol=1e-4, rtol=0)
print(f"zero-order hold {exact:.5f}, 20,000 tiny steps {small:.5f}")
print(f"Mamba's step for B: {A_bar * h + delta * b * x:.5f}")

# %% tags=["figure"]
figure, axes = plt.subplots(1, 2, figsize=(11.5, 3.9))
deltas = torch.logspace(-3, 1, 200)
for rate, color in zip((-1.0, -4.0, -16.0), plots.PALETTE):
    kept, enters = zero_order_hold(torch.tensor(rate), torch.tensor(1.0), deltas)
    axes[0].plot(deltas, kept, color=color, label=f"A = {rate:.0f}")
    axes[1].plot(deltas, enters, color=color, label=f"exact, A = {rate:.0f}")
axes[1].plot(deltas, deltas, color=plots.INK, linestyle="--", label="Mamba's: Δ")
axes[0].set(title="kept of the old state", ylabel=r"$e^{\Delta A}$", xlabel="Δ", xscale="log")
axes[1].set(title="weight of the new input", xlabel="Δ", xscale="log", yscale="log")
for axis in axes:
    axis.legend(fontsize=10)
plots.show(
    figure,
    """
    Left: the share of the old state that is kept, against delta on a logarithmic axis. Near 1
    for a small delta, 0 for a large one; the more negative A, the sooner. Right: the weight of
    the new input with B = 1. Exact, it levels off at 1 over the size of A; Mamba's is delta
    itself, the same line for every A, and keeps growing.
""",
)

# %% [markdown]
# Read it as a gate. A **small** Δ keeps the state and lets nothing in: the input is ignored. A **large** Δ wipes the state and starts again from the input. For A = −1 and Δ = softplus(z) this is exactly the gate of older recurrent networks: $e^{-\mathrm{softplus}(z)} = 1 - \sigma(z)$ (theorem 1 of the Mamba paper).

# %%
z = torch.linspace(-8, 8, 101, dtype=torch.float64)
kept, enters = zero_order_hold(torch.tensor(-1.0), torch.tensor(1.0), F.softplus(z))
torch.testing.assert_close(kept, 1 - torch.sigmoid(z))
torch.testing.assert_close(enters, torch.sigmoid(z))
print("h = (1 - gate) h + gate x, with gate = sigmoid(z): equal at", len(z), "values of z")

# %% [markdown]
# Now let Δ depend on the input. By hand, for one number: Δ is 8 at a base and 0 at noise. Beside it the best we can do with one Δ for all.


# %%
def gated(x, delta):
    """One number with A = -1: h = exp(-delta) h + (1 - exp(-delta)) x."""
    h, states = 0.0, []
    for value, step in zip(x, delta):
        h = math.exp(-step) * h + (1 - math.exp(-step)) * value
        states.append(h)
    return np.array(states)


# %%
tokens = "··A····G·T·······C··A···"
level = [" ACGT".find(token) if token != "·" else 0 for token in tokens]  # A 1, C 2, G 3, T 4
selective = gated(level, [8.0 if value else 0.0 for value in level])
fixed = gated(level, [0.5] * len(level))
last = [level[max((i for i in range(t + 1) if level[i]), default=0)] for t in range(len(level))]
print("the last base seen, at every position:", bool(np.abs(selective - last).max() < 0.002))

# %% tags=["figure"]
figure, axis = plt.subplots(figsize=(11, 3.6))
axis.step(range(len(level)), selective, where="mid", label="Δ = 8 at a base, 0 at noise", lw=2.4)
axis.plot(fixed, color=plots.PALETTE[4], marker=".", label="Δ = 0.5 everywhere")
for i, token in enumerate(tokens):
    color = plots.NUCLEOTIDE_COLORS.get(token, "#AAAAAA")
    axis.text(i, -0.75, token, ha="center", color=color, weight="bold")
axis.set(ylim=(-1, 5.4), yticks=range(5), xticks=[], xlabel="position", ylabel="state")
axis.set_yticklabels(["0", "1 = A", "2 = C", "3 = G", "4 = T"])
axis.legend(ncols=2, loc="upper right", fontsize=10)
plots.show(
    figure,
    """
    A state of one number reading bases among noise. With a delta that is large at bases and
    zero at noise the state jumps to each base and holds it over any distance. With the same
    delta everywhere it rises a little at each base and fades at once.
""",
)

# %% [markdown]
# The first state answers "which base came last?" over any distance. It is still a linear recurrence in $x$ and computed by the same scans, only $a_t$ and $b_t$ now change from step to step. A convolution can no longer do it: there is no fixed filter.
#
# ## The selective scan
#
# Mamba makes all three from the input: **delta** (one for each channel), **B** and **C** (N numbers each, shared by the channels). Only A stays a parameter: since it always meets delta, $e^{\Delta A}$ is selective too. Our scan by hand takes them as given.


# %%
def scan_by_hand(u, delta, A, B, C):
    """One sequence: u and delta (L, D), A (D, N) negative, B and C (L, N) -> y (L, D)."""
    a = torch.exp(delta[..., None] * A)  # (L, D, N): what each state keeps
    b = (delta * u)[..., None] * B[:, None]  # (L, D, N): what enters it
    return (doubling_scan(a, b) * C[:, None]).sum(-1)


# %% [markdown]
# The package's `selective_scan` takes a batch, with time last, and chooses the fastest way that this machine offers: GPU kernels, a compiled loop, or chunks in plain PyTorch. All have the same value and gradient.

# %%
from gfm_lab.mixers import Mamba, selective_scan

torch.manual_seed(0)
L, D, N = 50, 6, 4
u, delta = torch.randn(L, D), F.softplus(torch.randn(L, D))
A, B, C = -torch.rand(D, N) * 4, torch.randn(L, N), torch.randn(L, N)
y = scan_by_hand(u, delta, A, B, C)
batched = selective_scan(u.T[None], delta.T[None], A, B.T[None], C.T[None])
torch.testing.assert_close(batched[0].T, y, atol=1e-5, rtol=1e-5)


# %%
huge = torch.full((1, D, L), 1e6)
reset = selective_scan(u.T[None], huge, A, B.T[None], C.T[None])[0].T
torch.testing.assert_close(reset, 1e6 * u * (B * C).sum(-1, keepdim=True), rtol=1e-4, atol=1.0)
print("equal to 1e-5; with delta = 1e6 nothing overflows, and only the last input is left")

# %% [markdown]
# ### Exercise 2 · a bug to find
#
# The loop below runs a selective scan over one sequence, and also returns the last state, which a classifier might read. `mask` is 1 at tokens and 0 at padding. Two of its lines are wrong. Here are the symptoms: states should fade and do not, and padding *behind* the sequence changes the last state.


# %%
def broken_scan(u, delta, A_log, B, C, mask):
    A = torch.exp(A_log)
    h, y = torch.zeros_like(A), []
    for t in range(len(u)):
        a = torch.exp(delta[t, :, None] * A)
        h = a * h + (delta[t] * u[t] * mask[t])[:, None] * B[t]
        y.append((h * C[t]).sum(-1))
    return torch.stack(y), h


# %%
torch.manual_seed(1)
u, delta = torch.randn(12, 2), torch.full((12, 2), 0.5)
A_log, B, C = torch.zeros(2, 3), torch.ones(12, 3), torch.ones(12, 3)
mask = torch.tensor([1] * 6 + [0] * 6)
for name, n in (("six tokens", 6), ("the same, then six of padding", 12)):
    _, h = broken_scan(u[:n], delta[:n], A_log, B[:n], C[:n], mask[:n])
    print(f"last state after {name:30s}{h[0]}")

# %% [markdown]
# Write it again without the bugs: `u`, `delta` (L, D), `A_log` (D, N), `B`, `C` (L, N), `mask` (L,). Return y (L, D) and the last state (D, N). What y is at padding does not matter.
#
# <details><summary>Hint 1</summary>The parameter is the logarithm of a rate of <em>decay</em>. And what does a step with no input still do to h?</details>
# <details><summary>Hint 2</summary>Padding should leave the state exactly where it was. Which value of delta does that, for both terms at once?</details>


# %% tags=["exercise"]
def my_scan(u, delta, A_log, B, C, mask):
    """y (L, D) and the last state (D, N) of one sequence; padding leaves the state unmoved."""
    # BEGIN SOLUTION
    A = -torch.exp(A_log)
    delta = delta * mask[:, None]
    h, y = torch.zeros_like(A), []
    for t in range(len(u)):
        h = torch.exp(delta[t, :, None] * A) * h + (delta[t] * u[t])[:, None] * B[t]
        y.append((h * C[t]).sum(-1))
    return torch.stack(y), h
    # END SOLUTION


check.repaired_scan(my_scan)

# %% [markdown]
# ## The block
#
# A Mamba block wraps the scan in four more parts. The input is projected to two branches of twice the width. One goes through a **short convolution** (four bases wide) and a SiLU, then through the **scan**; the other, through a SiLU, is the **gate** that multiplies the result. A last projection returns to the width of the model.

# %% tags=["figure"]
figure, axis = plt.subplots(figsize=(11.5, 4.0))
boxes = {  # label: x, y, colour
    "in-\nprojection": (1.0, 1.35, plots.FAINT),
    "short\nconvolution": (2.9, 2.6, "#BFD9EA"),
    "SiLU ": (4.8, 2.6, "#E6E6E6"),
    "Δ, B, C": (6.2, 4.1, "#F6DDA8"),
    "selective\nscan": (6.9, 2.6, "#B2DED2"),
    "SiLU": (4.8, 0.1, "#E6E6E6"),
    "×": (8.9, 1.35, "#E6E6E6"),
    "out-\nprojection": (10.4, 1.35, plots.FAINT),
}
for label, (x, y, color) in boxes.items():
    axis.add_patch(plt.Rectangle((x, y), 1.25, 0.9, facecolor=color, edgecolor=plots.INK))
    axis.text(x + 0.625, y + 0.45, label.strip(), ha="center", va="center")
arrow = {"arrowstyle": "-|>", "color": plots.INK, "linewidth": 1.3}
for tail, head in (
    ((0.3, 1.8), (1.0, 1.8)),
    ((2.25, 2.0), (2.9, 2.8)),
    ((4.15, 3.05), (4.8, 3.05)),
    ((6.05, 3.05), (6.9, 3.05)),
    ((5.7, 3.5), (6.2, 4.3)),
    ((7.1, 4.1), (7.4, 3.5)),
    ((2.25, 1.6), (4.8, 0.6)),
    ((8.15, 2.9), (8.95, 2.25)),
    ((6.05, 0.6), (8.95, 1.4)),
    ((10.15, 1.8), (10.4, 1.8)),
    ((11.65, 1.8), (12.2, 1.8)),
):
    axis.annotate("", xy=head, xytext=tail, arrowprops=arrow)
axis.text(0.25, 1.8, "x", ha="right", va="center", weight="bold")
axis.text(12.25, 1.8, "y", va="center", weight="bold")
axis.text(3.3, 0.75, "gate", color="#555555")
axis.set(xlim=(-0.1, 12.6), ylim=(-0.1, 5.2))
axis.axis("off")
plots.show(
    figure,
    """
    The Mamba block. The input is projected to two branches. The upper one passes a short
    convolution and a SiLU; delta, B and C are computed from it, and the selective scan uses
    them. The lower one passes a SiLU and multiplies the scan's output; a projection follows.
""",
)

# %% [markdown]
# In code, with the names of the parts as in the package. One thing is easy to overlook: delta, B and C come from `u` *behind* the convolution. So the decision "keep or ignore" sees the last four bases, not only the present one.


# %%
class MambaByHand(nn.Module):
    def __init__(self, dim, state_size=16):
        super().__init__()
        channels, rank = 2 * dim, math.ceil(dim / 16)
        self.sizes = (rank, state_size, state_size)
        self.inputs = nn.Linear(dim, 2 * channels, bias=False)
        self.conv = nn.Conv1d(channels, channels, 4, groups=channels, padding=3)
        self.select = nn.Linear(channels, sum(self.sizes), bias=False)
        self.dt = nn.Linear(rank, channels)
        self.A_log = nn.Parameter(torch.arange(1.0, state_size + 1).log().repeat(channels, 1))
        self.D = nn.Parameter(torch.ones(channels))
        self.out = nn.Linear(channels, dim, bias=False)

    def forward(self, x, mask=None, state=None):
        u, gate = self.inputs(x).chunk(2, dim=-1)  # (B, L, channels) each
        u = self.conv(u.transpose(1, 2))[..., : x.shape[1]]  # cut: an output sees no later input
        u = F.silu(u.transpose(1, 2))
        y = self.remember(u) + self.D * u  # D: a way past the state
        return self.out(y * F.silu(gate))

    def remember(self, u):
        rank, B, C = self.select(u).split(self.sizes, dim=-1)
        delta, A = F.softplus(self.dt(rank)), -torch.exp(self.A_log)
        return torch.stack([scan_by_hand(*row[:2], A, *row[2:]) for row in zip(u, delta, B, C)])


# %%
torch.manual_seed(0)
package, by_hand = Mamba(dim=32), MambaByHand(dim=32)
by_hand.load_state_dict(package.state_dict())
x = torch.randn(3, 41, 32)
torch.testing.assert_close(by_hand(x), package(x), atol=1e-5, rtol=1e-5)
rates = package.A_log.exp()[0, [0, 1, 15]].tolist()
deltas = F.softplus(package.dt.bias)
print("equal to 1e-5;", f"{sum(p.numel() for p in package.parameters()):,} parameters")
print(f"at the start: -A is {rates[0]:.0f}, {rates[1]:.0f} ... {rates[2]:.0f} in every channel,")
print(f"delta from {deltas.min():.3f} to {deltas.max():.3f}")

# %% [markdown]
# A stack of such blocks, each behind a norm and with a residual connection, is the whole model; there is no feed-forward part and there are no position codes, since a recurrence knows order by itself. To be sure that we speak of the same Mamba as everyone, we give the weights of a `transformers` model to ours.

# %%
from transformers import MambaConfig, MambaForCausalLM

from gfm_lab import from_state_dict

torch.manual_seed(0)
config = MambaConfig(vocab_size=16, hidden_size=32, num_hidden_layers=2, use_cache=False)
theirs = MambaForCausalLM(config).eval()


# %%
ours = from_state_dict("mamba", theirs.state_dict(), config.to_dict()).eval()
ids = torch.randint(16, (2, 60))
with torch.no_grad():
    torch.testing.assert_close(ours(ids).logits, theirs(ids).logits, atol=1e-5, rtol=1e-5)
print("the logits of transformers' MambaForCausalLM to 1e-5")

# %% [markdown]
# ## Selective copying, live
#
# Now the task again. Four mixers, two layers each, width 32, about the same number of parameters, the same 400 batches of 64 rows, from two random starts each:
#
# - **Mamba**, the package's;
# - its **fixed twin**: the same block, but delta, B and C are parameters, the same at every position. Then the scan is a convolution, and we can write it so;
# - **Hyena** of notebook 04, a long fixed filter between two gates;
# - **attention** of notebook 03 with learned positions.


# %%
class FixedTwin(MambaByHand):
    """The same block with fixed dynamics: each channel has its own constant delta, B and C."""

    def __init__(self, dim, state_size=16):
        super().__init__(dim, state_size)
        del self.select, self.dt
        channels = len(self.A_log)
        self.log_delta = nn.Parameter(torch.rand(channels) * math.log(100) - math.log(1000))
        self.B = nn.Parameter(torch.randn(channels, state_size))
        self.C = nn.Parameter(torch.randn(channels, state_size) / state_size**0.5)

    def remember(self, u):
        delta = self.log_delta.exp()[:, None]  # (channels, 1), from 0.001 to 0.1 at the start
        A, steps = -torch.exp(self.A_log), torch.arange(u.shape[1])
        powers = torch.exp((delta * A)[..., None] * steps)  # (channels, N, L)
        filters = ((self.C * self.B * delta)[..., None] * powers).sum(1)
        return fft_convolution(u.transpose(1, 2), filters).transpose(1, 2)


# %%
def copier(name, layers=2, dim=32):
    """A model for the task; the four differ in the mixer, and attention and Hyena have an FFN to be as large."""
    options = {"attention": {"heads": 4}, "hyena": {"max_length": 64, "filter_width": 32}}
    inner = {"attention": 64, "hyena": 40}.get(name)
    config = GenomicConfig(
        vocab_size=VALUES + 2,
        hidden_size=dim,
        num_hidden_layers=layers,
        pad_token_id=None,
        positions="learned" if name == "attention" else "none",
        max_position_embeddings=64 if name == "attention" else None,
        mixer="mamba" if name == "fixed twin" else name,
        mixer_options=options.get(name, {}),
        causal=True,
        ffn="gelu" if inner else "none",
        intermediate_size=inner,
        initializer_range=0.1,
    )
    model = GenomicForCausalLM(config)
    for layer in model.body.layers if name == "fixed twin" else ():
        layer.mixer = FixedTwin(dim)
    return model


# %% tags=["nbval-ignore-output"]
MIXERS = ("mamba", "fixed twin", "hyena", "attention")
tests = {length: copying(-1, 500, length) for length in (LENGTH, 30, 60)}
rows, losses, copiers = {}, {}, {}


def learn(name, seed, steps=400):
    torch.manual_seed(seed)
    model = copiers[name, seed] = copier(name)
    rate = 3e-3 if name in ("attention", "hyena") else 1e-2
    started = time.perf_counter()
    losses[name, seed] = train_on_task(model, copying, steps, lr=rate, seed=seed)
    seconds = round(time.perf_counter() - started)
    right = [task_accuracy(model, *test) for test in tests.values()]
    rows[name, f"start {seed}"] = [sum(p.numel() for p in model.parameters()), seconds, *right]


# %%
for seed in (0, 1):
    learn("mamba", seed)

# %%
for seed in (0, 1):
    learn("fixed twin", seed)

# %%
for seed in (0, 1):
    learn("hyena", seed)

# %%
for seed in (0, 1):
    learn("attention", seed)

# %% tags=["nbval-ignore-output"]
columns = ["parameters", "seconds", *(f"length {length}" for length in tests)]
copied = pd.DataFrame(rows, index=columns).T.astype({"parameters": int, "seconds": int})
at_20 = copied["length 20"].unstack()
at_60 = copied["length 60"].unstack()
assert at_20.loc["mamba"].min() > 0.95
assert at_60.loc["mamba"].min() > at_60.drop("mamba").max().max() + 0.1
print(f"chance {1 / VALUES}, naming the most frequent base {most_frequent():.2f}")
copied.round(2)

# %% tags=["figure", "nbval-ignore-output"]
figure, axis = plt.subplots(figsize=(9, 3.8))
for name, color in zip(MIXERS, plots.PALETTE):
    for seed in (0, 1):
        smooth = np.array(losses[name, seed]).reshape(-1, 10).mean(1)
        label = name if seed == 0 else None
        axis.plot(np.arange(5, 400, 10), smooth, color=color, label=label, linewidth=1.6)
axis.axhline(math.log(VALUES), color=plots.INK, linestyle=":", label="guessing: ln 4")
axis.set(xlabel="step", ylabel="loss, nats per answer", ylim=(0, 1.6))
axis.legend(fontsize=10, loc="lower left", ncols=2)
plots.show(
    figure,
    """
    Loss on selective copying against training steps, two random starts of each of four
    mixers. Both curves of Mamba fall to zero, and one of attention. Hyena and the other start
    of attention level off at a low loss, the fixed twin at the highest.
""",
)

# %% [markdown]
# **Length 20, as trained.** Mamba solves it from both starts, attention from one of two, and Hyena comes close. Nothing stops attention: it still holds every token when it is asked. The fixed twin stays near the limit of a single fixed filter that we computed; its gates and its second layer help it little here. (Fixed filters between gates can do more, as Hyena shows.)
#
# **Length 30 and 60, never trained.** Here they part. What Hyena, the twin and attention learned is tied to the places of the training length (attention's position vectors beyond 20 were never trained at all; without position vectors it did no better at length 60 in our trials). What Mamba learned is so much less: its clocks run on what happens, so more noise takes away little.
#
# How this was set up: length, items and number of steps were settled with Mamba's loss in view, so that it finishes in time; of the learning rates 0.003 and 0.01 each mixer got the one that was better on the first start. The second start was used for no choice. 400 steps are few: with more, Hyena and attention may well close the gap at the trained length.
#
# ### What did it learn to choose?
#
# Delta is the output of the small layer `dt`, so a hook on it shows every step size. By hand we opened the gate at bases and closed it at noise. Does a trained model do that? We compare each channel's mean log Δ at bases with that at *quiet* noise, where nothing else is in reach of the short convolution.


# %%
def step_sizes(model, ids):
    """Delta of every layer, position and channel: (layers, B, L, channels)."""
    kept = []
    hooks = [
        layer.mixer.dt.register_forward_hook(lambda _, __, out: kept.append(F.softplus(out)))
        for layer in model.body.layers
    ]
    with torch.no_grad():
        model(ids)
    for hook in hooks:
        hook.remove()
    return torch.stack(kept)


# %% tags=["nbval-ignore-output"]
copier_mamba = copiers["mamba", 0]
inputs, labels = tests[30]
log_delta = step_sizes(copier_mamba, inputs).log2()
quiet = F.pad((inputs != 0).float(), (3, 0)).unfold(1, 4, 1).sum(-1) == 0
quiet[:, :3] = False  # the start of a row is special
prefers = log_delta[:, inputs >= 2].mean(1) - log_delta[:, quiet].mean(1)  # (layers, channels)


# %% tags=["nbval-ignore-output"]
rows = {
    f"layer {i + 1}": [(part > 1).sum().item(), (part < -1).sum().item(), len(part)]
    for i, part in enumerate(prefers)
}
columns = ["at least twice as large at bases", "at least twice as large at noise", "channels"]
pd.DataFrame(rows, index=columns).T

# %% tags=["figure", "nbval-ignore-output"]
figure, axes = plt.subplots(2, 1, figsize=(10, 5.4), sharex=True)
for axis, layer, order, title in zip(
    axes, log_delta[:, 0], prefers.argsort(-1), ("layer 1", "layer 2")
):
    image = axis.imshow(
        layer[:, order].T,
        aspect="auto",
        cmap="viridis",
        vmin=-10,
        vmax=1,
        interpolation="nearest",
    )
    axis.set(title=title, ylabel="channel", yticks=[])
axes[1].set_xticks(range(30), list(as_text(inputs[0])))
for tick, token in zip(axes[1].get_xticklabels(), as_text(inputs[0])):
    tick.set_color(plots.NUCLEOTIDE_COLORS.get(token, plots.INK))
figure.colorbar(image, ax=axes, label="log2 Δ", extend="both")
plots.show(
    figure,
    """
    Logarithm of the step sizes of the trained model on one row of 26 places and 4 answers,
    position from left to right. Channels are sorted: at the top those with larger steps at
    noise, at the bottom those with larger steps at bases. Each layer has both kinds.
""",
)

# %% [markdown]
# It is not our tidy gate. Some channels take their large steps at bases and stand still at noise, as we built it; others do the reverse, and fade while nothing happens. Training found some mixture of clocks that works.
#
# A picture suggests, an intervention shows. We take the choice away from the *trained* model: every delta is replaced by its channel's mean over all positions, or B, or C likewise.


# %%
def accuracy_without(model, part, test):
    """Accuracy when `part` (delta, B or C) is its mean over positions and rows in all layers."""

    def flatten(module, _, out):
        rank, size = model.body.layers[0].mixer.dt_rank, model.body.layers[0].mixer.state_size
        columns = {
            "delta": slice(None),
            "B": slice(rank, rank + size),
            "C": slice(rank + size, None),
        }
        out = out.clone()
        out[..., columns[part]] = out[..., columns[part]].mean((0, 1))
        return out

    parts = [
        layer.mixer.dt if part == "delta" else layer.mixer.select for layer in model.body.layers
    ]
    hooks = [module.register_forward_hook(flatten) for module in parts]
    accuracy = task_accuracy(model, *test)
    for hook in hooks:
        hook.remove()
    return accuracy


# %% tags=["nbval-ignore-output"]
rows = {"nothing taken away": task_accuracy(copier_mamba, *tests[LENGTH])}
for part in ("delta", "B", "C"):
    rows[f"{part} made constant"] = accuracy_without(copier_mamba, part, tests[LENGTH])
assert (
    max(rows["delta made constant"], rows["C made constant"]) < rows["nothing taken away"] - 0.1
)
pd.Series(rows, name="accuracy").round(2)

# %% [markdown]
# The trained model needs its choices, above all *what to read* (C) and *how fast to move* (delta). This says what this model uses, not what a model could do without: one trained with a constant B from the start might find another way.
#
# ## What a recurrence costs
#
# ### Exercise 3 · predict
#
# The length L doubles. By which factor do these grow, for long sequences? Give four numbers.
#
# 1. the time of the backward pass of a loop that takes its inputs as `a[:, t]`;
# 2. the same loop, with the pieces cut once by `a.unbind(1)`;
# 3. the memory that attention keeps while it generates (its cache);
# 4. the memory that Mamba keeps while it generates (its state).
#
# <details><summary>Hint 1</summary>For the last two, count what the next token needs to know of the past.</details>
# <details><summary>Hint 2</summary>PyTorch's gradient of <code>a[:, t]</code> with respect to <code>a</code> has the shape of <code>a</code>. How many zeros are in it?</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_prediction = (4, 2, 2, 1)
# END SOLUTION
check.prediction(my_prediction)


# %%
def loop(pieces):
    """The recurrence over pairs (a, b) of one step each; the last state."""
    h = 0.0
    for a, b in pieces:
        h = a * h + b
    return h


# %%
def backward_ms(cut, length, width=128):
    """Milliseconds of the backward pass, and the inputs' gradients."""
    generator = torch.Generator().manual_seed(length)
    shape = (1, length, width)
    ab = [torch.rand(shape, generator=generator, requires_grad=True) for _ in range(2)]
    total = loop(cut(*ab)).sum()
    started = time.perf_counter()
    total.backward()
    return 1000 * (time.perf_counter() - started), [part.grad for part in ab]


# %% tags=["nbval-ignore-output"]
cuts = {
    "a[:, t]": lambda a, b: ((a[:, t], b[:, t]) for t in range(a.shape[1])),
    "unbind": lambda a, b: zip(a.unbind(1), b.unbind(1)),
}
rows = {}


# %% tags=["nbval-ignore-output"]
for length in (256, 512, 1024, 2048):
    runs = {name: [backward_ms(cut, length) for _ in range(2)] for name, cut in cuts.items()}
    rows[length] = {name: min(ms for ms, _ in pair) for name, pair in runs.items()}
    for ours, reference in zip(runs["a[:, t]"][0][1], runs["unbind"][0][1]):
        torch.testing.assert_close(ours, reference)
slow = pd.DataFrame(rows).T.rename_axis("L")
growth = (slow.loc[2048] / slow.loc[512]).round(1)
print("four times the length costs:", growth.to_dict())
assert growth["a[:, t]"] > 1.5 * growth["unbind"]
slow.round(1)

# %% [markdown]
# Same numbers, same gradients, and one of them is quadratic. The gradient of a slice is a tensor of the *whole* length, zero except at t; L of them are written and added. `unbind` knows all its pieces and puts their gradients together once. The loop as one finds it in many repositories is the first kind; the package's scan keeps no such thing: it stores one state for each chunk of steps and computes the others again on the way back.
#
# What does attention pay, and what does Mamba, while they *generate*? We let both read 10 tokens, then 10,000, and then time one more.


# %% tags=["setup"]
def tiny(mixer, **options):
    """One layer of width 64, causal; mixer_options as given."""
    return GenomicForCausalLM(
        GenomicConfig(
            vocab_size=16,
            hidden_size=64,
            num_hidden_layers=1,
            positions="none",
            mixer=mixer,
            mixer_options=options,
            causal=True,
            ffn="none",
        )
    ).eval()


# %%
def bytes_kept(state):
    tensors = [value for layer in state for value in layer.values() if torch.is_tensor(value)]
    return sum(tensor.nbytes for tensor in tensors)


# %%
@torch.no_grad()
def after_reading(model, count):
    """Milliseconds for one more token after `count`, and the bytes of the state."""
    ids = torch.randint(7, 11, (1, count), generator=torch.Generator().manual_seed(0))
    state = model(ids, use_cache=True).past_key_values
    kept = bytes_kept(state)
    one = ids[:, :1]
    return milliseconds(lambda: model(one, past_key_values=state, use_cache=True), 20), kept


# %% tags=["nbval-ignore-output"]
rows = {}
for name, options in (("attention", {"heads": 4}), ("mamba", {})):
    torch.manual_seed(0)
    model = tiny(name, **options)
    for count in (10, 1000, 10_000):
        ms, kept = after_reading(model, count)
        rows[name, count] = {"ms for one more": round(ms, 2), "bytes kept": kept}
steps = pd.DataFrame(rows).T.astype({"bytes kept": int})
state_bytes = steps.loc["mamba", "bytes kept"]


# %% tags=["nbval-ignore-output"]
assert state_bytes.nunique() == 1  # constant
assert steps.loc[("attention", 10_000), "bytes kept"] == 10_000 * (2 * 64 * 4 + 1)
assert (
    steps.loc[("mamba", 10_000), "ms for one more"]
    < 3 * steps.loc[("mamba", 10), "ms for one more"]
)
steps

# %% [markdown]
# The cache holds a key and a value, 2 × 64 numbers of 4 bytes, for every token (and one byte of mask); the state holds 128 channels × 16 numbers, and three inputs of the short convolution. They are level after about twenty tokens:

# %%
crossing = int(state_bytes.iloc[0] / (2 * 64 * 4))
print(f"state {state_bytes.iloc[0]:,} bytes, as much as the cache of {crossing} tokens")

# %% [markdown]
# That is the bargain: ten thousand tokens in the room of about twenty. Attention may look up any of them again. Mamba must have known, when it read them, what would be needed.

# %% [markdown]
# ## On real DNA: is there a gene in the state?
#
# The checkpoint `ecoli-mamba-ar` has read the first 85 % of the chromosome of *E. coli*, from left to right, and learned to guess the next base. First a number: bits per base on a part of the last 10 %, which it has never seen, beside the best back-off Markov model on the same bases.

# %% tags=["nbval-ignore-output"]
from gfm_lab import MarkovModel, bits_per_base, load_model, reverse_complement
from gfm_lab.evaluation import bootstrap, difference, score_baseline

CHECKPOINT = "ecoli-mamba-ar"
model, tokenizer = load_model(CHECKPOINT)
print(f"{sum(p.numel() for p in model.eval().parameters()):,} parameters")


# %% tags=["nbval-ignore-output"]
train, valid, test = (genome.split(part) for part in ("train", "valid", "test"))
stretch = test[:40_000]
score = bits_per_base(model, tokenizer, stretch)
markov = score_baseline(MarkovModel(8).fit(train, valid=valid), stretch, like=score)
gap = difference(score, markov)
print(
    f"{CHECKPOINT}: {score.value:.3f} bits per base; Markov order 8: {markov.value:.3f}; guessing: 2"
)
print(f"model minus Markov: {gap.value:+.3f}, 95 % interval {gap.low:+.3f} to {gap.high:+.3f}")
assert gap.high < 0

# %% [markdown]
# So it knows something that nine-letter words do not tell. Is any of it in its step sizes? We cut windows around the **start codons** of the test region's protein genes, on both strands, each read in the gene's own direction, and average log Δ over channels and genes.


# %%
def genes_of(split, before=150, after=110):
    """Windows around the first base of each protein gene of a split, in the gene's direction."""
    low, high = genome.splits[split]
    windows = []
    for gene in genome.genes[genome.genes["biotype"] == "CDS"].itertuples():
        first = gene.start if gene.strand == "+" else gene.stop
        left, right = (before, after) if gene.strand == "+" else (after, before)
        if low <= first - left and first + right <= high and gene.stop - gene.start > after:
            cut = genome.region(first - left, first + right)
            windows.append(cut if gene.strand == "+" else reverse_complement(cut))
    return windows


# %%
def log_steps(windows):
    """Mean over channels of log2 delta, (layers, windows, positions)."""
    ids = torch.tensor(np.stack([tokenizer.encode_array(w) for w in windows])).long()
    return torch.cat(
        [step_sizes(model, part).log2().mean(-1) for part in ids.split(32)], 1
    ).numpy()


# %%
starts = genes_of("test")[::2]  # every other gene, to be quick
codons = pd.Series([window[150:153] for window in starts]).value_counts()
print(len(starts), "genes; their first codons:", codons.head(4).to_dict())

# %% [markdown]
# **The control.** An `ATG` is a rare word of three letters, and delta is made from the last few letters. So we need the same word where no gene starts: places in the test region, on both strands, with `ATG` (or `GTG`, `TTG`, as often as among the genes), drawn at random and at least 30 bases from any annotated start.

# %%
rng = np.random.default_rng(0)
strands = {"+": test, "-": reverse_complement(test)}
low, high = genome.splits["test"]
cds = genome.genes[genome.genes["biotype"] == "CDS"]
taken = {
    "+": cds["start"][cds["strand"] == "+"].to_numpy() - low,
    "-": high - cds["stop"][cds["strand"] == "-"].to_numpy(),
}


# %%
def elsewhere(codon):
    """A window around a random place with this codon, away from annotated starts."""
    while True:
        strand = rng.choice(["+", "-"])
        at = strands[strand].find(codon, rng.integers(150, len(test) - 300))
        if at <= len(test) - 110 and np.abs(taken[strand] - at).min() > 30:
            return strands[strand][at - 150 : at + 110]


controls = [elsewhere(window[150:153]) for window in starts]
assert [w[150:153] for w in controls] == [w[150:153] for w in starts]

# %% tags=["nbval-ignore-output"]
at_starts, at_controls = log_steps(starts), log_steps(controls)
layers = range(len(at_starts))
shown = slice(150 - 45, 150 + 60)
curves = [
    [
        (part[layer, :, shown].mean(0), part[layer, :, shown].std(0) / len(starts) ** 0.5)
        for layer in layers
    ]
    for part in (at_starts, at_controls)
]

# %% tags=["figure", "nbval-ignore-output"]
figure, axes = plt.subplots(len(layers), 1, figsize=(10, 2.1 * len(layers) + 0.6), sharex=True)
where = np.arange(-45, 60)
for layer, axis in enumerate(axes):
    for name, color, parts in zip(
        ("gene starts", "the same codon elsewhere"), plots.PALETTE, curves
    ):
        mean, error = parts[layer]
        axis.plot(where, mean, color=color, label=name, linewidth=1.4)
        axis.fill_between(where, mean - 2 * error, mean + 2 * error, color=color, alpha=0.2)
    axis.axvspan(-0.5, 2.5, color="#DDDDDD", zorder=0)
    axis.set(ylabel=f"layer {layer + 1}")
axes[0].legend(ncols=2, fontsize=10)
axes[0].set_title("mean log2 Δ")
axes[-1].set(xlabel="bases from the first base of the codon")
plots.show(
    figure,
    """
    Mean logarithm of delta around gene starts and around the same codons elsewhere, one panel a
    layer, with bands of two standard errors; the codon is shaded. Gene starts: no beat before
    the codon, and behind it a beat of three bases that grows. Elsewhere: the beat is there on
    both sides. Left of the codon the two curves lie apart in all layers.
""",
)

# %% [markdown]
# Now a number for "the same": the difference at the third base of the codon, gene starts minus controls, and how often labels drawn at random (a permutation test) give one as large. We test once for each layer, so the smallest p among them should be multiplied by their number (Bonferroni).


# %% tags=["nbval-ignore-output"]
def permutation(a, b, repeats=5000, seed=0):
    """Difference of the means, and the share of random relabellings with one at least as large."""
    both, rng = np.concatenate([a, b]), np.random.default_rng(seed)
    seen = a.mean() - b.mean()
    order = rng.permuted(np.tile(np.arange(len(both)), (repeats, 1)), axis=1)
    drawn = both[order[:, : len(a)]].mean(1) - both[order[:, len(a) :]].mean(1)
    return seen, (1 + (np.abs(drawn) >= abs(seen)).sum()) / (1 + repeats)


# %% tags=["nbval-ignore-output"]
rows = {}
for layer in layers:
    seen, p = permutation(at_starts[layer, :, 152], at_controls[layer, :, 152])
    before = (at_starts - at_controls)[
        layer, :, 110:140
    ].mean()  # 40 to 11 bases before the codon
    rows[f"layer {layer + 1}"] = [seen, p, min(1, p * len(layers)), before]
columns = ["gene start minus elsewhere", "p", "p, four layers", "the same, before the codon"]
pd.DataFrame(rows, index=columns).T.round(3)

# %% [markdown]
# In layers 1 and 2 the difference is far from chance. How much of it is about starts? About half was there *before* the codon already (last column, and the left half of the figure): a gene start has DNA between genes behind it, while an ATG elsewhere mostly lies inside a gene. What is left may be the start, or what usually surrounds one, such as the ribosome site rich in A and G around −8, where layer 1 has a hump. A test against a control that differs in two ways cannot say which; we claim neither.
#
# ### Does the state know the reading frame?
#
# The other thing to see in the figure is a beat of three, which sets in at the gene start and grows. A codon has three bases, so it looks as if the model had found the **reading frame** and carried it along. Or it reads the beat afresh from the last few letters, since codons prefer some words to others. The picture cannot tell. An experiment can.
#
# In a gene we delete 1, 2 or 3 bases, 60 bases behind its start. Deleting 1 or 2 shifts the reading frame of all that follows; deleting 3 does not. From 24 bases behind the cut on, the last letters are the same as before, and whatever still differs was carried by the state. If it carries the frame, 1 and 2 change more than 3.

# %%
CUT = 30 + 60  # in windows that begin 30 bases before the gene


@torch.no_grad()
def behind_the_cut(windows, count):
    """log2 delta (layers, windows, places, channels) and bits (windows, places), `count` bases deleted."""
    cut = [window[:CUT] + window[CUT + count :] for window in windows]
    ids = torch.tensor(np.stack([tokenizer.encode_array(w) for w in cut])).long()
    places = len(windows[0]) - CUT - 3  # counted from the end, the same bases in all versions
    log_p = model(ids).logits[:, -places - 1 : -1].log_softmax(-1)
    bits = -log_p.gather(-1, ids[:, -places:, None])[..., 0] / math.log(2)
    return step_sizes(model, ids)[:, :, -places:].log2(), bits.numpy()


# %% tags=["nbval-ignore-output"]
inside = genes_of("test", before=30, after=222)[1::3]
whole_steps, whole_bits = behind_the_cut(inside, 0)
moved, worse = {}, {}  # (genes, places) each
for count in (1, 2, 3):
    steps, bits = behind_the_cut(inside, count)
    moved[count] = (steps - whole_steps).abs().mean((0, 3)).numpy()
    worse[count] = bits - whole_bits
print(f"{len(inside)} genes; frame shifted minus frame kept, with 95 % intervals over genes")
for name, part in (("change of log2 delta", moved), ("bits per base", worse)):
    gap = (part[1] + part[2]) / 2 - part[3]
    for first, last in ((24, gap.shape[1]), (18, 32)):
        ends = bootstrap(gap[:, first:last].mean(1))
        mean = gap[:, first:last].mean()
        print(
            f"  {name:21s}{first} to {last:3d} behind: {mean:+.4f} ({ends[0]:+.4f} to {ends[1]:+.4f})"
        )

# %% tags=["figure", "nbval-ignore-output"]
figure, axis = plt.subplots(figsize=(10, 3.9))
for count, color in zip((1, 2, 3), (plots.PALETTE[4], plots.PALETTE[1], plots.PALETTE[2])):
    label = f"{count} deleted: frame {'kept' if count == 3 else 'shifted'}"
    axis.plot(moved[count].mean(0), color=color, label=label, linewidth=1.6)
axis.axvspan(0, 24, color="#EEEEEE", zorder=0)
axis.set(
    yscale="log", xlabel="bases behind the cut", ylabel="mean change of log2 Δ", xlim=(0, 120)
)
axis.legend(fontsize=10)
plots.show(
    figure,
    """
    How much delta changes behind a deletion in a gene, on a logarithmic axis, against the
    distance from the cut. All curves fall, steeply at first, then slowly. Those of 1 and 2
    deleted bases, which shift the reading frame, lie above that of 3 up to about base 30, and
    together with it from there on.
""",
)

# %% [markdown]
# From base 24 on, as planned, shifting the frame changes delta no more than keeping it: the interval holds zero. The bits notice a little, one or two thousandths of a bit. The figure shows where that comes from, and since we noticed it only with the result in view we say so (the range 18 to 32 is for it): up to about base 30 the curves of the shifted frames lie higher, in delta and in bits. Without its state, layer 4 sees 18 letters at most: six-letter words, and three more letters for each of four convolutions. So the state carries the frame, but hardly further than a few codons; then the model reads it afresh from the words.
#
# That is this small model, after 12 million bases and on every third gene (two other choices of genes, tried while writing, gave the same picture); a larger one may hold the frame longer. What is sure is the method: the beat of three looked like a memory, and an experiment on the input told how much of it was. It also shows a memory: the trace of one lost base can still be seen a hundred bases on, faint and fading.
#
# ### Exercise 4 · an interpretation
#
# A preprint shows one panel: Δ of layer 3, channel 117 of a Mamba model along the gene *lacZ*, with a sharp peak at the start codon. "Among all channels we identified one whose selection mechanism has discovered translation initiation." What do you write as a reviewer? Three or four sentences, then compare with the rubric.
#
# <details><summary>Hint 1</summary>From which bases is delta computed, and where else do these stand?</details>
# <details><summary>Hint 2</summary>How many panels did the authors look at before they chose this one? And what would have to break if the claim were true?</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_review = """
Delta is computed from the last few bases, so ATG may give this peak wherever it stands: please show
the same channel at ATGs that start nothing, within the same words, with a permutation test. One
channel of many hundreds was chosen because of its peak on one gene; test the chosen channel on
other genes, correct for the choice, and show a twin with random weights. A large delta says that a
state is rewritten, not what for: change the codon, or hold delta constant there, and see whether the
predictions behind it suffer.
"""
# END SOLUTION
check.interpretation(my_review)

# %% [markdown]
# ## Take-aways
#
# - A linear recurrence is a sum of fading exponentials. With constant A, B and C the same map is a recurrence, a convolution with the kernel C Aᵏ B, and a scan; train with the parallel forms, generate with the recurrence.
# - Fixed dynamics wait a fixed time. What has to be kept "when it comes, wherever it comes" needs a state that moves only when something happens.
# - Delta turns continuous time into steps and is a gate: small keeps the state, large replaces it. In Mamba delta, B and C come from the input (and from the three before it).
# - Steps (a, b) combine associatively, selective or not: that is why Mamba trains in parallel. A loop over `a[:, t]` is quadratic in its backward pass.
# - The state has one size at 10 tokens and at 10 million. Attention solves our task too, since it keeps everything; the difference is what that costs, and which lengths it can read.
# - A look into a state needs a control. Delta at a place says what the last bases were; whether it says more, a changed input decides: our model's beat of three is read from words, and the frame itself carried for a few codons only.
#
# ## Quiz

# %%
check.questions("quiz")

# %% tags=["exercise"]
# BEGIN SOLUTION
quiz_answers = "ccaddaa"
# END SOLUTION
check.quiz(quiz_answers)

# %% [markdown]
# ## Where we are

# %%
plots.show(
    plots.anatomy(3),
    """
    The five sites of a genomic model, from tokenizer to objective. This notebook's site,
    number 3, the mixer, is filled in; Mamba is one of its options.
""",
)

# %% [markdown]
# ## Further reading
#
# - Gu and Dao (2023), *Mamba: Linear-time sequence modeling with selective state spaces*: the block, the task, delta as a gate. [doi:10.48550/arXiv.2312.00752](https://doi.org/10.48550/arXiv.2312.00752)
# - Gu, Goel, Ré (2021), *Efficiently modeling long sequences with structured state spaces* (S4): recurrence and convolution. [doi:10.48550/arXiv.2111.00396](https://doi.org/10.48550/arXiv.2111.00396)
# - Smith, Warrington, Linderman (2022), *Simplified state space layers for sequence modeling* (S5): the scan. [doi:10.48550/arXiv.2208.04933](https://doi.org/10.48550/arXiv.2208.04933)
# - Martin and Cundy (2018), *Parallelizing linear recurrent neural nets over sequence length*. [doi:10.48550/arXiv.1709.04057](https://doi.org/10.48550/arXiv.1709.04057)
# - Hillis and Steele (1986), *Data parallel algorithms*: the scan that doubles its reach. [doi:10.1145/7902.7903](https://doi.org/10.1145/7902.7903)
# - Blelloch (1990), *Prefix sums and their applications*, technical report CMU-CS-90-190: the scan that halves.
# - Schiff and colleagues (2024), *Caduceus*: Mamba for DNA, in both directions. [doi:10.48550/arXiv.2403.03234](https://doi.org/10.48550/arXiv.2403.03234)
#
# Next: notebook 06 reads the same DNA from its other end.
