"""The page about the Python interface says what the docstrings say."""

from __future__ import annotations

import make_api_page
import pytest


def test_the_page_is_up_to_date() -> None:
    """If not: python Testing/tools/make_api_page.py"""
    assert make_api_page.PAGE.read_text(encoding="utf-8") == make_api_page.page()


@pytest.mark.parametrize("name", ["segment", "ImagePrediction", "AttentionUNet", "train_model"])
def test_what_matters_is_on_it(name: str) -> None:
    assert f"\n### {name}\n" in make_api_page.page()


def test_no_address_of_an_object_and_no_folder_of_this_machine_is_on_it() -> None:
    page = make_api_page.page()
    assert " at 0x" not in page
    assert str(make_api_page.ROOT) not in page
