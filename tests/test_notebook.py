"""The notebooks of examples/notebook run as they are on fresh captures, and every figure is drawn.

    test_notebook.py HEADWATER SOURCE_ROOT [SMOLLM2.gguf]

Without the real model first_look is shown the small one of examples/backcopy, and analyses is skipped: the small one
answers no questions. The commands are those of the first cell of each. Speaks TAP.
"""

import base64
import os
import subprocess
import sys
import tempfile

FIGURES = {"first_look": 4, "analyses": 5}
LEAST_PNG_BYTES = 4000  # an empty pair of axes at this size has about 2 kB


def capture(headwater, root, model, out):
    if model:
        prompts = os.path.join(root, "examples", "notebook", "prompts.jsonl")
    else:
        model = os.path.join(root, "examples", "backcopy", "model")
        prompts = os.path.join(root, "examples", "backcopy", "prompts.jsonl")
    command = [headwater, "capture", "--model", model, "--prompts", prompts, "--record", "default", "--record",
               "attention_maps", "--out", out, "--progress", "none", "--model-hash", "header"]
    return subprocess.run(command, capture_output=True, text=True)


def figures_of(notebook):
    pictures = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            picture = output.get("data", {}).get("image/png")
            if picture:
                pictures.append(base64.b64decode(picture))
    return pictures


def make_results(headwater, root, model, folder):
    """The files that analyses.ipynb opens; the first command that failed, or None."""
    prompts = os.path.join(root, "examples", "notebook", "prompts.jsonl")
    quiet = ["--quiet", "--model", model]
    template = r"<|im_start|>user\n{context}\n{question}<|im_end|>\n<|im_start|>assistant\n"
    captured = ["capture", *quiet, "--model-hash", "header"]
    for command in [
        [*captured, "--prompts", prompts, "--record", "default", "--record", "attention_vectors", "--out", "run.h5"],
        ["sinks", "--at", "8,16,32,64,128", "run.h5", "--out", "sinks.h5"],
        ["heads", "run.h5", "--out", "heads.h5"],
        ["rollout", "run.h5", "--out", "rollout.h5"],
        ["prompts", "repeat", *quiet, "--count", "4", "--out", "repeat.jsonl"],
        [*captured, "--prompts", "repeat.jsonl", "--out", "repeat.h5"],
        ["induction", "repeat.h5", "--out", "induction.h5"],
        ["prompts", "needle", *quiet, "--lengths", "500,700", "--depths", "50,100", "--template", template, "--out",
         "needle.jsonl"],
        [*captured, "--prompts", "needle.jsonl", "--record", "decode_top", "--generate", "40", "--stop", r"\n", "--out",
         "needle.h5"],
        ["retrieval", "needle.h5", "--out", "retrieval.h5"],
    ]:
        result = subprocess.run([headwater, *command], capture_output=True, text=True, cwd=folder)
        if result.returncode != 0:
            return f"{' '.join(command)}: {result.stderr.strip()}"
    return None


def show(number, name, root, folder):
    """Runs a notebook in a folder: two lines of TAP."""
    import nbclient
    import nbformat

    notebook = nbformat.read(os.path.join(root, "examples", "notebook", f"{name}.ipynb"), as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3",
                                     resources={"metadata": {"path": folder}})
    try:
        client.execute()
        print(f"ok {number} - {name} runs")
    except nbclient.exceptions.CellExecutionError as error:
        print(f"not ok {number} - {name} runs")
        for line in str(error).splitlines()[-12:]:
            print(f"# {line}")
    sizes = [len(picture) for picture in figures_of(notebook)]
    good = len(sizes) == FIGURES[name] and min(sizes) >= LEAST_PNG_BYTES
    print(f"{'ok' if good else 'not ok'} {number + 1} - {FIGURES[name]} figures of {name} are drawn # {sizes} bytes")


def main():
    headwater, root = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    model = os.path.abspath(sys.argv[3]) if len(sys.argv) > 3 and sys.argv[3] else None
    try:
        import nbclient  # noqa: F401
        import nbformat  # noqa: F401
    except ImportError as missing:
        print(f"1..0 # SKIP {missing}")
        return
    print("1..6")
    with tempfile.TemporaryDirectory() as folder:
        result = capture(headwater, root, model, os.path.join(folder, "run.h5"))
        print("ok 1 - capture" if result.returncode == 0 else f"not ok 1 - capture: {result.stderr.strip()}")
        show(2, "first_look", root, folder)
    if model is None:
        for number in range(4, 7):
            print(f"ok {number} - analyses # SKIP needs SmolLM2")
        return
    with tempfile.TemporaryDirectory() as folder:
        failed = make_results(headwater, root, model, folder)
        print("ok 4 - results" if failed is None else f"not ok 4 - results: {failed}")
        show(5, "analyses", root, folder)


if __name__ == "__main__":
    main()
