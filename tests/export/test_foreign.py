"""ONNX files of others are counted, and those that cannot be trusted are refused in one line."""

import os

import pytest

from flyweight.cli.app import run as run_command
from flyweight.errors import DataError
from flyweight.export.foreign import count_onnx
from flyweight.export.onnx_file import float_model
from flyweight.model.count import count
from tests.export.made_nets import made_net

onnx = pytest.importorskip("onnx")
NET = "c8p1 r m2 dwp1 r c8/1g2 silu m2 c12 r gap flat fc10"


@pytest.fixture
def model(tmp_path):
    made, folded, _ = made_net(NET, (3, 16, 14), 0)
    path = tmp_path / "model.onnx"
    path.write_bytes(float_model(made.net.lowered, folded, name="a net", facts={}, batch=None))
    return path


def test_an_exported_net_is_counted_as_its_notation(model) -> None:
    """Without batch norm, which the export folds, MACs are equal; parameters but for the pads of the first layer."""
    found, wanted = count_onnx(model), count(NET, (3, 16, 14))

    assert found.macs == wanted.macs
    assert found.params == wanted.params + 3
    assert found.out_shape == wanted.out_shape == (10,)
    assert [row.kind for row in found.rows if row.kind == "depthwise_conv"] == ["depthwise_conv"]


def test_show_prints_a_file(model, capsys) -> None:
    """As a table and as JSON."""
    assert run_command(["show", str(model)]) == 0
    assert "conv" in capsys.readouterr().out
    assert run_command(["show", str(model), "--json"]) == 0
    assert '"int8_flash": null' in capsys.readouterr().out
    assert run_command(["show", str(model), "--set", "train.lr=1"]) == 2


@pytest.mark.parametrize("how", ["symlink", "hard link", "absolute"])
def test_weights_in_other_files_are_not_opened(model, tmp_path, how) -> None:
    """Whatever the place they name; the other file is a pipe that would block if it were opened."""
    secret, name = tmp_path / "secret", "weights.bin"
    os.mkfifo(secret)
    if how == "symlink":
        (tmp_path / name).symlink_to(secret)
    elif how == "hard link":
        os.link(secret, tmp_path / name)
    else:
        name = str(secret)
    loaded = onnx.load_from_string(model.read_bytes())
    first = loaded.graph.initializer[0]
    first.ClearField("raw_data")
    first.data_location = onnx.TensorProto.EXTERNAL
    first.external_data.add(key="location", value=name)
    model.write_bytes(loaded.SerializeToString())

    with pytest.raises(DataError, match="its weights are in other files, which are not opened"):
        count_onnx(model)


@pytest.mark.parametrize("content", [b"", b"not an onnx file", os.urandom(200)])
def test_what_is_no_onnx_file_is_refused(tmp_path, content) -> None:
    """With the name of the file, in one line."""
    path = tmp_path / "model.onnx"
    path.write_bytes(content)

    with pytest.raises(DataError, match=r"model\.onnx") as error:
        count_onnx(path)

    assert "\n" not in str(error.value)


def test_huge_shapes_are_refused_without_memory(model) -> None:
    """Sides are numbers of the file; no array of that size is made."""
    loaded = onnx.load_from_string(model.read_bytes())
    for side in loaded.graph.input[0].type.tensor_type.shape.dim[2:]:
        side.dim_value = 2**40
    model.write_bytes(loaded.SerializeToString())

    with pytest.raises(DataError, match=r"below 2\^31|cannot read it|is not known"):
        count_onnx(model)


def test_a_missing_file_is_one_line(tmp_path) -> None:
    """With what the system says."""
    with pytest.raises(DataError, match="No such file"):
        count_onnx(tmp_path / "none.onnx")
