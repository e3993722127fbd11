#include "tools/opt_options.h"

/* clang-format off */
#define ROW(kind, letter, field, name, metavar, doc) \
  PRN_CLI_ROW(kind, letter, prn_opt_settings, field, name, metavar, doc)
#define HEADING(title) {PRN_CLI_HEADING, 0, NULL, NULL, title, 0, 0, 0}
#define ITEM(name, metavar, doc) {PRN_CLI_ITEM, 0, name, metavar, doc, 0, 0, 0}

static const prn_cli_option options[] = {
  HEADING("files"),
  ROW(TEXT, 'o', output, "output", "FILE",
      "Where the result goes: .onnx or .prn by the name, text otherwise; '-' "
      "is standard output, the default. Written whole or not at all."),
  ROW(CHOICE, 0, emit, "emit", "text|onnx",
      "Form of the result, whatever the name of the output says."),
  ROW(CHOICE, 0, data, "data", "keep|embed|external",
      "ONNX output: tensors where they came from (default), all in the model, "
      "or large ones in OUT.data beside it."),

  HEADING("passes, run in the order in which they are given"),
  ITEM("pass-pipeline", "PASSES",
       "Run passes given as text: 'a,b{k=v k2=v2},sites(\"glob\"){c,d}'."),
  ITEM("recipe", "FILE|NAME",
       "Run the passes of a file: the same text on any number of lines; '#' "
       "begins a comment. Or of a recipe that is shipped: --list-recipes."),
  ROW(LIST, 'D', defines, "define", "NAME=VALUE",
      "What ${NAME:DEFAULT} in a recipe stands for: -D sparsity=0.7. May be "
      "repeated."),
  ROW(TEXT, 0, profile, "profile", "FILE",
      "What the model does on the user's data, for passes that ask for it: "
      "made by prune-run --profile-out."),
  ROW(LIST, 0, calibration, "calibration", "FILE.npz",
      "The user's data, for passes that run the model as it is then "
      "(prune-sequential): what prune-run --inputs takes. May be repeated."),
  ROW(FLAG, 0, list_passes, "list-passes", NULL,
      "List all passes. --help-PASS explains one."),
  ROW(FLAG, 0, list_recipes, "list-recipes", NULL,
      "List the recipes that are shipped, and what each is."),
  ROW(FLAG, 0, print_pipeline, "print-pipeline", NULL,
      "Print the pipeline as text for --pass-pipeline; run nothing."),
  ROW(LIST, 0, plugins, "load-pass-plugin", "SO",
      "Add the passes of a shared object."),
  {PRN_CLI_INT, 0, "threads", "N",
   "Threads for loops over tensors; the default is one for each processor. "
   "The result does not depend on it.",
   offsetof(prn_opt_settings, threads), 1, 1024},

  HEADING("looking inside"),
  ROW(MAYBE, 0, print_before, "print-ir-before", "PASSES",
      "Print the module before the passes named, or before all."),
  ROW(MAYBE, 0, print_after, "print-ir-after", "PASSES",
      "Print the module after the passes named, or after all."),
  ROW(FLAG, 0, print_after_all, "print-ir-after-all", NULL,
      "Print the module after every pass."),
  ROW(FLAG, 0, print_after_change, "print-ir-after-change", NULL,
      "Print the module after every pass that changes it."),
  ROW(FLAG, 0, print_diff, "print-ir-diff", NULL,
      "Print what each pass changes, as a unified diff."),
  ROW(FLAG, 0, print_locations, "print-locations", NULL,
      "Print where each operation came from in the text of the result."),
  ROW(MAYBE, 0, stats, "stats", "text|json",
      "Print what the passes counted."),
  ROW(FLAG, 0, time_passes, "time-passes", NULL,
      "Print the time each pass took, and its peak and private memory."),
  ROW(TEXT, 0, remarks, "remarks", "FILE.yaml",
      "Write what was done and not done to each weight, and why, as YAML for "
      "LLVM's opt-viewer."),
  ROW(TEXT, 0, report, "report", "FILE",
      "Write a report on the whole run: .json or .html by the name."),

  HEADING("checking"),
  ROW(FLAG, 0, verify_each, "verify-each", NULL,
      "Verify the module, and the analyses a pass keeps, after every pass "
      "(on by default)."),
  ROW(MAYBE, 0, numerics, "verify-numerics", "N",
      "Run the model on N (1) random inputs before and after every pass that "
      "says it keeps what the model computes, and fail when it did not. "
      "--stats shows each check. Needs prune-run beside this program."),
  {PRN_CLI_REAL, 0, "verify-tolerance", "X",
   "Relative L2 error of an output that --verify-numerics allows; default "
   "1e-5.",
   offsetof(prn_opt_settings, tolerance), 0, 1},
  ROW(FLAG, 0, verify_roundtrip, "verify-roundtrip", NULL,
      "Check that the input prints and parses back to the same module."),
  ROW(FLAG, 0, split_input, "split-input-file", NULL,
      "Handle the parts of a text input between lines '// -----' one by one."),
  ROW(FLAG, 0, verify_diagnostics, "verify-diagnostics", NULL,
      "Check the diagnostics against the input's '// expected-error {{...}}' "
      "comments; print no result."),
  ROW(TEXT, 0, crash_reproducer, "crash-reproducer", "FILE",
      "When the tool crashes or a pass breaks the module, write a file that "
      "--run-reproducer runs again."),
  ROW(TEXT, 0, run_reproducer, "run-reproducer", "FILE",
      "Run what a reproducer holds: its pipeline on its input."),

  HEADING("about"),
  ROW(CHOICE, 0, emit_docs, "emit-docs", "passes|ops|operators|rules",
      "Print a reference page in Markdown."),
  {PRN_CLI_END, 0, NULL, NULL, NULL, 0, 0, 0},
};
/* clang-format on */

const prn_cli prn_opt_cli = {
    .tool = "prune-opt",
    .usage = "IN [-o OUT] [--PASS[=k=v,...]]... [--pass-pipeline=PASSES] "
             "[--recipe=FILE|NAME] [-D NAME=VALUE]... [options]",
    .intro = "Reads a model (.onnx, or the text form .prn; '-' is standard "
             "input), runs passes on it and writes the result. A pass is "
             "named like an option: --select-nm=n=2,m=4.",
    .outro =
        "examples:\n"
        "  prune-opt m.onnx                         the model as text\n"
        "  prune-opt m.onnx --score-magnitude=metric=l1 "
        "--select-nm=n=2,m=4 -o m24.onnx\n"
        "  prune-opt m.onnx --recipe=my.recipe --stats --time-passes "
        "-o small.onnx\n"
        "  prune-opt m.onnx --pass-pipeline='sites(\"*.mlp.*\"){score-magnitude"
        ",\n"
        "      select-unstructured{sparsity=0.8}}' -o mlp80.onnx\n"
        "  prune-opt --list-passes\n"
        "  prune-opt --help-select-nm\n",
    .options = options,
    .min_args = 0,
    .max_args = 1,
    .args = "one input file",
    .collect_unknown = true,
};
