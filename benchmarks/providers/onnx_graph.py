"""The ONNX graph: a workload's forward pass as other libraries read it."""

import torch
from torch import Tensor

from rnn_kernels.core.cells import CELLS

from ..shapes.workload import Workload

OPSET, IR_VERSION = 17, 8


class Graph:
    """Nodes and constants, known by the names of what they give."""

    def __init__(self) -> None:
        self.nodes: list = []
        self.constants: dict[str, Tensor] = {}

    def node(self, kind: str, inputs: list[str], outputs: list[str], **attributes) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, outputs, **attributes))

    def constant(self, name: str, value: Tensor) -> str:
        self.constants[name] = value
        return name

    def serialized(self, inputs: dict[str, torch.Size], outputs: dict[str, torch.Size]) -> bytes:
        """A model in float32."""
        from onnx import TensorProto, helper, numpy_helper

        described = [
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in one]
            for one in (inputs.items(), outputs.items())
        ]
        constants = [numpy_helper.from_array(v.numpy(), name) for name, v in self.constants.items()]
        graph = helper.make_graph(self.nodes, "layer", *described, constants)
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
        return model.SerializeToString()


def onnx_graph(work: Workload) -> bytes:
    """The model of a float32 workload: x, h_0, c_0 in; y, h_n, c_n out, see `output_shapes`."""
    preset, graph = work.preset, Graph()
    kinds = ("h", "c")[: len(work.states)]
    layers = [""] if preset.L == 1 else [f" of layer {layer}" for layer in range(preset.L)]
    attributes = {"hidden_size": preset.H, **CELLS[preset.cell.lower()].node.attributes}
    if preset.D == 2:
        attributes["direction"] = "bidirectional"

    if len(layers) > 1:
        sizes = graph.constant("directions", torch.full((preset.L,), preset.D))
        for kind in kinds:
            first = [f"{kind}_0{layer}" for layer in layers]
            graph.node("Split", [f"{kind}_0", sizes], first, axis=0)
    for index, layer in enumerate(layers):
        weights = layer_weights(work, index)
        names = [graph.constant(f"{name}{layer}", weight) for name, weight in weights.items()]
        x = f"x{layer}" if index else "x"
        following = f"x{layers[index + 1]}" if index + 1 < preset.L else "y"
        y = "y" if (following, preset.D) == ("y", 1) else f"steps{layer}"
        first, last = ([f"{kind}_{end}{layer}" for kind in kinds] for end in "0n")
        graph.node(preset.cell, [x, *names, "", *first], [y, *last], **attributes)
        if preset.D == 2:  # (T, D, B, H) -> (T, B, D·H)
            graph.node("Transpose", [y], [f"{y} by rows"], perm=[0, 2, 1, 3])
            shape = graph.constant("rows", torch.tensor([0, 0, -1]))
            graph.node("Reshape", [f"{y} by rows", shape], [following])
        elif following != "y":
            axes = graph.constant("direction", torch.tensor([1]))
            graph.node("Squeeze", [y, axes], [following])
    if len(layers) > 1:
        for kind in kinds:
            last = [f"{kind}_n{layer}" for layer in layers]
            graph.node("Concat", last, [f"{kind}_n"], axis=0)
    return graph.serialized(
        {name: value.shape for name, value in inputs(work).items()}, output_shapes(work)
    )


def inputs(work: Workload) -> dict[str, Tensor]:
    """By their names in the graph."""
    names = ("x", "h_0", "c_0")[: 1 + len(work.states)]
    return dict(zip(names, (work.x, *work.states), strict=True))


def output_shapes(work: Workload) -> dict[str, torch.Size]:
    """As torch's, but y of one direction is (T, 1, B, H), which saves the graph a copy."""
    preset, (T, B, _) = work.preset, work.x.shape
    y = (T, 1, B, preset.H) if preset.D == 1 else (T, B, 2 * preset.H)
    return {"y": torch.Size(y), **{name: work.states[0].shape for name in work.output_names[1:]}}


def layer_weights(work: Workload, layer: int) -> dict[str, Tensor]:
    """ONNX's W, R and B: directions first, gates in its order, both biases in a row."""
    order = CELLS[work.preset.cell.lower()].node.order

    def stacked(kind: str) -> Tensor:
        ends = ("", "_reverse")[: work.preset.D]
        chunked = [work.weights[f"{kind}_l{layer}{end}"].chunk(len(order)) for end in ends]
        return torch.stack([torch.cat([chunks[place] for place in order]) for chunks in chunked])

    biases = torch.cat([stacked("bias_ih"), stacked("bias_hh")], 1)
    return {"W": stacked("weight_ih"), "R": stacked("weight_hh"), "B": biases}
