"""The lint scripts find what they look for: planted offences, one a rule."""
import sys
import tempfile
import unittest

import banned
import common
import layers
import limits


class Lint(unittest.TestCase):
    def test_layers(self):
        table = layers.rules()
        bad = [("ir/op.c", '"', "passes/pass.h"),
               ("passes/pass.c", '"', "frontends/onnx/import.h"),
               ("frontends/onnx/import.c", '"', "passes/pass.h"),
               ("backends/onnx/export.c", '"', "backends/llvm/emit.h"),
               ("passes/pass.c", "<", "llvm-c/Core.h"),
               ("tools/prune_opt.c", "<", "protobuf-c/protobuf-c.h"),
               ("docs/x.c", '"', "ir/op.h")]
        for case in bad:
            self.assertIsNotNone(layers.offence(table, *case), case)
        good = [("ir/op.c", '"', "ir/support/base.h"),
                ("passes/rules/nn.c", '"', "passes/pass.h"),
                ("backends/onnx/export.c", '"', "frontends/onnx/proto.h"),
                ("backends/llvm/emit.c", "<", "llvm-c/Core.h"),
                ("ir/op.c", "<", "stdio.h"),
                ("ir/op.c", '"', "nn.def")]
        for case in good:
            self.assertIsNone(layers.offence(table, *case), case)

    def test_code_only(self):
        text = 'a; // exit(1)\n/* malloc(\n2) */ "strcpy(" b'
        code = common.code_only(text)
        self.assertEqual(code.count("\n"), 2)
        for word in ("exit", "malloc", "strcpy"):
            self.assertNotIn(word, code)

    def test_machine_paths(self):
        self.assertTrue(banned.MACHINE.search("see /" + "home/me"))
        self.assertFalse(banned.MACHINE.search("/usr/lib/llvm-19"))

    def test_calls(self):
        found = {w for w in ("strcpy", "sprintf", "strtok", "malloc", "exit")
                 if any(p.search(f"x = {w} (y);")
                        for p, _, _ in banned.compiled())}
        self.assertEqual(len(found), 5)
        for fine in ("snprintf(b, n)", "prn_exit(1)", "a->exit(1)"):
            self.assertFalse(any(p.search(fine)
                                 for p, _, _ in banned.compiled()), fine)

    def test_long_function(self):
        with tempfile.NamedTemporaryFile("w", suffix=".c") as f:
            f.write("int a(void) {\n" + "\n" * 58 + "}\n")
            f.write("int b(void) {\n" + "\n" * 59 + "}\n")
            f.flush()
            found = [what for _, _, what in limits.long_functions([f.name])]
        self.assertEqual(found, ["b has 61 lines; the limit is 60"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
