"""The commands of a release: an archive that can be checked, and no release by accident."""

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

if not (ROOT / ".ci").is_dir() or not shutil.which("git"):
    pytest.skip("needs a checkout and git", allow_module_level=True)


def run(*command, cwd=ROOT):
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


@pytest.fixture
def repository(tmp_path):
    """A small repository with the commands and some results."""
    folder = tmp_path / "repository"
    shutil.copytree(ROOT / ".ci", folder / ".ci")
    (folder / "experiments").mkdir()
    (folder / "experiments/gap.csv").write_text("method,avg_sg\nsgd,0.1\n")
    for name in ("CITATION.cff", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder)
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(folder))
    for command in (("init", "-q", "-b", "main"), ("add", "."), ("commit", "-qm", "one")):
        assert run(*git, *command).returncode == 0
    return folder


def test_the_archive_holds_the_results_and_their_checksums(repository, tmp_path):
    archives = []
    for name in ("one", "two"):
        made = run(".ci/archive", str(tmp_path / name), "1.2.3", cwd=repository)
        assert made.returncode == 0, made.stderr
        archives.append(Path(made.stdout.strip()))
    assert archives[0].name == "gainjax-results-1.2.3.tar.gz"
    assert archives[0].read_bytes() == archives[1].read_bytes()
    with tarfile.open(archives[0]) as archive:
        archive.extractall(tmp_path, filter="data")
    inside = tmp_path / "gainjax-results-1.2.3"
    assert (inside / "experiments/gap.csv").read_text().endswith("sgd,0.1\n")
    check = ("sha256sum", "--quiet", "-c", "SHA256SUMS")
    assert run(*check, cwd=inside).returncode == 0
    (inside / "experiments/gap.csv").write_text("method,avg_sg\nsgd,0.0\n")
    assert "experiments/gap.csv: FAILED" in run(*check, cwd=inside).stdout


def test_a_release_needs_a_version_a_clean_tree_main_and_a_heading(repository):
    def refused(version, reason):
        made = run(".ci/release", version, cwd=repository)
        assert made.returncode == 1
        assert made.stderr.startswith("release: ")
        assert reason in made.stderr

    refused("v1.2", "name a version, such as 0.2.0: got 'v1.2'")
    refused("7.0.0", "CHANGELOG.md needs the heading '## [7.0.0] - ")
    (repository / "LICENSE").write_text("mine")
    refused("7.0.0", "commit or stash first")
    run("git", "-C", str(repository), "checkout", "-q", "--", "LICENSE")
    run("git", "-C", str(repository), "switch", "-q", "-c", "other")
    refused("7.0.0", "releases are made from main")
    run("git", "-C", str(repository), "switch", "-q", "main")
    run("git", "-C", str(repository), "tag", "v7.0.0")
    refused("7.0.0", "v7.0.0 is there already")
