import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
from datafree_nas.data.images import ImageSet
from datafree_nas.data.labeller import Labeller
from datafree_nas.data.preprocessing import Preprocessing
from datafree_nas.runtime.errors import UserError
from datafree_nas.training import trainer
from datafree_nas.training.trainer import Batch

PIXELS = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 1), np.uint8)
IMAGES = ImageSet(PIXELS, np.arange(20, dtype=np.int32) % 3, np.eye(3, dtype=np.float32)[[1] * 20])


def _recipe(**changes):
    return common.recipe(batch_size=6, crop_padding=0, flip=False, **changes)


def _teacher(variables, x):
    return variables * jnp.mean(x, axis=(1, 2, 3))[:, None] * jnp.arange(3.0)


LABELLER = Labeller(_teacher, jnp.float32(2), Preprocessing((0.5,), (0.5,)))


def _batch(recipe):
    sample = trainer.make_batch_sampler(LABELLER, recipe)
    return sample(jax.random.key(0), trainer.data_of(IMAGES, jnp.float32(2), recipe))


def test_labels_from_the_teacher_on_the_crop():
    batch = _batch(_recipe(labels="teacher"))
    np.testing.assert_allclose(batch.soft, _teacher(2.0, batch.x), rtol=1e-6)


def test_labels_of_half_precision():
    batch = _batch(_recipe(labels="teacher", dtype="bfloat16"))
    assert batch.x.dtype == jnp.bfloat16
    assert batch.soft.dtype == jnp.float32


def test_stored_logits_belong_to_their_images():
    batch = _batch(_recipe(labels="stored"))
    np.testing.assert_array_equal(batch.soft, np.eye(3)[[1] * 6])
    shown = np.round((np.asarray(batch.x[:, 0, 0, 0]) * 0.5 + 0.5) * 255).astype(int)
    np.testing.assert_array_equal(batch.labels, shown % 3)


def test_hard_labels_have_nothing_soft():
    assert _batch(_recipe(labels="hard")).soft is None


def test_augmentation_that_grey_images_cannot_have():
    with pytest.raises(UserError, match=r"lighting=0.1 .* not RGB"):
        trainer.make_batch_sampler(LABELLER, _recipe(lighting=0.1))


def test_stored_logits_that_are_not_there():
    with pytest.raises(UserError, match="labels='stored' needs images that carry"):
        trainer.data_of(IMAGES._replace(logits=None), None, _recipe(labels="stored"))


LOGITS = jnp.array([[2.0, 0.0, -1.0], [0.5, 0.1, 0.3]])
SOFT = jnp.array([[0.0, 3.0, 0.0], [1.0, 0.0, 2.0]])
LABELS = jnp.array([0, 2])


def _cross_entropy(targets, logits):
    return float(-jnp.mean(jnp.sum(targets * jax.nn.log_softmax(logits), axis=-1)))


HARD = _cross_entropy(jnp.eye(3)[LABELS], LOGITS)
RELEASE = _cross_entropy(jax.nn.softmax(SOFT / 3), LOGITS / 3)
TARGETS = np.exp(SOFT / 3) / np.sum(np.exp(SOFT / 3), axis=-1, keepdims=True)
SCALE = 3 * np.sqrt(2 / 3) / np.mean(np.sqrt(np.sum((TARGETS - 1 / 3) ** 2, axis=-1)))
DISTILLED = SCALE * (RELEASE - _cross_entropy(TARGETS, SOFT / 3))


@pytest.mark.parametrize(
    ("soft", "changes", "loss", "accuracy"),
    [
        (None, {}, HARD, 0.5),
        (
            None,
            {"label_smoothing": 0.3},
            _cross_entropy(0.7 * jnp.eye(3)[LABELS] + 0.1, LOGITS),
            0.5,
        ),
        (SOFT, {}, DISTILLED, 0.0),
        (SOFT, {"distillation": "cross_entropy"}, RELEASE, 0.0),
        (SOFT, {"hard_weight": 0.25}, 0.75 * DISTILLED + 0.25 * HARD, 0.0),
    ],
    ids=["hard", "smoothed", "soft", "release", "mixed"],
)
def test_losses(soft, changes, loss, accuracy):
    batch = Batch(jnp.zeros((2, 1, 1, 1)), LABELS, soft, jax.random.key(0))
    found = trainer.loss_and_accuracy(LOGITS, batch, _recipe(**changes))
    np.testing.assert_allclose(found, (loss, accuracy), rtol=1e-5)


def _gradient_norm(loss, logits):
    return float(jnp.mean(jnp.linalg.norm(jax.grad(loss)(logits), axis=-1)))


def _confident(key, classes, sure):
    """Returns a teacher's logits on 200 images, and the classes that it is sure of."""
    labels = jax.random.randint(key, (200,), 0, classes)
    noise = jax.random.normal(jax.random.fold_in(key, 1), (200, classes))
    return noise + sure * jax.nn.one_hot(labels, classes), labels


@pytest.mark.parametrize("sure", [5.0, 10.0, 20.0])
@pytest.mark.parametrize("classes", [10, 1000])
@pytest.mark.parametrize("temperature", [1.0, 3.0, 8.0])
def test_gradients_are_as_large_as_those_of_hard_labels(classes, sure, temperature):
    """Holds for a network that knows nothing, whatever the teacher and the temperature are."""
    soft, labels = _confident(jax.random.key(0), classes, sure)
    logits = jnp.zeros_like(soft)
    hard = _gradient_norm(
        lambda z: -jnp.mean(jax.nn.log_softmax(z)[jnp.arange(200), labels]), logits
    )
    ours = _gradient_norm(lambda z: trainer.distillation(z, soft, temperature), logits)
    assert ours == pytest.approx(hard, rel=1e-3)


def test_equal_logits_have_no_loss():
    soft, _ = _confident(jax.random.key(0), 10, 8.0)
    assert float(trainer.distillation(soft, soft, 3.0)) == pytest.approx(0, abs=1e-5)


def test_a_teacher_that_knows_nothing_leaves_finite_gradients():
    gradient = jax.grad(trainer.distillation)(LOGITS, jnp.zeros_like(LOGITS), 3.0)
    assert float(jnp.abs(gradient).max()) < 1000
