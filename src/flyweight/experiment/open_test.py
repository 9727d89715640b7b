"""Open the test images for a run that finished with them closed: its kept weights are evaluated, once.

In: a finished run without a test figure. Out: its record with one; the opening is counted as that of any run.
"""

from __future__ import annotations

from dataclasses import replace

from flyweight.errors import UsageError
from flyweight.experiment.open_run import require_same_images
from flyweight.experiment.recorded import recipe_of
from flyweight.experiment.results import misread_of, predictions_of
from flyweight.experiment.setup import load_weights, prepare
from flyweight.model import own_code
from flyweight.records.ids import SHORT_ID
from flyweight.records.record import RunRecord
from flyweight.records.results import Figures
from flyweight.records.store import Store
from flyweight.train.device import DeviceName


def open_test(run_id: str, *, store: Store, device: DeviceName = "auto") -> RunRecord:
    """Evaluate the kept net of a run on the test images, and complete its folder and its row.

    Raises:
        UsageError: a run that has not finished, or that has a test figure.
        DataError: images that have changed since, or a damaged folder.
    """
    record = store.get(run_id)
    if record.status != "finished" or record.test_count is not None:
        why = "has a test figure already" if record.status == "finished" else f"is {record.status}"
        raise UsageError(f"run {record.id[:SHORT_ID]} {why}; only a finished run without one opens the test images")
    recipe, folder = recipe_of(record), store.folder(record.id)
    folder.verify()
    own_code.require_same(recipe.model.net, record.own_code)
    bench = prepare(recipe, seed=record.seed, device=device, threads=record.environment.get("threads"))
    require_same_images(record, bench)
    net, images = bench.training.result, bench.image_set
    load_weights(net, folder.file("weights"))
    store.open_test(record.id, "final figure of the run, opened after it")
    found = bench.evaluate(net, images.test_images, images.test_labels)
    figures = Figures(correct=found.correct, count=found.count, loss=found.loss)
    folder.write_predictions(
        validation=folder.predictions("validation"),
        test=predictions_of(found, images.test_labels, images.n_classes),
        validation_indices=folder.validation_indices(),
    )
    folder.write_misread(misread_of(images, found))
    openings = store.get(record.id).test_openings
    folder.rewrite_result(replace(folder.result(), test=figures, test_openings=openings))
    return store.add_test(record.id, figures)
