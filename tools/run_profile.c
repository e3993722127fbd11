/* prune-run --profile-kernels: where the time of a run goes.
 *
 * Every kernel is timed in every run; its time is the least of all runs, so
 * that what else the machine does falls out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ir/tensor.h"
#include "tools/run.h"

enum { WARM_UP = 2, MIN_RUNS = 3 };

static uint64_t nanoseconds(clockid_t clock) {
  struct timespec t;
  (void)clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* One thread's own time, whatever else runs; for several, the wall's. */
static uint64_t cpu_clock(void) { return nanoseconds(CLOCK_THREAD_CPUTIME_ID); }
static uint64_t wall_clock(void) { return nanoseconds(CLOCK_MONOTONIC); }

void prn_run_profile_init(prn_kernel_times *p, int64_t threads) {
  *p = (prn_kernel_times){.clock = threads > 1 ? wall_clock : cpu_clock};
}

/* ---- what a kernel is ---- */

typedef struct row {
  const prn_op *op;
  uint64_t time;  /* ns, the least */
  double flops;   /* of the dense product; 0: not one, or open sizes */
  double density; /* of its weights; 1 when it has none */
  const prn_op *weights;
} row;

static double product_of(const prn_type *t, int32_t begin) {
  double n = 1;
  for (int32_t i = begin; i < t->rank; i++) {
    int64_t d;
    n *= prn_dim_is_const(t->dims[i], &d) ? (double)d : 0;
  }
  return n;
}

static const prn_type *type_of(const prn_op *op, const char *slot) {
  for (uint32_t i = 0; i < op->num_operands; i++) {
    const prn_slot_info *s = &op->opname->info->in[i];
    if (s->kind == PRN_SLOT_END) break;
    const prn_value *v = prn_op_operand(op, i);
    if (v && strcmp(s->name, slot) == 0) return v->type;
    if (s->kind == PRN_SLOT_VAR) break;
  }
  return NULL;
}

static const prn_type *out_of(const prn_op *op) {
  const prn_type *t = type_of(op, "out");
  if (!t) t = type_of(op, "y");
  uint32_t ins = (uint32_t)prn_op_int(op, "ins", op->num_operands - 1);
  if (!t && ins < op->num_operands) t = prn_op_operand(op, ins)->type;
  return t;
}

/* Depth of the sum behind each element of a product; 0: it is not one. */
static double depth_of(const prn_op *op) {
  if (prn_op_is(op, PRN_OP_mem_matmul)) {
    const prn_type *a = type_of(op, "a");
    return product_of(a, a->rank - 1);
  }
  if (prn_op_is(op, PRN_OP_mem_linear)) {
    const prn_type *x = type_of(op, "x");
    return product_of(x, x->rank - 2) / product_of(x, x->rank - 1);
  }
  if (prn_op_is(op, PRN_OP_mem_conv)) {
    const prn_type *w = type_of(op, "w");
    bool packed = prn_op_attr(op, "kernel") != NULL; /* then w is [k, n] */
    return packed ? product_of(w, 0) / product_of(w, 1) : product_of(w, 1);
  }
  return 0;
}

static const prn_op *weights_of(const prn_op *op) {
  if (depth_of(op) == 0) return NULL;
  const prn_value *v = prn_op_operand(op, 1);
  while (v->def && prn_op_is(v->def, PRN_OP_mem_view))
    v = prn_op_operand(v->def, 0);
  return v->def && prn_op_is(v->def, PRN_OP_mem_constant) ? v->def : NULL;
}

static row describe(const prn_op *op) {
  row r = {.op = op, .time = UINT64_MAX, .density = 1};
  r.flops =
      2 * depth_of(op) * (depth_of(op) > 0 ? product_of(out_of(op), 0) : 0);
  r.weights = weights_of(op);
  if (!r.weights) return r;
  const prn_tensor *t = prn_op_attr(r.weights, "value")->tensor;
  double all = product_of(t->type, 0);
  if (all > 0) r.density = (double)prn_tensor_nonzeros(t) / all;
  return r;
}

/* "linear rows 768x3072x128, 10 % [encoder.w]" */
static void name_row(const row *r, bool whole, prn_strbuf *b) {
  const prn_type *out = out_of(r->op);
  const char *cross = "";
  prn_strbuf_str(b, r->op->opname->name);
  if (r->weights)
    prn_strbuf_fmt(b, " %.*s",
                   PRN_STR_ARG(prn_op_string(r->weights, "pack", "dense")));
  prn_strbuf_char(b, ' ');
  if (depth_of(r->op) > 0) prn_strbuf_fmt(b, "%gx", depth_of(r->op));
  for (int32_t i = 0; out && i < out->rank; i++) {
    prn_strbuf_cstr(b, cross);
    prn_dim_print(b, out->dims[i]);
    cross = "x";
  }
  if (!r->weights) return;
  prn_strbuf_fmt(b, ", %.0f %%", 100 * r->density);
  const prn_tensor *t = prn_op_attr(r->weights, "value")->tensor;
  if (whole) prn_strbuf_fmt(b, " [%.*s]", PRN_STR_ARG(t->name));
}

/* ---- measuring and printing ---- */

/* Kernels of one name. */
typedef struct group {
  prn_str name;
  double time, flops;
  uint32_t count, place;
} group;

static int by_time(const void *a, const void *b) {
  const group *x = a, *y = b;
  if (x->time < y->time || x->time > y->time) return x->time < y->time ? 1 : -1;
  return x->place < y->place ? -1 : x->place > y->place;
}

static uint32_t gather(prn_ctx *ctx, const row *rows, uint32_t n, bool whole,
                       group *groups) {
  prn_map at = {0}; /* name -> index + 1 */
  uint32_t used = 0;
  for (uint32_t i = 0; i < n; i++) {
    prn_strbuf b = {0};
    name_row(&rows[i], whole, &b);
    prn_str name = prn_intern(ctx, prn_strbuf_view(&b));
    prn_strbuf_destroy(&b);
    void **slot = prn_map_slot(&at, name);
    if (!*slot) {
      groups[used] = (group){.name = name, .place = used};
      *slot = (void *)(uintptr_t)++used;
    }
    group *g = &groups[(uintptr_t)*slot - 1];
    g->time += (double)rows[i].time;
    g->flops += rows[i].flops;
    g->count++;
  }
  prn_map_destroy(&at);
  return used;
}

static void print_text(prn_ctx *ctx, const row *rows, uint32_t n, bool whole) {
  double total = 0;
  group *groups = prn_alloc(prn_array_size(sizeof *groups, n));
  uint32_t used = gather(ctx, rows, n, whole, groups);
  qsort(groups, used, sizeof *groups, by_time);
  for (uint32_t i = 0; i < used; i++)
    total += groups[i].time;
  printf("%8s %10s %8s %6s  %s\n", "share", "us", "GFLOP/s", "times", "kernel");
  for (uint32_t i = 0; i < used; i++) {
    const group *g = &groups[i];
    char rate[32] = "";
    if (g->flops > 0) snprintf(rate, sizeof rate, "%.1f", g->flops / g->time);
    printf("%7.2f%% %10.1f %8s %6u  %.*s\n",
           total > 0 ? 100 * g->time / total : 0, g->time / 1e3, rate,
           (unsigned)g->count, PRN_STR_ARG(g->name));
  }
  printf("%7.2f%% %10.1f %8s %6u  all\n", 100.0, total / 1e3, "", (unsigned)n);
  prn_free(groups);
}

static void print_json(const row *rows, uint32_t n) {
  printf("{\"kernels\": [");
  for (uint32_t i = 0; i < n; i++) {
    prn_strbuf b = {0}, name = {0};
    name_row(&rows[i], true, &name);
    prn_strbuf_json(&b, prn_strbuf_view(&name));
    printf("%s\n {\"kernel\": %.*s, \"us\": %.3f, \"flops\": %.0f, "
           "\"density\": %.6f}",
           i ? "," : "", PRN_STR_ARG(prn_strbuf_view(&b)),
           (double)rows[i].time / 1e3, rows[i].flops, rows[i].density);
    prn_strbuf_destroy(&b);
    prn_strbuf_destroy(&name);
  }
  printf("]}\n");
}

static void keep_least(const prn_kernel_times *p, row *rows) {
  for (uint32_t i = 0; i < p->num_kernels; i++)
    if (p->kernels[i].time < rows[i].time) rows[i].time = p->kernels[i].time;
}

prn_status prn_run_profile(prn_runner *r, const prn_kernel_times *p,
                           const prn_arrays *inputs, const prn_arrays *outputs,
                           const prn_run_settings *s) {
  double seconds = s->bench > 0 ? s->bench : 1;
  uint32_t n = p->num_kernels;
  row *rows = prn_alloc(prn_array_size(sizeof *rows, n));
  prn_status status = PRN_OK;
  for (uint32_t i = 0; i < n; i++)
    rows[i] = describe(p->kernels[i].op);
  for (int i = 0; status == PRN_OK && i < WARM_UP; i++)
    status = prn_runner_run(r, inputs, outputs);
  uint64_t stop = wall_clock() + (uint64_t)(seconds * 1e9);
  for (int i = 0; status == PRN_OK && (i < MIN_RUNS || wall_clock() < stop);
       i++) {
    status = prn_runner_run(r, inputs, outputs);
    keep_least(p, rows);
  }
  if (status == PRN_OK && s->json)
    print_json(rows, n);
  else if (status == PRN_OK)
    print_text(r->ctx, rows, n, s->verbose);
  prn_free(rows);
  return status;
}
