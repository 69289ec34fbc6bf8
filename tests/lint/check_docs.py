#!/usr/bin/env python3
"""Keeps docs/ true: every file of the repository that a page names exists, every link leads somewhere, every message
that docs/troubleshooting.md quotes is one of the program's, and every field of the configuration that a page names is
in proto/run_config.proto.

usage: check_docs.py [ROOT]      exits 1 and names file:line for every breach
"""
import pathlib
import re
import sys

MESSAGES = "troubleshooting.md"
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
QUOTED = re.compile(r"`([^`]+)`")
# What C++ puts side by side is one text.
JOINT = re.compile(r'"\s*\n\s*"')
LITERAL = re.compile(r'"((?:\\.|[^"\\\n])*)"')
PLACEHOLDER = re.compile(r"\{[^{}]*\}")
FIELD = re.compile(r"^(adapter|router|checkpoint|data|device|eval|model|parallel|supervisor|train)\.[a-zA-Z_.]+$")


def lines_outside_blocks(text):
    """(line number, line) of what is prose: fenced blocks are left out."""
    is_code = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            is_code = not is_code
        elif not is_code:
            yield number, line


def texts_of_sources(root):
    """Every text of the program, what is filled in as `...`."""
    texts = set()
    for folder in ("src", "launcher"):
        for path in (root / folder).rglob("*"):
            if path.suffix in (".cc", ".h"):
                for text in LITERAL.findall(JOINT.sub("", path.read_text())):
                    texts.add(PLACEHOLDER.sub("...", text.replace('\\"', '"')))
    return texts


def is_quoted_from(quote, texts):
    """Whether the constant parts of a quote stand in one text, in order."""
    parts = [part.strip(" ") for part in quote.split("...") if part.strip(" ")]
    pattern = re.compile(".*".join(re.escape(part) for part in parts), re.S)
    return any(pattern.search(text) for text in texts)


def messages_of(page):
    """(line number, message) of the first column of the tables headed `message`."""
    is_table = False
    for number, line in lines_outside_blocks(page.read_text()):
        if not line.startswith("|"):
            is_table = False
        elif line.startswith("| message |"):
            is_table = True
        elif is_table and not line.startswith("| ---"):
            for message in QUOTED.findall(line.split("|")[1]):
                yield number, message


def field_names(root):
    """Names of fields, at any depth."""
    return set(re.findall(r"^\s*(?:optional|repeated)\s+[\w.]+\s+(\w+)\s*=", (root / "proto/run_config.proto").read_text(),
                          re.M))


def check_page(root, page, tops, fields, errors):
    for number, line in lines_outside_blocks(page.read_text()):
        where = f"{page.relative_to(root)}:{number}"
        for target in LINK.findall(line):
            if not re.match(r"https?:", target) and not (page.parent / target).exists():
                errors.append(f"{where}: links to {target}, which is not there")
        for quote in QUOTED.findall(line):
            word = quote.split()[0].rstrip(",;:")
            if "/" in word and word.split("/")[0] in tops and not (root / word).exists():
                errors.append(f"{where}: names {word}, which is not there")
            if FIELD.match(word):
                unknown = [name for name in word.split(".")[1:] if name not in fields]
                if unknown:
                    errors.append(f"{where}: names the field {word}; the configuration has no {unknown[0]}")


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    pages = sorted((root / "docs").glob("*.md"))
    errors = []
    # Folders that are not of the repository (runs, build) may be named without being there.
    tops = {path.name for path in root.iterdir() if path.is_dir()} - {"build", "runs"}
    fields = field_names(root)
    for page in pages:
        check_page(root, page, tops, fields, errors)
        if not page.read_text().isascii():
            errors.append(f"{page.relative_to(root)}: is not ASCII")
    texts = texts_of_sources(root)
    messages = list(messages_of(root / "docs" / MESSAGES))
    errors += [f"docs/{MESSAGES}:{number}: no text of the program has '{message}'"
               for number, message in messages if not is_quoted_from(message, texts)]
    if len(pages) < 5 or len(messages) < 40:
        errors.append(f"{len(pages)} pages and {len(messages)} messages found: this check does not see what it checks")
    print("\n".join(errors) if errors else f"{len(pages)} pages and {len(messages)} messages are true")
    sys.exit(1 if errors else 0)


main()
