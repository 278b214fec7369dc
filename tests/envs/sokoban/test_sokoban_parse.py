"""Level files: what loads, what is refused and with which words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from leafe_gym.envs.sokoban.boxoban import read_levels
from leafe_gym.envs.sokoban.parse import LevelFault, parse_board
from leafe_gym.errors import BadLevel

GOOD = "; 0\n#####\n#@$.#\n#####\n"

MALFORMED = {
    "unknown symbol": ("; a\n#####\n#@$.#\n#-x-#\n#####\n", ["level 0", "line 4", "symbol 'x'"]),
    "tab": ("; a\n#####\n#@$.#\n#\t--#\n#####\n", ["line 4", r"'\t'"]),
    "no player": ("; a\n#####\n#-$.#\n#####\n", ["level 0", "line 1", "no player"]),
    "two players": ("; a\n#####\n#@$.#\n#@--#\n#####\n", ["line 4", "2 players"]),
    "player on floor and target": ("; a\n#####\n#@$+#\n#####\n", ["line 3", "2 players"]),
    "no box": ("; a\n#####\n#@--#\n#####\n", ["line 1", "no box"]),
    "more targets": ("; a\n#####\n#+$.#\n#####\n", ["1 boxes but 2 targets"]),
    "more boxes": ("; a\n######\n#@$$.#\n######\n", ["2 boxes but 1 targets"]),
    "already won": ("; a\n#####\n#@*-#\n#####\n", ["already"]),
    "hole in the top": ("; a\n##-##\n#@$.#\n#####\n", ["line 2", "not enclosed"]),
    "hole at the left": ("; a\n#####\n-@$.#\n#####\n", ["line 3", "not enclosed"]),
    "hole at the right": ("; a\n#####\n#@$.\n#####\n", ["line 3", "not enclosed"]),
    "short row above": ("; a\n###\n#@$.#\n#####\n", ["line 3", "not enclosed"]),
    "short row below": ("; a\n#####\n#@$.#\n###\n", ["line 3", "not enclosed"]),
    "one row": ("; a\n#@$.#\n", ["line 2", "not enclosed"]),
    "second level": (GOOD + "\n; b\n#####\n#@$$#\n#####\n", ["level 1", "'; b'", "line 6"]),
    "rows after a blank": ("; a\n\n#####\n#@$.#\n#x--#\n#####\n", ["line 5", "'x'"]),
    "no rows": ("; a\n\n; b\n", ["level 0", "line 1", "no rows"]),
    "row outside": ("#####\n#@$.#\n#####\n", ["line 1", "outside"]),
    "row after the end": (GOOD + "\n#####\n", ["line 6", "outside"]),
    "empty": ("", ["no level"]),
    "only blanks": ("\n  \n\n", ["no level"]),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_file(tmp_path: Path, name: str) -> None:
    text, parts = MALFORMED[name]
    path = tmp_path / "some.txt"
    path.write_text(text)
    with pytest.raises(BadLevel) as caught:
        read_levels(path)
    for part in [str(path), *parts]:
        assert part in str(caught.value)


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "some.txt"
    path.write_bytes(GOOD.encode() + b"; \xff\n")
    with pytest.raises(BadLevel, match="line 5: not UTF-8"):
        read_levels(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(BadLevel, match=r"absent.txt: cannot be read .* No such file"):
        read_levels(tmp_path / "absent.txt")
    with pytest.raises(BadLevel, match="cannot be read"):
        read_levels(tmp_path)


def test_line_ends_marks_and_symbols(tmp_path: Path) -> None:
    path = tmp_path / "some.txt"
    text = "\ufeff; first\r\n #####\r\n##+ $#\r\n#  *##\r\n#####\r\n\r\n;\n#####\n#@$.#\n#####"
    path.write_bytes(text.encode())
    boards = [board.text for board in read_levels(path).boards]
    assert boards == ["-#####\n##+-$#\n#--*##\n######", "#####\n#@$.#\n#####"]


def test_a_file_is_read_again_only_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "some.txt"
    path.write_text(GOOD)
    first = read_levels(path)
    assert read_levels(str(path)) is first
    path.write_text(GOOD + "\n" + GOOD)
    os.utime(path, ns=(1, 1))
    assert len(read_levels(path).boards) == 2


def test_a_board_from_text_names_the_row() -> None:
    with pytest.raises(LevelFault, match="row 2: unknown symbol") as caught:
        parse_board("#####\n#@?.#\n#####")
    assert caught.value.row == 1
    with pytest.raises(LevelFault, match="no player"):
        parse_board("")
    with pytest.raises(LevelFault, match="is not a board"):
        parse_board(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["unfiltered-train-000.txt", "medium-train-000.txt"])
def test_boxoban_loads(data_dir: Path, name: str) -> None:
    path = data_dir / "boxoban" / name
    if not path.is_file():
        pytest.skip(f"real data absent: {path}")
    file = read_levels(path)
    assert len(file.boards) == 1000
    rows = path.read_text().replace(" ", "-").split("\n")
    for number, board in enumerate(file.boards):
        assert board.text.split("\n") == rows[12 * number + 1 : 12 * number + 11]
        assert board.boxes == 4
    counts = [len(file.indices(split)) for split in ("train", "val", "test")]
    assert sum(counts) == 1000
    assert counts[0] > 700
    assert min(counts) > 70
