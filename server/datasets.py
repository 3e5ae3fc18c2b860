"""The commands about the data sets that are shipped: their scripts stand beside the server and not in it."""

import argparse
import importlib
from pathlib import Path
from types import ModuleType

DATASETS = {"complete-journey": "model_artifacts.complete_journey"}


def add_dataset_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `train`, `evaluate` and `demo`."""
    train = commands.add_parser("train", help="make the shipped models again from a data set")
    train.add_argument("dataset", choices=sorted(DATASETS))
    train.add_argument("--output", type=Path, default=Path("model_artifacts"), help="folder to write the models to")
    train.set_defaults(command=_train)
    evaluate = commands.add_parser("evaluate", help="score a shipped model on campaigns of a data set")
    evaluate.add_argument("dataset", choices=sorted(DATASETS))
    evaluate.add_argument("--model", required=True, help="NAME/VERSION")
    evaluate.add_argument("--models", type=Path, default=Path("model_artifacts"), help="folder of the models")
    evaluate.add_argument("--campaigns", required=True, help="for example 13-17 or 13,15")
    evaluate.add_argument("--json", type=Path, help="also write the figures to this file")
    evaluate.set_defaults(command=_evaluate)
    demo = commands.add_parser("demo", help="serve a data set and rank offers for three of its customers")
    demo.add_argument("dataset", choices=sorted(DATASETS))
    demo.add_argument("--once", action="store_true", help="stop after the answers")
    demo.add_argument("--listen", default="127.0.0.1:50051", help="HOST:PORT to listen on")
    demo.set_defaults(command=_demo)


def _train(options: argparse.Namespace) -> int:
    _dataset(options, "training").train(options.output, print)
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    _dataset(options, "evaluate").main(options.model, options.campaigns, options.json, options.models)
    return 0


def _demo(options: argparse.Namespace) -> int:
    _dataset(options, "demo").main(options.listen, options.once)
    return 0


def _dataset(options: argparse.Namespace, module: str) -> ModuleType:
    """A module of a data set's scripts.

    Raises:
        RuntimeError: what the scripts need is not installed.
    """
    try:
        return importlib.import_module(f"{DATASETS[options.dataset]}.{module}")
    except ModuleNotFoundError as missing:
        raise RuntimeError(f"{missing.name} is missing; install the extra: pip install -e '.[demo]'") from missing
