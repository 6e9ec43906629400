"""Site 1 of the anatomy: the tokenizer, which cuts DNA into the units a model sees and numbers them.

Ways to cut `ATGTGCGCT` (9 bases):

    nucleotides         A T G T G C G C T             9 tokens of 4 kinds
    3-mers, stride 3    ATG TGC GCT                   3 tokens of 4**3 = 64 kinds
    3-mers, stride 1    ATG TGT GTG TGC GCG CGC GCT   9 - 3 + 1 = 7 tokens; a base stands in up to 3 of them
    BPE                 ATG TGCG CT (say)             pieces of any length, learned from data

The number of a k-mer is its letters read as digits in base 4 (A=0 C=1 G=2 T=3 in the course's own order), after
the special tokens: ACG is 5 + 16*0 + 4*1 + 2 = 11. That is all of a k-mer tokenizer. The rest is care: for N, lower
case and tails shorter than k, for the ids of published models, for speed, and for what transformers expects.

Read in this order: `kmers`, `_walk` (the definition), `encode_array` (the same ids, fast), and then the three
classes that learners use. Introduced in notebook 01.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import tokenizers as hf
from transformers import AutoTokenizer, BatchEncoding, PreTrainedConfig
from transformers import PreTrainedTokenizer as PythonTokenizer
from transformers import PreTrainedTokenizerFast as RustTokenizer

__all__ = ["BPETokenizer", "KmerTokenizer", "NucleotideTokenizer", "kmers", "merge_pair"]

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # ids 0..4: DNABERT's, and the course's own
HYENA_SPECIALS = ("[CLS]", "[SEP]", "[BOS]", "[MASK]", "[PAD]", "[RESERVED]", "[UNK]")  # ids 0..6
COMPLEMENT = str.maketrans("ACGTN", "TGCAN")
UPPER = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)  # keeps the length; str.upper may not
CHOICES = {
    "wrap": ("none", "cls", "sep", "cls_sep"),
    "tail": ("letters", "drop", "unk"),
    "lowercase": ("fold", "unknown"),
    "on_unknown": ("error", "unk", "split"),
}
BLOCK = 1 << 16  # bases encoded at a time, so that the working arrays stay in the processor's cache


def kmers(seq: str, k: int, stride: int = 1) -> list[str]:
    """The words of `k` letters that start at every `stride`-th base, (len(seq) - k) // stride + 1 of them.

    >>> kmers("ATGTGC", 3)
    ['ATG', 'TGT', 'GTG', 'TGC']

    Bases left over at the end, or a sequence shorter than k, give no word. Introduced in notebook 01.
    """
    return [seq[i : i + k] for i in range(0, len(seq) - k + 1, stride)]


def merge_pair(tokens: Sequence[str], pair: tuple[str, str]) -> list[str]:
    """One step of byte-pair encoding: every occurrence of `pair`, from left to right, becomes one token.

    >>> merge_pair(["A", "T", "A", "T", "G"], ("A", "T"))
    ['AT', 'AT', 'G']

    BPE trains by repeating this with the most frequent pair (Sennrich et al. 2016, doi:10.18653/v1/P16-1162).
    Introduced in notebook 01.
    """
    merged: list[str] = []
    i = 0
    while i < len(tokens):
        together = tuple(tokens[i : i + 2]) == tuple(pair)
        merged.append(tokens[i] + tokens[i + 1] if together else tokens[i])
        i += 2 if together else 1
    return merged


class _WordTokenizer(PythonTokenizer):
    """What `KmerTokenizer` and `NucleotideTokenizer` (k = 1) share; the options are explained there.

    Vocabulary in id order: `specials`, the 4**k words over `alphabet`, the single `letters` not there yet. The
    options rebuild it, so no vocabulary file is saved or read. `controls` come last: see `NucleotideTokenizer`.
    """

    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012 (transformers' own convention)

    def __init__(
        self,
        k: int,
        stride: int,
        *,
        wrap: str = "none",
        tail: str = "letters",
        lowercase: str = "fold",
        on_unknown: str = "error",
        alphabet: str = "ACGT",
        letters: str = "ACGTN",
        specials: Sequence[str] = SPECIALS,
        pad_token: str = "[PAD]",
        unk_token: str = "[UNK]",
        cls_token: str = "[CLS]",
        sep_token: str | None = "[SEP]",
        mask_token: str = "[MASK]",
        controls: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= 8:
            raise ValueError(f"k must be a whole number from 1 to 8 (4**8 = 65,536 words), not {k!r}")
        if isinstance(stride, bool) or not isinstance(stride, int) or not 1 <= stride <= k:
            raise ValueError(
                f"stride must be a whole number from 1 to k = {k}, not {stride!r}: longer steps skip bases"
            )
        if sorted(alphabet) != ["A", "C", "G", "T"]:
            raise ValueError(f"alphabet must be the letters A, C, G, T in some order, not {alphabet!r}")
        _check_choices(wrap=wrap, tail=tail, lowercase=lowercase, on_unknown=on_unknown)
        if tail == "letters" and k > 1 and not set(alphabet) <= set(letters):
            raise ValueError("tail='letters' needs A, C, G and T among letters: choose tail='drop' or 'unk'")
        self.k, self.stride = k, stride
        self.alphabet, self.letters, self.specials = alphabet, letters, [*specials]
        self.wrap, self.tail, self.lowercase, self.on_unknown = wrap, tail, lowercase, on_unknown

        words = ["".join(word) for word in product(alphabet, repeat=k)]
        tokens = [*specials, *words, *(letter for letter in letters if letter not in words)]
        self.controls = _checked_controls(controls, tokens)
        self._control_ids = {name: len(tokens) + i for i, name in enumerate(self.controls)}
        tokens += [f"[{name}]" for name in self.controls]
        self._tokens, self._ids = dict(enumerate(tokens)), {token: i for i, token in enumerate(tokens)}
        self._first = len(specials)  # the id of the first word

        # From byte to digit (255: not in the alphabet), and from byte to the id of a letter that stands alone.
        digits = np.full(256, 255, np.uint8)
        alone = np.full(256, self._ids[str(unk_token)], np.int32)
        for case in (str.upper, str.lower) if lowercase == "fold" else (str.upper,):
            for letter in {*alphabet, *letters} & {*self._ids}:
                if letter in alphabet or on_unknown == "split":  # under "unk" N is as unknown as any other
                    alone[ord(case(letter))] = self._ids[letter]
            for i, letter in enumerate(alphabet):
                digits[ord(case(letter))] = i
        self._digits, self._alone = digits.tobytes(), alone
        self._known = np.flatnonzero(digits < 255).astype(np.uint8).tobytes()

        named = dict(pad_token=pad_token, unk_token=unk_token, cls_token=cls_token, sep_token=sep_token)
        options = dict(wrap=wrap, tail=tail, lowercase=lowercase, on_unknown=on_unknown, alphabet=alphabet)
        options |= dict(k=k, stride=stride, letters=letters, specials=[*specials], mask_token=mask_token)
        if (
            self.controls
        ):  # special tokens of transformers too: written out in a text they are read, decode skips them
            written = [f"[{name}]" for name in self.controls]
            others = [token for token in kwargs.pop("extra_special_tokens", []) if str(token) not in written]
            options |= dict(controls=[*self.controls], extra_special_tokens=[*others, *written])
        super().__init__(**named, **options, **kwargs)
        self._prefix = [self.cls_token_id] if wrap in ("cls", "cls_sep") else []
        self._suffix = [self.sep_token_id] if wrap in ("sep", "cls_sep") else []

    # ---- The definition: slow and readable; the fast path is tested against it ----

    def _walk(self, text: str) -> Iterator[tuple[str, int, int]]:
        """Each token of `text`, its first base and the base after its last."""
        folded = text.translate(UPPER) if self.lowercase == "fold" else text
        alphabet = set(self.alphabet)
        unknown = [i for i, letter in enumerate(folded) if letter not in alphabet]
        if unknown and self.on_unknown == "error":
            raise _unknown_letter(text, unknown[0], self.unk_token)

        start = 0
        for cut in [*(unknown if self.on_unknown == "split" else []), len(folded)]:
            run = folded[start:cut]
            words = kmers(run, self.k, self.stride)
            for at, word in zip(range(start, cut, self.stride), words, strict=False):
                yield word if set(word) <= alphabet else self.unk_token, at, at + self.k
            covered = (len(words) - 1) * self.stride + self.k if words else 0
            if self.tail == "letters":
                for at in range(start + covered, cut):
                    yield folded[at] if folded[at] in alphabet else self.unk_token, at, at + 1
            elif self.tail == "unk" and covered < len(run):
                yield self.unk_token, start + covered, cut
            if cut < len(folded):  # the letter that split the run: N has a token of its own, others have not
                yield folded[cut] if folded[cut] in self.letters else self.unk_token, cut, cut + 1
            start = cut + 1

    # ---- The same ids, fast: blocks of bases as numpy arrays ----

    def encode_array(self, seq: str | bytes | np.ndarray, add_special_tokens: bool = False) -> np.ndarray:
        """The ids of `seq` as an array: those of `tok(seq, add_special_tokens=False)["input_ids"]`, faster.

        seq: str, bytes, or uint8 array of ASCII letters, (bases,). Returns (tokens,), int16 where the vocabulary has at
        most 32,768 entries, else int32 (k = 8). Peak memory above the input is below 6 bytes per base. For DNA only:
        "[MASK]" in the text is for `tok(...)`. Raises ValueError for a letter outside the alphabet, as `on_unknown`
        says. Introduced in notebook 01.
        """
        data = self._checked(seq)
        prefix, suffix = (self._prefix, self._suffix) if add_special_tokens else ([], [])
        # Where unknown letters may split the run the count is not known yet; it is at most one token per base.
        size = len(data) if self.on_unknown == "split" else self._tokens_in(len(data))
        kind = np.int16 if len(self._ids) <= 1 << 15 else np.int32
        out = np.empty(len(prefix) + size + len(suffix), kind)

        at = len(prefix)
        out[:at] = prefix
        for start, stop, is_dna in self._runs(data):
            words = self._words_in(stop - start) if is_dna else 0
            step = BLOCK // self.stride
            for first in range(0, words, step):
                n = min(step, words - first)
                begin = start + first * self.stride
                self._encode_block(data[begin : begin + (n - 1) * self.stride + self.k], out[at : at + n])
                at += n
            rest = data[start + self._covered(words) : stop]
            if is_dna and self.tail != "letters":
                rest = rest[:0] if self.tail == "drop" else rest[:1]
                out[at : at + len(rest)] = self.unk_token_id
            elif rest:
                out[at : at + len(rest)] = self._alone[np.frombuffer(rest, np.uint8)]
            at += len(rest)
        out[at : at + len(suffix)] = suffix
        out.resize(at + len(suffix), refcheck=False)
        return out

    def _encode_block(self, data: bytes, out: np.ndarray) -> None:
        """Write the ids of the words of `data` to `out`."""
        digits = np.frombuffer(data.translate(self._digits), np.uint8)
        bad = digits > 3 if self.on_unknown == "unk" and digits.max() > 3 else None
        if bad is not None:
            digits = np.where(bad, np.uint8(0), digits)
        np.add(_numbers(digits, self.k, self.stride), self._first, out=out, dtype=out.dtype, casting="unsafe")
        if bad is not None:  # a word is unknown if any of its letters is
            so_far = np.cumsum(np.concatenate([[False], bad]), dtype=np.int32)
            out[(so_far[self.k :] > so_far[: -self.k])[:: self.stride]] = self.unk_token_id

    def _checked(self, seq: str | bytes | np.ndarray) -> bytes:
        """`seq` as bytes; raises for its first unknown letter where `on_unknown` is "error"."""
        data = _as_bytes(seq)
        # Deleting the known letters and seeing whether any is left is the fastest such test in plain Python.
        if self.on_unknown == "error" and data.translate(None, self._known):
            position = int(np.argmax(np.frombuffer(data.translate(self._digits), np.uint8) > 3))
            text = seq if isinstance(seq, str) else data.decode("latin-1")
            raise _unknown_letter(text, position, self.unk_token)
        return data

    def _runs(self, data: bytes) -> Iterator[tuple[int, int, bool]]:
        """(start, stop, whether they are bases) of the stretches that are cut into words each on their own."""
        start = 0
        for begin in range(0, len(data) if self.on_unknown == "split" else 0, BLOCK):
            digits = np.frombuffer(data[begin : begin + BLOCK].translate(self._digits), np.uint8)
            if digits.max() > 3:
                borders = begin + np.flatnonzero(np.diff(digits > 3, prepend=False, append=False))
                for first, last in borders.reshape(-1, 2).tolist():  # a stretch of unknown letters
                    if start < first:
                        yield start, first, True
                    yield first, last, False
                    start = last
        if start < len(data):
            yield start, len(data), True

    def _words_in(self, length: int) -> int:
        return max(0, (length - self.k) // self.stride + 1)

    def _covered(self, words: int) -> int:
        return (words - 1) * self.stride + self.k if words else 0

    def _tokens_in(self, length: int) -> int:
        words = self._words_in(length)
        rest = length - self._covered(words)
        return words + {"letters": rest, "drop": 0, "unk": min(rest, 1)}[self.tail]

    # ---- Between tokens and bases ----

    def _spans(self, data: bytes) -> np.ndarray:
        """First base and base after the last of every token, (tokens, 2)."""
        parts = [np.empty((0, 2), np.int64)]
        for start, stop, is_dna in self._runs(data):
            words = self._words_in(stop - start) if is_dna else 0
            first = start + self.stride * np.arange(words)
            parts.append(np.stack([first, first + self.k], axis=1))
            rest = np.arange(start + self._covered(words), stop)
            if not is_dna or self.tail == "letters":
                parts.append(np.stack([rest, rest + 1], axis=1))
            elif self.tail == "unk" and len(rest):
                parts.append(np.array([[rest[0], stop]]))
        return np.concatenate(parts)

    def bases_of(self, token_index: int, sequence: str | bytes | None = None) -> range:
        """The bases that token `token_index` covers; tokens that `wrap` adds are not counted.

        Without `sequence` this is the answer for whole words of A, C, G, T, which is wrong after an N that splits the
        run, and for the tail: give the sequence there. Raises IndexError for a token that does not exist. Introduced
        in notebook 01.
        """
        if sequence is not None:
            return _span(self._spans(self._checked(sequence)), token_index)
        if token_index < 0:
            raise IndexError(f"token_index counts from 0, not {token_index}")
        return range(token_index * self.stride, token_index * self.stride + self.k)

    def token_at(self, base: int, sequence: str | bytes | None = None) -> range:
        """The tokens that cover `base` (both counted from 0): up to k of them where k-mers overlap.

        Without `sequence` this is the answer inside a long sequence of A, C, G, T: give it where it holds N, or near
        its end. Empty for a base in a dropped tail. Raises IndexError for a base that does not exist. Introduced in
        notebook 01.
        """
        if sequence is not None:
            return _token_at(self._spans(self._checked(sequence)), base, len(sequence))
        if base < 0:
            raise IndexError(f"base counts from 0, not {base}")
        return range(max(0, -((self.k - 1 - base) // self.stride)), base // self.stride + 1)

    def control_id(self, name: str) -> int:
        """The id of the control token `name`. Raises ValueError for a name that is not among `controls`."""
        if name not in self._control_ids:
            known = f"it has {', '.join(self.controls)}" if self.controls else "it has none"
            raise ValueError(
                f"this {type(self).__name__} has no control token {name!r}: {known} (see `controls=`)"
            )
        return self._control_ids[name]

    @cached_property
    def complement_ids(self) -> np.ndarray:
        """For each id that of its reverse complement, (vocabulary,) int64; special and control tokens keep theirs."""
        specials = {*self.specials, *(f"[{name}]" for name in self.controls)}
        turned = (t if t in specials else t.translate(COMPLEMENT)[::-1] for t in self._ids)
        return np.array([self._ids[token] for token in turned], np.int64)

    def reverse_complement_ids(self, ids: Sequence[int] | np.ndarray) -> list[int] | np.ndarray:
        """The ids of the reverse complement, from ids alone: each token's own complement, in reverse order.

        ids: one sequence, (tokens,). Special tokens and padding at its ends stay; [MASK] and [UNK] turn with the
        rest. Returns a list or an array, as given.

        Exact where both strands are cut at the same places: always with stride 1; with a longer stride only where
        the words reach the end of each run. Raises ValueError where a tail shows that they do not: the other strand is
        then cut from its own first base, into other words. (A dropped tail leaves no trace: the result is that of
        the bases the ids hold.) Introduced in notebook 01.
        """
        array = np.asarray(ids)
        if array.ndim != 1:
            raise ValueError(f"give the ids of one sequence, (tokens,), not an array of shape {array.shape}")
        if len(array) and not 0 <= array.min() <= array.max() < len(self._ids):
            raise ValueError(f"ids must lie in 0..{len(self._ids) - 1}, not {array.min()}..{array.max()}")
        unknown = array == self.unk_token_id
        dna = (array >= self._first) & (array < len(self._ids) - len(self.controls))
        content = dna | unknown | (array == self.mask_token_id)
        places = np.flatnonzero(content)
        if len(places) == 0:
            return ids
        inside = slice(places[0], places[-1] + 1)
        if not content[inside].all():
            raise ValueError("special tokens inside the sequence: split it there first")
        if self.stride > 1:
            is_word = (array >= self._first) & (array < self._first + 4**self.k)
            is_tail = np.isin(array, [self._ids.get(letter, -1) for letter in self.alphabet])
            is_tail |= unknown & (self.tail == "unk")
            if self.on_unknown == "unk":
                # An [UNK] may be a word, and the last one a letter of the tail: the ids do not say.
                is_word |= unknown
                is_tail[inside.stop - 1] |= unknown[inside.stop - 1] & (self.tail == "letters")
            if (is_word[:-1] & is_tail[1:]).any():
                raise ValueError(
                    f"the words do not reach the end of the sequence: with stride {self.stride} the reverse complement "
                    "is cut at other places. Trim it to k + a multiple of the stride, or encode "
                    "reverse_complement(sequence)"
                )
        out = array.copy()
        out[inside] = self.complement_ids[array[inside]][::-1]
        return out if isinstance(ids, np.ndarray) else out.tolist()

    def _decode(self, token_ids: int | list[int], skip_special_tokens: bool = False, **kwargs: Any) -> str:
        """What `decode` does, as the class says with skip_special_tokens=True: one [MASK] among overlapping words
        hides nothing. With skip_special_tokens=False special tokens are written out, and a run begins after each.
        """
        ids = [token_ids] if isinstance(token_ids, int) else token_ids
        return self._spell(self.convert_ids_to_tokens(ids), skip_special_tokens)

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The bases that `tokens` spell, special tokens written out; see `decode`."""
        return self._spell(tokens, skip_special_tokens=False)

    def _spell(self, tokens: list[str], skip_special_tokens: bool) -> str:
        special = {*self.specials, *self.all_special_tokens}  # control tokens are among the latter
        # An unknown that split a run was one letter; otherwise it stands for a word. "?" is a base not told yet.
        holders = {
            self.mask_token: "?" * self.k,
            self.unk_token: "?" * (1 if self.on_unknown == "split" else self.k),
        }
        shared = self.k - self.stride  # letters that a word has in common with the word before it
        out: list[str] = []
        after_word = False
        for token in tokens:
            if skip_special_tokens:
                token = holders.get(token, token)
            if token in special or token in self._added_tokens_encoder:
                out += [] if skip_special_tokens and token in special else [token]
                after_word = False
                continue
            if after_word and len(token) == self.k:
                for i in range(-shared, 0):
                    if out[i] == "?":
                        out[i] = token[shared + i]
                token = token[shared:]
                out += token
                continue
            out += token
            after_word = len(token) == self.k  # a single letter (N, or of a tail) ends the run
        return "".join("N" if letter == "?" else letter for letter in out)

    # ---- What transformers asks of a tokenizer ----

    @property
    def vocab_size(self) -> int:
        """Entries of the vocabulary, special tokens included."""
        return len(self._ids)

    def get_vocab(self) -> dict[str, int]:
        """Token -> id, with the tokens added later."""
        return {**self._ids, **self._added_tokens_encoder}

    def _convert_token_to_id(self, token: str) -> int:
        return self._ids.get(token, self.unk_token_id)

    def _convert_id_to_token(self, index: int) -> str:
        # Embedding tables are often padded (12 -> 16 rows): an id past the vocabulary reads as unknown.
        return self._tokens.get(index, self.unk_token)

    def tokenize(self, text: str, **kwargs: Any) -> list[str]:
        """The tokens of `text` as strings, without those that `wrap` adds."""
        tokens: list[str] = []
        for _, piece, written in self._pieces(text):
            tokens += [piece] if written else [token for token, _, _ in self._walk(piece)]
        return tokens

    def _pieces(self, text: str) -> Iterator[tuple[int, str, bool]]:
        """(position, piece, whether it is a token written out) for text such as "ACG[MASK]TTA"."""
        found = [token for token in self._added_tokens_encoder if token in text]
        found = [re.escape(token) for token in sorted(found, key=len, reverse=True)]
        if found:  # so that an error tells the position in the whole text
            self._checked(re.sub("|".join(found), lambda match: "A" * len(match[0]), text))
        at = 0
        for i, piece in enumerate(re.split(f"({'|'.join(found)})", text) if found else [text]):
            yield at, piece, i % 2 == 1
            at += len(piece)

    def _ids_and_spans(self, text: str | None, want_spans: bool) -> tuple[list[int], list[tuple[int, int]]]:
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        for at, piece, written in self._pieces(text or ""):
            ids += [self._added_tokens_encoder[piece]] if written else self.encode_array(piece).tolist()
            if want_spans:
                here = [[0, len(piece)]] if written else self._spans(_as_bytes(piece)).tolist()
                spans += [(at + start, at + stop) for start, stop in here]
        return ids, spans

    def _encode_plus(self, text: Any, text_pair: Any = None, **kwargs: Any) -> BatchEncoding:
        """One text, or a pair, with offsets in bases. For a batch transformers loops and comes back here."""
        if not isinstance(text, str) or not isinstance(text_pair, str | None):
            return super()._encode_plus(text, text_pair, **kwargs)
        want_spans, tensors = kwargs.pop("return_offsets_mapping", False), kwargs.pop("return_tensors", None)
        padding, truncation = kwargs.pop("padding_strategy"), kwargs.pop("truncation_strategy")
        ids, spans = self._ids_and_spans(text, want_spans)
        pair, pair_spans = self._ids_and_spans(text_pair, want_spans)
        has_pair = text_pair is not None
        out = self.prepare_for_model(
            ids, pair if has_pair else None, padding=padding.value, truncation=truncation.value, **kwargs
        )
        if want_spans:  # they are cut as the ids were, and special tokens and padding get (0, 0)
            special = kwargs.get("add_special_tokens", True)
            longest = kwargs.get("max_length") if truncation.value != "do_not_truncate" else None
            if longest is not None:
                extra = self.num_special_tokens_to_add(has_pair) if special else 0
                excess = len(ids) + len(pair) + extra - longest
                spans, pair_spans, _ = self.truncate_sequences(
                    spans, pair_spans if has_pair else None, excess, truncation, kwargs.get("stride", 0)
                )
            mask = [0] * (len(spans) + len(pair_spans or []))
            if special:
                mask = self.get_special_tokens_mask(spans, pair_spans if has_pair else None)
            places = iter([*spans, *(pair_spans or [])])
            out["offset_mapping"] = [(0, 0) if is_special else next(places) for is_special in mask]
            self._pad_offsets(out, kwargs.get("padding_side"))
        if tensors is not None:
            out = BatchEncoding(dict(out), tensor_type=tensors, prepend_batch_axis=True)
        return out

    def _pad(self, encoded_inputs: Any, *args: Any, **kwargs: Any) -> Any:
        encoded = super()._pad(encoded_inputs, *args, **kwargs)
        self._pad_offsets(encoded, kwargs.get("padding_side"))
        return encoded

    def _pad_offsets(self, encoded: Any, side: str | None) -> None:
        if "offset_mapping" in encoded:
            spans = list(encoded["offset_mapping"])
            padding = [(0, 0)] * (len(encoded["input_ids"]) - len(spans))
            left = (side or self.padding_side) == "left"
            encoded["offset_mapping"] = padding + spans if left else spans + padding

    def build_inputs_with_special_tokens(self, token_ids_0: list, token_ids_1: list | None = None) -> list:
        """The ids with what `wrap` puts around them; a second sequence follows the [SEP] of the first."""
        second = [] if token_ids_1 is None else [*token_ids_1, *self._suffix]
        return [*self._prefix, *token_ids_0, *self._suffix, *second]

    def get_special_tokens_mask(
        self, token_ids_0: list, token_ids_1: list | None = None, already_has_special_tokens: bool = False
    ) -> list[int]:
        """1 for a special token, 0 for a token of the sequence."""
        if already_has_special_tokens:
            return super().get_special_tokens_mask(token_ids_0, token_ids_1, already_has_special_tokens=True)
        end = [1] * len(self._suffix)
        second = [] if token_ids_1 is None else [0] * len(token_ids_1) + end
        return [1] * len(self._prefix) + [0] * len(token_ids_0) + end + second

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Writes nothing: the options in tokenizer_config.json rebuild the vocabulary."""
        return ()


class KmerTokenizer(_WordTokenizer):
    """Words of `k` letters, one every `stride` bases: a transformers tokenizer. Introduced in notebook 01.

    k: 1..8. stride: 1..k. 1 gives overlapping k-mers, L - k + 1 of them for L bases; k gives words side by side.
    Vocabulary: [PAD] [UNK] [CLS] [SEP] [MASK] = 0..4, the 4**k words in A, C, G, T order from 5 (5 + the word's
    number in base 4), then A C G T N as single letters: 4**k + 10 entries (10 for k = 1).

    wrap: special tokens around a sequence: "none" (default), "cls", "sep", "cls_sep".
    tail: the bases after the last whole word (fewer than `stride` of them, or a sequence shorter than k):
        "letters" (default): a token each. "drop": no token. "unk": one [UNK] for all of them.
    lowercase: "fold" (default): soft-masked bases are read as upper case; ids carry no case and decode gives upper
        case. "unknown": lower case is outside the alphabet, and `on_unknown` applies.
    on_unknown: for a character that is not A, C, G or T. "error" (default): ValueError, with its position.
        "unk": every word that holds it becomes [UNK]; words stay where they are. "split": the run of bases ends
        there, the character becomes one token (N has its own, others become [UNK]), words start anew after it.

    decode(encode(s), skip_special_tokens=True) == s for every s of A, C, G, T when tail="letters", and with
    on_unknown="split" also for N. Otherwise: a tail that is dropped or unknown is lost; other characters come back as
    N; with "unk" N comes back in every base that only [UNK] covers (with stride = k the whole word), and an unknown
    letter of the tail comes back as a word of Ns, since its [UNK] looks like any other.
    decode merges overlapping words: the first of a run gives k bases, each later one its last `stride`, so that the
    earlier word wins where two disagree. [MASK] and [UNK] keep their place: N where no other word tells the base.

    Raises ValueError for k, stride or an option out of its bounds.
    """

    def __init__(self, k: int = 6, stride: int = 1, **options: Any) -> None:
        super().__init__(k, stride, **options)

    @classmethod
    def dnabert(cls, k: int = 6, **options: Any) -> KmerTokenizer:
        """DNABERT's ids: overlapping words, k = 3..6 (Ji et al. 2021, doi 10.1093/bioinformatics/btab083).

        [PAD] [UNK] [CLS] [SEP] [MASK] = 0..4, then the words in A, T, C, G order (AAAAAA 5, AAAAAT 6): 69, 261,
        1,029 or 4,101 entries. [CLS] ... [SEP] around a sequence; a word with any other letter is [UNK]; a sequence
        shorter than k has no word. The original takes text with spaces between words and knows no lower case
        (lowercase="unknown" here). The authors' pre-training script leaves out the last word of a sequence; their
        `seq2kmer` and this class keep it.
        """
        if k not in (3, 4, 5, 6):
            raise ValueError(f"DNABERT was published for k = 3, 4, 5 and 6, not {k!r}")
        published = dict(alphabet="ATCG", letters="", wrap="cls_sep", tail="drop", on_unknown="unk")
        return cls(k, 1, **(published | options))

    @classmethod
    def nucleotide_transformer(cls, version: int = 1, **options: Any) -> KmerTokenizer:
        """The Nucleotide Transformer's ids (Dalla-Torre et al. 2025, doi 10.1038/s41592-024-02523-z).

        Words of 6 side by side, in A, T, C, G order; N is a token of its own and ends a run; the bases left of a run
        become single letters; <cls> comes first and nothing last.
        version 1: <unk> <pad> <mask> <cls> = 0..3, words from 4, A T C G N = 4100..4104: 4,105 entries.
        version 2: <unk> <pad> <mask> <cls> <eos> <bos> = 0..5, words from 6, A T C G N = 4102..4106: 4,107.

        Read in the authors' source (the JAX package): both orders and sizes (version 1 also lists <eos> and <bos>,
        last, and its models leave these two rows out), runs and tails. Not compared: the vocab.txt files published
        with the PyTorch models. For any other letter the JAX class raises and transformers' ESM tokenizer gives
        <unk>, as here. The originals know no lower case (lowercase="unknown" here).
        """
        if version not in (1, 2):
            raise ValueError(f"version must be 1 or 2, not {version!r}")
        specials = ("<unk>", "<pad>", "<mask>", "<cls>", *(("<eos>", "<bos>") if version == 2 else ()))
        published = dict(alphabet="ATCG", letters="ATCGN", specials=specials, wrap="cls", on_unknown="split")
        published |= dict(
            unk_token="<unk>", pad_token="<pad>", mask_token="<mask>", cls_token="<cls>", sep_token=None
        )
        return cls(6, 6, **(published | options))


class NucleotideTokenizer(_WordTokenizer):
    """One token per base: a transformers tokenizer. Introduced in notebook 01.

    Vocabulary: [PAD] [UNK] [CLS] [SEP] [MASK] = 0..4, A C G T = 5..8, N = 9. The options `wrap`, `lowercase` and
    `on_unknown` are those of `KmerTokenizer`. decode(encode(s), skip_special_tokens=True) == s for A, C, G, T, and
    with on_unknown="split" also for N; other characters come back as N.

    controls: names of control tokens, such as ("ecoli", "human"): one token "[ecoli]", "[human]" each, with the ids
    after all others, which keep theirs. A control token stands in front of a sequence and says what it is; a model
    trained so writes DNA of that kind when asked (Keskar et al. 2019, arXiv:1909.05858, in text; introduced in notebook
    10). DNA never gives one: only "[ecoli]" written out in a text does. `control_id(name)` is its id; it is its own
    complement. Raises ValueError for a name that is empty, given twice, or not letters, digits, "-", "_" and ".".
    """

    def __init__(self, **options: Any) -> None:
        for name in ("k", "stride"):  # save_pretrained writes them
            if options.pop(name, 1) != 1:
                raise ValueError(f"{name} is 1 for single nucleotides: KmerTokenizer has longer words")
        super().__init__(1, 1, **options)

    @classmethod
    def hyenadna(cls, **options: Any) -> NucleotideTokenizer:
        """HyenaDNA's ids, padded on the left (Nguyen et al. 2023, doi 10.48550/arXiv.2306.15794).

        [CLS] [SEP] [BOS] [MASK] [PAD] [RESERVED] [UNK] = 0..6, A C G T N = 7..11; other letters are [UNK]. [CLS] ...
        [SEP] as in the authors' standalone tokenizer; their training loader adds only [SEP]: wrap="sep". The original
        reads lower case as [UNK] (lowercase="unknown" here).
        """
        published = dict(specials=HYENA_SPECIALS, wrap="cls_sep", on_unknown="split", padding_side="left")
        return cls(**(published | dict(bos_token="[BOS]", eos_token="[SEP]") | options))

    @classmethod
    def caduceus(cls, **options: Any) -> NucleotideTokenizer:
        """Caduceus' ids (Schiff et al. 2024, doi 10.48550/arXiv.2403.03234): HyenaDNA's, but only [SEP] is added.

        Folds lower case, as the original does. `complement_ids` exchanges 7 and 10, 8 and 9.
        """
        return cls.hyenadna(**({"wrap": "sep"} | options))


class BPETokenizer(RustTokenizer):
    """Byte-pair encoding: pieces of any length, learned by merging the most frequent neighbours. In notebook 01.

    Sennrich et al. 2016 (doi 10.18653/v1/P16-1162); for DNA: DNABERT-2, Zhou et al. 2024 (doi
    10.48550/arXiv.2306.15006). Hugging Face `tokenizers` does the work. Make one with `BPETokenizer.train`.

    Vocabulary: [PAD] [UNK] [CLS] [SEP] [MASK] = 0..4, A C G N T = 5..9, then the merges in the order they were
    learned. No token crosses an N. Options as in `KmerTokenizer`; under "unk" each unknown character is one [UNK].
    decode(encode(s), skip_special_tokens=True) == s for A, C, G, T, and with on_unknown="split" also for N.
    """

    def __init__(
        self,
        *args: Any,
        on_unknown: str = "error",
        lowercase: str = "fold",
        wrap: str = "none",
        **kwargs: Any,
    ) -> None:
        self.on_unknown, self.lowercase, self.wrap = on_unknown, lowercase, wrap
        super().__init__(*args, on_unknown=on_unknown, lowercase=lowercase, wrap=wrap, **kwargs)

    @classmethod
    def convert_to_native_format(cls, **kwargs: Any) -> dict[str, Any]:
        """Loading: tokenizer.json holds everything, so transformers need not rebuild it from its parts."""
        return kwargs

    @classmethod
    def train(
        cls,
        sequences: str | Iterable[str],
        vocab_size: int = 4096,
        *,
        max_token_length: int = 32,
        wrap: str = "none",
        lowercase: str = "fold",
        on_unknown: str = "error",
        **kwargs: Any,
    ) -> BPETokenizer:
        """Learn at most `vocab_size` entries, special tokens included, from `sequences`: always the same from the same.

        For training the sequences are cut at every letter but A, C, G, T, and into chunks of 512 bases, and no piece
        grows past `max_token_length`: one word as long as a chromosome, or one long repeat, would keep the trainer
        busy for ever. (Encoding cuts at unknown letters only.) Little data gives fewer entries: see len(tokenizer).
        Raises ValueError for a vocabulary without room for a merge, and for sequences that give none.
        """
        _check_choices(wrap=wrap, lowercase=lowercase, on_unknown=on_unknown)
        smallest = len(SPECIALS) + len("ACGNT")
        if vocab_size <= smallest:
            raise ValueError(
                f"vocab_size must be above {smallest} (special tokens and A, C, G, N, T), not {vocab_size}"
            )

        def chunks() -> Iterator[str]:
            for sequence in [sequences] if isinstance(sequences, str) else sequences:
                text = sequence.translate(UPPER) if lowercase == "fold" else sequence
                for run in re.findall("[ACGT]+", text):
                    yield from (run[start : start + 512] for start in range(0, len(run), 512))

        backend = hf.Tokenizer(hf.models.BPE(unk_token="[UNK]", fuse_unk=False))
        steps = [hf.normalizers.Replace(letter.lower(), letter) for letter in "ACGTN" if lowercase == "fold"]
        if on_unknown != "split":  # so that N does not find its own token
            steps.append(hf.normalizers.Replace(hf.Regex("[^ACGT]"), "?"))
        backend.normalizer = hf.normalizers.Sequence(steps)
        backend.pre_tokenizer = hf.pre_tokenizers.Split(hf.Regex("[^ACGT]"), "isolated")
        backend.decoder = hf.decoders.Fuse()
        trainer = hf.trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[*SPECIALS],
            initial_alphabet=[*"ACGNT"],
            max_token_length=max_token_length,
            show_progress=False,
        )
        backend.train_from_iterator(chunks(), trainer)
        if backend.get_vocab_size() == smallest:
            raise ValueError("no pair of bases occurs twice in these sequences: there is nothing to merge")
        start, end = ["[CLS]"] * wrap.startswith("cls"), ["[SEP]"] * wrap.endswith("sep")
        backend.post_processor = hf.processors.TemplateProcessing(
            single=[*start, "$A", *end],
            pair=[*start, "$A", *end, "$B:1", *(f"{token}:1" for token in end)],
            special_tokens=[(token, backend.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
        )
        names = {f"{token[1:-1].lower()}_token": token for token in SPECIALS}
        options = dict(wrap=wrap, lowercase=lowercase, on_unknown=on_unknown)
        return cls(tokenizer_object=backend, **(names | options | kwargs))

    def shrink(self, vocab_size: int) -> BPETokenizer:
        """The tokenizer that `train` would have made with a smaller vocabulary: its merges are the first of these.

        Raises ValueError for a vocabulary that is not smaller than this one, or has no room for a merge.
        Introduced in notebook 01.
        """
        smallest = len(SPECIALS) + len("ACGNT")
        if not smallest < vocab_size <= len(self):
            raise ValueError(f"vocab_size must be above {smallest} and at most {len(self)}, not {vocab_size}")
        state = json.loads(self.backend_tokenizer.to_str())
        model = state["model"]
        model["vocab"] = {token: i for token, i in model["vocab"].items() if i < vocab_size}
        model["merges"] = [pair for pair in model["merges"] if "".join(pair) in model["vocab"]]
        return type(self)(tokenizer_object=hf.Tokenizer.from_str(json.dumps(state)), **self.init_kwargs)

    def _encode_plus(self, text: Any, text_pair: Any = None, **kwargs: Any) -> BatchEncoding:
        self._check(text)
        self._check(text_pair)
        return super()._encode_plus(text=text, text_pair=text_pair, **kwargs)

    def _check(self, text: Any) -> None:
        """With on_unknown="error": raise for the first unknown character of a text, or of the texts of a batch."""
        if isinstance(text, list | tuple):
            for item in text:
                self._check(item)
        elif isinstance(text, str) and self.on_unknown == "error":
            for token in self.get_added_vocab():  # "ACG[MASK]TTA" is allowed; positions stay
                text = text.replace(token, "A" * len(token))
            unknown = re.search("[^ACGTacgt]" if self.lowercase == "fold" else "[^ACGT]", text)
            if unknown:
                raise _unknown_letter(text, unknown.start(), self.unk_token)

    def encode_array(self, seq: str | bytes | np.ndarray, add_special_tokens: bool = False) -> np.ndarray:
        """The ids of `seq` as an array, (tokens,), as `KmerTokenizer.encode_array`, but no faster than `tok(seq)`."""
        text = seq if isinstance(seq, str) else _as_bytes(seq).decode("latin-1")
        self._check(text)
        ids = self.backend_tokenizer.encode(text, add_special_tokens=add_special_tokens).ids
        return np.array(ids, np.int16 if len(self) <= 1 << 15 else np.int32)

    def _spans(self, sequence: str | None) -> np.ndarray:
        if sequence is None:
            raise ValueError("BPE tokens have no fixed length: pass sequence=, the answer depends on it")
        self._check(sequence)
        offsets = self.backend_tokenizer.encode(sequence, add_special_tokens=False).offsets
        return np.array(offsets, np.int64).reshape(-1, 2)

    def bases_of(self, token_index: int, sequence: str | None = None) -> range:
        """The bases that token `token_index` of `sequence` covers. Raises ValueError without a sequence."""
        return _span(self._spans(sequence), token_index)

    def token_at(self, base: int, sequence: str | None = None) -> range:
        """The one token of `sequence` that covers `base`, as a range. Raises ValueError without a sequence."""
        return _token_at(self._spans(sequence), base, len(sequence or ""))

    def reverse_complement_ids(self, ids: Sequence[int] | np.ndarray) -> list[int] | np.ndarray:
        """Always raises ValueError: the other strand has to be encoded anew."""
        raise ValueError(
            "BPE ids have no reverse complement: merges are learned and applied from left to right, so the reverse "
            "complement of a token need not be a token, nor the pieces of the other strand these pieces reversed. "
            "Decode, and encode reverse_complement(sequence)"
        )

    def _decode(self, token_ids: int | list[int], skip_special_tokens: bool = False, **kwargs: Any) -> str:
        """What `decode` does: with skip_special_tokens, each [UNK] and [MASK] becomes one N."""
        ids = [token_ids] if isinstance(token_ids, int) else token_ids
        if skip_special_tokens:
            n = self.convert_tokens_to_ids("N")
            ids = [n if i in (self.unk_token_id, self.mask_token_id) else i for i in ids]
        return super()._decode(ids, skip_special_tokens=skip_special_tokens, **kwargs)


# ---- Helpers ----


def _numbers(digits: np.ndarray, k: int, stride: int) -> np.ndarray:
    """The base-4 numbers of the words of k digits at every stride-th place: uint8 (n,) -> uint8 or uint16.

    Words side by side are rows of a table: column by column, 4 times the number plus the digit. Overlapping words
    grow by doubling: two numbers of 3 letters make one of 6, so that 6 letters take 3 steps instead of 6.
    (Multiplied, not shifted: numpy shifts bytes nine times slower.)
    """
    if k == stride:
        table = digits.reshape(-1, k)
        number = table[:, 0].astype(np.uint16 if k > 4 else np.uint8)
        for column in table.T[1:]:
            number *= 4
            number += column
        return number
    number, width = digits, 1  # number[i]: the word of `width` letters that begins at i
    for bit in bin(k)[3:]:
        steps = [(width, number), (1, digits)] if bit == "1" else [(width, number)]
        for added, right in steps:  # append the word of `added` letters that begins `width` further on
            left = number.astype(np.uint16) if width + added > 4 else number
            n = len(digits) - width - added + 1
            number = left[:n] * left.dtype.type(4**added) + right[width : width + n]
            width += added
    return number[::stride]


def _as_bytes(seq: str | bytes | np.ndarray) -> bytes:
    """One byte per character; a character outside ASCII becomes "?", which is no base."""
    if isinstance(seq, str):
        return seq.encode("ascii", "replace")
    if isinstance(seq, np.ndarray) and seq.dtype == np.uint8 and seq.ndim == 1:
        return seq.tobytes()
    if isinstance(seq, bytes | bytearray):
        return bytes(seq)
    raise TypeError(
        f"a sequence must be str, bytes or a one-dimensional uint8 array, not {type(seq).__name__}"
    )


def _span(spans: np.ndarray, token_index: int) -> range:
    if not 0 <= token_index < len(spans):
        raise IndexError(
            f"the sequence has {len(spans)} tokens, counted from 0: there is no token {token_index}"
        )
    return range(*spans[token_index].tolist())


def _token_at(spans: np.ndarray, base: int, length: int) -> range:
    if not 0 <= base < length:
        raise IndexError(f"the sequence has {length} bases, counted from 0: there is no base {base}")
    tokens = np.flatnonzero((spans[:, 0] <= base) & (base < spans[:, 1])).tolist()
    return range(tokens[0], tokens[-1] + 1) if tokens else range(0)


def _checked_controls(names: Sequence[str], tokens: Sequence[str]) -> tuple[str, ...]:
    """`names` of control tokens as a tuple; raises ValueError for one that cannot be a token of its own."""
    if isinstance(names, str):
        raise ValueError(f"controls is a sequence of names: write ({names!r},)")
    for i, name in enumerate(names):
        if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):
            raise ValueError(f"a control's name is made of letters, digits, '-', '_' and '.', not {name!r}")
        if f"[{name}]" in tokens or name in names[:i]:
            raise ValueError(f"the token [{name}] stands in the vocabulary already: choose another name")
    return tuple(names)


def _check_choices(**options: str) -> None:
    for name, value in options.items():
        if value not in CHOICES[name]:
            raise ValueError(f"{name} must be {' or '.join(map(repr, CHOICES[name]))}, not {value!r}")


def _unknown_letter(text: str, position: int, unk: str) -> ValueError:
    """The error for a character that no token stands for: which, where, and the three ways on."""
    letter = text[position]
    hint = ""
    if letter in "acgt":
        hint = " (soft masking? lowercase='fold' reads it as upper case)"
    elif letter in "Uu":
        hint = " (RNA? write T for U)"
    elif letter.isspace():
        hint = " (join the lines of the sequence first)"
    return ValueError(
        f"character {letter!r} at position {position} (counted from 0) is not A, C, G or T{hint}. Choose "
        f"on_unknown='error' (this error), 'unk' (every token that holds it becomes {unk}) or 'split' (the run of "
        f"bases ends there and the character becomes a token: its own if it is N and has one, else {unk})"
    )


# AutoTokenizer finds the classes by name once this module is imported, so that a directory written by
# save_pretrained loads without running code from it. Registering asks for a configuration class: an empty one each.
for _tokenizer, _kind in (
    (KmerTokenizer, "slow_tokenizer_class"),
    (NucleotideTokenizer, "slow_tokenizer_class"),
    (BPETokenizer, "fast_tokenizer_class"),
):
    _name = _tokenizer.__name__
    _config = type(f"{_name}Config", (PreTrainedConfig,), {"model_type": f"gfm-lab-{_name.lower()}"})
    AutoTokenizer.register(_config, **{_kind: _tokenizer}, exist_ok=True)
