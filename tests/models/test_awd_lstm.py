"""The AWD-LSTM against an independent formulation: the equations, written out."""

import math

import pytest
import torch
from mlb.models.awd_lstm import AWDLSTM, AWDLSTMConfig, detached, locked_dropout
from torch import Tensor
from torch.nn import functional as F

SMALL = AWDLSTMConfig(vocabulary=11, embedding=5, hidden=7, layers=3)


def test_the_full_model_has_the_parameters_of_the_notes() -> None:
    with torch.device("meta"):
        model = AWDLSTM(AWDLSTMConfig())
    assert sum(p.numel() for p in model.parameters()) == 33_556_078


def lstm_by_hand(x_TBI: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    """Hochreiter and Schmidhuber's equations with forget gates, one time step after the other."""
    H = w_hh.shape[1]
    h = c = x_TBI.new_zeros(x_TBI.shape[1], H)
    outputs = []
    for x_BI in x_TBI:
        i, f, g, o = (x_BI @ w_ih.t() + b_ih + h @ w_hh.t() + b_hh).split(H, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    return torch.stack(outputs)


def test_loss_and_gradients_equal_the_equations_in_float64() -> None:
    torch.manual_seed(0)
    model = AWDLSTM(SMALL.without_dropout()).double().train()
    x_TB, y_TB = torch.randint(0, 11, (6, 3)), torch.randint(0, 11, (6, 3))

    out = model(x_TB, model.initial_state(3))
    F.cross_entropy(model.logits(out.hidden_NE), y_TB.flatten()).backward()
    ours = [p.grad.clone() for p in model.parameters() if p.grad is not None]

    model.zero_grad()
    h_TBH = model.embedding.weight[x_TB]
    for layer in model.layers:
        h_TBH = lstm_by_hand(h_TBH, *layer.parameters())
    logits = h_TBH.flatten(0, 1) @ model.embedding.weight.t() + model.output_bias
    loss = -logits.log_softmax(1)[torch.arange(18), y_TB.flatten()].mean()
    loss.backward()
    by_hand = [p.grad for p in model.parameters() if p.grad is not None]

    assert len(ours) == len(by_hand) == len(list(model.parameters()))
    for a, b in zip(ours, by_hand, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_the_state_carries_over_a_cut_in_the_sequence() -> None:
    torch.manual_seed(0)
    model = AWDLSTM(SMALL).double().eval()
    x_TB = torch.randint(0, 11, (8, 2))
    whole = model(x_TB, model.initial_state(2))
    first = model(x_TB[:3], model.initial_state(2))
    second = model(x_TB[3:], detached(first.state))
    torch.testing.assert_close(second.raw_TBE, whole.raw_TBE[3:])


def test_weights_are_drawn_from_the_published_range() -> None:
    torch.manual_seed(0)
    model = AWDLSTM(SMALL)
    assert model.embedding.weight.abs().max() <= 0.1
    assert model.output_bias.eq(0).all()


def test_embedding_dropout_takes_whole_words_wherever_they_occur() -> None:
    torch.manual_seed(0)
    config = AWDLSTMConfig(11, 5, 7, 1, dropout_input=0.0, dropout_embedding=0.5)
    model = AWDLSTM(config).train()
    ids_TB = torch.arange(11).repeat(4).view(4, 11)
    scale_TB = (model._embed(ids_TB) / model.embedding.weight[ids_TB])[..., 0]
    assert (scale_TB == scale_TB[0]).all(), "the same word got different masks"
    assert set(scale_TB.unique().tolist()) == {0.0, 2.0}


def test_locked_dropout_keeps_its_mask_over_time_and_its_mean() -> None:
    torch.manual_seed(0)
    y = locked_dropout(torch.ones(9, 50, 80), 0.4, training=True)
    assert (y == y[0]).all()
    assert y.mean().item() == pytest.approx(1.0, abs=0.05)
    assert torch.equal(locked_dropout(y, 0.4, training=False), y)


def test_weight_drop_hits_the_hidden_weights_alone_and_leaves_the_parameter() -> None:
    torch.manual_seed(0)
    model = AWDLSTM(AWDLSTMConfig(11, 5, 7, 1, 0.0, 0.0, 0.0, 0.0, dropout_weights=0.5)).double().train()
    w_ih, w_hh, _, _ = model.layers[0].parameters()
    before = w_hh.detach().clone()
    # One time step from a zero state does not see the hidden weights; the second one does.
    x_TB = torch.randint(0, 11, (2, 1))
    runs = [model(x_TB, model.initial_state(1)).raw_TBE for _ in range(2)]
    torch.testing.assert_close(runs[0][0], runs[1][0])
    assert not torch.allclose(runs[0][1], runs[1][1])
    assert torch.equal(w_hh, before)
    runs[0].sum().backward()
    assert w_hh.grad is not None
    assert 0.2 < w_hh.grad.eq(0).double().mean().item() < 0.8, "about half of the weights got no gradient"


def test_a_fresh_model_is_about_as_good_as_chance() -> None:
    torch.manual_seed(0)
    model = AWDLSTM(AWDLSTMConfig(vocabulary=1_000, embedding=20, hidden=30)).eval()
    out = model(torch.randint(0, 1_000, (10, 4)), model.initial_state(4))
    loss = F.cross_entropy(model.logits(out.hidden_NE), torch.randint(0, 1_000, (40,)))
    assert loss.item() == pytest.approx(math.log(1_000), abs=0.1)
