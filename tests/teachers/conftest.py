import functools

import pytest

from datafree_nas.teachers import port


@pytest.fixture(scope="session", autouse=True)
def _shapes_once():
    """`auto` looks at the shapes of all architectures; each is traced once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(port, "shapes", functools.cache(port.shapes))
        yield
