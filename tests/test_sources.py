import gzip
import hashlib
import io
import re
import zipfile

import h5py
import numpy as np
import pytest
from flaky_server import serving
from typer.testing import CliRunner

from snntrace.cli import app
from snntrace.datasets import (
    DATASETS,
    MNIST,
    NMNIST,
    SHD,
    SSC,
    DownloadError,
    FashionMNIST,
    NCaltech101,
    SpikeFile,
    obtain,
    open_dataset,
)
from snntrace.datasets.download_part import held
from snntrace.datasets.download_source import Source
from snntrace.datasets.sources import BY_HAND, HELD, SOURCES, Remote, data_folder, found

EVENT = bytes([3, 33, 0x80, 1, 0])


def zipped(members):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return made.getvalue()


def spikes(label):
    made = io.BytesIO()
    with h5py.File(made, "w") as file:
        file.create_dataset("spikes/times", 1, h5py.vlen_dtype("float16"))[0] = np.array([0.1], "float16")
        file.create_dataset("spikes/units", 1, h5py.vlen_dtype("uint16"))[0] = np.array([5], "uint16")
        file["labels"] = np.array([label])
    return made.getvalue()


FILES = {
    "Train.zip": zipped({"x/Train/3/00001.bin": EVENT, "x/note": b""}),
    "Test.zip": zipped({"Test/4/00001.bin": EVENT}),
    "N-Caltech101-archive.zip": zipped({"a/Caltech101.zip": zipped({"Caltech101/ant/image_1.bin": EVENT})}),
    "shd_train.h5.gz": gzip.compress(spikes(1)),
    "shd_test.h5.gz": gzip.compress(spikes(2)),
    "ssc_valid.h5.zip": zipped({"ssc_valid.h5": spikes(3)}),
    "train-images-idx3-ubyte.gz": gzip.compress(bytes([0, 0, 8, 3, *[0, 0, 0, 1] * 3, 255])),
    "train-labels-idx1-ubyte.gz": gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 1, 7])),
}


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of small files in place of the data sets', and a place where downloads are kept."""
    monkeypatch.setenv("SNNTRACE_DATA", str(tmp_path / "data"))
    with serving(FILES) as server:
        for name, remotes in SOURCES.items():
            monkeypatch.setitem(SOURCES, name, tuple(here(remote, server) for remote in remotes))
        yield server


def here(remote, server):
    name = remote.source.name
    content = FILES.get(name, b"")
    source = Source(name, (server.url.replace("a.bin", name),), hashlib.md5(content).hexdigest())
    inside = hashlib.md5(gzip.decompress(content)).hexdigest() if content and remote.md5 else ""
    return Remote(source, remote.leaves, remote.split, remote.unpacks, remote.inside, inside)


def asked(server):
    return [path.rsplit("/", 1)[-1] for path, _ in server.seen]


def test_a_part_is_downloaded_unpacked_and_found_again(server, tmp_path):
    data = open_dataset("nmnist", split="test", download=True)
    assert isinstance(data, NMNIST)
    assert data.labels.tolist() == [4]
    assert asked(server) == ["Test.zip"]
    assert sorted(p.name for p in (tmp_path / "data" / "nmnist").iterdir()) == ["Test"]
    assert len(open_dataset("nmnist", split="test")) == 1
    with pytest.raises(FileNotFoundError, match=r"nmnist: .* on this machine.*data download nmnist"):
        open_dataset("nmnist")
    assert open_dataset("nmnist", download=True).labels.tolist() == [3]
    assert asked(server) == ["Test.zip", "Train.zip"]


@pytest.mark.parametrize(
    ("kind", "split", "label"),
    [(NMNIST, "test", 4), (NCaltech101, None, 0), (SHD, None, 1), (SSC, "valid", 3), (MNIST, None, 7)],
)
def test_a_class_downloads_its_own_data(kind, split, label, server, tmp_path):
    part = {} if split is None else {"split": split}
    with pytest.raises(FileNotFoundError, match=r"^\w+: the data set must be on this machine.*download=True"):
        kind(**part)
    assert kind(download=True, **part).labels.tolist() == [label]
    asked = len(server.seen)
    assert kind(**part).labels.tolist() == [label]
    assert kind(download=True, **part).labels.tolist() == [label]
    assert len(server.seen) == asked
    assert kind(tmp_path / "mine", download=True, **part).labels.tolist() == [label]
    assert len(server.seen) > asked


@pytest.mark.parametrize("place", ["", "raw", "MNIST/raw"])
@pytest.mark.parametrize("packed", [True, False])
def test_pictures_that_are_there_in_another_layout_are_not_downloaded(place, packed, server, tmp_path):
    folder = tmp_path / "mine" / place
    folder.mkdir(parents=True)
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        content = FILES[name + ".gz"]
        (folder / (name + ".gz" * packed)).write_bytes(content if packed else gzip.decompress(content))
    assert MNIST(tmp_path / "mine", download=True).labels.tolist() == [7]
    assert open_dataset(tmp_path / "mine", "mnist", download=True).labels.tolist() == [7]
    assert server.seen == []
    if place == "MNIST/raw":
        # Digits are no clothes.
        with pytest.raises(FileNotFoundError):
            FashionMNIST(tmp_path / "mine")


@pytest.mark.parametrize(
    ("kind", "file"), [(NMNIST, "Train/3/00001.bin"), (NCaltech101, "Caltech101/ant/image_1.bin")]
)
@pytest.mark.parametrize("level", [0, 1])
def test_a_folder_inside_of_the_official_one_is_not_downloaded_to(kind, file, level, server, tmp_path):
    path = tmp_path / "mine" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(EVENT)
    assert len(kind([tmp_path / "mine", path.parents[1]][level], download=True)) == 1
    assert server.seen == []
    assert [p for p in (tmp_path / "mine").rglob("*") if p.is_file()] == [path]


def test_a_compressed_file_of_the_users_own_is_read_and_stays(server, tmp_path):
    own = tmp_path / "mine" / "shd_train.h5.gz"
    own.parent.mkdir()
    own.write_bytes(FILES[own.name])
    assert SHD(own.parent, download=True, cache_folder=tmp_path).labels.tolist() == [1]
    assert [p.name for p in own.parent.iterdir()] == [own.name]
    # Both are wanted unpacked; what was there is used and left.
    obtain("shd", own.parent)
    assert asked(server) == ["shd_test.h5.gz"]
    assert sorted(p.name for p in own.parent.iterdir()) == ["shd_test.h5", "shd_train.h5", own.name]


def test_an_archive_that_another_process_unpacks_is_not_taken_for_data(tmp_path):
    (tmp_path / "shd_train.h5.gz").write_bytes(b"")
    assert found(lambda folder: [*folder.iterdir()], tmp_path)
    with held(tmp_path / HELD):
        assert not found(lambda folder: [*folder.iterdir()], tmp_path)


def test_an_archive_in_an_archive_is_unpacked(server):
    assert open_dataset("ncaltech101", download=True).class_names == ("ant",)


def test_compressed_files_are_decompressed_once_and_compared_with_both_checksums(server, tmp_path):
    data = open_dataset("shd", download=True)
    assert isinstance(data, SHD)
    assert (data.split, data.labels.tolist()) == ("train", [1])
    assert [p.name for p in (tmp_path / "data" / "shd").iterdir()] == ["shd_train.h5"]
    assert open_dataset("ssc", split="valid", download=True).labels.tolist() == [3]


def test_content_that_is_not_the_official_one_leaves_nothing(server, tmp_path, monkeypatch):
    train, test = SOURCES["shd"]
    monkeypatch.setitem(
        SOURCES, "shd", (train, Remote(test.source, test.leaves, "test", "one", md5="0" * 32))
    )
    with pytest.raises(ValueError, match="the content must have md5=000"):
        obtain("shd")
    left = sorted(p.name for p in (tmp_path / "data" / "shd").iterdir())
    assert left == ["shd_test.h5.gz", "shd_train.h5"]
    with pytest.raises(FileNotFoundError):
        open_dataset("shd", split="test")


def test_files_that_need_no_unpacking_stay_as_they_are(server, tmp_path):
    data = open_dataset(tmp_path / "mine", "mnist", download=True)
    assert isinstance(data, MNIST)
    assert data.labels.tolist() == [7]
    assert sorted(p.name for p in (tmp_path / "mine").iterdir()) == [
        "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
    ]  # fmt: skip


def test_a_broken_download_leaves_no_data_set(server, tmp_path, monkeypatch):
    server.plan += [("cut", 10)] * 2 + [404]
    with pytest.raises(DownloadError, match=r"Train\.zip must come whole"):
        obtain("nmnist", wait=0.01)
    with pytest.raises(FileNotFoundError, match="must be on this machine"):
        open_dataset("nmnist")
    obtain("nmnist")
    assert len(open_dataset("nmnist")) == 1


def test_what_has_to_be_downloaded_by_hand_says_where(tmp_path):
    for name in BY_HAND:
        with pytest.raises(ValueError, match=f"got name='{name}'; .*https://.*path"):
            open_dataset(tmp_path / "nowhere", name, download=True)
    with pytest.raises(ValueError, match="only these have public servers: shd, ssc"):
        obtain("digits")


def test_wrong_parts_and_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match="split must be one of train, valid, test, got split='dev'"):
        obtain("ssc", tmp_path, split="dev")
    with pytest.raises(ValueError, match="download must come with the name"):
        open_dataset(tmp_path, download=True)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"folder must be one that may be written, got folder=.*file"):
        obtain("mnist", tmp_path / "file")


def test_a_path_goes_before_the_name_of_a_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nmnist" / "Train" / "3").mkdir(parents=True)
    (tmp_path / "nmnist" / "Train" / "3" / "00001.bin").write_bytes(EVENT)
    assert len(open_dataset("nmnist")) == 1


def test_data_are_kept_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("SNNTRACE_DATA", str(tmp_path / "a"))
    assert data_folder("shd") == tmp_path / "a" / "shd"
    monkeypatch.delenv("SNNTRACE_DATA")
    monkeypatch.setenv("SNNTRACE_CACHE", str(tmp_path / "b"))
    assert data_folder("shd") == tmp_path / "b" / "data" / "shd"


def test_every_source_is_checked_and_belongs_to_a_data_set():
    for name, remotes in SOURCES.items():
        parts = {remote.split for remote in remotes if remote.split}
        assert parts in (set(), set(DATASETS[name].about.splits)), name
        assert len({remote.leaves for remote in remotes}) == len(remotes)
        for remote in remotes:
            assert remote.unpacks or remote.leaves == remote.source.name
            if name != "braille":
                assert remote.source.check == "md5"


@pytest.mark.shared
def test_the_checksums_of_mnist_are_those_of_the_official_files(shared):
    known = {remote.source.name: remote.source.md5 for remote in SOURCES["mnist"]}
    for name in ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz", "train-labels-idx1-ubyte.gz"):
        content = (shared / "data" / "mnist" / name).read_bytes()
        assert hashlib.md5(content).hexdigest() == known[name]


# Commands ---------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("NO_COLOR", "1")
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


def test_the_list_names_every_data_set_its_licence_and_how_to_get_it(run):
    result = run("data", "list")
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert set(DATASETS) <= set(rows)
    assert re.search(r"20 .*train 8,156, test 2,264.*CC BY 4\.0.*yes \(md5\)", rows["shd"])
    assert "gzip checksum only" in rows["braille"]
    assert "1,350" in rows["braille"]
    assert "by hand" in rows["dvs_gesture"]
    assert "generated" in rows["randman"]
    assert "your own" in rows["recordings"]


def test_what_there_is_to_know_is_told_before_and_after_a_download(run, server):
    before = run("data", "info", "nmnist")
    assert before.exit_code == 0, before.output
    for text in ("N-MNIST", "train 60,000, test 10,000", "CC BY-SA 4.0", "@article{orchard2015", "no;"):
        assert text in before.stdout
    obtain("nmnist")
    after = run("data", "info", "nmnist").stdout
    assert "1 of 60000" in after or "recordings" in after
    for text in ("CC BY-SA 4.0", "https://doi.org/10.17632/468j46mzdv.1"):
        assert text in after


def test_the_command_downloads_all_parts_or_one(run, server, tmp_path):
    result = run("data", "download", "nmnist", "--to", tmp_path / "here", "--split", "test")
    assert result.exit_code == 0, result.output
    assert f"nmnist is in {tmp_path / 'here'}" in result.stdout
    assert [p.name for p in (tmp_path / "here").iterdir()] == ["Test"]
    assert run("data", "download", "nmnist").exit_code == 0
    assert sorted(p.name for p in (tmp_path / "data" / "nmnist").iterdir()) == ["Test", "Train"]


def test_the_command_tells_errors_without_a_traceback(run, server, tmp_path):
    server.plan.append(404)
    for arguments, message in (
        (["nmnist"], "must come whole from one of its servers"),
        (["dvs_gesture"], "https://research.ibm.com"),
        (["nothing"], "must be a data set that can be downloaded"),
    ):
        result = run("data", "download", *arguments)
        assert result.exit_code == 2
        assert message in re.sub(r"[\s│]+", " ", result.output)
        assert "Traceback" not in result.output


def test_other_compressed_files_are_not_taken_for_spikes(tmp_path):
    for name in ("Train.zip", "train-labels-idx1-ubyte.gz"):
        (tmp_path / name).write_bytes(FILES[name])
        with pytest.raises(ValueError, match="that no reader knows.*(unpack it first|give its folder)"):
            open_dataset(tmp_path / name)
    (tmp_path / "cut.gz").write_bytes(FILES["shd_train.h5.gz"][:5])
    with pytest.raises(ValueError, match=r"an archive must be whole"):
        open_dataset(tmp_path / "cut.gz")


def test_a_zip_file_of_spikes_is_read_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("SNNTRACE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.zip").write_bytes(FILES["ssc_valid.h5.zip"])
    data = open_dataset(tmp_path / "a.zip")
    assert isinstance(data, SpikeFile)
    assert data.events(0)[1].tolist() == [5]
