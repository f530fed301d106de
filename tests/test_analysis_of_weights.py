"""What is computed from the weights of a run, against plain calculations and exact relations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gainjax
from gainjax import MLP, analysis
from gainjax.models import from_linen

pytestmark = pytest.mark.exhaustive

AT = [20, 21, 24, 30]
METHODS = ["ngm-sgd", "sgd", "msgd", "sgd-ema"]


def small(name):
    return gainjax.get_benchmark(name).replace(updates_per_task=20)


@pytest.fixture(scope="module", params=["split-digits", "rotated-digits"])
def run(request):
    bench = small(request.param)
    rate = {"learning_rate": 0.1, "ngm-sgd": {"learning_rate": 0.03}}
    curves, states = gainjax.run(bench, METHODS, 2, snapshots=AT, hyperparameters=rate)
    return analysis.Subject(bench), curves, states


def layers(params):
    """Return the three kernels of the package's MLP, in float64."""
    return [np.asarray(x, np.float64) for x in jax.tree.leaves(params)]


def forward(params, inputs):
    first, second, head = layers(params)
    x = np.asarray(inputs, np.float64).reshape(len(inputs), -1)
    hidden = np.maximum(np.maximum(x @ first, 0) @ second, 0)
    return hidden, hidden @ head


def test_parts_of_the_drop_add_up_and_are_those_of_a_plain_calculation(run):
    subject, curves, states = run
    parts = analysis.drop_parts(subject, states, AT)
    drop = parts["accuracy"][..., 0] - parts["accuracy"]
    np.testing.assert_allclose(drop, sum(parts[name] for name in analysis.PARTS), atol=1e-6)
    # The networks are those that the run evaluated, averages included.
    measured = curves.accuracy.sel(eval_update=AT, eval_task=1)
    np.testing.assert_allclose(parts["accuracy"], measured, atol=1e-6)
    np.testing.assert_allclose(
        parts["loss"], curves.eval_loss.sel(eval_update=AT, eval_task=1), rtol=1e-4
    )
    if subject.bench.name == "rotated-digits":  # no class is new
        assert (parts["new_outputs"] == 0).all()
    one = jax.tree.map(lambda x: x[1, 2], states["msgd"].params)
    test, train = subject.test(0), subject.train([0], 1000)
    features, outputs = forward(one, test.inputs)
    of_train, targets = forward(one, train.inputs)[0], np.asarray(train.targets)
    old = np.unique(targets)
    means = np.stack([of_train[targets == c].mean(0) for c in old])
    nearest = old[((features[:, None] - means) ** 2).sum(-1).argmin(-1)]
    where = {"setting": "msgd", "seed": 1, "snapshot": AT[2]}
    right = np.asarray(test.targets)
    assert parts["ncm_accuracy"].sel(where) == pytest.approx((nearest == right).mean(), abs=1e-6)
    among = old[outputs[:, old].argmax(-1)]
    assert parts["old_accuracy"].sel(where) == pytest.approx((among == right).mean(), abs=1e-6)


def test_features_are_the_inputs_of_the_head(run):
    subject, _, states = run
    state = jax.tree.map(lambda x: x[0, 1], states["sgd"])
    inputs = subject.test(0).inputs[:7]
    found = analysis.head_features(subject)(state.params, state.model_state, inputs)
    np.testing.assert_allclose(found, forward(state.params, inputs)[0], rtol=1e-4, atol=1e-6)


def test_cosines_are_those_of_a_plain_calculation(run):
    subject, _, states = run
    found = analysis.gradient_angles(subject, states, AT, most=200)
    one = jax.tree.map(lambda x: x[1, 0], states["sgd"].params)
    after = jax.tree.map(lambda x: x[1, 1], states["sgd"].params)
    flat = {}
    for name, tasks in (("old", [0]), ("new", [1]), ("joint", [0, 1])):
        examples = subject.train(tasks, 200)
        hidden, outputs = forward(one, examples.inputs)
        chance = np.exp(outputs - outputs.max(-1, keepdims=True))
        chance /= chance.sum(-1, keepdims=True)
        error = (chance - np.eye(10)[np.asarray(examples.targets)]) / len(outputs)
        first, second, head = layers(one)
        x = np.asarray(examples.inputs, np.float64).reshape(len(outputs), -1)
        below = np.maximum(x @ first, 0)
        of_hidden = error @ head.T * (hidden > 0)
        of_below = of_hidden @ second.T * (below > 0)
        parts = [x.T @ of_below, below.T @ of_hidden, hidden.T @ error]
        flat[name] = np.concatenate([part.ravel() for part in parts])
    way = np.concatenate([(b - a).ravel() for a, b in zip(layers(one), layers(after), strict=True)])

    def cosine(u, v):
        return u @ v / np.linalg.norm(u) / np.linalg.norm(v)

    where = {"setting": "sgd", "seed": 1, "snapshot": AT[0]}
    assert found["old_and_new"].sel(where) == pytest.approx(
        cosine(flat["old"], flat["new"]), abs=1e-4
    )
    assert found["old_norm"].sel(where) == pytest.approx(np.linalg.norm(flat["old"]), rel=1e-3)
    assert found["step_and_joint"].sel(where) == pytest.approx(
        cosine(way, -flat["joint"]), abs=1e-4
    )
    assert np.isnan(found["step_and_joint"].isel(snapshot=-1)).all()


def loss_of(subject, examples):
    def loss(params):
        outputs = subject.outputs(analysis.Network(params, {}), examples.inputs)
        return subject.bench.goal.loss(outputs, examples.targets).mean()

    return loss


def test_curvature_along_training_is_that_of_each_snapshot_in_both_coordinates(run):
    subject, curves, states = run
    own = {label: states[label] for label in ("ngm-sgd", "sgd")}
    found = analysis.curvature_along(subject, own, AT, eigenvalues=2, samples=12, most=100)
    assert found["title"].values.tolist() == ["NGM-SGD", "SGD"]
    # The gain is that of the forward pass after the snapshot.
    gain = curves["gain"].sel(setting="ngm-sgd", update=np.add(AT, 1)).values
    np.testing.assert_allclose(found["gain"].sel(setting="ngm-sgd"), gain, rtol=1e-6)
    assert gain.min() > 1.1
    for name in ("eigenvalue", "trace", "trace_error"):
        effective, raw = (found[name].sel(weights=weights) for weights in ("effective", "raw"))
        np.testing.assert_allclose(raw / effective / found["gain"] ** 2, 1, rtol=1e-3)
    where = {"setting": "sgd", "seed": 1, "snapshot": AT[2]}
    one = jax.tree.map(lambda x: x[1, 2], states["sgd"].params)
    loss = loss_of(subject, subject.train([0, 1], 100))
    expected = analysis.curvature(loss, one, eigenvalues=2, samples=12)
    for weights in ("effective", "raw"):
        same = found.sel(where | {"weights": weights})
        np.testing.assert_allclose(same["eigenvalue"], expected.eigenvalues, rtol=1e-4)
        assert float(same["trace"]) == pytest.approx(expected.trace, rel=1e-3)
        assert float(same["trace_error"]) == pytest.approx(expected.trace_error, rel=1e-3)


@pytest.fixture
def broken(run):
    """Return states of which the network of seed 0 at snapshot 1 is not finite."""
    _, _, states = run
    params = jax.tree.map(np.array, states["sgd"].params)
    jax.tree.leaves(params)[0][0, 1] = np.nan
    return states["sgd"]._replace(params=params)


def test_nothing_is_measured_where_a_network_has_diverged(run, broken):
    subject, _, states = run
    whole = {"sgd": states["sgd"]}
    for measure in (analysis.drop_parts, analysis.gradient_angles):
        found, sound = (measure(subject, given, AT) for given in ({"sgd": broken}, whole))
        for name in found.data_vars:
            missing = [[0, 1]]
            if name == "step_and_joint":  # without the step to it, from it, and after the last
                missing = [[0, 0], [0, 1], [0, 3], [1, 3]]
            assert np.argwhere(found[name].isnull().values[0]).tolist() == missing, name
            kept = found[name].notnull()
            np.testing.assert_array_equal(found[name].where(kept), sound[name].where(kept))


def test_a_cosine_is_that_of_long_and_short_vectors_and_of_no_other():
    u, v = jnp.array([3.0, 4.0]), jnp.array([4.0, 3.0])
    for scale in (1e-30, 1.0, 1e30):  # whose squares are 0 or infinite in float32
        assert float(analysis.cosine(scale * u, v)) == pytest.approx(0.96, rel=1e-6)
    assert float(analysis.cosine(0 * u, v)) == 0
    for bad in (np.nan, np.inf):
        assert np.isnan(analysis.cosine(u.at[0].set(bad), v))


def test_raw_weights_are_not_taken_for_effective_ones():
    bench = small("split-digits")
    _, states = gainjax.run(bench, ["ngm-sgd"], 1, snapshots=AT, form="model")
    subject, network = analysis.Subject(bench), analysis.networks(states)["ngm-sgd"]
    for measure in (analysis.drop_parts, analysis.gradient_angles, analysis.curvature_along):
        with pytest.raises(ValueError, match="hold raw ones and gain, as those of form='model'"):
            measure(subject, states, AT)
    with pytest.raises(ValueError, match="Run with form='optimizer'"):
        analysis.held_out_uncertainty(subject, network)
    gain = gainjax.GainDynamics(decay=0.9, baseline=1.0, sensitivity=0.1)
    # A model with gains of its own is measured with them, but has no effective weights.
    own = bench.replace(model=from_linen(MLP((8, 10), (0.1, 0.1), dynamics=gain)))
    curves, states = gainjax.run(own, ["sgd"], 1, snapshots=AT)
    parts = analysis.drop_parts(analysis.Subject(own), states, AT)
    measured = curves.accuracy.sel(eval_update=AT, eval_task=1)
    np.testing.assert_allclose(parts["accuracy"], measured, atol=1e-6)
    with pytest.raises(ValueError, match="model must be one of plain layers: it has"):
        analysis.curvature_along(analysis.Subject(own), states, AT)


def test_averages_are_not_those_of_another_method_of_that_name(run):
    subject, curves, states = run
    for label, other in (("sgd", "sgd-ema"), ("sgd-ema", "sgd")):
        with pytest.raises(ValueError, match=f"states of '{label}' are not of the method"):
            analysis.drop_parts(subject, {label: states[other]}, AT)
    averaged = {"sgd": gainjax.get_method("sgd-ema")}
    parts = analysis.drop_parts(subject, {"sgd": states["sgd-ema"]}, AT, methods=averaged)
    measured = curves.accuracy.sel(setting="sgd-ema", eval_update=AT, eval_task=1)
    np.testing.assert_allclose(parts["accuracy"][0], measured, atol=1e-6)
    # The labels of a sweep begin with those of its methods, spaces included.
    own = {"my sgd learning_rate=0.1": states["sgd"], "my sgd": states["sgd"]}
    given = {"my": gainjax.get_method("adam"), "my sgd": gainjax.get_method("sgd")}
    found = analysis.drop_parts(subject, own, AT, methods=given)
    assert found["method"].values.tolist() == ["my sgd", "my sgd"]
    with pytest.raises(ValueError, match=r"with that of 'my sgd learning_rate=0\.1': got adam"):
        analysis.networks(own, methods=["adam"])


def test_snapshots_start_before_the_switch(run):
    subject, _, states = run
    for measure in (analysis.drop_parts, analysis.gradient_angles, analysis.curvature_along):
        with pytest.raises(ValueError, match="start with update 40, the last one before switch 2"):
            measure(subject, states, AT, switch=2)


def test_loss_and_uncertainty_are_those_of_the_benchmark():
    def squared(outputs, targets):
        return ((jax.nn.softmax(outputs) - jax.nn.one_hot(targets, 10)) ** 2).sum(-1)

    def doubt(outputs):
        return 1 - jax.nn.softmax(outputs).max(-1).mean()

    base = small("split-digits")
    bench = gainjax.Benchmark(
        "mine", stream=base.load(), model=base.model_for(base.load()), updates_per_task=20,
        batch_size=32, loss=squared, score=base.goal.score, uncertainty=doubt,
    )  # fmt: skip
    curves, states = gainjax.run(bench, ["sgd"], 1, snapshots=AT)
    subject = analysis.Subject(bench)
    parts = analysis.drop_parts(subject, states, AT)
    measured = curves.eval_loss.sel(eval_update=AT, eval_task=1)
    np.testing.assert_allclose(parts["loss"], measured, rtol=1e-4)
    one = jax.tree.map(lambda x: x[0, 0], analysis.networks(states)["sgd"])
    found = analysis.held_out_uncertainty(subject, one)
    expected = doubt(subject.outputs(one, subject.test(1).inputs))
    np.testing.assert_allclose(found[1], expected, rtol=1e-6)


def test_curvature_is_missing_where_a_network_has_diverged(run, broken):
    subject, _, states = run
    found = analysis.curvature_along(subject, {"sgd": broken}, AT, samples=2, most=20)
    missing = found["trace"].isnull().sel(setting="sgd", weights="raw")
    assert np.argwhere(missing.values).tolist() == [[0, 1]]
    with pytest.raises(ValueError, match="samples must be an integer of at least 2: got 1"):
        analysis.curvature_along(subject, {"sgd": broken}, AT, samples=1)
    with pytest.raises(ValueError, match="of 2 snapshots: got shape"):
        analysis.curvature_along(subject, states, AT[:2])


def test_all_data_are_the_most_data(run):
    subject, _, states = run
    size = int(subject.stream.task_end[1])
    assert len(subject.train([0, 1], None).targets) == size
    own = {"sgd": states["sgd"]}
    whole = analysis.gradient_angles(subject, own, AT, most=None)
    assert whole.equals(analysis.gradient_angles(subject, own, AT, most=size))
    assert not whole.equals(analysis.gradient_angles(subject, own, AT, most=50))


def test_lines_and_planes_of_a_run_end_at_its_own_losses(run):
    subject, curves, states = run
    network = analysis.networks(states, "trained")["msgd"]
    corners = [jax.tree.map(lambda x, i=i: x[0, i], network.params) for i in (0, 1, 3)]
    loss = loss_of(subject, subject.test(0))
    own = curves["eval_loss"].sel(setting="msgd", eval_task=1).isel(seed=0)
    expected = own.sel(eval_update=[AT[0], AT[1], AT[3]]).values
    line = analysis.along_line(loss, corners[0], corners[2], [0.0, 0.5, 1.0])
    np.testing.assert_allclose(line[[0, 2]], expected[[0, 2]], rtol=1e-4)
    plane = analysis.on_plane(loss, corners, points=2, margin=0.0)
    # Without a margin, the first two weights lie on the lower edge, the third on the upper one.
    np.testing.assert_allclose(plane.corners[:2, 1], 0, atol=1e-5)
    assert plane.y == pytest.approx([0, plane.corners[2, 1]], rel=1e-5, abs=1e-5)
    for corner, value in zip(plane.corners, expected, strict=True):
        for place in np.argwhere(np.isclose(plane.x, corner[0], rtol=1e-5, atol=1e-5)).ravel():
            at = np.argmin(np.abs(plane.y - corner[1]))
            assert plane.loss[at, place] == pytest.approx(value, rel=1e-3)


@pytest.fixture
def quick_compilation():
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
    jax.clear_caches()  # no other test may find what was compiled so


def test_parts_add_up_for_every_method(quick_compilation, tmp_path):
    """Whatever a method keeps or evaluates: averages, class means, or weights that carry a gain."""
    bench = small("split-digits").replace(updates_per_task=8, batch_size=8)
    at, source = [8, 9, 12], tmp_path / "source"
    gainjax.run(bench, ["ngm-sgd"], 1, out=source, progress=False)
    curves, states = gainjax.run(
        bench, list(gainjax.METHODS), 1, snapshots=at, gain_from=source, progress=False
    )
    parts = analysis.drop_parts(analysis.Subject(bench), states, at)
    assert parts["setting"].values.tolist() == list(gainjax.METHODS)
    drop = parts["accuracy"][..., 0] - parts["accuracy"]
    np.testing.assert_allclose(drop, sum(parts[name] for name in analysis.PARTS), atol=1e-6)
    measured = curves["accuracy"].sel(eval_update=at, eval_task=1)
    np.testing.assert_allclose(parts["accuracy"], measured, atol=1e-6)


def test_what_belongs_to_other_snapshots_is_refused(run):
    subject, _, states = run
    with pytest.raises(ValueError, match="of 2 snapshots: got shape"):
        analysis.drop_parts(subject, states, AT[:2])
    with pytest.raises(ValueError, match="which must be 'evaluated' or 'trained': got 'both'"):
        analysis.drop_parts(subject, states, AT, which="both")
    with pytest.raises(ValueError, match="at least one setting"):
        analysis.drop_parts(subject, {}, AT)
    with pytest.raises(ValueError, match="switch must be between 1 and"):
        analysis.snapshots_around(small("split-digits").replace(updates_per_task=[5, 5]), 2)
    for after, message in {
        (1, 30): "after must be at most 20: got 30",
        (1.5,): "after must be an integer",
        (): "ascending updates between 1 and 20",
    }.items():
        with pytest.raises(ValueError, match=message):
            analysis.snapshots_around(small("split-digits"), 1, after)
    for switch in (0, subject.tasks):
        for function in (analysis.drop_parts, analysis.gradient_angles):
            with pytest.raises(ValueError, match="switch must be"):
                function(subject, states, AT, switch=switch)
    with pytest.raises(ValueError, match="most must be an integer of at least 1: got 0"):
        analysis.drop_parts(subject, states, AT, most=0)
