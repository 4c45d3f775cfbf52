from pathlib import Path

import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from lightning_nas.plots import style


def test_colours_of_known_names_are_fixed() -> None:
    found = style.colours(["uniform", "density", style.GROUND_TRUTH])
    orange, green, blue = (to_rgb(found[name]) for name in ("uniform", "density", "ground truth"))
    assert orange[0] > orange[1] > orange[2]
    assert max(green) == green[1]
    assert max(blue) == blue[2]


def test_colours_do_not_depend_on_order_and_differ() -> None:
    names = ["pada", "uniform", "fair", "density"]
    assert style.colours(names) == style.colours(reversed(names))
    assert list(style.colours(names)) == names
    assert len(set(style.colours(names).values())) == 4
    assert style.colours(map(str, range(9)))["0"] == style.colours(["0", "1"])["0"]


def test_tidy_sets_texts() -> None:
    axes = style.new_figure(2, 2).subplots()
    style.tidy(axes, "title", "x", "y")
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("title", "x", "y")
    assert not axes.spines["top"].get_visible()


def test_save_writes_at_150_dots_per_inch(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "figure.png"
    style.save(style.new_figure(2, 1), path)
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    assert [int.from_bytes(data[i : i + 4], "big") for i in (16, 20)] == [300, 150]
    assert list(path.parent.iterdir()) == [path]


def test_save_leaves_nothing_partial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "figure.png"
    path.write_bytes(b"before")

    def full_disk(_: Figure, target: Path, **__: object) -> None:
        target.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(Figure, "savefig", full_disk)
    with pytest.raises(OSError, match="No space"):
        style.save(style.new_figure(1, 1), path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"before"


def test_data_is_written_beside_the_figure(tmp_path: Path) -> None:
    style.save(
        style.new_figure(1, 1), tmp_path / "new" / "figure.png", {"arch": ["a,b", "c"], "visits": [1, 2.5]}
    )
    assert (tmp_path / "new" / "figure.csv").read_text() == 'arch,visits\n"a,b",1\nc,2.5\n'
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"figure.png", "figure.csv"}


def test_columns_are_of_equal_length(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zip"):
        style.save_table(tmp_path / "table.csv", {"a": [1, 2], "b": [1]})
    assert not list(tmp_path.iterdir())


def test_all_ticks_of_logarithmic_axes_have_one_size() -> None:
    axes = style.new_figure(2, 2).subplots()
    style.tidy(axes, "", "", "")
    axes.plot([1, 2], [2, 7])
    axes.set_yscale("log")
    ticks = [*axes.yaxis.get_major_ticks(), *axes.yaxis.get_minor_ticks()]
    assert {tick.label1.get_fontsize() for tick in ticks} == {style.TICK_SIZE}


def test_texts_can_be_read_on_their_ground() -> None:
    assert [style.readable_on(shade) for shade in ((1, 1, 1), (0, 0, 0.5), (1, 1, 0), (0.4, 0, 0, 1))] == [
        "black",
        "white",
        "black",
        "white",
    ]
