"""Converts the program of `torch.export` to a graph."""

from typing import Any, NamedTuple

from datafree_nas.interop.exported import Program
from datafree_nas.runtime.errors import UserError
from datafree_nas.teachers.graph import serialized
from datafree_nas.teachers.graph.graph import (
    MALFORMED,
    Graph,
    Node,
    Parameter,
    Ref,
    described,
    refs,
)
from datafree_nas.teachers.graph.network import BATCH_NORM, accepts, is_layer, norm_values
from datafree_nas.teachers.graph.serialized import UnsupportedError

# operations that only check or that say where a tensor is
_CHECKS = (
    *("_assert_scalar", "_assert_async", "_assert_tensor_metadata", "sym_constrain_range"),
    *("sym_constrain_range_for_size", "_check"),
)
_NORMS = (
    *("batch_norm", "_batch_norm_no_update", "cudnn_batch_norm", "native_batch_norm"),
    *("_native_batch_norm_legit", "_native_batch_norm_legit_no_training"),
    "_batch_norm_impl_index",
)
# operations whose output may share memory with their first argument
_VIEWS = {
    *("view", "reshape", "flatten", "unflatten", "permute", "transpose", "t", "squeeze"),
    *("unsqueeze", "slice", "select", "narrow", "split", "split_with_sizes", "chunk", "unbind"),
    *("expand", "expand_as", "detach", "alias", "contiguous", "as_strided", "unfold", "movedim"),
    *("swapaxes", "_unsafe_view", "to", "dropout", "diagonal", "view_as", "reshape_as"),
}
_RESHAPES = ("view", "reshape", "_unsafe_view", "expand")
_EVAL = "call model.eval() before torch.export.export"
_WHERE = "datafree_nas/teachers/graph/ops"
_LONGEST = 1000  # characters of a message
_MOST = 6  # operations that a message lists


class Converted(NamedTuple):
    """A network as a graph, and what its file says of its images.

    Attributes:
        graph: the network.
        image_size: `(h, w, c)` of the images that it was exported with.
        num_classes: number of logits.
        head: name of the module that computes the logits, or the last one before them.
    """

    graph: Graph
    image_size: tuple[int, int, int]
    num_classes: int
    head: str


def convert(program: Program) -> Converted:
    """Converts an exported network.

    Raises:
        UnsupportedError: an operation that the table lacks, or one that writes into a view.
        UserError: the network was exported in training, has no BatchNorm, or has other inputs or
            outputs than an image and logits.
    """
    try:
        return _Converter(program).converted()
    except UserError as error:  # with names from the file, which may be anything
        raise type(error)(_line(str(error))) from None
    except MALFORMED as error:
        raise UserError(f"the exported network cannot be understood ({described(error)})") from None


class _Converter:
    """Walks over the program's nodes once."""

    def __init__(self, program: Program) -> None:
        self.tensors = program.tensors
        module = program.data["graph_module"]
        self.graph, self.signature = module["graph"], module["signature"]
        self.metas = self.graph["tensor_values"]
        self.current: dict[str, str] = {}  # the name of a value's latest state, if written to
        self.bases: dict[str, str] = {}  # the value whose memory a view shares
        self.calls = [node for node in self.graph["nodes"] if not _only_checks(node["target"])]
        self.nodes: list[Node] = []
        self.specs, self.image = self._inputs()
        image = self.metas[self.image]
        self.sizes = serialized.sizes(image)
        self.fixed_batch = self.sizes[0] if serialized.is_fixed(image, 0) else None
        self.of_image = {self.image}
        self.known = {self.image, *self.specs}
        self.last_reads = self._last_reads()

    def converted(self) -> Converted:
        """Returns the converted network."""
        if len(self.sizes) != 4:
            raise UserError(
                f"the network's input has shape {tuple(self.sizes)}; images are [b, c, h, w]"
            )
        if self.fixed_batch is not None:
            self.nodes.append(
                Node("sym_size", (("x", Ref(self.image)), ("dim", 0)), ("batch",), "")
            )
        for index, node in enumerate(self.calls):
            self._add(index, node)
        logits, num_classes = self._output()
        graph = _needed(Graph(self.image, logits, self._parameters(), tuple(self.nodes)))
        self._check(graph)
        self._check_weights(graph)
        _batch, channels, height, width = self.sizes
        return Converted(graph, (height, width, channels), num_classes, _head(graph))

    def _inputs(self) -> tuple[dict[str, tuple[str, str]], str]:
        """Returns kind and key of each tensor by its name in the program, and the image's name."""
        specs, images = {}, []
        for spec in self.signature["input_specs"]:
            ((kind, content),) = spec.items()
            if kind == "parameter":
                specs[content["arg"]["name"]] = ("weight", content["parameter_name"])
            elif kind == "buffer":
                specs[content["arg"]["name"]] = ("buffer", content["buffer_name"])
            elif kind == "tensor_constant":
                specs[content["arg"]["name"]] = ("buffer", content["tensor_constant_name"])
            elif kind == "user_input":
                images += [content["arg"]["as_tensor"]["name"]] * ("as_tensor" in content["arg"])
            elif kind != "constant_input":
                raise UserError(f"the exported network takes a {kind}, not only an image")
        if len(images) != 1:
            raise UserError(
                f"the network takes {len(images)} tensors; a classifier of images takes one: wrap "
                "it in a module whose forward(x) sets the others"
            )
        return specs, images[0]

    def _add(self, index: int, node: dict[str, Any]) -> None:
        target = node["target"]
        name = target.removeprefix("torch.ops.aten.")
        base, _, overload = name.partition(".")
        if not target.startswith("torch.ops."):
            base, name = target, target
        elif name == target:
            raise UnsupportedError(f"the network uses {target}, which is no operation of ATen")
        given = serialized.arguments(node)
        arguments = {name: self._latest(value) for name, value in given.items()}
        module, outputs = serialized.module_name(node), tuple(serialized.outputs(node))
        for output in filter(None, outputs):
            if output in self.known:
                raise ValueError(f"{output} is computed twice")
            self.known.add(output)
        if base in _NORMS:
            self.nodes.append(self._norm(arguments, outputs[:1], module))
        else:
            written = base.endswith("_") and not base.startswith("_operator")
            op = (base[:-1] + ("." + overload if overload else "")) if written else name
            if written:
                self._write(index, base, module, arguments["x"].name, outputs[0])
            self.nodes.append(
                Node(op, tuple(self._batched(base, arguments).items()), outputs, module)
            )
        self._follow(base.removesuffix("_"), arguments, outputs)

    def _last_reads(self) -> dict[str, int]:
        """Returns the number of the last node that reads a value, by the value's name."""
        return {
            name: index
            for index, node in enumerate(self.calls)
            for value in serialized.arguments(node).values()
            for name in refs(value)
        }

    def _latest(self, value: Any) -> Any:
        if isinstance(value, Ref):
            name = value.name
            while name in self.current:
                name = self.current[name]
            return Ref(name)
        if isinstance(value, tuple):
            return tuple(self._latest(each) for each in value)
        return value

    def _norm(self, given: dict[str, Any], outputs: tuple[str, ...], module: str) -> Node:
        """Returns the node of a BatchNorm, in the one form that the network knows."""
        kept = {name: given.get(name) for name in ("x", "weight", "bias")}
        kept["eps"] = given.get("eps", given.get("epsilon"))
        mean, var = given.get("running_mean"), given.get("running_var")
        if mean is None or var is None:
            return Node(BATCH_NORM, tuple(kept.items()), outputs, module)
        if given.get("training"):
            raise UserError(f"{module} normalizes by its batch, as in training; {_EVAL}")
        name = self._key(mean).rpartition(".")[0]
        usual = {
            "running_mean": (mean, f"{name}.running_mean"),
            "running_var": (var, f"{name}.running_var"),
            "weight": (kept["weight"], f"{name}.weight"),
            "bias": (kept["bias"], f"{name}.bias"),
        }
        for what, (value, key) in usual.items():
            if value is not None and self._key(value) != key:
                raise UserError(f"{name} takes its {what} from {self._key(value)}, not from {key}")
        kept |= {"running_mean": mean, "running_var": var}
        for value in (mean, var):
            self.specs[value.name] = ("statistic", self.specs[value.name][1])
        return Node(BATCH_NORM, tuple(kept.items()), outputs, module)

    def _key(self, value: Ref) -> str:
        if value.name not in self.specs:
            raise UserError(
                f"a BatchNorm has {value.name} as a statistic or a weight, which is computed in "
                "the network, not stored in it"
            )
        return self.specs[value.name][1]

    def _write(self, index: int, op: str, module: str, value: str, output: str) -> None:
        """Takes account of an operation that writes into its first argument.

        Later nodes read the result in its place. That is all there is to do as long as nobody reads
        another view of the same memory afterwards.

        Args:
            index: number of the operation's node.
            op: name of the operation.
            module: name of the module that called it.
            value: name of the value that it writes into.
            output: name of the result.
        """
        base = self.bases.get(value, value)
        for name in (base, *(view for view, of in self.bases.items() if of == base)):
            is_other = name != value and self._latest(Ref(name)).name != value
            if is_other and self.last_reads.get(name, -1) > index:
                raise UnsupportedError(
                    f"{op} in {module or 'the network'} writes into a part of {base}, which is "
                    "read again; save torch.export.export(...).run_decompositions({}), which does "
                    "without"
                )
        self.current[value] = output
        self.bases[output] = base

    def _follow(self, base: str, arguments: dict[str, Any], outputs: tuple[str, ...]) -> None:
        """Notes whose memory the outputs share, and whether they depend on the image."""
        source = arguments.get("x")
        if base in _VIEWS and isinstance(source, Ref):
            for name in outputs:
                self.bases.setdefault(name, self.bases.get(source.name, source.name))
        if any(name in self.of_image for value in arguments.values() for name in refs(value)):
            self.of_image.update(outputs)

    def _batched(self, base: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Puts the batch in place of the number of images that the export was made with."""
        name = "shape" if base == "reshape" else "size"
        sizes, source = arguments.get(name), arguments.get("x")
        if (
            self.fixed_batch is None
            or base not in _RESHAPES
            or not sizes
            or sizes[0] != self.fixed_batch
            or not isinstance(source, Ref)
            or source.name not in self.of_image
        ):
            return arguments
        return {**arguments, name: (Ref("batch"), *sizes[1:])}

    def _output(self) -> tuple[str, int]:
        outputs = []
        for spec in self.signature["output_specs"]:
            ((kind, content),) = spec.items()
            if kind == "user_output":
                arg = content["arg"]
                outputs += [arg["as_tensor"]["name"]] * ("as_tensor" in arg)
            elif kind == "buffer_mutation":
                raise UserError(
                    f"the network changes {content['buffer_name']} when it runs; {_EVAL}"
                )
        shapes = {name: serialized.sizes(self.metas[name]) for name in outputs}
        flat = [name for name in outputs if len(shapes[name]) == 2]
        if len(flat) != 1:
            listed = ", ".join(str(shapes[name]) for name in outputs)
            raise UserError(
                f"the network has to return logits [b, k], and returns tensors of these shapes: "
                f"{listed}; export a module whose forward returns the logits alone"
            )
        return self._latest(Ref(flat[0])).name, shapes[flat[0]][1]

    def _parameters(self) -> tuple[Parameter, ...]:
        return tuple(
            Parameter(name, key, self.tensors[key].shape, kind, _dtype(self.tensors[key].dtype))
            for name, (kind, key) in self.specs.items()
            if key in self.tensors
        )

    def _check(self, graph: Graph) -> None:
        missing: dict[str, str] = {}
        for node in graph.nodes:
            if not accepts(node):
                missing.setdefault(node.op, node.module or "the network itself")
        if missing:
            listed = [f"{op} (in {module})" for op, module in list(missing.items())[:_MOST]]
            more = f" and {len(missing) - _MOST} more" if len(missing) > _MOST else ""
            raise UnsupportedError(
                f"the network uses operations that are not known here: {', '.join(listed)}{more}; "
                f"add them to {_WHERE}, or save torch.export.export(...).run_decompositions(), "
                "which uses fewer"
            )
        if not any(is_layer(node) for node in graph.nodes):
            raise UserError(
                "the network has no BatchNorm with running statistics, which are what images are "
                "synthesized from (so no transformer, ConvNeXt or network with GroupNorm can be a "
                "teacher, nor one whose BatchNorm was folded into its convolutions)"
            )
        shared = set(norm_values(graph)) & {
            name for node in graph.nodes if not is_layer(node) for name in node.refs()
        }
        if shared:
            names = ", ".join(sorted(self.specs[name][1] for name in shared)[:_MOST])
            raise UserError(
                f"the network uses weights or statistics of a BatchNorm in other operations as "
                f"well ({names}); such a network cannot be a teacher"
            )

    def _check_weights(self, graph: Graph) -> None:
        there = {parameter.value for parameter in graph.parameters}
        for node in graph.nodes:
            for name in node.refs():
                if name in self.specs and name not in there:
                    raise UserError(f"the file is damaged: {self.specs[name][1]} is missing in it")


def _only_checks(target: str) -> bool:
    return target.removeprefix("torch.ops.aten.").partition(".")[0] in _CHECKS


def _dtype(stored: str) -> str:
    """Returns the type here of a tensor of one of PyTorch's types."""
    if stored == "bool":
        return stored
    return "int32" if stored.startswith(("int", "uint")) else "float32"


def _needed(graph: Graph) -> Graph:
    """Removes what the logits do not depend on."""
    wanted, kept = {graph.logits}, []
    for node in reversed(graph.nodes):
        if wanted & set(node.outputs):
            kept.append(node)
            wanted.update(node.refs())
    parameters = tuple(p for p in graph.parameters if p.value in wanted)
    return Graph(graph.image, graph.logits, parameters, tuple(reversed(kept)))


def _head(graph: Graph) -> str:
    """Returns the name of the last module that has a matrix or a kernel."""
    matrices = {p.value: p.key for p in graph.parameters if len(p.shape) > 1}
    for node in reversed(graph.nodes):
        for name in node.refs():
            if name in matrices:
                return matrices[name].rpartition(".")[0]
    return ""


def _line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST]
