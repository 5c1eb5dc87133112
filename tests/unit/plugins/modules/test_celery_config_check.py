# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration is judged by Celery before it is written."""

from __future__ import annotations

import datetime
import os
import pwd
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _backend
from ansible_collections.resultops.celery.plugins.modules import celery_config_check as check
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NASTY = "p@ss:/w%rd#?&'\"{{ }}\\ $HOME `x`"
BROKER = "redis://broker:p%40ss%2Fw0rd@broker.example:6379/0"
BACKEND = "redis://celery:s%3Acret-of-results@redis.example:6379/0"
SETTINGS = """
from os import environ as _environ
broker_url = _environ["CELERY_BROKER_URL"]
result_backend = _environ["CELERY_RESULT_BACKEND"]
"""


@pytest.fixture(autouse=True)
def own_process_state() -> Iterator[None]:
    """Undo what the child process of the module may leave behind."""
    environment, path = dict(os.environ), list(sys.path)
    names = ("celeryconfig", "celeryresults", "celerysqlresults", "application_under_test")
    imported = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    yield
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = path
    for name in names:
        sys.modules.pop(name, None)
    sys.modules.update(imported)


def wanted(**changes: Any) -> dict[str, Any]:
    return {
        "configuration": SETTINGS,
        "config_directory": "/etc/celery/app",
        "environment": f"# a comment\n\nCELERY_BROKER_URL={BROKER}\nCELERY_RESULT_BACKEND={BACKEND}\n",
        "env_file": "/etc/celery/app/.env",
        "certificate_authority": "",
        "certificate_file": None,
        "private_key_file": None,
        "backend_module": "",
        "backend_module_name": "celeryresults",
        "application": "",
        "python_path": [],
        **changes,
    }


def certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """Write a self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=36500))
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = directory / f"{name}.crt", directory / f"{name}.key"
    certificate_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file


BACKEND_MODULE = (Path(check.__file__).parents[2] / "roles" / "worker" / "files" / "celeryresults.py").read_text()
SENTINELS = {"kind": "sentinel", "hosts": ["s1", "s2", "s3"], "ca_file": "/ca.crt", "sentinel_username": "client"}


def behind_sentinels(description: dict[str, Any], *lines: str, query: str = "", **changes: Any) -> dict[str, Any]:
    """What the role passes, and lines that follow its settings."""
    settings = _backend.celery_settings(description)
    text = "".join(f"{name} = {value!r}\n" for name, value in settings.items())
    url = _backend.backend_url(description, "word")
    return wanted(
        configuration=f"{SETTINGS}{text}" + "".join(f"{line}\n" for line in lines),
        environment=f"CELERY_BROKER_URL={BROKER}\nCELERY_RESULT_BACKEND='{url}{query}'\n",
        backend_module=BACKEND_MODULE,
        **changes,
    )


@pytest.mark.parametrize("profile", ["stock", "fast", "durable"])
@pytest.mark.parametrize(
    "description",
    [SENTINELS, {"kind": "redis", "hosts": ["r1"], "ca_file": "/ca.crt"}, {**SENTINELS, "tls": False, "ca_file": ""}],
    ids=["sentinel", "redis", "plaintext"],
)
def test_what_the_filters_give_passes(description: dict[str, Any], profile: str) -> None:
    assert check.find_problem(behind_sentinels({**description, "profile": profile})) == ""


@pytest.mark.parametrize("profile", ["stock", "fast"])
@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "del redis_backend_use_ssl",
            "redis_backend_use_ssl is not set, so the Redis nodes would be reached in plaintext",
        ),
        (
            "del result_backend_transport_options['sentinel_kwargs']['ssl']",
            "sentinel_kwargs of result_backend_transport_options lacks ssl: True, so the sentinels would be asked in",
        ),
    ],
)
def test_plaintext_without_a_word_is_refused(profile: str, line: str, sentence: str) -> None:
    assert sentence in check.find_problem(behind_sentinels({**SENTINELS, "profile": profile}, line))


@pytest.mark.parametrize("profile", ["stock", "fast"])
def test_tls_parameters_that_celery_would_drop_are_refused(profile: str) -> None:
    settings = behind_sentinels({**SENTINELS, "profile": profile}, query="?ssl_ca_certs=/ca.crt")
    assert "The URL of the result backend has ssl_ parameters, which Celery drops" in check.find_problem(settings)


SQL = {"hosts": ["db1"], "username": "shop", "database": "results", "ca_file": "/ca.crt"}
SQL_MODULE = {
    "backend_module": (Path(check.__file__).parents[2] / "roles/worker/files/celerysqlresults.py").read_text(),
    "backend_module_name": "celerysqlresults",
}


@pytest.mark.parametrize("profile", ["stock", "fast"])
@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_what_the_filters_give_for_sql_passes(kind: str, profile: str) -> None:
    settings = behind_sentinels({**SQL, "kind": kind, "profile": profile})
    assert check.find_problem({**settings, **SQL_MODULE}) == ""


@pytest.mark.parametrize("profile", ["stock", "fast"])
@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("database_engine_options['speed'] = 1", "speed"),
        ("database_engine_options['isolation'] = 1", "cannot be built: TypeError"),
        ("_environ['CELERY_RESULT_BACKEND'] = result_backend.replace('+psycopg', '+nowhere')", "nowhere"),
    ],
)
def test_what_sqlalchemy_refuses_is_told_before_the_first_result(profile: str, line: str, sentence: str) -> None:
    settings = behind_sentinels({**SQL, "kind": "postgresql", "profile": profile}, line)
    problem = check.find_problem({**settings, **SQL_MODULE})
    assert problem.startswith("The result backend (CELERY_RESULT_BACKEND, see worker_backend) cannot be built")
    assert sentence in problem


def test_a_profile_without_its_class_is_refused() -> None:
    settings = {**behind_sentinels({**SENTINELS, "profile": "fast"}, ""), "backend_module": ""}
    assert "The result backend (CELERY_RESULT_BACKEND, see worker_backend) cannot be" in check.find_problem(settings)


def test_a_backend_module_that_cannot_run_is_named() -> None:
    problem = check.find_problem(wanted(backend_module="import nowhere"))
    assert problem.startswith("/etc/celery/app/celeryresults.py cannot be loaded by the interpreter of the worker")


def test_a_good_configuration_passes() -> None:
    settings = SETTINGS + "result_backend_thread_safe = True\nresult_compression = 'gzip'\ntask_acks_late = True\n"
    assert check.find_problem(wanted(configuration=settings)) == ""


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("result_expire = 5", "result_expire (see worker_settings) is not a setting of Celery; "
                              "the most similar one is result_expires."),
        ("CELERY_RESULT_EXPIRES = 5", "CELERY_RESULT_EXPIRES (see worker_settings) is not a setting of Celery; "
                                      "the most similar one is result_expires."),
        ("task_acks_late = 'yes'", "task_acks_late (see worker_settings) is a text, "
                                   "but Celery wants a value of type bool."),
        ("worker_prefetch_multiplier = '4'", "worker_prefetch_multiplier (see worker_settings) is a text, "
                                             "but Celery wants a value of type int."),
        ("result_serializer = 'nope'", "result_serializer (see worker_result_serializer and worker_settings) "
                                       "cannot be used: SerializerNotInstalled: No encoder installed for nope."),
        ("result_compression = 'zst'", "result_compression (see worker_settings) cannot be used: KeyError: 'zst'."),
        ("result_backend = 'nope://'", "The result backend (CELERY_RESULT_BACKEND, see worker_backend) cannot be"),
        ("redis_backend_use_ssl = {}\nresult_backend = 'rediss://redis.example'",
         "The result backend (CELERY_RESULT_BACKEND, see worker_backend) cannot be built: ValueError"),
        ("task_acks_late =", "/etc/celery/app/celeryconfig.py cannot be loaded: SyntaxError"),
    ],
)  # fmt: skip
def test_a_bad_setting_is_named(line: str, sentence: str) -> None:
    environment = f"CELERY_BROKER_URL={BROKER}\nCELERY_RESULT_BACKEND={BACKEND}\n"
    if line.startswith("result_backend") or "\nresult_backend" in line:
        # Celery lets the environment win over the module.
        environment = environment.replace(BACKEND, line.rpartition("= ")[2].strip("'"))
    problem = check.find_problem(wanted(configuration=f"{SETTINGS}{line}\n", environment=environment))
    assert problem.startswith(sentence)
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("CELERY_BROKER_URL='open", "/e cannot be read: The quotes of CELERY_BROKER_URL are not closed."),
        ("CELERY_BROKER_URL=x", "CELERY_RESULT_BACKEND is missing in /e."),
        ("CELERY_BROKER_URL=''\nCELERY_RESULT_BACKEND=x", "CELERY_BROKER_URL is missing in /e."),
    ],
)
def test_a_bad_environment_file_is_refused(text: str, sentence: str) -> None:
    assert check.find_problem(wanted(environment=text, env_file="/e")) == sentence


def test_quoted_values_are_read_as_systemd_reads_them() -> None:
    text = f"CELERY_BROKER_URL={shlex.quote(NASTY)}\nCELERY_RESULT_BACKEND=x\nEMPTY=''\n"
    assert check.read_environment(text, "/e") == {
        "CELERY_BROKER_URL": NASTY,
        "CELERY_RESULT_BACKEND": "x",
        "EMPTY": "",
    }


def test_an_unknown_broker_is_refused_without_its_password() -> None:
    text = f"CELERY_BROKER_URL=nope://user:hidden-word@host\nCELERY_RESULT_BACKEND={BACKEND}\n"
    problem = check.find_problem(wanted(environment=text))
    assert problem.startswith("The broker connection (CELERY_BROKER_URL, see worker_broker_url) cannot be built")
    assert "hidden-word" not in problem


def test_an_application_is_imported_with_its_settings(tmp_path: Path) -> None:
    (tmp_path / "application_under_test.py").write_text(
        "from celery import Celery\napp = Celery('x')\napp.config_from_object('celeryconfig')\n"
        "assert app.conf.broker_url\n"
    )
    changes = {"application": "application_under_test", "python_path": [str(tmp_path)]}
    assert check.find_problem(wanted(**changes)) == ""


@pytest.mark.parametrize("reaction", ["raise RuntimeError", "raise SystemExit", "raise ValueError"])
def test_an_application_that_fails_gives_no_secret_away(tmp_path: Path, reaction: str) -> None:
    (tmp_path / "application_under_test.py").write_text(
        "import os\nfrom urllib.parse import unquote, urlsplit\n"
        "url = os.environ['CELERY_BROKER_URL']\n"
        f"{reaction}(f'cannot use {{url}} {{unquote(urlsplit(url).password)}}')\n"
    )
    changes = {"application": "application_under_test", "python_path": [str(tmp_path)]}
    problem = check.find_problem(wanted(**changes))
    assert problem.startswith("worker_celery_app (application_under_test) cannot be imported on the host: ")
    assert problem.endswith("cannot use **** ****.")


def test_a_missing_application_is_named() -> None:
    problem = check.find_problem(wanted(application="application_under_test"))
    assert problem.startswith(
        "worker_celery_app (application_under_test) cannot be imported on the host: ModuleNotFound"
    )


def test_the_authority_must_be_a_certificate(tmp_path: Path) -> None:
    authority = certificate(tmp_path, "ca")[0].read_text()
    assert check.find_problem(wanted(certificate_authority=authority)) == ""
    assert check.find_problem(wanted(certificate_authority="no certificate")).startswith(
        "worker_ca_certificate is not a certificate in PEM form"
    )


def test_a_client_certificate_must_match_its_key(tmp_path: Path) -> None:
    first, first_key = certificate(tmp_path, "first")
    second_key = certificate(tmp_path, "second")[1]
    files = {"certificate_file": str(first), "private_key_file": str(first_key)}
    assert check.find_problem(wanted(**files)) == ""
    assert "belong together" in check.find_problem(wanted(**{**files, "private_key_file": str(second_key)}))
    assert "belong together" in check.find_problem(wanted(**{**files, "private_key_file": "/nonexistent"}))


def test_every_form_of_a_secret_is_masked() -> None:
    text = check.mask(
        "redis://u:p%40ss%2Fw0rd@h/0 p%40ss%2Fw0rd p@ss/w0rd second-value",
        {"A": "redis://u:p%40ss%2Fw0rd@h/0;x://u:second-value@h"},
    )
    assert text == "**** **** **** ****"


Result = dict[str, Any]
Runner = Callable[..., Result]


def options(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in wanted(**changes).items() if value is not None}


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_good_configuration_changes_nothing(run_on_host: Runner, check_mode: bool) -> None:
    before = dict(os.environ), list(sys.path)
    result = run_on_host("celery_config_check", check_mode=check_mode, **options())
    invocation = result.pop("invocation")["module_args"]
    assert result == {"changed": False}
    assert (invocation["environment"], invocation["configuration"]) == ("VALUE_SPECIFIED_IN_NO_LOG_PARAMETER",) * 2
    assert before == (dict(os.environ), list(sys.path))


def test_a_problem_is_told_with_what_was_left_undone(run_on_host: Runner) -> None:
    changes = {"configuration": SETTINGS + "task_serialiser = 'json'\n", "failure_note": "Nothing was written."}
    result = run_on_host("celery_config_check", **options(**changes))
    assert result["failed"] is True
    assert result["msg"] == (
        "task_serialiser (see worker_settings) is not a setting of Celery; "
        "the most similar one is task_serializer. Nothing was written."
    )


def test_a_quoted_secret_is_masked() -> None:
    assert check.mask(str(KeyError(NASTY)), {"DJANGO_SECRET_KEY": NASTY}) == "'****'"


def test_what_the_application_prints_goes_nowhere(
    run_on_host: Runner, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "noisy.py").write_text(
        "import os\nfrom celery import Celery\nprint('noise', flush=True)\nos.system('echo noise; echo noise >&2')\n"
        "app = Celery('noisy')\n"
    )
    result = run_on_host("celery_config_check", **options(application="noisy", python_path=[str(tmp_path)]))
    assert result["changed"] is False
    assert tuple(capfd.readouterr()) == ("", "")


def test_an_application_that_ends_the_process_is_refused(run_on_host: Runner, tmp_path: Path) -> None:
    (tmp_path / "brief.py").write_text("import os\nos._exit(0)\n")
    result = run_on_host("celery_config_check", **options(application="brief", python_path=[str(tmp_path)]))
    assert result["msg"] == f"{sys.executable} (see worker_python) could not run the check of the configuration."


@pytest.mark.skipif(os.geteuid() != 0, reason="Only root can become another user.")
def test_the_configuration_is_loaded_as_the_user_of_the_worker(run_on_host: Runner) -> None:
    nobody = pwd.getpwnam("nobody")
    configuration = "import os\nraise RuntimeError(os.getresuid(), os.getresgid(), os.getgroups(), os.getcwd())\n"
    result = run_on_host("celery_config_check", **options(configuration=configuration), user="nobody")
    expected = (
        (nobody.pw_uid,) * 3,
        (nobody.pw_gid,) * 3,
        os.getgrouplist("nobody", nobody.pw_gid),
        "/",
    )
    assert result["msg"] == f"/etc/celery/app/celeryconfig.py cannot be loaded: RuntimeError: {expected}."


@pytest.mark.skipif(os.geteuid() != 0, reason="Only root can become another user.")
def test_a_user_that_does_not_exist_is_named(run_on_host: Runner) -> None:
    result = run_on_host("celery_config_check", **options(), user="surely-missing")
    assert result["msg"] == "The user surely-missing (see worker_user) does not exist."
