"""Writes the texts of limits.test into a folder."""
import os
import sys

N = 10 ** 6


def doubled(steps):
    text = "a"
    for i in range(steps):
        text = f"max({text}, floordiv({text}, {i + 2}))"
    return text


TEXTS = {
    "parens": "(" * N,
    "braces": "{" * N,
    "dicts": "onnx.Foo {a = " + "{a = " * N,
    "lists": "onnx.Foo {a = " + "list[" * N,
    "blocks": "onnx.Foo {} {\n" * N,
    "dims": "onnx.Foo {a = dim<" + "(" * N,
    "types": "onnx.Foo {a = " + "seq<" * N,
    "dense": "onnx.Foo {a = dense<" + "[" * 1000 + "1" + "]" * 1000
             + "> : tensor<" + "1x" * 1000 + "i64>}",
    "open": 'onnx.F {a ="' + "x" * N,
    "digits": "onnx.F {a =" + "9" * N + "}",
    "nul": 'onnx.F {a ="\0"}\n\0\0',
    "undefined": "onnx.Foo {} {\n" + "".join(
        f"onnx.Foo(%v{i})\n" for i in range(100000)) + "}\n",
    "prose": "%1 = load i32, ptr %0\n" * 1000,
    "name": 'onnx.graph {body = region<0>} {\n^(%"' + "x" * N
            + '"):\n  onnx.return(%"' + "x" * N + '")\n}\n',
    "rank": "module attributes {a = dense<1> : tensor<" + "1x" * 100000
            + "i64>} {}\n",
    "dim-size": "module attributes {a = dim<" + doubled(10) + ">} {}\n",
}


def main():
    os.makedirs(sys.argv[1], exist_ok=True)
    for name, text in TEXTS.items():
        with open(os.path.join(sys.argv[1], name + ".prn"), "w",
                  encoding="utf-8") as f:
            f.write(text)
    with open(os.path.join(sys.argv[1], "utf8.prn"), "wb") as f:
        f.write(b'onnx.F {a ="\xc0\x80"}\n\xff\xfe')


main()
