# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepare the home directory that tools/sanity gives to ansible-test.

ansible-test keeps its virtual environments below the home directory and hands pip nothing but that directory, so the
caller's pip settings and proxy are written there too.
"""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import types
import urllib.request
from pathlib import Path

from ansible_test._internal.python_requirements import get_venv_packages

BOOTSTRAP_SECONDS = 10
STAND_IN = """\
import runpy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).with_name("{wheel}")))
sys.argv[1:] = ["install", *(word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel"))]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


def pip_settings(listing: str, environment: dict[str, str]) -> configparser.RawConfigParser:
    """Turn the output of `pip config list` and the proxy variables into one pip.conf."""
    settings = configparser.RawConfigParser()
    settings.add_section("global")
    proxy = environment.get("https_proxy") or environment.get("HTTPS_PROXY")
    if proxy:
        settings.set("global", "proxy", proxy)
    for line in sorted(listing.splitlines(), reverse=True):  # variables (":env:") last: they win over files
        name, equals, quoted = line.partition("=")
        if equals and name.startswith((":env:.", "global.", "install.")):
            section, option = name.rsplit(".", 1)
            section = "install" if section == "install" else "global"
            if not settings.has_section(section):
                settings.add_section(section)
            settings.set(section, option, quoted.strip("'").replace("\\n", "\n"))
    return settings


def write_pip_settings(home: Path) -> None:
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    path = home / ".config" / "pip" / "pip.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    with path.open("w", encoding="utf-8") as file:
        pip_settings(listing, dict(os.environ)).write(file)


def bootstrap_script(home: Path, python: str) -> None:
    version = get_venv_packages(types.SimpleNamespace(version=python))["pip"]
    path = home / ".ansible" / "test" / "cache" / f"get_pip_{version.replace('.', '_')}.py"
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    url = f"https://ci-files.testing.ansible.com/ansible-test/get-pip-{version}.py"
    try:
        with urllib.request.urlopen(url, timeout=BOOTSTRAP_SECONDS) as answer, partial.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except OSError as error:
        print(f"==> {url} cannot be downloaded ({error}); bootstrapping from the wheel of pip {version} instead")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*command, "--dest", str(path.parent), f"pip=={version}"], check=True)
        wheel = next(path.parent.glob(f"pip-{version}-*.whl"))
        partial.write_text(STAND_IN.format(wheel=wheel.name), encoding="utf-8")
    partial.rename(path)


def main() -> None:
    home = Path(sys.argv[1])
    write_pip_settings(home)
    bootstrap_script(home, f"{sys.version_info.major}.{sys.version_info.minor}")


if __name__ == "__main__":
    main()
