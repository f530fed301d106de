"""What the README shows runs as it stands."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
in_a_checkout = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="needs a checkout")


@pytest.mark.slow
def test_python_blocks_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(blocks) >= 5
    for block in blocks:
        code = compile(block, "README.md", "exec")
        if "\n...\n" not in block:  # an excerpt of somebody's loop
            exec(code, names)
    plt.close("all")
    printed = capsys.readouterr().out
    assert "avg_sg" in printed
    assert (tmp_path / "gap.png").exists()
    assert (tmp_path / "runs/lion/curves.nc").exists()


@in_a_checkout
def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("line", re.findall(r"^gainjax (?:run|sweep) .*$", README, re.M))
def test_commands_are_understood(line, monkeypatch, tmp_path, capsys):
    """Up to the point where they would train."""
    import shlex

    from gainjax.cli import app, main

    told = {}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(app, "run", lambda bench, **options: told.update(options))
    monkeypatch.setattr(app, "sweep", lambda bench, grid, **options: told.update(options))
    monkeypatch.setattr(app.shown, "show_results", lambda *_: None)
    (tmp_path / "mine.py").write_text(
        "import gainjax, optax\n"
        "def lion(learning_rate=1e-3): return optax.lion(learning_rate)\n"
        "bench = gainjax.get_benchmark('split-digits').replace(name='mine')\n"
    )
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package/my_module.py").write_text((tmp_path / "mine.py").read_text())
    words = shlex.split(line, comments=True)[1:]
    main(words)
    assert told["methods"]
