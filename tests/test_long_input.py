"""`gfm-lab embed` on inputs longer than a piece: the same vectors in less memory."""

import pytest
import torch

from gfm_lab.commands import embed
from gfm_lab.model import GenomicConfig, GenomicModel

torch.set_num_threads(1)
MIXERS = {
    "mamba": {"state_size": 3},
    "convolution": {"kernel": 5, "dilation": [1, 4]},
    "hyena": {"max_length": 100},
    "attention": {"heads": 2},
}


def body(mixer, **fields):
    torch.manual_seed(0)
    config = GenomicConfig(
        vocab_size=12, hidden_size=8, num_hidden_layers=2, mixer=mixer, mixer_options=MIXERS[mixer],
        max_position_embeddings=None, **({"positions": "none", "causal": True} | fields),
    )  # fmt: skip
    return GenomicModel(config).eval()


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("layer", [0, 1, 2, -1, -3])
def test_in_pieces_as_at_once(mixer, layer, monkeypatch):
    """kmer_sum too: its words reach over the border of two pieces."""
    model, ids = body(mixer, kmer_sum=3), torch.randint(5, 9, (1, 53))
    calls = []
    model.register_forward_pre_hook(lambda module, args: calls.append(args[0].shape[1]))
    with torch.inference_mode():
        expected = model(ids, output_hidden_states=True).hidden_states[layer]
        calls.clear()
        monkeypatch.setattr(embed, "PIECE", 10)
        found = embed._hidden(model, ids, torch.ones_like(ids), layer)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert calls == ([10] * 5 + [3] if mixer in ("mamba", "convolution") else [53])


def test_padding_and_both_directions_are_read_at_once(monkeypatch):
    monkeypatch.setattr(embed, "PIECE", 10)
    ids, mask = torch.randint(5, 9, (2, 25)), torch.ones(2, 25, dtype=torch.long)
    mask[1, 20:] = 0
    with torch.inference_mode():
        for model in (body("mamba"), body("mamba", causal=False)):
            torch.testing.assert_close(
                embed._hidden(model, ids, mask, -1), model(ids, attention_mask=mask).last_hidden_state
            )
        model = body("mamba", causal=False)
        torch.testing.assert_close(
            embed._hidden(model, ids, torch.ones_like(ids), -1), model(ids).last_hidden_state
        )
