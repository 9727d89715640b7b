"""The ONNX files against the net that they came from, by onnxruntime and by onnx's reference evaluator."""

import numpy as np
import pytest
from hypothesis import given, settings

from flyweight.export.integer import scores
from flyweight.export.onnx_file import OPSET, float_model, int8_model
from flyweight.model.fold import run
from tests.export.made_nets import exportable, made_net
from tests.export.test_integer import SEVERAL

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

FACTS = {"params": "1", "classes": "[]"}


def session(content):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@settings(max_examples=40)
@given(exportable())
def test_logits_are_those_of_the_net(drawn) -> None:
    """Nets of every kind of layer, any number of images: within 1e-4 of the largest logit."""
    made, folded, images = made_net(*drawn)
    content = float_model(made.net.lowered, folded, name="drawn", facts=FACTS, batch=None)

    logits, probabilities = session(content).run(["logits", "probabilities"], {"pixels": images[:7]})

    wanted = run(folded, images[:7])
    assert np.abs(logits - wanted).max() <= 1e-4 * max(1.0, np.abs(wanted).max())
    assert np.allclose(probabilities.sum(1), 1, atol=1e-5)


@settings(max_examples=40)
@given(exportable())
def test_qdq_is_near_our_integers(drawn) -> None:
    """The same steps of weights and maps; only what a table rounds is computed without it."""
    made, folded, images = made_net(*drawn)
    content = int8_model(made.net, folded, name="drawn", facts=FACTS, batch=None)

    (logits,) = session(content).run(["logits"], {"pixels": images})

    ours = scores(made.net, images) * made.net.score_scale
    spread = max(float(np.ptp(run(folded, images))), 1e-6)
    assert np.abs(logits - ours).mean() <= 0.1 * spread


@pytest.mark.parametrize("net", SEVERAL)
def test_the_reference_evaluator_agrees(net) -> None:
    """onnx's own evaluator, which shares no code with onnxruntime; a batch of a fixed size."""
    from onnx.reference import ReferenceEvaluator

    made, folded, images = made_net(net, (3, 13, 12), 5)
    content = float_model(made.net.lowered, folded, name="several", facts=FACTS, batch=2)

    logits, _ = ReferenceEvaluator(onnx.load_from_string(content)).run(None, {"pixels": images[:2]})

    wanted = run(folded, images[:2])
    assert np.abs(logits - wanted).max() <= 1e-4 * max(1.0, np.abs(wanted).max())


def test_a_file_says_what_it_is_and_nothing_of_this_machine() -> None:
    """Names of inputs and outputs, metadata, one opset; no path, no external data."""
    made, folded, _ = made_net(SEVERAL[0], (1, 12, 12), 0)
    content = float_model(made.net.lowered, folded, name="a net", facts=FACTS, batch=1)

    model = onnx.load_from_string(content)

    assert [one.name for one in model.graph.input] == ["pixels"]
    assert [one.name for one in model.graph.output] == ["logits", "probabilities"]
    assert [(one.domain, one.version) for one in model.opset_import] == [("", OPSET)]
    assert {one.key for one in model.metadata_props} == {"name", "opset", *FACTS}
    assert not any(one.external_data for one in model.graph.initializer)
