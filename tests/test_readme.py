import re

import pytest


@pytest.fixture(scope="module")
def readme(root):
    return (root / "README.md").read_text()


def block_after(marker, text):
    found = re.search(rf"<!-- {marker} -->\n```\w*\n(.*?)```", text, flags=re.DOTALL)
    assert found, f"README.md has no fenced block after <!-- {marker} -->"
    return found.group(1)


def test_the_test_command_is_a_target_of_the_makefile(readme, root):
    words = block_after("test command", readme).split()
    assert words[0] == "make"
    assert f"\n{words[1]}:" in (root / "Makefile").read_text()


def test_the_example_runs(readme):
    namespace = {"__name__": "example"}
    exec(compile(block_after("example", readme), "README.md", "exec"), namespace)
    assert namespace["outs"].shape == (50, 16, 20)
    assert namespace["out"].shape == (16, 20)
    assert abs(namespace["outs"][-1] - namespace["out"]).max() < 1e-4


def test_every_file_and_folder_it_links_to_exists(readme, root):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", readme) + re.findall(r"`(docs/[\w.]+)`", readme):
        assert (root / target).exists(), target
