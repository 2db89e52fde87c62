"""The section [processors]: what it may say, and what is refused."""

import pytest

from harness.config import write_config
from runtime import settings
from runtime.entries import ProcessorEntry
from runtime.settings import SettingsError


def offered(folder, **changes):
    return settings.load(write_config(folder, **changes), environ={}).processors


def test_without_a_section_there_is_only_the_workers_processor(tmp_path):
    assert [(each.name, each.takes_unnamed) for each in offered(tmp_path)] == [("check", True)]
    (own,) = offered(tmp_path, worker__processor="crm:add")
    assert (own.name, own.reference, own.title, own.takes_unnamed) == (
        "crm",
        "crm:add",
        "crm",
        True,
    )


def test_the_first_is_the_default_and_check_is_always_there(tmp_path):
    found = offered(tmp_path, processors__crm="crm:add  Add   to CRM", processors__send="mail:send")
    assert [(each.name, each.reference, each.title) for each in found] == [
        ("crm", "crm:add", "Add to CRM"),
        ("send", "mail:send", "send"),
        ("check", "check", "Check addresses"),
    ]
    assert [each.takes_unnamed for each in found] == [False, False, True]
    first = offered(tmp_path, processors__check="check Look", processors__crm="crm:add")
    assert [(each.name, each.title) for each in first] == [("check", "Look"), ("crm", "crm")]


def test_each_has_its_section_and_its_rate_and_no_secret_is_shown(tmp_path):
    changes = {"processors__crm": "x:add", "crm__token": "secret", "crm__per_minute": "60"}
    found = settings.load(write_config(tmp_path, **changes), environ={})
    crm = found.processor("crm")
    assert isinstance(crm, ProcessorEntry)
    assert crm.options["token"] == "secret"
    assert crm.rate == ("crm", 60)
    assert "secret" not in repr(found)
    assert found.default_processor == crm
    assert found.processor(None).name == "check"
    assert found.processor("nobody") is None


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("1crm", "a:b", "is no name"),
        ("c.rm", "a:b", "is no name"),
        ("c" * 41, "a:b", "is no name"),
        ("worker", "a:b", "needs itself"),
        ("workers", "a:b", "needs itself"),
        ("probe", "a:b", "needs itself"),
        ("processors", "a:b", "needs itself"),
        ("crm", "add", "must begin with module:function"),
        ("crm", "", "must begin with module:function"),
        ("crm", "check", "can't be another name of check; write check = check"),
        ("check", "a:b", "must be check itself; give your own processor another name"),
        ("crm", f"a:b {'t' * 61}", "60 characters at most"),
    ],
)
def test_a_line_that_cannot_be_is_refused_by_its_name(tmp_path, name, text, said):
    with pytest.raises(SettingsError) as raised:
        offered(tmp_path, **{f"processors__{name}": text})
    assert f"[processors] {name} " in str(raised.value)
    assert said in str(raised.value)


def test_what_contradicts_the_section_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"crm:add is named by \[worker\] processor"):
        offered(tmp_path, worker__processor="crm:add", processors__send="mail:send")
    with pytest.raises(SettingsError, match=r"\[crm\] per_minute must be a whole number"):
        offered(tmp_path, processors__crm="a:b", crm__per_minute="many")
    with pytest.raises(SettingsError, match=r"\[other\] is not a known section"):
        offered(tmp_path, processors__crm="a:b", other__x="1")
