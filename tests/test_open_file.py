#!/usr/bin/python3
"""A capture opens in the programs people use: h5py, xarray (both engines), netCDF-C, h5dump, h5ls; and the reader recipes work.

Usage: test_open_file.py MAKE_CAPTURE. Prints TAP. The captures are synthetic (tests/synthetic.c): 8 prompts, the fourth failed.
"""
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

try:
    import h5py
    import numpy as np
    import xarray as xr
    import netCDF4
    import h5netcdf  # noqa: F401  (an engine of xarray)
except ImportError as missing:
    print(f"1..0 # SKIP {missing}")
    sys.exit(0)

ENGINES = ("h5netcdf", "netcdf4")
LENGTHS = [5, 130, 1, 0, 17, 257, 40, 3]
n_tests = 0


def check(claim, holds, detail=""):
    global n_tests
    n_tests += 1
    print(f"{'ok' if holds else 'not ok'} {n_tests} - {claim}" + (f"\n# {detail}" if detail and not holds else ""))


def datasets(file):
    found = []
    file.visititems(lambda name, obj: found.append(obj) if isinstance(obj, h5py.Dataset) else None)
    return found


def is_scale(dataset):
    return dataset.attrs.get("CLASS") in (b"DIMENSION_SCALE", "DIMENSION_SCALE")


def check_rules(path, is_virtual):
    """The rules of the format, seen with h5py."""
    with h5py.File(path) as file:
        wrong = {rule: [] for rule in ("scales", "types", "attributes", "spaces", "storage", "order")}
        for d in datasets(file):
            if d.file.filename != file.filename or d.id.get_space().get_simple_extent_type() == h5py.h5s.NULL:
                wrong["spaces"].append(d.name)
            kind = d.id.get_type()
            if isinstance(kind, (h5py.h5t.TypeEnumID, h5py.h5t.TypeCompoundID, h5py.h5t.TypeVlenID)) or (
                    isinstance(kind, h5py.h5t.TypeStringID) and not kind.is_variable_str()):
                wrong["types"].append(d.name)
            for name in d.attrs:
                if name in ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST"):
                    continue
                kind = d.attrs.get_id(name).get_type()
                if isinstance(kind, h5py.h5t.TypeStringID) and not kind.is_variable_str():
                    wrong["types"].append(f"{d.name}@{name}")
            if d.id.get_create_plist().get_external_count() or (d.is_virtual and not is_virtual):
                wrong["storage"].append(d.name)
            for i in range(d.id.get_create_plist().get_nfilters()):
                if d.id.get_create_plist().get_filter(i)[0] not in (1, 2):
                    wrong["storage"].append(d.name)
            if is_scale(d):
                continue
            if any(len(d.dims[i]) != 1 for i in range(d.ndim)):
                wrong["scales"].append(d.name)
            if any(name not in d.attrs for name in ("long_name", "units", "description")):
                wrong["attributes"].append(d.name)
            if d.dtype.kind == "f" and not np.isnan(d.attrs["_FillValue"]):
                wrong["attributes"].append(d.name)
        for group in [file] + [g for g in file.values() if isinstance(g, h5py.Group)]:
            opened = h5py.h5g.open(file.id, group.name.encode())
            if not opened.get_create_plist().get_link_creation_order() & h5py.h5p.CRT_ORDER_TRACKED:
                wrong["order"].append(group.name)
        for rule, where in wrong.items():
            check(f"{path.name}: {rule} are as the format says", not where, where)
        root = dict(file.attrs)
        check(f"{path.name}: says what it is", root["Conventions"] == "CF-1.10" and root["complete"] == 1
              and root["format_name"] == "headwater capture" and len(root["run_id"]) == 36, root)


def check_chunks(path):
    with h5py.File(path) as file:
        pattern = file["attention/pattern"]
        check("maps have tiles of 128", pattern.chunks == (1, 1, 1, 128, 128) and pattern.shuffle
              and pattern.compression == "gzip")
        check("token statistics have one layer a chunk", file["attention_entropy"].chunks == (453, 1, 4))
        check("vectors have 64 rows and no filter", file["activations/z"].chunks == (64, 1, 4, 2)
              and file["activations/z"].compression is None)
        check("small datasets over prompts have no chunks", file["sink_score"].chunks is None)
        stored = sum(1 for _ in range(pattern.id.get_num_chunks()))
        edges = [-(-n // 128) for n in LENGTHS]
        check("only tiles inside prompts are stored", stored == 2 * 4 * sum(e * e for e in edges), stored)


def check_engines(path):
    with h5py.File(path) as file:
        groups = [None] + [name for name, g in file.items() if isinstance(g, h5py.Group)]
        members = {g: [n for n, d in (file[g] if g else file).items()
                       if isinstance(d, h5py.Dataset) and not is_scale(d)] for g in groups}
    for engine in ENGINES:
        for group in groups:
            try:
                with xr.open_dataset(path, engine=engine, group=group) as ds:
                    ds.load()
                    missing = [name for name in members[group] if name not in ds.variables]
                    nameless = [d for d in ds.sizes if "phony" in d]
                    check(f"{path.name}: {engine} opens /{group or ''}", not missing and not nameless, missing + nameless)
            except Exception as error:  # any failure of a reader is what is looked for
                check(f"{path.name}: {engine} opens /{group or ''}", False, repr(error))


def check_recipes(path, engine, step):
    """step: what a weight may be off by, half the spacing of the stored type near 1."""
    ds = xr.open_dataset(path, engine=engine)
    att = xr.open_dataset(path, engine=engine, group="attention")
    name = f"{path.name}: {engine}"
    mean = ds.sink_score.mean("prompt")
    check(f"{name}: sink scores average over prompts, the failed one left out", mean.dims == ("layer", "head")
          and bool(np.isfinite(mean).all()))
    by = ds.residual_norm.groupby("token_prompt").mean()
    check(f"{name}: rows group by prompt", by.sizes["token_prompt"] == 7 and by.sizes["depth"] == 4)
    if hasattr(ds, "set_xindex"):
        river = ds.set_xindex("prompt_name").sel(prompt_name="prompt 5")
        check(f"{name}: a prompt is found by its name", int(river.n_tokens) == 257)
    one = att.pattern.sel(prompt=5, layer=2, head=1).astype("float64")
    n = 257
    sums = one[:n, :n].sum("key")
    check(f"{name}: rows of a map sum to one", bool((abs(sums - 1) < n * step).all()), float(abs(sums - 1).max()))
    upper = np.triu(np.ones((n, n)), 1).astype(bool)
    check(f"{name}: above the diagonal is zero", bool((one.values[:n, :n][upper] == 0).all()))
    short = att.pattern.sel(prompt=6, layer=0, head=0)
    check(f"{name}: outside of a prompt is NaN", bool(np.isnan(short[40:, :]).all() and np.isnan(short[:, 40:]).all()))
    joined = ds.attention_received * ds.value_norm.sel(kv_head=ds.head_kv_head)
    check(f"{name}: query heads join their kv heads", joined.dims == ("token", "layer", "head")
          and bool(np.isfinite(joined).all()))
    table = ds[["token_id", "token_text", "token_logprob"]].to_dataframe()
    check(f"{name}: tokens become a table", len(table) == sum(LENGTHS) and {"token_prompt", "prompt_name"}.isdisjoint(
        set(table.columns) - set(ds.coords)) and table.token_text.map(len).min() > 0)
    check(f"{name}: flags are booleans", ds.token_is_special.dtype == bool and int(ds.token_is_special.sum()) == 7)
    starts = np.concatenate([[0], np.cumsum(LENGTHS)[:-1]])
    check(f"{name}: token_start is where prompts start", list(ds.token_start.values) == list(starts))
    check(f"{name}: spans lie where they were named", [str(s) for s in ds.span_name.values] == ["needle"] * 2
          and list(ds.span_prompt.values) == [1, 5])
    massive = xr.open_dataset(path, engine=engine, group="massive")
    check(f"{name}: massive activations point to their rows",
          list(ds.token_prompt.values[massive.token.values]) == list(massive.prompt.values))
    vocabulary = xr.open_dataset(path, engine=engine, group="vocabulary")
    raw, start = vocabulary.byte.values, vocabulary.byte_start.values
    check(f"{name}: bytes of tokens are found", start[0] == 0 and start[-1] == len(raw) and len(vocabulary.text) == len(start) - 1)
    means = xr.open_dataset(path, engine=engine, group="means")
    check(f"{name}: means are found by group, layer and position", list(means.group.values) == ["prose", "code"]
          and np.float32(float(means.z_sum.sel(group="code", layer=2, head=1)[0]) / float(means["count"].sel(group="code")) / 2 ** 30)
          == float(means.z.sel(group="code", layer=2, head=1)[0]) and int(means.position_count.sum()) == int(means["count"].sum())
          and bool(np.isnan(means.position_z.sel(group="prose", position=200)).all())
          and means.position_residual.dims == ("group", "depth", "position", "channel"))
    for opened in (ds, att, massive, vocabulary, means):
        opened.close()


def check_tools(path):
    for command in (["h5dump", "-H", "-A", str(path)], ["h5ls", "-r", str(path)]):
        done = subprocess.run(command, capture_output=True, text=True)
        check(f"{path.name}: {command[0]} reads it", done.returncode == 0 and "pattern" in done.stdout, done.stderr[-300:])
    with netCDF4.Dataset(path) as file:
        check(f"{path.name}: netCDF-C sees the dimensions", file.dimensions["token"].size == sum(LENGTHS)
              and "token" not in file.variables and file["attention"].dimensions["query"].size == 257)
    with h5py.File(path) as file:
        parts = json.loads(file["provenance/parts_json"].asstr()[()])
        check(f"{path.name}: parts are listed", [(p["first"], p["last"]) for p in parts] == [(0, 2), (3, 5), (6, 7)])


def main():
    warnings.simplefilter("ignore")
    make = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        for width, step in (("f2", 2.0 ** -12), ("f4", 2.0 ** -24), ("u2", 0.5 / 65534)):
            path = Path(folder) / f"{width}.h5"
            subprocess.run([make, str(path), width], check=True)
            check_rules(path, False)
            check_engines(path)
            check_tools(path)
            for engine in ENGINES:
                check_recipes(path, engine, step)
        check_chunks(Path(folder) / "f2.h5")
        master = Path(folder) / "master.h5"
        subprocess.run([make, str(master), "f2", "virtual"], check=True)
        check_rules(master, True)
        check_engines(master)
        for engine in ENGINES:
            check_recipes(master, engine, 2.0 ** -12)
    print(f"1..{n_tests}")


main()
