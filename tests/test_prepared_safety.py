"""Prepared folders of strangers: nothing of theirs is imported, and nothing elsewhere is read."""

import builtins
import json
import sys

import numpy as np
import pytest
from made_files import assert_same, keras_arrays, write_prepared

from gainjax.data import read, safe


@pytest.fixture
def prepared(tmp_path):
    arrays = keras_arrays(train=30)
    version = tmp_path / "mnist" / "3.0.1"
    write_prepared(version, arrays, ("image", "label"))
    return version, arrays


def test_prepared_folders_by_version_or_name(prepared):
    version, arrays = prepared
    for path in (version, version.parent):
        dataset = read(path)
        assert_same(dataset, {key: arrays[key] for key in ("y_train", "y_test")})
        np.testing.assert_array_equal(dataset.x_train[..., 0], arrays["x_train"])
        assert dataset.class_names is None
    (version / "label.labels.txt").write_text("".join(f"digit {i}\n" for i in range(10)))
    assert read(version).class_names[3] == "digit 3"


EVIL_FEATURES = [
    ({"pythonClassName": "evil_module.Feature"}, "names the class 'evil_module.Feature'"),
    ({"python_class_name": "evil_module.Feature"}, "names the class"),
    ({"pythonClassName": "tensorflow_datasets_evil.core.features.X"}, "names the class"),
    ({"type": "evil_module.Feature", "content": {}}, "names the class"),
    ({"pythonClassName": "tensorflow_datasets.testing.x"}, "names the class"),
    (
        {"featuresDict": {"features": {"x": {"pythonClassName": "evil_module.F"}}}},
        "names the class",
    ),
    ({"featuresDict": {"features": {"../../x": {}}}}, "names files elsewhere"),
]


@pytest.mark.parametrize(("tree", "message"), EVIL_FEATURES)
def test_prepared_folders_import_nothing_of_strangers(prepared, monkeypatch, tree, message):
    version, _ = prepared
    good = json.loads((version / "features.json").read_text())
    imported = []
    real = builtins.__import__

    def spy(name, *rest, **options):
        imported.append(name)
        return real(name, *rest, **options)

    (version.parent / "evil_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(version.parent)
    monkeypatch.setattr(builtins, "__import__", spy)
    good["featuresDict"]["features"]["more"] = tree
    (version / "features.json").write_text(json.dumps(good))
    with pytest.raises(ValueError, match=message):
        read(version)
    assert "evil_module" not in sys.modules
    assert not any("evil" in name for name in imported)


@pytest.mark.parametrize(
    ("key", "value"),
    [("filepathTemplate", "../{DATASET}-{SPLIT}"), ("name", "/etc/x"), ("name", "a/../b")],
)
def test_prepared_folders_read_nothing_elsewhere(prepared, key, value):
    version, _ = prepared
    info = json.loads((version / "dataset_info.json").read_text())
    info["splits"][0][key] = value
    (version / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(ValueError, match="names files elsewhere"):
        read(version)


def test_prepared_images_that_claim_more_than_memory(prepared, monkeypatch):
    monkeypatch.setattr(safe, "memory_bytes", lambda: 1000)
    with pytest.raises(ValueError, match="claim to need"):
        read(prepared[0])


@pytest.mark.parametrize("raw", ["", "[]", "{", "null", "[" * 100_000, '{"a": 1e999}'])
def test_prepared_folders_with_a_damaged_description(prepared, raw):
    version, _ = prepared
    for name in ("features.json", "dataset_info.json"):
        (version / name).write_text(raw)
        with pytest.raises(ValueError, match=r"3.0.1 cannot be read"):
            read(version)
