"""The synthetic propensity model: a seeded perceptron 128 -> 32 -> 1 in two halves that broadcast."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from loadtest.catalog import offer_features
from loadtest.population import Matrix, sample
from loadtest.schema import CONTEXT, CUSTOMER, OFFER

HIDDEN = 32
OPSET, IR_VERSION = 17, 8
LOG_ODDS_MEAN, LOG_ODDS_SD = -4.6, 1.1
"""Propensities of about 0.1 to 10 %, which is what answers to offers look like."""


@dataclass(frozen=True, slots=True)
class Perceptron:
    """log_odds = Relu(customer @ wc + (offer @ wo + b)) @ w2 + b2, all float32.

    `offer @ wo + b` depends on offers alone, so that a server may compute it when the catalog is published.
    """

    wc: Matrix
    wo: Matrix
    b: Matrix
    w2: Matrix
    b2: Matrix

    @classmethod
    def seeded(cls, seed: int) -> Self:
        """Random weights, scaled on a sample so that the log-odds have the mean and deviation above."""
        rng = np.random.default_rng(seed)
        inputs = sample((*CUSTOMER, *CONTEXT), 256, seed)
        scale = inputs.std(axis=0)
        wc = rng.standard_normal((inputs.shape[1], HIDDEN)) / (scale[:, None] * np.sqrt(inputs.shape[1]))
        wo = rng.standard_normal((len(OFFER), HIDDEN)) / np.sqrt(len(OFFER))
        b = 0.5 * rng.standard_normal(HIDDEN) - inputs.mean(axis=0) @ wc
        w2 = rng.standard_normal((HIDDEN, 1))
        raw = cls(*(part.astype(np.float32) for part in (wc, wo, b, w2, np.zeros(1))))
        return raw._rescaled(inputs, offer_features(256, seed).astype(np.float32))

    def _rescaled(self, customers: Matrix, offers: Matrix) -> Self:
        scores = self.forward(customers, offers)
        factor = LOG_ODDS_SD / scores.std()
        shift = LOG_ODDS_MEAN - factor * scores.mean()
        return type(self)(
            self.wc, self.wo, self.b, (self.w2 * factor).astype(np.float32), np.array([shift], np.float32)
        )

    def forward(self, customer: Matrix, offer: Matrix) -> NDArray[np.float64]:
        """The log-odds in float64: [offers, 1], of one customer or of as many as offers."""
        wc, wo, b, w2, b2 = (part.astype(np.float64) for part in (self.wc, self.wo, self.b, self.w2, self.b2))
        hidden = np.maximum(customer.astype(np.float64) @ wc + (offer.astype(np.float64) @ wo + b), 0)
        return np.asarray(hidden @ w2 + b2)

    def onnx_bytes(self) -> bytes:
        """The model as ONNX: `customer` [1, 68] and `offer` [N, 60] in, `log_odds` [N, 1] out."""
        nodes = [
            helper.make_node("MatMul", ["offer", "wo"], ["offer_product"]),
            helper.make_node("Add", ["offer_product", "b"], ["offer_part"]),
            helper.make_node("MatMul", ["customer", "wc"], ["customer_part"]),
            helper.make_node("Add", ["customer_part", "offer_part"], ["sum"]),
            helper.make_node("Relu", ["sum"], ["hidden"]),
            helper.make_node("MatMul", ["hidden", "w2"], ["product"]),
            helper.make_node("Add", ["product", "b2"], ["log_odds"]),
        ]
        parts = {"wc": self.wc, "wo": self.wo, "b": self.b, "w2": self.w2, "b2": self.b2}
        graph = helper.make_graph(
            nodes,
            "synthetic-mlp",
            [_tensor("customer", 1, self.wc.shape[0]), _tensor("offer", "N", self.wo.shape[0])],
            [_tensor("log_odds", "N", 1)],
            [numpy_helper.from_array(part, name) for name, part in parts.items()],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(made)
        return bytes(made.SerializeToString())


def _tensor(name: str, rows: int | str, columns: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, columns])
