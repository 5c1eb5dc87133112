# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what a host of the fleet needs to download as this machine does: controller_settings.py <directory>.

ca.crt    the certificate authorities that this machine trusts
pip.conf  its package index, from pip's own configuration
apt.conf  its proxy and time checks, from apt's own configuration

Files that are right already stay untouched, because running hosts have them mounted.
"""

from __future__ import annotations

import configparser
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
PIP_OPTIONS = {
    *("index-url", "extra-index-url", "find-links", "no-index", "proxy", "trusted-host"),
    *("default-timeout", "timeout", "retries"),
}
APT_OPTIONS = ("Acquire::http::", "Acquire::https::", "Acquire::Check-", "Acquire::Retries")


def pip_conf(listing: str, proxy: str = "") -> str:
    """Turn the output of `pip config list` into a pip.conf that makes sense on another machine."""
    options = {"proxy": proxy} if proxy else {}
    for line in sorted(listing.splitlines(), reverse=True):  # variables (":env:") last: they win over files
        name, _equals, quoted = line.partition("=")
        section, _dot, option = name.rpartition(".")
        words = quoted.strip("'").replace("\\n", " ").split()
        remote = [word for word in words if not word.startswith(("/", "file:", "~"))]
        if section in (":env:", "global", "install") and option in PIP_OPTIONS and remote:
            options[option] = " ".join(remote)
    settings = configparser.RawConfigParser()
    settings["global"] = {**options, "cert": CA_BUNDLE, "cache-dir": "/var/cache/fleet/pip"}
    settings["global"]["disable-pip-version-check"] = "true"
    text = io.StringIO()
    settings.write(text)
    return text.getvalue()


def apt_conf(dump: str, proxy: str = "") -> str:
    """Keep those lines of `apt-config dump` that say how to download."""
    lines = [f'Acquire::{scheme}::Proxy "{proxy}";' for scheme in ("http", "https") if proxy]
    lines += [line for line in dump.splitlines() if line.startswith(APT_OPTIONS) and not line.endswith(' "";')]
    return "".join(f"{line}\n" for line in lines)


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> None:
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)  # an index URL or a proxy URL may carry a password
    environment = {name.lower(): value for name, value in os.environ.items()}
    apt = output("apt-config", "dump", "Acquire") if shutil.which("apt-config") else ""
    files = {
        "ca.crt": Path(os.environ.get("SSL_CERT_FILE", CA_BUNDLE)).read_text(encoding="utf-8"),
        "pip.conf": pip_conf(output(sys.executable, "-m", "pip", "config", "list"), environment.get("https_proxy", "")),
        "apt.conf": apt_conf(apt, environment.get("http_proxy", "")),
    }
    for name, text in files.items():
        path = directory / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")


if __name__ == "__main__":
    main()
