from __future__ import annotations

import pytest

import model
from model import bloom, config, export


def test_the_face_of_the_package_is_what_a_user_needs():
    found = {name: getattr(model, name) for name in model.__all__}
    assert found == {
        "Bloom": bloom.Bloom,
        "BloomConfig": config.BloomConfig,
        "load": export.load,
        "save": export.save,
    }


def test_another_name_is_refused():
    with pytest.raises(AttributeError, match="module 'model' has no attribute 'Blossom'; it has Bloom, BloomConfig"):
        _ = model.Blossom
