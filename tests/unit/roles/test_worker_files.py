# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role worker writes can be read by Python, by a shell and by systemd, and the examples run with it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible.plugins.filter.core import FilterModule

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles" / "worker"
EXAMPLES = ROOT / "examples"
NASTY = "p@ss:/w%rd#?&'\"{{ }}\\ $HOME `id` *"
ENVIRONMENT = {
    "CELERY_BROKER_URL": "memory://",
    "CELERY_RESULT_BACKEND": "rediss://celery:redis_production_your_key_here@redis.example:6379/0?ssl_cert_reqs=required",
    "DJANGO_SECRET_KEY": "django_production_your_key_here",
}


def render(template: str, **variables: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROLE / "templates"),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 (the templates give Python, shell and unit files)
    )
    environment.filters.update(FilterModule().filters())
    known = {
        "ansible_managed": "Ansible managed",
        "worker_app": "shop",
        "__worker_environment_file": "/etc/x/.env",
        "__worker_asks_sentinels": False,
        "__worker_required_variables": ["CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"],
        "__worker_stock_sentinel": False,
    }
    return environment.get_template(template).render({**known, **variables})


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """Return the directory of a celeryconfig module as the role writes it."""
    text = render("celeryconfig.py.j2", __worker_settings={"task_acks_late": True, "result_expires": 3600})
    (tmp_path / "celeryconfig.py").write_text(text)
    return tmp_path


def run(program: str, *path: Path, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", program],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(map(str, path)), **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )


def test_settings_are_read_back_as_they_were_given(tmp_path: Path) -> None:
    settings = {"text": NASTY, "number": 1.5, "flag": True, "none": None, "nested": {"a": ["b", {"c": 0}]}}
    (tmp_path / "celeryconfig.py").write_text(render("celeryconfig.py.j2", __worker_settings=settings))
    program = (
        "import celeryconfig as c; print({n: getattr(c, n) for n in ('text', 'number', 'flag', 'none', 'nested')})"
    )
    assert run(program, tmp_path, environment=ENVIRONMENT).stdout == f"{settings}\n"


@pytest.mark.parametrize("missing", ["CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"])
def test_a_missing_variable_is_named_with_its_file(configuration: Path, missing: str) -> None:
    answer = run("import celeryconfig", configuration, environment={**ENVIRONMENT, missing: ""})
    assert answer.returncode == 1
    assert f"RuntimeError: {missing} is not set: load /etc/x/.env first" in answer.stderr


SENTINEL = {
    "__worker_asks_sentinels": True,
    "__worker_required_variables": ["CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "CELERY_SENTINEL_PASSWORD"],
    "__worker_settings": {"result_backend_transport_options": {"sentinel_kwargs": {"username": "client"}}},
}
SHOW = "import celeryconfig as c; print(c.result_backend_transport_options['sentinel_kwargs'])"


def test_the_password_of_the_sentinels_comes_from_the_environment(tmp_path: Path) -> None:
    text = render("celeryconfig.py.j2", **SENTINEL)
    (tmp_path / "celeryconfig.py").write_text(text)
    answer = run(SHOW, tmp_path, environment={**ENVIRONMENT, "CELERY_SENTINEL_PASSWORD": NASTY})
    assert answer.stdout == f"{ {'username': 'client', 'password': NASTY} }\n"
    answer = run(SHOW, tmp_path, environment=ENVIRONMENT)
    assert "RuntimeError: CELERY_SENTINEL_PASSWORD is not set" in answer.stderr


def test_the_client_of_stock_celery_asks_each_sentinel_once(tmp_path: Path) -> None:
    (tmp_path / "celeryconfig.py").write_text(render("celeryconfig.py.j2", **SENTINEL, __worker_stock_sentinel=True))
    show = SHOW.replace("])", "]['retry'].get_retries())")
    answer = run(show, tmp_path, environment={**ENVIRONMENT, "CELERY_SENTINEL_PASSWORD": "x"})
    assert answer.stdout == "0\n", answer.stderr


@pytest.mark.parametrize(
    "program",
    [
        "print(celery.current_app.backend)",
        "celery.current_app.conf.timezone; print(celery.current_app.backend)",
        "app = celery.Celery(); app.config_from_object('celeryconfig'); print(app.AsyncResult('x').backend)",
        "app = celery.Celery(); app.config_from_object('celeryconfig', namespace='CELERY'); print(app.backend)",
    ],
)
def test_the_classes_of_this_collection_are_found_before_any_settings_are_read(tmp_path: Path, program: str) -> None:
    (tmp_path / "celeryconfig.py").write_text(render("celeryconfig.py.j2", __worker_settings={}))
    program = f"import celery; {program}"
    backend = f"celeryresults.FastRedisBackend+{ENVIRONMENT['CELERY_RESULT_BACKEND']}"
    answer = run(program, tmp_path, ROLE / "files", environment={**ENVIRONMENT, "CELERY_RESULT_BACKEND": backend})
    assert "celeryresults.FastRedisBackend object" in answer.stdout, answer.stderr


def test_a_shell_reads_the_environment_file(tmp_path: Path) -> None:
    values = {"CELERY_BROKER_URL": NASTY, "PLAIN": "a-b.c", "EMPTY": "", "SPACES": "  two  words ", "NUMBER": 7}
    (tmp_path / ".env").write_text(render("environment.j2", __worker_environment=values))
    command = ["sh", "-c", '. ./.env; printf "%s\\n" "$CELERY_BROKER_URL" "$PLAIN" "$EMPTY" "$SPACES" "$NUMBER"']
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert answer.stdout == "".join(f"{value}\n" for value in values.values())
    assert answer.stderr == ""


def test_arguments_of_the_unit_survive_systemd() -> None:
    unit = render(
        "celery.service.j2",
        __worker_launcher="/opt/celery/shop/worker.py",
        __worker_python="/opt/celery/shop/venv/bin/python",
        __worker_python_path=["/etc/celery/shop", "/opt/celery/shop/src"],
        worker_backend="redis",
        worker_celery_app="shop.celery:app",
        worker_concurrency=4,
        worker_extra_arguments=['--title=50% "done" $x \\ y'],
        worker_group="celery",
        worker_log_level="info",
        worker_pool="prefork",
        worker_queues=["celery", "slow jobs"],
        worker_start_timeout=90,
        worker_stop_timeout=300,
        worker_user="celery",
        worker_writable_paths=["/srv/shop"],
    )
    assert '"--title=50%% \\"done\\" $$x \\\\ y" \\\n' in unit
    assert '--queues "celery,slow jobs"\n' in unit
    assert "--concurrency 4 \\\n" in unit
    assert "\nReadWritePaths=/srv/shop\n" in unit
    assert "\nKillMode=mixed\nTimeoutStopSec=300\n" in unit
    assert "\n\n\n" not in unit


@pytest.mark.parametrize("example", ["celery_app", "django_project"])
def test_the_source_of_an_example_is_found_from_an_inventory(example: str) -> None:
    documented = [path for path in (EXAMPLES / example).iterdir() if path.suffix in (".md", ".yml")]
    (source,) = [
        line.partition(":")[2].strip(' "')
        for path in documented
        for line in path.read_text().splitlines()
        if line.startswith("worker_application_src:")
    ]
    inventory = ROOT / "inventories" / "demo"
    resolved = jinja2.Environment(autoescape=False, undefined=jinja2.StrictUndefined).from_string(source)  # noqa: S701 (a path)
    assert Path(resolved.render(inventory_dir=inventory)).resolve() == EXAMPLES / example


def test_the_archive_of_an_application_holds_no_environment_files(tmp_path: Path) -> None:
    wanted = ["environment.py", "shop/tasks.py"]
    unwanted = [".env", ".envrc", ".env-prod", "shop/.env.eu", ".venv/x", "shop/__pycache__/x.pyc", ".git/config"]
    for name in wanted + unwanted:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    command = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())["__worker_archive"]
    archive = subprocess.run([*command, "--directory", str(tmp_path), "."], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        names = [member.name.removeprefix("./") for member in members if member.isfile()]
    assert names == wanted


def test_the_example_application_runs(configuration: Path) -> None:
    program = "from tasks import app, total; print(total.apply([[1.5, 2]]).get(), app.conf.result_expires)"
    answer = run(program, configuration, EXAMPLES / "celery_app", environment=ENVIRONMENT)
    assert answer.stdout == "3.5 3600\n", answer.stderr


@pytest.fixture(scope="module")
def django() -> Path:
    """Return the directory of the Django that the example asks for; the tools do not need it otherwise."""
    variables = yaml.safe_load((EXAMPLES / "django_project" / "variables.yml").read_text())
    (requirement,) = variables["worker_application_requirements"]
    target = ROOT / ".cache" / "examples" / requirement
    if not target.is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), requirement]
        subprocess.run(command, check=True)
    return target


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (
            "from django.core.management import call_command; django.setup(); call_command('check')",
            "System check identified no issues (0 silenced).\n",
        ),
        (
            "django.setup(); from shop.tasks import total; from shop import app;"
            "print(total.apply([[1.5, 2]]).get(), app.conf.result_expires, total.app is app)",
            "3.5 3600 True\n",
        ),
        (
            "django.setup(); from django.test import Client; from shop import app; import uuid;"
            "app.conf.task_always_eager = True;"
            "answer = Client(headers={'host': 'localhost'}).get('/orders/?price=1.5&price=2').json();"
            "print(uuid.UUID(answer['order']).version)",
            "4\n",
        ),
    ],
    ids=["check", "task", "request"],
)
def test_the_django_example_runs(configuration: Path, django: Path, program: str, expected: str) -> None:
    variables = {**ENVIRONMENT, "DJANGO_SETTINGS_MODULE": "shop.settings"}
    answer = run(f"import django; {program}", configuration, EXAMPLES / "django_project", django, environment=variables)
    assert answer.stdout == expected, answer.stderr
