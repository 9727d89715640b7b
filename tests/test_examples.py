"""The notebooks in examples/ run from top to bottom, and show what they are there to show."""

from __future__ import annotations

from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client", "ignore::ResourceWarning")
def test_a_notebook_runs_and_shows_its_values(path: Path, tmp_path: Path) -> None:
    """Each cell without an error, in an empty folder; values show themselves as HTML."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(path, as_version=4)

    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()

    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in shown if output.output_type == "error"]
    tables = [output.data["text/html"] for output in shown if "text/html" in output.get("data", {})]
    assert len(tables) >= 3
    assert list(tmp_path.iterdir()) == []


def test_there_are_notebooks() -> None:
    """The loop above was not empty."""
    assert [path.name for path in EXAMPLES] == ["comparison.ipynb"]
