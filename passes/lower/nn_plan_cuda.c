/* nn-plan-cuda: the format of the weights of every product on a GPU.
 *
 * A product takes as long as its weights need to be read or its sums to be
 * made, whichever is longer. Weights that are 2:4 are read in 9/16 of the
 * bytes and multiplied by sparse tensor cores; those that are zero in whole
 * blocks are neither read nor multiplied there; others with zeros are read in
 * fewer bytes (a bit for each element and what is left of them) but multiplied
 * as if they were dense: that pays while reading is what takes long, and
 * nowhere else. Nothing is chosen that is estimated to be slower than dense. */
#include "ir/pack/stats.h"
#include "passes/lower/nn_to_mem.h"
#include "passes/pass.h"

#define OPTIONS(X)                                                           \
  X(STRING, gpu, , "", "Whose table: a100, h100, h200 (default), b200")      \
  X(INT, rows, 512, "[1,1048576]",                                           \
    "Rows (tokens) to plan for where their number is open: weights without " \
    "structure are stored without zeros up to about 150")
#define STATS(X)                                               \
  X(products, "products with constant weights")                \
  X(sparse, "of them, whose weights are stored without zeros") \
  X(both, "of them, stored once more without zeros, for few rows")
PRN_PASS_TABLES;

/* By what sums are made. */
enum rate { DENSE, SPARSE, BLOCKS, RATES };

typedef struct gpu {
  const char *name;
  double bandwidth, tflops[RATES];
} gpu;

static const gpu gpus[] = {
#define GPU(name, bandwidth, dense, sparse, blocks) \
  {name, bandwidth, {dense, sparse, blocks}},
#include "passes/lower/gpus.def"
#undef GPU
};

static const gpu *gpu_of(const prn_pass_env *env) {
  const struct opts *o = env->opts;
  prn_str name = o->gpu.size ? o->gpu : PRN_STR("h200");
  for (size_t i = 0; i < PRN_COUNT(gpus); i++)
    if (prn_str_is(name, gpus[i].name)) return &gpus[i];
  (void)prn_pass_error(env, "gpu '%.*s' has no table", PRN_STR_ARG(name));
  return NULL;
}

static prn_status check(prn_pass_env *env) {
  return gpu_of(env) ? PRN_OK : PRN_FAIL;
}

/* ---- estimates ---- */

typedef struct choice {
  const char *format;
  double us;
} choice;

/* How a format is read and multiplied. */
typedef struct cost {
  const char *format;
  double reading; /* times what its bytes need */
  double most;    /* rows that it is for */
  enum rate rate;
  bool skips; /* what is not stored is not multiplied */
  bool f32;   /* has a kernel for it */
} cost;

/* Decoding a bit mask costs something beside what is read: published kernels of
 * this kind reach about five sixths of the bandwidth. With more rows than that
 * the tensor cores wait for it. */
static const double decoded_rows = 64, any_rows = 1e30;
static const cost costs[] = {{"nk", 1, any_rows, DENSE, false, true},
                             {"nm24", 1, any_rows, SPARSE, false, true},
                             {"bitmap", 1.2, decoded_rows, DENSE, false, true},
                             {"bsr", 1, any_rows, BLOCKS, true, false}};
enum { FORMATS = sizeof costs / sizeof *costs };

/* Of a product with m rows whose weights take so many bytes. */
static double time_of(const gpu *g, const prn_packing *p, double m,
                      int64_t bytes, const cost *c) {
  double tflops = g->tflops[c->rate];
  double elements = (double)p->k * (double)p->n;
  double stored = (double)bytes / (prn_dtype_bits(p->dtype) / 8.0);
  if (p->dtype == PRN_I8) tflops *= 2;
  double read = (double)bytes * c->reading / (g->bandwidth * 1e3);
  double sums = 2 * m * (c->skips ? stored : elements) / (tflops * 1e6);
  return read > sums ? read : sums;
}

/* What is not faster by so much stays dense: an estimate is not more exact. */
static const double margin = 0.95;

/* The fastest first; dense is among them, and with others only such as are
 * faster. Returns their number. */
static int choose(const gpu *g, const prn_packing *p, double m,
                  choice out[FORMATS]) {
  double dense = 0;
  int n = 0;
  for (size_t i = 0; i < FORMATS; i++) {
    const cost *c = &costs[i];
    int64_t bytes;
    const prn_pack_format *f = prn_pack_find(prn_str_from(c->format));
    if (m > c->most || (p->dtype == PRN_F32 && !c->f32)) continue;
    if (!f || !f->size(p, &bytes)) continue;
    double us = time_of(g, p, m, bytes, c);
    if (n > 0 && us > margin * dense) continue;
    if (n == 0) dense = us;
    int at = n++;
    for (; at > 0 && us < out[at - 1].us; at--)
      out[at] = out[at - 1];
    out[at] = (choice){c->format, us};
  }
  return n;
}

/* ---- products ---- */

static double rows_of(const prn_op *op, int64_t open) {
  const prn_type *t = prn_op_result(op, 0)->type;
  double m = 1;
  for (int32_t i = 0; i + 1 < t->rank; i++) {
    int64_t d;
    if (!prn_dim_is_const(t->dims[i], &d)) return (double)open;
    m *= (double)d;
  }
  return m;
}

static void set_pack(prn_op *op, const char *format) {
  prn_ctx *ctx = op->module->ctx;
  prn_op_set_attr(op, "pack", prn_attr_string(ctx, prn_str_from(format)));
}

static void tell(prn_pass_env *env, const prn_op *op, const prn_packing *p,
                 double m, const choice *all, int n) {
  double zeros =
      1 - (double)prn_tensor_nonzeros(p->t) / ((double)p->k * (double)p->n);
  prn_str name = prn_op_string(op, "$name", "");
  double dense = all[0].us;
  for (int i = 0; i < n; i++)
    if (prn_str_is(PRN_STR("nk"), all[i].format)) dense = all[i].us;
  if (!name.size) name = p->t->name;
  prn_pass_remark(env, op, PRN_REASON_Planned,
                  "'%.*s': %lld x %lld weights, %.1f %% zeros, %.0f rows: %s, "
                  "estimated %.2f x as fast as dense",
                  PRN_STR_ARG(name), (long long)p->k, (long long)p->n,
                  100 * zeros, m, all[0].format, dense / all[0].us);
}

/* Where the number of rows is open, few rows may want another format: then both
 * are kept. */
static void plan_few(prn_pass_env *env, const gpu *g, prn_op *op,
                     const prn_packing *p, const char *format) {
  enum { FEW = 16 };
  struct stats *s = env->stats;
  prn_ctx *ctx = op->module->ctx;
  choice all[FORMATS];
  int n = choose(g, p, FEW, all);
  if (n == 0 || prn_str_is(prn_str_from(all[0].format), format)) return;
  prn_op_set_attr(op, "pack_few",
                  prn_attr_string(ctx, prn_str_from(all[0].format)));
  prn_op_set_attr(op, "pack_few_rows",
                  prn_attr_int(ctx, (int64_t)decoded_rows));
  s->both++;
  tell(env, op, p, FEW, all, n);
}

static void plan_matmul(prn_pass_env *env, const gpu *g, prn_op *op) {
  const struct opts *o = env->opts;
  struct stats *s = env->stats;
  bool transposed;
  const prn_tensor *t = prn_to_mem_weights(op, &transposed);
  choice all[FORMATS];
  if (!t) return;
  int64_t d[2];
  if (!prn_dim_is_const(t->type->dims[0], &d[0]) ||
      !prn_dim_is_const(t->type->dims[1], &d[1]))
    return;
  prn_packing p = {.t = t,
                   .nk = transposed,
                   .k = d[transposed],
                   .n = d[!transposed],
                   .dtype = prn_to_mem_storage(op, t->type->dtype)};
  double m = rows_of(op, o->rows);
  int n = choose(g, &p, m, all);
  if (n == 0) return;
  set_pack(op, all[0].format);
  if (rows_of(op, -1) < 0) plan_few(env, g, op, &p, all[0].format);
  s->products++;
  s->sparse += !prn_str_is(PRN_STR("nk"), all[0].format);
  tell(env, op, &p, m, all, n);
}

static void visit_block(prn_pass_env *env, const gpu *g, prn_block *b) {
  PRN_EACH_OP(op, b) {
    for (uint32_t i = 0; prn_op_is(op, PRN_OP_nn_if) && i < op->num_blocks; i++)
      visit_block(env, g, op->blocks[i]);
    if (prn_op_attr(op, "pack")) continue;
    if (prn_op_is(op, PRN_OP_nn_matmul)) plan_matmul(env, g, op);
    if (prn_op_is(op, PRN_OP_nn_conv)) set_pack(op, "dense");
  }
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const gpu *g = gpu_of(env);
  if (!g) return PRN_FAIL;
  PRN_EACH_OP(op, m->body)
    if (prn_op_is(op, PRN_OP_nn_func))
      visit_block(env, g, prn_op_block(op, "body"));
  return PRN_OK;
}

const prn_pass prn_pass_nn_plan_cuda = {
    .name = "nn-plan-cuda",
    .summary = "Choose how the weights of every product are stored on a GPU",
    .doc = "After nn-fuse, for the CUDA backend. Estimates what each format "
           "would cost, from its bytes and the number of rows, and takes the "
           "cheapest: nk (dense), nm24 (2:4), bitmap or bsr (blocks of 32 by "
           "32). Weights that are best in one format for many rows and in "
           "another for few are kept in both where the number of rows is "
           "open. Remarks say what was chosen.",
    .reads = PRN_DIALECT_NN,
    .writes = PRN_DIALECT_NN,
    .check = check,
    PRN_PASS_COMMON,
};
