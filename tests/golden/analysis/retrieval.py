#!/usr/bin/env python3
"""Golden of retrieval heads: the reference script, done again in torch on SmolLM2.

    python analysis/retrieval.py SmolLM2-135M-Instruct.Q4_1.gguf      (from tests/golden; writes analysis/retrieval.json)

Everything here is independent of headwater: the trial (generate_context, insert_needle), the needle's place
(find_needle_idx), greedy decoding one token at a time with the row of every head (transformers, eager, true float64 by
reference.py), the copy condition (retrieval_calculate) and the filter (rouge_score). After Wu et al. 2024, arXiv 2404.15574,
nightdessert/Retrieval_Head 3ac171a. Ours is the template: the model answers in its chat format only.

Stored: ids, the strongest key of every head in every step (three hex digits each, layer by layer), the steps whose two
strongest keys lie within 1e-4 of each other ("close", where float32 may choose otherwise), and what follows from them.
"""
import json
import pathlib
import sys

import numpy as np
import torch
import transformers
from rouge_score import rouge_scorer

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from reference import as_float64, float64_only  # noqa: E402
from smollm2 import load  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

EXAMPLES = HERE.parents[2] / "examples" / "needle"
TEMPLATE = (
    "<|im_start|>user\n{context}\nBased on the content of the book, Question: {question}\nAnswer:<|im_end|>\n"
    "<|im_start|>assistant\n"
)
TRIALS = (("herons", 0), ("herons", 100), ("clockmaker", 50), ("dough", 50))
LENGTH, ROOM, N_STEPS, CLOSE = 400, 200, 50, 1e-4


class Tester:
    def __init__(self, path):
        self.enc = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        self.model = as_float64(load(path))
        self.model.config._attn_implementation = "eager"
        self.newline = self.enc.encode("\n")

    def generate_context(self, needle, haystack, length, depth):
        text = ""
        while len(self.enc.encode(text)) < length:
            text += haystack
        tokens = self.enc.encode(text)
        if len(tokens) > length:
            text = self.enc.decode(tokens[:length])
        inserted = self.enc.encode(needle)
        tokens = self.enc.encode(text)
        length -= ROOM
        if len(tokens) + len(inserted) > length:
            tokens = tokens[: length - len(inserted)]
        if depth == 100:
            return self.enc.decode(tokens + inserted)
        at = int(len(tokens) * (depth / 100))
        period = self.enc.encode(".")
        before = tokens[:at]
        while before and before[-1] not in period:
            at -= 1
            before = tokens[:at]
        return self.enc.decode(before + inserted + tokens[at:])

    def find_needle_idx(self, prompt, answer):
        ids = set(answer)
        for i in range(len(prompt)):
            if len(set(prompt[i : i + len(answer)]) & ids) / len(ids) > 0.9:
                return i, i + len(answer)
        return -1, -1

    @torch.no_grad()
    def decode(self, prompt):
        """Emitted ids, keys [step, layer, head], close steps [[step, layer, head], ...]."""
        outputs, keys, close = [], [], []
        with float64_only():
            past = self.model(input_ids=torch.tensor([prompt[:-1]]), use_cache=True).past_key_values
            token = prompt[-1]
            for step in range(N_STEPS):
                out = self.model(
                    input_ids=torch.tensor([[token]]), past_key_values=past, use_cache=True, output_attentions=True
                )
                past = out.past_key_values
                token = out.logits[0, -1].argmax().item()
                rows = torch.stack([a[0, :, -1] for a in out.attentions])  # [layer, head, key]
                top, index = rows.topk(2)
                keys.append(index[..., 0].numpy())
                for layer, head in (top[..., 0] - top[..., 1] < CLOSE).nonzero().tolist():
                    close.append([step, layer, head])
                outputs.append(token)
                if token in self.newline or token == self.enc.eos_token_id:
                    break
        return outputs, np.stack(keys), close


def retrieval_calculate(keys, outputs, prompt, start, end):
    score = np.zeros(keys.shape[1:])
    for row, emitted in zip(keys, outputs):
        for (layer, head), i in np.ndenumerate(row):
            if start <= i < end and emitted == prompt[i]:
                score[layer, head] += 1 / (end - start)
    return score


def run_trial(tester, needle, depth):
    haystack = (EXAMPLES / needle["haystack"]).read_text(encoding="utf-8")
    context = tester.generate_context(needle["needle"], haystack, LENGTH, depth)
    text = TEMPLATE.replace("{context}", context).replace("{question}", needle["question"])
    prompt = tester.enc(text)["input_ids"]
    answer = tester.enc(needle["answer"], add_special_tokens=False)["input_ids"]
    start, end = tester.find_needle_idx(prompt, answer)
    outputs, keys, close = tester.decode(prompt)
    response = tester.enc.decode(outputs, skip_special_tokens=True).strip()
    scorer = rouge_scorer.RougeScorer(["rouge1", "rougeL"], use_stemmer=True)
    rouge = scorer.score(needle["answer"], response)["rouge1"].recall * 100
    score = retrieval_calculate(keys, outputs, prompt, start, end)
    name = f"{needle['name']}-{LENGTH}-{depth}"
    print(name, len(prompt), (start, end), rouge, repr(response), len(close), score.max(), flush=True)
    return {
        "name": name,
        "length": LENGTH,
        "depth": depth,
        "text": text,
        "prompt": prompt,
        "answer": needle["answer"],
        "answer_tokens": answer,
        "needle": [start, end],
        "outputs": outputs,
        "output_texts": [tester.enc.decode([i]) for i in outputs],
        "output_special": [int(i in tester.enc.all_special_ids) for i in outputs],
        "response": response,
        "rouge": rouge,
        "keys": ["".join(f"{k:03x}" for k in row.flatten()) for row in keys],
        "close": close,
        "score": {f"{l}-{h}": s for (l, h), s in np.ndenumerate(score) if s > 0},
    }


def main():
    tester = Tester(pathlib.Path(sys.argv[1]))
    needles = {n["name"]: n for n in json.loads((EXAMPLES / "needles.json").read_text(encoding="utf-8"))}
    config = tester.model.config
    golden = {
        "note": f"transformers {transformers.__version__}, torch {torch.__version__}",
        "template": TEMPLATE,
        "n_layers": config.num_hidden_layers,
        "n_heads": config.num_attention_heads,
        "trials": [run_trial(tester, needles[name], depth) for name, depth in TRIALS],
    }
    with open(HERE / "retrieval.json", "w", encoding="utf-8") as file:
        json.dump(golden, file, ensure_ascii=True, indent=None, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
