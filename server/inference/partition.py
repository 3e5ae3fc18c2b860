"""Splits a model's graph into what depends on offers alone and the rest.

Offers change when a catalog is applied, customers with every request. Everything that a graph computes from the offer
input alone (in a network, the offer's share of the first layer) is computed once for a catalog; requests run the rest.
"""

from collections.abc import Collection
from typing import NamedTuple

import onnx
from onnx.utils import Extractor


class Partition(NamedTuple):
    """Two graphs that together are the model.

    Attributes:
        offer_part: From the offer inputs to the boundary tensors; None if there is nothing to compute in advance.
        request_part: From the boundary tensors and the other inputs to the output.
        boundary: The names of the tensors that pass from the one to the other, [offers, …] each.
    """

    offer_part: onnx.ModelProto | None
    request_part: onnx.ModelProto
    boundary: tuple[str, ...]


def partition(model: onnx.ModelProto, offer_inputs: Collection[str]) -> Partition:
    """Splits a graph at the last tensors that depend on nothing but these inputs and constants."""
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    of_offers = set(offer_inputs)
    of_requests = {value.name for value in graph.input} - of_offers - constants
    boundary: dict[str, None] = {}
    computed = False
    # The nodes of an ONNX graph are sorted topologically.
    for node in graph.node:
        if of_requests.isdisjoint(node.input):
            if of_offers.isdisjoint(node.input):
                constants.update(node.output)
            else:
                of_offers.update(node.output)
                computed = True
            continue
        of_requests.update(node.output)
        boundary |= dict.fromkeys(name for name in node.input if name in of_offers)
    outputs = [value.name for value in graph.output]
    if not computed or not of_offers.isdisjoint(outputs) or any(_has_subgraph(node) for node in graph.node):
        return Partition(None, model, tuple(offer_inputs))
    extractor = Extractor(onnx.shape_inference.infer_shapes(model))
    others = [value.name for value in graph.input if value.name not in offer_inputs]
    inputs = [value.name for value in graph.input if value.name in offer_inputs]
    return Partition(
        extractor.extract_model(inputs, list(boundary)),
        extractor.extract_model([*others, *boundary], outputs),
        tuple(boundary),
    )


def _has_subgraph(node: onnx.NodeProto) -> bool:
    """Loops and branches read tensors that their node's inputs do not list, so such graphs are left whole."""
    return any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
