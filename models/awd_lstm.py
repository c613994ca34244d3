"""AWD-LSTM, the language model of task 3a.

Merity, Keskar and Socher 2017, "Regularizing and Optimizing LSTM Language Models".

Shapes: T time steps of a sequence, B columns of a batch (parallel streams of text), E embedding, H hidden,
V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

State = list[tuple[Tensor, Tensor]]
"""Hidden and cell state of each layer, (1, B, H) each."""


@dataclass(frozen=True)
class AWDLSTMConfig:
    """Sizes and dropout probabilities; the defaults are the model that MLBench's task 3a trains."""

    vocabulary: int = 33_278
    embedding: int = 400
    hidden: int = 1_150
    """Width of all layers but the last, whose width is the embedding's: its output meets the tied embedding."""
    layers: int = 3
    dropout_output: float = 0.4
    dropout_hidden: float = 0.2
    """Between the LSTM layers."""
    dropout_input: float = 0.65
    """On the embedded input; like the two above *locked*: one mask for all time steps of a sequence."""
    dropout_embedding: float = 0.1
    """On whole words of the embedding matrix."""
    dropout_weights: float = 0.5
    """On single hidden-to-hidden weights (DropConnect), one mask a sequence."""
    init_range: float = 0.1
    """The embedding is drawn uniformly from +- this."""

    def without_dropout(self) -> AWDLSTMConfig:
        """The same network with every dropout off: deterministic, for gradient checks."""
        return AWDLSTMConfig(
            self.vocabulary, self.embedding, self.hidden, self.layers, 0.0, 0.0, 0.0, 0.0, 0.0, self.init_range
        )


class Output(NamedTuple):
    """What one sequence gives."""

    hidden_NE: Tensor
    """The last layer's output after dropout, flattened over time and batch: N = T * B."""
    dropped_TBE: Tensor
    """The same, unflattened: activation regularisation (AR) is on this one."""
    raw_TBE: Tensor
    """Before dropout: temporal activation regularisation (TAR) is on this one."""
    state: State


class WeightDropLSTM(nn.Module):
    """One LSTM layer whose hidden-to-hidden matrix loses single weights at random, one mask a sequence."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, outputs)
        self.dropout = dropout

    def forward(self, x_TBI: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        # In the order of nn.LSTM's parameters: input weights, hidden weights, and their biases.
        w_ih, w_hh, b_ih, b_hh = self.lstm.parameters()
        weights = [w_ih, F.dropout(w_hh, self.dropout, self.training), b_ih, b_hh]
        h, c = state
        if torch.is_autocast_enabled(x_TBI.device.type):
            # Autocast gives cuDNN's LSTM float16, whatever it was asked for, and small gradients vanish in it.
            lower = torch.get_autocast_dtype(x_TBI.device.type)
            x_TBI, h, c, *weights = (tensor.to(lower) for tensor in (x_TBI, h, c, *weights))
        with torch.autocast(x_TBI.device.type, enabled=False):
            # torch.lstm is what nn.LSTM calls itself: the dropped matrix goes in as a value, so that
            # no parameter has to be replaced for the length of a forward pass.
            y_TBH, h, c = torch.lstm(x_TBI, (h, c), weights, True, 1, 0.0, self.training, False, False)
        return y_TBH, (h, c)


class AWDLSTM(nn.Module):
    """Embedding, LSTM layers, and the embedding once more as the output layer."""

    def __init__(self, config: AWDLSTMConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.embedding)
        widths = [config.embedding, *[config.hidden] * (config.layers - 1), config.embedding]
        self.layers = nn.ModuleList(
            WeightDropLSTM(inputs, outputs, config.dropout_weights) for inputs, outputs in pairwise(widths)
        )
        self.output_bias = nn.Parameter(torch.zeros(config.vocabulary))
        nn.init.uniform_(self.embedding.weight, -config.init_range, config.init_range)

    def forward(self, ids_TB: Tensor, state: State) -> Output:
        x_TBH = self._embed(ids_TB)
        x_TBH = locked_dropout(x_TBH, self.config.dropout_input, self.training)
        raw_TBH = x_TBH
        next_state: State = []
        for i, layer in enumerate(self.layers):
            raw_TBH, layer_state = layer(x_TBH, state[i])
            next_state.append(layer_state)
            last = i == len(self.layers) - 1
            p = self.config.dropout_output if last else self.config.dropout_hidden
            x_TBH = locked_dropout(raw_TBH, p, self.training)
        return Output(x_TBH.flatten(0, 1), x_TBH, raw_TBH, next_state)

    def logits(self, hidden_NE: Tensor) -> Tensor:
        """Scores over the vocabulary, (N, V), through the tied embedding."""
        return F.linear(hidden_NE, self.embedding.weight, self.output_bias)

    def initial_state(self, columns: int) -> State:
        """A state of zeros for `columns` streams of text."""
        reference = self.output_bias
        return [
            (
                reference.new_zeros(1, columns, layer.lstm.hidden_size),
                reference.new_zeros(1, columns, layer.lstm.hidden_size),
            )
            for layer in self._layers()
        ]

    def _layers(self) -> list[WeightDropLSTM]:
        return [layer for layer in self.layers if isinstance(layer, WeightDropLSTM)]

    def _embed(self, ids_TB: Tensor) -> Tensor:
        """Embed with whole words dropped: a dropped word is zero wherever it occurs in the sequence."""
        p = self.config.dropout_embedding
        if not (self.training and p):
            return F.embedding(ids_TB, self.embedding.weight)
        weight = self.embedding.weight
        keep_V1 = weight.new_empty(weight.shape[0], 1).bernoulli_(1 - p).div_(1 - p)
        # Scaling the looked-up rows, not the whole matrix, is the same function and saves a pass over V x E.
        return F.embedding(ids_TB, weight) * F.embedding(ids_TB, keep_V1)


def locked_dropout(x_TBH: Tensor, p: float, training: bool) -> Tensor:
    """Dropout with one mask for all time steps (variational dropout, Gal and Ghahramani 2016)."""
    if not (training and p):
        return x_TBH
    mask_1BH = x_TBH.new_empty(1, x_TBH.shape[1], x_TBH.shape[2]).bernoulli_(1 - p).div_(1 - p)
    return x_TBH * mask_1BH


def detached(state: State) -> State:
    """The state without its history: backpropagation through time ends at a sequence's border."""
    return [(h.detach(), c.detach()) for h, c in state]
