"""The command with `--model`: any network of PyTorch, by its own graph."""

import json

import pytest
import safetensors.torch
import torch

from datafree_nas.runtime.errors import UserError
from datafree_nas.teachers.graph import sources
from tests import forks, odd_network
from tests.odd_network import FLAGS
from tests.teachers import originals
from tests.tiers import full

FUNCTION = "--model=tests.odd_network:make_net"
NORMALIZATION = FLAGS[1:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of the odd network."""
    folder, net = tmp_path_factory.mktemp("files"), odd_network.trained()
    odd_network.export(net, folder / "odd.pt2")
    odd_network.write_logits(net, folder / "logits.npz")
    torch.save(net.state_dict(), folder / "odd.pth")
    return folder


@pytest.fixture
def port(folder, tmp_path):
    """Runs the command with further flags and returns the finished process."""

    def command(*flags, module="datafree_nas.port_torch", before=(), after="tests.with_torch"):
        out = f"--out={tmp_path}/out"
        return forks.run(module, *before, out, *flags, after=after)

    return command


@pytest.fixture
def port_file(port):
    """Runs the command where PyTorch is not installed."""

    def command(*flags):
        before = ["torch", "datafree_nas.port_torch"]
        return port(*flags, module="tests.without", before=before, after="")

    return command


def _succeeds(done):
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return [" ".join(line.split()) for line in done.stdout.splitlines()]


@pytest.fixture
def fails(tmp_path):
    """Returns the line of a refusal that has written nothing."""

    def check(done):
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
        assert not (tmp_path / "out").exists()
        return done.stderr

    return check


def _card(directory):
    return json.loads((directory / "teacher.json").read_text())


def test_a_file_is_ported_without_torch(port_file, folder, tmp_path):
    file = folder / "odd.pt2"
    flags = (f"--model={file}", *NORMALIZATION, f"--check_logits={folder}/logits.npz")
    lines = _succeeds(port_file(*flags))
    assert lines[0].startswith("odd: 10 classes, 6,568 weights, ")
    assert lines[0].endswith(f" MACs, 5 BatchNorm layers, written to {tmp_path}/out")
    assert lines[1:5] == [
        "classes 10 from the network's output",
        f"image_size 28,28,1 from {file}, see --image_size",
        "mean 0.1307 given by --mean",
        "std 0.3081 given by --std",
    ]
    assert "top-1 agrees on 100.0%" in lines[5]
    assert len(lines) == 6
    card = _card(tmp_path / "out")
    assert {"model": "odd.pt2", "file": "odd.pt2"}.items() <= card["source"].items()
    _succeeds(port_file(*flags))  # the same command again is no mistake
    before = {path: path.is_file() and path.read_bytes() for path in (tmp_path / "out").rglob("*")}
    other = (tmp_path / "other.pt2", folder / "odd.pth")
    other[0].write_bytes(file.read_bytes() + b" ")
    for flags in ([f"--model={other[0]}"], [FUNCTION, f"--checkpoint={other[1]}"], [FUNCTION]):
        done = port_file(*flags, *NORMALIZATION)
        assert done.returncode == 2
        assert "holds something else; name a new directory or remove it" in done.stderr
    assert before == {path: path.is_file() and path.read_bytes() for path in before}


@pytest.mark.parametrize("kind", full("one image", "four images", "core"))
def test_files_of_other_exports(kind, port_file, folder, tmp_path):
    file = tmp_path / "net.pt2"
    settings = {
        "one image": {"images": 1, "free": False},
        "four images": {"images": 4, "free": False},
        "core": {"core": True},
    }
    odd_network.export(odd_network.trained(), file, **settings[kind])
    logits = f"--check_logits={folder}/logits.npz"
    lines = _succeeds(port_file(f"--model={file}", *NORMALIZATION, logits))
    assert "top-1 agrees on 100.0%" in lines[-1]


def test_a_function_with_a_checkpoint(port, folder, tmp_path):
    flags = (FUNCTION, f"--checkpoint={folder}/odd.pth", *FLAGS, "--num_classes=10")
    lines = _succeeds(port(*flags, f"--check_logits={folder}/logits.npz"))
    assert lines[0].startswith("make_net: 10 classes, 6,568 weights, ")
    assert lines[1:5] == [
        "classes 10 from the network's output",
        "image_size 28,28,1 given by --image_size",
        "mean 0.1307 given by --mean",
        "std 0.3081 given by --std",
    ]
    assert "top-1 agrees on 100.0%" in lines[5]
    source = _card(tmp_path / "out")["source"]
    assert (source["model"], source["file"]) == ("tests.odd_network:make_net", "odd.pth")


@pytest.mark.parametrize("kind", ["plain", "nested", "safetensors", "with prefix"])
def test_weights_are_found_wherever_the_file_has_them(kind, tmp_path):
    state = odd_network.trained().state_dict()
    nested = {"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}
    file, prefix = tmp_path / "net.pth", ""
    if kind == "safetensors":
        file = tmp_path / "net.safetensors"
        safetensors.torch.save_file(state, file)
    elif kind == "with prefix":
        torch.save({"net": {k: 0 * v for k, v in state.items()}, "ema": state}, file)
        prefix = "ema"
    else:
        torch.save(state if kind == "plain" else nested, file)
    found = sources.load("tests.odd_network:make_net", str(file), prefix=prefix).module
    for key, value in found.state_dict().items():
        assert key.endswith("num_batches_tracked") or torch.equal(value, state[key]), key


def test_weights_that_do_not_fit_are_listed(port, fails, folder, tmp_path):
    state, file = odd_network.trained().state_dict(), tmp_path / "net.pth"
    state["norm.weight"] = torch.ones(3)
    state["more.weight"] = state.pop("down.bias")
    torch.save(state, file)
    line = fails(port(FUNCTION, f"--checkpoint={file}", *FLAGS))
    assert (
        f"{file} does not fit the network: 1 missing: down.bias; 1 unexpected: more.weight" in line
    )
    assert "1 of other shapes: norm.weight (3,) instead of (32,)" in line
    line = fails(port(FUNCTION, f"--checkpoint={folder}/odd.pth", *FLAGS, "--num_classes=7"))
    assert "head.1.weight (10, 64) instead of (7, 64)" in line
    assert "the checkpoint has --num_classes=10" in line
    torch.save({"other": torch.ones(1)}, file)
    line = fails(port(FUNCTION, f"--checkpoint={file}", *FLAGS))
    assert " missing: " in line
    assert " more" in line


def test_values_that_are_not_finite(tmp_path):
    state = odd_network.trained().state_dict()
    state["down.bias"][3] = torch.nan
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(UserError, match=r"^down\.bias has values that are not finite"):
        sources.load("tests.odd_network:make_net", str(tmp_path / "net.pth"))


def test_a_whole_pickled_network_is_refused(port, fails, tmp_path):
    torch.save(odd_network.trained(), tmp_path / "net.pth")
    line = fails(port(FUNCTION, f"--checkpoint={tmp_path}/net.pth", *FLAGS))
    assert "holds a whole pickled network" in line
    assert "torch.export.save(p, 'net.pt2'); and say --model=net.pt2" in line


def _timm():
    import timm

    return timm.create_model("test_resnet", num_classes=7)


def _torchvision():
    return originals.models.get_model("shufflenet_v2_x0_5", weights=None, num_classes=7)


@pytest.mark.parametrize(
    ("model", "build", "size"),
    [
        ("timm:test_resnet", _timm, "32,32,3"),
        *full(("torchvision:shufflenet_v2_x0_5", _torchvision, "64,64,3")),
    ],
)
def test_a_network_of_a_library(model, build, size, port, tmp_path):
    """It says its image size and normalization itself, where flags do not say others."""
    net = originals.randomize(build())
    torch.save(net.state_dict(), tmp_path / "net.pth")
    image_size = tuple(int(side) for side in size.split(","))
    odd_network.write_logits(net, tmp_path / "logits.npz", image_size)
    flags = (f"--model={model}", f"--checkpoint={tmp_path}/net.pth", "--num_classes=7")
    names = tmp_path / "names.txt"
    names.write_text("\n".join("abcdefg"))
    given = (f"--check_logits={tmp_path}/logits.npz", f"--class_names={names}")
    lines = _succeeds(port(*flags, *given, f"--image_size={size}"))
    assert lines[0].startswith(f"{model.partition(':')[2]}: 7 classes, ")
    halves = ("0.5,0.5,0.5", "0.5,0.5,0.5")
    mean, std = halves if build is _timm else ("0.485,0.456,0.406", "0.229,0.224,0.225")
    assert lines[2:5] == [
        f"image_size {size} given by --image_size",
        f"mean {mean} from {model}, see --mean",
        f"std {std} from {model}, see --std",
    ]
    assert _card(tmp_path / "out")["class_names"] == [*"abcdefg"]
    assert "top-1 agrees on 100.0%" in lines[5]


def test_what_libraries_say_of_their_images(tmp_path):
    for name, build in (
        ("timm:test_resnet", _timm),
        ("torchvision:shufflenet_v2_x0_5", _torchvision),
    ):
        torch.save(build().state_dict(), tmp_path / "net.pth")
        found = sources.load(name, str(tmp_path / "net.pth"), num_classes=7)
        side = 160 if name.startswith("timm") else 224
        assert found.image_size == (side, side, 3)
        imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        ours = ((0.5,) * 3, (0.5,) * 3) if name.startswith("timm") else imagenet
        assert (found.mean, found.std) == ours


def test_a_folder_of_transformers(port, fails, tmp_path):
    transformers = pytest.importorskip("transformers")
    place = tmp_path / "saved"
    config = transformers.ResNetConfig(
        num_labels=3,
        id2label={0: "ant", 1: "bee", 2: "cat"},
        embedding_size=8,
        hidden_sizes=[8, 16],
        depths=[1, 1],
        layer_type="basic",
    )
    net = originals.randomize(transformers.ResNetForImageClassification(config))
    net.resnet.save_pretrained(place)
    line = fails(port(f"--model=transformers:{place}"))
    assert f"{place} lacks 2 weights of the classifier: classifier.1.bias, classifier.1." in line
    net.save_pretrained(place)
    said = {"size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (place / "preprocessor_config.json").write_text(json.dumps(said))
    lines = _succeeds(port(f"--model=transformers:{place}"))
    assert lines[0].startswith("saved: 3 classes, ")
    assert "mean 0.5,0.5,0.5 from" in lines[3]
    assert _card(tmp_path / "out")["class_names"] == ["ant", "bee", "cat"]


def test_check_writes_nothing(port_file, folder, tmp_path):
    lines = _succeeds(port_file(f"--model={folder}/odd.pt2", *NORMALIZATION, "--check"))
    assert lines[-1] == "odd can be a teacher; nothing was written"
    assert not (tmp_path / "out").exists()


def test_a_function_needs_torch(port_file, fails):
    assert "this needs PyTorch, where the network comes from: pip install torch" in fails(
        port_file(FUNCTION, *FLAGS)
    )


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("branches", "PyTorch cannot export the network for images (28, 28, 1): "),
        ("returns_features", "has to return logits [b, k], and returns"),
        ("returns_two", "returns tensors of these shapes: [2, 10], [2, 10]; export a module"),
        ("with_one_output", "with_one_output has one output, as for a sigmoid; "),
        ("returns_a_dict", "returned an object of type OrderedDict; it has to return an nn.Module"),
        ("raises", "tests.bad_networks:raises raised RuntimeError: no weights"),
        ("ends", "tests.bad_networks:ends raised SystemExit: 0"),
        ("needs_an_argument", "raised TypeError: needs_an_argument() missing 1 required"),
        ("keeps_a_computed_tensor", "PyTorch cannot copy the network: RuntimeError: Only Tensors"),
        ("number", "tests.bad_networks:number is of type int, no function"),
        ("raise", "tests.bad_networks has no function raise; did you mean 'raises'?"),
    ],
)
def test_functions_that_make_no_teacher(function, message, port, fails):
    assert message in fails(port(f"--model=tests.bad_networks:{function}", *FLAGS))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model=nowhere.at_all:make_net"], "there is no module nowhere; --model=package.module"),
        (["--model=tests.nowhere:make_net"], "there is no module tests.nowhere; "),
        (["--model=nothing"], "--model=nothing is no file, and none of timm:NAME, "),
        (["--model=:make_net"], "--model=:make_net is no file, and none of timm:NAME, "),
        (["--model=timm:resnet_18", "--checkpoint=net.pth"], "did you mean 'resnet18'"),
        (["--model=timm:?", "--checkpoint=net.pth"], "no model '?'; timm.list_models() lists them"),
        (["--model=timm:resnet18"], "needs --checkpoint=FILE, the weights that you trained"),
        (["--model=torchvision:resnet_18", "--checkpoint=net.pth"], "did you mean 'resnet18'"),
        ([FUNCTION, "--checkpoint=nowhere.pth"], "no checkpoint at nowhere.pth"),
        ([FUNCTION, "--arch=resnet50"], "--model says what the network is; leave --arch and"),
        ([FUNCTION, "--factory=a.b:c"], "--model says what the network is; leave --arch and"),
        (["--model={}/odd.pt2", "--checkpoint={}/odd.pth"], "leave --checkpoint out"),
        (["--model={}/odd.pt2", "--num_classes=7"], "--num_classes=7: the network odd has 10"),
        (["--model={}/odd.pth"], "; if it is a checkpoint, it is --checkpoint={}/odd.pth"),
        (["--model={}/nowhere.pt2"], "{}/nowhere.pt2 does not exist"),
        (["--model={}/odd.pt2", "--class_names=LICENSE"], "so 10 names are needed, one a line"),
        (["--model={}/odd.pt2", "--mean=1,1", "--std=1,1"], "is not one number for each channel"),
        (["--model={}/odd.pt2", "--image_size=3,3,1"], "cannot be run on 3 images of size (3, 3"),
        ([], "say --model=FILE.pt2 (or timm:NAME and its like, see --help), or --checkpoint=FILE"),
    ],
)
def test_flags_that_are_refused(flags, message, port, fails, folder):
    flags = [flag.format(folder) for flag in flags]
    assert message.format(folder) in fails(port(*FLAGS, *flags))


@pytest.mark.parametrize("library", ["timm", "torchvision", "transformers"])
def test_a_library_that_is_not_installed(library, port, fails):
    before = [library, "datafree_nas.port_torch"]
    flags = (f"--model={library}:resnet18", "--checkpoint=net.pth")
    line = fails(port(*flags, module="tests.without", before=before))
    assert f"{library} is not installed: pip install {library}" in line


def test_settings_that_nobody_says(port, fails, folder):
    """Before the network is exported, which may take minutes, or its weights are read."""
    line = fails(port("--model=tests.bad_networks:branches", "--image_size=28,28,1"))
    assert "branches does not say its mean and std; give them as in --mean=0.485" in line
    line = fails(port(FUNCTION, "--checkpoint=nowhere.pth"))
    assert "does not say its image_size and mean and std; give them as in --image_size=224" in line
    line = fails(port(f"--model={folder}/odd.pt2"))
    assert "odd.pt2 does not say its mean and std" in line
