"""Settings come from the file, then from the environment; what is not known or not fit is refused by name."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assist.config import Settings, load
from assist.errors import ConfigError

SHIPPED = Path(__file__).resolve().parent.parent / "config.toml"


def written(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, "utf-8")
    return path


def test_without_file_and_environment_the_defaults_hold() -> None:
    assert load(None, {}) == load(None, {"HOME": "/", "ASSISTANT": "x"}) == Settings()
    assert Settings().server.host == "127.0.0.1", "nobody outside hears a call unless told so"
    assert Settings().mind.stress_parties == ("customer",), "employees' voices are not judged by default"


def test_the_shipped_file_says_what_the_defaults_are() -> None:
    assert load(SHIPPED, {}) == Settings()


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, '[server]\nport = 9000\nhost = "0.0.0.0"\n[mind]\nanalysers = ["topic"]\n')
    found = load(path, {"ASSIST_SERVER_PORT": "9001", "ASSIST_ENDPOINTING_COMMIT_MS": "500"})
    assert (found.server.port, found.server.host) == (9001, "0.0.0.0")
    assert found.endpointing.commit_ms == 500
    assert found.mind.analysers == ("topic",)


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("ASSIST_SERVER_PORT", "80", 80),
        ("ASSIST_SERVER_DATA_DIR", "/var/lib/assist", "/var/lib/assist"),
        ("ASSIST_INGEST_SPEED", "2", 2.0),
        ("ASSIST_RECOGNISER_PARTIALS", "false", False),
        ("ASSIST_RECOGNISER_TOKENS_PER_S", "3.4", 3.4),
        ("ASSIST_MIND_ANALYSERS", '["topic", "stress"]', ("topic", "stress")),
        ("ASSIST_MIND_ANALYSERS", "[]", ()),
        ("ASSIST_SERVER_DATA_DIR", "[data]", "[data]"),
        ("ASSIST_INGEST_AUDIOHOOK_KEYS", '{"key": "c2VjcmV0"}', {"key": "c2VjcmV0"}),
        ("ASSIST_INGEST_AUDIOHOOK_KEYS", "{}", {}),
        ("ASSIST_SERVER_DATA_DIR", "{data}", "{data}"),
    ],
)
def test_what_the_environment_says_takes_its_type(name: str, text: str, wanted: object) -> None:
    found = load(None, {name: text})
    _, section, key = name.lower().split("_", 2)
    assert getattr(getattr(found, section), key) == wanted


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[sever]\nport = 1\n", r"unknown section \[sever\]; did you mean server"),
        ("[server]\nprt = 1\n", r"unknown key server.prt; did you mean server.port"),
        ("[endpointing]\ncomit_ms = 1\n", r"endpointing.comit_ms; did you mean endpointing.commit_ms"),
        ("port = 1\n", "unknown section"),
        ("server = 1\n", r"must be a section: \[server\]"),
        ('[server]\nport = "many"\n', "server.port"),
        ("[server]\nport = 1.5\n", "server.port"),
        ('[recogniser]\nkind = "magic"\n', "recogniser.kind"),
        ('[mind]\nstress_parties = ["system"]\n', "stress_parties"),
        ("[endpointing]\nsoft_cut_ms = 1000\n", "soft_cut_ms"),
        ("[server\n", "config.toml"),
        ("[server]\nport = 1\nport = 2\n", "config.toml"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load(written(tmp_path, text), {})


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"ASSIST_SERVER_PROT": "1"}, "ASSIST_SERVER_PROT; did you mean ASSIST_SERVER_PORT"),
        ({"ASSIST_PORT": "1"}, "unknown setting ASSIST_PORT"),
        ({"ASSIST_SERVER_PORT": "one"}, "server.port"),
        ({"ASSIST_SERVER_PORT": ""}, "server.port"),
        ({"ASSIST_MIND_ANALYSERS": "[topic"}, "ASSIST_MIND_ANALYSERS"),
        ({"ASSIST_MIND_ANALYSERS": "topic"}, "analysers"),
        ({"ASSIST_RECOGNISER_PARTIALS": "maybe"}, "partials"),
    ],
)
def test_a_wrong_environment_is_refused_by_name(environ: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load(None, environ)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'[server]\nhost = "\xff"\n')
    for path in (tmp_path / "nowhere.toml", tmp_path, tmp_path / "latin.toml"):
        with pytest.raises(ConfigError, match=str(path)):
            load(path, {})


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Settings().server.port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    "wrong",
    [
        {"ASSIST_SERVER_PORT": "-1"},
        {"ASSIST_SERVER_PORT": "70000"},
        {"ASSIST_SERVER_DRAIN_S": "-1"},
        {"ASSIST_SERVER_PING_INTERVAL_S": "0"},
        {"ASSIST_INGEST_MAX_CALLS": "-1"},
        {"ASSIST_INGEST_MAX_MESSAGE_BYTES": "0"},
        {"ASSIST_INGEST_IDLE_TIMEOUT_S": "0"},
        {"ASSIST_INGEST_SPEED": "0.5"},
        {"ASSIST_INGEST_SPEED": "nan"},
        {"ASSIST_INGEST_BURST_S": "-1"},
        {"ASSIST_RECOGNISER_WORKERS": "-1"},
        {"ASSIST_RECOGNISER_TOKENS_PER_S": "-1"},
    ],
)
def test_figures_out_of_range_are_refused(wrong: dict[str, str]) -> None:
    (name,) = wrong
    _, section, key = name.lower().split("_", 2)
    with pytest.raises(ConfigError, match=f"{section}.{key}"):
        load(None, wrong)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=80) | st.sampled_from(["server", "mind"]).map(lambda s: f"[{s}]\nx = 1"), value=st.text())
def test_anything_is_settings_or_a_named_refusal(tmp_path: Path, text: str, value: str) -> None:
    for path, environ in (
        (written(tmp_path, text), {}),
        (None, {f"ASSIST_{section.name}_{field.name}".upper(): value for section, field in every_setting()}),
    ):
        try:
            assert isinstance(load(path, environ), Settings)
        except ConfigError as error:
            assert str(error)


def every_setting() -> list[tuple[msgspec.structs.FieldInfo, msgspec.structs.FieldInfo]]:
    return [
        (section, field)
        for section in msgspec.structs.fields(Settings)
        for field in msgspec.structs.fields(section.type)
    ]
