"""`make docs`: the site in build/site, without a network and without a warning."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from website.stage import ROOT, stage

OUT: Final = ROOT / "build" / "site"


def main(out: Path = OUT) -> int:
    """Build the site into a folder; the exit code of Sphinx."""
    with tempfile.TemporaryDirectory(prefix="site-") as scratch:
        source, made = Path(scratch) / "source", Path(scratch) / "made"
        source.mkdir()
        stage(source)
        sphinx = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "--builder", "html"]
        sphinx += ["--conf-dir", str(ROOT / "website"), "--doctree-dir", str(made), str(source), str(out)]
        code = subprocess.run(sphinx, cwd=ROOT, check=False).returncode  # noqa: S603
    if code == 0:
        print(f"open {out / 'index.html'}")
    return code


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
