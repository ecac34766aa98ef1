"""The notebook of examples/notebook runs as it is on a fresh capture, and every figure is drawn.

    test_notebook.py HEADWATER SOURCE_ROOT [SMOLLM2.gguf]

Without the real model the small one of examples/backcopy is captured. Speaks TAP.
"""

import base64
import os
import subprocess
import sys
import tempfile

FIGURES = 4
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


def main():
    headwater, root = sys.argv[1:3]
    model = sys.argv[3] if len(sys.argv) > 3 and sys.argv[3] else None
    try:
        import nbclient
        import nbformat
    except ImportError as missing:
        print(f"1..0 # SKIP {missing}")
        return
    print("1..3")
    with tempfile.TemporaryDirectory() as folder:
        run = os.path.join(folder, "run.h5")
        result = capture(headwater, root, model, run)
        print("ok 1 - capture" if result.returncode == 0 else f"not ok 1 - capture: {result.stderr.strip()}")
        notebook = nbformat.read(os.path.join(root, "examples", "notebook", "first_look.ipynb"), as_version=4)
        client = nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3",
                                         resources={"metadata": {"path": folder}})
        try:
            client.execute()
            print("ok 2 - the notebook runs")
        except nbclient.exceptions.CellExecutionError as error:
            print("not ok 2 - the notebook runs")
            for line in str(error).splitlines()[-12:]:
                print(f"# {line}")
        sizes = [len(picture) for picture in figures_of(notebook)]
        good = len(sizes) == FIGURES and min(sizes) >= LEAST_PNG_BYTES
        print(f"{'ok' if good else 'not ok'} 3 - {FIGURES} figures are drawn # {sizes} bytes")


if __name__ == "__main__":
    main()
