"""The Transformer of task 4b: encoder and decoder with normalisation ahead of each part, one embedding for all.

Vaswani et al. 2017, "Attention Is All You Need"; normalisation first as in MLPerf's reference, attention without bias.

Shapes: B sentences, S source tokens, T target tokens, D width, H heads, V vocabulary. Masks are true at real tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes and dropout; the defaults are the model that MLBench's task 4b trains."""

    vocabulary: int = 33_712
    width: int = 1_024
    feed_forward: int = 4_096
    heads: int = 16
    layers: int = 6
    """Of the encoder, and as many of the decoder."""
    dropout: float = 0.1
    """Behind embeddings and every part."""
    dropout_attention: float = 0.1
    dropout_relu: float = 0.1


class Attention(nn.Module):
    """Multi-head attention."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads, self.dropout = config.heads, config.dropout_attention
        width = config.width
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        for layer in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(layer.weight)

    def keys_and_values(self, x_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, S, D / H) each."""
        return self._split(self.key(x_BSD)), self._split(self.value(x_BSD))

    def forward(
        self, x_BTD: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        y = F.scaled_dot_product_attention(
            self._split(self.query(x_BTD)), keys, values, mask, self.dropout if self.training else 0.0, causal
        )
        out_BTD: Tensor = self.out(y.transpose(1, 2).flatten(2))
        return out_BTD

    def _split(self, x_BTD: Tensor) -> Tensor:
        return x_BTD.view(*x_BTD.shape[:2], self.heads, -1).transpose(1, 2)


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between them."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.inner = nn.Linear(config.width, config.feed_forward)
        self.outer = nn.Linear(config.feed_forward, config.width)
        self.dropout = config.dropout_relu
        for layer in (self.inner, self.outer):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x_BTD: Tensor) -> Tensor:
        out_BTD: Tensor = self.outer(F.dropout(F.relu(self.inner(x_BTD)), self.dropout, self.training))
        return out_BTD


class EncoderLayer(nn.Module):
    """Self-attention, then the feed-forward part; each normalised ahead and added to its input."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention, self.feed_forward = Attention(config), FeedForward(config)
        self.norm1, self.norm2 = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BSD: Tensor, mask_B11S: Tensor) -> Tensor:
        normed = self.norm1(x_BSD)
        x_BSD = x_BSD + self.dropout(self.attention(normed, *self.attention.keys_and_values(normed), mask_B11S))
        out_BSD: Tensor = x_BSD + self.dropout(self.feed_forward(self.norm2(x_BSD)))
        return out_BSD


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the source, the feed-forward part."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention, self.source_attention = Attention(config), Attention(config)
        self.feed_forward = FeedForward(config)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(config.width) for _ in range(3))
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x_BTD: Tensor, own: tuple[Tensor, Tensor], source: tuple[Tensor, Tensor], mask: Tensor, causal: bool
    ) -> Tensor:
        """`own` are the keys and values of the normalised input and, in decoding, of all before it."""
        x_BTD = x_BTD + self.dropout(self.attention(self.norm1(x_BTD), *own, causal=causal))
        x_BTD = x_BTD + self.dropout(self.source_attention(self.norm2(x_BTD), *source, mask))
        out_BTD: Tensor = x_BTD + self.dropout(self.feed_forward(self.norm3(x_BTD)))
        return out_BTD


class Transformer(nn.Module):
    """Encoder, decoder and the embedding that all three of their ends share."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        nn.init.normal_(self.embedding.weight, std=config.width**-0.5)
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.layers))
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.layers))
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(config.width), nn.LayerNorm(config.width)

    def forward(self, source_BS: Tensor, real_BS: Tensor, target_BT: Tensor) -> Tensor:
        """Scores over the vocabulary of the token after each target token, (B, T, V)."""
        mask_B11S = real_BS[:, None, None, :]
        memory_BSD = self.encode(source_BS, mask_B11S)
        x_BTD = self._embed(target_BT, 0)
        for layer in self._decoder():
            own = layer.attention.keys_and_values(layer.norm1(x_BTD))
            x_BTD = layer(x_BTD, own, layer.source_attention.keys_and_values(memory_BSD), mask_B11S, True)
        return F.linear(self.decoder_norm(x_BTD), self.embedding.weight)

    def encode(self, source_BS: Tensor, mask_B11S: Tensor) -> Tensor:
        """What the encoder makes of the source, (B, S, D)."""
        x_BSD = self._embed(source_BS, 0)
        for layer in self.encoder:
            x_BSD = layer(x_BSD, mask_B11S)
        out_BSD: Tensor = self.encoder_norm(x_BSD)
        return out_BSD

    # --- decoding token by token --------------------------------------------------------------------------------

    def start(self, source_BS: Tensor, real_BS: Tensor) -> list[Tensor]:
        """The state ahead of the first token: every tensor of it has the sentence as its first axis."""
        memory_BSD = self.encode(source_BS, real_BS[:, None, None, :])
        state = [real_BS]
        for layer in self._decoder():
            keys, values = layer.source_attention.keys_and_values(memory_BSD)
            empty = keys[:, :, :0]
            state += [empty, empty, keys, values]
        return state

    def advance(self, tokens_B: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor], Tensor | None]:
        """Scores of the next token, (B, V), the new state, and no attention: coverage is for recurrent models."""
        real_BS, *caches = state
        x_B1D = self._embed(tokens_B[:, None], caches[0].shape[2])
        new = [real_BS]
        for i, layer in enumerate(self._decoder()):
            keys, values, source_keys, source_values = caches[4 * i : 4 * i + 4]
            key, value = layer.attention.keys_and_values(layer.norm1(x_B1D))
            own = torch.cat([keys, key], 2), torch.cat([values, value], 2)
            x_B1D = layer(x_B1D, own, (source_keys, source_values), real_BS[:, None, None, :], False)
            new += [*own, source_keys, source_values]
        return F.linear(self.decoder_norm(x_B1D), self.embedding.weight)[:, 0], new, None

    def _decoder(self) -> list[DecoderLayer]:
        return [layer for layer in self.decoder if isinstance(layer, DecoderLayer)]

    def _embed(self, ids_BT: Tensor, first: int) -> Tensor:
        """Scaled embeddings plus sinusoidal positions from `first` on."""
        width = self.config.width
        positions_TD = sinusoids(ids_BT.shape[1], width, first, self.embedding.weight)
        x_BTD = self.embedding(ids_BT) * math.sqrt(width) + positions_TD
        return F.dropout(x_BTD, self.config.dropout, self.training)


def sinusoids(length: int, width: int, first: int, like: Tensor) -> Tensor:
    """Positions as in the paper's section 3.5, the sines in the first half of the width: (T, D)."""
    rates = torch.exp(torch.arange(width // 2, device=like.device) * (-math.log(10_000) / max(1, width // 2 - 1)))
    angles = torch.arange(first, first + length, device=like.device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1).to(like.dtype)
