"""The gradient-boosted model: LightGBM, and its trees as an ONNX graph that gives log-odds.

The graph is written here rather than by a converter: it has one output and no labels, thresholds are rounded
down to float32 so that every float32 input takes the branch it takes in LightGBM, and what is missing goes
where LightGBM sends it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lightgbm
import numpy as np
import onnx
from onnx import TensorProto, helper

from model_artifacts.complete_journey.features import Matrix
from model_artifacts.complete_journey.metrics import Floats, Labels

SETTINGS: Mapping[str, Any] = {
    "objective": "binary",
    "num_leaves": 7,
    "learning_rate": 0.1,
    "min_data_in_leaf": 200,
    "extra_trees": True,  # random thresholds: with 600 positives the best threshold is mostly noise
    "feature_fraction": 0.5,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "num_threads": 2,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
ROUNDS = 125
SEEDS = (1, 2)


class Boosted:
    """The mean log-odds of a few boosters that differ in their seed only."""

    def __init__(self, boosters: Sequence[lightgbm.Booster]) -> None:
        self._boosters = boosters

    @classmethod
    def fit(cls, features: Matrix, labels: Labels, weights: Floats, names: Sequence[str]) -> Boosted:
        data = lightgbm.Dataset(
            features.astype(np.float64), labels, weight=weights, feature_name=_plain(names), free_raw_data=False
        )
        return cls([lightgbm.train({**SETTINGS, "seed": seed}, data, ROUNDS) for seed in SEEDS])

    def log_odds(self, features: Matrix) -> Floats:
        wide = features.astype(np.float64)
        scores = [np.asarray(booster.predict(wide, raw_score=True)) for booster in self._boosters]
        return np.asarray(np.mean(scores, axis=0), dtype=np.float64)

    def gains(self, names: Sequence[str]) -> list[tuple[str, float]]:
        """Each feature's share of the gain of all splits, the largest first."""
        gain = np.sum([booster.feature_importance("gain") for booster in self._boosters], axis=0)
        shares = gain / max(float(gain.sum()), 1e-12)
        return sorted(zip(names, shares.tolist(), strict=True), key=lambda item: -item[1])

    def graph(self, features: int) -> onnx.ModelProto:
        """Input `features` float32 [N, features], output `log_odds` float32 [N, 1]."""
        trees = [tree for booster in self._boosters for tree in booster.dump_model()["tree_info"]]
        ensemble = _Ensemble(1.0 / len(self._boosters))
        for index, tree in enumerate(trees):
            ensemble.add(index, tree["tree_structure"])
        return model([ensemble.node()], features, {"": 17, "ai.onnx.ml": 3})


def _plain(names: Sequence[str]) -> list[str]:
    return [f"f{position}" for position, _ in enumerate(names)]  # LightGBM refuses brackets in names


def model(nodes: list[onnx.NodeProto], features: int, opsets: Mapping[str, int]) -> onnx.ModelProto:
    """A checked model of `nodes` that reads `features` and gives `log_odds`."""
    source = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", features])
    result = helper.make_tensor_value_info("log_odds", TensorProto.FLOAT, ["N", 1])
    graph = helper.make_graph(nodes, "propensity", [source], [result])
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    made = helper.make_model(graph, opset_imports=imports, producer_name="opportune", ir_version=9)
    onnx.checker.check_model(made, full_check=True)
    return made


def float32_below(threshold: float) -> float:
    """The largest float32 that is not above `threshold`."""
    rounded = np.float32(threshold)
    return float(np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > threshold else rounded)


class _Ensemble:
    """The columns of a TreeEnsembleRegressor, filled tree by tree."""

    _COLUMNS = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")

    def __init__(self, scale: float) -> None:
        self._scale = scale
        self._base = 0.0  # the trees' means, added once: float32 sums of small leaves lose less
        self._nodes: dict[str, list[Any]] = {name: [] for name in (*self._COLUMNS, "missing_value_tracks_true")}
        self._leaves: dict[str, list[Any]] = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}

    def add(self, tree: int, root: Mapping[str, Any]) -> None:
        numbered = list(_walk(root))
        number_of = {id(node): number for number, node in enumerate(numbered)}
        center = float(np.mean([node["leaf_value"] for node in numbered if "leaf_value" in node]))
        self._base += center * self._scale
        for number, node in enumerate(numbered):
            if "leaf_value" in node:
                self._append(tree, number, 0, 0.0, "LEAF", 0, 0, 0)
                for name, value in zip(
                    self._leaves, (tree, number, 0, (node["leaf_value"] - center) * self._scale), strict=True
                ):
                    self._leaves[name].append(value)
            else:
                branches = (number_of[id(node["left_child"])], number_of[id(node["right_child"])])
                self._append(
                    *(tree, number, node["split_feature"], float32_below(node["threshold"]), "BRANCH_LEQ"),
                    *branches,
                    int(missing_goes_left(node)),
                )

    def _append(self, *row: Any) -> None:
        for name, value in zip(self._nodes, row, strict=True):
            self._nodes[name].append(value)

    def node(self) -> onnx.NodeProto:
        columns: dict[str, Any] = {
            **{f"nodes_{name}": values for name, values in self._nodes.items()},
            **{f"target_{name}": values for name, values in self._leaves.items()},
        }
        return helper.make_node(
            "TreeEnsembleRegressor",
            ["features"],
            ["log_odds"],
            domain="ai.onnx.ml",
            n_targets=1,
            aggregate_function="SUM",
            base_values=[self._base],
            post_transform="NONE",
            **columns,
        )


def _walk(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in ("left_child", "right_child"):
        if child in node:
            yield from _walk(node[child])


def missing_goes_left(node: Mapping[str, Any]) -> bool:
    """LightGBM reads NaN as zero in a feature that had none in training."""
    if node["missing_type"] == "NaN":
        return bool(node["default_left"])
    return bool(node["threshold"] >= 0.0)
