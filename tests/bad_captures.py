"""Captures that are wrong in one way each. Used by test_bad_files.py."""
import os

import h5py
import numpy as np


def replace(content):
    def change(path):
        with open(path, "wb") as file:
            file.write(content)
    return change


def cut(share):
    return lambda path: os.truncate(path, int(os.path.getsize(path) * share))


def edit(what):
    def change(path):
        with h5py.File(path, "r+") as file:
            what(file)
    return change


def another(path):
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(3)


def external(file):
    """A dataset whose values lie in another file."""
    old = file["token_id"]
    shape, name = old.shape, "token_id"
    del file[name]
    space = h5py.h5s.create_simple(shape)
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_external(b"/etc/passwd", 0, 4 * shape[0])
    h5py.h5d.create(file.id, name.encode(), h5py.h5t.STD_I32LE, space, properties)


def linked(file):
    del file["token_id"]
    file["token_id"] = h5py.ExternalLink("/etc/passwd", "/token_id")


def huge(file):
    """Declares eight tebibytes."""
    old = file["attention/pattern"]
    shape = old.shape
    del file["attention/pattern"]
    file["attention"].create_dataset("pattern", shape=(1 << 20, *shape[1:3], 1 << 20, 1 << 20), dtype="f2", chunks=(1, 1, 1, 64, 64))


def longer(file):
    file["n_tokens"][0] = 1 << 30


def backwards(file):
    file["token_start"][1] = -5


def marked(path):
    """Problems of a capture whose run ended with exit code 6: a failed prompt must be marked, with the reason."""
    with h5py.File(path) as file:
        status = file["prompt_status"][:]
        reasons = file["prompt_error"][:]
    failed = [i for i, s in enumerate(status) if s == 2]
    if not failed:
        return [f"no prompt is marked: {status}"]
    return [f"prompt {i} has no reason" for i in failed if not reasons[i]]


# name, how to spoil a good capture, words that the message must have
CASES = [
    ("nothing", os.unlink, ["No such file"]),
    ("empty", replace(b""), []),
    ("text", replace(b"not a capture\n"), []),
    ("random bytes", replace(np.random.default_rng(1).bytes(100000)), []),
    ("the signature only", replace(b"\x89HDF\r\n\x1a\n"), []),
    ("a folder", lambda path: (os.unlink(path), os.mkdir(path)), []),
    ("cut to nothing but its head", lambda path: os.truncate(path, 96), []),
    ("cut to a tenth", cut(0.1), []),
    ("cut to a half", cut(0.5), []),
    ("cut by one byte", lambda path: os.truncate(path, os.path.getsize(path) - 1), []),
    ("another HDF5 file", another, ["format_name"]),
    ("another format", edit(lambda f: f.attrs.__setitem__("format_name", "other")), ["format_name", "other"]),
    ("a later version", edit(lambda f: f.attrs.__setitem__("format_version", "2.0")), ["2.0"]),
    ("a dataset missing", edit(lambda f: f.__delitem__("token_start")), ["token_start"]),
    ("a dataset of another type", edit(lambda f: (f.__delitem__("token_id"), f.__setitem__("token_id", [1.5] * 3))), ["token_id"]),
    ("a dataset that is a group", edit(lambda f: (f.__delitem__("token_id"), f.create_group("token_id"))), ["token_id"]),
    ("a dataset of another length", edit(lambda f: (f.__delitem__("token_id"), f.__setitem__("token_id", np.zeros(3, "i4")))), ["token_id"]),
    ("values in another file", edit(external), ["token_id"]),
    ("a link to another file", edit(linked), ["token_id"]),
    ("eight tebibytes", edit(huge), ["pattern"]),
    ("a prompt longer than the file", edit(longer), []),
    ("a prompt that starts before the file", edit(backwards), []),
]
