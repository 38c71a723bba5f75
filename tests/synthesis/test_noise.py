import jax
import numpy as np
import pytest
import scipy.fft

from datafree_nas.synthesis.noise import NOISES


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize("shape", [(300, 12, 12, 1), (100, 12, 10, 3)])
def test_noise_has_mean_zero_and_variance_one(name, shape):
    noise = NOISES[name](jax.random.key(0), shape)
    assert noise.shape == shape
    np.testing.assert_allclose(np.mean(noise), 0, atol=0.05)
    np.testing.assert_allclose(np.var(noise), 1, rtol=0.1)


@pytest.mark.parametrize(("name", "slope"), [("white", 0.0), ("pink", -1.0)])
def test_amplitudes_fall_with_frequency(name, slope):
    noise = NOISES[name](jax.random.key(0), (200, 32, 32, 1))[..., 0]
    weights = scipy.fft.dctn(np.asarray(noise), axes=(1, 2), norm="ortho")
    amplitude = np.sqrt(np.mean(weights**2, axis=0))
    frequency = np.hypot(*np.mgrid[:32, :32])
    inner = frequency > 0
    fitted = np.polyfit(np.log(frequency[inner]), np.log(amplitude[inner]), 1)[0]
    np.testing.assert_allclose(fitted, slope, atol=0.02)
