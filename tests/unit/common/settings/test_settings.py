"""Where settings come from, and what error a bad one gives."""

import os
import re
import traceback
from pathlib import Path

import pytest

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.settings.settings import Settings, check_environment, load_settings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting from outside: an empty folder, and no variable of Hedgerow's."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.upper().startswith("HEDGEROW"):
            monkeypatch.delenv(name)


def write_file(text: str, name: str = "hedgerow.toml") -> Path:
    """A settings file in the current folder."""
    path = Path(name)
    path.write_text(text)
    return path


def error_of(**overrides: object) -> str:
    """What is said when the settings cannot be used."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings(**overrides)
    return str(caught.value)


def test_defaults_need_nothing() -> None:
    """Without file and environment, each setting has its default."""
    settings = load_settings()
    assert settings.redis.url == "redis://127.0.0.1:6379/0"
    assert settings.breaker.consecutive_failures == 5
    assert sorted(settings.rank_profiles) == ["bm25", "noop"]


def test_file_over_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """hedgerow.toml in the working directory is read, or the file that HEDGEROW_CONFIG names."""
    write_file("[breaker]\nconsecutive_failures = 3\n")
    assert load_settings().breaker.consecutive_failures == 3
    write_file("[breaker]\nconsecutive_failures = 4\n", "other.toml")
    monkeypatch.setenv("HEDGEROW_CONFIG", "other.toml")
    assert load_settings().breaker.consecutive_failures == 4


def test_environment_over_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable wins over the file, setting by setting; the rest of the group stays."""
    write_file('[redis]\nurl = "redis://file:1/0"\nkey_prefix = "file"\n')
    monkeypatch.setenv("HEDGEROW_REDIS__URL", "redis://environment:2/0")
    settings = load_settings()
    assert settings.redis.url == "redis://environment:2/0"
    assert settings.redis.key_prefix == "file"


def test_arguments_over_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command line says wins over everything."""
    monkeypatch.setenv("HEDGEROW_LOG_LEVEL", "error")
    assert load_settings(log_level="debug").log_level == "debug"


def test_profiles_join_the_built_in() -> None:
    """A configured rank profile stands beside bm25 and noop, and may replace them."""
    write_file(
        '[rank_profiles.names]\nsecond_phase = "names:score"\ncandidates = 50\n'
        '[rank_profiles.bm25]\nenrich = "legacy:enrich"\n'
    )
    profiles = load_settings().rank_profiles
    assert sorted(profiles) == ["bm25", "names", "noop"]
    assert profiles["names"].candidates == 50
    assert profiles["bm25"].enrich == "legacy:enrich"


def test_settings_are_frozen() -> None:
    """No setting can be changed after the start."""
    with pytest.raises(ValueError, match="frozen"):
        load_settings().redis.url = "redis://elsewhere"  # type: ignore[misc]  # the point


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[breaker]\nconsecutive_failures = 0\n", "breaker.consecutive_failures: "),
        ('[gateway]\nport = "http"\n', "gateway.port: "),
        ('log_level = "loud"\n', "log_level: "),
        ("[breaker]\nfailures = 3\n", "breaker.failures: there is no such setting"),
        (
            "[gateway]\nprot = 3\n",
            "gateway.prot: there is no such setting; did you mean gateway.port?",
        ),
        (
            '[rank_profiles.x]\nsecond_fase = "a:b"\n',
            "rank_profiles.x.second_fase: there is no such setting; did you mean rank_profiles.x.",
        ),
        ("[gatway]\nport = 1\n", "gatway: there is no such setting; did you mean gateway?"),
        ("[brakes]\nfailures = 3\n", "brakes: there is no such setting; did you mean breaker?"),
        (
            '[rank_profiles.x]\nsecond_phase = "score"\n',
            "rank_profiles.x.second_phase: is written module:function",
        ),
        ('[rank_profiles.x]\nlane = "loop"\n', "rank_profiles: x: lane loop is for noop"),
        (
            '[worker]\nprocess_pool = "executor"\nscorer_max_memory_mb = 700\n',
            "worker.scorer_max_memory_mb: needs process_pool = supervised",
        ),
        ("[gateway\n", "hedgerow.toml: "),
    ],
)
def test_errors_name_the_setting(text: str, said: str) -> None:
    """A setting that cannot be used is named, with the reason."""
    write_file(text)
    assert error_of().startswith(said)


def test_errors_name_every_setting() -> None:
    """Two bad settings are both named at once."""
    write_file("[gateway]\nport = 70000\n[breaker]\nwait_jitter = 1.0\n")
    message = error_of()
    assert "gateway.port: " in message
    assert "breaker.wait_jitter: " in message


def test_errors_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad variable is named by its setting."""
    monkeypatch.setenv("HEDGEROW_WORKER__THREADS", "none")
    assert error_of().startswith("worker.threads: ")
    monkeypatch.delenv("HEDGEROW_WORKER__THREADS")
    monkeypatch.setenv("HEDGEROW_WORKER", "four threads")
    assert error_of().startswith("HEDGEROW_WORKER: is not JSON")


@pytest.mark.parametrize(
    "name", ["HEDGEROW_REDIS__SENTINELS", "hedgerow_gateway__allowed_hosts", "HEDGEROW_REDIS"]
)
def test_a_variable_that_should_be_json_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A list without brackets is a likely slip; what it contains is not shown."""
    monkeypatch.setenv(name, "xyzzy:26379")
    monkeypatch.setenv("HEDGEROW_REDIS__URL", "redis://plain.text/0")
    assert error_of() == f'{name}: is not JSON; a list is written as ["a", "b"]'


@pytest.mark.parametrize("name", ["HEDGEROW_REDIS__URL", "HEDGEROW_REDIS__CONTROL_URL"])
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://h/0", "scheme 'http' is not redis, rediss or unix"),
        ("h:6379", "scheme 'h' is not redis, rediss or unix"),
        ("redis//h", "scheme '' is not redis, rediss or unix"),
        ("redis://h:99999/0", "its port is not a number from 0 to 65535"),
        ("redis://:pass/word@h:6379/0", "its port is not a number from 0 to 65535"),
        ("redis://[::1/0", "is not a URL"),
        ("redis://h/zero", "database 'zero' is not a number"),
        ("unix:///run/redis.sock?db=one", "database 'one' is not a number"),
    ],
)
def test_a_url_of_redis_that_cannot_be_used_is_named_by_its_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str, reason: str
) -> None:
    """Before anything connects."""
    monkeypatch.setenv(name, url)
    setting = name.removeprefix("HEDGEROW_").lower().replace("__", ".")
    assert error_of() == f"{setting}: {reason}"


@pytest.mark.parametrize("value", ["inf", "nan", "-1", "0", "1e300"])
def test_a_share_of_the_shards_is_a_number_that_can_be_added(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """One worker with an endless capacity would leave no placement for all others."""
    monkeypatch.setenv("HEDGEROW_WORKER__CAPACITY", value)
    assert error_of().startswith("worker.capacity: ")


def test_no_time_is_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instants are computed from times, as whole milliseconds."""
    monkeypatch.setenv("HEDGEROW_PLACEMENT__REPLACE_AFTER_S", "inf")
    assert error_of().startswith("placement.replace_after_s: ")


def test_named_file_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """A settings file that is named but not there is an error, not an empty file."""
    monkeypatch.setenv("HEDGEROW_CONFIG", "nowhere.toml")
    assert error_of() == "HEDGEROW_CONFIG: there is no file nowhere.toml"


def test_a_file_that_is_not_toml_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """If another file than hedgerow.toml is read, the error names that file."""
    write_file("[gateway\n", "other.toml")
    monkeypatch.setenv("HEDGEROW_CONFIG", "other.toml")
    assert error_of().startswith("other.toml: ")


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Password and token are in no repr of the settings, nor in the traceback of an error."""
    monkeypatch.setenv("HEDGEROW_REDIS__PASSWORD", "xyzzy")
    monkeypatch.setenv("HEDGEROW_GATEWAY__TOKEN", "plugh")
    settings = load_settings()
    assert settings.redis.password is not None
    assert settings.redis.password.get_secret_value() == "xyzzy"
    assert "xyzzy" not in repr(settings)
    assert "plugh" not in repr(settings)
    write_file("[redis]\npassword = 314159\n")
    monkeypatch.delenv("HEDGEROW_REDIS__PASSWORD")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert "314159" not in "".join(traceback.format_exception(caught.value))


def test_settings_are_plain_values() -> None:
    """The same settings can be made in code, without any environment (the Python interface)."""
    assert Settings(log_level="error").log_level == "error"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("HEDGEROW_GATEWAY_PORT", "HEDGEROW_GATEWAY__PORT"),
        ("HEDGEROW_GATWAY__PORT", "HEDGEROW_GATEWAY__PORT"),
        ("hedgerow_gateway__prot", "HEDGEROW_GATEWAY__PORT"),
        ("HEDGEROW_LOGLEVEL", "HEDGEROW_LOG_LEVEL"),
        ("HEDGEROW_URI", "HEDGEROW_URL"),
        ("HEDGEROW_BREAKR__CONSECUTIVE_FAILURE", "HEDGEROW_BREAKER__CONSECUTIVE_FAILURES"),
    ],
)
def test_a_misspelt_variable_is_an_error_that_names_the_nearest(name: str, meant: str) -> None:
    """A variable that is almost that of a setting is an error, instead of having no effect."""
    with pytest.raises(ConfigurationError) as refused:
        check_environment([name, "PATH"])
    assert str(refused.value) == f"{name}: there is no such setting; did you mean {meant}?"


@pytest.mark.parametrize(
    "name",
    [
        "HEDGEROW_GATEWAY__PORT",
        "hedgerow_data",
        "HEDGEROW_REDIS",
        "HEDGEROW_RANK_PROFILES__MINE__SECOND_PHASE",
        "HEDGEROW_CONFIG",
        "HEDGEROW_URL",
        "HEDGEROW_REDIS_PASSWORD",
        "HEDGEROW_BENCH_WORKER",
        "HEDGEROW_SOMETHING_OF_YOURS",
        "PORT",
    ],
)
def test_a_variable_that_is_no_misspelt_setting_is_let_pass(name: str) -> None:
    """Settings, what compose.yaml and the commands read, and names that are like none."""
    check_environment([name])


def test_a_variable_of_a_group_that_is_none_is_an_error() -> None:
    """Two underscores are the settings' own notation."""
    with pytest.raises(ConfigurationError, match=r"HEDGEROW_ZZZ__QQQ: there is no such setting$"):
        check_environment(["HEDGEROW_ZZZ__QQQ"])


def test_the_variables_of_compose_are_known() -> None:
    """A shell may have them, and then no command must refuse to run."""
    text = (Path(__file__).parents[4] / "compose.yaml").read_text(encoding="utf-8")
    check_environment(set(re.findall(r"HEDGEROW_\w+", text)))
