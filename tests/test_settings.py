"""Settings come from a file and the environment, the environment wins, and nonsense is refused."""

import os
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift.errors import SettingsError
from resift.settings import Settings, StorageSettings, expand_home

VARIABLES = {f"RESIFT_{field.name.upper()}" for field in fields(Settings)} | {"RESIFT_CONFIG"}

FILE = """
runtime = "onnxruntime"
threads = 3
model = "/models/mine"

[storage]
endpoint = "http://127.0.0.1:8333"
region = "eu-central-1"
access_key_id = "from-file"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "resift.toml"
    file.write_text(FILE)
    return file


def _refused(environ: dict[str, str], *messages: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load(environ)
    assert "\n" not in str(caught.value)
    for message in messages:
        assert message in str(caught.value)


def test_without_anything_the_defaults_hold() -> None:
    assert Settings.load({}) == Settings(
        runtime=None,
        threads=0,
        model=None,
        calibration=None,
        max_memory_mb=512,
        cache_mb=0,
        cache_file=None,
        state_cache_mb=0,
        cache_dir=None,
        cache_gb=10,
        storage=StorageSettings(),
        embedder=None,
        embedder_key=None,
        openai_key=None,
        cohere_key=None,
        jina_key=None,
        voyage_key=None,
        reranker_key=None,
    )


def test_the_environment_is_read() -> None:
    settings = Settings.load(
        {
            "RESIFT_RUNTIME": "openvino",
            "RESIFT_THREADS": "2",
            "RESIFT_MODEL": "m",
            "RESIFT_CALIBRATION": "m.json",
            "RESIFT_MAX_MEMORY_MB": "400",
            "RESIFT_CACHE_MB": "9",
            "RESIFT_CACHE_FILE": "c.db",
            "RESIFT_STATE_CACHE_MB": "7",
            "RESIFT_EMBEDDER": "wordllama",
            "RESIFT_EMBEDDER_KEY": "key",
            "OPENAI_API_KEY": "another",
            "COHERE_API_KEY": "cohere's",
            "JINA_API_KEY": "jina's",
            "VOYAGE_API_KEY": "voyage's",
            "RESIFT_RERANKER_KEY": "mine",
            "RESIFT_CACHE_DIR": "/c",
            "RESIFT_CACHE_GB": "3",
            "AWS_ENDPOINT_URL": "https://one",
            "AWS_REGION": "r",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_SESSION_TOKEN": "c",
        }
    )
    storage = StorageSettings("https://one", "r", "a", "b", "c")
    assert settings == Settings(
        runtime="openvino",
        threads=2,
        model="m",
        calibration="m.json",
        max_memory_mb=400,
        cache_mb=9,
        cache_file="c.db",
        state_cache_mb=7,
        cache_dir="/c",
        cache_gb=3,
        storage=storage,
        embedder="wordllama",
        embedder_key="key",
        openai_key="another",
        cohere_key="cohere's",
        jina_key="jina's",
        voyage_key="voyage's",
        reranker_key="mine",
    )


def test_the_processes_own_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESIFT_THREADS", "7")
    assert Settings.load().threads == 7


def test_the_file_is_read(config: Path) -> None:
    settings = Settings.load({"RESIFT_CONFIG": str(config)})
    assert (settings.runtime, settings.threads, settings.model) == (
        "onnxruntime",
        3,
        "/models/mine",
    )
    assert settings.storage.access_key_id == "from-file"


def test_a_variable_wins_over_the_file(config: Path) -> None:
    settings = Settings.load(
        {"RESIFT_CONFIG": str(config), "RESIFT_THREADS": "1", "AWS_ACCESS_KEY_ID": "from-variable"}
    )
    assert (settings.runtime, settings.threads) == ("onnxruntime", 1)
    assert settings.storage.access_key_id == "from-variable"
    assert settings.storage.region == "eu-central-1"


def test_an_empty_variable_is_none(config: Path) -> None:
    assert Settings.load({"RESIFT_CONFIG": str(config), "RESIFT_THREADS": ""}).threads == 3
    assert Settings.load({"RESIFT_CONFIG": ""}) == Settings()


def test_the_endpoint_of_s3_wins_over_the_one_of_all_services() -> None:
    environ = {"AWS_ENDPOINT_URL": "https://all", "AWS_ENDPOINT_URL_S3": "https://s3"}
    assert Settings.load(environ).storage.endpoint == "https://s3"
    regions = {"AWS_DEFAULT_REGION": "default", "AWS_REGION": "own"}
    assert Settings.load(regions).storage.region == "own"


def test_options_hold_what_was_given_and_plain_http_only_where_it_was() -> None:
    assert StorageSettings().options() == {}
    options = StorageSettings("https://host", "r", "a", "b", "c").options()
    assert options == {
        "aws_endpoint": "https://host",
        "aws_region": "r",
        "aws_access_key_id": "a",
        "aws_secret_access_key": "b",
        "aws_session_token": "c",
    }
    assert StorageSettings("http://host").options()["allow_http"] == "true"


def test_encryption_style_and_profile_are_read_and_become_options() -> None:
    storage = Settings.load(
        {
            "AWS_PROFILE": "work",
            "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "TRUE",
            "AWS_SERVER_SIDE_ENCRYPTION": "aws:kms",
            "AWS_SSE_KMS_KEY_ID": "k",
            "AWS_SSE_BUCKET_KEY_ENABLED": "1",
        }
    ).storage
    assert storage == StorageSettings(
        profile="work",
        virtual_hosted=True,
        server_side_encryption="aws:kms",
        kms_key_id="k",
        bucket_key=True,
    )
    assert storage.options() == {
        "aws_virtual_hosted_style_request": "true",
        "aws_server_side_encryption": "aws:kms",
        "aws_sse_kms_key_id": "k",
        "aws_sse_bucket_key_enabled": "true",
    }
    off = {"AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false", "AWS_SERVER_SIDE_ENCRYPTION": "AES256"}
    assert Settings.load(off).storage.options() == {"aws_server_side_encryption": "AES256"}


def test_secrets_are_in_no_representation() -> None:
    storage = StorageSettings("e", "r", "key-id", "secret-key", "session")
    url = "https://someone:password@host/v1#model"
    names = [item.name for item in fields(Settings) if item.name.endswith("_key")]
    keys = {name: f"{name}-secret" for name in names}
    settings = Settings(storage=storage, model=f"tei:{url}", embedder=url, **keys)  # type: ignore[arg-type]
    assert settings.without_secrets() == Settings()
    shown = repr(settings) + str(storage)
    for secret in (
        "key-id",
        "secret-key",
        "session'",
        "password",
        *keys.values(),
    ):
        assert secret not in shown


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().threads = 1  # type: ignore[misc]


@pytest.mark.parametrize("threads", ["-1", "two", "1.5"])
def test_threads_that_are_no_count_are_refused(threads: str) -> None:
    _refused({"RESIFT_THREADS": threads}, f"threads='{threads}'", "0 for all cores")


def test_an_unknown_runtime_is_refused_with_those_there_are() -> None:
    _refused({"RESIFT_RUNTIME": "abacus"}, "abacus", "openvino, onnxruntime")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thread = 2", "thread: no such setting"),
        ("[storage]\nbucket = 'b'", "storage.bucket: no such setting"),
        ("storage = 5", "[storage] table"),
        ("threads = 'x'", "threads='x'"),
        ("max_memory_mb = 255", "max_memory_mb=255: expected a whole number from 256"),
        ("cache_mb = -1", "cache_mb=-1: expected a whole number, 0 for none"),
        ("cache_file = 3", "cache_file=3"),
        ("cache_dir = 3", "cache_dir=3"),
        ("cache_gb = 0", "cache_gb=0: expected a whole number from 1"),
        ("embedder_key = 3", "embedder_key: expected text, got int"),
        ("reranker_key = 3", "reranker_key: expected text, got int"),
        ("threads = 1.5", "threads=1.5"),
        ("threads = true", "threads=True"),
        ("runtime = 5", "runtime=5"),
        ("model = 5", "model=5"),
        ("[storage]\nregion = 5", "storage.region=5"),
        ("[storage]\nvirtual_hosted = 'maybe'", "storage.virtual_hosted='maybe': expected true"),
        ("[storage]\nserver_side_encryption = 'rot13'", "'rot13': expected one of AES256, aws:kms"),
        ("[storage]\nkms_key_id = 'k'", "storage.kms_key_id: expected server_side_encryption"),
        ("[storage]\nbucket_key = true", "storage.bucket_key: expected server_side_encryption"),
        ("threads =", "not a readable TOML file"),
    ],
)
def test_a_file_that_says_what_cannot_be_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "resift.toml"
    file.write_text(text)
    _refused({"RESIFT_CONFIG": str(file)}, message)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    _refused({"RESIFT_CONFIG": str(tmp_path / "absent.toml")}, "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    _refused({"RESIFT_CONFIG": str(tmp_path / "binary.toml")}, "binary.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("threads = 1000000001", "threads: expected a whole number up to 1,000,000,000"),
        ("threads = " + "9" * 400, "threads: expected a whole number up to"),
        ("threads = " + "9" * 5000, "not a readable TOML file"),
        ("threads = '" + "9" * 5000 + "'", "threads='999"),
        ("threads = '1_0'", "threads='1_0': expected a whole number"),
        ("threads = '-" + "9" * 400 + "'", "threads='-999"),
        ("threads = [1]", "threads=[1]"),
        ("threads = nan", "threads=nan"),
        ("threads = 2026-01-02", "threads=datetime.date(2026, 1, 2)"),
        ("runtime = ['openvino']", "runtime=['openvino']: expected one of"),
        ("model = {a = 1}", "model={'a': 1}: expected text"),
        ('model = "a\\u0000b"', "not a valid file name"),
        ("embedder = ['sk-secret']", "embedder: expected text, got list"),
        ("a = " + "[" * 5000, "not a readable TOML file"),
        ("a = 1\nb = 2\nc = 3", "a: no such setting"),
    ],
    ids=lambda text: text[:20],
)
def test_odd_values_are_refused_in_a_short_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "resift.toml"
    file.write_text(text)
    _refused({"RESIFT_CONFIG": str(file)}, message)
    with pytest.raises(SettingsError) as caught:
        Settings.load({"RESIFT_CONFIG": str(file)})
    assert len(str(caught.value)) < 400 and "secret" not in str(caught.value)


def test_a_refusal_names_the_variable_or_the_file(config: Path) -> None:
    _refused({"RESIFT_THREADS": "x"}, "threads='x'", "(from RESIFT_THREADS)")
    config.write_text("threads = 'x'")
    _refused({"RESIFT_CONFIG": str(config)}, "threads='x'", f"(from {config})")
    both = {"RESIFT_CONFIG": str(config), "RESIFT_THREADS": "y"}
    _refused(both, "threads='y'", "(from RESIFT_THREADS)")


def test_where_a_value_came_from_is_known_and_makes_no_difference(config: Path) -> None:
    settings = Settings.load({"RESIFT_CONFIG": str(config), "RESIFT_THREADS": "3"})
    assert settings.origin("threads") == "RESIFT_THREADS"
    assert settings.origin("model") == str(config)
    assert settings.origin("calibration") is None
    same = Settings("onnxruntime", 3, "/models/mine", storage=settings.storage)
    assert settings == same and hash(settings) == hash(same)


@pytest.mark.parametrize("name", ["model", "calibration", "cache_file", "cache_dir"])
def test_a_path_may_begin_with_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    variable = f"RESIFT_{name.upper()}"
    config = tmp_path / "resift.toml"
    config.write_text(f'{name} = "~/x"')
    for settings in (
        Settings.load({variable: "~/x"}),
        Settings.load({"RESIFT_CONFIG": str(config)}),
        Settings(**{name: "~/x"}),  # type: ignore[arg-type]
        Settings(**{name: Path("~/x")}),  # type: ignore[arg-type]
    ):
        assert getattr(settings, name) == "/home/somebody/x"
    for empty in ("", "  "):
        assert getattr(Settings(**{name: empty}), name) is None  # type: ignore[arg-type]
    for odd in (5, b"x", ["x"]):
        with pytest.raises(SettingsError, match=f"{name}="):
            Settings(**{name: odd})  # type: ignore[arg-type]


def test_the_config_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "resift.toml").write_bytes(b"\xef\xbb\xbfthreads = 3\r\n")
    assert Settings.load({"RESIFT_CONFIG": "~/resift.toml"}).threads == 3


def test_without_a_home_a_path_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setenv("HOME", "")
    assert expand_home("~/x") == Path("~/x")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert expand_home("~/x") == Path("~/x") and Settings(model="~/x").model == "~/x"
    assert expand_home("~no-such-user/x") == Path("~no-such-user/x")


def test_a_config_that_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in (tmp_path, tmp_path / "pipe", "/dev/zero"):
        _refused({"RESIFT_CONFIG": str(name)}, f"RESIFT_CONFIG={name}", "expected a file")
    (tmp_path / "large").write_text("#" * 1_000_001)
    _refused({"RESIFT_CONFIG": str(tmp_path / "large")}, "has more than 1,000,000 bytes")
    _refused({"RESIFT_CONFIG": "a\0b"}, "not a readable TOML file")
    assert Settings.load({"RESIFT_CONFIG": "/dev/null"}) == Settings()


def test_values_of_the_constructor_are_checked_as_well() -> None:
    for values in ({"threads": -1}, {"threads": True}, {"cache_gb": 0}, {"runtime": "abacus"}):
        with pytest.raises(SettingsError):
            Settings(**values)
    assert Settings(threads="2").threads == 2  # type: ignore[arg-type]
    assert Settings.load({"RESIFT_THREADS": " 2 "}).threads == 2


def test_a_mistyped_variable_is_named_with_the_nearest(caplog: pytest.LogCaptureFixture) -> None:
    environ = {"RESIFT_CACHE_MBB": "5", "RESIFT_OF_TOMORROW": "x", "OTHER": "y"}
    assert Settings.load(environ) == Settings()
    assert [record.getMessage() for record in caplog.records] == [
        "RESIFT_CACHE_MBB: no such setting; is RESIFT_CACHE_MB meant?",
        "RESIFT_OF_TOMORROW: no such setting",
    ]
    caplog.clear()
    Settings.load({"RESIFT_CACHE_MB": "5", "RESIFT_CONFIG": "", "RESIFT_EMBEDDER_KEY": "k"})
    assert caplog.records == []


@given(st.dictionaries(st.sampled_from(sorted(VARIABLES)), st.text(max_size=8)))
def test_any_environment_is_read_or_refused_in_a_line(environ: dict[str, str]) -> None:
    try:
        Settings.load(environ)
    except SettingsError as error:
        assert "\n" not in str(error)
