# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_test_home import pip_settings


def test_hands_the_settings_of_pip_on_and_lets_variables_win() -> None:
    listing = "\n".join(
        [
            ":env:.index-url='https://index.example.com/simple'",
            "global.index-url='https://pypi.example.com/simple'",
            "global.cert='/etc/ssl/certs/ca-certificates.crt'",
            "install.no-binary=':none:'",
            "list.format='columns'",
        ]
    )
    settings = pip_settings(listing, {"https_proxy": "http://proxy.example.com:3128"})
    assert {name: dict(settings[name]) for name in settings.sections()} == {
        "global": {
            "cert": "/etc/ssl/certs/ca-certificates.crt",
            "index-url": "https://index.example.com/simple",
            "proxy": "http://proxy.example.com:3128",
        },
        "install": {"no-binary": ":none:"},
    }
