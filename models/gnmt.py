"""GNMT, the recurrent translation model of task 4a: four LSTM layers each way and one attention.

Wu et al. 2016, "Google's Neural Machine Translation System", as MLPerf's reference has it: the first encoder layer
reads both ways; residuals from the third layer on; the attention (Bahdanau's, normalised) is asked by the first
decoder layer, and its context goes into all decoder layers.

Shapes: B sentences, S source pieces, T target pieces, H width, V vocabulary. Masks are true at real pieces.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class GNMTConfig:
    """Sizes and dropout; the defaults are the model that MLBench's task 4a trains."""

    vocabulary: int = 32_320
    width: int = 1_024
    layers: int = 4
    """Of the encoder, and as many of the decoder."""
    dropout: float = 0.2
    """On the input of every LSTM layer."""
    init_range: float = 0.1
    """All weights are drawn uniformly from +- this."""


class NormalisedAttention(nn.Module):
    """v' tanh(W q + U k + b) with v' = g v / |v|, softmax over the source (Bahdanau, Cho and Bengio 2015)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.direction = nn.Parameter(torch.empty(width))
        self.length = nn.Parameter(torch.empty(1))
        self.bias = nn.Parameter(torch.empty(width))

    def forward(
        self, query_BTH: Tensor, memory_BSH: Tensor, keys_BSH: Tensor, real_BS: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The context, (B, T, H), and the attention, (B, T, S)."""
        v_H = self.length * self.direction / self.direction.norm()
        # One pass over (B, T, S, H) for the sum, one for tanh: this is the largest tensor of the model.
        sums_BTSH = (self.query(query_BTH) + self.bias)[:, :, None] + keys_BSH[:, None]
        scores_BTS = sums_BTSH.tanh_() @ v_H
        attention_BTS = scores_BTS.masked_fill(~real_BS[:, None], -torch.inf).softmax(-1)
        return attention_BTS @ memory_BSH, attention_BTS


class GNMT(nn.Module):
    """Encoder, attention, decoder and a classifier of its own; one embedding for both languages."""

    def __init__(self, config: GNMTConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.embedding = nn.Embedding(config.vocabulary, width)
        self.forth, self.back = (nn.LSTM(width, width, batch_first=True) for _ in range(2))
        sizes = [2 * width, *[width] * (config.layers - 2)]
        self.encoder = nn.ModuleList(nn.LSTM(size, width, batch_first=True) for size in sizes)
        self.first = nn.LSTM(width, width, batch_first=True)
        self.attention = NormalisedAttention(width)
        self.decoder = nn.ModuleList(nn.LSTM(2 * width, width, batch_first=True) for _ in range(config.layers - 1))
        self.classifier = nn.Linear(width, config.vocabulary)
        for p in self.parameters():
            nn.init.uniform_(p, -config.init_range, config.init_range)
        nn.init.zeros_(self.attention.bias)
        nn.init.constant_(self.attention.length, width**-0.5)

    def forward(self, source_BS: Tensor, real_BS: Tensor, target_BT: Tensor) -> Tensor:
        """Scores over the vocabulary of the piece after each target piece, (B, T, V)."""
        memory_BSH = self.encode(source_BS, real_BS)
        none: list[tuple[Tensor, Tensor] | None] = [None] * self.config.layers
        scores_BTV, _, _ = self._decode(target_BT, memory_BSH, self.attention.key(memory_BSH), real_BS, none)
        return scores_BTV

    def encode(self, source_BS: Tensor, real_BS: Tensor) -> Tensor:
        """What the encoder makes of the source, (B, S, H); behind a sentence's end it holds nothing of use."""
        x = self._read_both_ways(self._dropped(self.embedding(source_BS)), real_BS.sum(1))
        for i, layer in enumerate(self.encoder):
            y = layer(self._dropped(x))[0]
            x = y if i == 0 else y + x
        return x

    def _read_both_ways(self, x_BSH: Tensor, lengths_B: Tensor) -> Tensor:
        """The first layer, (B, S, 2 H): backwards from each sentence's own end.

        Mirroring what is real does what packed sequences are for, without lengths on the host: a GPU would have to
        stop for them, and a CPU computes packed sequences one piece at a time.
        """
        places_S = torch.arange(x_BSH.shape[1], device=x_BSH.device)
        mirrored_BS = torch.where(places_S < lengths_B[:, None], lengths_B[:, None] - 1 - places_S, places_S)
        sentences_B1 = torch.arange(len(x_BSH), device=x_BSH.device)[:, None]
        back_BSH = self.back(x_BSH[sentences_B1, mirrored_BS])[0]
        return torch.cat([self.forth(x_BSH)[0], back_BSH[sentences_B1, mirrored_BS]], 2)

    # --- decoding piece by piece --------------------------------------------------------------------------------

    def start(self, source_BS: Tensor, real_BS: Tensor) -> list[Tensor]:
        """The state ahead of the first piece: every tensor of it has the sentence as its first axis."""
        memory_BSH = self.encode(source_BS, real_BS)
        zeros = memory_BSH.new_zeros(len(source_BS), 2 * self.config.layers, self.config.width)
        return [real_BS, memory_BSH, self.attention.key(memory_BSH), zeros]

    def advance(self, tokens_B: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor], Tensor | None]:
        """Scores of the next piece, (B, V), the new state, and the attention to the source, (B, S)."""
        real_BS, memory_BSH, keys_BSH, hidden = state
        layers: list[tuple[Tensor, Tensor] | None] = [
            (hidden[:, 2 * i][None].contiguous(), hidden[:, 2 * i + 1][None].contiguous())
            for i in range(self.config.layers)
        ]
        scores, attention, new = self._decode(tokens_B[:, None], memory_BSH, keys_BSH, real_BS, layers)
        flat = torch.stack([part[0] for pair in new for part in pair], 1)
        return scores[:, 0], [real_BS, memory_BSH, keys_BSH, flat], attention[:, 0]

    def _decode(
        self,
        target_BT: Tensor,
        memory_BSH: Tensor,
        keys_BSH: Tensor,
        real_BS: Tensor,
        hidden: list[tuple[Tensor, Tensor] | None],
    ) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor]]]:
        """Scores, attention, and the hidden and cell state of each layer."""
        x, state = self.first(self._dropped(self.embedding(target_BT)), hidden[0])
        new = [state]
        context_BTH, attention_BTS = self.attention(x, memory_BSH, keys_BSH, real_BS)
        for i, layer in enumerate(self.decoder):
            y, state = layer(self._dropped(torch.cat([x, context_BTH], 2)), hidden[i + 1])
            new.append(state)
            x = y if i == 0 else y + x
        return self.classifier(x), attention_BTS, new

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.config.dropout, self.training)
