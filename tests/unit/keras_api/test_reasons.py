"""Every reason and condition type is documented."""

import re

import pytest

from keras_api.reasons import CONDITION_MEANINGS, REASON_DOCS, ConditionType, Reason


@pytest.mark.parametrize("reason", list(Reason))
def test_a_reason_has_a_meaning_and_a_remedy(reason: Reason):
    doc = REASON_DOCS[reason]
    assert doc.meaning.endswith(".")
    assert doc.remedy.endswith(".")


@pytest.mark.parametrize("reason", list(Reason))
def test_a_reason_is_one_word_in_camel_case(reason: Reason):
    assert re.fullmatch(r"[A-Z][A-Za-z]+", reason.value)


@pytest.mark.parametrize("condition", list(ConditionType))
def test_a_condition_has_a_meaning(condition: ConditionType):
    assert CONDITION_MEANINGS[condition].endswith(".")
