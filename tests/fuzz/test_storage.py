"""Checkpoints and run folders whose files were changed, cut short or written by somebody else."""

# Wrong types are what these tests pass.
# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false, reportOperatorIssue=false

import contextlib
import copy
import hashlib
import json
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bnnrl
from bnnrl import planners, policies  # noqa: F401  (with their settings)
from bnnrl.rl.search import PolicySearch  # noqa: F401
from bnnrl.rl.simulator.settings import Dynamics  # noqa: F401
from bnnrl.storage import checkpoint, config, run_folder
from tests.fuzz.harness import REFUSED, anything, attempt, quick, thorough

FIXTURES = Path(__file__).parents[1] / "fixtures" / "0.1.0"
MODELS = sorted((FIXTURES / "models").iterdir())
NAMES = ("folder", "checkpoint", "version", "network", "likelihood", "method", "settings", "setting", "posterior")
NAMES += ("settings of ", *(field for cls in config._CLASSES.values() for field in cls.__dataclass_fields__))

_json_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.sampled_from(["Adam", "Dense", "../../x", "/etc/passwd", "Lambda", "bayesian_model", "pilco", "builtins", "os"]),
)
_keys = st.text(max_size=4) | st.sampled_from(["class", "class_name", "kind", "name", "config"])
json_values = st.recursive(
    _json_leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | st.just("class"), inner, max_size=3)
    ),
    max_leaves=5,
)


def _places(value, path=()):
    """Return the paths of all entries of JSON data."""
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield from _places(entry, (*path, key))


@st.composite
def _changed(draw, value):
    """JSON data with an entry replaced, left out, added or renamed."""
    changed = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 2))):
        places = [place for place in _places(changed) if place]
        if not places:
            break
        *path, last = draw(st.sampled_from(places))
        parent = changed
        for key in path:
            parent = parent[key]
        kind = draw(st.sampled_from(["replace", "replace", "remove", "add", "rename"]))
        if kind == "replace":
            parent[last] = draw(json_values)
        elif kind == "remove":
            del parent[last]
        elif isinstance(parent, dict):
            parent[draw(st.text(max_size=5))] = draw(json_values) if kind == "add" else parent.pop(last)
    return changed


def _sign(record: dict) -> dict:
    """Return a checkpoint's record with the checksum that its configuration has."""
    return record | {
        "sha256": record["sha256"] | {"config": hashlib.sha256(json.dumps(record["config"]).encode()).hexdigest()}
    }


def _write(folder: Path, source: Path, record, data: bytes | None = None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if data is None:
        shutil.copy(source / "arrays.safetensors", folder)
    else:
        (folder / "arrays.safetensors").write_bytes(data)
    (folder / "config.json").write_text(json.dumps(record))


def _check_changed_config(folder: Path, data: st.DataObject) -> None:
    source = data.draw(st.sampled_from(MODELS), label="model")
    record = json.loads((source / "config.json").read_text())
    if data.draw(st.integers(0, 3)) == 0:
        record = data.draw(_changed(record), label="record")
    else:
        record = _sign(record | {"config": data.draw(_changed(record["config"]), label="config")})
    _write(folder, source, record)
    loaded = attempt("load of a changed config.json", NAMES, lambda: bnnrl.load(folder))
    if loaded is not REFUSED:
        assert isinstance(loaded, bnnrl.BayesianModel)


@pytest.mark.slow
@thorough(1500)
@given(data=st.data())
def test_changed_configurations(tmp_path_factory, data):
    _check_changed_config(tmp_path_factory.getbasetemp() / "model", data)


@st.composite
def _damaged_arrays(draw, data: bytes) -> bytes:
    """The bytes of a safetensors file with a changed header, or changed bytes."""
    (size,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    kind = draw(st.sampled_from(["header", "header", "cut", "size", "bytes", "entries"]))
    if kind == "cut":
        return data[: draw(st.integers(0, len(data)))]
    if kind == "size":
        return struct.pack("<Q", draw(st.integers(0, 2**64 - 1))) + data[8:]
    if kind == "bytes":
        at = draw(st.integers(0, len(data)))
        return data[:at] + draw(st.binary(max_size=8)) + data[at:]
    if kind == "entries":
        name = draw(st.sampled_from(sorted(header)))
        entry = header[name]
        field = draw(st.sampled_from(["dtype", "shape", "data_offsets"]))
        dtypes = ["F16", "BF16", "F64", "I32", "I8", "BOOL", "U64", "F8_E4M3", "X"]
        offsets = st.lists(st.integers(-1, 2**65), min_size=2, max_size=2)
        shapes = st.lists(st.integers(0, 2**40), max_size=3)
        entry[field] = draw({"dtype": st.sampled_from(dtypes), "shape": shapes, "data_offsets": offsets}[field])
    else:
        header = draw(_changed(header))
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + body


def _check_damaged_arrays(folder: Path, data: st.DataObject) -> None:
    source = data.draw(st.sampled_from(MODELS), label="model")
    record = json.loads((source / "config.json").read_text())
    content = data.draw(_damaged_arrays((source / "arrays.safetensors").read_bytes()), label="arrays")
    if data.draw(st.integers(0, 3)):  # with the checksum of the damaged file
        record["sha256"]["arrays"] = hashlib.sha256(content).hexdigest()
    _write(folder, source, record, content)
    attempt("load of changed arrays", NAMES, lambda: bnnrl.load(folder))


@pytest.mark.slow
@thorough(1500)
@given(data=st.data())
def test_damaged_arrays(tmp_path_factory, data):
    _check_damaged_arrays(tmp_path_factory.getbasetemp() / "model", data)


def _check_text(folder: Path, content: bytes) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "config.json").write_bytes(content)
    attempt("load of any config.json", NAMES, lambda: bnnrl.load(folder))
    for kind in (run_folder.TRAIN, run_folder.FIT, run_folder.COMPARISON):
        names = "folder", "run folder", "settings", "version"
        attempt("config.json of a run", names, lambda kind=kind: kind.read_config(folder))


_texts = st.one_of(
    st.binary(max_size=60),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries(
        {"format": st.just("bnnrl")},
        optional={"kind": st.sampled_from(["run", "fit", "comparison", 1, None, []]), "settings": json_values}
        | {"versions": json_values, "version": json_values, "sha256": json_values, "config": json_values},
    ).map(lambda value: json.dumps(value).encode()),
    st.integers(1, 4000).map(lambda n: b"[" * n),
    st.sampled_from([b'{"format": NaN}', b"\xff\xfe{\x00}\x00", b'{"a": 1' + b"0" * 5000 + b"}", b"\xef\xbb\xbf{}"]),
)


@quick(60)
@given(content=_texts)
def test_text_instead_of_a_configuration(tmp_path_factory, content):
    _check_text(tmp_path_factory.getbasetemp() / "text", content)


@pytest.mark.slow
@thorough(3000)
@given(content=_texts)
def test_much_text_instead_of_a_configuration(tmp_path_factory, content):
    _check_text(tmp_path_factory.getbasetemp() / "text", content)


@quick(60)
@given(value=json_values)
def test_settings_of_any_kind(value):
    attempt("config.decode", NAMES, lambda: config.decode(value))


@pytest.mark.slow
@thorough(8000)
@given(data=st.data())
def test_changed_settings(data):
    name = data.draw(st.sampled_from(sorted(config._CLASSES)))
    encoded = config.encode(_default(name))
    changed = data.draw(_changed({"entry": encoded}))
    attempt("config.decode", NAMES, lambda: config.decode(changed.get("entry")))


def _default(name: str):
    required = {"Schedule": {"initial": 0.1}, "Polynomial": {"a": 0.1}}
    return config._CLASSES[name](**required.get(name, {}))


@pytest.mark.slow
@thorough(2000)
@given(data=st.data())
def test_checkpoints_of_any_values(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "written"
    shutil.rmtree(folder, ignore_errors=True)
    configuration = data.draw(
        anything | st.dictionaries(st.text(max_size=3) | anything.filter(_hashable), anything, max_size=2)
    )
    arrays = data.draw(anything | st.dictionaries(st.text(max_size=3), anything, max_size=2))
    written = attempt(
        "checkpoint.write", ("config", "arrays", "setting"), lambda: checkpoint.write(folder, configuration, arrays)
    )
    if written is REFUSED:
        assert not folder.exists()
    else:
        again = checkpoint.read(folder)[1]
        assert {name: np.asarray(value).tolist() for name, value in arrays.items()}.keys() == again.keys()


def _hashable(value) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("link", ["checkpoints", "step_3", "step_9", "config.json"])
def test_links_out_of_a_run_folder_are_never_written_through(tmp_path, link):
    outside, run = tmp_path / "outside", tmp_path / "run"
    outside.mkdir()
    (outside / "precious").write_text("kept")
    shutil.copytree(FIXTURES / "fit" / "checkpoints" / "step_3", run / "checkpoints" / "step_3")
    before = _everything(outside)
    place = run / link if link in ("checkpoints", "config.json") else run / "checkpoints" / link
    if place.exists():
        shutil.rmtree(place)
    os.symlink(outside, place)
    for step in (3, 9, 10, 11):
        with contextlib.suppress(ValueError, OSError):
            checkpoint.write_step(run, step, {"a": 1}, {"b": np.zeros(2)})
    after = _everything(outside)
    assert {name: after.get(name) for name in before} == before
