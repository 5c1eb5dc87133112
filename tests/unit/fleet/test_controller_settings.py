# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import configparser
import importlib.util
from pathlib import Path

PATH = Path(__file__).resolve().parents[2] / "fleet" / "controller_settings.py"
spec = importlib.util.spec_from_file_location("controller_settings", PATH)
assert spec is not None
assert spec.loader is not None
controller_settings = importlib.util.module_from_spec(spec)
spec.loader.exec_module(controller_settings)


def pip_options(listing: str, proxy: str = "") -> dict[str, str]:
    parser = configparser.RawConfigParser()
    parser.read_string(controller_settings.pip_conf(listing, proxy))
    return dict(parser["global"])


def test_index_of_the_controller_reaches_the_hosts() -> None:
    options = pip_options(
        "global.index-url='https://index.example.com/simple'\n"
        "global.extra-index-url='https://one.example.com/simple https://two.example.com/simple'\n"
        ":env:.index-url='https://env.example.com/simple'"
    )
    assert options["index-url"] == "https://env.example.com/simple"
    assert options["extra-index-url"] == "https://one.example.com/simple https://two.example.com/simple"


def test_what_only_the_controller_has_stays_there() -> None:
    options = pip_options(
        "global.find-links='/srv/wheels\\nhttps://wheels.example.com/'\n"
        "global.extra-index-url='file:///srv/simple'\n"
        "global.cache-dir='/home/me/cache'\n"
        "global.cert='/home/me/ca.pem'\n"
        "install.user='true'"
    )
    assert options["find-links"] == "https://wheels.example.com/"
    assert options["cache-dir"] == "/var/cache/fleet/pip"
    assert options["cert"] == "/etc/ssl/certs/ca-certificates.crt"
    assert "extra-index-url" not in options
    assert "user" not in options


def test_proxy_of_the_controller_reaches_pip_and_apt() -> None:
    assert pip_options("", "http://proxy.example.com:3128")["proxy"] == "http://proxy.example.com:3128"
    assert 'Acquire::http::Proxy "http://proxy.example.com:3128";' in controller_settings.apt_conf(
        "", "http://proxy.example.com:3128"
    )


def test_apt_keeps_how_to_download_and_nothing_else() -> None:
    dump = (
        'Acquire "";\n'
        'Acquire::http::Proxy "http://apt.example.com:3142";\n'
        'Acquire::Check-Date "false";\n'
        'Acquire::Languages "";\n'
        'Acquire::http::User-Agent-Non-Interactive "true";\n'
    )
    assert controller_settings.apt_conf(dump).splitlines() == [
        'Acquire::http::Proxy "http://apt.example.com:3142";',
        'Acquire::Check-Date "false";',
        'Acquire::http::User-Agent-Non-Interactive "true";',
    ]
