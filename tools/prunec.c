/* prunec: the ahead-of-time driver. Reads a model, runs a recipe, lowers it
 * and writes a library, an archive, an object, assembly or LLVM IR. */
#include <ctype.h>
#include <string.h>

#include "backends/cuda/compile.h"
#include "backends/cuda/cuda.h"
#include "backends/llvm/compile.h"
#include "tools/lowering.h"

typedef struct settings {
  const char *output, *recipe, *pipeline, *march, *target, *features, *header,
      *pool_header, *prefix, *precision, *table, *tune, *profile, *kernels;
  prn_cli_list dims, elements, defines;
  int64_t threads;
  bool verbose;
} settings;

static const prn_cli_option options[] = {
    PRN_CLI_ROW(
        TEXT, 'o', settings, output, "output", "FILE",
        "What to write; the ending says what: .so, .a, .o, .s, .ll or .cu."),
    PRN_CLI_ROW(TEXT, 0, settings, header, "header", "FILE",
                "Also write a C header for the library."),
    PRN_CLI_ROW(TEXT, 0, settings, pool_header, "pool-header", "FILE",
                "Also write prune_pool.h: threads for a program that has no "
                "pool of its own."),
    PRN_CLI_ROW(TEXT, 0, settings, prefix, "prefix", "NAME",
                "C name that the library's symbols begin with; default: the "
                "output's name without lib and ending."),
    {PRN_CLI_HEADING, 0, NULL, NULL, "Pruning", 0, 0, 0},
    PRN_CLI_ROW(TEXT, 0, settings, recipe, "recipe", "FILE|NAME",
                "Passes to run first, as prune-opt --recipe."),
    PRN_CLI_ROW(LIST, 'D', settings, defines, "define", "NAME=VALUE",
                "What ${NAME} in it stands for, as prune-opt -D. May be "
                "repeated."),
    PRN_CLI_ROW(TEXT, 0, settings, pipeline, "pass-pipeline", "TEXT",
                "The same on the command line."),
    PRN_CLI_ROW(TEXT, 0, settings, profile, "profile", "FILE",
                "What the model does on the user's data, for these passes: "
                "made by prune-run --profile-out."),
    {PRN_CLI_HEADING, 0, NULL, NULL, "Target", 0, 0, 0},
    PRN_CLI_ROW(TEXT, 0, settings, march, "march", "CPU",
                "native (default), x86-64-v2, x86-64-v3, x86-64-v4, or a CPU "
                "name; several, for one file that chooses where it is loaded: "
                "x86-64-v2,x86-64-v3,x86-64-v4+avx512vnni."),
    PRN_CLI_ROW(TEXT, 0, settings, target, "target", "TRIPLE",
                "Compile for another machine, e.g. aarch64-linux-gnu; cuda: "
                "for GPUs, into a folder. --march is then the GPU to plan for: "
                "a100, h100, h200 (default), b200."),
    PRN_CLI_ROW(TEXT, 0, settings, features, "mattr", "LIST",
                "Features to add or remove, e.g. +avx512bf16,-avx512vnni."),
    PRN_CLI_ROW(TEXT, 0, settings, table, "target-table", "FILE",
                "What kernels cost on the target, as prune-run "
                "--calibrate-target measures it."),
    PRN_CLI_ROW(TEXT, 0, settings, tune, "tune", "FILE",
                "Measure on this machine which formats of weights are fastest, "
                "except for products that FILE knows; what was found is added "
                "to it."),
    PRN_CLI_ROW(TEXT, 0, settings, precision, "precision", "TYPE",
                "Type of the weights of products: f32 (default: as in the "
                "model), bf16 or f16. --target=cuda: also of activations; "
                "f16 by default."),
    PRN_CLI_ROW(CHOICE, 0, settings, kernels, "kernels", "compile|source",
                "--target=cuda: compile the kernels where nvcc or NVRTC is "
                "found (default), or leave that to the folder's CMakeLists.txt "
                "or Makefile."),
    PRN_CLI_ROW(LIST, 0, settings, dims, "dim", "NAME=SIZE",
                "Fix an open dimension, e.g. batch=1. May be repeated."),
    PRN_CLI_ROW(LIST, 0, settings, elements, "elements", "NAME=COUNT",
                "How many tensors a sequence among the inputs holds; the "
                "library takes them as NAME[0], NAME[1], ... NAME=none or "
                "NAME=some: whether an optional is there. May be repeated."),
    {PRN_CLI_HEADING, 0, NULL, NULL, "Output", 0, 0, 0},
    {PRN_CLI_INT, 0, "threads", "N", "Threads of the compiler.",
     offsetof(settings, threads), 1, 1024},
    PRN_CLI_ROW(FLAG, 'v', settings, verbose, "verbose", NULL,
                "Say what was done and how long it took."),
    {PRN_CLI_END, 0, NULL, NULL, NULL, 0, 0, 0},
};

static const prn_cli cli = {
    .tool = "prunec",
    .usage = "MODEL -o OUT.{so,a,o,s,ll,cu}|OUT/ [options]",
    .intro = "Compiles a model (.onnx, or .prn text) to native code. The "
             "library needs nothing of prune at run time.",
    .outro = "Examples:\n"
             "  prunec model.onnx -o libmodel.so --header=model.h\n"
             "  prunec model.onnx -o libsmall.so "
             "--pass-pipeline='score-magnitude,select-nm{n=2 m=4}'\n"
             "  prunec model.onnx -o model.o --target=aarch64-linux-gnu "
             "--dim batch=1\n"
             "  prunec model.onnx -o out/ --target=cuda\n",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .args = "a model",
};

static const struct {
  const char *ending;
  prn_artefact kind;
} artefacts[] = {{".so", PRN_ARTEFACT_SO},
                 {".a", PRN_ARTEFACT_A},
                 {".o", PRN_ARTEFACT_O},
                 {".s", PRN_ARTEFACT_S},
                 {".ll", PRN_ARTEFACT_LL}};

static prn_status artefact_of(prn_diag_sink *sink, const char *path,
                              prn_artefact *out) {
  for (size_t i = 0; path && i < PRN_COUNT(artefacts); i++)
    if (prn_str_ends(prn_str_from(path), artefacts[i].ending)) {
      *out = artefacts[i].kind;
      return PRN_OK;
    }
  return prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, PRN_STR(""),
                       "the output must be named with -o and end in .so, .a, "
                       ".o, .s, .ll or .cu; found %s",
                       path ? path : "none");
}

/* "out/libmini-lm.so" gives "mini_lm". */
static const char *prefix_of(prn_ctx *ctx, const char *path) {
  prn_strbuf b = {0};
  const char *base = strrchr(path, '/');
  base = base ? base + 1 : path;
  if (strncmp(base, "lib", 3) == 0 && base[3] != '.') base += 3;
  const char *end = strrchr(base, '.');
  if (isdigit((unsigned char)*base)) prn_strbuf_char(&b, '_');
  for (const char *p = base; p < end; p++)
    prn_strbuf_char(&b, isalnum((unsigned char)*p) ? *p : '_');
  const char *name = prn_intern(ctx, prn_strbuf_view(&b)).data;
  prn_strbuf_destroy(&b);
  return name;
}

/* The targets that --march names, behind commas; returns their number. */
static size_t split_targets(prn_ctx *ctx, const settings *s,
                            prn_target_spec *out) {
  size_t n = 0;
  const char *at = s->march;
  while (n < PRN_VARIANTS_MAX) {
    size_t size = at ? strcspn(at, ",") : 0;
    out[n++] = (prn_target_spec){
        .triple = s->target,
        .march = at ? prn_intern(ctx, (prn_str){at, size}).data : NULL,
        .features = s->features};
    if (!at || !at[size]) return n;
    at += size + 1;
  }
  return PRN_VARIANTS_MAX + 1;
}

/* "out/", "out" and "out.cuda" give "out". */
static const char *folder_prefix(prn_ctx *ctx, const char *path) {
  size_t n = strlen(path);
  while (n > 1 && path[n - 1] == '/')
    n--;
  prn_str s = {path, n};
  for (size_t i = 0; i < n; i++)
    if (path[i] == '/') s = (prn_str){path + i + 1, n - i - 1};
  prn_strbuf b = {0};
  prn_strbuf_str(&b, s);
  prn_strbuf_char(&b, '.');
  const char *name = prefix_of(ctx, b.data);
  prn_strbuf_destroy(&b);
  return name;
}

/* Options that have no meaning for GPUs. */
static prn_status check_cuda(prn_diag_sink *sink, const settings *s) {
  const struct {
    const char *name, *given;
  } others[] = {{"mattr", s->features},
                {"target-table", s->table},
                {"tune", s->tune},
                {"header", s->header},
                {"pool-header", s->pool_header}};
  for (size_t i = 0; i < PRN_COUNT(others); i++)
    if (others[i].given)
      return prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, PRN_STR(""),
                           "--%s: not with --target=cuda", others[i].name);
  if (s->output) return PRN_OK;
  return prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, PRN_STR(""),
                       "--target=cuda: the folder to write must be named with "
                       "-o");
}

/* For GPUs: a folder. */
static prn_status compile_cuda(prn_ctx *ctx, const settings *s,
                               const char *input) {
  prn_diag_sink *sink = prn_ctx_diags(ctx);
  prn_module *m;
  PRN_TRY(check_cuda(sink, s));
  const char *prefix = s->prefix ? s->prefix : folder_prefix(ctx, s->output);
  prn_lowering how = {.recipe = s->recipe,
                      .defines = s->defines,
                      .pipeline = s->pipeline,
                      .profile = s->profile,
                      .precision = s->precision ? s->precision : "f16",
                      .gpu = s->march ? s->march : "h200",
                      .dims = s->dims,
                      .elements = s->elements,
                      .threads = (unsigned)s->threads,
                      .verbose = s->verbose};
  PRN_TRY(prn_check_prefix(sink, prefix));
  PRN_TRY(prn_lower_file(ctx, input, &how, &m));
  if (prn_str_ends(prn_str_from(s->output), ".cu"))
    return prn_cuda_write_kernels(m, prefix, s->output);
  PRN_TRY(prn_cuda_write(m, prefix, s->output));
  if (s->kernels && prn_str_is(prn_str_from(s->kernels), "source")) {
    prn_cuda_discard(s->output, prefix);
    return PRN_OK;
  }
  prn_strbuf done = {0};
  prn_status status = prn_cuda_compile(sink, s->output, prefix, &done);
  if (status == PRN_OK && s->verbose)
    (void)fprintf(stderr, "kernels: %s\n", done.data ? done.data : "");
  prn_strbuf_destroy(&done);
  return status;
}

static prn_status compile(prn_ctx *ctx, const settings *s, const char *input) {
  bool cu = s->output && prn_str_ends(prn_str_from(s->output), ".cu");
  if (cu || (s->target && prn_str_is(prn_str_from(s->target), "cuda")))
    return compile_cuda(ctx, s, input);
  if (s->kernels)
    return prn_diag_emit(prn_ctx_diags(ctx), PRN_ERROR, (prn_loc){0},
                         PRN_STR(""), "--kernels: only with --target=cuda");
  prn_artefact kind = PRN_ARTEFACT_SO;
  prn_diag_sink *sink = prn_ctx_diags(ctx);
  PRN_TRY(artefact_of(sink, s->output, &kind));
  const char *prefix = s->prefix ? s->prefix : prefix_of(ctx, s->output);
  prn_target_spec targets[PRN_VARIANTS_MAX];
  prn_lowering how[PRN_VARIANTS_MAX];
  prn_module *modules[PRN_VARIANTS_MAX];
  prn_variant variants[PRN_VARIANTS_MAX];
  size_t n = split_targets(ctx, s, targets);
  if (n > PRN_VARIANTS_MAX)
    return prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, PRN_STR(""),
                         "--march: at most %d CPUs", (int)PRN_VARIANTS_MAX);
  PRN_TRY(prn_check_prefix(sink, prefix));
  for (size_t i = 0; i < n; i++) {
    how[i] = (prn_lowering){.recipe = s->recipe,
                            .defines = s->defines,
                            .pipeline = s->pipeline,
                            .profile = s->profile,
                            .precision = s->precision,
                            .table = s->table,
                            .tune = s->tune,
                            .target = targets[i],
                            .dims = s->dims,
                            .elements = s->elements,
                            .threads = (unsigned)s->threads,
                            .verbose = s->verbose};
    PRN_TRY(prn_compile_tile(sink, &targets[i], &how[i].tile));
  }
  PRN_TRY(prn_lower_variants(ctx, input, how, n, modules));
  for (size_t i = 0; i < n; i++)
    variants[i] = (prn_variant){modules[i], targets[i]};
  PRN_TRY(prn_compile_variants(sink, variants, n, prefix, kind, s->output));
  prn_compile_options o = {.target = targets[0], .prefix = prefix};
  if (s->pool_header) PRN_TRY(prn_compile_pool_header(sink, s->pool_header));
  return s->header ? prn_compile_header(modules[0], &o, s->header) : PRN_OK;
}

int main(int argc, char **argv) {
  settings s = {.threads = 1};
  prn_cli_result r = {0};
  prn_cli_begin();
  prn_ctx *ctx = prn_ctx_create();
  prn_status status =
      prn_cli_parse(&cli, prn_ctx_diags(ctx), argc, argv, &s, &r);
  if (status == PRN_OK && !r.done) status = compile(ctx, &s, r.args.at[0]);
  prn_cli_free(&cli, &s, &r);
  prn_ctx_destroy(ctx);
  return status == PRN_OK ? 0 : 1;
}
