/* prune-run: runs a model, or a library made by prunec. */
#include "tools/calibrate.h"
#include "tools/run.h"

static const prn_cli_option options[] = {
    {PRN_CLI_HEADING, 0, NULL, NULL, "Inputs and outputs", 0, 0, 0},
    PRN_CLI_ROW(
        LIST, 'i', prn_run_settings, inputs, "inputs", "FILE.npz",
        "Arrays to run on; their names are those of the inputs. Also "
        "an .npy file for the only input, an ONNX tensor input_K.pb, "
        "or a folder of these. With --profile-out, any number of files, "
        "or folders of them."),
    PRN_CLI_ROW(LIST, 0, prn_run_settings, input, "input", "NAME=FILE.npy",
                "One input. May be repeated."),
    PRN_CLI_ROW(TEXT, 'o', prn_run_settings, outputs, "outputs", "FILE.npz",
                "Where to write the outputs."),
    {PRN_CLI_INT, 0, "random-inputs", "SEED",
     "Run on random inputs: floats standard normal, integers 0 or 1. Also "
     "what is done when no inputs are given, with seed 0.",
     offsetof(prn_run_settings, random_inputs), 0, 9.2e18},
    PRN_CLI_ROW(
        LIST, 0, prn_run_settings, dims, "dim", "NAME=SIZE",
        "Size of an open dimension of random inputs; default 1. A model that "
        "cannot be compiled for open sizes is compiled for these."),
    PRN_CLI_ROW(LIST, 0, prn_run_settings, elements, "elements", "NAME=COUNT",
                "How many tensors a sequence holds, where --inputs do not say; "
                "they are the inputs NAME[0], NAME[1], ... NAME=none or "
                "NAME=some: whether an optional is there. May be repeated."),
    {PRN_CLI_HEADING, 0, NULL, NULL, "What to do", 0, 0, 0},
    {PRN_CLI_REAL, 0, "bench", "SECONDS", "Run again and again, print times.",
     offsetof(prn_run_settings, bench), 0, 1e6},
    PRN_CLI_ROW(FLAG, 0, prn_run_settings, profile_kernels, "profile-kernels",
                NULL,
                "Print how long each kernel takes, for as long as --bench "
                "says (1)."),
    PRN_CLI_ROW(TEXT, 0, prn_run_settings, compare, "compare", "OTHER",
                "Print how the outputs differ from those of another model or "
                "library, or from an .npz file."),
    PRN_CLI_ROW(FLAG, 0, prn_run_settings, onnx_test, "onnx-test", NULL,
                "The arguments are ONNX test directories: model.onnx beside "
                "test_data_set_*/{input,output}_*.pb."),
    {PRN_CLI_REAL, 0, "rtol", "X",
     "Relative L2 error that --onnx-test allows floats, those of 16 bits at "
     "least half a unit in their last place; default 1e-5.",
     offsetof(prn_run_settings, rtol), 0, 1},
    PRN_CLI_ROW(FLAG, 0, prn_run_settings, calibrate, "calibrate-target", NULL,
                "Measure what kernels cost on this machine, for as long as "
                "--bench says (20), and print the table for --target-table, or "
                "write it to --outputs. Takes no model."),
    PRN_CLI_ROW(LIST, 0, prn_run_settings, profile_out, "profile-out",
                "FILE.prof",
                "Run on all inputs and keep statistics of what weights are "
                "multiplied with, for prune-opt --profile. May be repeated: "
                "runs are dealt out to the files in turn, and where there are "
                "fewer input files than these, each is cut along its first "
                "axis."),
    PRN_CLI_ROW(TEXT, 0, prn_run_settings, moments, "profile-moments",
                "diagonal|full|block:N",
                "With --profile-out: of each channel (default), or also of "
                "each pair, n x n numbers for n channels; block:N: of each "
                "pair among N neighbours."),
    {PRN_CLI_INT, 0, "profile-memory", "MB",
     "What moments may take; default half of this machine's memory.",
     offsetof(prn_run_settings, memory), 1, 1 << 30},
    {PRN_CLI_INT, 0, "batch", "N",
     "With --profile-out: run on so many entries of the inputs' first axis at "
     "a "
     "time, where the model leaves it open.",
     offsetof(prn_run_settings, batch), 1, 1 << 30},
    PRN_CLI_ROW(LIST, 0, prn_run_settings, observe, "observe", "VALUE",
                "With --profile-out: observe this value alone, and compute "
                "nothing else. May be repeated."),
    PRN_CLI_ROW(TEXT, 0, prn_run_settings, reference, "reference", "MODEL",
                "With --profile-out and moments: also of what each channel is "
                "in this model and in that one, which has the same values."),
    PRN_CLI_ROW(FLAG, 0, prn_run_settings, profile_layers, "profile-layers",
                NULL,
                "With --profile-out: also of how much residual layers change, "
                "for score-block-influence."),
    PRN_CLI_ROW(FLAG, 0, prn_run_settings, json, "json", NULL,
                "Print --bench and --compare results as JSON."),
    {PRN_CLI_HEADING, 0, NULL, NULL, "Compiling", 0, 0, 0},
    PRN_CLI_ROW(TEXT, 0, prn_run_settings, recipe, "recipe", "FILE|NAME",
                "Passes to run first, as prune-opt --recipe."),
    PRN_CLI_ROW(LIST, 'D', prn_run_settings, defines, "define", "NAME=VALUE",
                "What ${NAME} in it stands for, as prune-opt -D. May be "
                "repeated."),
    PRN_CLI_ROW(TEXT, 0, prn_run_settings, pipeline, "pass-pipeline", "TEXT",
                "The same on the command line."),
    PRN_CLI_ROW(TEXT, 0, prn_run_settings, profile, "profile", "FILE",
                "A profile for these passes, as prune-opt --profile."),
    PRN_CLI_ROW(TEXT, 0, prn_run_settings, march, "march", "CPU",
                "native (default), x86-64-v2, -v3, -v4, or a CPU name."),
    PRN_CLI_ROW(TEXT, 0, prn_run_settings, table, "target-table", "FILE",
                "What kernels cost on the target, as prune-run "
                "--calibrate-target measures it."),
    PRN_CLI_ROW(TEXT, 0, prn_run_settings, tune, "tune", "FILE",
                "Measure on this machine which formats of weights are fastest, "
                "except for products that FILE knows; what was found is added "
                "to it."),
    PRN_CLI_ROW(TEXT, 0, prn_run_settings, precision, "precision", "TYPE",
                "Type of the weights of products: f32 (default: as in the "
                "model), bf16 or f16."),
    {PRN_CLI_INT, 0, "threads", "N", "Threads that run the model; default 1.",
     offsetof(prn_run_settings, threads), 1, PRUNE_POOL_MAX},
    PRN_CLI_ROW(FLAG, 'v', prn_run_settings, verbose, "verbose", NULL,
                "Say what was done and how long it took."),
    {PRN_CLI_END, 0, NULL, NULL, NULL, 0, 0, 0},
};

static const prn_cli cli = {
    .tool = "prune-run",
    .usage = "MODEL|LIBRARY.so [options]",
    .intro = "Compiles a model (.onnx, or .prn text) in process and runs it, "
             "or runs a library made by prunec.",
    .outro = "Examples:\n"
             "  prune-run model.onnx --inputs in.npz --outputs out.npz\n"
             "  prune-run libmodel.so --bench=5 --dim batch=1 --dim seq=128\n"
             "  prune-run pruned.onnx --inputs in.npz --compare model.onnx\n"
             "  prune-run model.onnx --inputs calib/ --profile-out calib.prof\n"
             "  prune-run --onnx-test tests/test_relu tests/test_conv\n",
    .options = options,
    .min_args = 0,
    .max_args = SIZE_MAX,
    .args = "a model or library",
};

static void print_shapes(const prn_arrays *out) {
  for (size_t i = 0; i < out->size; i++) {
    const prn_array *a = &out->items[i];
    printf("%.*s: %s[", PRN_STR_ARG(a->name), prn_dtype_name(a->dtype));
    for (int32_t k = 0; k < a->rank; k++)
      printf("%s%lld", k ? "," : "", (long long)a->dims[k]);
    printf("]\n");
  }
}

static prn_status use(prn_loaded *l, const prn_run_settings *s,
                      const prn_arrays *in) {
  prn_arrays out = {0};
  prn_ctx *ctx = l->runner.ctx;
  prn_status status = prn_runner_prepare(&l->runner, in, &out);
  if (status == PRN_OK) status = prn_runner_run(&l->runner, in, &out);
  if (status == PRN_OK && s->outputs)
    status = prn_arrays_save_npz(ctx, s->outputs, &out);
  if (status == PRN_OK && s->compare)
    status = prn_run_compare(ctx, s, in, &out);
  if (status == PRN_OK && s->profile_kernels)
    status = prn_run_profile(&l->runner, &l->profile, in, &out, s);
  else if (status == PRN_OK && s->bench > 0)
    status = prn_run_bench(&l->runner, in, &out, s->bench, s->json);
  if (status == PRN_OK && !s->outputs && !s->compare && !(s->bench > 0) &&
      !s->profile_kernels)
    print_shapes(&out);
  prn_arrays_destroy(&out);
  return status;
}

static prn_status run_model(prn_ctx *ctx, const prn_run_settings *s,
                            const char *path) {
  prn_loaded l = {0};
  prn_arrays in = {0};
  prn_interface face = {0};
  prn_run_settings own = *s;
  bool given = prn_run_has_inputs(s);
  const char *file = s->inputs.size ? s->inputs.at[0] : NULL;
  prn_status status = PRN_OK;
  if (s->inputs.size > 1)
    return prn_diag_emit(prn_ctx_diags(ctx), PRN_ERROR, (prn_loc){0},
                         PRN_STR(""),
                         "several --inputs are for --profile-out only");
  if (given) status = prn_run_read_inputs(ctx, path, s, file, &face, &in);
  if (given) own.elements = face.elements;
  if (status == PRN_OK)
    status = prn_run_load(ctx, path, &own, given ? &in : NULL, NULL, &l);
  if (status == PRN_OK && !given) status = prn_run_random_inputs(&l, s, &in);
  if (status == PRN_OK) status = use(&l, &own, &in);
  prn_run_unload(&l);
  prn_arrays_destroy(&in);
  return status;
}

static prn_status calibrate(prn_diag_sink *sink, const prn_run_settings *s,
                            const prn_cli_list *args) {
  prn_strbuf table = {0};
  prn_out *out;
  prn_target_spec target = {.march = s->march};
  if (args->size)
    return prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, PRN_STR(""),
                         "--calibrate-target takes no model, found '%s'",
                         args->at[0]);
  prn_status status =
      prn_calibrate(sink, &target, s->bench >= 0 ? s->bench : 20, &table);
  if (status == PRN_OK)
    status = prn_out_open(sink, s->outputs ? s->outputs : "-", &out);
  if (status == PRN_OK) {
    prn_out_write(out, table.data, table.size);
    status = prn_out_commit(out);
  }
  prn_strbuf_destroy(&table);
  return status;
}

static prn_status dispatch(prn_ctx *ctx, const prn_run_settings *s,
                           const prn_cli_list *args) {
  prn_diag_sink *sink = prn_ctx_diags(ctx);
  if (s->calibrate) return calibrate(sink, s, args);
  if (s->onnx_test) return prn_run_onnx_tests(s, args->at, args->size);
  if (args->size == 1 && s->profile_out.size)
    return prn_run_observe(ctx, s, args->at[0]);
  if (args->size == 1) return run_model(ctx, s, args->at[0]);
  if (args->size == 0)
    return prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, PRN_STR(""),
                         "expected a model or library (see prune-run --help)");
  return prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, PRN_STR(""),
                       "expected one model or library, found %zu", args->size);
}

int main(int argc, char **argv) {
  prn_run_settings s = {
      .threads = 1, .random_inputs = -1, .bench = -1, .rtol = 1e-5};
  prn_cli_result r = {0};
  prn_cli_begin();
  prn_ctx *ctx = prn_ctx_create();
  prn_status status =
      prn_cli_parse(&cli, prn_ctx_diags(ctx), argc, argv, &s, &r);
  if (status == PRN_OK && !r.done) status = dispatch(ctx, &s, &r.args);
  prn_cli_free(&cli, &s, &r);
  prn_ctx_destroy(ctx);
  return status == PRN_OK ? 0 : 1;
}
