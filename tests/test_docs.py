"""What README and docs say is true now."""

import re
import sys
from pathlib import Path

import pytest

from zoo.registry import models
from zoo.reporting.tables import own_names, renewed

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_generated_parts_are_fresh(page):
    text = page.read_text(encoding="utf-8")
    assert renewed(text) == text, f"stale: run python -m zoo.reporting.tables {page.relative_to(ROOT)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def test_a_stale_part_is_noticed():
    page = "# Tasks\n\n<!-- generated: tasks -->\n| `gone` | It was here. |\n<!-- end -->\n"
    assert "gone" not in renewed(page)
    assert "`readmission`" in renewed(page)


def test_every_model_that_speaks_of_published_code_is_on_the_page_of_findings():
    sections = re.split(r"^## ", (ROOT / "docs" / "published_code.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    speaking = [n for n in own_names("models") if "ublished code and" in file_of(models.get(n))]
    assert {"retain", "gbert", "stagenet"} <= set(speaking)
    for name in speaking:
        assert any(f"`{name}`" in section.split("\n")[0] for section in sections), name


def test_every_waived_check_is_told_with_its_reason():
    page = (ROOT / "docs" / "published_code.md").read_text(encoding="utf-8")
    waived = [w for name in own_names("models") for w in models.entry(name).facts.waives.items()]
    assert waived
    for check, reason in waived:
        assert f"`{check}` | {reason} |" in page


def test_readme_has_the_two_commands():
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    assert "zoo run" in blocks[0]
    assert "pytest" in blocks[1]


def file_of(model: type) -> str:
    return Path(sys.modules[model.__module__].__file__).read_text(encoding="utf-8")
