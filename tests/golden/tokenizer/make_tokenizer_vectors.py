#!/usr/bin/env python3
"""Tiny tokenizers of every pattern, texts, and what HF tokenizers makes of them.

    make_tokenizer_vectors.py [SMOLLM2.gguf]

Writes into its own folder: one tokenizer.json per pattern, strings.json, <name>.vectors.json, variants.json and, where the
GGUF file is given, smollm2.vectors.json. Needs tokenizers (0.23) and, for SmolLM2, gguf. The same versions give the same bytes.

A vector is [ids, offsets, decoded]. ids: a list, or "n:sha256" over the ids as little-endian u4 where there are more than 400.
offsets: the first 16 digits of the sha256 over (first, end) as little-endian u4, in bytes, widened to whole characters, with
trim_offsets off; null where the normaliser changed the text (HF leaves combined characters out there; ours cover them).
Null as well where a byte has no token: it is left out, and HF moves the offsets of what follows.
decoded: 1 the text itself, 2 its NFC form, 0 not UTF-8 (HF shows a replacement character), else the string.
"""
import hashlib
import json
import pathlib
import random
import struct
import sys
import unicodedata

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors,
                        trainers)

from strings import make_strings, training_text

HERE = pathlib.Path(__file__).parent
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


def byte_level(regex):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=regex)


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), behavior="isolated", invert=False)


def train(pre, size, normalizer=None, specials=(), alphabet=None):
    tokenizer = Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet() if alphabet is None else alphabet)
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, special_tokens=list(specials),
                                  show_progress=False)
    tokenizer.train_from_iterator(training_text(), trainer)
    return tokenizer


def byte_characters():
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {b: chr(b) for b in plain}
    for b in range(256):
        if b not in table:
            table[b] = chr(0x100 + len(table) - len(plain))
    return table


BYTES = byte_characters()


def make_tokenizers():
    made = {}
    gpt2 = train(byte_level(True), 256 + 1 + 800)
    gpt2.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=False)])
    gpt2.post_processor = processors.ByteLevel(trim_offsets=True)
    made["gpt2"] = gpt2

    neox = train(byte_level(True), 256 + 2 + 700, normalizers.NFC(), ["<|endoftext|>", "<|padding|>"])
    neox.post_processor = processors.ByteLevel(trim_offsets=True)
    neox.add_tokens([AddedToken(" " * n, special=False, normalized=True) for n in range(24, 1, -1)])
    made["neox"] = neox

    llama3 = train(pre_tokenizers.Sequence([split(LLAMA3), byte_level(False)]), 256 + 900)
    document = json.loads(llama3.to_str())
    document["model"]["ignore_merges"] = True
    for text in ["Ġunreachable", "tokenization", "ðŁĻĤðŁĻĤ"]:
        document["model"]["vocab"][text] = len(document["model"]["vocab"])
    llama3 = Tokenizer.from_str(json.dumps(document))
    llama3.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in
                               ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>"]])
    bos = llama3.token_to_id("<|begin_of_text|>")
    llama3.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=True),
        processors.TemplateProcessing(single="<|begin_of_text|> $A",
                                      pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
                                      special_tokens=[("<|begin_of_text|>", bos)])])
    made["llama3"] = llama3

    qwen2 = train(pre_tokenizers.Sequence([split(QWEN2), byte_level(False)]), 256 + 800, normalizers.NFC())
    qwen2.post_processor = processors.ByteLevel(trim_offsets=False)
    qwen2.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in
                              ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]])
    made["qwen2"] = qwen2

    # Like the real one, this lacks the tokens of some bytes.
    missing = {0x04, 0x06, 0x13, 0xC0, 0xC1, *range(0xF5, 0x100)}
    alphabet = [c for b, c in BYTES.items() if b not in missing]
    pre = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level(True)])
    made["smollm"] = train(pre, 256 + 700, None, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], alphabet)

    added = train(byte_level(True), 256 + 200, normalizers.NFC())
    added.post_processor = processors.ByteLevel(trim_offsets=True)
    added.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True, normalized=False),
                              AddedToken("<r>", rstrip=True, special=True, normalized=False),
                              AddedToken("<lr>", lstrip=True, rstrip=True, special=True, normalized=False),
                              AddedToken("<a>", special=True, normalized=False),
                              AddedToken("<a><b>", special=True, normalized=False),
                              AddedToken("<n>", special=True, normalized=True)])
    added.add_tokens([AddedToken("word", single_word=True, normalized=False),
                      AddedToken("ing", single_word=False, normalized=True),
                      AddedToken("b\u1ebdn", single_word=True, normalized=True),
                      AddedToken("e\u0301t", normalized=False),
                      AddedToken("\u6f22", normalized=True), AddedToken("\u6f22\u5b57", normalized=True)])
    made["added"] = added
    return made


def untrimmed(tokenizer):
    """The same tokenizer with offsets that tile the text."""
    return Tokenizer.from_str(tokenizer.to_str().replace('"trim_offsets":true', '"trim_offsets":false'))


def digest(values):
    return hashlib.sha256(struct.pack(f"<{len(values)}I", *values)).hexdigest()


def byte_offsets(text, offsets):
    at = [0]
    for c in text:
        at.append(at[-1] + len(c.encode()))
    return [at[o] for pair in offsets for o in pair]


def vector(tokenizer, text):
    encoded = tokenizer.encode(text, add_special_tokens=False)
    ids = encoded.ids
    offsets = None
    if tokenizer.normalizer is None or unicodedata.normalize("NFC", text) == text:
        offsets = digest(byte_offsets(text, encoded.offsets))[:16]
    vocab = tokenizer.get_vocab()
    if any(BYTES[b] not in vocab for b in text.encode()):
        offsets = None
    decoded = tokenizer.decode(ids, skip_special_tokens=False)
    if decoded == text:
        decoded = 1
    elif "\ufffd" in decoded:
        decoded = 0
    elif decoded == unicodedata.normalize("NFC", text):
        decoded = 2
    return [ids if len(ids) <= 400 else f"{len(ids)}:{digest(ids)}", offsets, decoded]


def write(name, value):
    lines = ",\n".join(json.dumps(v, ensure_ascii=True, separators=(",", ":")) for v in value)
    (HERE / name).write_text("[\n" + lines + "\n]\n")


def expand(text):
    return text if isinstance(text, str) else "".join(part * n for part, n in text)


def write_variants(made):
    """The gpt2 tokenizer with one component changed: pre-tokenizers that the five do not have."""
    texts = ["", "a", "one-two--three 45", "--x--", "  lead and trail  ", "a1b22c333", "x", "12", " 7 ", "tab\tnew\nline",
             "don't-DON'T", "\u00b2\u00bd\u0664 mixed", "a b  c   d", "<|endoftext|>after", "hi<|endoftext|> there"]
    base = json.loads(made["gpt2"].to_str())
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    changes = []
    for behavior in ["Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext"]:
        for invert in [False, True]:
            for pattern in [{"String": "-"}, {"Regex": r"\s|\p{N}"}]:
                changes.append({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                    {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}, level]}})
    changes.append({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": False}, {**level, "use_regex": True}]}})
    changes.append({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True}, {**level, "add_prefix_space": True, "use_regex": True}]}})
    changes.append({"pre_tokenizer": {**level, "add_prefix_space": True, "use_regex": True}})
    changes.append({"pre_tokenizer": {**level, "add_prefix_space": True}})
    changes.append({"pre_tokenizer": level})
    rows = []
    for change in changes:
        tokenizer = Tokenizer.from_str(json.dumps({**base, **change}).replace(
            '"trim_offsets": true', '"trim_offsets": false'))
        cases = []
        for text in texts:
            encoded = tokenizer.encode(text, add_special_tokens=False)
            cases.append([text, encoded.ids, byte_offsets(text, encoded.offsets)])
        rows.append({"change": change, "cases": cases})
    write("variants.json", rows)


def smollm2(path):
    """The tokenizer of the GGUF file as HF has it: digits one by one, then ByteLevel."""
    import gguf
    reader = gguf.GGUFReader(path)
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    merges = reader.fields["tokenizer.ggml.merges"].contents()
    types = reader.fields["tokenizer.ggml.token_type"].contents()
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)},
                                     merges=[tuple(m.split(" ", 1)) for m in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                       pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False)
                                  for t, kind in zip(tokens, types) if kind == 3])
    return tokenizer


def main():
    random.seed(0)
    strings = make_strings()
    write("strings.json", strings)
    made = make_tokenizers()
    for name, tokenizer in made.items():
        document = json.loads(tokenizer.to_str())
        (HERE / f"{name}.json").write_text(json.dumps(document, ensure_ascii=True, separators=(",", ":")) + "\n")
        plain = untrimmed(tokenizer)
        write(f"{name}.vectors.json", [vector(plain, expand(s)) for s in strings])
    write_variants(made)
    if len(sys.argv) > 1:
        tokenizer = untrimmed(smollm2(sys.argv[1]))
        write("smollm2.vectors.json", [vector(tokenizer, expand(s)) for s in strings])


main()
