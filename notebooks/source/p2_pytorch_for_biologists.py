# %% [markdown]
# # p2 · PyTorch for biologists
#
# **The question.** *Given the bases before, which base comes next?* We answer it by counting and by training, and meet on the way what the other notebooks take for granted: tensors, logits, cross-entropy, bits per base, modules, the training loop.
#
# **You will be able to**
# - read the shape of a tensor, and say what broadcasting does to it;
# - go from logits to probabilities to bits per base, and back;
# - write a training loop, and find the two mistakes everybody makes in it;
# - read a curve of training and validation bits.
#
# | your time | run time | needs |
# |---|---|---|
# | about 70 minutes | under 60 seconds on 2 cores, under 2 GB | Python with functions and loops, a little numpy; no deep learning |

# %% tags=["setup", "nbval-ignore-output"]
import math
from importlib.metadata import version

import matplotlib.pyplot as plt
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from gfm_lab import checks, load_data, plots
from gfm_lab.baselines import MarkovModel

plots.use_style()
torch.set_num_threads(1)  # so that the same numbers come back
torch.set_printoptions(precision=3, sci_mode=False)
check = checks.start("p2_pytorch_for_biologists")
print("gfm-lab", version("gfm-lab"), "| torch", version("torch"))

# %% [markdown]
# ## May you skip this notebook?
#
# Answer from memory, with `?` where you do not know. The check names the sections to read.

# %%
check.questions("placement")

# %% tags=["exercise"]
# BEGIN SOLUTION
placement_answers = "cbdacbad"
# END SOLUTION
check.placement(placement_answers)

# %% [markdown]
# ## Tensors
#
# A **tensor** is a numpy array that can also live on a GPU and be differentiated. It has a *shape*, one *dtype* for all its numbers, and a *device*, the place it lives (`x.to("cuda")` moves it). We write A, C, G, T as 0 to 3, and keep three regions of the *E. coli* chromosome apart.

# %%
ecoli = load_data("ecoli-k12")
bases = {}
for part in ("train", "valid", "test"):
    bases[part] = torch.tensor(["ACGT".index(base) for base in ecoli.split(part)])
    print(part, bases[part].shape, bases[part].dtype, bases[part].device)

# %% [markdown]
# An example for our task is k bases, the *context*, and the base that follows. We read the context as a number in base four: `ATG` is 0·16 + 3·4 + 2 = 14. The loop below does so at all positions at once, since arithmetic on tensors works element by element.


# %%
def examples(x, k):
    """Every context of k bases as one number, and the base that follows it."""
    context = torch.zeros(len(x) - k, dtype=torch.long)
    for i in range(k):
        context = 4 * context + x[i : len(x) - k + i]
    return context, x[k:]


def count(x, k):
    """How often each base follows each context, (4**k, 4)."""
    context, target = examples(x, k)
    return torch.bincount(4 * context + target, minlength=4 ** (k + 1)).view(-1, 4)


# %%
counts = count(bases["train"], 3)
totals = counts.sum(dim=1, keepdim=True)
probability = counts / totals
print("shapes:", tuple(counts.shape), "/", tuple(totals.shape), "=", tuple(probability.shape))
print("after ATG come A, C, G, T:", counts[14], probability[14])

# %% [markdown]
# The division is **broadcasting**. Shapes are compared from the right; where one of them has a 1, or nothing, its numbers are repeated. So (64, 4) / (64, 1) divides each row by its own total. A *Markov model* of order 3 is just this table.
#
# ### Exercise 1 · predict five shapes
#
# Without running them, give the shape of each result as a tuple, or `"error"`:
# (1) `counts[14]`, (2) `counts.sum(dim=0)`, (3) `counts / counts.sum(dim=0)`, (4) `counts / counts.sum(dim=1)`, (5) `probability[ids]`, where `ids` has the shape (5, 20).
#
# <details><summary>Hint 1</summary>Summing over an axis removes it, unless keepdim=True.</details>
# <details><summary>Hint 2</summary>(64, 4) against (64,): aligned from the right, 4 meets 64. And each of the 5 × 20 numbers in <code>ids</code> picks a row of four.</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_shapes = [(4,), (4,), (64, 4), "error", (5, 20, 4)]
# END SOLUTION
check.shapes(my_shapes)

# %% [markdown]
# ## Logits, softmax, surprise
#
# A network ends in numbers of any size, the **logits**, here one for each base. The **softmax** makes probabilities of them: exponentials, divided by their sum. The same number added to all logits changes nothing, so we move the largest to 0: then no exponential overflows.

# %%
logits = torch.tensor([2.0, 0.0, 1.0, -1.0])
print("softmax:  ", logits.exp() / logits.exp().sum(), "=", logits.softmax(dim=-1))
large = 100 * logits
print("naive:    ", large.exp() / large.exp().sum())
moved = (large - large.max()).exp()
print("moved:    ", moved / moved.sum())

# %% [markdown]
# How good are probabilities? By how *surprised* they are by what came: $-\log_2 p$ **bits**. Certain and right costs 0 bits, one chance in two 1 bit, one in four 2 bits. The average is the **cross-entropy**. PyTorch computes it from logits, in *nats* (natural logarithm); divided by ln 2 = 0.693 they are bits. Logarithms of probabilities are logits too, so the same function judges our table.

# %%
context, target = examples(bases["train"], 3)
p = probability[context, target]  # what the table gave to the base that came
print("surprise of the first bases:", -p[:6].log2(), "mean", -p.log2().mean())
nats = F.cross_entropy(probability.log()[context], target)
print(f"cross_entropy: {nats:.4f} nats = {nats / math.log(2):.4f} bits per base")
print(f"a quarter each: {F.cross_entropy(torch.zeros(4), target[0]) / math.log(2):.4f} bits")

# %% [markdown]
# DNA is hard to guess: three known bases save 0.05 of the 2 bits.
#
# ### Exercise 2 · bits per base, from logits
#
# For `logits` (N, 4) and `target` (N,), return the mean surprise in bits, without calling `F.cross_entropy`. Logits may be large.
#
# <details><summary>Hint 1</summary><code>log softmax = logits − log(sum(exp(logits)))</code>; subtract each row's largest logit first.</details>
# <details><summary>Hint 2</summary><code>table[torch.arange(N), target]</code> picks one number from each row. Which logarithm are you in?</details>


# %% tags=["exercise"]
def my_bits(logits, target):
    """Mean of -log2 of the probability given to the targets."""
    # BEGIN SOLUTION
    logits = logits - logits.max(dim=1, keepdim=True).values
    log_p = logits - logits.exp().sum(dim=1, keepdim=True).log()
    return -log_p[torch.arange(len(target)), target].mean() / math.log(2)
    # END SOLUTION


check.bits(my_bits)

# %% [markdown]
# ## A module and its gradient
#
# An **nn.Module** holds *parameters*, numbers to be learned, and says in `forward` how outputs follow from inputs. Ours is a table with a row of four logits for each context, all zero at first. Such a lookup is called an *embedding*; later its rows have hundreds of numbers.


# %%
class NextBase(nn.Module):
    def __init__(self, k):
        super().__init__()
        self.table = nn.Embedding(4**k, 4)
        nn.init.zeros_(self.table.weight)

    def forward(self, context):  # whole numbers of any shape, such as (batch, length)
        return self.table(context)  # logits, the same shape and one more axis of 4


model = NextBase(3)
print("parameters:", sum(p.numel() for p in model.parameters()))
print("(2, 10) contexts give", tuple(model(context[:20].view(2, 10)).shape))

# %% [markdown]
# Which way to change a parameter? After `loss.backward()` the slope of the loss along each one stands in `.grad`. We check it by hand for one row of the table, the one of `ATG`, and its logit of T: a little up, a little down.

# %%
row = torch.zeros(4, requires_grad=True)
after_atg = target[context == 14]


def loss_of(row):
    return F.cross_entropy(row.expand(len(after_atg), 4), after_atg)


loss_of(row).backward()
nudge = torch.tensor([0, 0, 0, 0.01])
slope = (loss_of(row + nudge) - loss_of(row - nudge)).item() / 0.02
print(f"slope for T by hand {slope:.3f}; by backward, all four {row.grad}")
print("predicted minus observed:", 0.25 - probability[14])
torch.testing.assert_close(row.grad, 0.25 - probability[14], atol=1e-5, rtol=0)
assert abs(slope - row.grad[3]) < 1e-4

# %% [markdown]
# For softmax and cross-entropy the slope is *predicted minus observed*: zero where the model says what the data say.
#
# ## The training loop
#
# Predict a random **batch**, measure, clear the old gradients, compute new ones, step against them, and again. The **learning rate** is the size of the step; AdamW, the *optimizer*, adapts it to each parameter. Every 25 steps we note the bits on the data sets in `watch`.


# %%
def bits_per_base(model, context, target):
    with torch.no_grad():
        return F.cross_entropy(model(context), target).item() / math.log(2)


def train(model, context, target, steps, rate, batch=8192, watch=()):
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    history = []
    for step in range(steps):
        if step % 25 == 0:
            history.append([step, *(bits_per_base(model, *pair) for pair in watch)])
        rows = torch.randint(len(context), (batch,))
        loss = F.cross_entropy(model(context[rows]), target[rows])  # forward
        optimizer.zero_grad()  # forget the gradients of the last step
        loss.backward()  # a gradient for each parameter
        optimizer.step()  # one step downhill
    return torch.tensor(history)


# %% tags=["nbval-ignore-output"]
valid = examples(bases["valid"], 3)
torch.manual_seed(0)  # the batches are random: with a seed, the same on every run
model = NextBase(3)
train(model, context, target, steps=600, rate=0.005)
learned = model.table.weight.detach().softmax(dim=-1)
print(f"largest of 256 differences to counting: {(learned - probability).abs().max():.3f}")
reference = MarkovModel(3, strength=1e-6).fit(ecoli.split("train"), both_strands=False)
counted_bits = reference.bits_per_base(ecoli.split("valid"))
trained_bits = bits_per_base(model, *valid)
print(f"valid bits: trained {trained_bits:.4f}, counted {counted_bits:.4f}, guessed 2.0000")
assert abs(trained_bits - counted_bits) < 0.002
assert (learned - probability).abs().max() < 0.04

# %% [markdown]
# Training found what counting finds (`MarkovModel` is the package's counted table, here without smoothing). For a table that is a detour; in a network of many layers there is nothing to count, and this loop is the only way. Its delicate knob is the learning rate: we try a low and a high one.

# %% tags=["nbval-ignore-output"]
curves = {}
for rate in (0.0003, 0.01, 3.0):
    torch.manual_seed(0)
    curves[rate] = train(NextBase(3), context, target, steps=151, rate=rate, watch=[valid])
    print(f"rate {rate}: valid bits after 150 steps {curves[rate][-1, 1]:.3f}")
assert curves[0.01][-1, 1] < min(curves[0.0003][-1, 1], curves[3.0][-1, 1])

# %% tags=["figure", "nbval-ignore-output"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
for i, base in enumerate("ACGT"):
    color = plots.NUCLEOTIDE_COLORS[base]
    left.scatter(probability[:, i], learned[:, i], s=18, color=color, label=base)
left.axline((0.25, 0.25), slope=1, color="grey", linewidth=1)
left.set(xlabel="counted probability", ylabel="learned probability", title="64 contexts")
left.legend(title="next base", ncols=2)
for rate, name in ((0.0003, "too low"), (0.01, "good"), (3.0, "too high")):
    right.plot(*curves[rate].T, label=f"{rate:g}, {name}", marker="o", markersize=4)
right.axhline(2, color="grey", linestyle=":")
right.set(xlabel="step", ylabel="valid bits per base", title="learning rate", ylim=(1.94, 2.1))
right.legend()
plots.show(
    figure,
    """
    Left: for each of 64 contexts and four next bases, the learned probability against the counted
    one; all points lie on the diagonal. Right: bits per base on the validation region against the
    training step. A rate too low falls slowly, a good one reaches 1.95, and one too high jumps
    about above the dotted line of 2 bits, the score of guessing.
""",
)

# %% [markdown]
# ### Exercise 3 · a bug to find
#
# This training step runs without complaint, and two things are wrong with it. Here are its symptoms: a model that is certain *and* right should have a loss of 0, and with a learning rate of 0 the same batch should give the same gradient each time.


# %%
def broken_step(model, optimizer, context, target):
    probabilities = model(context).softmax(dim=-1)
    loss = F.cross_entropy(probabilities, target)
    loss.backward()
    optimizer.step()
    return loss.item()


# %%
sure, zero = NextBase(0), torch.tensor([0])
sure.table.weight.data[0, 0] = 100.0  # logits 100, 0, 0, 0: certainly an A
optimizer = torch.optim.AdamW(sure.parameters(), lr=0.0)
print(f"loss of a sure and right model: {broken_step(sure, optimizer, zero, zero):.3f}")
fresh = NextBase(3)
optimizer = torch.optim.AdamW(fresh.parameters(), lr=0.0)
for _ in range(3):
    broken_step(fresh, optimizer, context[:8192], target[:8192])
    print(f"length of the gradient: {fresh.table.weight.grad.norm():.4f}")

# %% [markdown]
# Write the step again, without the two mistakes.
#
# <details><summary>Hint 1</summary>What does <code>F.cross_entropy</code> expect, logits or probabilities? It applies a softmax itself.</details>
# <details><summary>Hint 2</summary><code>backward()</code> adds to what stands in <code>.grad</code>. Which line of our loop is missing?</details>


# %% tags=["exercise"]
def my_step(model, optimizer, context, target):
    """One training step; returns the loss in nats."""
    # BEGIN SOLUTION
    loss = F.cross_entropy(model(context), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
    # END SOLUTION


check.step(my_step)

# %% [markdown]
# ## Train, valid, test
#
# Longer contexts should predict better. We count up to ten bases of context, on the whole training region and on its first 200,000 bases.


# %%
def counted(x, k):
    """A counted table as a module, 0.1 added to each count so that nothing is impossible."""
    return nn.Embedding.from_pretrained((count(x, k) + 0.1).log())


# %%
small = bases["train"][:200_000]
rows = {}
for k in range(0, 11, 2):
    scores = [4 ** (k + 1)]
    for data in (bases["train"], small):
        model_k = counted(data, k)
        scores += [bits_per_base(model_k, *examples(x, k)) for x in (data, bases["valid"])]
    rows[k] = scores
columns = ["numbers in the table", "train", "valid", "train, 200 kb", "valid, 200 kb"]
orders = pd.DataFrame(rows, index=columns).T.rename_axis("context")
best = orders[["valid", "valid, 200 kb"]].idxmin()
assert best.tolist() == [6, 4]
orders.round(3).astype({columns[0]: int})

# %% [markdown]
# On its own training data a longer context *always* looks better. On bases it has not seen, the table is best at six bases of context, with less data at four, and later worse than guessing: it has **overfitted**, it remembers instead of predicting. (At ten bases and 200 kb most contexts are new; their rows say a quarter each, and the score turns back towards 2.) That is why we keep data apart. *Train* sets the parameters, *valid* makes our choices, such as k, and *test* is opened once, at the end.
#
# Training longer can overfit as well. Here is a table for six bases, trained on 50,000 bases only.

# %% tags=["nbval-ignore-output"]
few, unseen = examples(bases["train"][:50_000], 6), examples(bases["valid"], 6)
torch.manual_seed(0)
history = train(NextBase(6), *few, steps=1501, rate=0.005, batch=256, watch=[few, unseen])
lowest = int(history[:, 2].argmin())
print("best step on valid:", int(history[lowest, 0]), "train, valid:", history[lowest, 1:])
print("last step:        ", int(history[-1, 0]), "train, valid:", history[-1, 1:])
assert abs(history[-1, 1] - 1.78) < 0.02 and history[-1, 2] > 2 > history[lowest, 2]

# %% tags=["figure", "nbval-ignore-output"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
for size, color in (("", plots.PALETTE[0]), (", 200 kb", plots.PALETTE[4])):
    left.plot(orders["train" + size], color=color, linestyle="--", label="train" + size)
    left.plot(orders["valid" + size], color=color, marker="o", label="valid" + size)
    k = best["valid" + size]
    left.plot(k, orders["valid" + size][k], "o", color=color, ms=15, fillstyle="none")
left.set(
    xlabel="bases of context", ylabel="bits per base", title="too long a context", ylim=(1.6, 2.6)
)
right.plot(
    history[:, 0], history[:, 1], color=plots.PALETTE[2], linestyle="--", label="train, 50 kb"
)
right.plot(history[:, 0], history[:, 2], color=plots.PALETTE[2], label="valid, 50 kb")
right.set(xlabel="step", title="too long a training")
for axis in (left, right):
    axis.axhline(2, color="grey", linestyle=":")
left.legend(loc="upper left")
right.legend(loc="lower left")
plots.show(
    figure,
    """
    Bits per base, lower is better; dotted: 2 bits, guessing. Left: against the length of the
    context, training bits fall throughout; validation bits fall, are lowest at the ring, then
    rise above 2, sooner with 200 kb of training data. Right: against the training step, for six
    bases of context and 50 kb, training bits fall to the end; validation bits rise again early.
""",
)

# %% [markdown]
# ### Exercise 4 · interpret
#
# A colleague made the right-hand plot. "The loss still falls, so I trained to the end. My model reaches 1.78 bits per base, better than any Markov model of *E. coli*." In three or four sentences: what do you answer, which step would you keep, and which number should be reported?
#
# <details><summary>Hint 1</summary>Which of the two curves is 1.78 from, and where does the other one end?</details>
# <details><summary>Hint 2</summary>How many training bases are there for each of the 4,096 contexts? And if valid chooses the step, may valid also be the result?</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_interpretation = """
1.78 is the training curve: with 50,000 bases for 4,096 contexts, about 12 each, the table remembers its examples.
On unseen bases the same model ends above 2 bits, worse than guessing. I would keep the step where the validation
curve is lowest, near 400, and report the bits of that model on the test region, measured once, beside 2.0 and a table
counted on the same 50,000 bases.
"""
# END SOLUTION
check.interpretation(my_interpretation)

# %% [markdown]
# We have chosen six bases of context on valid. Now, once, the test region. Beside it stands the baseline of the later notebooks, the package's `MarkovModel`: it counts both strands and, where counts are few, leans on shorter contexts. That is one cure for overfitting.

# %%
for name, k in (("composition", 0), ("6 bases of context", 6)):
    held_out = bits_per_base(counted(bases["train"], k), *examples(bases["test"], k))
    print(f"{name:19s}{held_out:.3f} bits per base on test (guessing: 2.000)")
markov = MarkovModel(8).fit(ecoli.split("train"), valid=ecoli.split("valid"))
print(f"{'8, with back-off':19s}{markov.bits_per_base(ecoli.split('test')):.3f}")

# %% [markdown]
# ## Keep a model
#
# Parameters are kept as **safetensors**: bytes that hold numbers and cannot run code (`save_file` and `load_file` do the same with a file). And one last switch: layers such as *dropout* are random while training; `model.eval()` turns that off, `model.train()` on again.

# %%
from safetensors.torch import load, save

twin = NextBase(3)
twin.load_state_dict(load(save(model.state_dict())))
print("the twin answers alike:", torch.equal(twin(context[:100]), model(context[:100])))
noisy = nn.Sequential(model, nn.Dropout(0.5))  # a new module is in training mode
print("train(): two calls agree:", torch.equal(noisy(context[:100]), noisy(context[:100])))
noisy.eval()
print("eval():  two calls agree:", torch.equal(noisy(context[:100]), noisy(context[:100])))

# %% [markdown]
# ## Where you meet all this again
#
# | here | in the other notebooks |
# |---|---|
# | contexts (N,) or (2, 10) | token ids (B, L): B sequences in a batch, L tokens each |
# | a row of the table | an embedding; for a batch (B, L, D), the *hidden states*, D numbers a token (02) |
# | the lookup | embedding, then mixer layers that let positions talk: (B, L, D) to (B, L, D) (03 to 07) |
# | four logits | logits (B, L, V), one for each of V tokens in the vocabulary (08) |
# | the next base | next-token (10) or masked-token (09) targets, in bits beside a Markov model |
#
# Hidden states speak to the next layer, logits are scores of answers, probabilities are logits after a softmax. Only the last sum to 1.
#
# ## Take-aways
#
# - Read shapes first; broadcasting lines them up from the right.
# - Cross-entropy is average surprise; over ln 2 it is bits. Guessing a base costs 2 bits.
# - Cross-entropy takes logits. Its gradient is predicted minus observed.
# - Forward, zero_grad, backward, step. Seeds make it repeatable.
# - Training bits always fall. Choose on valid, report test, beside a baseline.
#
# ## Quiz

# %%
check.questions("quiz")

# %% tags=["exercise"]
# BEGIN SOLUTION
quiz_answers = "bdacb"
# END SOLUTION
check.quiz(quiz_answers)

# %% [markdown]
# ## Where we are
#
# All five sites are tensors and modules; the loss of this notebook is the fifth, the objective.

# %%
plots.show(
    plots.anatomy(5, {5: "next token"}),
    """
    The five sites of a genomic model, from tokenizer to objective. Number 5, the objective,
    is filled in: predicting the next token is what we trained for.
""",
)

# %% [markdown]
# ## Further reading
#
# - Shannon (1948), *A mathematical theory of communication*: entropy, and Markov models of text. [doi:10.1002/j.1538-7305.1948.tb01338.x](https://doi.org/10.1002/j.1538-7305.1948.tb01338.x)
# - Paszke and colleagues (2019), *PyTorch*. [doi:10.48550/arXiv.1912.01703](https://doi.org/10.48550/arXiv.1912.01703)
# - Kingma and Ba (2015), *Adam*, and Loshchilov and Hutter (2019), AdamW. [doi:10.48550/arXiv.1412.6980](https://doi.org/10.48550/arXiv.1412.6980), [doi:10.48550/arXiv.1711.05101](https://doi.org/10.48550/arXiv.1711.05101)
#
# Next: notebook 01 asks what a model sees when it is given DNA.
