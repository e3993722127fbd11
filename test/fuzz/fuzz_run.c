/* Compiles a case, runs it, compares; see fuzz.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/llvm/compile.h"
#include "backends/llvm/prune_pool.h"
#include "ir/mask.h"
#include "ir/text.h"
#include "passes/lower/lower.h"
#include "test/fuzz/fuzz.h"

enum { LINE = 64 };

/* ---- the module ---- */

static void argument(prn_strbuf *b, bool first, const char *name,
                     const char *size) {
  prn_strbuf_fmt(b, "%s%%%s: view<(%s)xf32, strides [1], offset 0>",
                 first ? "" : ", ", name, size);
}

/* Arguments: symbols (arrays of that length), inputs, outputs. */
static void function_text(const fuzz_case *c, prn_strbuf *b) {
  prn_strbuf names[2] = {{0}, {0}}, args = {0};
  unsigned inputs = c->num_symbols;
  char name[16];
  for (unsigned i = 0; i < c->num_symbols; i++) {
    snprintf(name, sizeof name, "y%u", i);
    argument(&args, i == 0, name, c->symbols[i].text);
    prn_strbuf_fmt(&names[0], "%s\"y%u\"", i ? ", " : "", i);
  }
  for (int out = 0; out < 2; out++)
    for (unsigned i = 0; i < c->num_arrays; i++) {
      char size[24];
      if (c->arrays[i].output != (out == 1)) continue;
      inputs += !out;
      snprintf(name, sizeof name, "a%u", i);
      snprintf(size, sizeof size, "%lld", (long long)c->arrays[i].count);
      argument(&args, args.size == 0, name, size);
      prn_strbuf_fmt(&names[out], "%s\"%s\"", names[out].size ? ", " : "",
                     name);
    }
  prn_strbuf_fmt(b,
                 "module {\n  mem.func {body = region<0>, inputs = %u, "
                 "input_names = [%s], output_names = [%s]} {\n  ^(%s):\n",
                 inputs, names[0].data, names[1].data, args.data);
  prn_strbuf_str(b, prn_strbuf_view(&c->ops));
  prn_strbuf_cstr(b, "    mem.return\n  }\n}\n");
  prn_strbuf_destroy(&names[0]);
  prn_strbuf_destroy(&names[1]);
  prn_strbuf_destroy(&args);
}

typedef struct attach {
  const fuzz_case *c;
  unsigned next;
} attach;

/* Puts the data where the text has only a type. */
static prn_status attach_weights(void *user, prn_op *op) {
  attach *a = user;
  if (!prn_op_is(op, PRN_OP_mem_constant)) return PRN_OK;
  if (a->next == a->c->num_constants)
    return prn_op_error(op, "a constant too many");
  const fuzz_constant *w = &a->c->constants[a->next++];
  prn_ctx *ctx = op->module->ctx;
  const prn_tensor *old = prn_op_attr(op, "value")->tensor;
  void *bytes = malloc((size_t)w->count * sizeof(float));
  for (int64_t i = 0; i < w->count; i++)
    if (!prn_element_from_f64(old->type->dtype, (double)w->data[i], bytes, i))
      abort();
  prn_op_set_attr(
      op, "value",
      prn_attr_tensor(ctx, prn_tensor_from_data(ctx, old->type, bytes)));
  free(bytes);
  if (!w->masked) return PRN_OK;
  prn_mask mask;
  PRN_TRY(prn_mask_create(ctx, w->count, true, &mask));
  prn_mask_put(&mask, 0, w->count, w->keep);
  prn_mask_attach(op, &mask);
  return PRN_OK;
}

static prn_module *build(prn_ctx *ctx, const fuzz_case *c, const char *save) {
  prn_strbuf text = {0};
  function_text(c, &text);
  if (save) {
    FILE *f = fopen(save, "w");
    if (f) (void)fwrite(text.data, 1, text.size, f);
    if (f) (void)fclose(f);
  }
  /* Messages quote the text. */
  prn_str kept = prn_intern(ctx, prn_strbuf_view(&text));
  prn_strbuf_destroy(&text);
  prn_module *m = prn_parse_module(ctx, "case.prn", kept);
  attach a = {.c = c};
  if (!m || prn_walk(m->body, true, attach_weights, &a) != PRN_OK ||
      prn_plan_memory(m, 64) != PRN_OK)
    return NULL;
  return m;
}

/* ---- calls ---- */

/* Pieces of uneven length, from the last to the first, workers in turn. */
static void pieces(void *pool, prune_task *fn, void *arg, int64_t count) {
  int64_t workers = *(const int64_t *)pool, end = count;
  for (int64_t i = 0; end > 0; i++) {
    int64_t size = 1 + (count * ((i % 3) + 1)) / (2 * workers + 2);
    int64_t begin = end < size ? 0 : end - size;
    fn(arg, begin, end, (workers - 1 + i) % workers);
    end = begin;
  }
}

typedef struct frame {
  prune_tensor in[FUZZ_SYMBOLS + FUZZ_ARRAYS], out[FUZZ_ARRAYS];
  int64_t dims[FUZZ_SYMBOLS + 2 * FUZZ_ARRAYS];
} frame;

static void fill(frame *f, const fuzz_case *c) {
  unsigned in = 0, out = 0, d = 0;
  for (unsigned i = 0; i < c->num_symbols; i++) {
    f->dims[d] = c->symbols[i].n;
    f->in[in++] = (prune_tensor){.data = f, .dims = &f->dims[d++]};
  }
  for (unsigned i = 0; i < c->num_arrays; i++) {
    const fuzz_array *a = &c->arrays[i];
    f->dims[d] = a->count;
    prune_tensor t = {a->data, (size_t)a->count * sizeof(float), &f->dims[d++]};
    if (a->output)
      f->out[out++] = t;
    else
      f->in[in++] = t;
  }
}

/* With threads (NULL: none), or pieces for so many workers in this one. */
static int call(const fuzz_case *c, const prn_program *p, int64_t workers,
                prune_pool *threads) {
  const prune_model *m = prn_program_model(p);
  frame f;
  fill(&f, c);
  prune_call call = {.inputs = f.in,
                     .outputs = f.out,
                     .weights = prn_program_weights(p),
                     .workers = workers,
                     .parallel_for = workers > 1 ? pieces : NULL,
                     .pool = &workers};
  if (threads) {
    call.parallel_for = prune_pool_for;
    call.pool = threads;
  }
  int status = m->plan(&call, &call.arena_size);
  if (status != PRUNE_OK) return status;
  size_t bytes = (call.arena_size + LINE) / LINE * LINE;
  call.arena = aligned_alloc(LINE, bytes);
  /* What an earlier kernel may have left there. */
  memset(call.arena, 0xff, bytes);
  status = m->run(&call);
  free(call.arena);
  return status;
}

/* ---- comparison ---- */

static int complain(const fuzz_case *c, const char *what, double x) {
  printf("  %s: %s %.3g\n", c->march ? c->march : "native", what, x);
  return 1;
}

static int compare(const fuzz_case *c, const fuzz_array *a) {
  double diff = 0, norm = 0;
  for (int64_t i = 0; i < a->count; i++) {
    double got = (double)a->data[i];
    if (isnan(a->want[i])) {
      if (a->data[i] != -12345.0f)
        return complain(c, "wrote outside its view, at element", (double)i);
      continue;
    }
    if (isnan(got)) return complain(c, "NaN at element", (double)i);
    diff += (got - a->want[i]) * (got - a->want[i]);
    norm += a->want[i] * a->want[i];
  }
  double error = sqrt(diff) / fmax(sqrt(norm), 1e-30);
  if (norm == 0) error = sqrt(diff);
  return error > c->limit ? complain(c, "relative L2 error", error) : 0;
}

static int compare_all(const fuzz_case *c) {
  int bad = 0;
  for (unsigned i = 0; i < c->num_arrays && !bad; i++)
    if (c->arrays[i].output) bad = compare(c, &c->arrays[i]);
  return bad;
}

/* Once more, otherwise: the same bits. */
static int again(const fuzz_case *c, const prn_program *p, int64_t workers,
                 prune_pool *threads, float *const *first) {
  for (unsigned i = 0; i < c->num_arrays; i++)
    for (int64_t k = 0; first[i] && k < c->arrays[i].count; k++)
      c->arrays[i].data[k] = -12345.0f;
  if (call(c, p, workers, threads) != PRUNE_OK)
    return complain(c, "run failed with workers:", (double)workers);
  for (unsigned i = 0; i < c->num_arrays; i++)
    if (first[i] && memcmp(first[i], c->arrays[i].data,
                           (size_t)c->arrays[i].count * sizeof(float)) != 0)
      return complain(
          c, threads ? "other bits with threads:" : "other bits with workers:",
          (double)workers);
  return 0;
}

/* Runs with other numbers of workers, and with threads. */
static int rerun(const fuzz_case *c, const prn_program *p) {
  enum { THREADS = 3 };
  static const int64_t workers[] = {2, 3, 7};
  float *first[FUZZ_ARRAYS] = {0};
  prune_pool *pool = malloc(sizeof *pool);
  int bad = prune_pool_start(pool, THREADS);
  if (bad) return complain(c, "cannot start threads:", THREADS);
  for (unsigned i = 0; i < c->num_arrays; i++) {
    size_t bytes = (size_t)c->arrays[i].count * sizeof(float);
    if (!c->arrays[i].output) continue;
    first[i] = malloc(bytes);
    memcpy(first[i], c->arrays[i].data, bytes);
  }
  for (size_t w = 0; w < PRN_COUNT(workers) && !bad; w++)
    bad = again(c, p, workers[w], NULL, first);
  if (!bad) bad = again(c, p, THREADS, pool, first);
  prune_pool_stop(pool);
  free(pool);
  for (unsigned i = 0; i < c->num_arrays; i++)
    free(first[i]);
  return bad;
}

static int run_here(fuzz_case *c, prn_module *m, const prn_compile_options *o) {
  prn_program *p = NULL;
  if (prn_compile_jit(m, o, &p) != PRN_OK)
    return complain(c, "does not compile", 0);
  int status = call(c, p, 1, NULL);
  int bad = status ? complain(c, "run's status", status) : compare_all(c);
  if (!bad) bad = rerun(c, p);
  prn_program_destroy(p);
  return bad;
}

/* ---- on another machine: through test/cross/call.c ---- */

static void write_inputs(const fuzz_case *c, FILE *f) {
  for (unsigned i = 0; i < c->num_symbols; i++) {
    int64_t head[3] = {0, 1, c->symbols[i].n};
    (void)fwrite(head, sizeof *head, 3, f);
  }
  for (unsigned i = 0; i < c->num_arrays; i++) {
    const fuzz_array *a = &c->arrays[i];
    int64_t head[3] = {a->count * (int64_t)sizeof(float), 1, a->count};
    if (a->output) continue;
    (void)fwrite(head, sizeof *head, 3, f);
    (void)fwrite(a->data, sizeof(float), (size_t)a->count, f);
  }
}

static bool read_outputs(const fuzz_case *c, FILE *f) {
  for (unsigned i = 0; i < c->num_arrays; i++) {
    const fuzz_array *a = &c->arrays[i];
    int64_t head[3];
    size_t n = (size_t)a->count;
    if (!a->output) continue;
    if (fread(head, sizeof *head, 3, f) != 3 || head[2] != a->count ||
        fread(a->data, sizeof(float), n, f) != n)
      return false;
  }
  return true;
}

static int run_elsewhere(fuzz_case *c, prn_module *m,
                         const prn_compile_options *o) {
  static const char *const names[] = {"so", "in", "out"};
  char path[3][300], command[2000];
  const char *folder = getenv("TMPDIR");
  for (int i = 0; i < 3; i++)
    (void)snprintf(path[i], sizeof path[i], "%.200s/prn-fuzz-%ld.%s",
                   folder ? folder : P_tmpdir, (long)getpid(), names[i]);
  (void)snprintf(command, sizeof command, "%.1000s %s fuzz_model %s %s 1 2 3 7",
                 c->caller, path[0], path[1], path[2]);
  int bad = prn_compile_file(m, o, PRN_ARTEFACT_SO, path[0]) != PRN_OK;
  if (bad) (void)complain(c, "does not compile", 0);
  FILE *f = bad ? NULL : fopen(path[1], "wb");
  if (f) write_inputs(c, f);
  if (f) (void)fclose(f);
  if (!bad && system(command) != 0) bad = complain(c, "run failed", 0);
  f = bad ? NULL : fopen(path[2], "rb");
  if (!bad && !(f && read_outputs(c, f)))
    bad = complain(c, "outputs are missing", 0);
  if (f) (void)fclose(f);
  for (int i = 0; i < 3; i++)
    (void)unlink(path[i]);
  return bad ? bad : compare_all(c);
}

int fuzz_run(fuzz_case *c, const char *save) {
  prn_ctx *ctx = prn_ctx_create();
  prn_module *m = build(ctx, c, save);
  prn_compile_options o = {.target = {.march = c->march, .triple = c->target},
                           .prefix = "fuzz"};
  int bad = !m          ? complain(c, "is no program", 0)
            : c->caller ? run_elsewhere(c, m, &o)
                        : run_here(c, m, &o);
  prn_ctx_destroy(ctx);
  return bad;
}
