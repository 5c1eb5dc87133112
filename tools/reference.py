# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render what `ansible-doc` knows about roles, modules and filters as Markdown: reference.py <folder> [--check]."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

COLLECTION = "resultops.celery"
ROOT = Path(__file__).resolve().parents[1]
KINDS = {
    "role": ("Roles", "roles/*/meta/argument_specs.yml"),
    "module": ("Modules", "plugins/modules/*.py"),
    "filter": ("Filters", "plugins/filter/*.py"),
}
Document = dict[str, Any]


def plugin_link(reference: str) -> str:
    """Link to the page of a plugin or role of this collection; reference is name#kind."""
    name, _hash, kind = reference.partition("#")
    collection, _dot, short = name.rpartition(".")
    return f"[{short}]({kind}_{short}.md)" if collection == COLLECTION else f"`{name}`"


MARKUP: dict[str, Callable[[str], str]] = {
    "B": lambda text: f"**{text}**",
    "I": lambda text: f"*{text}*",
    "U": lambda text: f"<{text}>",
    "M": lambda text: plugin_link(f"{text}#module"),
    "P": plugin_link,
    "O": lambda text: f"`{text.rpartition(':')[2] if '#' in text else text}`",
    "L": lambda text: "[{}]({})".format(*re.split(r",\s*", text, maxsplit=1)),
    "R": lambda text: text.rsplit(",", 1)[0],
}


def markdown(text: str) -> str:
    """Translate Ansible's markup; what names an option, a value, a plugin or code becomes code."""

    def translate(match: re.Match[str]) -> str:
        content = re.sub(r"\\(.)", r"\1", match.group(2))
        render = MARKUP.get(match.group(1))
        return render(content) if render else f"`{content}`"

    text = text.replace("HORIZONTALLINE", "---")
    return re.sub(r"\b(RV|[BCEILMOPRUV])\(((?:\\.|[^)\\])*)\)", translate, text)


def lines(text: str | list[str] | None) -> list[str]:
    paragraphs = [text] if isinstance(text, str) else text or []
    for paragraph in paragraphs:
        if not isinstance(paragraph, str):
            sys.exit(f"A description is not a text but {paragraph}: quote it, it contains a colon.")
    return [markdown(paragraph) for paragraph in paragraphs]


def cell(*parts: str) -> str:
    return "<br>".join(part for part in parts if part).replace("|", "\\|").replace("\n", " ")


def code(value: object) -> str:
    return f"`{value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)}`"


def type_of(option: Document) -> str:
    elements = f" of {option['elements']}" if "elements" in option else ""
    return f"{option.get('type', 'str')}{elements}"


def option_rows(options: Document, parent: str = "") -> Iterator[str]:
    for name, option in options.items():
        choices = option.get("choices")
        yield "| {} | {} | {} | {} |".format(
            cell(f"`{parent}{name}`", "**required**" if option.get("required") else ""),
            cell(type_of(option)),
            cell(code(option["default"]) if option.get("default") is not None else ""),
            cell(*lines(option["description"]), "Choices: " + ", ".join(map(code, choices)) if choices else ""),
        )
        below = f"{parent}{name}{'[]' if option.get('type') == 'list' else ''}."
        yield from option_rows(option.get("options") or option.get("suboptions") or {}, below)


def attribute_rows(attributes: Document) -> Iterator[str]:
    for name, attribute in attributes.items():
        description = cell(*lines(attribute["description"]), *lines(attribute.get("details")))
        yield f"| `{name}` | {attribute['support']} | {description} |"


def return_rows(values: Document, parent: str = "") -> Iterator[str]:
    for name, value in values.items():
        sample = f"Sample: {code(value['sample'])}" if "sample" in value else ""
        returned = f"Returned: {markdown(value['returned'])}" if "returned" in value else ""
        yield f"| `{parent}{name}` | {type_of(value)} | {cell(*lines(value['description']), returned, sample)} |"
        below = f"{parent}{name}{'[]' if value.get('type') == 'list' else ''}."
        yield from return_rows(value.get("contains") or {}, below)


def table(titles: list[str], rows: Iterator[str]) -> str:
    return "\n".join([f"| {' | '.join(titles)} |", f"|{' --- |' * len(titles)}", *rows])


def options_table(options: Document) -> str:
    if not options:
        return "None."
    return table(["Name", "Type", "Default", "Description"], option_rows(options))


def role_sections(document: Document) -> Iterator[str]:
    entry_points = document["entry_points"]
    for name in sorted(entry_points, key=lambda name: (name != "main", name)):
        entry_point = entry_points[name]
        yield f"## Entry point `{name}`\n\n{markdown(entry_point['short_description'])}."
        yield from lines(entry_point.get("description"))
        yield "### Variables\n\n" + options_table(entry_point.get("options", {}))


def plugin_sections(document: Document) -> Iterator[str]:
    doc = document["doc"]
    yield f"{markdown(doc['short_description'])}."
    yield from lines(doc.get("description"))
    if requirements := lines(doc.get("requirements")):
        yield "## Requirements\n\n" + "\n".join(f"- {requirement}" for requirement in requirements)
    yield "## Options\n\n" + options_table(doc.get("options", {}))
    if attributes := doc.get("attributes"):
        yield "## Attributes\n\n" + table(["Name", "Support", "Description"], attribute_rows(attributes))
    for note in lines(doc.get("notes")):
        yield f"> {note}"
    if document.get("examples"):
        yield f"## Examples\n\n```yaml\n{document['examples'].strip()}\n```"
    if document.get("return"):
        yield "## Return values\n\n" + table(["Name", "Type", "Description"], return_rows(document["return"]))


def page(kind: str, name: str, document: Document) -> str:
    sections = role_sections(document) if kind == "role" else plugin_sections(document)
    head = f"<!-- Generated by `make docs`. -->\n\n# {kind.capitalize()} `{COLLECTION}.{name}`"
    return "\n\n".join([head, *sections]) + "\n"


def summary(kind: str, document: Document) -> str:
    source = document["entry_points"]["main"] if kind == "role" else document["doc"]
    return f"{markdown(source['short_description'])}."


def names_of(kind: str) -> list[str]:
    found = (path.parents[1].name if kind == "role" else path.stem for path in ROOT.glob(KINDS[kind][1]))
    return sorted(name for name in found if not name.startswith("_"))


def read(kind: str) -> dict[str, Document]:
    names = names_of(kind)
    command = ["ansible-doc", "--json", "--type", kind, *(f"{COLLECTION}.{name}" for name in names)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"ansible-doc cannot read the {kind} documentation:\n{done.stderr.partition('Traceback')[0].strip()}")
    documents = json.loads(done.stdout)
    missing = [name for name in names if f"{COLLECTION}.{name}" not in documents]
    if missing:
        sys.exit(f"ansible-doc found no documentation of the {kind} {', '.join(missing)}:\n{done.stderr}")
    return {name: documents[f"{COLLECTION}.{name}"] for name in names}


def render() -> dict[str, str]:
    pages: dict[str, str] = {}
    index = ["<!-- Generated by `make docs`. -->", "# Reference", "From the argument specifications and the plugins."]
    for kind, (title, _pattern) in KINDS.items():
        documents = read(kind)
        pages |= {f"{kind}_{name}.md": page(kind, name, document) for name, document in documents.items()}
        entries = (f"- [{name}]({kind}_{name}.md): {summary(kind, document)}" for name, document in documents.items())
        index += [f"## {title}", "\n".join(entries)]
    return {"README.md": "\n\n".join(index) + "\n", **pages}


def stale(folder: Path, pages: dict[str, str]) -> list[str]:
    present = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    return sorted(name for name in {*pages, *present} if pages.get(name) != present.get(name))


def main() -> int:
    folder = Path(sys.argv[1])
    pages = render()
    names = stale(folder, pages)
    if "--check" in sys.argv:
        for name in names:
            print(f"{folder / name} differs from its sources: run 'make docs' and commit it.", file=sys.stderr)
        return 1 if names else 0
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = folder / name
        path.write_text(pages[name], encoding="utf-8") if name in pages else path.unlink()
        print(f"    {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
