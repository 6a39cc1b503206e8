#!/usr/bin/env python3
"""Writes tests/corpus/gguf/reference: small files made by PyPI `gguf` (0.19), and what its reader says of them.

    python3 tests/corpus/gguf/make_reference.py

The files are committed; run this again only to change them.
"""
import json
import pathlib
import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
from gguf.quants import quantize

FOLDER = pathlib.Path(__file__).parent / "reference"
rng = np.random.default_rng(5)


def write_all_types(path):
    w = GGUFWriter(path, "llama")
    w.add_uint8("t.u8", 200)
    w.add_int8("t.i8", -100)
    w.add_uint16("t.u16", 60000)
    w.add_int16("t.i16", -30000)
    w.add_uint32("t.u32", 4000000000)
    w.add_int32("t.i32", -2000000000)
    w.add_uint64("t.u64", 2**53 - 1)
    w.add_int64("t.i64", -(2**53) + 1)
    w.add_float32("t.f32", 0.1)
    w.add_float64("t.f64", 0.1)
    w.add_bool("t.true", True)
    w.add_bool("t.false", False)
    w.add_string("t.string", "größer ▁ 😀")
    w.add_array("t.strings", ["a", "", "ß", "日本語"])
    w.add_array("t.i32s", [1, -2, 3])
    w.add_array("t.f32s", [0.5, -0.25, 1e30])
    w.add_array("t.bools", [True, False, True])
    w.add_key_value("t.u8s", [1, 2, 255], GGUFValueType.ARRAY, GGUFValueType.UINT8)
    w.add_key_value("t.u64s", [1, 2**40], GGUFValueType.ARRAY, GGUFValueType.UINT64)
    w.add_key_value("t.f64s", [0.1, 2.0], GGUFValueType.ARRAY, GGUFValueType.FLOAT64)
    w.add_custom_alignment(64)
    for name in ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"):
        dtype = GGMLQuantizationType[name]
        x = rng.standard_normal((3, 64), np.float32)
        if name == "F32":
            w.add_tensor(f"{name}.weight", x)
        elif name == "F16":
            w.add_tensor(f"{name}.weight", x.astype(np.float16))
        else:
            w.add_tensor(f"{name}.weight", quantize(x, dtype), raw_dtype=dtype)
    w.add_tensor("vector", rng.standard_normal(7, np.float32))
    w.add_tensor("cube", rng.standard_normal((2, 3, 5), np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def write_split(path):
    w = GGUFWriter(path, "llama", split_max_tensors=2)
    w.add_uint32("llama.block_count", 1)
    w.add_string("general.name", "in three parts")
    for i in range(5):
        w.add_tensor(f"t{i}", np.full((2, 8), i, np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def describe(path):
    reader = GGUFReader(path)
    data_offset = reader.data_offset
    values = {key: field.contents() for key, field in reader.fields.items() if key.startswith("t.")}
    tensors = [
        {
            "name": t.name,
            "dtype": int(t.tensor_type),
            "dims": [int(n) for n in t.shape],
            "offset": int(t.data_offset),
            "bytes": int(t.n_bytes),
            "first": [int(b) for b in t.data.reshape(-1).view(np.uint8)[:4]],
        }
        for t in reader.tensors
    ]
    return {"data_offset": int(data_offset), "values": values, "tensors": tensors}


def main():
    FOLDER.mkdir(exist_ok=True)
    write_all_types(FOLDER / "all_types.gguf")
    write_split(FOLDER / "split.gguf")
    found = {p.name: describe(p) for p in sorted(FOLDER.glob("*.gguf"))}
    text = json.dumps(found, indent=1, ensure_ascii=False)
    (FOLDER / "expected.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
