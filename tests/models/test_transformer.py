"""The Transformer: its size, torch's own layers, and decoding token by token."""

from __future__ import annotations

import math

import pytest
import torch
from mlb.models.transformer import Transformer, TransformerConfig, sinusoids
from torch import Tensor, nn
from torch.nn import functional as F

TINY = TransformerConfig(vocabulary=40, width=16, feed_forward=24, heads=4, layers=2)


def test_the_model_has_mlbenchs_parameters() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in Transformer(TransformerConfig()).parameters()) == 210_808_832


def pad_batch() -> tuple[Tensor, Tensor, Tensor]:
    source = torch.randint(4, 40, (3, 7), generator=torch.Generator().manual_seed(1))
    real = torch.ones(3, 7, dtype=torch.bool)
    real[1, 5:] = False
    target = torch.randint(4, 40, (3, 6), generator=torch.Generator().manual_seed(2))
    return source, real, target


def torchs_own(model: Transformer) -> tuple[nn.TransformerEncoder, nn.TransformerDecoder]:
    """torch's layers with the model's weights, their attention's biases zero."""
    options = {"dropout": 0.0, "batch_first": True, "norm_first": True, "dtype": torch.float64}
    encoder_layer = nn.TransformerEncoderLayer(16, 4, 24, **options)
    decoder_layer = nn.TransformerDecoderLayer(16, 4, 24, **options)
    encoder = nn.TransformerEncoder(encoder_layer, 2, nn.LayerNorm(16, dtype=torch.float64), enable_nested_tensor=False)
    decoder = nn.TransformerDecoder(decoder_layer, 2, nn.LayerNorm(16, dtype=torch.float64))

    def attention(theirs: nn.MultiheadAttention, ours: nn.Module) -> None:
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.zero_()
        theirs.out_proj.weight.copy_(ours.out.weight)
        theirs.out_proj.bias.zero_()

    with torch.no_grad():
        for theirs, ours in [*zip(encoder.layers, model.encoder, strict=True),
                             *zip(decoder.layers, model.decoder, strict=True)]:  # fmt: skip
            attention(theirs.self_attn, ours.attention)
            theirs.linear1.load_state_dict(ours.feed_forward.inner.state_dict())
            theirs.linear2.load_state_dict(ours.feed_forward.outer.state_dict())
            for i in (1, 2, 3):
                if hasattr(ours, f"norm{i}"):
                    getattr(theirs, f"norm{i}").load_state_dict(getattr(ours, f"norm{i}").state_dict())
            if hasattr(ours, "source_attention"):
                attention(theirs.multihead_attn, ours.source_attention)
    return encoder, decoder


def test_loss_and_gradients_equal_torchs_own_layers() -> None:
    """Float64, one batch with padding: scores, and the gradient of the shared embedding, which all parts feed."""
    torch.manual_seed(5)
    model = Transformer(TINY).double().eval()
    source, real, target = pad_batch()
    scores = model(source, real, target)
    F.cross_entropy(scores.flatten(0, 1), target.flatten()).backward()
    encoder, decoder = torchs_own(model)
    weight = model.embedding.weight.detach().clone().requires_grad_()

    def embed(ids: Tensor) -> Tensor:
        return weight[ids] * math.sqrt(16) + sinusoids(ids.shape[1], 16, 0, weight)

    memory = encoder(embed(source), src_key_padding_mask=~real)
    causal = torch.triu(torch.ones(6, 6, dtype=torch.bool), 1)
    expected = decoder(embed(target), memory, causal, memory_key_padding_mask=~real) @ weight.t()
    F.cross_entropy(expected.flatten(0, 1), target.flatten()).backward()
    torch.testing.assert_close(scores, expected, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(model.embedding.weight.grad, weight.grad, rtol=1e-8, atol=1e-11)
    inner = model.encoder[0].feed_forward.inner.weight.grad
    torch.testing.assert_close(inner, encoder.layers[0].linear1.weight.grad, rtol=1e-8, atol=1e-11)


def test_token_by_token_is_the_whole_pass() -> None:
    torch.manual_seed(5)
    model = Transformer(TINY).double().eval()
    source, real, target = pad_batch()
    whole = model(source, real, target)
    state = model.start(source, real)
    for t in range(target.shape[1]):
        scores, state, attention = model.advance(target[:, t], state)
        torch.testing.assert_close(scores, whole[:, t], rtol=1e-9, atol=1e-10)
        assert attention is None
    assert all(len(tensor) == 3 for tensor in state)


def test_positions_are_sines_and_cosines() -> None:
    found = sinusoids(5, 8, 2, torch.zeros((), dtype=torch.float64))
    for t in range(5):
        for i in range(4):
            angle = (t + 2) / 10_000 ** (i / 3)
            assert found[t, i] == pytest.approx(math.sin(angle), abs=1e-6)
            assert found[t, 4 + i] == pytest.approx(math.cos(angle), abs=1e-6)
