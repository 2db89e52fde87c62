import ast
import configparser
import os
import re
import sys
from dataclasses import fields, replace

import pytest

from harness.config import ROOT, modules, write_config
from harness.processes import run_to_end
from runtime import settings
from runtime.settings import DEFAULT_PATH, SECTIONS, SettingsError

KEYS = [(section, key.name) for section, cls in SECTIONS.items() for key in fields(cls)]


def test_the_shipped_file_is_valid_and_relative_folders_are_meant_from_it():
    loaded = settings.load(environ={})
    assert loaded.server.port == 8080
    assert loaded.server.cors_origins == ()
    assert loaded.worker.turn_seconds == 1.0
    assert loaded.bundled_folder == ROOT / "var"


def test_environment_wins_over_file_and_flags_win_over_both(tmp_path):
    path = write_config(tmp_path, server__port=1)
    environ = {"PORT": "2", "DATABASE_URL": "postgresql://a", "REDIS_URL": "redis://b"}
    loaded = settings.load(path, environ=environ)
    assert (loaded.server.port, loaded.database.url) == (2, "postgresql://a")
    assert loaded.redis.url == "redis://b"
    assert settings.load(path, {("server", "port"): "3"}, environ).server.port == 3
    assert settings.load(path, {("server", "port"): None}, {"PORT": ""}).server.port == 1


def test_a_path_that_is_not_utf8_is_one_sentence_unless_servers_are_ones_own(tmp_path):
    folder = tmp_path / os.fsdecode(b"by\xffte")
    folder.mkdir()
    path = write_config(folder)
    environment = {name: os.environ[name] for name in os.environ.keys() - settings.ENVIRONMENT}
    ended = run_to_end(sys.executable, ROOT / "app.py", "--config", path, environment=environment)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "has bytes in its path that are not UTF-8. Choose another folder" in ended.stderr
    own = {"DATABASE_URL": "postgresql://a", "REDIS_URL": "redis://b"}
    assert settings.load(path, environ=own).path == path


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"server__port": "http"}, "[server] port must be a whole number from 0 to 65,535"),
        ({"server__port": 65536}, "[server] port must be"),
        ({"worker__threads": 0}, "[worker] threads must be a whole number from 1 to 64, not '0'"),
        ({"worker__turn_seconds": "nan"}, "[worker] turn_seconds must be a number"),
        ({"worker__processor": "os.system"}, "[worker] processor must be 'check' or module:"),
        ({"server__cors_origins": "*"}, "[server] cors_origins must be origins such as"),
        ({"server__cors_origins": "https://a.example/x"}, "not 'https://a.example/x'"),
        ({"redis__queue_key": ""}, "[redis] queue_key must be a name"),
        ({"check__dns": "yes"}, "[check] dns must be auto, on or off, not 'yes'"),
        ({"check__nameservers": "1.1.1.1 dns.example"}, "[check] nameservers must be IP addresses"),
        ({"check__nameservers": "1.1.1.1:0"}, "not '1.1.1.1:0'"),
        ({"check__nameservers": "1.1.1.1:65536"}, "not '1.1.1.1:65536'"),
        ({"staff__domain": "x"}, "[staff] is not a known section; remove it."),
        ({"check__per_minute": "0"}, "[check] per_minute must be a whole number of emails from 1"),
        (
            {"worker__processor": "staff:check", "staff__per_minute": "1.5"},
            "[staff] per_minute must be a whole number of emails from 1 to 1,000,000",
        ),
        (
            {"staff__domain": "x", "worker__processor": "staffs:x"},
            "[staff] is not a known section; remove it.",
        ),
        ({"server__colour": "blue"}, "[server] colour is not a known setting"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_section_key_and_file(tmp_path, changes, sentence):
    path = write_config(tmp_path, **changes)
    with pytest.raises(SettingsError) as caught:
        settings.load(path, environ={})
    message = str(caught.value)
    assert sentence in message
    assert message.startswith(str(path))
    assert "\n" not in message


def test_nameservers_may_have_ports(tmp_path):
    value = "1.1.1.1 127.0.0.1:5353 ::1 [::1]:5353"
    loaded = settings.load(write_config(tmp_path, check__nameservers=value), environ={})
    assert loaded.check.nameservers == tuple(value.split())


def test_an_own_processor_has_its_own_section(tmp_path):
    changes = {"staff__domain": "example.org", "worker__processor": "staff:only"}
    loaded = settings.load(write_config(tmp_path, **changes), environ={})
    assert loaded.default_processor.options == {"domain": "example.org"}
    assert "example.org" not in repr(loaded)
    loaded = settings.load(write_config(tmp_path, worker__processor="staff:only"), environ={})
    assert loaded.default_processor.options == {}


def test_a_processor_has_the_rate_in_its_own_section(tmp_path):
    changes = {"check__per_minute": "600", "staff__per_minute": "60"}
    path = write_config(tmp_path, worker__processor="staff:check", **changes)
    own = settings.load(path, environ={})
    assert own.default_processor.rate == ("staff", 60)
    del changes["staff__per_minute"]
    assert settings.load(write_config(tmp_path, **changes), environ={}).default_processor.rate == (
        "check",
        600,
    )
    assert settings.load(write_config(tmp_path), environ={}).default_processor.rate is None


def test_the_checks_own_list_is_meant_from_the_files_folder(tmp_path):
    path = write_config(tmp_path, check__disposable_domains="own.txt")
    options = settings.load(path, environ={}).default_processor.options
    assert options["disposable_domains"] == str(tmp_path / "own.txt")


def test_a_password_in_a_wrong_url_is_not_shown(tmp_path):
    path = write_config(tmp_path, database__url="mysql://me:secret@host/db")
    with pytest.raises(SettingsError, match=r"\[database\] url must be") as caught:
        settings.load(path, environ={})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("DATABASE_URL", "postgresql://me:%zzsecret@host/db"),
        ("DATABASE_URL", "postgresql://me:secret@host/db?nonsense=1"),
        ("DATABASE_URL", "postgresql://me:secret@[::1/db"),
        ("REDIS_URL", "redis://:secret@host:99999/0"),
        ("REDIS_URL", "rediss://:secret@host/0?nonsense=1"),
        ("REDIS_URL", "redis://:sec[ret@host"),
        ("REDIS_URL", "redis+sentinel://:secret@host:26379"),
        ("REDIS_URL", "redis+sentinel://:secret@host:x/main"),
        ("REDIS_URL", "redis+sentinel://:secret@host,/main"),
        ("REDIS_URL", "redis+sentinel://host/main?sentinel_pass=secret"),
        ("REDIS_URL", "rediss+sentinel://:secret@host/main?ssl_cacert=x"),
    ],
)
def test_nor_one_in_a_url_that_is_malformed(name, url):
    with pytest.raises(SettingsError, match=rf"{name}: \[\w+\] url is malformed") as caught:
        settings.load(environ={name: url})
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "url", ["postgresql://me:secret@host/db", "postgresql://host/db?user=me&password=secret"]
)
def test_a_file_with_a_password_must_be_its_owners_alone(tmp_path, url):
    path = write_config(tmp_path, database__url=url)
    path.chmod(0o640)
    with pytest.raises(SettingsError, match="holds a password") as caught:
        settings.load(path, environ={})
    assert "secret" not in str(caught.value)
    assert "chmod 600 config.ini, or give it by the environment variable DATABASE_URL" in str(
        caught.value
    )
    path.chmod(0o600)
    assert settings.load(path, environ={}).database.url == url
    # One that isn't used is there all the same, but the environment wins.
    path.chmod(0o640)
    settings.load(path, environ={"DATABASE_URL": "embedded"})


@pytest.mark.parametrize(
    "url", ["redis://:secret@host", "redis+sentinel://a:1,b:2/main?sentinel_password=secret"]
)
def test_be_it_the_password_of_redis_or_of_sentinels(tmp_path, url):
    path = write_config(tmp_path, redis__url=url)
    path.chmod(0o640)
    with pytest.raises(SettingsError, match="holds a password"):
        settings.load(path, environ={})
    write_config(tmp_path, redis__url="redis+sentinel://a:1,b:2/main").chmod(0o640)
    assert settings.load(path, environ={}).redis.url == "redis+sentinel://a:1,b:2/main"


def test_settings_are_shown_without_passwords(tmp_path):
    own = tmp_path / "own.py"
    own.write_text("")
    path = write_config(tmp_path, worker__processor="own:check", own__token="very secret")
    urls = {
        "DATABASE_URL": "postgresql://a:very%20secret@h/d",
        "REDIS_URL": "redis://:very secret@h",
    }
    urls["REDIS_URL"] = urls["REDIS_URL"].replace(" ", "-")
    shown = repr(settings.load(path, environ=urls))
    assert "secret" not in shown
    assert "queue_key='email-queue'" in shown


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"access__trusted_user_header": "X-User"}, "trusted_user_header needs trusted_proxies"),
        ({"access__trusted_user_header": "X_User"}, "must be a header's name"),
        ({"access__trusted_proxies": "10.0.0.1/8"}, "must be IP addresses or networks"),
        ({"access__allow_anonymous": "perhaps"}, "must be yes or no"),
        ({"retention__days": "-1"}, "must be a number from 0"),
    ],
)
def test_access_is_not_left_to_chance(tmp_path, changes, sentence):
    with pytest.raises(SettingsError, match=sentence):
        settings.load(write_config(tmp_path, **changes), environ={})


def test_the_message_names_environment_variable_or_flag_where_the_value_came_from_there():
    with pytest.raises(SettingsError, match=r"environment variable PORT: \[server\] port must"):
        settings.load(environ={"PORT": "x"})
    with pytest.raises(SettingsError, match=r"--threads: \[worker\] threads must"):
        settings.load(overrides={("worker", "threads"): "x"}, environ={})


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("[upload]", "[uploads]", "[uploads] is not a known section"),
        ("port = 8080", "port = 8080\nport = 8081", "option 'port' in section 'server' already"),
        ("[server]", "server", "no section headers"),
    ],
)
def test_a_malformed_file_is_one_sentence(tmp_path, old, new, sentence):
    path = tmp_path / "config.ini"
    path.write_text(DEFAULT_PATH.read_text().replace(old, new))
    with pytest.raises(SettingsError) as caught:
        settings.load(path, environ={})
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"nowhere\.ini: the configuration can't be read"):
        settings.load(tmp_path / "nowhere.ini")


def test_every_key_is_documented_in_the_file_and_in_docs():
    lines = DEFAULT_PATH.read_text().splitlines()
    text = (ROOT / "docs/configuration.md").read_text()
    for section, key in KEYS:
        start = lines.index(f"[{section}]")
        at = next(i for i in range(start, len(lines)) if re.match(rf"{key} =", lines[i]))
        assert lines[at - 1].startswith("; "), f"[{section}] {key} has no comment line"
        assert f"| `[{section}] {key}` |" in text, f"[{section}] {key} is not in docs/"


def last_name(node):
    """threads of settings.worker.threads; server of server."""
    return getattr(node, "attr", getattr(node, "id", None))


def reads(path):
    """The (section, key) pairs that a module reads: x.section.key, or y.key after y = x.section."""
    tree = ast.parse(path.read_text())
    sections = {section: section for section in SECTIONS}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and last_name(node.value) in SECTIONS:
            sections[last_name(node.targets[0])] = last_name(node.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and last_name(node.value) in sections:
            yield sections[last_name(node.value)], node.attr


def test_every_key_is_read_by_the_code():
    read = {pair for path in modules() for pair in reads(path)}
    assert [pair for pair in KEYS if pair not in read] == []


def test_our_file_names_every_setting_with_its_default():
    assert settings.load(environ={}).lacking == {}
    named = configparser.ConfigParser(interpolation=None)
    named.read(settings.DEFAULT_PATH, encoding="utf-8")
    for section, cls in settings.SECTIONS.items():
        for key in fields(cls):
            assert named[section][key.name] == key.metadata["default"], (section, key.name)


def test_a_file_of_before_has_the_defaults_of_what_it_lacks(tmp_path):
    path = tmp_path / "config.ini"
    path.write_text("[server]\nport = 1234\n[worker]\nthreads = 7\n")
    loaded = settings.load(path, environ={})
    assert (loaded.server.port, loaded.worker.threads) == (1234, 7)
    ours = settings.load(environ={})
    assert loaded.worker == replace(ours.worker, threads=7)
    assert loaded.check == ours.check
    assert loaded.lacking[("upload", "max_rows")] == "5000000"
    assert ("worker", "threads") not in loaded.lacking


def test_an_empty_file_means_all_defaults(tmp_path):
    path = tmp_path / "config.ini"
    path.write_text("")
    loaded, ours = settings.load(path, environ={}), settings.load(environ={})
    assert loaded == replace(ours, path=path, lacking=loaded.lacking)
    assert [*loaded.lacking] == KEYS


def test_what_the_environment_or_a_flag_gives_is_not_lacking(tmp_path):
    path = tmp_path / "config.ini"
    path.write_text("")
    loaded = settings.load(path, {("worker", "threads"): "2"}, {"PORT": "1234"})
    places = {("worker", "threads"), ("server", "port")}
    assert places == {*KEYS} - {*loaded.lacking}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[server]\nprot = 80\n", "[server] prot is not a known setting; remove it."),
        ("[sever]\n", "[sever] is not a known section; remove it."),
        ("[Check]\n", "[Check] is not a known section; names are in lower case, as in [check]."),
        (
            "[processors]\ncrm = team:add\n[Crm]\n",
            "[Crm] is not a known section; names are in lower case, as in [crm].",
        ),
        (
            "[processors]\ncrm = team:add\n[team]\nurl = x\n",
            "[team] is not a known section; the settings of crm are in [crm].",
        ),
        ("[worker]\nthreads = two\n", "[worker] threads must be a whole number"),
        ("[worker]\nthreads =\n", "[worker] threads must be a whole number"),
        ("[worker]\nturn_timeout_seconds = 1\n", "turn_timeout_seconds must be greater than"),
    ],
)
def test_an_incomplete_file_may_have_nothing_wrong_either(tmp_path, text, sentence):
    path = tmp_path / "config.ini"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        settings.load(path, environ={})
    assert sentence in str(caught.value)
