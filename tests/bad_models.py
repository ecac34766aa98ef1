"""Models that are wrong in one way each: copies of small good ones, spoiled. Used by test_bad_files.py."""
import json
import os
import shutil
import struct

SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q", 11: "<q", 12: "<d"}
STRING, ARRAY = 8, 9


class Gguf:
    """A GGUF file taken apart, so that any field can be made to lie."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = file.read()
        self.at = 4
        self.version = self.take("<I")
        n_tensors, n_keys = self.take("<Q"), self.take("<Q")
        self.keys = {}
        for _ in range(n_keys):
            name = self.take_string()
            kind = self.take("<I")
            self.keys[name] = (kind, self.take_value(kind))
        self.tensors = []
        for _ in range(n_tensors):
            name = self.take_string()
            dims = [self.take("<Q") for _ in range(self.take("<I"))]
            self.tensors.append({"name": name, "dims": dims, "type": self.take("<I"), "offset": self.take("<Q")})
        self.header_bytes = self.at
        self.blob = self.data[(self.at + 31) // 32 * 32:]
        self.magic = b"GGUF"
        self.n_tensors = None
        self.n_keys = None

    def take(self, form):
        value, = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def take_string(self):
        n = self.take("<Q")
        self.at += n
        return self.data[self.at - n:self.at]

    def take_value(self, kind):
        if kind == STRING:
            return self.take_string()
        if kind == ARRAY:
            inner, n = self.take("<I"), self.take("<Q")
            return inner, [self.take_value(inner) for _ in range(n)]
        return self.take(SCALARS[kind])

    @staticmethod
    def string(text):
        return struct.pack("<Q", len(text)) + text

    def value(self, kind, value):
        if kind == STRING:
            return self.string(value)
        if kind == ARRAY:
            inner, items = value
            return struct.pack("<IQ", inner, len(items)) + b"".join(self.value(inner, item) for item in items)
        return struct.pack(SCALARS[kind], value)

    def bytes(self):
        out = self.magic + struct.pack("<IQQ", self.version, len(self.tensors) if self.n_tensors is None else self.n_tensors,
                                       len(self.keys) if self.n_keys is None else self.n_keys)
        for name, (kind, value) in self.keys.items():
            out += self.string(name) + struct.pack("<I", kind) + self.value(kind, value)
        for t in self.tensors:
            out += self.string(t["name"]) + struct.pack("<I", len(t["dims"])) + struct.pack(f"<{len(t['dims'])}Q", *t["dims"])
            out += struct.pack("<IQ", t["type"], t["offset"])
        return out + bytes(-len(out) % 32) + self.blob

    def key(self, name, value, kind=None):
        """Another value of a key (by its end: 'head_count')."""
        full = next(k for k in self.keys if k.decode().endswith(name))
        self.keys[full] = (self.keys[full][0] if kind is None else kind, value)

    def drop_key(self, name):
        del self.keys[next(k for k in self.keys if k.decode().endswith(name))]

    def items(self, name):
        """The list of an array key, to be changed in place."""
        return self.keys[next(k for k in self.keys if k.decode().endswith(name))][1][1]

    def tensor(self, name):
        return next(t for t in self.tensors if t["name"].decode() == name)


class Safetensors:
    """A safetensors file taken apart."""

    def __init__(self, path):
        with open(path, "rb") as file:
            data = file.read()
        n, = struct.unpack_from("<Q", data)
        self.header = json.loads(data[8:8 + n])
        self.blob = data[8 + n:]
        self.length = None
        self.text = None

    def bytes(self):
        text = json.dumps(self.header).encode() if self.text is None else self.text
        return struct.pack("<Q", len(text) if self.length is None else self.length) + text + self.blob

    def tensor(self, name):
        return self.header[name]


def change_gguf(change):
    """A case: (model file) where change(Gguf) was done."""
    def make(models, folder):
        gguf = Gguf(os.path.join(models, "llama-gqa-f32.gguf"))
        changed = change(gguf)
        path = os.path.join(folder, "model.gguf")
        with open(path, "wb") as file:
            file.write(gguf.bytes() if not isinstance(changed, bytes) else changed)
        return path
    return make


def change_folder(change, model="llama-gqa"):
    """A case: a model folder where change(folder) was done."""
    def make(models, folder):
        path = os.path.join(folder, "model")
        shutil.copytree(os.path.join(models, model), path)
        change(path)
        return path
    return make


def change_config(**values):
    """Other values of config.json; None takes a key away."""
    def change(folder):
        path = os.path.join(folder, "config.json")
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        config.update(values)
        with open(path, "w", encoding="utf-8") as file:
            json.dump({key: value for key, value in config.items() if value is not None}, file)
    return change_folder(change)


def change_weights(change):
    def change_file(folder):
        path = os.path.join(folder, "model.safetensors")
        weights = Safetensors(path)
        changed = change(weights)
        with open(path, "wb") as file:
            file.write(weights.bytes() if not isinstance(changed, bytes) else changed)
    return change_folder(change_file)


def write(name, content):
    def change(folder):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(content)
    return change_folder(change)


def remove(name):
    return change_folder(lambda folder: os.unlink(os.path.join(folder, name)))


def assign(target, **values):
    target.update(values)


def index(weight_map):
    def change(folder):
        with open(os.path.join(folder, "model.safetensors.index.json"), "w", encoding="ascii") as file:
            json.dump({"weight_map": weight_map}, file)
        os.rename(os.path.join(folder, "model.safetensors"), os.path.join(folder, "shard.safetensors"))
    return change_folder(change)


def replace_by(kind):
    def change(folder):
        path = os.path.join(folder, "model.safetensors")
        os.unlink(path)
        {"folder": os.mkdir, "fifo": os.mkfifo, "dangling": lambda p: os.symlink("nowhere", p)}[kind](path)
    return change_folder(change)


def alone(kind):
    def make(_, folder):
        path = os.path.join(folder, "model.gguf")
        {"folder": os.mkdir, "fifo": os.mkfifo, "dangling": lambda p: os.symlink("nowhere", p), "nothing": lambda p: None}[kind](path)
        return path
    return make


def add_tensor(gguf):
    gguf.tensors.append({"name": b"blk.0.extra.weight", "dims": [32], "type": 0, "offset": len(gguf.blob)})
    gguf.blob += bytes(128)


TOKEN = "model.layers.0.self_attn.q_proj.weight"

# name, how to make it, words that the message must have
CASES = [
    ("nothing", alone("nothing"), ["model.gguf", "No such file"]),
    ("a folder without files", alone("folder"), ["model.safetensors"]),
    ("a pipe", alone("fifo"), ["model.gguf"]),
    ("a link to nothing", alone("dangling"), ["model.gguf", "No such file"]),
    ("a device", lambda *_: "/dev/null", ["/dev/null"]),
    ("GGUF: empty", change_gguf(lambda g: b""), []),
    ("GGUF: three bytes", change_gguf(lambda g: b"GGU"), []),
    ("GGUF: another magic", change_gguf(lambda g: setattr(g, "magic", b"GGML")), []),
    ("GGUF: version 1", change_gguf(lambda g: setattr(g, "version", 1)), ["version"]),
    ("GGUF: version 4", change_gguf(lambda g: setattr(g, "version", 4)), ["version", "4"]),
    ("GGUF: big-endian", change_gguf(lambda g: setattr(g, "version", 0x03000000)), ["endian"]),
    ("GGUF: 2^63 tensors", change_gguf(lambda g: setattr(g, "n_tensors", 1 << 63)), ["tensor"]),
    ("GGUF: 2^64-1 keys", change_gguf(lambda g: setattr(g, "n_keys", (1 << 64) - 1)), []),
    ("GGUF: one key too many", change_gguf(lambda g: setattr(g, "n_keys", len(g.keys) + 1)), []),
    ("GGUF: header only", change_gguf(lambda g: g.data[:g.header_bytes]), []),
    ("GGUF: cut in the data", change_gguf(lambda g: g.data[:-100]), []),
    ("GGUF: architecture unknown", change_gguf(lambda g: g.key("general.architecture", b"mamba")), ["mamba", "llama"]),
    ("GGUF: architecture with control characters", change_gguf(lambda g: g.key("general.architecture", b"\x1b[2J")), ["\\x1b"]),
    ("GGUF: architecture missing", change_gguf(lambda g: g.drop_key("general.architecture")), ["general.architecture"]),
    ("GGUF: block_count missing", change_gguf(lambda g: g.drop_key("block_count")), ["block_count"]),
    ("GGUF: block_count too large", change_gguf(lambda g: g.key("block_count", (1 << 31))), ["block_count"]),
    ("GGUF: one block more than there is", change_gguf(lambda g: g.key("block_count", 3)), ["blk.2."]),
    ("GGUF: one block less than there is", change_gguf(lambda g: g.key("block_count", 1)), ["blk.1."]),
    ("GGUF: block_count is a string", change_gguf(lambda g: g.key("block_count", b"2", STRING)), ["block_count"]),
    ("GGUF: no heads", change_gguf(lambda g: g.key("attention.head_count", 0)), ["head"]),
    ("GGUF: heads that do not divide", change_gguf(lambda g: g.key("attention.head_count", 3)), ["head"]),
    ("GGUF: 2^31 heads", change_gguf(lambda g: g.key("attention.head_count", 1 << 31)), ["head"]),
    ("GGUF: more kv heads than heads", change_gguf(lambda g: g.key("head_count_kv", 8)), ["head"]),
    ("GGUF: no width", change_gguf(lambda g: g.key("embedding_length", 0)), ["embedding_length"]),
    ("GGUF: a tensor missing", change_gguf(lambda g: assign(g.tensor("blk.1.attn_k.weight"), name=b"blk.1.other.weight")), ["blk.1.attn_k.weight"]),
    ("GGUF: a hole in the data", change_gguf(lambda g: g.tensors.remove(g.tensor("blk.1.attn_k.weight"))), ["blk.1.attn_v", "offset"]),
    ("GGUF: a tensor left over", change_gguf(add_tensor), ["blk.0.extra.weight"]),
    ("GGUF: a tensor twice", change_gguf(lambda g: g.tensors.append(dict(g.tensors[0]))), []),
    ("GGUF: a tensor transposed", change_gguf(lambda g: g.tensor("blk.0.ffn_up.weight")["dims"].reverse()), ["ffn_up"]),
    ("GGUF: dims that overflow", change_gguf(lambda g: assign(g.tensor("blk.0.ffn_up.weight"), dims=[(1 << 63) - 1, 2])), ["ffn_up"]),
    ("GGUF: dims of zero", change_gguf(lambda g: assign(g.tensor("blk.0.ffn_up.weight"), dims=[0, 64])), ["ffn_up"]),
    ("GGUF: five dims", change_gguf(lambda g: assign(g.tensor("blk.0.ffn_up.weight"), dims=[32, 64, 1, 1, 1])), []),
    ("GGUF: an unknown type", change_gguf(lambda g: assign(g.tensor("blk.0.ffn_up.weight"), type=99)), ["99"]),
    ("GGUF: a type of another block size", change_gguf(lambda g: assign(g.tensor("blk.0.ffn_up.weight"), type=12)), []),
    ("GGUF: data past the end", change_gguf(lambda g: assign(g.tensor("blk.0.ffn_up.weight"), offset=1 << 40)), ["ffn_up"]),
    ("GGUF: an offset that wraps", change_gguf(lambda g: assign(g.tensor("blk.0.ffn_up.weight"), offset=(1 << 64) - 32)), ["ffn_up"]),
    ("GGUF: an offset that is not aligned", change_gguf(lambda g: assign(g.tensor("blk.0.ffn_up.weight"), offset=4)), ["ffn_up"]),
    ("GGUF: tensors that overlap", change_gguf(lambda g: assign(g.tensor("blk.0.ffn_up.weight"), offset=0)), []),
    ("GGUF: one token less", change_gguf(lambda g: g.items("ggml.tokens").pop() and None), ["token"]),
    ("GGUF: a tokenizer that is not known", change_gguf(lambda g: g.key("ggml.pre", b"nobody-knows")), ["nobody-knows"]),
    ("GGUF: a merge of unknown tokens", change_gguf(lambda g: g.items("ggml.merges").insert(0, b"zzzz yyyy")), ["merge"]),
    ("GGUF: a merge without a space", change_gguf(lambda g: g.items("ggml.merges").insert(0, b"zzzz")), ["merge"]),
    ("folder: no config", remove("config.json"), ["config.json"]),
    ("folder: config that is no JSON", write("config.json", b"{"), ["config.json"]),
    ("folder: config that is a list", write("config.json", b"[1]"), ["config.json"]),
    ("folder: config nested too deep", write("config.json", b"[" * 100000), ["config.json"]),
    ("folder: config of a family that is not known", change_config(model_type="mamba"), ["mamba", "llama"]),
    ("folder: no family", change_config(model_type=None), ["model_type"]),
    ("folder: a rope scaling that is not known", change_config(rope_parameters={"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4}), ["yarn"]),
    ("folder: a key that changes the arithmetic", change_config(attn_logit_softcapping=50.0), ["attn_logit_softcapping"]),
    ("folder: no heads", change_config(num_attention_heads=0), ["num_attention_heads"]),
    ("folder: a negative number of heads", change_config(num_attention_heads=-4), ["num_attention_heads"]),
    ("folder: heads as a text", change_config(num_attention_heads="4"), ["num_attention_heads"]),
    ("folder: half a head", change_config(num_attention_heads=4.5), ["num_attention_heads"]),
    ("folder: 2^40 layers", change_config(num_hidden_layers=1 << 40), ["num_hidden_layers"]),
    ("folder: a layer more than there is", change_config(num_hidden_layers=3), ["model.layers.2."]),
    ("folder: a layer less than there is", change_config(num_hidden_layers=1), ["model.layers.1."]),
    ("folder: another width", change_config(hidden_size=64), ["64", "32"]),
    ("folder: another vocabulary", change_config(vocab_size=98), ["98", "97"]),
    ("folder: an activation that is not known", change_config(hidden_act="mystery"), ["mystery"]),
    ("folder: no weights", remove("model.safetensors"), ["safetensors"]),
    ("folder: weights that are a folder", replace_by("folder"), ["model.safetensors"]),
    ("folder: weights that are a pipe", replace_by("fifo"), ["model.safetensors"]),
    ("folder: weights that link to nothing", replace_by("dangling"), ["safetensors"]),
    ("folder: empty weights", write("model.safetensors", b""), ["model.safetensors"]),
    ("safetensors: header past the end", change_weights(lambda s: setattr(s, "length", 1 << 40)), ["model.safetensors"]),
    ("safetensors: header of 2^63 bytes", change_weights(lambda s: setattr(s, "length", 1 << 63)), ["model.safetensors"]),
    ("safetensors: header of no bytes", change_weights(lambda s: setattr(s, "length", 0)), ["model.safetensors"]),
    ("safetensors: header that is no JSON", change_weights(lambda s: setattr(s, "text", b"{]")), ["model.safetensors"]),
    ("safetensors: cut", change_weights(lambda s: s.bytes()[:-10]), ["model.safetensors"]),
    ("safetensors: bytes behind the end", change_weights(lambda s: s.bytes() + b"tail"), ["model.safetensors"]),
    ("safetensors: a tensor missing", change_weights(lambda s: assign(s.header, **{"other.weight": s.header.pop(TOKEN)})), ["q_proj"]),
    ("safetensors: another shape", change_weights(lambda s: assign(s.tensor(TOKEN), shape=[16, 64])), ["q_proj", "16"]),
    ("safetensors: a shape that overflows", change_weights(lambda s: assign(s.tensor(TOKEN), shape=[1 << 62, 8])), ["q_proj"]),
    ("safetensors: a shape larger than its bytes", change_weights(lambda s: assign(s.tensor(TOKEN), shape=[32, 33])), ["q_proj"]),
    ("safetensors: a type of integers", change_weights(lambda s: assign(s.tensor(TOKEN), dtype="I32")), ["q_proj", "I32"]),
    ("safetensors: a type that is not known", change_weights(lambda s: assign(s.tensor(TOKEN), dtype="F7")), ["F7"]),
    ("safetensors: offsets that overlap", change_weights(lambda s: assign(s.tensor(TOKEN), data_offsets=[0, 4096])), ["model.safetensors"]),
    ("safetensors: offsets backwards", change_weights(lambda s: assign(s.tensor(TOKEN), data_offsets=[4096, 0])), ["q_proj"]),
    ("safetensors: negative offsets", change_weights(lambda s: assign(s.tensor(TOKEN), data_offsets=[-4096, 0])), ["q_proj"]),
    ("index: a file outside the folder", index({TOKEN: "../shard.safetensors"}), ["../shard.safetensors"]),
    ("index: an absolute path", index({TOKEN: "/etc/passwd"}), ["/etc/passwd"]),
    ("index: a file that is not there", index({TOKEN: "gone.safetensors"}), ["gone.safetensors"]),
    ("index: a tensor that is not in its file", index({"no.such.weight": "shard.safetensors"}), ["no.such.weight"]),
    ("tokenizer: no JSON", write("tokenizer.json", b"nonsense"), ["tokenizer.json"]),
    ("tokenizer: cut", change_folder(lambda f: os.truncate(os.path.join(f, "tokenizer.json"), 500)), ["tokenizer.json"]),
    ("tokenizer: empty", write("tokenizer.json", b""), ["tokenizer.json"]),
    ("tokenizer: a model that is not known", write("tokenizer.json", b'{"model": {"type": "Mystery", "vocab": {}}}'), ["tokenizer.json", "Mystery"]),
    ("tokenizer: nested too deep", write("tokenizer.json", b'{"a":' * 100000), ["tokenizer.json"]),
    ("tokenizer: not there", remove("tokenizer.json"), ["tokenizer"]),
]
