# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find text that looks like a real secret. Sentences name the place and never the value."""

from __future__ import annotations

import math
import re
from collections import Counter

PLACEHOLDER = re.compile(r"[a-z0-9]+_[a-z0-9]+_(?:[a-z0-9]+_)*your_key_here")
DESCRIPTIVE = {"password", "PASSWORD"}  # rediss://user:password@host/0 explains a form
PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{32}")
VAULT = re.compile(r"\$ANSIBLE_VAULT;\d\.\d;[A-Z0-9]+\S*\s+[0-9a-f]{32}")
URL_PASSWORD = re.compile(r"\b[a-z][a-z0-9+]*://[^\s/:@\"'`{}<>$]*:([^\s/@\"'`{}<>$*]+)@")
ASSIGNMENT = re.compile(
    r"(?i)[\w.-]*(?:password|passphrase|passwd|secret|token|api_?key|private_?key)(?!\w*(?:hash|sha256))\w*"
    r"[\"']?\s*[:=]\s*[\"']?([A-Za-z0-9+/=_@%!#&*.~-]{16,})(?![\w(\[{])"
)
RANDOM_BITS_PER_CHARACTER = 3.3


def looks_random(value: str) -> bool:
    """Tell generated values from words: several digits, several letters, and few repetitions."""
    if sum(map(str.isdigit, value)) < 3 or sum(map(str.isalpha, value)) < 2:
        return False
    shares = [count / len(value) for count in Counter(value).values()]
    return -sum(share * math.log2(share) for share in shares) >= RANDOM_BITS_PER_CHARACTER


def find_secrets(name: str, text: str, *, example_urls: bool = False) -> list[str]:
    """Return a sentence for each suspicious place; example_urls allows URLs with passwords that are plain words."""
    found = [(match, "a private key") for match in PRIVATE_KEY.finditer(text)]
    found += [(match, "vault-encrypted text") for match in VAULT.finditer(text)]
    for match in URL_PASSWORD.finditer(text):
        password = match.group(1)
        placeholder = PLACEHOLDER.fullmatch(password) or password in DESCRIPTIVE
        if not placeholder and (looks_random(password) or not example_urls):
            found.append((match, "a URL with a password"))
    for match in ASSIGNMENT.finditer(text):
        if not PLACEHOLDER.fullmatch(match.group(1)) and looks_random(match.group(1)):
            found.append((match, "a generated password"))
    return [f"{name}, line {text.count(chr(10), 0, match.start()) + 1}: looks like {what}." for match, what in found]
