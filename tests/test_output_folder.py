"""The output folder: one writer, tables that appear together, files of others, and interruptions at every step."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.output_folders import FILES, LESS, SMALL, copied, files_in, manifest_of, message, rewrite, state
from helpers.runs import run
from PIL import Image

import gtn_bench
from gtn_bench.analysis.masks import images_in
from gtn_bench.analysis.reading import reading
from gtn_bench.analysis.results import Results
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.suite import parse
from gtn_bench.data.reading.array_files import errors_of
from gtn_bench.data.reading.picture_files import read_parquet
from gtn_bench.execution.output import OutputFolder
from gtn_bench.reporting.html.samples import read_samples
from gtn_bench.store import publishing
from gtn_bench.store.files import StorageError, open_for_arrow
from gtn_bench.store.one_writer import one_writer
from gtn_bench.store.records import parse_record, write_record


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Path:
    """Return the folder of a run with a report."""
    folder = run(SMALL, tmp_path_factory.mktemp("old"), store).folder
    gtn_bench.report(folder)
    return folder


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Path:
    """Return the folder of a run of the same suite with one perturbation less."""
    return run(LESS, tmp_path_factory.mktemp("new"), store).folder


# The manifest


def test_the_manifest_has_the_digest_of_every_file_and_a_checksum_of_itself(old: Path) -> None:
    content = json.loads((old / "provenance.json").read_text())
    found = files_in(old)
    images = {name for name in found if name.startswith("adversarial/")}
    assert len(images) == 8 and content["complete"] is True and "previous" not in content
    assert content["manifest"] == {name: found[name] for name in {*FILES, *images}}
    others = {name: value for name, value in content.items() if name != "checksum"}
    text = json.dumps(others, sort_keys=True, separators=(",", ":"))
    assert content["checksum"] == hashlib.sha256(text.encode()).hexdigest()[:32]


@pytest.mark.slow
def test_a_report_does_not_change_the_folder_of_a_run(old: Path, tmp_path: Path, store: Path) -> None:
    folder = copied(old, tmp_path / "copy")
    gtn_bench.report(folder, bands="simultaneous")
    Results(folder).check()
    run(SMALL, folder, store)
    gtn_bench.report(folder)
    assert {path.name for path in (folder / ".gtn-bench").iterdir()} == {"lock", "report.json"}


# Interruptions


def test_an_error_at_any_replacement_leaves_old_results_or_is_named_and_repaired(
    old: Path, new: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, found = os.replace, []
    for number in range(100):
        folder, calls = copied(old, tmp_path / str(number)), 0

        def failing(source: Any, target: Any, allowed: int = number) -> None:
            nonlocal calls
            calls += 1
            if calls > allowed:
                raise OSError(28, "No space left on device")
            replace(source, target)

        monkeypatch.setattr(os, "replace", failing)
        try:
            rewrite(folder, new)
        except StorageError as error:
            assert "No space left on device" in str(error) and "\n" not in str(error)
            finished = False
        else:
            finished = True
        monkeypatch.setattr(os, "replace", replace)
        found.append(state(folder, old=old, new=new))
        rewrite(folder, new)
        assert state(folder, old=old, new=new) == "new" and not list((folder / "adversarial").glob("blur*"))
        assert not list((folder / ".gtn-bench").glob("stage-*"))
        shutil.rmtree(folder)
        if finished:
            break
    assert found == ["old"] * found.count("old") + ["interrupted"] * found.count("interrupted") + ["new"]
    assert found.count("interrupted") == len(manifest_of(new)) + 1 and found.count("old") == 1


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from collections import Counter
from pathlib import Path
from helpers.output_folders import copied, rewrite, state

old, new, place = map(Path, sys.argv[1:4])
stride = sys.argv[4]
found = Counter()
for number in range(0, 10_000, int(stride)):
    folder = copied(old, place / str(number))
    child = os.fork()
    if not child:
        left = number
        def count(event, arguments):
            global left
            if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod"):
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(count)
        rewrite(folder, new)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    found[state(folder, old=old, new=new)] += 1
    rewrite(folder, new)
    assert state(folder, old=old, new=new) == "new"
    hidden = [path.name for path in folder.rglob("*") if path.name.startswith((".", "stage-"))]
    assert hidden == [".gtn-bench"], hidden
    if status == 0:
        break
    assert os.WTERMSIG(status) == signal.SIGKILL
print(*(found[name] for name in ("old", "interrupted", "new")))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("stride", [pytest.param(1, marks=pytest.mark.long), 9])
def test_a_kill_before_any_operation_on_files_leaves_old_results_or_is_named_and_repaired(
    stride: int, old: Path, new: Path, tmp_path: Path
) -> None:
    source, other = (copied(folder, tmp_path / folder.name) for folder in (old, new))
    shutil.rmtree(source / "figures")  # for speed
    script = KILLED.format(tests=str(Path(__file__).parent))
    answer = subprocess.run(
        [sys.executable, "-c", script, str(source), str(other), str(tmp_path), str(stride)],
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    before, between, after = map(int, answer.stdout.split())
    assert before * stride > 20 and between * stride > 10 and after > 0


def test_an_error_while_files_are_staged_leaves_the_folder_as_it_was(old: Path, tmp_path: Path) -> None:
    folder = copied(old, tmp_path / "copy")
    before = files_in(folder)
    with (
        pytest.raises(KeyboardInterrupt),
        OutputFolder(folder, parse(SMALL)) as output,
        output.writing() as stage,
    ):
        (stage / "summary.csv").write_text("half")
        raise KeyboardInterrupt
    assert files_in(folder) == before and not list((folder / ".gtn-bench").glob("stage-*"))


def test_a_file_that_changes_during_a_run_is_not_overwritten(old: Path, new: Path, tmp_path: Path) -> None:
    folder = copied(old, tmp_path / "copy")
    with pytest.raises(ConfigError, match=r"changed after they had been written: curves\.csv"):
        with OutputFolder(folder, parse(SMALL)) as output, output.writing() as stage:
            (folder / "curves.csv").write_text("mine")
            (stage / "provenance.json").write_text("{}")
    assert (folder / "curves.csv").read_text() == "mine"


def test_folders_of_killed_processes_are_removed_and_those_of_others_kept(tmp_path: Path) -> None:
    here, end = os.uname().nodename, "0" * 32
    names = {
        "killed": f"stage-{2**22 + 1}-{here}-{end}",
        "running": f"stage-{os.getpid()}-{here}-{end}",
        "other": f"stage-1-far-{end}",
    }
    for name in names.values():
        (tmp_path / ".gtn-bench" / name).mkdir(parents=True)
    with publishing.staged(tmp_path):
        pass
    left = {path.name for path in (tmp_path / ".gtn-bench").iterdir()}
    assert left == {names["running"], names["other"]}
    os.utime(tmp_path / ".gtn-bench" / names["other"], (0, 0))
    with publishing.staged(tmp_path):
        pass
    assert not (tmp_path / ".gtn-bench" / names["other"]).exists()


# One writer

HOLDING = """
import sys, time
from pathlib import Path
from gtn_bench.store.one_writer import one_writer
with one_writer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_refused_with_the_process_of_the_first(
    old: Path, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(old, tmp_path / "copy")
    monkeypatch.setattr("gtn_bench.execution.runner.Scheduler", lambda *_: pytest.fail("computed"))
    command = [sys.executable, "-c", HOLDING, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        who = f"process {holder.pid} on '{os.uname().nodename}' is writing there"
        expected = f"{folder}: {who}; wait for it, or choose another folder"
        assert message(run, SMALL, folder, store) == expected
        assert message(gtn_bench.report, folder) == expected
        answer = subprocess.run(
            [sys.executable, "-m", "gtn_bench", "report", str(folder)], capture_output=True, text=True
        )
        assert answer.returncode == 2 and " ".join(answer.stderr.split()).count(who) == 1
        assert len(Results(folder).samples) == 60  # reading is no writing
        holder.kill()
    gtn_bench.report(folder)


def test_a_thread_of_the_same_process_is_a_second_writer(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as threads, one_writer(tmp_path), one_writer(tmp_path):  # blocks can be nested
        found = threads.submit(message, lambda: one_writer(tmp_path).__enter__()).result()
        assert f"process {os.getpid()} on" in found
    with one_writer(tmp_path):
        pass


def test_nothing_is_left_if_nothing_was_written(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), OutputFolder(tmp_path / "a" / "b", parse(SMALL)):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


RACES = """
import os, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from gtn_bench.analysis.results import Results
from gtn_bench.config.errors import ConfigError, RunError
from gtn_bench.store import one_writer
from helpers.output_folders import copied, rewrite, state

old, new, place = map(Path, sys.argv[1:4])
locks = sys.argv[4] == "with locks"
if not locks:
    one_writer._acquire = lambda *_: None
for race in range(5):
    folder = copied(old, place / str(race))
    for source in (old, new):
        if not os.fork():
            for _ in range(10):
                try:
                    rewrite(folder, source)
                except (ConfigError, RunError) as error:
                    assert "\\n" not in str(error)
            os._exit(0)
    for _ in range(2):
        assert os.wait()[1] == 0
    try:
        results = Results(folder)
        results.check()
    except ConfigError as error:
        refused = not locks and "not as the run has written" in str(error)
    else:
        refused = not locks and bool(results.files.absent)  # the report names them
    found = "refused" if refused else state(folder, old=old, new=new)
    print(found)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("locks", ["with locks", "without locks"])
def test_two_processes_in_one_folder_never_leave_a_mixture(locks: str, old: Path, new: Path, tmp_path: Path) -> None:
    """Without locks, as on some network file systems, a mixture is refused: no manifest has the files of both."""
    sources = [str(copied(folder, tmp_path / folder.name)) for folder in (old, new)]
    shutil.rmtree(tmp_path / old.name / "figures")  # for speed
    script = RACES.format(tests=str(Path(__file__).parent))
    answer = subprocess.run(
        [sys.executable, "-c", script, *sources, str(tmp_path), locks], capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    found = answer.stdout.split()
    assert len(found) == 5 and (locks == "without locks" or set(found) <= {"old", "new"})


def test_no_thread_of_pyarrow_holds_a_python_file(old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a thread aborts the process if it releases the file after the interpreter has ended."""
    place = copied(old, tmp_path / os.fsdecode(b"a:b-\xff"))
    sources = []
    for name in ("read_table", "read_schema", "ParquetFile"):
        read = getattr(pq, name)

        def recorded(source: Any, *values: Any, read: Any = read, **options: Any) -> Any:
            sources.append(source)
            return read(source, *values, **options)

        monkeypatch.setattr(pq, name, recorded)
    results = Results(place)
    found = results.select(perturbation="noise")
    assert images_in(results).correct and read_samples(results) and len(found) == 40
    picture = io.BytesIO()
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(picture, "PNG")
    pq.write_table(pa.table({"image": [picture.getvalue()], "label": [0]}), tmp_path / "pictures.parquet")
    assert read_parquet(tmp_path / "pictures.parquet").labels.tolist() == [0]
    assert len(sources) == 6 and {type(source) for source in sources} == {pa.OSFile}


def test_a_parquet_file_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    expected = f"{path}: cannot be read (No such file or directory)"
    for reader in (reading, errors_of):
        with pytest.raises(ConfigError) as caught, reader(path), open_for_arrow(path):
            pass
        assert str(caught.value).startswith(expected)


# Files of others

OURS = [*FILES, "provenance.json", "report.md", "events.jsonl", "figures/noise.png", "adversarial/x.safetensors"]


@pytest.mark.parametrize("name", OURS)
def test_a_file_that_no_run_has_written_is_never_overwritten(name: str, tmp_path: Path, store: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    expected = f"{tmp_path} holds files that no run has written: {name}; choose another folder, or replace"
    assert message(run, SMALL, tmp_path, store).startswith(expected)
    assert files_in(tmp_path) == {name: hashlib.sha256(b"mine").hexdigest()}
    assert not (tmp_path / ".gtn-bench").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FILES, "report.md", "figures/noise.png", "provenance.json"])
def test_a_changed_file_is_replaced_only_if_that_is_accepted(name: str, old: Path, new: Path, tmp_path: Path) -> None:
    folder = copied(old, tmp_path / "copy")
    content = json.loads((folder / name).read_text()) if name == "provenance.json" else None
    mine = json.dumps({**content, "acceptance": 0.9}) if content else "mine"
    (folder / name).write_text(mine)
    found = message(rewrite, folder, new)
    assert f"holds files that changed after they had been written: {name}; choose another folder" in found
    assert (folder / name).read_text() == mine
    if name in ("report.md", "figures/noise.png"):
        assert f"changed after a report: {name}; rename or remove them" in message(gtn_bench.report, folder)
        gtn_bench.report(folder, accept_changes=True)
        assert (folder / name).read_bytes() != mine.encode()
    else:
        assert f"not as the run has written it: {name}; run the suite again" in message(gtn_bench.report, folder)
        rewrite(folder, new, accept_changes=True)
        assert state(folder, new=new) == "new"


def test_a_page_that_no_report_has_written_is_not_replaced(new: Path, tmp_path: Path) -> None:
    folder = copied(new, tmp_path / "copy")
    (folder / "report.md").write_text("mine")
    assert "holds files that no report has written: report.md" in message(gtn_bench.report, folder)
    assert (folder / "report.md").read_text() == "mine"
    (folder / "report.md").rename(folder / "mine.md")
    gtn_bench.report(folder)
    assert (folder / "mine.md").read_text() == "mine"


@pytest.mark.slow
def test_a_folder_of_an_earlier_version_is_that_of_a_run(old: Path, new: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(old, tmp_path / "copy", ignore=shutil.ignore_patterns(".gtn-bench"))
    content = json.loads((folder / "provenance.json").read_text())
    for added in ("manifest", "complete", "checksum"):
        del content[added]
    (folder / "provenance.json").write_text(json.dumps(content))
    gtn_bench.report(folder)
    rewrite(folder, new)
    assert state(folder, new=new) == "new"
    gtn_bench.report(folder)


LINKS = [
    *FILES,
    "provenance.json",
    "report.md",
    "events.jsonl",
    "figures",
    "adversarial",
    ".gtn-bench",
    ".gtn-bench/lock",
]


@pytest.mark.parametrize("target", ["file", "folder", "nothing"])
@pytest.mark.parametrize("name", LINKS)
def test_no_link_is_followed(name: str, target: str, old: Path, new: Path, tmp_path: Path) -> None:
    folder, outside = copied(old, tmp_path / "copy"), tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("theirs")
    (outside / "folder").mkdir()
    path = folder / name
    shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)
    path.symlink_to(outside / target)
    assert f"{path}: expects a f" in message(rewrite, folder, new, accept_changes=True)
    assert files_in(outside) == {"file": hashlib.sha256(b"theirs").hexdigest()}
    assert not list((outside / "folder").iterdir()) and not (outside / "nothing").exists()


def test_the_output_folder_itself_can_be_a_link(old: Path, new: Path, tmp_path: Path) -> None:
    folder = copied(old, tmp_path / "copy")
    (tmp_path / "link").symlink_to(folder)
    rewrite(tmp_path / "link", new)
    assert (tmp_path / "link").is_symlink() and state(folder, new=new) == "new"


def test_a_record_cannot_name_files_outside_of_its_folder(tmp_path: Path) -> None:
    outside = tmp_path / "theirs.txt"
    outside.write_text("theirs")
    found = hashlib.sha256(b"theirs").hexdigest()
    names = ["../theirs.txt", str(outside), "a/../../theirs.txt", "a/b/c", ".hidden", "a\\b", "", "."]
    (tmp_path / "run").mkdir()
    write_record(tmp_path / "run" / "record.json", {"manifest": dict.fromkeys(names, found), "complete": True})
    record = parse_record(json.loads((tmp_path / "run" / "record.json").read_text()))
    assert record is not None and not record.files
    with publishing.staged(tmp_path / "run") as stage:
        publishing.publish(stage, tmp_path / "run", tmp_path / "run" / "record.json", {})
    assert outside.read_text() == "theirs"


# Readers


def test_a_report_during_a_run_never_mixes_tables(old: Path, new: Path, tmp_path: Path) -> None:
    folder = copied(old, tmp_path / "copy")
    results = Results(folder)
    assert len(results.summary) == 12
    rewrite(folder, new)
    for read in (lambda: results.curves, lambda: results.samples, lambda: results.examples):
        assert "not as the run has written it" in message(read)
    assert len(Results(folder).summary) == 8
