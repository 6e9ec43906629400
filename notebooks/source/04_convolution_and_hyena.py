# %% [markdown]
# # 04 · Convolution and Hyena: can a convolution see a megabase?
#
# **The question.** Attention lets every position look at every other one, and pays with the square of the length. A *convolution* applies one small pattern everywhere, and pays with the length alone. How far can it see, what can it learn, and what has to be added before it can stand in for attention? *Hyena*, the mixer of HyenaDNA, is one answer.
#
# **You will be able to**
# - read the first layer of a network as motif detectors, and test whether a filter matters;
# - compute how far a stack of convolutions sees, and measure how far it looks;
# - write a long convolution as a sum, as a matrix and as an FFT, and catch the leak that hides in the third;
# - assemble Hyena in 25 lines: a filter written by a network, and gates that depend on the data.
#
# | your time | run time | needs |
# |---|---|---|
# | about 90 minutes | under 90 seconds on 2 cores, under 3 GB | notebooks 02 and 03 |
#
# New words: [glossary](../docs/glossary.md).

# %% tags=["setup", "nbval-ignore-output"]
import json
import math
import time
from importlib.metadata import version

import logomaker
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from gfm_lab import MarkovModel, NucleotideTokenizer, checks, load_data, plots
from gfm_lab.labelled import auroc, interval

plots.use_style()
torch.set_num_threads(1)
torch.set_printoptions(precision=2, sci_mode=False)
check = checks.start("04_convolution_and_hyena")
for package in ("gfm-lab", "torch", "logomaker"):
    print(f"{package:10s}{version(package)}")

# %% [markdown]
# ## The idea: the same pattern, everywhere
#
# A mixer that adds up its inputs is a table: row t says how much each position counts for the output at t. Attention writes a new table for every sequence. A convolution has *one* row, and shifts it: what counts is the distance, not the place. A filter of few taps gives a narrow band; a filter as long as the sequence fills the triangle; Hyena's gates then switch its rows and columns up and down, anew for each sequence.

# %% tags=["figure"]
rng = np.random.default_rng(3)
size = 24
lag = np.arange(size)[:, None] - np.arange(size)
past = lag >= 0
attention = np.where(past, np.exp(1.6 * rng.normal(size=(size, size))), 0)
attention /= attention.sum(1, keepdims=True)
short = np.where(past & (lag < 4), np.array([1, 0.6, -0.5, 0.3])[np.clip(lag, 0, 3)], 0)
taps = np.cos(np.arange(size) / 2.1) * np.exp(-np.arange(size) / 12)
long = np.where(past, taps[np.clip(lag, 0, None)], 0)
gate_out, gate_in = rng.random(size) ** 1.5, rng.random(size) ** 1.5
panels = {
    "attention": 3 * attention,
    "short filter": short,
    "long filter": long,
    "long filter, gated": 3 * gate_out[:, None] * long * gate_in,
}
figure, axes = plt.subplots(1, 4, figsize=(12.5, 3.5))
for axis, (title, table) in zip(axes, panels.items()):
    axis.imshow(table, cmap="RdBu", vmin=-1, vmax=1)
    axis.set(title=title, xticks=[], yticks=[], xlabel="from position")
    axis.spines[:].set_visible(False)
axes[0].set_ylabel("to position")
plots.show(
    figure,
    """
    Four causal mixers as tables, 24 by 24 positions, blue for positive weights and red for
    negative. Attention: an irregular lower triangle. Short filter: a band of four equal
    diagonals. Long filter: the whole triangle, constant along each diagonal. Gated long
    filter: the same diagonals, with rows and columns made stronger or weaker.
""",
)

# %% [markdown]
# ## By hand: a filter is a motif detector
#
# Let us write DNA as four rows of zeros and ones, one row a base. A *filter* is a small table of the same height. Laid over a stretch of the sequence, multiplied and summed, it gives a score; moved along, a row of scores.


# %%
def encode(sequences):
    """Sequences of one length -> zeros and ones, (N, 4, L), rows A, C, G, T."""
    letters = np.frombuffer("".join(sequences).encode(), np.uint8).reshape(len(sequences), 1, -1)
    return torch.tensor((letters == np.frombuffer(b"ACGT", np.uint8)[:, None]).astype(np.float32))


sequence, motif = "TTCAGGTAAGTCAGGAAG", "AGGTAAG"
x, motif_filter = encode([sequence]), encode([motif])
width = len(motif)
scores = [float((x[0, :, i : i + width] * motif_filter[0]).sum()) for i in range(18 - width + 1)]
print(scores)

# %% [markdown]
# The score counts matching letters: 7 where the word stands, at position 3. PyTorch's `conv1d` is the same loop. A trained filter has real numbers in place of zeros and ones, so a letter can count more or less, and against.

# %%
by_torch = F.conv1d(x, motif_filter)[0, 0]
torch.testing.assert_close(by_torch, torch.tensor(scores))
print("best match", int(by_torch.max()), "at position", int(by_torch.argmax()))

# %% [markdown]
# ## On real DNA: filters that find the donor site
#
# Human donor sites again, windows of 400 bases with the junction in the middle. In this section the decoys are the **easy** ones: a GT of the same gene, drawn at random. Nobody tells the network where in the window to look. It has 16 filters of 11 bases; each reports its *best match* anywhere in the window, and a linear layer weighs the 16 reports. This is the form of DeepBind (Alipanahi and colleagues, 2015).

# %%
splice = load_data("human-splice-sites")
donors = splice.where(splice.frame["site"] == "donor")
easy = donors.where(donors.frame["kind"].isin(["donor", "random_decoy"]))
hard = donors.where(donors.frame["kind"].isin(["donor", "matched_decoy"]))
parts = {name: easy.split(name) for name in ("train", "valid", "test")}
X = {name: encode(part.sequences) for name, part in parts.items()}
print(pd.crosstab(easy.frame["split"], easy.frame["kind"]))


# %%
class MotifNet(nn.Module):
    def __init__(self, count=16, width=11):
        super().__init__()
        self.filters, self.head = nn.Conv1d(4, count, width), nn.Linear(count, 1)
        with torch.no_grad():
            self.filters.weight.mul_(0.1)  # a quiet start: what a filter becomes, the data says

    def matches(self, x):
        return self.filters(x).relu().max(dim=-1)  # of each filter: how good, and where

    def forward(self, x):
        return self.head(self.matches(x).values).squeeze(-1)


# %% tags=["nbval-ignore-output"]
torch.manual_seed(0)
net, y = MotifNet(), torch.tensor(parts["train"].labels).float()
optimizer = torch.optim.AdamW(net.parameters(), lr=0.03)
steps = 6 * (len(y) // 64)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.03, total_steps=steps)
for step in range(steps):
    if step % (steps // 6) == 0:
        order = torch.randperm(len(y))  # six times through the sites
    rows = order[step % (steps // 6) * 64 :][:64]
    loss = F.binary_cross_entropy_with_logits(net(X["train"][rows]), y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
with torch.no_grad():
    print(f"AUROC on valid {auroc(parts['valid'].labels, net(X['valid']).numpy()):.3f}")

# %% [markdown]
# **Baselines.** GC content alone. Then the PWM of notebook 03's table, made from the training donors: once *told* where the site is, once searching the whole window for its best match, as the network has to. The intervals resample genes.


# %%
def pwm_scores(x):
    """The best match of the donor PWM in the window, and its match at the junction."""
    at_sites = X["train"][y == 1][:, :, 197:206].mean(0)  # three bases of exon, six of intron
    weights = torch.log2((at_sites + 1e-3) / X["train"].mean((0, 2))[:, None])
    along = F.conv1d(x, weights[None])[:, 0]
    return along.amax(1).numpy(), along[:, 197].numpy()


# %%
def compare(table):
    x, genes = encode(table.sequences), table.frame["gene"]
    with torch.no_grad():
        scores = {"GC content": x[:, 1:3].mean((1, 2)).numpy()}
        scores["PWM, searching"], scores["PWM, told where"] = pwm_scores(x)
        scores["16 filters"] = net(x).numpy()
    labels = table.labels
    return {
        name: (auroc(labels, s), *interval(auroc, labels, s, genes, resamples=200))
        for name, s in scores.items()
    }


# %% tags=["nbval-ignore-output"]
result, on_valid = compare(parts["test"]), compare(parts["valid"])
assert result["PWM, searching"][2] < result["16 filters"][0] < result["PWM, told where"][0]
table = pd.DataFrame(result, index=["AUROC on test", "from", "to"]).T
table.assign(valid={name: value[0] for name, value in on_valid.items()}).round(3)

# %% [markdown]
# The filters beat the PWM on the same task, to find a donor *somewhere*, and are far behind the PWM that is told where. To know the place is worth more than any filter. All are higher on valid, which the settings were chosen on; but so are the PWM and GC content, for which nothing was chosen. Much of the gap is another stretch of chromosome with other genes.
#
# ### What has a filter learned?
#
# We ask three things of each filter. Does the score need it: **silence** it, that is, give everyone its mean, and see what AUROC is lost (on valid). Where does it fire? And what does it like: we cut out the 100 stretches of *test* windows that excite it most, and count their letters.

# %% tags=["nbval-ignore-output"]
with torch.no_grad():
    best, labels = net.matches(X["valid"]).values, parts["valid"].labels
    weights = net.head.weight[0]
    lost = []
    for k in range(16):
        silenced = best.clone()
        silenced[:, k] = best[:, k].mean()
        lost.append(
            auroc(labels, (best @ weights).numpy()) - auroc(labels, (silenced @ weights).numpy())
        )
    ranking = np.argsort(lost)[::-1]
    strength, place = net.matches(X["test"])

# %% tags=["nbval-ignore-output"]
real = torch.tensor(parts["test"].labels) == 1
rows = {}
for k in ranking[:4].tolist():
    usual = place[real, k].mode().values
    there = [(place[group, k] == usual).float().mean().item() for group in (real, ~real)]
    rows[f"filter {k}"] = (lost[k], weights[k].item(), usual.item() - 200, *there)
columns = ["AUROC lost", "weight in the head", "usual place", "donors there", "decoys there"]
found = pd.DataFrame(rows, index=columns).T
assert found["donors there"].iloc[0] > 0.5 > 5 * found["decoys there"].iloc[0]
found.astype({"usual place": int}).round(3)

# %% [markdown]
# One filter carries most of it. Its best match of 400 bases lies at one and the same place in most true donors: across the junction, which the network was never told. In decoys it fires anywhere.

# %% tags=["figure", "nbval-ignore-output"]
figure, axes = plt.subplots(2, 2, figsize=(11, 4.8), sharey=True)
for axis, k in zip(axes.flat, [None, *ranking[:3].tolist()]):
    if k is None:
        words = [s[193:209] for s, label in zip(parts["test"].sequences, real) if label]
        title = "test donors, lined up at the junction"
    else:
        top = strength[:, k].topk(100).indices.tolist()
        words = [parts["test"].sequences[i][place[i, k] : place[i, k] + 11] for i in top]
        title = f"filter {k}: its 100 best matches"
    bits = logomaker.alignment_to_matrix(words, to_type="information")
    logomaker.Logo(bits, ax=axis, color_scheme=plots.NUCLEOTIDE_COLORS)
    axis.set(title=title, ylim=(0, 2), xticks=[])
axes[0, 0].axvline(6.5, color=plots.PALETTE[3], linewidth=1.4)
for axis in axes[:, 0]:
    axis.set_ylabel("bits")
plots.show(
    figure,
    """
    Sequence logos. Top left: 16 bases around the junction of test donors, exon before the
    line, intron after it; GT is nearly certain, AG before it and AAGT after it are frequent.
    The filter with the largest loss shows the same word, about AGGTAAG. The other two show
    different words, each with a much smaller loss.
""",
)

# %% [markdown]
# The first filter wrote down the donor's consensus. Logos of the others invite stories (many CG: first exons, near a promoter? GAAGAA: a word that helps splicing?). A logo of the 100 best matches is always sharp, so it is no evidence that the filter matters; the small loss says that it matters little.
#
# And the **hard** decoys, which carry the motif as well as true sites do? The same network, not trained again:

# %% tags=["nbval-ignore-output"]
matched = compare(hard.split("test"))
assert matched["GC content"][0] < matched["16 filters"][0] < result["16 filters"][0]
pd.DataFrame(matched, index=["AUROC, matched decoys", "from", "to"]).T.round(3)

# %% [markdown]
# For the PWM these decoys are nearly as good as sites; so they were chosen. The network keeps more, and more than GC content gives: what is left must come from the words around the site. To read those well, a network has to *combine* what it sees over distance. That is a question of reach.
#
# ## How far does a stack see?
#
# A causal filter with K taps reaches K − 1 positions back. *Dilation* d leaves gaps: the taps stand d apart, and the same K weights reach (K − 1) d back. Layers add up: the **receptive field** is 1 + Σ (K − 1) d.

# %% tags=["figure"]
figure, axis = plt.subplots(figsize=(10.5, 3.3))
dilations, last = (1, 2, 4, 8), 15
active = {last}
for layer in range(4, 0, -1):
    d, below = dilations[layer - 1], set()
    for t in range(16):
        for s in (t, t - d):
            if s >= 0:
                used = t in active
                axis.plot(
                    [s, t],
                    [layer - 1, layer],
                    color=plots.PALETTE[0] if used else "#DDDDDD",
                    linewidth=1.8 if used else 0.8,
                    zorder=2 if used else 1,
                )
                if used:
                    below.add(s)
    axis.text(16, layer - 0.5, f"dilation {d}", va="center", fontsize=11)
    active = below
for layer in range(5):
    axis.scatter(range(16), [layer] * 16, s=42, color=plots.INK, zorder=3)
axis.set_yticks([0, 4], ["input", "output"])
axis.set(xlim=(-0.6, 18.6), xticks=[0, 15], xlabel="position")
axis.spines[:].set_visible(False)
axis.tick_params(length=0)
plots.show(
    figure,
    """
    Four causal layers with two taps each and dilations 1, 2, 4, 8, drawn as a graph of 16
    positions. The paths into the last output, in blue, form a tree that reaches every one
    of the 16 inputs.
""",
)

# %% [markdown]
# We do not have to believe the formula: a gradient tells which inputs reach an output. The package's `Convolution` is the layer (one filter a channel, and a gate, of which more below).

# %%
from gfm_lab.mixers import Convolution, receptive_field


def inputs_seen(dilations, kernel=3, length=200):
    """The distances at which inputs reach the last output of a stack, by gradient."""
    torch.manual_seed(0)
    x = y = torch.randn(1, length, 8, dtype=torch.double, requires_grad=True)
    for d in dilations:
        y = y + Convolution(8, kernel=kernel, dilation=d).double()(y)
    y[0, -1].sum().backward()
    return length - 1 - (x.grad[0].abs().sum(-1) > 0).nonzero()[:, 0]


# %%
rows = []
for dilations in ((1, 1, 1, 1), (1, 2, 4, 8), (1, 3, 9, 27), (4, 4, 4, 4)):
    distances, formula = inputs_seen(dilations), receptive_field(3, list(dilations))
    assert distances.max() + 1 == formula
    rows.append((str(dilations), formula, int(distances.max()) + 1, len(distances)))
columns = ["dilations, kernel 3", "formula", "farthest input + 1", "inputs seen"]
pd.DataFrame(rows, columns=columns)

# %% [markdown]
# Four layers, the same number of weights, and a reach of 9 or of 81. The last row is a trap: equal dilations reach 33 and see only every fourth position. Doubling covers everything and grows exponentially, so 20 layers are enough for a megabase:

# %%
layers = next(n for n in range(1, 99) if receptive_field(3, [2**i for i in range(n)]) > 1e6)
print(layers, "layers reach", f"{receptive_field(3, [2**i for i in range(layers)]):,} bases")

# %% [markdown]
# ### What does reach buy? Bits per base on E. coli
#
# Three next-base models, alike in everything (four layers, kernel 4, width 32, the same weights to begin with, the same training windows) except for the dilations. Each reads for a few seconds.

# %%
from gfm_lab import GenomicConfig, GenomicForCausalLM

ecoli, tokenizer = load_data("ecoli-k12"), NucleotideTokenizer()
genome = torch.tensor(tokenizer.encode_array(ecoli.split("train"))).long()


def next_base_model(dilations):
    torch.manual_seed(0)
    options = {"kernel": 4, "dilation": list(dilations)}
    config = GenomicConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=4, intermediate_size=64,
        positions="none", mixer="convolution", mixer_options=options, causal=True,
        max_position_embeddings=None,
    )  # fmt: skip
    return GenomicForCausalLM(config)


# %%
def read(model, steps=160, batch=8, length=512, rate=8e-3):
    """Train on random windows, every second one read from the other strand."""
    draw = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for step in range(steps):
        start = torch.randint(len(genome) - length, (batch, 1), generator=draw)
        ids = genome[start + torch.arange(length)]
        if step % 2:
            ids = (13 - ids).flip(1)  # A, C, G, T are 5, 6, 7, 8
        loss = model(ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


# %% tags=["nbval-ignore-output"]
models, started = {}, time.process_time()
for dilations in ((1, 1, 1, 1), (1, 2, 4, 8), (1, 4, 16, 64)):
    reach = receptive_field(4, list(dilations))
    models[reach] = next_base_model(dilations)
    read(models[reach])
print(f"three models of {sum(p.numel() for p in models[13].parameters()):,} parameters", end=", ")
print(
    f"{160 * 8 * 512 / 1e6:.1f} M bases each, in {time.process_time() - started:.0f} s of one core"
)

# %% [markdown]
# The score: the first 60,000 bases of the untouched test region, forward strand, windows of 1,024, each base with at least 512 before it. Beside it, on the same bases, back-off Markov models (their strength chosen on valid). They count words: order 6 is a receptive field of 6.

# %% tags=["nbval-ignore-output"]
from gfm_lab.evaluation import bits_per_base, difference, score_baseline

region = ecoli.split("test")[:60_000]
bits = {
    f"convolutions, reach {r}": bits_per_base(m, tokenizer, region, 1024)
    for r, m in models.items()
}
like = bits["convolutions, reach 13"]
for order in (3, 6, 8):
    counted = MarkovModel(order).fit(ecoli.split("train"), valid=ecoli.split("valid"))
    bits[f"Markov, order {order}"] = score_baseline(counted, region, like=like)
pd.DataFrame(
    {n: (s.value, s.low, s.high) for n, s in bits.items()}, index=["bits", "from", "to"]
).T.round(3)

# %% tags=["nbval-ignore-output"]
pairs = (("reach 256", "reach 46"), ("reach 46", "reach 13"))
for far, near in pairs:
    gain = difference(bits[f"convolutions, {far}"], bits[f"convolutions, {near}"])
    print(
        f"{far} minus {near}: {gain.value:+.4f} bits, interval {gain.low:+.4f} to {gain.high:+.4f}"
    )
gain = difference(bits["convolutions, reach 256"], bits["convolutions, reach 13"])
assert (
    gain.high < 0
    and abs(bits["convolutions, reach 256"].value - bits["Markov, order 8"].value) < 0.02
)

# %% [markdown]
# Equal parameters, equal products, equal bases read: dilation alone lowered the bits. The model with a reach of 13 is about as good as counted words of 4, the one with 256 as those of 7, after reading a sixth of the training region. One random start each, little training, sizes settled on valid and on run time: the table says that reach helps here, not how much it could. (A shipped model, further down, has read for longer and is below all counts.)
#
# ### Seeing and looking
#
# A reach of 256 is what the model *can* see. What does it *use*? We change one base, d positions before the predicted one, and measure by how many bits the prediction moves.

# %%
windows = torch.tensor(tokenizer.encode_array(region)).long()[: 48 * 300].view(48, 300)
back = [*range(1, 13), 16, 24, 32, 48, 64, 96, 128, 192, 256, 257]


@torch.no_grad()
def effects(model):
    """For each distance d: mean |change| in bits of the last base when the base d before it is replaced."""

    def bits_of_last(ids):
        logp = model(ids[:, :-1]).logits[:, -1].log_softmax(-1)
        return -logp.gather(1, windows[:, -1:]) / math.log(2)

    before, moved = bits_of_last(windows), []
    for d in back:
        changed = windows.clone()
        changed[:, -1 - d] = 5 + (changed[:, -1 - d] - 4) % 4  # the next letter of A, C, G, T
        moved.append((bits_of_last(changed) - before).abs().mean().item())
    return moved


# %% tags=["nbval-ignore-output"]
moved = {reach: effects(model) for reach, model in models.items()}
for reach, values in moved.items():
    beyond = [v for d, v in zip(back, values) if d > reach]
    assert max(beyond) < 1e-4  # rounding
    print(
        f"reach {reach:3d}: {values[0]:.2f} bits at distance 1, {max(beyond):.0e} beyond the reach"
    )

# %% tags=["figure", "nbval-ignore-output"]
figure, axis = plt.subplots(figsize=(9, 3.9))
for (reach, values), color, marker in zip(moved.items(), plots.PALETTE, "os^"):
    shown = [(d, v) for d, v in zip(back, values) if d <= reach]
    axis.plot(*zip(*shown), color=color, marker=marker, label=f"reach {reach}")
    axis.axvline(reach, color=color, linestyle=":", linewidth=1.2)
axis.set(
    xscale="log", yscale="log", xlabel="distance d of the changed base", ylabel="|change|, bits"
)
axis.set_xticks([1, 2, 3, 6, 12, 24, 48, 96, 256], [1, 2, 3, 6, 12, 24, 48, 96, 256])
axis.minorticks_off()
axis.legend()
plots.show(
    figure,
    """
    Mean effect of one changed base on the prediction, against its distance, both axes
    logarithmic, for the three models. The effect falls steeply over the first bases, then
    slowly, up to each model's reach, marked by a dotted line.
""",
)

# %% [markdown]
# The edge is sharp, as computed: beyond it nothing but rounding. Within it, the near bases dominate by far. A receptive field is an upper bound, and a generous one.
#
# ## One filter as long as the sequence
#
# Twenty layers to cross a megabase is a detour. What about one layer whose filter is as long as the sequence? For a signal u and a filter k, the causal convolution is
#
# $$y_t = \sum_{s=0}^{t} k_s\, u_{t-s}$$
#
# The tap $k_s$ belongs to distance s. (Deep-learning libraries call `conv1d` a convolution although it does not turn the filter round; here we do, as mathematics does.) Three ways to compute it follow.
#
# ### Exercise 1 · predict
#
# L doubles, and the filter is as long as the sequence. By which factor grow (a) the time of this sum, (b) the time with an FFT, (c) the parameters if each tap is stored, (d) the parameters if a small network computes a tap from its place? Four numbers.
#
# <details><summary>Hint 1</summary>(a): count the products. (b): an FFT takes about L log L steps.</details>
# <details><summary>Hint 2</summary>(d): a function of the place has as many parameters as it has, however many places we ask for.</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_prediction = (4, 2, 2, 1)
# END SOLUTION
check.prediction(my_prediction)

# %% [markdown]
# ### Exercise 2 · as a sum
#
# Write the definition: `u` has shape (L,), `k` (K,), with K smaller than L, equal or larger; the result has shape (L,). Loops are welcome.
#
# <details><summary>Hint 1</summary>Two loops: over t, and over the taps s that have a sample to meet, which are s ≤ t and s &lt; K.</details>
# <details><summary>Hint 2</summary>Without loops over t: tap s adds <code>k[s] * u</code>, moved by s places; what moves beyond the end is lost.</details>


# %% tags=["exercise"]
def my_causal_convolution(u, k):
    """y[t] = sum over s <= t of k[s] u[t - s], for u (L,) and k (K,)."""
    # BEGIN SOLUTION
    y = torch.zeros_like(u)
    for s in range(min(len(k), len(u))):
        y[s:] += k[s] * u[: len(u) - s]
    return y
    # END SOLUTION


check.causal_convolution(my_causal_convolution)

# %% [markdown]
# **As a matrix.** Row t, column s holds $k_{t-s}$: every diagonal is constant, and the future is zero. Such a matrix is called *Toeplitz*.


# %%
def toeplitz(k, length):
    """The matrix T with (T u)[t] = sum of k[s] u[t - s]; k (..., K) with K >= length."""
    lag = torch.arange(length)[:, None] - torch.arange(length)
    return torch.where(lag >= 0, k[..., lag.clamp(min=0)], torch.zeros(()))


# %%
u, k = torch.tensor([1.0, 2.0, 0.0, 0.0, 3.0]), torch.tensor([1.0, 0.5, 0.25, 0.1, 0.0])
print(toeplitz(k, 5))
print("y =", toeplitz(k, 5) @ u)

# %% [markdown]
# **As an FFT.** A Fourier transform writes a signal as a sum of waves. A wave that passes a filter stays the same wave, only stronger or weaker and shifted. So in the world of waves, a convolution is one multiplication per frequency: transform, multiply, transform back.
#
# There is one trap. Waves have no ends: to them, position L − 1 stands beside position 0. The tail of the result, which should run over the end, *wraps around* to the start. The remedy is room: pad with zeros to at least L + K − 1.

# %%
wrapped = torch.fft.irfft(torch.fft.rfft(u) * torch.fft.rfft(k), n=5)
room = 5 + 5 - 1
padded = torch.fft.irfft(torch.fft.rfft(u, n=room) * torch.fft.rfft(k, n=room), n=room)
print("all", room, "values: ", padded)
print("with room, cut:", padded[:5])
print("without room:  ", wrapped)
torch.testing.assert_close(wrapped, padded[:5] + F.pad(padded[5:], (0, 1)), atol=1e-6, rtol=0)

# %% [markdown]
# The last line of the cell proves it: without room, what belongs beyond the end is added to the beginning. Position 0 hears of position 4, its future. In a next-token model this is a leak, quiet and complete.
#
# ### Exercise 3 · a bug to find
#
# Somebody has padded, and the leak is still there. Look at the symptom first: we change the last sample, and nothing before it should move.


# %%
def broken(u, k):
    n = max(len(u), len(k))
    y = torch.fft.irfft(torch.fft.rfft(u, n=n) * torch.fft.rfft(k, n=n), n=n)
    return y[: len(u)]


# %%
torch.manual_seed(0)
u, k = torch.randn(8), torch.randn(6)
changed = u.clone()
changed[-1] += 1
print("change of the output:", (broken(changed, k) - broken(u, k)))

# %% [markdown]
# Write it right, for any L and K.
#
# <details><summary>Hint 1</summary>How many values has the full result of L samples and K taps?</details>
# <details><summary>Hint 2</summary>Choose n at least L + K − 1 in all three transforms, then keep the first L values.</details>


# %% tags=["exercise"]
def my_fft_convolution(u, k):
    """The causal convolution of u (L,) with k (K,), by FFT."""
    # BEGIN SOLUTION
    n = len(u) + len(k) - 1
    y = torch.fft.irfft(torch.fft.rfft(u, n=n) * torch.fft.rfft(k, n=n), n=n)
    return y[: len(u)]
    # END SOLUTION


check.fft_repaired(my_fft_convolution)

# %% [markdown]
# The package's is `fft_convolution`: any shape, a length at which the FFT is fast, 32 bits at least. The three ways agree to 1e-5, and to 1e-10 in double precision.

# %%
from gfm_lab.mixers import fft_convolution


def by_sum(u, k):
    """The same by shifting and adding, compiled: conv1d with one filter a channel, turned round."""
    length = u.shape[-1]
    return F.conv1d(F.pad(u, (length - 1, 0)), k.flip(-1)[:, None], groups=len(k))


# %%
for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
    for length in (1, 2, 37, 500):
        u, k = torch.randn(3, 4, length, dtype=dtype), torch.randn(4, length, dtype=dtype)
        k = k / length**0.5
        y = fft_convolution(u, k)
        torch.testing.assert_close(by_sum(u, k), y, atol=tolerance, rtol=0)
        by_matrix = (toeplitz(k, length) @ u[..., None])[..., 0]
        torch.testing.assert_close(by_matrix, y, atol=tolerance, rtol=0)
print("sum = matrix = FFT")


# %%
@torch.no_grad()
def milliseconds(f, *inputs, repeats=3):
    """CPU time of one call, the best of a few: other programs on the machine do not count."""
    best = math.inf
    for _ in range(repeats):
        started = time.process_time()
        f(*inputs)
        best = min(best, time.process_time() - started)
    return 1000 * best


# %% tags=["nbval-ignore-output"]
rows = {}
for length in (256, 512, 1024, 2048, 4096):
    u, k = torch.randn(1, 2, length), torch.randn(2, length)
    matrix = toeplitz(k, length)
    ways = {
        "sum": milliseconds(by_sum, u, k),
        "matrix": milliseconds(torch.matmul, matrix, u[..., None]),
        "FFT": milliseconds(fft_convolution, u, k),
    }
    rows[length] = {**ways, "matrix, MiB": matrix.numel() * 4 / 2**20}
table = pd.DataFrame(rows).T.rename_axis("L")
assert table["FFT"].iloc[-1] < table["sum"].iloc[-1] / 5
table.round(2)

# %% [markdown]
# Milliseconds for 2 channels (your numbers will differ). Per doubling the sum grows four times at the long end, the matrix too and stores a square besides, the FFT about two times. That was Exercise 1 (a) and (b).
#
# ### Exercise 4 · write a test for leaks
#
# A leak is silent, so let us have a test. `layer` takes a signal (L,) in double precision and returns (L,). Return True if no output depends on a *later* input, False otherwise. Your function is tried on 16 layers, causal and leaky; some leak at one place only, and one is an honest FFT, with its rounding noise.
#
# <details><summary>Hint 1</summary>For a place t: change everything from t on, and compare the outputs before t.</details>
# <details><summary>Hint 2</summary>All t from 1 to L − 1; random values, since a leak may hide at zero; <code>torch.allclose(..., atol=1e-9)</code> forgives rounding.</details>


# %% tags=["exercise"]
def my_is_causal(layer, length):
    """True if no output of `layer` depends on a later input."""
    # BEGIN SOLUTION
    u = torch.randn(length, dtype=torch.double)
    for t in range(1, length):
        changed = u.clone()
        changed[t:] = torch.randn(length - t, dtype=torch.double)
        if not torch.allclose(layer(changed)[:t], layer(u)[:t], atol=1e-9):
            return False
    return True
    # END SOLUTION


check.causality_test(my_is_causal)

# %% [markdown]
# ## A filter that a network writes
#
# A filter of a million taps for each of 128 channels is 128 million numbers, and hardly any of them would ever be trained well. Hyena does not store taps. A small network reads the *place* t and answers the tap h(t): an **implicit** filter.
#
# Its input is t, scaled to 0..1, with a few slow waves; its layers are sines, whose frequency is trained, because smooth activations are bad at drawing wiggles. The result is multiplied by a window that decays, at a different rate for each channel.


# %%
def window(t, channels):
    """How much a tap at place t may count: exp(-rate t) + 0.05, one rate for each channel."""
    rates = torch.linspace(math.log(100) / 1.5, math.log(100) / 0.3, channels, dtype=t.dtype)
    return torch.exp(-t * rates) + 0.05


# %%
class FilterByHand(nn.Module):
    def __init__(self, channels, max_length, width=64):
        super().__init__()
        self.max_length = max_length
        self.layers = nn.ModuleList(nn.Linear(n, width) for n in (5, width, width))
        self.frequency = nn.Parameter(torch.full((1, width), 10.0))
        self.last = nn.Linear(width, channels, bias=False)

    def forward(self, length):
        kind = self.last.weight.dtype
        t = torch.linspace(0, 1, self.max_length, dtype=kind)[:length, None]
        angle = 2 * math.pi / self.max_length * torch.arange(length, dtype=kind)[:, None]
        waves = angle * torch.tensor([1e-4, 1.0], dtype=kind)
        h = torch.cat([t, waves.cos(), -waves.sin()], dim=1)  # (L, 5)
        for layer in self.layers:
            h = torch.sin(self.frequency * layer(h))
        return (self.last(h) * window(t, self.last.out_features)).T  # (channels, L)


# %%
from gfm_lab.mixers.hyena import HyenaFilter

torch.manual_seed(0)
ours, theirs = FilterByHand(6, 500).double(), HyenaFilter(6, 500).double()
ours.load_state_dict(theirs.state_dict())
for length in (1, 300, 500):
    torch.testing.assert_close(ours(length), theirs(length), atol=1e-6, rtol=0)

# %%
rows = {}
for length in (1024, 32_768, 1_048_576):
    written = sum(p.numel() for p in HyenaFilter(128, length).parameters())
    rows[f"{length:,}"] = (128 * length, written)
columns = ["parameters, stored", "parameters, written"]
pd.DataFrame(rows, index=columns).T.rename_axis("L")

# %% [markdown]
# The filter's length costs no parameter. (It does cost time: all taps are computed anew in each step.) Now let us see the window, and six filters before any training.

# %% tags=["figure"]
figure, axes = plt.subplots(1, 2, figsize=(11, 3.4))
t = torch.linspace(0, 1, 500)[:, None]
with torch.no_grad():
    taps, windows_drawn = ours(500), window(t, 6)
for c, color in zip(range(6), plots.PALETTE):
    axes[0].plot(windows_drawn[:, c], color=color)
    axes[1].plot(taps[c], color=color)
axes[0].axhline(0.05, color="grey", linestyle=":")
axes[0].set(title="windows", xlabel="distance", ylim=(0, 1.1))
axes[1].set(title="filters, untrained", xlabel="distance")
plots.show(
    figure,
    """
    Left: the windows of six channels over 500 places; all start at 1.05 and fall towards 0.05,
    some within 150 places, the slowest over the whole length. Right: the six untrained filters:
    wiggles that are largest near distance 0 and small, but not zero, at the far end.
""",
)

# %% [markdown]
# The window never reaches zero: 0.05 is left at any distance. So the near past counts more at the start of training, and the far past is never out of sight.
#
# ### Watching a filter learn a distance
#
# A task with a known answer: random letters, and at each position the letter that stood **40 places before** is asked for. A guess costs 2 bits. A filter that solves it must learn to point at one distance. We use the package's Hyena layer and keep pictures of its filter on the way.

# %%
from gfm_lab.mixers import Hyena

DISTANCE, LENGTH = 40, 128


class Recall(nn.Module):
    def __init__(self, dim=16):
        super().__init__()
        self.embed, self.norm = nn.Embedding(4, dim), nn.LayerNorm(dim)
        self.mixer, self.head = Hyena(dim, max_length=LENGTH), nn.Linear(dim, 4)

    def forward(self, ids):
        return self.head(self.mixer(self.norm(self.embed(ids))))


# %% tags=["nbval-ignore-output"]
torch.manual_seed(0)
recall, snapshots, history = Recall(), {}, {}
optimizer = torch.optim.AdamW(recall.parameters(), lr=4e-3, weight_decay=0.0)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=300, pct_start=0.1)
for step in range(301):
    ids = torch.randint(4, (16, LENGTH))
    asked = F.cross_entropy(recall(ids)[:, DISTANCE:].flatten(0, 1), ids[:, :-DISTANCE].flatten())
    history[step] = asked.item() / math.log(2)
    if step in (0, 50, 100, 300):
        snapshots[step] = recall.mixer.filter(LENGTH).detach().clone()
    if step < 300:
        optimizer.zero_grad()
        asked.backward()
        nn.utils.clip_grad_norm_(recall.parameters(), 1.0)
        optimizer.step()
        schedule.step()
print({step: round(history[step], 2) for step in snapshots}, "bits (2 is a guess)")
peaks = snapshots[300].abs().argmax(1)
print("distance of each filter's largest tap:", peaks.tolist())
assert history[300] < 0.5 and ((peaks >= 37) & (peaks <= 40)).any()

# %% tags=["figure", "nbval-ignore-output"]
final = snapshots[300].abs()
final = torch.where((peaks[:, None] >= 37) & (peaks[:, None] <= 40), final, torch.zeros(()))
channel = int(final.amax(1).argmax())
figure, axes = plt.subplots(1, 4, figsize=(13, 3.3))
for axis, (step, taps) in zip(axes, snapshots.items()):
    axis.plot(taps.T, color="#CCCCCC", linewidth=0.8)
    axis.plot(taps[channel], color=plots.PALETTE[0], linewidth=2)
    axis.axvline(DISTANCE, color=plots.PALETTE[4], linestyle=":")
    axis.set(title=f"step {step}: {history[step]:.2f} bits", xlabel="distance")
axes[0].set_ylabel("tap")
plots.show(
    figure,
    """
    The 16 filters of one layer after 0, 50, 100 and 300 steps, one of them in blue, distance
    40 marked. At first all are small wiggles near distance 0. In the end the blue filter
    is a packet of waves centred just before distance 40, and the loss has fallen from 2 bits
    to nearly 0.
""",
)

# %% [markdown]
# The peak stands at 38 to 40, and not always at 40 itself: before the long filter there is a *short* one, three taps on every projection, which can add 0, 1 or 2. No convolution with a reach below 41 could have left 2 bits.
#
# ### What filters learned from a genome
#
# The recall task was ours. What does a filter do with DNA? The shipped `ecoli-hyena-ar` read E. coli left to right, four Hyena layers of 128 channels. Its score stands on its card, beside the best back-off Markov model on the same test region.

# %%
from gfm_lab.checkpoints import checkpoint_dir

card = json.loads((checkpoint_dir() / "ecoli-hyena-ar/scores.json").read_text(encoding="utf-8"))
for row in card["table"][-2:]:
    print(f"{row['model']:18s}{row['bits']:.3f} bits, {row['low']:.3f} to {row['high']:.3f}")

# %% [markdown]
# We take the filters of all layers, ask for their strength at each *period* (a Fourier transform again), and set an untrained twin beside them.

# %% tags=["nbval-ignore-output"]
from gfm_lab import load_model

reader, _ = load_model("ecoli-hyena-ar")
torch.manual_seed(0)
mixers = [part for part in reader.modules() if isinstance(part, Hyena)]
mixers.append(Hyena(mixers[0].dim, max_length=mixers[0].max_length))  # the untrained twin
with torch.no_grad():
    taps = torch.stack([mixer.filter(512) for mixer in mixers])  # (5, channels, 512)
power = torch.fft.rfft(taps).abs().square().mean(1)  # (5, 257): 512 / i is the period
power = power / power[:, 100:240].median(dim=1, keepdim=True).values
names = [f"layer {i}" for i in range(1, 5)] + ["untrained"]
three = dict(zip(names, power[:, 170:172].amax(1).tolist()))
print("power at period 3, typical neighbours = 1:", {n: round(v, 1) for n, v in three.items()})
assert max(three[name] for name in names[:4]) > 5 and three["untrained"] < 3

# %% tags=["figure", "nbval-ignore-output"]
figure, axes = plt.subplots(1, 2, figsize=(12, 3.8))
colors = [*plots.PALETTE[:4], "#999999"]
strength_at = taps.square().mean(1).sqrt()
for i, (name, color) in enumerate(zip(names, colors)):
    line = "--" if name == "untrained" else "-"
    axes[0].plot(strength_at[i, :128], line, color=color, linewidth=1.4, label=name)
    axes[1].plot(512 / torch.arange(90, 257), power[i, 90:], line, color=color, linewidth=1.4)
axes[0].set(xlabel="distance", ylabel="tap, root mean square", title="by distance")
axes[1].set(xlabel="period, bases", ylabel="power (typical = 1)", title="by period", yscale="log")
axes[0].legend(fontsize=10)
plots.show(
    figure,
    """
    The filters of the four layers of ecoli-hyena-ar and of an untrained layer. Left: their
    strength falls with distance, much as the window dictates; one layer goes up and down
    every third base. Right: against the period, one layer has a sharp peak at three bases,
    the others and the untrained one have none.
""",
)

# %% [markdown]
# One layer is tuned to a period of three bases: the length of a **codon**. Most of E. coli is genes, read three bases at a time, and nobody told the model about genes. As with logos, the shape of a filter says what it listens for, and not yet how much the score needs it. (The decay with distance proves less still: the untrained twin has it too, from the window.)
#
# ## Gates: Hyena by hand
#
# A convolution is linear, and its table is the same for every sequence. Attention's table is not. Hyena regains this with **gates**: three projections of the input, $x_1$, $x_2$ and $v$, and
#
# $$y = x_1 \odot \big(h * (x_2 \odot v) + b\,(x_2 \odot v)\big)$$
#
# where ⊙ multiplies position by position, * is the long convolution and b a direct path for the current position. The gate $x_2$ says what is *sent*, $x_1$ what is *received*. With the filter above, this is all of it:


# %%
class HyenaByHand(nn.Module):
    def __init__(self, dim, max_length):
        super().__init__()
        self.inputs = nn.Linear(dim, 3 * dim)
        self.short = nn.Conv1d(3 * dim, 3 * dim, 3, padding=2, groups=3 * dim)
        self.filter, self.skip = FilterByHand(dim, max_length), nn.Parameter(torch.randn(dim))
        self.out = nn.Linear(dim, dim)

    def parts(self, x):
        """The two gates and the values, each (B, D, L)."""
        u = self.inputs(x).transpose(1, 2)
        return self.short(u)[..., : x.shape[1]].chunk(3, dim=1)

    def forward(self, x):
        x1, x2, v = self.parts(x)
        v = x2 * v
        v = fft_convolution(v, self.filter(x.shape[1])) + self.skip[:, None] * v
        return self.out((x1 * v).transpose(1, 2))


# %%
by_hand, theirs = HyenaByHand(16, LENGTH), Hyena(16, max_length=LENGTH)
by_hand.load_state_dict(recall.mixer.state_dict())  # the trained layer's weights, for both
theirs.load_state_dict(recall.mixer.state_dict())
x = torch.randn(2, 100, 16, dtype=torch.double)
torch.testing.assert_close(by_hand.double()(x), theirs.double()(x), atol=1e-6, rtol=0)
by_hand = by_hand.float()
print("equal to the package's Hyena;", sum(p.numel() for p in by_hand.parameters()), "parameters")

# %% [markdown]
# ### Data-controlled: what does that mean?
#
# For one channel, the map from v to y is a product of three matrices: a diagonal one for each gate, and the filter's Toeplitz matrix between them, $D_{x_1} (T_h + b I)\, D_{x_2}$. We build it for two different sequences and check that it gives the layer's own numbers.


# %%
@torch.no_grad()
def matrix_of(layer, x, channel):
    """The table from values to outputs of one channel: with gates, and the filter alone."""
    x1, x2, _ = (part[0, channel] for part in layer.parts(x))
    length = x.shape[1]
    filter_matrix = toeplitz(layer.filter(length)[channel], length)
    filter_matrix = filter_matrix + layer.skip[channel] * torch.eye(length)
    return x1[:, None] * filter_matrix * x2, filter_matrix


# %% tags=["nbval-ignore-output"]
channel_drawn = int(((peaks >= 37) & (peaks <= 40)).nonzero()[0])
tables = []
for seed in (1, 2):
    ids = torch.randint(4, (1, 96), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        x = recall.norm(recall.embed(ids))
        x1, x2, v = by_hand.parts(x)
        y = x1 * (fft_convolution(x2 * v, by_hand.filter(96)) + by_hand.skip[:, None] * x2 * v)
    gated, plain = matrix_of(by_hand, x, channel_drawn)
    torch.testing.assert_close(
        gated @ v[0, channel_drawn], y[0, channel_drawn], atol=1e-4, rtol=1e-4
    )
    tables += [plain, gated]
print("filter's matrix the same for both inputs:", torch.equal(tables[0], tables[2]))
print("gated matrix the same:", torch.equal(tables[1], tables[3]))

# %% tags=["figure", "nbval-ignore-output"]
figure, axes = plt.subplots(1, 3, figsize=(12.5, 4.9))
titles = ("filter alone, any sequence", "gated, first sequence", "gated, second sequence")
for axis, title, table in zip(axes, titles, (tables[0], tables[1], tables[3])):
    limit = float(table.abs().flatten().quantile(0.995))
    axis.imshow(table, cmap="RdBu", vmin=-limit, vmax=limit)
    axis.set(title=title, xlabel="from position", xticks=[0, 40, 80], yticks=[0, 40, 80])
axes[0].set_ylabel("to position")
plots.show(
    figure,
    """
    Three tables of 96 by 96 positions for one channel of the trained layer. The filter alone:
    smooth diagonals, the strongest about 40 below the main one. Gated, for two sequences: the
    same diagonals, cut into dots whose strength and sign differ between the two sequences.
""",
)

# %% [markdown]
# The diagonals, *where* the layer listens, belong to the weights. The dots on them, *what* passes, belong to the sequence. That is the meaning of data-controlled; and it is also the difference from attention, whose table may put its weight anywhere. Hyena's distance is fixed by training, its content is not.
#
# A quick proof that gates add something no convolution has: a convolution of a sum is the sum of the convolutions.

# %%
torch.manual_seed(0)
a, b = torch.randn(2, 1, 60, 16)
plain = Convolution(16, kernel=7)
layers = {
    "long filter": lambda x: fft_convolution(x.transpose(1, 2), by_hand.filter(60)).transpose(
        1, 2
    ),
    "Hyena": lambda x: by_hand(x) - by_hand.out.bias,
    "gated convolution": lambda x: plain(x) - plain.out.bias,
}
with torch.no_grad():
    for name, f in layers.items():
        gap = (f(a + b) - f(a) - f(b)).abs().max() / f(a + b).abs().max()
        print(f"{name:18s} f(a + b) = f(a) + f(b):", bool(gap < 1e-4))

# %% [markdown]
# The middle of the road stands there too: a *gated convolution* has a short filter and one gate (Dauphin and colleagues, 2017). It is the layer of our E. coli models above.
#
# ## Cost against length
#
# One layer of each kind, width 32, forward only, on one core; milliseconds.

# %% tags=["nbval-ignore-output"]
from gfm_lab.mixers import Attention

torch.manual_seed(0)
layers = {
    "attention": Attention(32, heads=4, causal=True),
    "Hyena": Hyena(32, max_length=16_384),
    "convolution, 7 taps": Convolution(32, kernel=7),
}
lengths = (1024, 2048, 4096, 8192, 16_384)
times = {
    name: [milliseconds(layer, torch.randn(1, n, 32), repeats=2) for n in lengths]
    for name, layer in layers.items()
}
times = pd.DataFrame(times, index=pd.Index(lengths, name="L"))
growth = times.loc[16_384] / times.loc[4096]
print("from 4,096 to 16,384:", growth.round(1).to_dict())
assert growth["attention"] > growth["Hyena"]
times.round(1)

# %% [markdown]
# Four times the length costs attention nearly sixteen times the time, and the other two about four times. Whole models up to a million tokens, forward and backward, with their memory, stand in notebook 07.
#
# ## Can it see a megabase?
#
# Let us ask directly. A Hyena layer for one million positions, random weights, double precision. We change the *first* base and look at the *last* output.

# %%
torch.manual_seed(0)
million = 1_000_000
layer = Hyena(4, max_length=million, filter_width=16).double()
x = torch.randn(1, million, 4, dtype=torch.double)
with torch.no_grad():
    before = layer(x)[0, -1]
    x[0, 0] += 1.0
    change = (layer(x)[0, -1] - before).abs().max().item()
size = before.abs().max().item()
print(f"{sum(p.numel() for p in layer.parameters())} parameters")
print("the last output has noticed:", 1e-12 < change / size < 1)

# %% tags=["nbval-ignore-output"]
print(f"relative change {change / size:.0e}; rounding is near 1e-16 in float64")

# %% [markdown]
# Yes: one layer, a few hundred parameters, a million positions. The change is real, far above the rounding noise. It is also small, and this layer has learned nothing. To *see* a megabase is now cheap. To *use* it takes data in which the distant base matters, and a test which shows that it does.
#
# ### Exercise 5 · interpret
#
# A poster: "Our Hyena model reads one million nucleotides at single-base resolution, so it captures enhancers that act over 500 kb. As the context grew from 1 kb to 1 Mb, its perplexity fell from 3.00 to 2.95." In three or four sentences: what has been shown, and what would you ask for?
#
# <details><summary>Hint 1</summary>Which of our two measurements on the E. coli models is the poster's first sentence, and which is missing?</details>
# <details><summary>Hint 2</summary>What else grows with the context, and would lower the perplexity without any enhancer?</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_interpretation = """
A reach of a million is what the model can see, not what it uses. The gain in perplexity may come from repeats or from
better composition statistics, and we do not know whether the 1 kb model was trained on as many bases. I would shuffle the
bases beyond 1, 10 and 100 kb and see how far the predictions move, with the same for an untrained model beside it. For
enhancers I would ask for labelled ones, on chromosomes that were held out, beside a short-context model and a baseline.
"""
# END SOLUTION
check.interpretation(my_interpretation)

# %% [markdown]
# ## Take-aways
#
# - A filter of the first layer is a motif detector. Its logo says what excites it; silencing it says whether it matters.
# - On random decoys our filters found the donor motif by themselves. Decoys that carry the motif too show what a score was made of.
# - The reach of a stack is 1 + Σ (K − 1) d. Dilation made equal models better on E. coli; the changed-base test shows that they look mostly at what is near.
# - Sum, Toeplitz matrix and FFT are one map. The FFT costs L log L and needs room for L + K − 1 values, or the future leaks into the past.
# - Hyena is a long filter that a network writes from the position, between two gates. The filter fixes the distances, the gates depend on the data. Trained on E. coli, the filters of one layer found the period of codons.
# - To see a megabase is cheap. Whether a model uses it has to be measured.
#
# ## Quiz

# %%
check.questions("quiz")

# %% tags=["exercise"]
# BEGIN SOLUTION
quiz_answers = "cdcbdcb"
# END SOLUTION
check.quiz(quiz_answers)

# %% [markdown]
# ## Where we are

# %%
plots.show(
    plots.anatomy(3),
    """
    The five sites of a genomic model, from tokenizer to objective. This notebook's site,
    number 3, the mixer, is filled in; convolution and Hyena are two of its options.
""",
)

# %% [markdown]
# ## Further reading
#
# - Alipanahi and colleagues (2015), *DeepBind*: convolutions as motif detectors. [doi:10.1038/nbt.3300](https://doi.org/10.1038/nbt.3300)
# - van den Oord and colleagues (2016), *WaveNet*: dilated causal convolutions. [doi:10.48550/arXiv.1609.03499](https://doi.org/10.48550/arXiv.1609.03499)
# - Dauphin and colleagues (2017), gated convolutions for language. [doi:10.48550/arXiv.1612.08083](https://doi.org/10.48550/arXiv.1612.08083)
# - Sitzmann and colleagues (2020), *SIREN*: networks of sines that write signals. [doi:10.48550/arXiv.2006.09661](https://doi.org/10.48550/arXiv.2006.09661)
# - Poli and colleagues (2023), *Hyena hierarchy*. [doi:10.48550/arXiv.2302.10866](https://doi.org/10.48550/arXiv.2302.10866)
# - Nguyen and colleagues (2023), *HyenaDNA*. [doi:10.48550/arXiv.2306.15794](https://doi.org/10.48550/arXiv.2306.15794)
# - Luo and colleagues (2016), on how much of a receptive field is used. [doi:10.48550/arXiv.1701.04128](https://doi.org/10.48550/arXiv.1701.04128)
# - Tareen and Kinney (2020), *Logomaker*. [doi:10.1093/bioinformatics/btz921](https://doi.org/10.1093/bioinformatics/btz921)
#
# Next: notebook 05 keeps the long memory, and lets the data choose what to remember.
